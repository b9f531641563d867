//! The dashboard under clients that come by the thousand, stop reading, or never finish asking.
//!
//! The real binary, measured from outside: its memory as the kernel tells it, and how late its messages are by
//! its own clock. `FIREWORKS_SOAK_SECONDS` prolongs the soak.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it measures, and says what")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Process, start, unique, wait_for};

const CLIENTS: usize = 1_000;
/// What a client may cost the server.
const CLIENT_BYTES: usize = 25_000;
/// How late all but one in a hundred messages may be, beside the tick.
const LATE: Duration = Duration::from_millis(100);

/// A dashboard of a topic into which a source writes ten times a second.
struct Dashboard {
    process: Process,
    _source: Process,
    address: String,
}

impl Dashboard {
    fn start() -> Dashboard {
        Dashboard::of(&["--advance-millis-per-batch", "100"])
    }

    /// A dashboard of what `generate` makes with these flags.
    fn of(flags: &[&str]) -> Dashboard {
        let topic = unique("load");
        let kafka = support::embedded();
        let mut arguments = vec!["generate", "--topic", &topic, "--interval", "100ms"];
        arguments.extend(["--bootstrap-servers", kafka]);
        arguments.extend(flags);
        let source = start(&arguments);
        let process = start(&[
            "dashboard",
            "--topic",
            &topic,
            "--listen",
            "127.0.0.1:0",
            "--bootstrap-servers",
            kafka,
        ]);
        let address = wait_for("the dashboard's address", || {
            support::page_address(&process.stderr())
        });
        let dashboard = Dashboard {
            process,
            _source: source,
            address,
        };
        wait_for("a picture with messages", || {
            let mut stream = dashboard.ask("/api/snapshot");
            let text = read_until(&mut stream, "\"field\":").unwrap_or_default();
            text.contains("\"kind\":\"live\"").then_some(())
        });
        dashboard
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Its resident memory, in bytes.
    fn memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<usize>().unwrap() * 1024
    }
}

/// One test at a time, with room for its connections: the others would be in its measurements.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    alone
}

/// Reads until the text is there; what has been read, or nothing where the connection ends first.
fn read_until(stream: &mut TcpStream, text: &str) -> Option<String> {
    let mut read = String::new();
    let mut buffer = [0; 16 * 1024];
    while !read.contains(text) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.push_str(&String::from_utf8_lossy(&buffer[..n])),
        }
    }
    Some(read)
}

/// A client that reads whatever is there, and says how late the messages in it are.
struct Client {
    stream: TcpStream,
    unread: String,
}

impl Client {
    fn follow(dashboard: &Dashboard) -> Client {
        let mut stream = dashboard.ask("/api/stream");
        read_until(&mut stream, "data: ").expect("a stream");
        stream.set_nonblocking(true).unwrap();
        Client {
            stream,
            unread: String::new(),
        }
    }

    fn read(&mut self, delays: &mut Vec<i64>) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server has ended a stream"),
                Ok(n) => self.unread.push_str(&String::from_utf8_lossy(&buffer[..n])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a stream failed: {error}"),
            }
        }
        let whole = self.unread.rfind("\n\n").map_or(0, |end| end + 2);
        for event in self.unread[..whole].split("\n\n") {
            // A snapshot's time is of when it was made, whenever it was asked for.
            let is_message = event.contains("data: ") && !event.contains("\"about\"");
            let at = event.split_once("\"at\":").filter(|_| is_message);
            if let Some((_, at)) = at {
                let digits: String = at.chars().take_while(char::is_ascii_digit).collect();
                delays.push(now() - digits.parse::<i64>().unwrap());
            }
        }
        self.unread.drain(..whole);
    }
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn p99(delays: &mut [i64]) -> Duration {
    delays.sort_unstable();
    let at = (delays.len() * 99 / 100).min(delays.len() - 1);
    Duration::from_millis(delays[at].max(0).unsigned_abs())
}

