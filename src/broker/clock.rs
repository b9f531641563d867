//! Time as a value: what the log, the groups and the transactions are told instead of asking.
//!
//! Deadlines count from the broker's start on the monotonic clock, so that a stepped wall clock (or a
//! laptop's sleep) expires nobody; timestamps in records and answers are wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the broker started: for deadlines.
    pub elapsed: Duration,
    /// Milliseconds since 1970: for timestamps.
    pub unix_ms: i64,
}

impl Now {
    /// Whether `deadline`, counted from the broker's start, has come.
    pub fn has_reached(&self, deadline: Duration) -> bool {
        self.elapsed >= deadline
    }
}

/// The source of [`Now`]: read once at the edge, for each request.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            started: Instant::now(),
        }
    }

    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            elapsed: self.started.elapsed(),
            unix_ms: unix.map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
        }
    }
}

#[cfg(test)]
impl Now {
    /// The moment `ms` after the start, which for tests is 2026-01-01.
    pub fn at(ms: u64) -> Now {
        Now {
            elapsed: Duration::from_millis(ms),
            unix_ms: 1_767_225_600_000 + i64::try_from(ms).expect("a test's time is small"),
        }
    }
}
