//! How long a restart takes: full windows are restored, beside a reader that throws the same bytes away.

use std::time::{Duration, Instant};

use fireworks::kafka::partitioner;
use fireworks::model::event_time::EventTime;
use fireworks::model::noise::Noise;
use fireworks::model::state::{self, Owner};
use fireworks::model::window::{BLOCK, CAPACITY, Held};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use crate::Scope;
use crate::kafka::{Kafka, PARTITIONS, Writer};
use crate::load;
use crate::process::{Running, fireworks, own_processor_time, processor_time};
use crate::report::{Part, Row, Target};
use crate::support::unique;

const DEVICES: usize = 100_000;
const RECORDS: usize = DEVICES * CAPACITY / BLOCK;
/// What a restore may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(300);
/// On two cores a run that takes a second has half of one more or less, whatever else the machine has to do.
const RUNS: usize = 5;

/// What it took, in seconds.
#[derive(Debug)]
struct Cost {
    time: f64,
    processor: f64,
}

pub fn measure(scope: &Scope) -> Part {
    let kafka = Kafka::apache();
    let input = unique("restore");
    let output = format!("{input}.markov");
    let topic = format!("{output}.state");
    kafka.create(&input);
    kafka.create_compacted(&topic);
    let bytes = fill(&kafka, &input, &topic);
    // What is written to is there after the first, as it is at a restart.
    restore(&kafka, &input, &output, 1);
    discard(&kafka, &topic);
    let (mut ours, mut theirs, mut of_two) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scope.runs.max(RUNS) {
        theirs.push(discard(&kafka, &topic));
        ours.push(restore(&kafka, &input, &output, 1));
        of_two.push(restore(&kafka, &input, &output, 2));
        println!(
            "{:.2?}\n{:.2?}\n{:.2?}",
            ours[ours.len() - 1],
            theirs[theirs.len() - 1],
            of_two[of_two.len() - 1]
        );
    }
    kafka.delete(&[&input, &topic]);
    let row = |what: &str, figure: fn(&Cost) -> f64| {
        let figures = |costs: &[Cost]| costs.iter().map(figure).collect();
        let beside = "reading the same bytes and throwing them away";
        let (ours, theirs) = (figures(&ours), figures(&theirs));
        Row::new(what, "s", ours, beside, theirs, Target::AtMost(1.5))
    };
    let times = |costs: &[Cost]| costs.iter().map(|cost| cost.time).collect();
    let rows = vec![
        row("time", |cost| cost.time),
        row("processor time", |cost| cost.processor),
        Row::limited("time", "s", times(&ours), 15.0),
        Row::limited("time, with two workers", "s", times(&of_two), 15.0),
    ];
    let about = format!(
        "`brownian` with one worker, from its start until the full windows of {DEVICES} devices are there: {RECORDS} records\n\
         of {:.0} bytes with their key, {BLOCK} readings in each, from an Apache Kafka. Beside it, one reader. Two workers form a group\n\
         first: where one has joined before the other, the other has its partitions two seconds later. Every device has come back.",
        bytes as f64 / RECORDS as f64
    );
    Part::new("Restoring", &about, rows)
}

/// Writes full windows, as they stand after compaction: the devices in turn, block by block. Returns the bytes of keys
/// and values.
fn fill(kafka: &Kafka, input: &str, topic: &str) -> usize {
    let writer = Writer::of(kafka);
    let mut bytes = 0;
    let mut write = |partition: i32, key: &[u8], value: &[u8]| {
        bytes += key.len() + value.len();
        writer.write(
            BaseRecord::to(topic)
                .partition(partition)
                .key(key)
                .payload(value),
        );
    };
    let owner = Owner {
        input: input.to_owned(),
        partitions: PARTITIONS,
        group: input.to_owned(),
    };
    let (key, value) = state::encode_owner(&owner);
    (0..PARTITIONS).for_each(|partition| write(partition, &key, &value));
    let names = load::names(DEVICES);
    for first in (0..CAPACITY).step_by(BLOCK) {
        for (n, name) in names.iter().enumerate() {
            let block: Vec<_> = (first..first + BLOCK)
                .map(|slot| held(name, n, slot))
                .collect();
            let (mut key, mut value) = (Vec::new(), Vec::new());
            state::encode_held(name, &block, &mut key, &mut value);
            let partition = partitioner::partition(name.as_bytes(), PARTITIONS);
            write(partition, &key, &value);
        }
        writer.poll();
    }
    writer.finish();
    commit_start(kafka, input);
    bytes
}

/// A reading that has changed a few times; its numbers are as incompressible as real ones.
fn held(device_id: &str, n: usize, slot: usize) -> Held {
    let noise = |salt: u64| {
        let seed = (n * CAPACITY + slot) as u64 ^ salt << 32;
        Noise::new(seed, device_id).at(slot as i64).0
    };
    Held {
        event_time: EventTime::from_millis(1_700_000_000_000 + slot as i64 * 1000).unwrap(),
        index: slot as i64,
        position: noise(1) * 40.0,
        draw: noise(2) * 2.0 - 1.0,
        drift: 0.0,
        volatility: 1.0,
        revision: (n % 3) as u32,
        slot: slot as u8,
    }
}

/// Commits the beginning of the input for the group that bears its name: a state without offsets is refused.
fn commit_start(kafka: &Kafka, input: &str) {
    let consumer: BaseConsumer = kafka.client().set("group.id", input).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(input, partition, Offset::Offset(0))
            .unwrap();
    }
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

/// Reads all of it, as fast as the client goes, and looks at nothing.
fn discard(kafka: &Kafka, topic: &str) -> Cost {
    let (began, before) = (Instant::now(), own_processor_time());
    let partitions: Vec<_> = (0..PARTITIONS).collect();
    let consumer = kafka.reader(topic, &partitions, Offset::Beginning);
    let (mut read, mut open) = (0, partitions.len());
    while open > 0 {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => read += usize::from(message.key().is_some()),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("failed to read `{topic}`: {error}"),
            None => panic!("topic `{topic}` has no end"),
        }
    }
    assert_eq!(read, RECORDS + partitions.len());
    Cost {
        time: began.elapsed().as_secs_f64(),
        processor: (own_processor_time() - before).as_secs_f64(),
    }
}

/// Starts the binary, waits until it has said of every partition that it is restored, and stops it.
fn restore(kafka: &Kafka, input: &str, output: &str, workers: usize) -> Cost {
    let workers = workers.to_string();
    let names = ["--input", input, "--output", output, "--group", input];
    let rest = ["--workers", &workers, "--bootstrap-servers", &kafka.address];
    let began = Instant::now();
    let command = fireworks(&[&["brownian"], &names[..], &rest[..]].concat());
    let process = Running::start("restore", command);
    loop {
        let restored = restored(&process.log());
        if restored.len() == PARTITIONS as usize {
            assert_eq!(restored.iter().sum::<usize>(), DEVICES);
            let cost = Cost {
                time: began.elapsed().as_secs_f64(),
                processor: processor_time(process.id()).as_secs_f64(),
            };
            process.stop();
            return cost;
        }
        process.assert_runs();
        assert!(
            began.elapsed() < PATIENCE,
            "it does not restore:\n{}",
            process.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The devices of every partition that the log says is restored.
fn restored(log: &str) -> Vec<usize> {
    let devices = |line: &str| {
        let rest = line.split_once("devices=")?.1;
        rest.split_whitespace().next()?.parse().ok()
    };
    let lines = log.lines().filter(|line| line.contains(" restored "));
    lines.filter_map(devices).collect()
}
