//! `dlq` against a Kafka: dead letters that `brownian` has written, listed and put back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};
use support::*;

/// For topics whose records are of another year.
const KEPT: &[(&str, &str)] = &[
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("retention.ms", "-1"),
];

/// What can't be used, and what it is in.
struct Broken {
    input: String,
    dlq: String,
    malformed: Vec<Record>,
    late: Record,
}

/// What of a record has to come back as it was: all but where it stands.
fn content(record: &Record) -> Record {
    Record {
        partition: 0,
        offset: 0,
        ..record.clone()
    }
}

fn headers(list: &[(&str, Option<&[u8]>)]) -> OwnedHeaders {
    list.iter()
        .fold(OwnedHeaders::new(), |headers, &(key, value)| {
            headers.insert(Header { key, value })
        })
}

fn brownian(input: &str) {
    succeed(&[
        "brownian",
        "--input",
        input,
        "--output",
        &format!("{input}.markov"),
        "--group",
        input,
        "--until-end",
    ]);
}

/// Three records that are no readings, and one that comes too late, after `brownian` has seen them.
fn broken(name: &str) -> Broken {
    let input = unique(name);
    succeed(&[
        "generate",
        "--topic",
        &input,
        "--start-timestamp",
        "1700000000000",
        "--batches",
        "120",
        "--interval",
        "0s",
        "--devices",
        "1",
    ]);
    let first = committed(&input).remove(0);
    let producer = producer(&[]);
    let own = headers(&[
        ("trace", Some(b"\xff\x00")),
        ("fireworks.reason", Some(b"my own")),
        ("empty", Some(b"")),
        ("none", None),
    ]);
    let hostile = b"\x1b[2J\xff \xe2\x80\xae";
    send_record(
        &producer,
        &input,
        4,
        Some(b"key"),
        Some(hostile),
        1_600_000_000_000,
        own,
    );
    send(&producer, &input, 4, None, None);
    send(&producer, &input, 2, Some(b"sensor-1"), Some(b"{}"));
    let (key, value) = (first.key.as_deref(), first.value.as_deref());
    send_record(
        &producer,
        &input,
        first.partition,
        key,
        value,
        first.timestamp,
        OwnedHeaders::new(),
    );
    flush(&producer);
    brownian(&input);

    let all = committed(&input);
    let is_malformed = |record: &&Record| {
        !record
            .value
            .as_ref()
            .is_some_and(|value| value.starts_with(b"{\"device_id\""))
    };
    let late = all
        .iter()
        .rfind(|record| content(record) == content(&first))
        .unwrap();
    let broken = Broken {
        dlq: format!("{input}.dlq"),
        malformed: all.iter().filter(is_malformed).cloned().collect(),
        late: late.clone(),
        input,
    };
    assert_eq!(broken.malformed.len(), 3);
    assert_eq!(committed(&broken.dlq).len(), 4);
    broken
}

/// What `dlq` prints, as JSON.
fn dlq(arguments: &[&str]) -> Value {
    let outcome = succeed(&[&["dlq"][..], arguments, &["--json"]].concat());
    serde_json::from_str(&outcome.stdout).unwrap()
}

impl Broken {
    fn replay(&self, more: &[&str]) -> Value {
        dlq(&[&["replay", "--topic", &self.dlq][..], more].concat())
    }

    /// The records of the input behind those that were there.
    fn put_back(&self, before: &[Record]) -> Vec<Record> {
        let mut all = committed(&self.input);
        all.retain(|record| !before.contains(record));
        all
    }
}

/// Where and what, in any order.
fn placed(records: &[Record]) -> Vec<String> {
    let mut placed: Vec<_> = records
        .iter()
        .map(|record| format!("{} {:?}", record.partition, content(record)))
        .collect();
    placed.sort();
    placed
}

