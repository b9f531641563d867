//! Exactly once under fire: processes are killed, stopped, added and removed, brokers go away and come back, all at
//! random moments, while a stranger mixes late, repeated and broken readings in; and in the end every step is there
//! once, as if nothing had happened.
//!
//! `FIREWORKS_CHAOS_SECONDS` says for how long (20), `FIREWORKS_CHAOS_SEED` repeats the choices of a run,
//! `FIREWORKS_CHAOS_LOGS` names a directory for the log of every process. The brokers are those of
//! `tests/kafka/run` where it has started the test, and else an embedded one.
//! A run that has hit nothing proves nothing, so it fails as well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the timetable of a run is its output")]

mod brokers;
mod cast;
mod random;
mod stranger;
mod strikes;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::time::{Duration, SystemTime};

use brokers::Brokers;
use cast::Cast;
use stranger::Stranger;
use strikes::Strikes;
use verdict::Verdict;

#[test]
fn every_step_is_there_once_whatever_dies() {
    let seconds = number("FIREWORKS_CHAOS_SECONDS").unwrap_or(20);
    let seed = number("FIREWORKS_CHAOS_SEED").unwrap_or_else(fresh_seed);
    println!("FIREWORKS_CHAOS_SECONDS={seconds} FIREWORKS_CHAOS_SEED={seed}");

    let brokers = Brokers::find();
    let mut cast = Cast::new();
    let stranger = Stranger::new(&cast.topics.readings);
    let mut strikes = Strikes::new(seed, brokers, stranger);
    strikes.rain(&mut cast, Duration::from_secs(seconds));
    if let Some(source) = cast.source.take() {
        cast.terminate(source);
    }
    strikes.stranger.finish();
    verdict::wait_until_caught_up(&cast.topics);
    cast.look_for_the_dead();
    let moved = cast.partitions_that_moved();
    for instance in std::mem::take(&mut cast.instances) {
        cast.terminate(instance);
    }
    let verdict = verdict::judge(&cast.topics, &strikes.stranger);

    println!(
        "{}",
        summary(seconds, seed, &strikes, &cast, moved, &verdict)
    );
    assert!(strikes.kills_inside_a_transaction > 0);
    assert!(verdict.aborted > 0, "no transaction with steps was aborted");
    assert!(moved > 0, "no partition moved with its state");
    assert!(verdict.revisions > 0, "no late reading has changed a step");
}

/// What has happened and what it was held against, to be read on its own.
fn summary(
    seconds: u64,
    seed: u64,
    strikes: &Strikes,
    cast: &Cast,
    moved: usize,
    verdict: &Verdict,
) -> String {
    let counts: Vec<_> = strikes
        .counts
        .iter()
        .map(|(strike, count)| format!("{} {count}", strike.name()))
        .collect();
    let lines: Vec<_> = counts.chunks(6).map(|line| line.join(", ")).collect();
    let late = strikes.stranger.late.len();
    format!(
        "
chaos for {seconds} s with seed {seed}, on {}
  strikes       {}: {}
  transactions  {} processes killed inside one; {} steps of aborted ones, which no reader sees
  zombies       {} fenced
  partitions    {moved} moved with their state
  read          {} readings, of which {} repeated, {} malformed, {late} too late
  compared      {} steps ({} of them revisions) and {} dead letters: each there once, byte for byte as one
                undisturbed run gives them",
        strikes.brokers.name(),
        strikes.counts.values().sum::<usize>(),
        lines.join(",\n                "),
        strikes.kills_inside_a_transaction,
        verdict.aborted,
        cast.fenced,
        verdict.readings,
        verdict.repeats,
        strikes.stranger.malformed.len(),
        verdict.steps,
        verdict.revisions,
        verdict.dead_letters,
    )
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
    )
}

fn fresh_seed() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    u64::from(since_1970.subsec_nanos())
}
