//! What the dashboard costs: for an event, at 100,000 a second, and for a client, with 1,000 of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Scope;
use crate::kafka::Kafka;
use crate::process::{Running, fireworks, processor_time};
use crate::report::{Part, Row};
use crate::support::{page_address, unique, wait_for};

const RATE: usize = 100_000;
const CLIENTS: usize = 1_000;
/// For how long it is watched.
const WATCH: Duration = Duration::from_secs(10);
/// Until the picture is as it stays: back-fill, buffers.
const WARM_UP: Duration = Duration::from_secs(8);

pub fn measure(scope: &Scope) -> Part {
    let events = (0..scope.runs).map(|_| an_event()).collect();
    let clients = (0..scope.runs).map(|_| a_client()).collect();
    let rows = vec![
        Row::limited("an event", "µs of processor time", events, 2.0),
        Row::limited("a client", "% of a core", clients, 0.05),
    ];
    let about = format!(
        "The whole process, over {} s. An event: `generate` writes {RATE} readings of 1,000 devices a second, and one client\n\
         follows; counted are the events that were written. A client: {CLIENTS} of them follow the picture of five devices at\n\
         ten readings a second each, told ten times a second; the cost without them is taken off.",
        WATCH.as_secs()
    );
    Part::new("The dashboard", &about, rows)
}

/// A source, and a dashboard of it.
struct Pipeline {
    _source: Running,
    dashboard: Running,
    page: String,
    topic: String,
}

impl Pipeline {
    fn start(kafka: &Kafka, source: &[&str]) -> Pipeline {
        let topic = unique("dashboard");
        let names = ["--topic", &topic, "--bootstrap-servers", &kafka.address];
        let generate = [&["generate"], source, &names[..]].concat();
        let source = Running::start("generate", fireworks(&generate));
        let listen = ["dashboard", "--listen", "127.0.0.1:0"];
        let dashboard = [&listen[..], &names[..]].concat();
        let dashboard = Running::start("dashboard", fireworks(&dashboard));
        let page = wait_for("the page's address", || page_address(&dashboard.log()));
        Pipeline {
            _source: source,
            dashboard,
            page,
            topic,
        }
    }

    /// The share of a core that it uses while this is done.
    fn watch(&self, mut meanwhile: impl FnMut()) -> f64 {
        let (began, before) = (Instant::now(), processor_time(self.dashboard.id()));
        while began.elapsed() < WATCH {
            meanwhile();
            std::thread::sleep(Duration::from_millis(10));
        }
        let used = processor_time(self.dashboard.id()) - before;
        used.as_secs_f64() / began.elapsed().as_secs_f64()
    }
}

/// Microseconds of processor time.
fn an_event() -> f64 {
    let kafka = Kafka::embedded("256MiB");
    let source = [
        "--devices",
        "1000",
        "--interval",
        "10ms",
        "--advance-millis-per-batch",
        "10",
    ];
    let pipeline = Pipeline::start(&kafka, &source);
    std::thread::sleep(WARM_UP);
    let mut client = Client::follow(&pipeline.page);
    let before = kafka.records(&pipeline.topic);
    let began = Instant::now();
    let share = pipeline.watch(|| client.read());
    let rate = (kafka.records(&pipeline.topic) - before) as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} events a second, {:.0} % of a core", share * 1e2);
    share / rate * 1e6
}

/// Percent of a core.
fn a_client() -> f64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let kafka = Kafka::embedded("256MiB");
    let source = ["--interval", "100ms", "--advance-millis-per-batch", "100"];
    let pipeline = Pipeline::start(&kafka, &source);
    std::thread::sleep(WARM_UP);
    let alone = pipeline.watch(|| {});
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| Client::follow(&pipeline.page))
        .collect();
    let together = pipeline.watch(|| clients.iter_mut().for_each(Client::read));
    println!(
        "alone {:.1} % of a core, with {CLIENTS} clients {:.1} %",
        alone * 1e2,
        together * 1e2
    );
    (together - alone) / CLIENTS as f64 * 1e2
}

/// Asks for the stream of a page.
pub fn follow(page: &str) -> TcpStream {
    let mut stream = TcpStream::connect(page).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let request = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Somebody who reads a stream.
struct Client(TcpStream);

impl Client {
    fn follow(page: &str) -> Client {
        let mut stream = follow(page);
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0, "an answer");
        stream.set_nonblocking(true).unwrap();
        Client(stream)
    }

    fn read(&mut self) {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => panic!("the server has ended a stream"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a stream failed: {error}"),
            }
        }
    }
}
