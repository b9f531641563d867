//! What a partition knows of its idempotent producers: epochs, and the last sequences of each.
//!
//! The rules are those of Kafka's `ProducerStateManager`: five batches are remembered for each producer,
//! so a batch that is sent again is recognised as long as no more than five are in flight.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kafka_protocol::error::ResponseError;

use crate::broker::batch::header::{Header, advance_sequence};
use crate::broker::clock::Now;
use crate::broker::limits;
use crate::broker::refusal::Refusal;

/// How many batches of a producer are remembered: what it may have in flight.
const WINDOW: usize = 5;

/// The verdict on a batch that may be appended or was appended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequenced {
    Next,
    Duplicate { base: i64 },
}

#[derive(Clone, Copy, Debug)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base: i64,
}

/// One producer in one partition.
#[derive(Clone, Debug)]
pub struct Producer {
    pub epoch: i16,
    pub last_timestamp: i64,
    last_seen: Duration,
    window: VecDeque<Written>,
}

impl Producer {
    /// The last sequence of the current epoch; -1 before the first batch.
    pub fn last_sequence(&self) -> i32 {
        self.window
            .back()
            .map_or(-1, |written| written.last_sequence)
    }
}

/// The producers of a partition, by id.
#[derive(Debug, Default)]
pub struct Producers {
    by_id: HashMap<i64, Producer>,
}

impl Producers {
    /// Judges the epoch and the sequence of a batch.
    pub fn check(&self, header: &Header) -> Result<Sequenced, Refusal> {
        if !header.has_producer_id() {
            return Ok(Sequenced::Next);
        }
        let Some(producer) = self.by_id.get(&header.producer_id) else {
            // Its history may have been forgotten here, so any sequence may be the next (KAFKA-5793).
            return Ok(Sequenced::Next);
        };
        let (first, epoch) = (header.base_sequence, header.producer_epoch);
        let expected = if epoch < producer.epoch {
            let message = format!(
                "producer {} has epoch {}, not {epoch}",
                header.producer_id, producer.epoch
            );
            return Err(Refusal::new(ResponseError::InvalidProducerEpoch, message));
        } else if epoch > producer.epoch || producer.window.is_empty() {
            0
        } else {
            let same = |written: &&Written| {
                (written.first_sequence, written.last_sequence) == (first, header.last_sequence())
            };
            if let Some(written) = producer.window.iter().find(same) {
                return Ok(Sequenced::Duplicate { base: written.base });
            }
            advance_sequence(producer.last_sequence(), 1)
        };
        if first == expected {
            return Ok(Sequenced::Next);
        }
        let message = format!(
            "producer {} sent sequence {first} instead of {expected}",
            header.producer_id
        );
        Err(Refusal::new(
            ResponseError::OutOfOrderSequenceNumber,
            message,
        ))
    }

