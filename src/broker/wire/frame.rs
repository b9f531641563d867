//! Reading requests from a socket.
//!
//! A length that a client announces is never allocated at once: the buffer grows with the bytes that have
//! come. A request that has begun must get on, and all long requests together have a bound.

use std::io;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::broker::limits;

/// The bytes that every request begins with: key, version, correlation id.
const PREFIX_BYTES: usize = 8;

/// A request, and the share of memory it holds.
#[derive(Debug)]
pub struct Frame<'a> {
    pub bytes: Bytes,
    share: Option<SemaphorePermit<'a>>,
}

impl Frame<'_> {
    /// Lets other long requests have the memory; this one is among the shorter kinds.
    pub fn give_back_share(&mut self) {
        self.share = None;
    }
}

/// Reads the next request; `None` where the client has closed the connection between two.
pub async fn read<'a, R: AsyncRead + Unpin>(
    socket: &mut R,
    budget: &'a Semaphore,
) -> io::Result<Option<Frame<'a>>> {
    let mut length = [0; 4];
    let began = timeout(limits::IDLE, socket.read(&mut length)).await??;
    if began == 0 {
        return Ok(None);
    }
    timeout(limits::STALL, socket.read_exact(&mut length[began..])).await??;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(PREFIX_BYTES..=limits::PRODUCE_FRAME_BYTES).contains(&length) {
        return Err(refused(format!("a request of {length} bytes")));
    }
    let mut buffer = BytesMut::with_capacity(length.min(limits::SMALL_FRAME_BYTES));
    fill(socket, &mut buffer, PREFIX_BYTES).await?;
    let is_produce = buffer[..2] == (ApiKey::Produce as i16).to_be_bytes();
    if !is_produce && length > limits::OTHER_FRAME_BYTES {
        return Err(refused(format!(
            "a request of {length} bytes without records"
        )));
    }
    let mut share = None;
    if length > limits::SMALL_FRAME_BYTES {
        let permits = u32::try_from(length).expect("it is below the largest frame");
        let permit = timeout(limits::STALL, budget.acquire_many(permits)).await?;
        share = Some(permit.map_err(io::Error::other)?);
    }
    while buffer.len() < length {
        let step = buffer.len().max(limits::SMALL_FRAME_BYTES);
        let until = length.min(buffer.len() + step);
        fill(socket, &mut buffer, until).await?;
    }
    Ok(Some(Frame {
        bytes: buffer.freeze(),
        share,
    }))
}

/// Reads until the buffer holds `until` bytes and no more.
async fn fill<R: AsyncRead + Unpin>(
    socket: &mut R,
    buffer: &mut BytesMut,
    until: usize,
) -> io::Result<()> {
    buffer.reserve(until - buffer.len());
    while buffer.len() < until {
        let missing = (until - buffer.len()) as u64;
        let mut limited = (&mut *socket).take(missing);
        if timeout(limits::STALL, limited.read_buf(buffer)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Semaphore {
        Semaphore::new(limits::FRAMES_BYTES)
    }

    fn framed(key: i16, length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length)
            .expect("it fits")
            .to_be_bytes()
            .to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.resize(4 + length, 0);
        bytes
    }

    #[tokio::test]
    async fn requests_are_read_one_after_the_other_to_the_end() {
        let budget = budget();
        let bytes = [framed(3, 8), framed(0, 300_000), framed(3, 9)].concat();
        let mut socket = bytes.as_slice();
        for length in [8, 300_000, 9] {
            let frame = read(&mut socket, &budget)
                .await
                .expect("readable")
                .expect("a request");
            assert_eq!(frame.bytes.len(), length);
        }
        assert!(read(&mut socket, &budget).await.expect("the end").is_none());
        assert_eq!(budget.available_permits(), limits::FRAMES_BYTES);
    }

    #[tokio::test]
    async fn short_long_negative_and_truncated_requests_are_errors() {
        let budget = budget();
        for bytes in [
            framed(3, 7),
            framed(3, limits::OTHER_FRAME_BYTES + 1),
            vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
            framed(0, 100)[..50].to_vec(),
            vec![0, 0],
        ] {
            assert!(read(&mut bytes.as_slice(), &budget).await.is_err());
        }
    }
}
