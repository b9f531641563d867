//! How long an event takes: from its event time to a reader of `markov` that reads committed data, beside the same
//! through Kafka Streams; and to the screen of a browser, beside that reader.
//!
//! The load is open loop: `generate` keeps to its timetable, in which an event's time is when it is due, whatever
//! becomes of the events before.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use rdkafka::Offset;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::processor::{System, run};
use crate::Scope;
use crate::kafka::{Kafka, PARTITIONS};
use crate::load::Load;
use crate::process::{Running, fireworks, root};
use crate::report::{Part, Row, Target};
use crate::support::{page_address, unique, wait_for};

/// For how long events are timed.
const WATCH: Duration = Duration::from_secs(20);
/// Processes begin, clients connect, code is compiled.
const WARM_UP: Duration = Duration::from_secs(10);
/// How often pages are told what is new, which is no part of the dashboard's own share.
const TICK_MS: f64 = 100.0;
const LOW_RATE: usize = 1_000;

/// p50 and p99, in milliseconds.
type Quantiles = [f64; 2];

/// What came of one pipeline.
#[derive(Debug)]
struct Delays {
    reader: Quantiles,
    /// Where there is a browser, and it looks.
    screen: Option<Quantiles>,
}

pub fn measure(scope: &Scope) -> Part {
    let kafka = Kafka::apache();
    let load = Load::fill(&kafka, 1000, 500, 0.0);
    let sustainable = run(&kafka, System::Brownian, &load, 1, None).rate;
    kafka.delete(&[&load.topic]);
    // In batches of 10 ms.
    let half = (sustainable / 2.0 / 1000.0).round() as usize * 1000;

    let [mut low, mut streams, mut high, mut seen] = [const { Vec::new() }; 4];
    for _ in 0..scope.runs {
        low.push(pipeline(&kafka, System::Brownian, LOW_RATE, false));
        streams.push(pipeline(&kafka, System::Streams, LOW_RATE, false));
        high.push(pipeline(&kafka, System::Brownian, half, false));
        // A browser takes as much of the machine as all the rest.
        seen.push(pipeline(&kafka, System::Brownian, LOW_RATE, true));
        for delays in [&low, &streams, &high, &seen] {
            println!("{:.1?}", delays[delays.len() - 1]);
        }
    }
    let reader = |delays: &[Delays], quantile: usize| -> Vec<f64> {
        delays
            .iter()
            .map(|delays| delays.reader[quantile])
            .collect()
    };
    let unit = "ms from event time";
    let mut rows = Vec::new();
    for (quantile, name) in ["p50", "p99"].into_iter().enumerate() {
        let ours = reader(&low, quantile);
        let theirs = reader(&streams, quantile);
        let what = format!("a reader of `markov`, {name}");
        rows.push(Row::new(
            &what,
            unit,
            ours.clone(),
            "through Kafka Streams",
            theirs,
            Target::AtMost(1.0 / 3.0),
        ));
        let what = format!("the same at {half} a second, {name}");
        rows.push(Row::new(
            &what,
            unit,
            reader(&high, quantile),
            "at 1,000 a second",
            ours,
            Target::Any,
        ));
    }
    let screens: Option<Vec<Quantiles>> = seen.iter().map(|delays| delays.screen).collect();
    if let Some(screens) = screens {
        let p99: Vec<_> = screens.iter().map(|screen| screen[1]).collect();
        let shares = screens.iter().zip(&seen);
        let share = |quantile: usize| -> Vec<f64> {
            let share = |(screen, seen): (&Quantiles, &Delays)| {
                (screen[quantile] - seen.reader[quantile] - TICK_MS).max(0.0)
            };
            shares.clone().map(share).collect()
        };
        rows.push(Row::limited("a browser's screen, p99", unit, p99, 150.0));
        for (quantile, name) in ["p50", "p99"].into_iter().enumerate() {
            let what = format!("the screen beyond the reader and the tick, {name}");
            rows.push(Row::limited(&what, "ms", share(quantile), 50.0));
        }
    }
    let about = format!(
        "1,000 events a second by `generate`'s timetable, over {} s, on an Apache Kafka; Kafka Streams commits every 100 ms. Half\n\
         of what `brownian` sustained alone in this run, {sustainable:.0} a second, comes in batches of 10 ms. The screen is a\n\
         headless Chromium's, beside a reader in the same run; the tick, of {TICK_MS} ms, is how often a page is told what is new.",
        WATCH.as_secs()
    );
    Part::new("Latency", &about, rows)
}

