//! One partition's log: batches in memory, addressed by offset, and what reading and writing need.
//!
//! A plain value: no lock, no waiting, time comes in as an argument. The only writer of offsets; whoever
//! holds a batch's `Bytes` may keep them, they never change.

pub mod compaction;
pub mod producers;
pub mod retention;
pub mod timestamps;
pub mod transactions;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::batch::control::Marker;
use super::batch::header::{self, Header};
use super::batch::validate::Admitted;
use super::clock::Now;
use super::refusal::Refusal;
use producers::{Producers, Sequenced};
use transactions::{Aborted, Transactions};

/// There is one broker and it never loses an election.
pub const LEADER_EPOCH: i32 = 0;
/// What a stored batch costs beside its bytes.
const BATCH_OVERHEAD: u64 = (std::mem::size_of::<Stored>() + 32) as u64;

/// A batch with its place.
#[derive(Clone, Debug)]
pub struct Stored {
    pub base: i64,
    pub last: i64,
    pub max_timestamp: i64,
    /// When it was appended, on the broker's own clock.
    pub arrived: Duration,
    pub bytes: Bytes,
    /// When compaction may drop the tombstones in it: set by the first compaction that leaves only those.
    pub delete_horizon: Option<i64>,
}

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    pub fn of(level: i8) -> Isolation {
        if level == 1 {
            Isolation::ReadCommitted
        } else {
            Isolation::ReadUncommitted
        }
    }
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    At {
        base: i64,
    },
    /// The batch is in the log already, from an earlier try.
    Duplicate {
        base: i64,
    },
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    pub batches: Vec<Bytes>,
    pub bytes: usize,
    pub aborted: Vec<Aborted>,
}

/// A partition's log.
#[derive(Debug, Default)]
pub struct Log {
    batches: VecDeque<Stored>,
    start: i64,
    end: i64,
    bytes: u64,
    producers: Producers,
    transactions: Transactions,
    cleaner: compaction::Progress,
}

impl Log {
    /// The first offset that may be read.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets; with one replica also the high watermark.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The offset from which on records may still be undecided. Retention may have taken the beginning of
    /// an open transaction.
    pub fn last_stable(&self) -> i64 {
        self.transactions
            .first_open()
            .map_or(self.end, |first| first.max(self.start))
    }

    /// The end for readers of `isolation`.
    pub fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.end,
            Isolation::ReadCommitted => self.last_stable(),
        }
    }

    /// Bytes of all batches.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory that the log occupies.
    pub fn occupied(&self) -> u64 {
        self.bytes + self.batches.len() as u64 * BATCH_OVERHEAD
    }

    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Appends a batch from a producer, after its sequence.
    pub fn append(&mut self, batch: Admitted, now: Now) -> Result<Appended, Refusal> {
        let header = batch.header;
        if let Sequenced::Duplicate { base } = self.producers.check(&header)? {
            return Ok(Appended::Duplicate { base });
        }
        let base = self.end;
        self.push(header, batch.bytes, now)?;
        self.producers.record(&header, base, now);
        if header.is_transactional() {
            self.transactions.open(header.producer_id, base);
        }
        Ok(Appended::At { base })
    }

    /// Whether a batch with this header would be appended, not recognised as sent before.
    pub fn is_next(&self, header: &Header) -> Result<bool, Refusal> {
        Ok(self.producers.check(header)? == Sequenced::Next)
    }

    /// Ends a producer's transaction here, whether or not it has written anything.
    pub fn append_marker(&mut self, marker: Marker, now: Now) -> Result<(), Refusal> {
        let (header, bytes) = marker.batch(now.unix_ms);
        let offset = self.end;
        self.push(header, bytes, now)?;
        self.producers
            .ended(marker.producer_id, marker.producer_epoch, now);
        self.transactions
            .end(marker.producer_id, marker.outcome, offset);
        Ok(())
    }

    fn push(&mut self, header: Header, mut bytes: Vec<u8>, now: Now) -> Result<(), Refusal> {
        let base = self.end;
        let end = base
            .checked_add(i64::from(header.last_offset_delta) + 1)
            .ok_or(ResponseError::KafkaStorageError)?;
        header::assign_offset(&mut bytes, base, LEADER_EPOCH);
        self.bytes += bytes.len() as u64;
        self.cleaner.appended(now);
        self.batches.push_back(Stored {
            base,
            last: end - 1,
            max_timestamp: header.max_timestamp,
            arrived: now.elapsed,
            bytes: bytes.into(),
            delete_horizon: None,
        });
        self.end = end;
        Ok(())
    }

    /// Reads whole batches from the one that holds `offset` (or follows it) on: the first one whatever its
    /// size where `at_least_one`, then as many as fit into `max_bytes`.
    pub fn read(
        &self,
        offset: i64,
        isolation: Isolation,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Slice, ResponseError> {
        if offset < self.start || offset > self.end {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let readable_end = self.readable_end(isolation);
        let mut slice = Slice::default();
        let mut next = offset;
        for batch in self.batches.range(self.position(offset)..) {
            let fits = slice.bytes + batch.bytes.len() <= max_bytes;
            if batch.last >= readable_end || !(fits || at_least_one && slice.batches.is_empty()) {
                break;
            }
            slice.bytes += batch.bytes.len();
            slice.batches.push(batch.bytes.clone());
            next = batch.last + 1;
        }
        if isolation == Isolation::ReadCommitted && !slice.batches.is_empty() {
            slice.aborted = self.transactions.aborted_within(offset, next).collect();
        }
        Ok(slice)
    }

    /// Forgets producers that have written nothing for long.
    pub fn expire_producers(&mut self, now: Now) {
        let transactions = &self.transactions;
        self.producers
            .expire(now, |id| transactions.opened_at(id).is_some());
    }

    /// The index of the first batch that ends at or after `offset`.
    fn position(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.last < offset)
    }
}

