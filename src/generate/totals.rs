//! What a run has written, counted once a transaction is committed, and how late it is.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::metrics::{Counter, Metrics};

/// The counts of a run: one source for the log and for Prometheus.
#[derive(Debug)]
pub(super) struct Totals {
    readings: Counter,
    batches: Counter,
    committed: Counter,
    aborted: Counter,
    /// When the first batch of the transaction that is being written was due.
    due: Arc<Mutex<Option<Instant>>>,
}

impl Totals {
    /// Nothing yet.
    pub(super) fn new(metrics: &Metrics) -> Totals {
        let transactions = metrics.counters(
            "fireworks_generate_transactions_total",
            "Transactions, by outcome",
            "outcome",
        );
        let due = Arc::new(Mutex::new(None::<Instant>));
        let written = Arc::clone(&due);
        metrics.computed(
            "fireworks_generate_lag_seconds",
            "How long ago the batch was due that is being written; 0 between batches",
            move || {
                let due = *written.lock().expect("no holder of this lock panics");
                due.map_or(0.0, |due| due.elapsed().as_secs_f64())
            },
        );
        Totals {
            readings: metrics.counter("fireworks_generate_readings_total", "Readings written"),
            batches: metrics.counter("fireworks_generate_batches_total", "Batches written"),
            committed: transactions.with_label_values(&["committed"]),
            aborted: transactions.with_label_values(&["aborted"]),
            due,
        }
    }

    /// Adds a committed transaction.
    pub(super) fn commit(&self, readings: u64, batches: usize) {
        self.readings.inc_by(readings);
        self.batches.inc_by(batches as u64);
        self.committed.inc();
    }

    /// Adds an aborted transaction.
    pub(super) fn abort(&self) {
        self.aborted.inc();
    }

    /// Readings written so far.
    pub(super) fn readings(&self) -> u64 {
        self.readings.get()
    }

    /// A transaction is being written whose first batch was due then; or none is.
    pub(super) fn writes(&self, due: Option<Instant>) {
        *self.due.lock().expect("no holder of this lock panics") = due;
    }
}
