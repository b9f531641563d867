//! How long an event takes, at 1,000 a second: from its event time to a reader of `markov` that reads committed
//! data, and to the screen of a browser, side by side on one pipeline of real processes.
//!
//! The load is open loop: `generate` keeps to its timetable, in which an event's time is when it is due, whatever
//! becomes of the events before. It runs on the Kafka at `FIREWORKS_TEST_BOOTSTRAP_SERVERS`, or on an embedded broker
//! in a process of its own. `FIREWORKS_BENCH_SECONDS` (30) says for how long. Without chromium, Node.js and what
//! `make test-browser` installs, the screen is left out.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are its output")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use support::{Process, start, unique, wait_for};

const PARTITIONS: i32 = 6;
/// Processes begin, clients connect, code is warmed up.
const WARM_UP: Duration = Duration::from_secs(5);
/// How often pages are told what is new, which is no part of the dashboard's own share.
const TICK_MS: f64 = 100.0;

fn main() {
    let seconds = std::env::var("FIREWORKS_BENCH_SECONDS")
        .map_or(30, |value| value.parse().expect("a number of seconds"));
    let broker = Broker::new();
    let readings = unique("latency");
    let markov = format!("{readings}.markov");
    let stage = |arguments: &[&str]| {
        start(&[arguments, &["--bootstrap-servers", &broker.address]].concat())
    };
    let timetable = ["--interval", "1ms", "--advance-millis-per-batch", "1"];
    let devices = ["--devices", "1", "--topic", &readings];
    let names = [
        "--input", &readings, "--output", &markov, "--group", &readings,
    ];
    let dashboard = stage(&["dashboard", "--topic", &markov, "--listen", "127.0.0.1:0"]);
    let _brownian = stage(&[&["brownian", "--workers", "1"], &names[..]].concat());
    let _generate = stage(&[&["generate"], &timetable[..], &devices[..]].concat());
    let page = wait_for("the page's address", || {
        let log = dashboard.stderr();
        let at = log.find("http://localhost:")?;
        Some(log[at..].split_whitespace().next()?.to_owned())
    });
    wait_for("steps", || {
        (support::committed_at(&broker.address, &markov).len() > 1000).then_some(())
    });
    std::thread::sleep(WARM_UP);

    let screen = std::thread::spawn(move || browser(&page, seconds));
    let mut delays = read(&broker.address, &markov, Duration::from_secs(seconds));
    let screen = screen.join().unwrap();
    delays.sort_unstable_by(f64::total_cmp);
    println!("1,000 events a second for {seconds} s, milliseconds from event time (p50, p99)");
    let reader = [quantile(&delays, 0.5), quantile(&delays, 0.99)];
    println!(
        "reader of markov   {:6.1}  {:6.1}   of {} steps",
        reader[0],
        reader[1],
        delays.len()
    );
    match screen {
        None => println!("screen             left out: make test-browser installs what it needs"),
        Some([p50, p99]) => println!(
            "screen             {p50:6.1}  {p99:6.1}   limit 150\n\
             the page's share           {:6.1}   limit 50, beside the tick of {TICK_MS} ms",
            p99 - reader[1] - TICK_MS
        ),
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// Reads what is committed from now on; how old each step is when it comes.
fn read(kafka: &str, topic: &str, time: Duration) -> Vec<f64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", topic)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "100")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::End)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let (began, mut delays) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let event_time = message.unwrap().timestamp().to_millis().unwrap();
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap();
            delays.push(now.as_secs_f64() * 1e3 - event_time as f64);
        }
    }
    delays
}

/// What a headless Chromium sees: p50 and p99; `None` where there is none.
fn browser(page: &str, seconds: u64) -> Option<[f64; 2]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = root.join("target/browser");
    if !installed.join("node_modules/playwright-core").exists() {
        return None;
    }
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    let output = Command::new("node")
        .arg(root.join("benches/screen.mjs"))
        .args([page, &seconds.to_string()])
        .env("PLAYWRIGHT_CORE", installed)
        .env("CHROMIUM", chromium)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser has failed: {said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The Kafka to measure on.
struct Broker {
    address: String,
    _process: Option<Process>,
}

impl Broker {
    fn new() -> Broker {
        if let Ok(address) = std::env::var("FIREWORKS_TEST_BOOTSTRAP_SERVERS") {
            return Broker {
                address,
                _process: None,
            };
        }
        let process = start(&["broker", "--listen", "127.0.0.1:0"]);
        let address = wait_for("the broker's address", || {
            let log = process.stderr();
            let rest = log.split_once("Kafka protocol on ")?.1;
            Some(rest.split_once(',')?.0.to_owned())
        });
        Broker {
            address,
            _process: Some(process),
        }
    }
}