/// A whole pipeline, its processor this system.
fn pipeline(kafka: &Kafka, system: System, rate: usize, has_screen: bool) -> Delays {
    let readings = unique("latency");
    let markov = format!("{readings}.markov");
    let state = format!("{markov}.state");
    for topic in [&readings, &markov] {
        kafka.create(topic);
    }
    kafka.create_compacted(&state);
    let stage = |arguments: &[&str]| {
        let kafka = ["--bootstrap-servers", &kafka.address];
        Running::start(arguments[0], fireworks(&[arguments, &kafka].concat()))
    };
    let command = system.command(kafka, &readings, &markov, &readings, 1);
    let processor = Running::start(system.name(), command);
    let interval = if rate == LOW_RATE { 1 } else { 10 };
    let (devices, advance) = ((rate * interval / 1000).to_string(), interval.to_string());
    let timetable = format!("{interval}ms");
    let source = [
        "--interval",
        &timetable,
        "--advance-millis-per-batch",
        &advance,
    ];
    let devices = ["--devices", &devices, "--topic", &readings];
    let generate = stage(&[&["generate"], &source[..], &devices].concat());
    let dashboard =
        has_screen.then(|| stage(&["dashboard", "--topic", &markov, "--listen", "127.0.0.1:0"]));
    let page = dashboard
        .as_ref()
        .map(|dashboard| wait_for("the page's address", || page_address(&dashboard.log())));
    let mut reader = Reader::new(kafka, &markov);
    reader.watch(WARM_UP);
    let delays = std::thread::scope(|scope| {
        let screen = page.map(|page| scope.spawn(move || browser(&page)));
        Delays {
            reader: reader.watch(WATCH),
            screen: screen.and_then(|screen| screen.join().unwrap()),
        }
    });
    processor.assert_runs();
    drop((generate, dashboard));
    processor.stop();
    kafka.delete(&[&readings, &markov, &state]);
    delays
}

/// Reads what is committed from now on.
struct Reader(BaseConsumer);

impl Reader {
    fn new(kafka: &Kafka, topic: &str) -> Reader {
        let partitions: Vec<_> = (0..PARTITIONS).collect();
        Reader(kafka.reader(topic, &partitions, Offset::End))
    }

    /// How old steps are when they come.
    fn watch(&mut self, time: Duration) -> Quantiles {
        let began = Instant::now();
        // Microseconds, of up to ten minutes, to three digits.
        let mut delays = Histogram::<u64>::new_with_max(600_000_000, 3).unwrap();
        while began.elapsed() < time {
            match self.0.poll(Duration::from_millis(100)) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => panic!("failed to read: {error}"),
                Some(Ok(message)) => {
                    let event_time = message.timestamp().to_millis().unwrap();
                    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let delay = now.unwrap().as_micros() as i64 - event_time * 1000;
                    delays.record(delay.max(0).unsigned_abs()).unwrap();
                }
            }
        }
        assert!(!delays.is_empty(), "no steps have come");
        [0.5, 0.99].map(|quantile| delays.value_at_quantile(quantile) as f64 / 1e3)
    }
}

/// What a headless Chromium sees; `None` where `make test-browser` has not installed what it takes.
fn browser(page: &str) -> Option<Quantiles> {
    let installed = root().join("target/browser");
    if !installed.join("node_modules/playwright-core").exists() {
        return None;
    }
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    let seconds = (WATCH.as_secs() - 5).to_string();
    let output = Command::new("node")
        .arg(root().join("benches/screen.mjs"))
        .args([&format!("http://{page}"), &seconds])
        .env("PLAYWRIGHT_CORE", installed)
        .env("CHROMIUM", chromium)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser has failed: {said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
