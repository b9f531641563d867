//! How long a restart takes: the real binary restores full windows, beside a reader that throws the same bytes
//! away.
//!
//! It runs on the Kafka at `FIREWORKS_TEST_BOOTSTRAP_SERVERS`, or on an embedded broker in a process of its own.
//! `FIREWORKS_BENCH_DEVICES` (100000) and `FIREWORKS_BENCH_WORKERS` (one per core) change what is measured. It
//! asserts that every device came back, and no time: that is for whoever reads the figures.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are its output")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use fireworks::kafka::partitioner;
use fireworks::model::event_time::EventTime;
use fireworks::model::state::{self, Owner};
use fireworks::model::window::{CAPACITY, Held};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use support::{create_topic_at, start, unique};

const PARTITIONS: i32 = 6;
/// What a restore may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let devices = number("FIREWORKS_BENCH_DEVICES").unwrap_or(100_000);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = number("FIREWORKS_BENCH_WORKERS").unwrap_or(cores);
    let broker = Broker::new();
    let input = unique("restore");
    let output = format!("{input}.markov");
    let topic = format!("{output}.state");
    create_topic_at(&broker.address, &input, PARTITIONS, &[]);
    create_topic_at(
        &broker.address,
        &topic,
        PARTITIONS,
        &[
            ("cleanup.policy", "compact"),
            ("segment.bytes", "33554432"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
        ],
    );
    let bytes = fill(&broker.address, &input, &topic, devices);
    let records = devices * CAPACITY;
    println!(
        "{devices} devices with full windows: {records} records, {:.1} bytes each with their key; {workers} workers, {cores} cores",
        bytes as f64 / records as f64
    );
    for _ in 0..number("FIREWORKS_BENCH_RUNS").unwrap_or(2) {
        let discarded = discard(&broker.address, &topic, records, workers);
        print(
            &format!("thrown away by {workers} readers"),
            &discarded,
            records,
        );
        let restored = restore(&broker.address, &input, &output, devices, workers);
        print("restored by the binary", &restored, records);
        println!(
            "  ratio: {:.2} of the time, {:.2} of the processor time",
            restored.time.as_secs_f64() / discarded.time.as_secs_f64(),
            restored.processor.as_secs_f64() / discarded.processor.as_secs_f64()
        );
    }
}

fn number(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not `{value}`")),
    )
}

/// What something cost.
struct Cost {
    time: Duration,
    processor: Duration,
    /// The largest resident set, in bytes, where a process was measured.
    peak: Option<u64>,
}

fn print(what: &str, cost: &Cost, records: usize) {
    let peak = cost.peak.map_or(String::new(), |peak| {
        format!(", at most {} MiB resident", peak >> 20)
    });
    println!(
        "{what}: {:.2} s, {:.2} M records/s, {:.2} s of processor time{peak}",
        cost.time.as_secs_f64(),
        records as f64 / cost.time.as_secs_f64() / 1e6,
        cost.processor.as_secs_f64()
    );
}

/// The Kafka to measure on.
struct Broker {
    address: String,
    _process: Option<support::Process>,
}

