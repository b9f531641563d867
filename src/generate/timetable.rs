//! When batches are due: at start + k · interval, absolutely, so that nothing drifts and a stall is made
//! good.

use std::time::{Duration, Instant};

/// An absolute timetable on a monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timetable {
    /// The present, when the timetable was made.
    now: Instant,
    /// How long before `now` batch 0 was due: a monotonic clock can't always go back that far.
    age: Duration,
    interval: Duration,
}

/// A place in the timetable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    timetable: Timetable,
    batch: u64,
}

impl Timetable {
    /// Batch 0 is due now.
    pub(super) fn new(now: Instant, interval: Duration) -> Timetable {
        Timetable::begun(now, Duration::ZERO, interval)
    }

    /// Batch 0 was due `age` ago.
    pub(super) fn begun(now: Instant, age: Duration, interval: Duration) -> Timetable {
        Timetable { now, age, interval }
    }

    /// The first place.
    pub(super) fn first(self) -> Due {
        Due {
            timetable: self,
            batch: 0,
        }
    }
}

impl Due {
    /// When the batch of this place is due; the moment the timetable was made, where that is past.
    pub(super) fn instant(&self) -> Instant {
        let Timetable { now, age, interval } = self.timetable;
        let nanos = interval.as_nanos() * u128::from(self.batch);
        let since_start = Duration::new(
            (nanos / 1_000_000_000) as u64,
            (nanos % 1_000_000_000) as u32,
        );
        now + since_start.saturating_sub(age)
    }

    /// Goes on to the next place.
    pub(super) fn advance(&mut self) {
        self.batch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_due_before_the_start_is_due_at_once() {
        let now = Instant::now();
        let mut due =
            Timetable::begun(now, Duration::from_millis(2500), Duration::from_secs(1)).first();
        let waits: Vec<_> = std::iter::repeat_with(|| {
            let wait = due.instant() - now;
            due.advance();
            wait.as_millis()
        })
        .take(5)
        .collect();
        assert_eq!(waits, [0, 0, 0, 500, 1500]);
    }

    proptest! {
        #[test]
        fn batches_due_are_the_time_passed_over_the_interval(
            interval_ms in 1_u64..5000, passed_ms in 0_u64..1_000_000_000,
        ) {
            let now = Instant::now();
            let mut due = Timetable::new(now, Duration::from_millis(interval_ms)).first();
            due.batch = passed_ms / interval_ms;
            prop_assert!(due.instant() <= now + Duration::from_millis(passed_ms));
            due.advance();
            prop_assert!(due.instant() > now + Duration::from_millis(passed_ms));
        }
    }
}