    /// Remembers a batch that was appended at `base`.
    pub fn record(&mut self, header: &Header, base: i64, now: Now) {
        if !header.has_producer_id() {
            return;
        }
        let producer = self.entry(header.producer_id, header.producer_epoch, now);
        producer.last_timestamp = header.max_timestamp;
        if producer.window.len() == WINDOW {
            producer.window.pop_front();
        }
        producer.window.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base,
        });
    }

    /// Remembers that a transaction of this producer ended: from now on a smaller epoch is refused.
    pub fn ended(&mut self, producer_id: i64, epoch: i16, now: Now) {
        self.entry(producer_id, epoch, now).last_timestamp = now.unix_ms;
    }

    /// The producer, with the sequences of older epochs forgotten.
    fn entry(&mut self, id: i64, epoch: i16, now: Now) -> &mut Producer {
        if self.by_id.len() >= limits::PRODUCERS && !self.by_id.contains_key(&id) {
            let oldest = self
                .by_id
                .iter()
                .min_by_key(|(_, producer)| producer.last_seen);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.by_id.remove(&oldest);
            }
        }
        let producer = self.by_id.entry(id).or_insert_with(|| Producer {
            epoch,
            last_timestamp: -1,
            last_seen: now.elapsed,
            window: VecDeque::new(),
        });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.window.clear();
        }
        producer.last_seen = now.elapsed;
        producer
    }

    /// Forgets producers that have written nothing for long, except those with an open transaction.
    pub fn expire(&mut self, now: Now, is_open: impl Fn(i64) -> bool) {
        self.by_id.retain(|id, producer| {
            !now.has_reached(producer.last_seen + limits::PRODUCER_EXPIRY) || is_open(*id)
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::testing::Draft;
    use ResponseError::*;

    fn header(epoch: i16, sequence: i32) -> Header {
        Draft::sized(10)
            .producer(1, epoch, sequence)
            .admitted()
            .header
    }

    fn send(
        producers: &mut Producers,
        epoch: i16,
        sequence: i32,
        base: i64,
    ) -> Result<Sequenced, ResponseError> {
        let header = header(epoch, sequence);
        let outcome = producers.check(&header).map_err(|refusal| refusal.error)?;
        if outcome == Sequenced::Next {
            producers.record(&header, base, Now::at(0));
        }
        Ok(outcome)
    }

    #[test]
    fn batch_sent_again_within_five_is_a_duplicate_at_its_first_offset() {
        let mut producers = Producers::default();
        for n in 0..6 {
            assert_eq!(
                send(&mut producers, 0, n * 10, i64::from(n) * 100),
                Ok(Sequenced::Next)
            );
        }
        assert_eq!(
            send(&mut producers, 0, 10, 0),
            Ok(Sequenced::Duplicate { base: 100 })
        );
        assert_eq!(
            send(&mut producers, 0, 50, 0),
            Ok(Sequenced::Duplicate { base: 500 })
        );
        assert_eq!(send(&mut producers, 0, 0, 0), Err(OutOfOrderSequenceNumber));
    }

    #[test]
    fn gap_is_out_of_order_and_an_old_epoch_is_fenced() {
        let mut producers = Producers::default();
        send(&mut producers, 3, 0, 0).expect("the first");
        assert_eq!(
            send(&mut producers, 3, 20, 0),
            Err(OutOfOrderSequenceNumber)
        );
        assert_eq!(send(&mut producers, 2, 10, 0), Err(InvalidProducerEpoch));
        assert_eq!(
            send(&mut producers, 4, 10, 0),
            Err(OutOfOrderSequenceNumber)
        );
        assert_eq!(send(&mut producers, 4, 0, 0), Ok(Sequenced::Next));
    }

    #[test]
    fn unknown_producer_may_begin_anywhere() {
        assert_eq!(
            send(&mut Producers::default(), 0, 70, 0),
            Ok(Sequenced::Next)
        );
    }

    #[test]
    fn sequence_goes_on_with_zero_after_the_largest() {
        let mut producers = Producers::default();
        send(&mut producers, 0, i32::MAX - 9, 0).expect("anything may be first");
        assert_eq!(send(&mut producers, 0, 0, 10), Ok(Sequenced::Next));
    }

    #[test]
    fn ended_transaction_fences_smaller_epochs_and_keeps_sequences_of_the_same() {
        let mut producers = Producers::default();
        send(&mut producers, 0, 0, 0).expect("the first");
        producers.ended(1, 0, Now::at(0));
        assert_eq!(send(&mut producers, 0, 10, 0), Ok(Sequenced::Next));
        producers.ended(1, 1, Now::at(0));
        assert_eq!(send(&mut producers, 0, 20, 0), Err(InvalidProducerEpoch));
        assert_eq!(send(&mut producers, 1, 0, 0), Ok(Sequenced::Next));
    }

    #[test]
    fn idle_producers_are_forgotten_and_their_number_is_bounded() {
        let mut producers = Producers::default();
        for id in 0..limits::PRODUCERS as i64 + 5 {
            let header = Draft::sized(1).producer(id, 0, 0).admitted().header;
            producers.record(&header, 0, Now::at(id as u64));
        }
        assert_eq!(producers.iter().count(), limits::PRODUCERS);
        assert!(producers.iter().all(|(id, _)| id >= 5));
        let later = Now::at(1_000_000 + limits::PRODUCER_EXPIRY.as_millis() as u64);
        producers.expire(later, |id| id == 9);
        assert_eq!(producers.iter().map(|(id, _)| id).collect::<Vec<_>>(), [9]);
    }
}
