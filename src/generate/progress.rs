//! How it is going: one line that is written over on a terminal, a plain line every ten seconds elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::totals::Totals;

/// How often a terminal is told.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);
/// How often a log is told.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Rate, total and lag of a run.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    topic: String,
    is_terminal: bool,
    totals: &'a Totals,
    lag: Duration,
    shown: Instant,
    shown_total: u64,
}

impl Progress<'_> {
    /// Nothing yet.
    pub(super) fn new<'a>(
        topic: &str,
        totals: &'a Totals,
        is_shown_on_terminals: bool,
    ) -> Progress<'a> {
        Progress {
            topic: topic.to_owned(),
            is_terminal: is_shown_on_terminals && std::io::stderr().is_terminal(),
            totals,
            lag: Duration::ZERO,
            shown: Instant::now(),
            shown_total: 0,
        }
    }

    /// A transaction with so many readings and batches has been committed; its first batch was due at `due`.
    pub(super) fn committed(&mut self, readings: u64, batches: usize, due: Instant) {
        self.totals.commit(readings, batches);
        self.lag = due.elapsed();
        let interval = if self.is_terminal {
            TERMINAL_INTERVAL
        } else {
            LOG_INTERVAL
        };
        let passed = self.shown.elapsed();
        if passed < interval {
            return;
        }
        let total = self.totals.readings();
        let rate = (total - self.shown_total) as f64 / passed.as_secs_f64();
        self.show(rate);
        self.shown = Instant::now();
        self.shown_total = total;
    }

    fn show(&self, rate: f64) {
        let (topic, lag) = (&self.topic, self.lag.as_secs_f64());
        let total = self.totals.readings();
        if self.is_terminal {
            // Clears to the end of the line, which may have been longer. A closed terminal is no reason to
            // stop.
            let line = format!(
                "\r{topic}: {total} readings, {rate:.0}/s, {lag:.3} s behind the timetable\x1b[K"
            );
            let _closed = std::io::stderr().write_all(line.as_bytes()).is_err();
        } else {
            tracing::info!(
                topic,
                total,
                per_second = rate.round(),
                lag_seconds = lag,
                "writing readings"
            );
        }
    }

    /// The last line.
    pub(super) fn finish(self) {
        let total = self.totals.readings();
        if self.is_terminal && total > 0 {
            let _closed = std::io::stderr().write_all(b"\r\x1b[K").is_err();
        }
        tracing::info!(topic = self.topic, total, "stopped writing readings");
    }
}
