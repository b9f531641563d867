//! A broker that goes away: it is waited for, whatever becomes of open transactions meanwhile; who was away itself
//! is fenced; and a broker that comes back empty ends it.
//!
//! Each test has an embedded broker in a process of its own, to be stopped and killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::*;

/// Longer than a transaction or a session may be silent (10 s each), by more than it takes to speak of a wait.
const TOO_LONG: Duration = Duration::from_secs(16);

struct Broker {
    process: Process,
    address: String,
}

impl Broker {
    fn start(listen: &str) -> Broker {
        let (process, address) = broker_process(&["--listen", listen]);
        Broker { process, address }
    }

    fn generate(&self, more: &[&str]) -> Process {
        let ours = [
            "generate",
            "--interval",
            "10ms",
            "--devices",
            "20",
            "--start-timestamp",
            "1700000000000",
            "--bootstrap-servers",
            &self.address,
        ];
        start(&[&ours[..], more].concat())
    }

    fn brownian(&self, more: &[&str]) -> Process {
        let ours = [
            "brownian",
            "--instance",
            "a",
            "--workers",
            "1",
            "--bootstrap-servers",
            &self.address,
        ];
        start(&[&ours[..], more].concat())
    }

    fn steps(&self) -> usize {
        committed_at(&self.address, "markov").len()
    }

    /// Waits until steps have been committed.
    fn wait_for_steps(&self) {
        wait_for("steps", || (self.steps() > 200).then_some(()));
    }
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

const GONE: &str = "Kafka does not answer";
const BACK: &str = "Kafka answers again";

#[test]
fn a_broker_that_is_away_for_longer_than_a_transaction_is_waited_for() {
    let broker = Broker::start("127.0.0.1:0");
    let source = broker.generate(&["--batches", "3000"]);
    // So long that a transaction is open when the broker stops.
    let mut processor = broker.brownian(&["--commit-interval", "2s"]);
    broker.wait_for_steps();
    broker.process.signal(Signal::STOP);
    std::thread::sleep(TOO_LONG);
    broker.process.signal(Signal::CONT);
    let source = source.wait();
    assert!(source.status.success(), "{}", source.stderr);
    wait_for("every step", || (broker.steps() >= 3000 * 20).then_some(()));
    assert!(processor.is_running());
    processor.signal(Signal::TERM);
    let processor = processor.wait();
    assert!(processor.status.success(), "{}", processor.stderr);
    for log in [&source.stderr, &processor.stderr] {
        assert_eq!((count(log, GONE), count(log, BACK)), (1, 1), "{log}");
        assert!(
            count(log, "librdkafka") <= 2,
            "the client's own lines: {log}"
        );
    }

    let mut steps: Vec<_> = committed_at(&broker.address, "markov")
        .iter()
        .map(|record| (record.key.clone(), record.json()["index"].as_i64().unwrap()))
        .collect();
    steps.sort();
    let all = steps.len();
    steps.dedup();
    assert_eq!((all, steps.len()), (3000 * 20, 3000 * 20));
}

#[test]
fn a_processor_that_was_stopped_itself_is_fenced_and_writes_nothing_more() {
    let broker = Broker::start("127.0.0.1:0");
    let _source = broker.generate(&[]);
    let zombie = broker.brownian(&["--commit-interval", "5s"]);
    broker.wait_for_steps();
    let seen = broker.steps();
    wait_for("the next commit", || (broker.steps() > seen).then_some(()));
    // Whether it is stopped with a transaction open, or only with records at hand, it has to end.
    std::thread::sleep(Duration::from_secs(1));
    zombie.signal(Signal::STOP);
    let written = broker.steps();
    std::thread::sleep(TOO_LONG);
    zombie.signal(Signal::CONT);
    let outcome = zombie.wait();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("fenced: "), "{}", outcome.stderr);
    assert_eq!(broker.steps(), written, "the zombie has written");
}

#[test]
fn a_processor_that_was_stopped_with_nothing_to_do_is_given_up_by_its_group_and_ends() {
    let broker = Broker::start("127.0.0.1:0");
    let source = broker.generate(&["--batches", "50"]).wait();
    assert!(source.status.success(), "{}", source.stderr);
    let zombie = broker.brownian(&[]);
    wait_for("every step", || (broker.steps() == 50 * 20).then_some(()));
    zombie.signal(Signal::STOP);
    std::thread::sleep(TOO_LONG);
    zombie.signal(Signal::CONT);
    let outcome = zombie.wait();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("fenced: this process was stopped for 1"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_second_processor_with_the_same_name_fences_the_first_for_good() {
    let broker = Broker::start("127.0.0.1:0");
    let _source = broker.generate(&[]);
    let first = broker.brownian(&[]);
    broker.wait_for_steps();
    let mut second = broker.brownian(&[]);
    let outcome = first.wait();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("fenced: "), "{}", outcome.stderr);
    let seen = broker.steps();
    wait_for("steps of the second", || {
        (broker.steps() > seen + 200).then_some(())
    });
    assert!(second.is_running());
}

#[test]
fn a_broker_that_comes_back_empty_ends_the_processes_with_the_reason() {
    let broker = Broker::start("127.0.0.1:0");
    let source = broker.generate(&[]);
    let processor = broker.brownian(&[]);
    broker.wait_for_steps();
    let address = broker.address.clone();
    broker.process.signal(Signal::KILL);
    broker.process.wait();
    let _empty = Broker::start(&address);
    for process in [source, processor] {
        let outcome = process.wait();
        assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
        let error = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with("error: "));
        let text = error.unwrap_or_default();
        assert!(
            text.contains("topic `readings`") || text.contains("is not the one it was before"),
            "{}",
            outcome.stderr
        );
    }
    let written = committed_at(&address, "markov").len() + committed_at(&address, "readings").len();
    assert_eq!(written, 0, "something of before was written to the new one");
}