impl Broker {
    fn new() -> Broker {
        if let Ok(address) = std::env::var("FIREWORKS_TEST_BOOTSTRAP_SERVERS") {
            return Broker {
                address,
                _process: None,
            };
        }
        let process = start(&[
            "broker",
            "--listen",
            "127.0.0.1:0",
            "--retention-bytes",
            "1GiB",
        ]);
        let address = support::wait_for("the broker's address", || {
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

/// Writes full windows, as they stand after compaction: the devices in turn, reading by reading. Returns the
/// bytes of keys and values.
fn fill(kafka: &str, input: &str, topic: &str, devices: usize) -> usize {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("linger.ms", "20")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    let mut bytes = 0;
    let mut write = |partition: i32, key: &[u8], value: &[u8]| {
        bytes += key.len() + value.len();
        let mut record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(partition)
            .key(key)
            .payload(value);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full);
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    };
    let owner = Owner {
        input: input.to_owned(),
        partitions: PARTITIONS,
        group: input.to_owned(),
    };
    let (key, value) = state::encode_owner(&owner);
    (0..PARTITIONS).for_each(|partition| write(partition, &key, &value));
    let names: Vec<_> = (1..=devices).map(|n| format!("sensor-{n}")).collect();
    for slot in 0..CAPACITY {
        for (n, name) in names.iter().enumerate() {
            let (key, value) = record(name, n, slot);
            write(
                partitioner::partition(name.as_bytes(), PARTITIONS),
                &key,
                &value,
            );
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
    commit_start(kafka, input);
    bytes
}

/// A reading that has changed a few times; its numbers are as incompressible as real ones.
fn record(device_id: &str, n: usize, slot: usize) -> (Vec<u8>, Vec<u8>) {
    let noise = |salt: u64| {
        let seed = (n * CAPACITY + slot) as u64 ^ salt << 32;
        fireworks::model::noise::Noise::new(seed, device_id)
            .at(slot as i64)
            .0
    };
    let held = Held {
        event_time: EventTime::from_millis(1_700_000_000_000 + slot as i64 * 1000).unwrap(),
        index: slot as i64,
        position: noise(1) * 40.0,
        draw: noise(2) * 2.0 - 1.0,
        drift: 0.0,
        volatility: 1.0,
        revision: (n % 3) as u32,
        slot: slot as u8,
    };
    let (mut key, mut value) = (Vec::new(), Vec::new());
    state::encode_held(device_id, &held, &mut key, &mut value);
    (key, value)
}

/// Commits the beginning of the input for the group that bears its name: a state without offsets is refused.
fn commit_start(kafka: &str, input: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", input)
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(input, partition, Offset::Offset(0))
            .unwrap();
    }
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Reads all of it, as fast as the client goes, and looks at nothing.
fn discard(kafka: &str, topic: &str, records: usize, readers: usize) -> Cost {
    let (began, before) = (Instant::now(), processor_time("self"));
    let read: usize = std::thread::scope(|scope| {
        let reader = |number| {
            let partitions: Vec<_> = (0..PARTITIONS)
                .filter(|p| *p as usize % readers == number)
                .collect();
            scope.spawn(move || discard_partitions(kafka, topic, &partitions))
        };
        let readers: Vec<_> = (0..readers).map(reader).collect();
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum()
    });
    assert_eq!(read, records + PARTITIONS as usize);
    Cost {
        time: began.elapsed(),
        processor: processor_time("self") - before,
        peak: None,
    }
}

fn discard_partitions(kafka: &str, topic: &str, partitions: &[i32]) -> usize {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "1000000")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for &partition in partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut read, mut open) = (0, partitions.len());
    let began = Instant::now();
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => read += usize::from(message.key().is_some()),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("failed to read `{topic}`: {error}"),
            None => assert!(began.elapsed() < PATIENCE, "topic `{topic}` has no end"),
        }
    }
    read
}

/// Starts the binary, waits until it has said of every partition that it is restored, and stops it.
fn restore(kafka: &str, input: &str, output: &str, devices: usize, workers: usize) -> Cost {
    let began = Instant::now();
    let process = start(&[
        "brownian",
        "--input",
        input,
        "--output",
        output,
        "--group",
        input,
        "--workers",
        &workers.to_string(),
        "--bootstrap-servers",
        kafka,
    ]);
    let cost = loop {
        let restored = restored(&process.stderr());
        if restored.len() == PARTITIONS as usize {
            assert_eq!(restored.iter().sum::<usize>(), devices);
            let id = process.id().to_string();
            break Cost {
                time: began.elapsed(),
                processor: processor_time(&id),
                peak: Some(support::peak_memory(process.id())),
            };
        }
        assert!(
            began.elapsed() < PATIENCE,
            "it did not restore:\n{}",
            process.stderr()
        );
        std::thread::sleep(Duration::from_millis(10));
    };
    process.signal(support::Signal::TERM);
    let outcome = process.wait();
    assert!(outcome.status.success(), "{}", outcome.stderr);
    cost
}

/// The devices of every partition that the log says is restored.
fn restored(log: &str) -> Vec<usize> {
    let devices = |line: &str| {
        let rest = line.split_once("devices=")?.1;
        rest.split_whitespace().next()?.parse().ok()
    };
    log.lines()
        .filter(|line| line.contains(" restored "))
        .filter_map(devices)
        .collect()
}

/// What a process has used of the processors, of which Linux keeps hundredths of a second.
fn processor_time(process: &str) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = text
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
