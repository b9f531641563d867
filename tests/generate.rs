//! `generate` against a Kafka: the vectors, restarts, kills, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use support::*;

/// `generate` with the options of the vectors, up to before batch `batches`.
fn vector_options<'a>(topic: &'a str, batches: &'a str, devices: &'a str) -> Vec<&'a str> {
    let options = "generate --rows-per-batch 2 --start-timestamp 1700000000000 --advance-millis-per-batch 500 --seed 42 --interval 0s";
    options
        .split(' ')
        .chain(["--topic", topic, "--batches", batches, "--devices", devices])
        .collect()
}

/// The readings of a topic by (device, index); fails where one is there twice.
fn readings(records: &[Record]) -> BTreeMap<(String, i64), Record> {
    let mut readings = BTreeMap::new();
    for record in records {
        let reading = record.json();
        let key = (
            reading["device_id"].as_str().unwrap().to_owned(),
            reading["index"].as_i64().unwrap(),
        );
        assert!(
            readings.insert(key, record.clone()).is_none(),
            "a repeat: {reading}"
        );
    }
    readings
}

/// Fails unless every device has the same rows 0 … n − 1, whole batches of them; returns n.
fn whole_rows(records: &[Record], devices: usize, rows_per_batch: usize) -> usize {
    let readings = readings(records);
    let rows = readings.len() / devices;
    assert_eq!(readings.len() % devices, 0, "a row lacks a device");
    assert_eq!(rows % rows_per_batch, 0, "a batch lacks a row");
    for (_, index) in readings.keys() {
        assert!(
            (*index as usize) < rows,
            "a gap before row {index} of {rows}"
        );
    }
    rows
}

#[test]
fn vectors_are_reproduced_bit_for_bit() {
    let topic = unique("vectors");
    succeed(&vector_options(&topic, "80", &vector_path("devices.csv")));
    let written = readings(&committed(&topic));
    let expected = vectors("readings.jsonl");
    assert_eq!(written.len(), expected.len());
    for line in expected {
        let value = &line["value"];
        let key = (
            line["key"].as_str().unwrap().to_owned(),
            value["index"].as_i64().unwrap(),
        );
        let record = &written[&key];
        assert_eq!(record.json(), *value);
        assert_eq!(i64::from(record.partition), line["partition_of_6"]);
        assert_eq!(record.key.as_deref(), Some(key.0.as_bytes()));
        assert_eq!(record.timestamp, 1_700_000_000_000 + 500 * (key.1 / 2));
    }
}

#[test]
fn restarts_go_on_with_the_next_batch() {
    let topic = unique("restarts");
    let devices = vector_path("devices.csv");
    for batches in ["1", "2", "2", "50", "80"] {
        succeed(&vector_options(&topic, batches, &devices));
    }
    let expected: Vec<_> = vectors("readings.jsonl")
        .iter()
        .map(|line| line["value"].clone())
        .collect();
    let mut written: Vec<_> = committed(&topic).iter().map(Record::json).collect();
    assert_eq!(written.len(), expected.len());
    // Devices and rows may stand in another order across partitions, never in one.
    written.sort_by_key(|reading| reading["index"].as_i64());
    let mut of_device: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for reading in written {
        of_device
            .entry(reading["device_id"].as_str().unwrap().to_owned())
            .or_default()
            .push(reading);
    }
    for (device, readings) in of_device {
        let expected: Vec<_> = expected
            .iter()
            .filter(|reading| reading["device_id"] == device.as_str())
            .cloned()
            .collect();
        assert_eq!(readings, expected);
    }
}

#[test]
fn options_that_change_apply_from_the_next_batch_on() {
    let topic = unique("changed");
    let options = [
        "generate",
        "--topic",
        &topic,
        "--interval",
        "0s",
        "--devices",
        "1",
    ];
    let with = |more: &[&'static str]| {
        succeed(
            &options
                .iter()
                .copied()
                .chain(more.iter().copied())
                .collect::<Vec<_>>(),
        )
    };
    with(&[
        "--start-timestamp",
        "5000",
        "--rows-per-batch",
        "3",
        "--batches",
        "1",
    ]);
    with(&[
        "--start-timestamp",
        "9",
        "--rows-per-batch",
        "2",
        "--advance-millis-per-batch",
        "10",
        "--batches",
        "3",
    ]);
    let rows: Vec<_> = committed(&topic)
        .iter()
        .map(|record| (record.json()["index"].as_i64().unwrap(), record.timestamp))
        .collect();
    assert_eq!(
        rows,
        [
            (0, 5000),
            (1, 5000),
            (2, 5000),
            (3, 5010),
            (4, 5010),
            (5, 5020)
        ]
    );
}

