//! Reading requests from a socket.
//!
//! A length that a client announces is never allocated at once: the buffer grows with the bytes that have
//! come. Memory is shared out only to clients that send, and a request that has begun must come at a certain
//! rate to its end, so whoever trickles holds up nobody but the like of him.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::broker::limits;

/// The bytes that every request begins with: key, version, correlation id.
const PREFIX_BYTES: usize = 8;

/// What all requests together may hold beyond their first [`limits::SMALL_FRAME_BYTES`].
///
/// A request of a usual size takes all it needs in one step once its first bytes are there, so it never holds
/// memory while it waits for more, and requests can't block each other. A huge one takes the turn of the huge
/// ones for its rest: one at a time, whose memory is set aside.
#[derive(Debug)]
pub struct Budget {
    usual: Semaphore,
    turn: Semaphore,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            usual: Semaphore::new(limits::FRAMES_BYTES - limits::PRODUCE_FRAME_BYTES),
            turn: Semaphore::new(1),
        }
    }
}

/// A request, and the share of memory it holds.
#[derive(Debug)]
pub struct Frame<'a> {
    pub bytes: Bytes,
    share: Option<SemaphorePermit<'a>>,
    turn: Option<SemaphorePermit<'a>>,
}

impl Frame<'_> {
    /// Lets other long requests have the memory; this one is among the shorter kinds.
    pub fn give_back_share(&mut self) {
        self.share = None;
        self.turn = None;
    }
}

/// Reads the next request; `None` where the client has closed the connection between two.
pub async fn read<'a, R: AsyncRead + Unpin>(
    socket: &mut R,
    budget: &'a Budget,
) -> io::Result<Option<Frame<'a>>> {
    read_within(socket, budget, limits::STALL).await
}

async fn read_within<'a, R: AsyncRead + Unpin>(
    socket: &mut R,
    budget: &'a Budget,
    stall: Duration,
) -> io::Result<Option<Frame<'a>>> {
    let mut length = [0; 4];
    let began = timeout(limits::IDLE, socket.read(&mut length)).await??;
    if began == 0 {
        return Ok(None);
    }
    let mut deadline = Instant::now() + stall;
    timeout_at(deadline, socket.read_exact(&mut length[began..])).await??;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(PREFIX_BYTES..=limits::PRODUCE_FRAME_BYTES).contains(&length) {
        return Err(refused(format!("a request of {length} bytes")));
    }
    let mut buffer = BytesMut::with_capacity(length.min(limits::SMALL_FRAME_BYTES));
    fill(socket, &mut buffer, PREFIX_BYTES, deadline).await?;
    let is_produce = buffer[..2] == (ApiKey::Produce as i16).to_be_bytes();
    if !is_produce && length > limits::OTHER_FRAME_BYTES {
        return Err(refused(format!(
            "a request of {length} bytes without records"
        )));
    }
    let first = length.min(limits::SMALL_FRAME_BYTES);
    fill(socket, &mut buffer, first, deadline).await?;
    let mut share = None;
    if length > first {
        let usual = length.min(limits::USUAL_FRAME_BYTES);
        let permits = u32::try_from(usual).expect("it is below the largest frame");
        share = Some(wait_for(budget.usual.acquire_many(permits), stall, &mut deadline).await?);
        grow(socket, &mut buffer, usual, &mut deadline).await?;
    }
    let mut turn = None;
    if length > buffer.len() {
        turn = Some(wait_for(budget.turn.acquire(), stall, &mut deadline).await?);
        grow(socket, &mut buffer, length, &mut deadline).await?;
    }
    Ok(Some(Frame {
        bytes: buffer.freeze(),
        share,
        turn,
    }))
}

/// Waits for memory, which is not held against the client.
async fn wait_for<'a>(
    permit: impl Future<Output = Result<SemaphorePermit<'a>, AcquireError>>,
    stall: Duration,
    deadline: &mut Instant,
) -> io::Result<SemaphorePermit<'a>> {
    let began = Instant::now();
    let permit = timeout(stall, permit).await?.map_err(io::Error::other)?;
    *deadline += began.elapsed();
    Ok(permit)
}

