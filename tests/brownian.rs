//! `brownian` against a Kafka: the vectors, dead letters, restarts, several workers and instances.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use rdkafka::message::{Header, OwnedHeaders};
use serde_json::Value;
use support::*;

/// Topics and group of one test.
struct Pipeline {
    input: String,
    output: String,
}

impl Pipeline {
    fn new(name: &str) -> Pipeline {
        let input = unique(name);
        create_topic(
            &input,
            6,
            &[
                ("message.timestamp.after.max.ms", "9223372036854775807"),
                ("retention.ms", "-1"),
            ],
        );
        let output = format!("{input}.markov");
        Pipeline { input, output }
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let ours = [
            "brownian",
            "--input",
            &self.input,
            "--output",
            &self.output,
            "--group",
            &self.input,
        ];
        ours.into_iter()
            .chain(more.iter().copied())
            .chain(["--bootstrap-servers", kafka()])
            .collect()
    }

    /// Runs `brownian` to the end of the input.
    fn process(&self, more: &[&str]) {
        let until_end: Vec<_> = ["--until-end"].iter().chain(more).copied().collect();
        let outcome = run(&self.arguments(&until_end));
        assert!(outcome.status.success(), "{}", outcome.stderr);
    }

    fn write(&self, values: &[Value]) {
        let producer = producer(&[]);
        for value in values {
            let device = value["device_id"].as_str().unwrap();
            let partition = fireworks::kafka::partitioner::partition(device.as_bytes(), 6);
            send(
                &producer,
                &self.input,
                partition,
                Some(device.as_bytes()),
                Some(value.to_string().as_bytes()),
            );
        }
        flush(&producer);
    }

    fn dead_letters(&self) -> Vec<Record> {
        committed(&format!("{}.dlq", self.input))
    }
}

fn by_device(steps: impl Iterator<Item = Value>) -> BTreeMap<String, Vec<Value>> {
    let mut devices: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for step in steps {
        devices
            .entry(step["device_id"].as_str().unwrap().to_owned())
            .or_default()
            .push(step);
    }
    devices
}

/// The steps of each device, in order, but for what a logarithm may differ in its last bit.
fn assert_vector(records: &[Record], expected: Vec<Value>) {
    let actual = by_device(records.iter().map(Record::json));
    let expected = by_device(expected.into_iter());
    assert_eq!(
        actual.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (device, expected) in expected {
        let actual = &actual[&device];
        assert_eq!(actual.len(), expected.len(), "{device}");
        let mut travelled = 0.0;
        for (actual, expected) in actual.iter().zip(&expected) {
            travelled += expected["step"].as_f64().unwrap().abs();
            assert_close(actual, expected, travelled * 1e-12);
        }
    }
}

fn assert_close(actual: &Value, expected: &Value, tolerance: f64) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            assert_eq!(
                actual.keys().collect::<Vec<_>>(),
                expected.keys().collect::<Vec<_>>()
            );
            for (name, expected) in expected {
                let tolerance = match (name.as_str(), expected.as_f64()) {
                    ("position" | "step" | "previous", _) => tolerance,
                    ("window", _) => f64::NAN,
                    ("drift" | "volatility", Some(size)) => 1e-9 * size.abs(),
                    _ => 0.0,
                };
                assert_close(&actual[name], expected, tolerance);
            }
        }
        (actual, expected) => match (actual.as_f64(), expected.as_f64()) {
            (Some(actual), Some(expected)) => assert!(
                (actual - expected).abs() <= tolerance || actual == expected,
                "{actual} is not {expected} ± {tolerance}"
            ),
            _ => assert_eq!(actual, expected),
        },
    }
}

#[test]
fn vectors_in_order_are_reproduced_with_event_times_and_partitions() {
    let pipeline = Pipeline::new("in-order");
    pipeline.write(
        &vectors("readings.jsonl")
            .into_iter()
            .map(|line| line["value"].clone())
            .collect::<Vec<_>>(),
    );
    pipeline.process(&[]);
    let steps = committed(&pipeline.output);
    assert_vector(&steps, vectors("steps-in-order.jsonl"));
    for record in &steps {
        let step = record.json();
        let device = step["device_id"].as_str().unwrap();
        assert_eq!(record.key.as_deref(), Some(device.as_bytes()));
        assert_eq!(
            record.partition,
            fireworks::kafka::partitioner::partition(device.as_bytes(), 6)
        );
        assert_eq!(
            record.timestamp,
            1_700_000_000_000 + 500 * (step["index"].as_i64().unwrap() / 2)
        );
    }
    assert!(pipeline.dead_letters().is_empty());
}