#[test]
fn thousand_clients_a_quarter_of_them_stalled_cost_little_and_delay_nobody() {
    let _alone = alone();
    let dashboard = Dashboard::start();
    // A few first: what the server needs once is not what a client costs.
    drop(
        (0..50)
            .map(|_| Client::follow(&dashboard))
            .collect::<Vec<_>>(),
    );
    let base = dashboard.memory();

    let stalled: Vec<TcpStream> = (0..CLIENTS / 4)
        .map(|_| dashboard.ask("/api/stream"))
        .collect();
    let mut reading: Vec<Client> = (0..CLIENTS - CLIENTS / 4)
        .map(|_| Client::follow(&dashboard))
        .collect();

    // The machine may be busy with others: it is looked at until it was quiet for a moment. What came while
    // the clients were still connecting is read first, and says nothing. A message may lie here unread for as
    // long as it takes to look at all clients once, which isn't the server's.
    reading
        .iter_mut()
        .for_each(|client| client.read(&mut Vec::new()));
    let began = Instant::now();
    let mut best = Duration::MAX;
    while best >= LATE && began.elapsed() < 2 * support::DEADLINE {
        let (mut delays, mut longest) = (Vec::new(), Duration::ZERO);
        let look = Instant::now();
        while look.elapsed() < Duration::from_secs(3) {
            let pass = Instant::now();
            reading
                .iter_mut()
                .for_each(|client| client.read(&mut delays));
            std::thread::sleep(Duration::from_millis(5));
            longest = longest.max(pass.elapsed());
        }
        assert!(
            delays.len() > reading.len(),
            "{} messages only",
            delays.len()
        );
        let late = p99(&mut delays);
        println!("p99 {late:?}, of which up to {longest:?} here");
        best = best.min(late.saturating_sub(longest));
    }
    let grown = dashboard.memory().saturating_sub(base);
    println!(
        "{CLIENTS} clients: p99 {best:?}, {} bytes a client",
        grown / CLIENTS
    );
    assert!(best < LATE, "the p99 delay is {best:?}");
    assert!(
        grown <= CLIENTS * CLIENT_BYTES,
        "{CLIENTS} clients cost {grown} bytes"
    );
    drop(stalled);
}

#[test]
fn clients_that_do_not_read_a_large_picture_hold_one_of_a_second_together() {
    let _alone = alone();
    let flags = [
        "--devices",
        "200",
        "--advance-millis-per-batch",
        "100",
        "--backfill",
        "2m",
    ];
    let dashboard = Dashboard::of(&flags);
    let size = wait_for("a large picture", || {
        let page = read_until(&mut dashboard.ask("/"), "</html>").unwrap_or_default();
        (page.len() > 800_000 && page.contains("\"kind\":\"live\"")).then_some(page.len())
    });
    let (base, began) = (dashboard.memory(), Instant::now());
    let mut stalled = Vec::new();
    for _ in 0..10 {
        for _ in 0..CLIENTS / 20 {
            stalled.push(dashboard.ask("/"));
            stalled.push(dashboard.ask("/api/stream"));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    let grown = dashboard.memory().saturating_sub(base);
    println!(
        "{} stalled clients of {size} bytes each cost {grown} bytes",
        stalled.len()
    );
    // What any client costs, and a picture as JSON and one in a page each second.
    let pictures = 2 * (began.elapsed().as_secs() as usize + 2);
    let most = CLIENTS * CLIENT_BYTES + pictures * size;
    assert!(grown <= most, "they cost {grown} bytes");
}

#[test]
fn request_that_never_ends_loses_its_connection_and_delays_nobody() {
    let _alone = alone();
    let dashboard = Dashboard::start();
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(&dashboard.address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(40)))
                .unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
            stream
        })
        .collect();
    let mut page = dashboard.ask("/");
    assert!(read_until(&mut page, "</html>").is_some(), "the page");
    for stream in &mut slow {
        let mut rest = Vec::new();
        // However it ends, it ends; a time-out of the read would be an error of another kind.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is open still");
        }
    }
}

#[test]
fn memory_stays_flat_while_clients_come_and_go() {
    let seconds = std::env::var("FIREWORKS_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(20, |seconds| seconds.parse().unwrap());
    let _alone = alone();
    let dashboard = Dashboard::start();
    let come_and_go = |duration: Duration| {
        let began = Instant::now();
        let mut ignored = Vec::new();
        while began.elapsed() < duration {
            let mut clients: Vec<Client> = (0..40).map(|_| Client::follow(&dashboard)).collect();
            for _ in 0..20 {
                clients
                    .iter_mut()
                    .for_each(|client| client.read(&mut ignored));
                std::thread::sleep(Duration::from_millis(10));
            }
            ignored.clear();
        }
    };
    // Messages are kept for a minute for those who come back; a short soak has that growth in it.
    come_and_go(Duration::from_secs(seconds / 2));
    let half = dashboard.memory();
    come_and_go(Duration::from_secs(seconds - seconds / 2));
    let grown = dashboard.memory().saturating_sub(half);
    println!("{seconds} s: {half} bytes, and {grown} more");
    assert!(
        grown < 8 << 20,
        "it grew by {grown} bytes in {} s",
        seconds / 2
    );
}
