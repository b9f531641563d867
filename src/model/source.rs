//! The source: Spark's `rate-micro-batch` (RatePerMicroBatchStream), as a value.
//!
//! With R rows a batch, a start timestamp S and an advance A, batch k holds the rows k·R … k·R + R − 1,
//! all with the timestamp S + k·A. Contents never depend on a clock; when a batch is sent is another
//! matter, and not decided here.

use std::fmt;

use super::event_time::EventTime;

/// What never changes while a source runs.
#[derive(Clone, Copy, Debug)]
pub struct RateMicroBatch {
    /// R, at least 1.
    pub rows_per_batch: u32,
    /// A ≥ 0: the event time between two batches, in milliseconds.
    pub advance_millis: i64,
    /// Stop before this many batches of R rows, if ever.
    pub batches: Option<u64>,
}

/// Where a source stands: its next row and that row's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The first row of the next batch.
    pub row: i64,
    /// The timestamp of the next batch, in milliseconds since 1970.
    pub timestamp: i64,
}

/// Rows that share a timestamp and are committed together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The first row.
    pub first_row: i64,
    /// How many rows there are: R, or fewer where changed options let the end fall inside a batch.
    pub rows: i64,
    /// Their common timestamp.
    pub event_time: EventTime,
}

/// The source has come to the last row or the last instant that a reading can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted(Cursor);

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { row, timestamp } = self.0;
        write!(
            f,
            "no batch can follow: its first row would be {row} and its timestamp {timestamp} ms, \
             beyond 2^63-1 or the year 9999"
        )
    }
}

impl std::error::Error for Exhausted {}

impl Cursor {
    /// The start of an empty topic.
    pub fn start(start_timestamp: EventTime) -> Cursor {
        Cursor {
            row: 0,
            timestamp: start_timestamp.millis(),
        }
    }
}

impl RateMicroBatch {
    /// Where to go on after the last row of a batch that is there already.
    pub fn after(&self, last_row: i64, timestamp: EventTime) -> Cursor {
        Cursor {
            row: last_row.saturating_add(1),
            timestamp: timestamp.millis().saturating_add(self.advance_millis),
        }
    }

    /// The next batch, which moves the cursor past it; nothing once the last batch is behind.
    pub fn next(&self, cursor: &mut Cursor) -> Result<Option<Batch>, Exhausted> {
        let full = i64::from(self.rows_per_batch);
        let rows = match self.end() {
            Some(end) => full.min(end - cursor.row),
            None => full,
        };
        if rows <= 0 {
            return Ok(None);
        }
        let exhausted = Exhausted(*cursor);
        let event_time = EventTime::from_millis(cursor.timestamp).map_err(|_| exhausted)?;
        let batch = Batch {
            first_row: cursor.row,
            rows,
            event_time,
        };
        *cursor = Cursor {
            row: cursor.row.checked_add(rows).ok_or(exhausted)?,
            timestamp: cursor.timestamp.saturating_add(self.advance_millis),
        };
        Ok(Some(batch))
    }

    /// How many batches are left, if there is an end to them.
    pub fn batches_left(&self, cursor: Cursor) -> Option<u64> {
        let rows = u64::try_from(self.end()?.saturating_sub(cursor.row)).unwrap_or(0);
        Some(rows.div_ceil(u64::from(self.rows_per_batch)))
    }

    /// The row before which the source stops.
    fn end(&self) -> Option<i64> {
        let rows = self.batches?.saturating_mul(u64::from(self.rows_per_batch));
        Some(i64::try_from(rows).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(millis: i64) -> EventTime {
        EventTime::from_millis(millis).unwrap()
    }

    fn source(rows_per_batch: u32, advance_millis: i64, batches: Option<u64>) -> RateMicroBatch {
        RateMicroBatch {
            rows_per_batch,
            advance_millis,
            batches,
        }
    }

    fn drain(source: RateMicroBatch, cursor: &mut Cursor) -> Vec<Batch> {
        std::iter::from_fn(|| source.next(cursor).unwrap()).collect()
    }

    #[test]
    fn batch_k_holds_its_rows_and_one_timestamp() {
        let batches = drain(source(2, 500, Some(3)), &mut Cursor::start(time(1000)));
        let expected = [(0, 1000), (2, 1500), (4, 2000)].map(|(first_row, millis)| Batch {
            first_row,
            rows: 2,
            event_time: time(millis),
        });
        assert_eq!(batches, expected);
    }

    #[test]
    fn changed_options_apply_from_the_next_batch_on() {
        let mut cursor = source(4, 300, Some(2)).after(4, time(1000));
        assert_eq!(
            cursor,
            Cursor {
                row: 5,
                timestamp: 1300
            }
        );
        let last = drain(source(4, 300, Some(2)), &mut cursor);
        assert_eq!(
            last,
            [Batch {
                first_row: 5,
                rows: 3,
                event_time: time(1300)
            }]
        );
        assert_eq!(source(4, 300, Some(2)).next(&mut cursor), Ok(None));
    }

    #[test]
    fn the_last_row_and_the_last_instant_end_it_with_an_error() {
        let endless = source(2, 1000, None);
        let mut cursor = endless.after(i64::MAX - 1, time(0));
        assert!(endless.next(&mut cursor).is_err());
        let mut cursor = endless.after(7, time(253_402_300_799_999));
        assert!(endless.next(&mut cursor).is_err());
        assert!(endless.next(&mut endless.after(i64::MAX, time(0))).is_err());
    }

    proptest! {
        #[test]
        fn a_restart_anywhere_changes_nothing(
            rows in 1_u32..5, advance in 0_i64..2000, batches in 1_u64..40, cut in 0_usize..40,
        ) {
            let source = source(rows, advance, Some(batches));
            let whole = drain(source, &mut Cursor::start(time(5)));
            prop_assert_eq!(whole.len() as u64, batches);
            let cut = cut.min(whole.len() - 1);
            let last = whole[cut];
            let mut cursor = source.after(last.first_row + last.rows - 1, last.event_time);
            prop_assert_eq!(source.batches_left(cursor), Some((whole.len() - cut - 1) as u64));
            prop_assert_eq!(&drain(source, &mut cursor)[..], &whole[cut + 1..]);
        }
    }
}