/// Reads until the buffer holds `until` bytes: each part must come at the least rate there is.
async fn grow<R: AsyncRead + Unpin>(
    socket: &mut R,
    buffer: &mut BytesMut,
    until: usize,
    deadline: &mut Instant,
) -> io::Result<()> {
    while buffer.len() < until {
        let step = buffer.len().min(limits::USUAL_FRAME_BYTES);
        let next = until.min(buffer.len() + step);
        let more = (next - buffer.len()) as f64 / limits::FRAME_BYTES_PER_SECOND;
        *deadline += Duration::from_secs_f64(more);
        fill(socket, buffer, next, *deadline).await?;
    }
    Ok(())
}

/// Reads until the buffer holds `until` bytes and no more.
async fn fill<R: AsyncRead + Unpin>(
    socket: &mut R,
    buffer: &mut BytesMut,
    until: usize,
    deadline: Instant,
) -> io::Result<()> {
    buffer.reserve(until - buffer.len());
    while buffer.len() < until {
        let missing = (until - buffer.len()) as u64;
        let mut limited = (&mut *socket).take(missing);
        if timeout_at(deadline, limited.read_buf(buffer)).await?? == 0 {
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
        let budget = Budget::default();
        let bytes = [
            framed(3, 8),
            framed(0, 300_000),
            framed(0, 5_000_000),
            framed(3, 9),
        ]
        .concat();
        let mut socket = bytes.as_slice();
        for length in [8, 300_000, 5_000_000, 9] {
            let frame = read(&mut socket, &budget)
                .await
                .expect("readable")
                .expect("a request");
            assert_eq!(frame.bytes.len(), length);
        }
        assert!(read(&mut socket, &budget).await.expect("the end").is_none());
        let all = limits::FRAMES_BYTES - limits::PRODUCE_FRAME_BYTES;
        assert_eq!(budget.usual.available_permits(), all);
        assert_eq!(budget.turn.available_permits(), 1);
    }

    #[tokio::test]
    async fn short_long_negative_and_truncated_requests_are_errors() {
        let budget = Budget::default();
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

    /// The client's end of a connection on which `sent` bytes of a produce request of `length` have come.
    async fn begun(
        length: usize,
        sent: usize,
    ) -> (tokio::io::DuplexStream, tokio::io::DuplexStream) {
        let (mut client, server) = tokio::io::duplex((4 + length).min(6_000_000));
        let frame = &framed(0, length)[..4 + sent];
        tokio::io::AsyncWriteExt::write_all(&mut client, frame)
            .await
            .expect("there is room");
        (client, server)
    }

    #[tokio::test]
    async fn slow_clients_hold_up_only_their_own_requests() {
        let budget = Budget::default();
        let read_all = |mut socket: tokio::io::DuplexStream| {
            let budget = &budget;
            async move { read(&mut socket, budget).await.map(|frame| frame.is_some()) }
        };
        let mut kept = Vec::new();
        let mut stuck = Vec::new();
        for sent in [8, 100_000, 3_000_000, 4_000_000, 5_000_000] {
            let (client, server) = begun(limits::PRODUCE_FRAME_BYTES, sent).await;
            kept.push(client);
            let mut reading = Box::pin(read_all(server));
            let some = timeout(Duration::from_millis(20), &mut reading).await;
            some.expect_err("there is more to come");
            stuck.push(reading);
        }
        let (_client, server) = begun(1_000_000, 1_000_000).await;
        let other = timeout(Duration::from_secs(5), read_all(server)).await;
        assert!(other.expect("it waits for none of them").expect("readable"));
    }

    #[tokio::test]
    async fn trickle_does_not_keep_a_request_alive() {
        let budget = Budget::default();
        let (mut client, mut server) = begun(200_000, 8).await;
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                tokio::io::AsyncWriteExt::write_all(&mut client, &[0])
                    .await
                    .expect("there is room");
            }
        };
        let stall = Duration::from_millis(50);
        let ended = tokio::select! {
            ended = read_within(&mut server, &budget, stall) => ended,
            ended = trickle => ended,
        };
        assert_eq!(
            ended.expect_err("it is too slow").kind(),
            io::ErrorKind::TimedOut
        );
    }
}
