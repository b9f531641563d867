//! Crash points: the process dies at a named place inside, and what is there afterwards is exact all the same.
//!
//! The places are those of `src/crash.rs`; they exist in debug builds only.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use support::*;

const SIGABRT: i32 = 6;

/// Runs `fireworks` with these arguments until it dies at `place`, when it is there for the time named.
fn crash(place: &str, arguments: &[&str]) {
    let arguments = [arguments, &["--bootstrap-servers", kafka()]].concat();
    let outcome = start_with(&arguments, &[("FIREWORKS_TEST_CRASH", place)]).wait();
    assert_eq!(
        outcome.status.signal(),
        Some(SIGABRT),
        "it did not die at {place}: {}",
        outcome.stderr
    );
}

fn generate<'a>(topic: &'a str, batches: &'a str) -> [&'a str; 13] {
    [
        "generate",
        "--topic",
        topic,
        "--batches",
        batches,
        "--interval",
        "0s",
        "--devices",
        "20",
        "--start-timestamp",
        "1700000000000",
        "--rows-per-batch",
        "5",
    ]
}

fn brownian<'a>(input: &'a str, output: &'a str) -> [&'a str; 12] {
    [
        "brownian",
        "--input",
        input,
        "--output",
        output,
        "--group",
        output,
        "--commit-interval",
        "5ms",
        "--workers",
        "1",
        "--until-end",
    ]
}

/// Partition, timestamp and value.
type Content = (i32, i64, Vec<u8>);

/// The values of each device, in order.
fn by_device(topic: &str) -> BTreeMap<Vec<u8>, Vec<Content>> {
    let mut devices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in committed(topic) {
        let content = (record.partition, record.timestamp, record.value.unwrap());
        devices
            .entry(record.key.unwrap())
            .or_default()
            .push(content);
    }
    devices
}

/// Lets `brownian` die at a place, goes on, and holds the steps against those of an undisturbed run.
fn assert_exact_after(places: [&str; 2]) {
    let readings = unique("crash");
    let (disturbed, undisturbed) = (format!("{readings}.a"), format!("{readings}.b"));
    let parts = ["400", "800"];
    // Whoever comes after a crash waits until the group has missed who died: two of them are enough.
    for (place, part) in places.iter().zip(parts) {
        succeed(&generate(&readings, part));
        crash(place, &brownian(&readings, &disturbed));
    }
    succeed(&brownian(&readings, &disturbed));
    succeed(&brownian(&readings, &undisturbed));
    let (actual, expected) = (by_device(&disturbed), by_device(&undisturbed));
    assert!(actual == expected, "{places:?}: the steps differ");
    assert_eq!(actual.values().map(Vec::len).sum::<usize>(), 800 * 5 * 20);
}

#[test]
fn brownian_killed_before_it_moves_its_offsets_repeats_nothing() {
    assert_exact_after(["produced:3", "produced:1"]);
}

#[test]
fn brownian_killed_before_its_commit_repeats_nothing() {
    assert_exact_after(["offsets sent:3", "offsets sent:1"]);
}

#[test]
fn brownian_killed_after_its_commit_loses_nothing() {
    assert_exact_after(["committed:3", "committed:1"]);
}

#[test]
fn brownian_killed_while_it_restores_its_state_restores_it_again() {
    assert_exact_after(["committed:2", "restoring:1"]);
}

#[test]
fn generate_killed_on_either_side_of_its_commit_leaves_no_gap_and_no_repeat() {
    let (topic, undisturbed) = (unique("crash-source"), unique("crash-source"));
    // A transaction takes 500 of these batches.
    for place in ["written:1", "readings committed:1", "written:2"] {
        crash(place, &generate(&topic, "2000"));
    }
    succeed(&generate(&topic, "2000"));
    succeed(&generate(&undisturbed, "2000"));
    let (actual, expected) = (by_device(&topic), by_device(&undisturbed));
    assert!(actual == expected, "the readings differ");
    assert_eq!(actual.values().map(Vec::len).sum::<usize>(), 2000 * 5 * 20);
}