#[test]
fn where_it_goes_on_is_found_behind_strangers_garbage_and_aborted_records() {
    let topic = unique("garbage");
    let options = [
        "generate",
        "--topic",
        &topic,
        "--interval",
        "0s",
        "--devices",
        "1",
        "--partitions",
        "1",
        "--batches",
    ];
    let until = |batches: &'static str| {
        succeed(&options.iter().copied().chain([batches]).collect::<Vec<_>>())
    };
    until("3");
    let stranger = producer(&[]);
    for _ in 0..2500 {
        send(
            &stranger,
            &topic,
            0,
            Some(b"sensor-1"),
            Some(b"{\"index\":77}"),
        );
    }
    flush(&stranger);
    until("5");
    let indices: Vec<_> = committed(&topic)
        .iter()
        .filter_map(|record| {
            record.json()["event_time"]
                .as_str()
                .map(|_| record.json()["index"].clone())
        })
        .collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
}

#[test]
fn interrupted_at_full_speed_it_leaves_whole_batches_and_exits_0() {
    let topic = unique("interrupted");
    for _ in 0..3 {
        let arguments = [
            "generate",
            "--topic",
            &topic,
            "--interval",
            "0s",
            "--rows-per-batch",
            "7",
            "--devices",
            "3",
            "--bootstrap-servers",
            kafka(),
        ];
        let process = start(&arguments);
        let before = offsets(&topic);
        wait_for("readings", || (offsets(&topic) > before).then_some(()));
        process.signal(Signal::INT);
        let outcome = process.wait();
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    }
    assert!(whole_rows(&committed(&topic), 3, 7) > 0);
}

#[test]
fn killed_at_full_speed_it_goes_on_without_a_gap_or_a_repeat() {
    let topic = unique("killed");
    let arguments = [
        "generate",
        "--topic",
        &topic,
        "--interval",
        "0s",
        "--rows-per-batch",
        "5",
        "--devices",
        "4",
        "--bootstrap-servers",
        kafka(),
    ];
    for _ in 0..4 {
        let process = start(&arguments);
        let before = offsets(&topic);
        wait_for("readings", || (offsets(&topic) > before).then_some(()));
        process.signal(Signal::KILL);
        process.wait();
    }
    // What the last one left open is aborted by the next, and what was committed stays.
    let before = whole_rows(&committed(&topic), 4, 5);
    let batches = (before / 5 + 20).to_string();
    let last = [&arguments[..], &["--batches", &batches]].concat();
    let outcome = run(&last);
    assert!(outcome.status.success(), "{}", outcome.stderr);
    assert_eq!(whole_rows(&committed(&topic), 4, 5), before + 100);
}

#[test]
fn a_second_generate_fences_the_first() {
    let topic = unique("fenced");
    let arguments = [
        "generate",
        "--topic",
        &topic,
        "--interval",
        "20ms",
        "--bootstrap-servers",
        kafka(),
    ];
    let first = start(&arguments);
    wait_for("the first", || {
        (partitions(&topic) > 0 && !committed(&topic).is_empty()).then_some(())
    });
    let second = start(&arguments);
    let outcome = first.wait();
    assert_eq!(outcome.status.code(), Some(1));
    assert!(
        outcome
            .stderr
            .contains("fenced: another process uses the transactional id"),
        "{}",
        outcome.stderr
    );
    wait_for("the second", || {
        second.stderr().contains("going on").then_some(())
    });
    second.signal(Signal::INT);
    assert_eq!(second.wait().status.code(), Some(0));
    whole_rows(&committed(&topic), 5, 1);
}

#[test]
fn a_topic_with_another_number_of_partitions_is_refused() {
    let topic = unique("partitions");
    create_topic(&topic, 3, &[]);
    let outcome = run(&[
        "generate",
        "--topic",
        &topic,
        "--bootstrap-servers",
        kafka(),
    ]);
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!(
        outcome.stderr,
        format!(
            "error: topic `{topic}` has 3 partitions, not 6\nhelp: pass --partitions 3, or delete topic `{topic}`\n"
        )
    );
}
