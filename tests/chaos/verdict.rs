//! What a run has to have given: held against the readings themselves, and against one undisturbed run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::cast::{DEVICES, Topics};
use crate::stranger::{Letter, Stranger};
use crate::support::{Record, committed, committed_offsets, succeed, uncommitted, unique};

/// How long the rest of the input may take, and whatever has to end first.
const CATCH_UP: Duration = Duration::from_secs(240);

/// What was there in the end.
#[derive(Debug)]
pub struct Verdict {
    pub readings: usize,
    pub steps: usize,
    pub revisions: usize,
    pub repeats: usize,
    pub dead_letters: usize,
    /// Records of aborted transactions.
    pub aborted: usize,
}

/// Waits until the group has consumed the last reading of every partition.
pub fn wait_until_caught_up(topics: &Topics) {
    let mut ends = BTreeMap::new();
    for record in committed(&topics.readings) {
        ends.insert(record.partition, record.offset + 1);
    }
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let offsets = committed_offsets(&topics.readings, &topics.readings);
        let is_behind = |(partition, end): (&i32, &i64)| offsets[*partition as usize] < *end;
        if !ends.iter().any(is_behind) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "brownian has not caught up: {offsets:?}, not {ends:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Judges the topics of a run whose processes have all ended.
pub fn judge(topics: &Topics, stranger: &Stranger) -> Verdict {
    let readings = committed(&topics.readings);
    let (odd, ours): (Vec<_>, Vec<_>) = readings
        .into_iter()
        .partition(|record| record.headers.iter().any(|(name, _)| name == "from"));
    assert_readings_are_whole(&ours);
    let steps = committed(&topics.markov);
    let dead = format!("{}.dlq", topics.readings);
    let letters = committed(&dead);
    let alone = unique("chaos-alone");
    succeed(&[
        "brownian",
        "--input",
        &topics.readings,
        "--output",
        &alone,
        "--group",
        &alone,
        "--workers",
        "1",
        "--until-end",
    ]);
    assert_same(&by_device(&steps), &by_device(&committed(&alone)));
    assert_same_letters(&letters, &committed(&dead)[letters.len()..]);
    assert_account(stranger, &steps, &letters);
    let revisions = steps
        .iter()
        .filter(|step| step.json()["revision"] != 0)
        .count();
    assert_eq!(
        steps.len() - revisions,
        ours.len() + stranger.steps.len(),
        "a first step for every reading that is taken"
    );
    Verdict {
        readings: ours.len() + odd.len(),
        steps: steps.len(),
        revisions,
        repeats: stranger.repeats,
        dead_letters: letters.len(),
        aborted: uncommitted(&topics.markov).len() - steps.len(),
    }
}

/// Dead letters by the record they were, in its order.
fn by_origin(letters: &[Record]) -> BTreeMap<(String, i64), &Record> {
    let origin = |letter: &Record| {
        let offset = letter.header("fireworks.offset").parse().unwrap();
        (letter.header("fireworks.partition"), offset)
    };
    let by_origin: BTreeMap<_, _> = letters
        .iter()
        .map(|letter| (origin(letter), letter))
        .collect();
    assert_eq!(
        by_origin.len(),
        letters.len(),
        "a dead letter is there twice"
    );
    by_origin
}

/// The undisturbed run gives the same dead letters: key, value, time, headers, reason and error.
fn assert_same_letters(actual: &[Record], expected: &[Record]) {
    let (actual, expected) = (by_origin(actual), by_origin(expected));
    let content = |letter: &&Record| Record {
        partition: 0,
        offset: 0,
        ..(*letter).clone()
    };
    let actual: Vec<_> = actual.values().map(content).collect();
    let expected: Vec<_> = expected.values().map(content).collect();
    let first_wrong =
        (0..actual.len().max(expected.len())).find(|i| actual.get(*i) != expected.get(*i));
    if let Some(i) = first_wrong {
        panic!(
            "dead letter {i} differs: {:?}\nnot\n{:?}",
            actual.get(i),
            expected.get(i)
        );
    }
}

/// What the stranger has written has become what it must become, once each.
fn assert_account(stranger: &Stranger, steps: &[Record], letters: &[Record]) {
    let mut identities = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for record in steps {
        let step = record.json();
        let identity =
            ["device_id", "event_time", "index", "revision"].map(|name| step[name].to_string());
        assert!(identities.insert(identity), "a step is there twice: {step}");
        let device = step["device_id"].as_str().unwrap();
        if device.starts_with("odd-") {
            taken.insert((device.to_owned(), record.timestamp as u64));
        }
    }
    assert_eq!(taken, stranger.steps, "the stranger's steps");
    for (reason, expected) in [("malformed", &stranger.malformed), ("late", &stranger.late)] {
        let mut expected = expected.clone();
        let mut found: Vec<Letter> = letters
            .iter()
            .filter(|letter| letter.header("fireworks.reason") == reason)
            .map(|letter| (letter.key.clone().unwrap(), letter.value.clone().unwrap()))
            .collect();
        expected.sort();
        found.sort();
        assert!(
            found == expected,
            "{} {reason}, not {}",
            found.len(),
            expected.len()
        );
    }
}

type ByDevice = BTreeMap<String, Vec<Record>>;

fn by_device(records: &[Record]) -> ByDevice {
    let mut devices = ByDevice::new();
    for record in records {
        let device = String::from_utf8(record.key.clone().unwrap()).unwrap();
        devices.entry(device).or_default().push(record.clone());
    }
    devices
}

/// Every device has the rows 0, 1, 2, … once each and in order, and all have as many.
fn assert_readings_are_whole(readings: &[Record]) {
    let devices = by_device(readings);
    assert_eq!(devices.len(), DEVICES);
    let rows = readings.len() / DEVICES;
    for (device, records) in devices {
        let indexes: Vec<_> = records
            .iter()
            .map(|record| record.json()["index"].as_i64().unwrap())
            .collect();
        let first_wrong = (0..).zip(&indexes).find(|(row, index)| row != *index);
        assert_eq!(first_wrong, None, "{device}: (row expected, row found)");
        assert_eq!(indexes.len(), rows, "{device}");
    }
}

/// Each device has the same steps in the same order in the same partition, byte for byte.
fn assert_same(actual: &ByDevice, expected: &ByDevice) {
    let mut wrong = Vec::new();
    for (device, expected) in expected {
        let none = Vec::new();
        let actual = actual.get(device).unwrap_or(&none);
        let content = |record: &Record| {
            let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
            (record.partition, record.timestamp, value)
        };
        let differs = |i: &usize| actual.get(*i).map(content) != expected.get(*i).map(content);
        let length = actual.len().max(expected.len());
        if let Some(i) = (0..length).find(differs) {
            wrong.push(format!(
                "{device}: {} steps, not {}; the first that differs is {i}:\n  {:?}\nnot\n  {:?}",
                actual.len(),
                expected.len(),
                actual.get(i).map(content),
                expected.get(i).map(content)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} devices differ from what one undisturbed run gives:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(actual.len(), expected.len());
}