#[test]
fn vectors_out_of_order_are_reproduced_across_restarts_with_other_numbers_of_workers() {
    let pipeline = Pipeline::new("out-of-order");
    let arrivals = vectors("arrivals-out-of-order.jsonl");
    // Each part is processed by a process of its own, which restores what the one before has left.
    for (part, workers) in arrivals
        .chunks(97)
        .zip(["1", "3", "2", "6", "1", "4", "2", "5"].iter().cycle())
    {
        pipeline.write(
            &part
                .iter()
                .map(|line| line["value"].clone())
                .collect::<Vec<_>>(),
        );
        pipeline.process(&["--workers", workers]);
    }
    assert_vector(
        &committed(&pipeline.output),
        vectors("steps-out-of-order.jsonl"),
    );
    let late: Vec<_> = arrivals
        .iter()
        .filter(|line| line["fate"] == "late")
        .map(|line| line["value"].clone())
        .collect();
    let dead = pipeline.dead_letters();
    assert_eq!(
        by_device(dead.iter().map(Record::json)),
        by_device(late.into_iter())
    );
    assert!(
        dead.iter()
            .all(|record| record.header("fireworks.reason") == "late")
    );
}

#[test]
fn what_can_not_be_used_goes_to_the_dead_letters_byte_for_byte_and_stops_nothing() {
    let pipeline = Pipeline::new("dead");
    let good = |index: i64| {
        format!(
            r#"{{"device_id":"a","index":{index},"event_time":"2023-11-14T22:13:2{index}.000Z","magnitude":0.5,"direction":1,"drift":0,"volatility":1}}"#
        )
    };
    let large = format!("{{\"pad\":\"{}\"}}", "x".repeat(1_000_000));
    let deep = "[".repeat(10_000);
    let good_one = good(1);
    type Bytes<'a> = Option<&'a [u8]>;
    let bad: Vec<(Bytes<'_>, Bytes<'_>)> = vec![
        (Some(b"a"), Some(b"not json")),
        (Some(b"a"), None),
        (None, Some(good_one.as_bytes())),
        (Some(b""), Some(b"")),
        (None, None),
        (Some(b"\xff\xfe"), Some(b"\xff\xfe")),
        (Some(b"b"), Some(good_one.as_bytes())),
        (Some(b"a"), Some(large.as_bytes())),
        (Some(b"a"), Some(deep.as_bytes())),
    ];
    let producer = producer(&[]);
    let headers = || {
        OwnedHeaders::new()
            .insert(Header {
                key: "trace",
                value: Some("1"),
            })
            .insert(Header {
                key: "trace",
                value: None::<&str>,
            })
            .insert(Header {
                key: "empty",
                value: Some(""),
            })
            .insert(Header {
                key: "fireworks.reason",
                value: Some("mine"),
            })
    };
    send(
        &producer,
        &pipeline.input,
        2,
        Some(b"a"),
        Some(good(0).as_bytes()),
    );
    for (i, (key, value)) in bad.iter().enumerate() {
        send_record(
            &producer,
            &pipeline.input,
            2,
            *key,
            *value,
            1_600_000_000_000 + i as i64,
            headers(),
        );
    }
    send(
        &producer,
        &pipeline.input,
        2,
        Some(b"a"),
        Some(good(1).as_bytes()),
    );
    flush(&producer);
    pipeline.process(&[]);

    assert_eq!(committed(&pipeline.output).len(), 2);
    let dead = pipeline.dead_letters();
    assert_eq!(dead.len(), bad.len());
    for (i, (record, (key, value))) in dead.iter().zip(&bad).enumerate() {
        assert_eq!(
            (record.key.as_deref(), record.value.as_deref()),
            (*key, *value),
            "record {i}"
        );
        assert_eq!(record.timestamp, 1_600_000_000_000 + i as i64);
        let names: Vec<_> = record
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let ours = [
            "fireworks.reason",
            "fireworks.error",
            "fireworks.topic",
            "fireworks.partition",
            "fireworks.offset",
        ];
        let theirs = ["trace", "trace", "empty", "fireworks.reason"];
        assert_eq!(names, theirs.into_iter().chain(ours).collect::<Vec<_>>());
        let expected = [
            Some("1".into()),
            None,
            Some(Vec::new()),
            Some("mine".into()),
        ];
        assert_eq!(
            record.headers[..4]
                .iter()
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(record.header("fireworks.reason"), "malformed");
        assert!(!record.header("fireworks.error").is_empty());
        assert_eq!(record.header("fireworks.topic"), pipeline.input);
        assert_eq!(record.header("fireworks.partition"), "2");
        assert_eq!(record.header("fireworks.offset"), (i + 1).to_string());
    }
}

#[test]
fn instances_share_the_partitions_and_a_killed_one_is_made_good() {
    let pipeline = Pipeline::new("instances");
    let total = 40 * 60;
    let instance =
        |name: &'static str| start(&pipeline.arguments(&["--instance", name, "--workers", "2"]));
    let mut first = instance("first");
    let second = instance("second");
    let options = [
        "generate",
        "--topic",
        &pipeline.input,
        "--devices",
        "40",
        "--interval",
        "50ms",
        "--batches",
        "60",
        "--start-timestamp",
        "1700000000000",
        "--bootstrap-servers",
        kafka(),
    ];
    let source = start(&options);
    wait_for("some steps", || {
        (partitions(&pipeline.output) > 0 && committed(&pipeline.output).len() > 200).then_some(())
    });
    second.signal(Signal::KILL);
    second.wait();
    assert!(source.wait().status.success());
    let steps = wait_for("all steps", || {
        let steps = committed(&pipeline.output);
        (steps.len() >= total).then_some(steps)
    });
    assert!(first.is_running());
    first.signal(Signal::TERM);
    let outcome = first.wait();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert_eq!(steps.len(), total, "a step is there twice");
    assert!(steps.iter().all(|record| record.json()["revision"] == 0));

    let alone = Pipeline {
        input: pipeline.input.clone(),
        output: unique("alone"),
    };
    let group = unique("alone");
    let outcome = run(&[
        "brownian",
        "--input",
        &alone.input,
        "--output",
        &alone.output,
        "--group",
        &group,
        "--until-end",
        "--bootstrap-servers",
        kafka(),
    ]);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    assert_eq!(final_steps(&steps), final_steps(&committed(&alone.output)));
}

#[test]
fn state_of_another_group_or_topic_is_refused_with_the_remedy() {
    let pipeline = Pipeline::new("owner");
    pipeline.write(&[vectors("readings.jsonl")[0]["value"].clone()]);
    pipeline.process(&[]);
    let outcome = run(&[
        "brownian",
        "--input",
        &pipeline.input,
        "--output",
        &pipeline.output,
        "--group",
        "stranger",
        "--until-end",
        "--bootstrap-servers",
        kafka(),
    ]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(
        outcome
            .stderr
            .contains(&format!("belongs to group `{}`", pipeline.input)),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome
            .stderr
            .contains(&format!("help: pass --group {}", pipeline.input)),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_output_with_another_number_of_partitions_is_refused() {
    let pipeline = Pipeline::new("partitions");
    create_topic(&pipeline.output, 2, &[]);
    let outcome = run(&pipeline.arguments(&["--until-end"]));
    assert_eq!(outcome.status.code(), Some(1));
    let expected = format!(
        "error: topic `{0}` has 2 partitions, not 6\nhelp: delete topic `{0}`, or name another one\n",
        pipeline.output
    );
    assert!(outcome.stderr.ends_with(&expected), "{}", outcome.stderr);
}

#[test]
fn an_input_that_is_not_there_is_an_error_until_its_end_and_waited_for_otherwise() {
    let input = unique("missing");
    let outcome = run(&[
        "brownian",
        "--input",
        &input,
        "--until-end",
        "--bootstrap-servers",
        kafka(),
    ]);
    assert_eq!(
        outcome.stderr,
        format!(
            "error: topic `{input}` does not exist\nhelp: write to it first: fireworks generate --topic {input}\n"
        )
    );
    let waiting = start(&[
        "brownian",
        "--input",
        &input,
        "--bootstrap-servers",
        kafka(),
    ]);
    wait_for("the line that says so", || {
        waiting
            .stderr()
            .contains("waiting for the topic")
            .then_some(())
    });
    waiting.signal(Signal::INT);
    assert_eq!(waiting.wait().status.code(), Some(0));
}