#[test]
fn list_shows_reasons_counts_and_samples_and_escapes_what_is_hostile() {
    let broken = broken("list");
    let list = dlq(&["list", "--topic", &broken.dlq]);
    assert_eq!((&list["records"], &list["others"]), (&json!(4), &json!(0)));
    let [malformed, late] = list["reasons"].as_array().unwrap().as_slice() else {
        panic!("{list}")
    };
    for (group, reason, records) in [(malformed, "malformed", 3), (late, "late", 1)] {
        assert_eq!(group["reason"], reason);
        assert_eq!(group["records"], records);
        assert_eq!(group["waiting"], records);
        assert_eq!(group["samples"].as_array().unwrap().len(), records);
    }
    let sample = &late["samples"][0];
    assert_eq!(sample["from_topic"], broken.input);
    assert_eq!(sample["from_partition"], broken.late.partition);
    assert_eq!(sample["from_offset"], broken.late.offset);
    assert_eq!(sample["timestamp"], "2023-11-14T22:13:20.000Z");
    assert_eq!(sample["key"], "sensor-1");

    let outcome = succeed(&["dlq", "list", "--topic", &broken.dlq]);
    let text = outcome.stdout;
    for line in [
        "malformed: 3, 3 of them not put back yet\n",
        "late: 1, 1 of them not put back yet\n",
        "    key    null\n    value  null\n",
        "    value  \\u{1b}[2J\\xff \\u{202e}\n",
        "    header trace: \\xff\\0\n    header fireworks.reason: my own\n    header empty: \n    header none: null\n",
    ] {
        assert!(text.contains(line), "{line:?} in:\n{text}");
    }
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    let none = dlq(&["list", "--topic", &broken.dlq, "--samples", "0"]);
    assert_eq!(none["reasons"][0]["samples"], json!([]));
}

#[test]
fn replay_puts_records_back_as_they_were_and_only_once() {
    let broken = broken("replay");
    let before = committed(&broken.input);
    let counts = json!({ &broken.input: { "malformed": 3, "late": 1 } });

    let would = broken.replay(&["--dry-run"]);
    assert_eq!(
        (&would["is_dry_run"], &would["records"]),
        (&json!(true), &counts)
    );
    assert_eq!(broken.put_back(&before), []);

    let did = broken.replay(&[]);
    assert_eq!(
        (&did["is_dry_run"], &did["records"]),
        (&json!(false), &counts)
    );
    let originals = [&broken.malformed[..], std::slice::from_ref(&broken.late)].concat();
    assert_eq!(placed(&broken.put_back(&before)), placed(&originals));

    assert_eq!(broken.replay(&[])["records"], json!({}));
    assert_eq!(broken.put_back(&before).len(), 4);
    let list = dlq(&["list", "--topic", &broken.dlq]);
    assert_eq!(list["reasons"][0]["waiting"], 0);

    // Whatever was put back is refused again, and is one thing more to put back.
    brownian(&broken.input);
    assert_eq!(committed(&broken.dlq).len(), 8);
    assert_eq!(broken.replay(&["--dry-run"])["records"], counts);
    let twice = json!({ &broken.input: { "malformed": 6, "late": 2 } });
    assert_eq!(
        broken.replay(&["--from-beginning", "--dry-run"])["records"],
        twice
    );
    broken.replay(&["--from-beginning"]);
    let thrice = [&originals[..], &originals, &originals].concat();
    assert_eq!(placed(&broken.put_back(&before)), placed(&thrice));
    let outcome = succeed(&["dlq", "replay", "--topic", &broken.dlq]);
    assert_eq!(
        outcome.stdout,
        format!("{}: nothing left to put back\n", broken.dlq)
    );
}

#[test]
fn replay_by_reason_remembers_each_reason_on_its_own() {
    let broken = broken("reason");
    let before = committed(&broken.input);
    let outcome = succeed(&["dlq", "replay", "--topic", &broken.dlq, "--reason", "late"]);
    assert_eq!(
        outcome.stdout,
        format!("put back 1 into {}: 1 late\n", broken.input)
    );
    assert_eq!(
        placed(&broken.put_back(&before)),
        placed(std::slice::from_ref(&broken.late))
    );
    let rest = broken.replay(&[]);
    assert_eq!(
        rest["records"],
        json!({ &broken.input: { "malformed": 3 } })
    );
    assert_eq!(broken.put_back(&before).len(), 4);
}

#[test]
fn replay_to_another_topic_keeps_the_partition_where_it_is_there() {
    let broken = broken("elsewhere");
    let to = unique("to");
    create_topic(&to, 3, KEPT);
    let did = broken.replay(&["--to", &to]);
    assert_eq!(
        did["records"],
        json!({ &to: { "malformed": 3, "late": 1 } })
    );
    for record in committed(&to) {
        let original = [&broken.malformed[..], std::slice::from_ref(&broken.late)].concat();
        let original = original
            .iter()
            .find(|original| content(original) == content(&record))
            .unwrap();
        let expected = match &original.key {
            _ if original.partition < 3 => original.partition,
            Some(key) => fireworks::kafka::partitioner::partition(key, 3),
            None => 0,
        };
        assert_eq!(record.partition, expected);
    }
}

