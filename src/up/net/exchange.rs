//! One question to a DNS server and its answer, by UDP or TCP.
//!
//! Messages pass as they are. Every exchange has a socket of its own, bound to that one server, and ends by its
//! deadline.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        })
    }
}

/// How an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody is there, or nobody can be got to.
    Unreachable(String),
    /// Nothing answered in time.
    NoAnswer,
    /// The connection came about, and then nothing came through it: answers take another way.
    Silent,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreachable(why) => f.write_str(why),
            Fault::NoAnswer => f.write_str("nothing answers"),
            Fault::Silent => f.write_str("it connects, and then nothing comes through"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Unreachable(error.to_string())
    }
}

/// Sends `query` to `server` and returns its answer.
pub async fn ask(
    server: SocketAddr,
    transport: Transport,
    query: &[u8],
    within: Duration,
) -> Result<Vec<u8>, Fault> {
    match transport {
        Transport::Udp => timeout(within, by_udp(server, query))
            .await
            .unwrap_or(Err(Fault::NoAnswer)),
        Transport::Tcp => {
            let connected = timeout(within, TcpStream::connect(server)).await;
            let mut stream = connected.map_err(|_| Fault::NoAnswer)??;
            timeout(within, by_tcp(&mut stream, query))
                .await
                .unwrap_or(Err(Fault::Silent))
        }
    }
}

async fn by_udp(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, Fault> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; message::LARGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if message::answers(&answer[..length], query) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_tcp(stream: &mut TcpStream, query: &[u8]) -> Result<Vec<u8>, Fault> {
    write_message(stream, query).await?;
    let answer = read_message(stream).await?;
    match answer {
        Some(answer) if message::answers(&answer, query) => Ok(answer),
        Some(_) => Err(Fault::Unreachable(
            "the answer is to another question".into(),
        )),
        None => Err(Fault::Unreachable("the connection was closed".into())),
    }
}

/// Writes a message as TCP has it: behind its length.
pub async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let framed = [&length.to_be_bytes()[..], message].concat();
    to.write_all(&framed).await
}

/// Reads a message as TCP has it; none at the end of the stream.
pub async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u16().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    let mut message = vec![0; usize::from(length)];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}
