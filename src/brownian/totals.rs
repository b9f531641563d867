//! What a run has done, counted once a transaction is committed: an aborted one has done nothing.

use std::time::Duration;

use crate::metrics::{Counter, Histogram, Metrics};
use crate::model::dead_letter::Reason;

/// A commit takes milliseconds; one that takes seconds waits for a broker.
const COMMIT_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// Counts of one worker's open transaction, or of all that is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Records consumed.
    pub(super) records: u64,
    /// Steps written, revisions among them.
    pub(super) steps: u64,
    /// Steps that were written again because a reading arrived late.
    pub(super) revisions: u64,
    /// Readings that were there already.
    pub(super) duplicates: u64,
    /// Dead letters of records that are no readings.
    pub(super) malformed: u64,
    /// Dead letters of readings that came too late.
    pub(super) late: u64,
}

/// The counts of all workers: one source for the log and for Prometheus.
#[derive(Debug)]
pub(super) struct Totals {
    records: Counter,
    steps: Counter,
    revisions: Counter,
    duplicates: Counter,
    malformed: Counter,
    late: Counter,
    committed: Counter,
    aborted: Counter,
    commit_seconds: Histogram,
}

impl Totals {
    /// Nothing yet.
    pub(super) fn new(metrics: &Metrics) -> Totals {
        let counter =
            |noun: &str, help| metrics.counter(&format!("fireworks_brownian_{noun}_total"), help);
        let dead_letters = metrics.counters(
            "fireworks_brownian_dead_letters_total",
            "Records that could not be used, by reason",
            "reason",
        );
        let transactions = metrics.counters(
            "fireworks_brownian_transactions_total",
            "Transactions, by outcome",
            "outcome",
        );
        Totals {
            records: counter("records", "Records consumed"),
            steps: counter("steps", "Steps written, revisions among them"),
            revisions: counter(
                "revisions",
                "Steps written again because a reading arrived late",
            ),
            duplicates: counter("duplicates", "Readings that were there already"),
            malformed: dead_letters.with_label_values(&[Reason::Malformed.name()]),
            late: dead_letters.with_label_values(&[Reason::Late.name()]),
            committed: transactions.with_label_values(&["committed"]),
            aborted: transactions.with_label_values(&["aborted"]),
            commit_seconds: metrics.histogram(
                "fireworks_brownian_commit_duration_seconds",
                "From the end of a transaction's work until it is committed",
                COMMIT_SECONDS,
            ),
        }
    }

    /// Adds a committed transaction, whose commit took so long.
    pub(super) fn commit(&self, counts: Counts, took: Duration) {
        self.records.inc_by(counts.records);
        self.steps.inc_by(counts.steps);
        self.revisions.inc_by(counts.revisions);
        self.duplicates.inc_by(counts.duplicates);
        self.malformed.inc_by(counts.malformed);
        self.late.inc_by(counts.late);
        self.committed.inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Adds an aborted transaction.
    pub(super) fn abort(&self) {
        self.aborted.inc();
    }

    /// Logs all of it; `since` is what had been consumed when it was logged last, `seconds` ago. Returns what
    /// has been consumed.
    pub(super) fn log(&self, message: &str, since: u64, seconds: f64) -> u64 {
        let records = self.records.get();
        tracing::info!(
            records,
            per_second = ((records - since) as f64 / seconds).round(),
            steps = self.steps.get(),
            revisions = self.revisions.get(),
            duplicates = self.duplicates.get(),
            malformed = self.malformed.get(),
            late = self.late.get(),
            transactions = self.committed.get(),
            "{message}"
        );
        records
    }
}
