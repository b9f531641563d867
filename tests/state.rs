//! The state between two runs of the real binary: found again by whoever comes next, and refused where it is of
//! no use, with the remedy; and what becomes of a run whose input has gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use fireworks::kafka::partitioner;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use support::*;

/// A pipeline of its own.
struct Pipeline {
    input: String,
    output: String,
    group: String,
}

impl Pipeline {
    fn new(name: &str) -> Pipeline {
        let input = unique(name);
        let config = [
            ("message.timestamp.after.max.ms", "9223372036854775807"),
            ("retention.ms", "-1"),
        ];
        create_topic(&input, 6, &config);
        Pipeline {
            output: format!("{input}.markov"),
            group: input.clone(),
            input,
        }
    }

    fn state(&self) -> String {
        format!("{}.state", self.output)
    }

    fn start(&self, more: &[&str]) -> Process {
        let ours = [
            "brownian",
            "--bootstrap-servers",
            kafka(),
            "--input",
            &self.input,
            "--output",
            &self.output,
            "--group",
            &self.group,
        ];
        start(
            &ours
                .into_iter()
                .chain(more.iter().copied())
                .collect::<Vec<_>>(),
        )
    }

    fn process(&self, more: &[&str]) {
        let outcome = self.start(&[&["--until-end"], more].concat()).wait();
        assert!(outcome.status.success(), "{}", outcome.stderr);
    }

    /// What a run says that refuses to begin: the last two lines.
    fn refusal(&self) -> String {
        refusal(self.start(&[]))
    }

    fn write(&self, lines: &[serde_json::Value]) {
        let producer = producer(&[]);
        for line in lines {
            let device = line["value"]["device_id"].as_str().unwrap().as_bytes();
            let partition = partitioner::partition(device, 6);
            let value = line["value"].to_string();
            send(
                &producer,
                &self.input,
                partition,
                Some(device),
                Some(value.as_bytes()),
            );
        }
        flush(&producer);
    }

    /// Some readings, processed.
    fn begun(name: &str) -> Pipeline {
        let pipeline = Pipeline::new(name);
        pipeline.write(&vectors("readings.jsonl")[..20]);
        pipeline.process(&[]);
        pipeline
    }
}

/// The last two lines of a process that fails.
fn refusal(process: Process) -> String {
    let outcome = process.wait();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    let (_, error) = outcome.stderr.rsplit_once("error: ").unwrap();
    error.to_owned()
}

/// Asks for changes on the Kafka under test.
fn change<T>(ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> T) -> T {
    let admin = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .create()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(ask(&admin))
}

fn grow(topic: &str, partitions: usize) {
    let grown = change(async |admin| {
        let more = [NewPartitions::new(topic, partitions)];
        admin.create_partitions(&more, &AdminOptions::new()).await
    });
    grown.unwrap().into_iter().for_each(|grown| {
        grown.unwrap();
    });
    wait_for("the partitions to appear", || {
        (support::partitions(topic) == partitions as i32).then_some(())
    });
}

/// What retention does, at once.
fn delete_before(topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .unwrap();
    let deleted = change(async |admin| admin.delete_records(&list, &AdminOptions::new()).await);
    deleted.unwrap().elements()[0].error().unwrap();
}

fn delete(topic: &str) {
    let deleted = change(async |admin| admin.delete_topics(&[topic], &AdminOptions::new()).await);
    deleted.unwrap().remove(0).unwrap();
    wait_for("the topic to go", || (partitions(topic) == 0).then_some(()));
}

#[test]
fn other_instances_with_other_numbers_of_workers_go_on_where_the_last_ones_stopped() {
    let pipeline = Pipeline::new("handed-on");
    let arrivals = vectors("arrivals-out-of-order.jsonl");
    let parts: Vec<_> = arrivals.chunks(arrivals.len() / 3 + 1).collect();
    pipeline.write(parts[0]);
    pipeline.process(&["--instance", "a", "--workers", "1"]);
    pipeline.write(parts[1]);
    let both = [
        pipeline.start(&["--until-end", "--instance", "b", "--workers", "2"]),
        pipeline.start(&["--until-end", "--instance", "c", "--workers", "1"]),
    ];
    for process in both {
        let outcome = process.wait();
        assert!(outcome.status.success(), "{}", outcome.stderr);
    }
    pipeline.write(parts[2]);
    pipeline.process(&["--instance", "a", "--workers", "6"]);

    let alone = Pipeline {
        output: unique("alone"),
        input: pipeline.input.clone(),
        group: unique("alone"),
    };
    alone.process(&[]);
    let (steps, expected) = (committed(&pipeline.output), committed(&alone.output));
    assert_eq!(final_steps(&steps), final_steps(&expected));
    assert_eq!(
        steps.len(),
        expected.len(),
        "a step is there twice, or missing"
    );
}