/// The headers that `brownian` would have written.
fn from(topic: &str) -> OwnedHeaders {
    headers(&[
        ("fireworks.reason", Some(b"malformed")),
        ("fireworks.error", Some(b"no")),
        ("fireworks.topic", Some(topic.as_bytes())),
        ("fireworks.partition", Some(b"0")),
        ("fireworks.offset", Some(b"0")),
    ])
}

#[test]
fn replay_is_all_or_nothing() {
    let dlq = unique("atomic");
    let input = unique("there");
    create_topic(&dlq, 1, KEPT);
    create_topic(&input, 1, KEPT);
    let producer = producer(&[]);
    let now = 1_700_000_000_000;
    send_record(
        &producer,
        &dlq,
        0,
        Some(b"a"),
        Some(b"1"),
        now,
        from(&input),
    );
    send_record(
        &producer,
        &dlq,
        0,
        Some(b"b"),
        Some(b"2"),
        now,
        OwnedHeaders::new(),
    );
    send_record(
        &producer,
        &dlq,
        0,
        Some(b"c"),
        Some(b"3"),
        now,
        from("no-such-topic"),
    );
    flush(&producer);
    let arguments = [
        "dlq",
        "replay",
        "--topic",
        &dlq,
        "--bootstrap-servers",
        kafka(),
    ];
    let outcome = run(&arguments);
    assert_eq!(
        (outcome.status.code(), outcome.stdout.as_str()),
        (Some(1), "")
    );
    let error = "error: nothing was put back: topic `no-such-topic` does not exist\n\
                 help: create it, or name another one with --to\n";
    assert!(outcome.stderr.ends_with(error), "{}", outcome.stderr);
    assert_eq!(committed(&input), []);

    let outcome = succeed(&["dlq", "replay", "--topic", &dlq, "--to", &input]);
    let expected = format!(
        "put back 2 into {input}: 2 malformed\n1 left alone: they have not brownian's headers\n"
    );
    assert_eq!(outcome.stdout, expected);
    let keys: Vec<_> = committed(&input)
        .into_iter()
        .map(|record| record.key.unwrap())
        .collect();
    assert_eq!(keys, [b"a", b"c"]);
}

/// The most memory, in KiB, that it takes to put back so many records of a kilobyte, with small queues.
fn peak_of_replay(records: usize) -> u64 {
    let (dlq, to) = (unique("large"), unique("back"));
    create_topic(&dlq, 1, KEPT);
    create_topic(&to, 1, KEPT);
    let producer = producer(&[("queue.buffering.max.messages", "1000000")]);
    let value = [b'x'; 1024];
    for _ in 0..records {
        let headers = from(&to);
        send_record(&producer, &dlq, 0, Some(b"key"), Some(&value), 1, headers);
    }
    flush(&producer);
    let mut replay = start(&[
        "dlq",
        "replay",
        "--topic",
        &dlq,
        "-X",
        "queued.max.messages.kbytes=1024",
        "-X",
        "fetch.message.max.bytes=262144",
        "-X",
        "queue.buffering.max.kbytes=1024",
        "--bootstrap-servers",
        kafka(),
    ]);
    let (path, mut peak) = (format!("/proc/{}/status", replay.id()), 0);
    wait_for("the replay to end", || {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        peak = line.map_or(peak, |line| {
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        });
        (!replay.is_running()).then_some(())
    });
    let outcome = replay.wait();
    let expected = format!("put back {records} into {to}: {records} malformed\n");
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    peak
}

#[test]
fn memory_of_a_replay_does_not_grow_with_what_there_is_to_put_back() {
    let (small, large) = (peak_of_replay(2_000), peak_of_replay(42_000));
    assert!(
        large < small + 20_000,
        "40 MB more took {} KiB more",
        large - small
    );
}

#[test]
fn what_is_no_topic_is_refused() {
    let missing = unique("missing");
    for action in ["list", "replay"] {
        let outcome = run(&[
            "dlq",
            action,
            "--topic",
            &missing,
            "--bootstrap-servers",
            kafka(),
        ]);
        assert_eq!(outcome.status.code(), Some(1));
        let error = format!(
            "error: topic `{missing}` does not exist\nhelp: brownian creates it as INPUT.dlq: name it with --topic\n"
        );
        assert!(outcome.stderr.ends_with(&error), "{}", outcome.stderr);
    }
    let outcome = run(&["dlq", "replay", "--to", "__consumer_offsets"]);
    assert_eq!(
        outcome.stderr,
        "error: invalid --to `__consumer_offsets`: it is Kafka's own\n"
    );
}
