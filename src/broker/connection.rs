//! One client connection: a request, its answer, the next request.
//!
//! Requests of one connection are answered in the order in which they came, as the protocol demands.
//! Whatever is wrong with what a client sends ends its own connection and nothing else.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::api::{self, Answer};
use super::limits;
use super::state::Core;
use super::wire::frame;

/// What a connection reads ahead.
const READ_AHEAD_BYTES: usize = 16 * 1024;
/// What a client must have taken of an answer to count as reading it.
const PROGRESS_BYTES: usize = 64 * 1024;

/// Serves a client until it goes or misbehaves. Dropping the future ends the connection at once.
pub async fn serve(core: &Core, mut socket: TcpStream, peer: SocketAddr) {
    match converse(core, &mut socket, peer).await {
        Ok(()) => tracing::trace!(%peer, "the client closed the connection"),
        Err(error) => tracing::debug!(%peer, %error, "closing the connection"),
    }
}

async fn converse(core: &Core, socket: &mut TcpStream, peer: SocketAddr) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (reader, mut writer) = socket.split();
    let mut reader = BufReader::with_capacity(READ_AHEAD_BYTES, reader);
    while let Some(mut frame) = frame::read(&mut reader, &core.frames).await? {
        let may_wait = api::may_wait(&frame.bytes);
        // Moved, not shared: what waits lets go of the request's bytes as soon as it has read them.
        let answering = api::answer(core, std::mem::take(&mut frame.bytes), peer);
        let answer = if may_wait {
            // What waits must not keep others from sending long requests.
            frame.give_back_share();
            tokio::select! {
                biased;
                answer = answering => answer,
                () = hang_up(&mut reader) => return Ok(()),
            }
        } else {
            answering.await
        };
        // What was appended has memory of its own, so the request can go before the answer does.
        drop(frame);
        match answer {
            Answer::Reply(pieces) => {
                write(&core.answers, &mut writer, pieces, &Patience::default()).await?;
            }
            Answer::Nothing => {}
            Answer::Close(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        }
    }
    Ok(())
}

/// How long an answer may lie there unread.
struct Patience {
    /// How often to look whether memory has become scarce.
    look: Duration,
    /// While memory is scarce.
    stall: Duration,
    /// While it isn't.
    limit: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            look: limits::SWEEP,
            stall: limits::STALL,
            limit: limits::IDLE,
        }
    }
}

/// Writes an answer. A consumer that is busy with its last records may leave the next ones lying for minutes
/// (the Java client fetches ahead and reads when it is polled): it is left in peace as long as the memory of
/// all answers lasts, and closed early only when that is wanted by others.
async fn write(
    budget: &Semaphore,
    writer: &mut (impl AsyncWrite + Unpin),
    pieces: Vec<Bytes>,
    patience: &Patience,
) -> io::Result<()> {
    let mut pieces = Outgoing::new(pieces);
    let _share = if pieces.left > limits::SMALL_FRAME_BYTES {
        let permits = u32::try_from(pieces.left).expect("answers are bounded");
        // Twice as long as it takes those who stall to be found out.
        let share = timeout(2 * patience.stall, budget.acquire_many(permits)).await?;
        Some(share.map_err(io::Error::other)?)
    } else {
        None
    };
    let (mut since, mut left) = (Instant::now(), pieces.left);
    while pieces.has_remaining() {
        if let Ok(written) = timeout(patience.look, writer.write_buf(&mut pieces)).await {
            if written? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            // Drops are no progress: whoever reads, reads more than that.
            if pieces.left + PROGRESS_BYTES <= left {
                (since, left) = (Instant::now(), pieces.left);
            }
        }
        let stalled = since.elapsed();
        let is_scarce = budget.available_permits() < limits::ANSWERS_SCARCE_BYTES;
        let too_long = stalled >= patience.limit || is_scarce && stalled >= patience.stall;
        if too_long && pieces.has_remaining() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Waits until the client is gone, so that a fetch or a join doesn't outlive it. What it sends meanwhile
/// stays where it is until its turn comes.
async fn hang_up(reader: &mut (impl AsyncBufRead + Unpin)) {
    if let Ok([_, ..]) = reader.fill_buf().await {
        std::future::pending::<()>().await;
    }
}

/// Pieces of an answer, written with as few system calls as possible.
struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// The bytes of all of them.
    left: usize,
}

impl Outgoing {
    fn new(pieces: Vec<Bytes>) -> Outgoing {
        Outgoing {
            left: pieces.iter().map(Bytes::len).sum(),
            pieces: pieces.into(),
        }
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        self.left -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > count {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const QUICK: Patience = Patience {
        look: Duration::from_millis(2),
        stall: Duration::from_millis(20),
        limit: Duration::from_secs(600),
    };

    #[tokio::test]
    async fn answer_may_lie_unread_while_there_is_memory() {
        let budget = Semaphore::new(limits::ANSWERS_BYTES);
        let (mut client, mut server) = tokio::io::duplex(1024);
        let answer = Bytes::from(vec![7; 1_000_000]);
        let reading = async {
            tokio::time::sleep(5 * QUICK.stall).await;
            let mut read = Vec::new();
            let mut limited = (&mut client).take(answer.len() as u64);
            limited.read_to_end(&mut read).await.expect("readable");
            read.len()
        };
        let writing = write(&budget, &mut server, vec![answer.clone()], &QUICK);
        let (written, read) = tokio::join!(writing, reading);
        written.expect("it has time");
        assert_eq!(read, answer.len());
        assert_eq!(budget.available_permits(), limits::ANSWERS_BYTES);
    }

    #[tokio::test]
    async fn unread_answer_gives_way_when_memory_is_scarce() {
        let answer = Bytes::from(vec![7; 1_000_000]);
        let budget = Semaphore::new(answer.len());
        let (_client, mut server) = tokio::io::duplex(1024);
        let unread = write(&budget, &mut server, vec![answer.clone()], &QUICK);
        let error = unread.await.expect_err("others need the memory");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(budget.available_permits(), answer.len());
    }

    #[test]
    fn pieces_are_written_whole_in_any_steps() {
        for step in 1..8 {
            let pieces = ["ab", "", "cde", "f"].map(|text| Bytes::from_static(text.as_bytes()));
            let mut outgoing = Outgoing::new(pieces.into());
            let mut written: Vec<u8> = Vec::new();
            while outgoing.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = outgoing.chunks_vectored(&mut slices);
                let offered: Vec<u8> = slices[..filled]
                    .iter()
                    .flat_map(|slice| slice.to_vec())
                    .collect();
                let count = offered.len().min(step);
                written.extend(&offered[..count]);
                outgoing.advance(count);
            }
            assert_eq!(written, b"abcdef");
        }
    }
}