#[test]
fn state_of_another_version_and_what_is_no_state_are_refused() {
    for (name, key, value, reason) in [
        (
            "newer",
            b"sensor-1\x00".as_slice(),
            Some([&[3][..], &[0; 60]].concat()),
            "it is of version 3, written by a newer fireworks; this one reads 2",
        ),
        (
            "older",
            b"sensor-1\x00",
            Some([&[1][..], &[0; 52]].concat()),
            "it is of version 1, written by an older fireworks; this one reads 2",
        ),
        (
            "foreign",
            b"sensor-1",
            Some(b"{}".to_vec()),
            "it is no state of fireworks",
        ),
        (
            "short",
            b"sensor-1\x00",
            Some(vec![2, 2, 3]),
            "it is no state of fireworks",
        ),
        ("null", b"sensor-1\x00", None, "it is no state of fireworks"),
    ] {
        let pipeline = Pipeline::begun(name);
        let producer = producer(&[]);
        send(&producer, &pipeline.state(), 3, Some(key), value.as_deref());
        flush(&producer);
        let refusal = pipeline.refusal();
        let expected = format!(
            "failed to read the state in partition 3 of topic `{}`: {reason}",
            pipeline.state()
        );
        assert!(refusal.contains(&expected), "{name}: {refusal}");
        let remedy = "help: run the fireworks that wrote it, or name another --output and --group, which begin anew\n";
        assert!(refusal.ends_with(remedy), "{name}: {refusal}");
    }
}

#[test]
fn state_of_another_input_is_refused_with_its_name() {
    let pipeline = Pipeline::begun("input");
    let other = Pipeline {
        input: Pipeline::new("other-input").input,
        output: pipeline.output.clone(),
        group: pipeline.group.clone(),
    };
    let refusal = other.refusal();
    let expected = format!(
        "belongs to group `{0}` reading topic `{0}`, not to group `{0}` reading `{1}`\nhelp: pass --group {0} --input {0}, or name another --output and --group, which begin anew\n",
        pipeline.input, other.input
    );
    assert!(refusal.ends_with(&expected), "{refusal}");
}

#[test]
fn changed_number_of_partitions_is_refused_with_the_remedy() {
    let pipeline = Pipeline::begun("grown");
    grow(&pipeline.input, 8);
    let refusal = pipeline.refusal();
    let expected = format!(
        "topic `{0}` has 6 partitions, not 8\nhelp: delete topic `{0}`, or name another one\n",
        pipeline.output
    );
    assert_eq!(refusal, expected);
    // Whoever helps the topics along is told what the state says.
    grow(&pipeline.output, 8);
    grow(&pipeline.state(), 8);
    let refusal = pipeline.refusal();
    let expected = format!(
        "topic `{}` has 8 partitions, but the state in `{}` was made when it had 6\nhelp: a device's readings may have moved between partitions: name another --output and --group, which begin anew\n",
        pipeline.input,
        pipeline.state()
    );
    assert!(refusal.ends_with(&expected), "{refusal}");
}

/// Readings of one device, a second apart.
fn readings(indexes: std::ops::Range<i64>) -> Vec<serde_json::Value> {
    let reading = |index: i64| {
        let time = format!("2026-01-01T00:{:02}:{:02}.000Z", index / 60, index % 60);
        serde_json::json!({"value": {"device_id": "lost", "index": index, "event_time": time,
            "magnitude": 0.5, "direction": 1, "drift": 0.0, "volatility": 1.0}})
    };
    indexes.map(reading).collect()
}

/// Ten readings that are processed, and ten that are not, of which the first five are gone.
fn overtaken(name: &str) -> (Pipeline, i32) {
    let pipeline = Pipeline::new(name);
    pipeline.write(&readings(0..10));
    pipeline.process(&[]);
    pipeline.write(&readings(10..20));
    let partition = partitioner::partition(b"lost", 6);
    delete_before(&pipeline.input, partition, 15);
    (pipeline, partition)
}

fn indexes(topic: &str) -> Vec<i64> {
    let index = |record: &Record| record.json()["index"].as_i64().unwrap();
    committed(topic).iter().map(index).collect()
}

