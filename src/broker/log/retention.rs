//! Removing the oldest records: by size, by age, or because somebody asked.
//!
//! Whole batches go, oldest first, and the newest always stays. What retention removes is gone at once;
//! readers that stood there get OFFSET_OUT_OF_RANGE and know.

use std::time::Duration;

use kafka_protocol::error::ResponseError;

use super::Log;
use crate::broker::clock::Now;
use crate::broker::limits;

/// How much may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The broker's bound on memory.
    pub occupied: u64,
    /// The topic's `retention.bytes`, if any.
    pub bytes: Option<u64>,
    /// The topic's `retention.ms`, if any.
    pub age_ms: Option<i64>,
}

impl Log {
    /// Removes batches that exceed the retention, also those of an open transaction: memory has an end.
    /// Returns whether the log's start moved.
    pub fn retain(&mut self, retention: &Retention, now: Now) -> bool {
        let before = self.start;
        while self.batches.len() > 1 && self.oldest_exceeds(retention, now) {
            self.drop_oldest();
        }
        self.start != before
    }

    fn oldest_exceeds(&self, retention: &Retention, now: Now) -> bool {
        let Some(oldest) = self.batches.front() else {
            return false;
        };
        let too_old = |age_ms: i64| {
            let stay = Duration::from_millis(age_ms.unsigned_abs()).min(limits::SHORTEST_STAY);
            now.unix_ms.saturating_sub(oldest.max_timestamp) > age_ms
                && now.has_reached(oldest.arrived + stay)
        };
        self.occupied() > retention.occupied
            || retention.bytes.is_some_and(|bytes| self.bytes > bytes)
            || retention.age_ms.is_some_and(too_old)
    }

    /// Moves the start of the log to `offset` (-1: to its end), as DeleteRecords does.
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, ResponseError> {
        let offset = if offset == -1 { self.end } else { offset };
        if offset < 0 || offset > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        while self
            .batches
            .front()
            .is_some_and(|oldest| oldest.last < offset)
        {
            self.drop_oldest();
        }
        self.move_start(offset);
        Ok(self.start)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= oldest.bytes.len() as u64;
            self.move_start(oldest.last + 1);
        }
    }

    fn move_start(&mut self, offset: i64) {
        self.start = self.start.max(offset);
        let start = self.start;
        // An aborted transaction matters as long as some of its data can be read.
        self.transactions
            .retain_aborted(|aborted| aborted.marker >= start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::control::{Marker, Outcome};
    use crate::broker::batch::testing::Draft;
    use crate::broker::log::Isolation;

    const UNLIMITED: Retention = Retention {
        occupied: u64::MAX,
        bytes: None,
        age_ms: None,
    };

    fn log(batches: usize) -> Log {
        let mut log = Log::default();
        for _ in 0..batches {
            log.append(Draft::sized(10).admitted(), Now::at(0))
                .expect("the append is good");
        }
        log
    }

    #[test]
    fn oldest_batches_go_until_the_rest_fits() {
        let mut log = log(10);
        let bytes = log.bytes();
        assert!(!log.retain(
            &Retention {
                bytes: Some(bytes),
                ..UNLIMITED
            },
            Now::at(0)
        ));
        assert!(log.retain(
            &Retention {
                bytes: Some(bytes / 2),
                ..UNLIMITED
            },
            Now::at(0)
        ));
        assert_eq!((log.start(), log.end(), log.bytes()), (50, 100, bytes / 2));
        let before_start = log.read(49, Isolation::ReadUncommitted, 1, true);
        assert_eq!(
            before_start.expect_err("gone"),
            ResponseError::OffsetOutOfRange
        );
    }

    #[test]
    fn newest_batch_stays_however_small_the_bound() {
        let mut log = log(10);
        log.retain(
            &Retention {
                occupied: 0,
                ..UNLIMITED
            },
            Now::at(0),
        );
        assert_eq!((log.start(), log.end()), (90, 100));
    }

    #[test]
    fn old_batches_go_by_their_largest_timestamp() {
        let mut log = log(2);
        let hour = 3_600_000;
        let young = Draft::sized(1).timestamp(Now::at(hour).unix_ms);
        log.append(young.admitted(), Now::at(hour))
            .expect("the append is good");
        let second = Retention {
            age_ms: Some(1000),
            ..UNLIMITED
        };
        log.retain(&second, Now::at(hour));
        assert_eq!(log.start(), 20);
    }

    #[test]
    fn records_that_are_old_when_they_come_stay_a_while() {
        let mut log = Log::default();
        for _ in 0..2 {
            let ancient = Draft::sized(1).timestamp(0);
            log.append(ancient.admitted(), Now::at(0))
                .expect("the append is good");
        }
        let week = Retention {
            age_ms: Some(604_800_000),
            ..UNLIMITED
        };
        assert!(!log.retain(&week, Now::at(299_999)));
        assert!(log.retain(&week, Now::at(300_000)));
    }

    #[test]
    fn deleting_records_may_cut_inside_a_batch_and_forgets_aborted_ranges() {
        let mut log = log(1);
        let draft = Draft::sized(1).producer(1, 0, 0).transactional();
        log.append(draft.admitted(), Now::at(0))
            .expect("the append is good");
        let marker = Marker {
            producer_id: 1,
            producer_epoch: 0,
            outcome: Outcome::Abort,
        };
        log.append_marker(marker, Now::at(0))
            .expect("a marker can be appended");
        assert_eq!(log.delete_before(5), Ok(5));
        assert_eq!(
            log.read(5, Isolation::ReadCommitted, 1000, true)
                .expect("in range")
                .batches
                .len(),
            3
        );
        assert_eq!(log.delete_before(3), Ok(5));
        assert_eq!(log.delete_before(13), Err(ResponseError::OffsetOutOfRange));
        assert_eq!(log.delete_before(-1), Ok(12));
        assert!(log.transactions().aborted().is_empty());
        assert_eq!(log.bytes(), 0);
    }
}