#[cfg(test)]
mod history_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::control::Outcome;
    use crate::broker::batch::testing::Draft;
    use proptest::prelude::*;

    fn append(log: &mut Log, draft: &Draft) -> i64 {
        match log
            .append(draft.admitted(), Now::at(0))
            .expect("the append is good")
        {
            Appended::At { base } | Appended::Duplicate { base } => base,
        }
    }

    fn end(log: &mut Log, producer_id: i64, outcome: Outcome) {
        let marker = Marker {
            producer_id,
            producer_epoch: 0,
            outcome,
        };
        log.append_marker(marker, Now::at(0))
            .expect("a marker can be appended");
    }

    fn bases(slice: &Slice) -> Vec<i64> {
        let base = |bytes: &Bytes| Header::read(bytes).expect("a header").base_offset;
        slice.batches.iter().map(base).collect()
    }

    #[test]
    fn batches_get_consecutive_offsets_and_read_back_by_any_of_them() {
        let mut log = Log::default();
        assert_eq!(append(&mut log, &Draft::sized(3)), 0);
        assert_eq!(append(&mut log, &Draft::sized(2)), 3);
        assert_eq!(log.end(), 5);
        for offset in 0..3 {
            let slice = log.read(offset, Isolation::ReadUncommitted, usize::MAX, true);
            assert_eq!(bases(&slice.expect("in range")), [0, 3]);
        }
        let slice = log
            .read(4, Isolation::ReadUncommitted, usize::MAX, true)
            .expect("in range");
        assert_eq!(bases(&slice), [3]);
        let slice = log
            .read(5, Isolation::ReadUncommitted, usize::MAX, true)
            .expect("at the end");
        assert!(slice.batches.is_empty());
        let beyond = log.read(6, Isolation::ReadUncommitted, usize::MAX, true);
        assert_eq!(
            beyond.expect_err("beyond the end"),
            ResponseError::OffsetOutOfRange
        );
    }

    #[test]
    fn one_large_batch_is_read_whatever_the_limit() {
        let mut log = Log::default();
        append(&mut log, &Draft::sized(100));
        append(&mut log, &Draft::sized(1));
        let slice = log
            .read(0, Isolation::ReadUncommitted, 1, true)
            .expect("in range");
        assert_eq!(bases(&slice), [0]);
        let slice = log
            .read(0, Isolation::ReadUncommitted, 1, false)
            .expect("in range");
        assert!(slice.batches.is_empty());
    }

    #[test]
    fn committed_readers_stop_at_the_first_open_transaction() {
        let mut log = Log::default();
        append(&mut log, &Draft::sized(1));
        append(&mut log, &Draft::sized(1).producer(7, 0, 0).transactional());
        append(&mut log, &Draft::sized(1));
        assert_eq!(log.last_stable(), 1);
        let slice = log
            .read(0, Isolation::ReadCommitted, usize::MAX, true)
            .expect("in range");
        assert_eq!(bases(&slice), [0]);
        end(&mut log, 7, Outcome::Commit);
        assert_eq!(log.last_stable(), 4);
        let slice = log
            .read(0, Isolation::ReadCommitted, usize::MAX, true)
            .expect("in range");
        assert_eq!(bases(&slice), [0, 1, 2, 3]);
        assert!(slice.aborted.is_empty());
    }

    #[test]
    fn aborted_transactions_are_named_to_readers_that_meet_them() {
        let mut log = Log::default();
        append(&mut log, &Draft::sized(1).producer(7, 0, 0).transactional());
        append(&mut log, &Draft::sized(1).producer(8, 0, 0).transactional());
        end(&mut log, 7, Outcome::Abort);
        end(&mut log, 8, Outcome::Commit);
        append(&mut log, &Draft::sized(1));
        let aborted = |offset| {
            let slice = log.read(offset, Isolation::ReadCommitted, usize::MAX, true);
            slice.expect("in range").aborted.len()
        };
        assert_eq!((aborted(0), aborted(1), aborted(2)), (1, 1, 1));
        assert_eq!(aborted(3), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write { producer: i64, count: usize },
        End { producer: i64, commit: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4_i64, 1..4_usize).prop_map(|(producer, count)| Step::Write { producer, count }),
            (0..4_i64, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against the simplest model there is: a list of (offset, producer, fate).
        #[test]
        fn committed_reader_sees_what_the_model_committed_below_the_first_open(steps in steps()) {
            let mut log = Log::default();
            let mut model: Vec<(i64, i64, Option<bool>)> = Vec::new();
            let mut sequences = [0_i32; 4];
            for step in steps {
                match step {
                    Step::Write { producer, count } => {
                        let sequence = &mut sequences[producer as usize];
                        let draft = Draft::sized(count).producer(producer, 0, *sequence).transactional();
                        let base = append(&mut log, &draft);
                        *sequence += count as i32;
                        model.extend((0..count as i64).map(|n| (base + n, producer, None)));
                    }
                    Step::End { producer, commit } => {
                        let outcome = if commit { Outcome::Commit } else { Outcome::Abort };
                        end(&mut log, producer, outcome);
                        for (_, owner, fate) in &mut model {
                            if *owner == producer && fate.is_none() {
                                *fate = Some(commit);
                            }
                        }
                    }
                }
            }
            let first_open = model.iter().find(|(_, _, fate)| fate.is_none()).map(|(offset, ..)| *offset);
            prop_assert_eq!(log.last_stable(), first_open.unwrap_or(log.end()));
            let expected: Vec<i64> = model.iter()
                .take_while(|(_, _, fate)| fate.is_some())
                .filter(|(_, _, fate)| *fate == Some(true))
                .map(|(offset, ..)| *offset)
                .collect();
            prop_assert_eq!(committed_offsets(&log), expected);
        }
    }

    /// What a consumer does with a fetch answer: drop the batches of aborted transactions and markers.
    fn committed_offsets(log: &Log) -> Vec<i64> {
        let slice = log
            .read(log.start(), Isolation::ReadCommitted, usize::MAX, true)
            .expect("in range");
        let mut offsets = Vec::new();
        let mut aborting = std::collections::HashSet::new();
        let mut starts = slice.aborted.clone();
        for bytes in &slice.batches {
            let header = Header::read(bytes).expect("a header");
            starts.retain(|aborted| {
                let begins = aborted.first <= header.last_offset();
                if begins {
                    aborting.insert(aborted.producer_id);
                }
                !begins
            });
            if header.is_control() {
                aborting.remove(&header.producer_id);
            } else if !aborting.contains(&header.producer_id) {
                offsets.extend(header.base_offset..=header.last_offset());
            }
        }
        offsets
    }
}