#[test]
fn an_offset_that_retention_has_removed_stops_it_unless_told_where_to_go_on() {
    let (pipeline, partition) = overtaken("overtaken");
    let refusal = pipeline.refusal();
    let expected = format!(
        "partition {partition} of topic `{}` goes on from offset 10, but it holds 15 to 20\nhelp: what was there is \
         not to be had: choose --on-lost-offset earliest or latest, or name another --output and --group, which \
         begin anew\n",
        pipeline.input
    );
    assert!(refusal.ends_with(&expected), "{refusal}");

    pipeline.process(&["--on-lost-offset", "earliest"]);
    let whole: Vec<_> = (0..10).chain(15..20).collect();
    assert_eq!(indexes(&pipeline.output), whole);

    let (pipeline, _) = overtaken("left-behind");
    pipeline.process(&["--on-lost-offset", "latest"]);
    pipeline.write(&readings(20..22));
    pipeline.process(&[]);
    let whole: Vec<_> = (0..10).chain(20..22).collect();
    assert_eq!(indexes(&pipeline.output), whole);
}

#[test]
fn an_offset_that_is_removed_while_it_reads_stops_it_as_well() {
    let pipeline = Pipeline::new("overtaken-while-reading");
    pipeline.write(&readings(0..10));
    let process = pipeline.start(&[]);
    wait_for("the steps", || {
        (indexes(&pipeline.output).len() == 10).then_some(())
    });
    process.signal(Signal::STOP);
    // Its last fetch, which waits for 100 ms, is answered with nothing.
    std::thread::sleep(Duration::from_secs(1));
    pipeline.write(&readings(10..20));
    delete_before(&pipeline.input, partitioner::partition(b"lost", 6), 20);
    pipeline.write(&readings(20..21));
    process.signal(Signal::CONT);
    let refusal = refusal(process);
    assert!(
        refusal.contains("goes on from offset 10, but it holds 20 to 21"),
        "{refusal}"
    );
}

#[test]
fn state_that_is_gone_is_not_begun_anew_in_silence() {
    let pipeline = Pipeline::new("gone");
    pipeline.write(&readings(0..10));
    pipeline.process(&[]);
    delete(&pipeline.state());
    let partition = partitioner::partition(b"lost", 6);
    let refusal = pipeline.refusal();
    let expected = format!(
        "partition {partition} of topic `{}` has been read up to offset 10, but there is no state of it\nhelp: ",
        pipeline.input
    );
    assert!(refusal.contains(&expected), "{refusal}");
    let anew = Pipeline {
        input: pipeline.input.clone(),
        output: unique("anew"),
        group: unique("anew"),
    };
    anew.process(&[]);
    assert_eq!(indexes(&anew.output), (0..10).collect::<Vec<_>>());
}

#[test]
fn an_instance_that_stays_goes_on_while_another_restores_its_share() {
    let pipeline = Pipeline::new("stays");
    let source = start(&[
        "generate",
        "--bootstrap-servers",
        kafka(),
        "--topic",
        &pipeline.input,
        "--interval",
        "10ms",
        "--devices",
        "30",
    ]);
    let stays = pipeline.start(&["--instance", "stays", "--workers", "1"]);
    wait_for("steps in every partition", || {
        let extents = Extents::of(&pipeline.output);
        (extents.stable.len() == 6 && extents.stable.iter().all(|end| *end > 0)).then_some(())
    });
    let comes = pipeline.start(&["--instance", "comes", "--workers", "1"]);
    let moved = wait_for("the other's share", || {
        let log = comes.stderr();
        let (_, moved) = log.split_once("restoring partitions=[")?;
        let (moved, _) = moved.split_once(']')?;
        Some(
            moved
                .split(", ")
                .map(|partition| partition.parse::<usize>().unwrap())
                .collect::<Vec<_>>(),
        )
    });
    // It never gets to the end of it, and its session lasts for ten seconds.
    comes.signal(Signal::STOP);
    let before = Extents::of(&pipeline.output).stable;
    wait_for("steps in every partition that has stayed", || {
        let now = Extents::of(&pipeline.output).stable;
        let mut stayed = (0..6).filter(|partition| !moved.contains(partition));
        stayed
            .all(|partition| now[partition] > before[partition] + 20)
            .then_some(())
    });
    assert!((1..6).contains(&moved.len()), "{moved:?}");
    drop((source, stays, comes));
}
