//! Connections of HTTP clients: accepted, limited, and ended in time.
//!
//! A leaf: what is answered is its caller's, as warp's routes.
//!
//! warp's own server has no time-outs, no limit and no way to end a stream, so its service runs on our
//! accept loop. A client that sends its request too slowly, or stops reading, loses its connection; it
//! never costs another client anything.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use warp::{Filter, Reply};

use crate::error::Help;
use crate::shutdown::Shutdown;

const MAX_CONNECTIONS: usize = 2_000;
/// File descriptors that are not connections: Kafka's client, the listeners, and what comes and goes.
const OTHER_FILES: u64 = 128;
/// Refusals that are being written.
const MAX_REFUSALS: usize = 32;
/// For a request's header, and between two requests on a connection.
const HEADER: Duration = Duration::from_secs(10);
/// How long a client may read nothing while there is something for it.
const STALLED: Duration = Duration::from_secs(30);
/// What the kernel holds for a client that reads slowly; its own default is megabytes.
const SEND_BUFFER: u32 = 256 * 1024;
const REQUEST_BUFFER: usize = 32 * 1024;
/// How long a stop waits for replies that are under way.
const DRAIN: Duration = Duration::from_millis(700);
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 22\r\n\
    retry-after: 5\r\nconnection: close\r\n\r\ntoo many connections.\n";

/// Takes a port for `what`: the `address` that `flag` names, as HOST:PORT, where port 0 is any that is free.
/// `example` is for the remedy.
pub async fn bind(
    what: &str,
    flag: &str,
    address: &str,
    example: &str,
) -> anyhow::Result<TcpListener> {
    let found = tokio::net::lookup_host(address).await.ok();
    let wanted = found
        .and_then(|mut found| found.next())
        .ok_or_else(|| anyhow!("invalid {flag} `{address}`"))
        .help(|| format!("write it as HOST:PORT, for example {example}"))?;
    listen(wanted)
        .with_context(|| format!("failed to serve {what} on {flag} `{address}`"))
        .help(|| {
            format!(
                "another program may have the port: pass {flag} {} for a free one",
                SocketAddr::new(wanted.ip(), 0)
            )
        })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

/// How many connections there is room for. A process may open 1,024 files unless it asks for more, and one that
/// runs out of them can't even refuse: so it asks, and keeps some for itself.
fn max_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = MAX_CONNECTIONS as u64 + OTHER_FILES;
    let current = limit.current.unwrap_or(wanted);
    let raised = limit.maximum.unwrap_or(wanted).max(current);
    let raise = Rlimit {
        current: limit.maximum.or(Some(raised)),
        ..limit
    };
    let files = match setrlimit(Resource::Nofile, raise) {
        Ok(()) => raised,
        Err(_) => current,
    };
    usize::try_from(files.saturating_sub(OTHER_FILES))
        .map_or(MAX_CONNECTIONS, |room| room.clamp(1, MAX_CONNECTIONS))
}

/// Answers until the shutdown, then ends every connection within a moment. The streams must be ended by
/// whoever feeds them.
pub async fn serve<F, R>(listener: TcpListener, routes: F, shutdown: Shutdown)
where
    F: Filter<Extract = (R,), Error = Infallible> + Clone + Send + Sync + 'static,
    R: Reply + 'static,
{
    serve_some(listener, routes, shutdown, max_connections()).await;
}

/// [`serve`], for so many connections at a time.
async fn serve_some<F, R>(listener: TcpListener, routes: F, shutdown: Shutdown, connections: usize)
where
    F: Filter<Extract = (R,), Error = Infallible> + Clone + Send + Sync + 'static,
    R: Reply + 'static,
{
    let service = TowerToHyperService::new(warp::service(routes));
    let (room, refusals) = (
        Arc::new(Semaphore::new(connections)),
        Arc::new(Semaphore::new(MAX_REFUSALS)),
    );
    let (graceful, mut connections) = (GracefulShutdown::new(), JoinSet::new());
    let stop = shutdown.requested();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: it passes when a connection ends.
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        // Otherwise a small message waits for the acknowledgement of the one before.
        stream.set_nodelay(true).ok();
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                connections.spawn(async move {
                    refuse(stream).await;
                    drop(place);
                });
            }
            continue;
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .max_buf_size(REQUEST_BUFFER)
            .serve_connection(TokioIo::new(Patient::new(stream)), service.clone());
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::debug!(open = connections.len(), "cutting connections");
    }
    connections.shutdown().await;
}

/// Says that there is no room. The request is read first: closing with it unread would reset the
/// connection and the reply with it.
async fn refuse(mut stream: TcpStream) {
    let reply = async {
        let _request = stream.read(&mut [0; 4_096]).await?;
        stream.write_all(BUSY).await?;
        stream.shutdown().await
    };
    timeout(Duration::from_secs(1), reply).await.ok();
}

/// A connection that fails once nothing could be written to it for too long.
struct Patient {
    stream: TcpStream,
    /// Armed while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Patient {
        Patient {
            stream,
            waiting: None,
        }
    }

    fn limit<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + STALLED)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.limit(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        stream
    }

    async fn reply(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 1_024];
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await;
        let read = read
            .expect("an answer in time")
            .expect("a connection that lives");
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    #[tokio::test]
    async fn connection_too_many_is_told_when_to_come_back_and_has_room_once_another_ends() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (trigger, shutdown) = Shutdown::manual();
        let server = tokio::spawn(serve_some(
            listener,
            warp::any().map(|| "hello"),
            shutdown,
            2,
        ));
        let mut first = ask(address).await;
        let mut second = ask(address).await;
        for stream in [&mut first, &mut second] {
            assert!(reply(stream).await.starts_with("HTTP/1.1 200 OK"));
        }
        let refused = reply(&mut ask(address).await).await;
        assert!(
            refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 5\r\n"),
            "{refused}"
        );
        let (_, body) = refused.split_once("\r\n\r\n").expect("a body");
        assert!(refused.contains(&format!("content-length: {}\r\n", body.len())));
        drop(first);
        let again = async {
            while !reply(&mut ask(address).await)
                .await
                .starts_with("HTTP/1.1 200 OK")
            {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), again).await.expect("room");
        trigger.request();
        server.await.expect("no panic");
    }

    #[test]
    fn there_is_room_for_what_the_process_may_open_and_no_more() {
        let room = max_connections();
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(room <= MAX_CONNECTIONS && (room as u64) < files);
    }
}
