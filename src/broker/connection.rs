//! One client connection: a request, its answer, the next request.
//!
//! Requests of one connection are answered in the order in which they came, as the protocol demands.
//! Whatever is wrong with what a client sends ends its own connection and nothing else.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::api::{self, Answer};
use super::limits;
use super::state::Core;
use super::wire::frame;

/// What a connection reads ahead.
const READ_AHEAD_BYTES: usize = 16 * 1024;

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
        let answering = api::answer(core, frame.bytes.clone(), peer);
        let answer = if api::may_wait(&frame.bytes) {
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
                let mut pieces = Outgoing(pieces.into());
                while pieces.has_remaining() {
                    timeout(limits::STALL, writer.write_buf(&mut pieces)).await??;
                }
            }
            Answer::Nothing => {}
            Answer::Close(why) => return Err(io::Error::new(io::ErrorKind::InvalidData, why)),
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
struct Outgoing(VecDeque<Bytes>);

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.0);
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.0.front_mut() {
            if piece.len() > count {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_whole_in_any_steps() {
        for step in 1..8 {
            let pieces = ["ab", "", "cde", "f"].map(|text| Bytes::from_static(text.as_bytes()));
            let mut outgoing = Outgoing(pieces.into());
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
