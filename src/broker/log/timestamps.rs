//! Finding offsets by time.
//!
//! Two steps, so that records are decompressed outside the broker's lock: the log names a batch, and
//! [`Found::offset`] finds the record in it.

use bytes::Bytes;

use super::{Isolation, Log};
use crate::broker::batch::codec::Codec;
use crate::broker::batch::header::{HEADER_BYTES, Header};
use crate::broker::batch::records::Records;
use crate::broker::limits;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// The first record at or after a time.
    From(i64),
    /// The record with the largest timestamp.
    Latest,
}

/// The batch that holds the record that is looked for.
#[derive(Clone, Debug)]
pub struct Found {
    batch: Bytes,
    sought: Sought,
    /// Records before this offset have been deleted.
    start: i64,
    /// Where to look on, should deleted records have been all that matched.
    pub next: i64,
}

impl Log {
    /// The batch to look into, among those from `offset` on that readers of `isolation` see.
    pub fn find(&self, sought: Sought, isolation: Isolation, offset: i64) -> Option<Found> {
        let end = self.readable_end(isolation);
        let first = self.position(offset);
        let mut readable = self
            .batches
            .range(first..)
            .take_while(|batch| batch.last < end);
        let batch = match sought {
            Sought::From(timestamp) => readable.find(|batch| batch.max_timestamp >= timestamp),
            // Of several with the largest timestamp the first one, as Kafka does.
            Sought::Latest => readable.reduce(|best, batch| {
                if batch.max_timestamp > best.max_timestamp {
                    batch
                } else {
                    best
                }
            }),
        }?;
        let next = batch.last + 1;
        Some(Found {
            batch: batch.bytes.clone(),
            sought,
            start: self.start,
            next,
        })
    }
}

impl Found {
    /// Whether finding the record means decompressing the batch.
    pub fn is_compressed(&self) -> bool {
        Header::read(&self.batch).is_some_and(|header| header.codec_id() != 0)
    }

    /// Offset and timestamp of the record. `None` only where deleted records hid all that match.
    pub fn offset(&self) -> Option<(i64, i64)> {
        let header = Header::read(&self.batch)?;
        if header.is_log_append_time() {
            return Some((header.base_offset.max(self.start), header.max_timestamp));
        }
        let target = match self.sought {
            Sought::From(timestamp) => timestamp,
            Sought::Latest => header.max_timestamp,
        };
        let codec = Codec::of(header.codec_id())?;
        let records = codec
            .expand(&self.batch[HEADER_BYTES..], limits::EXPANDED_BATCH_BYTES)
            .ok()?;
        Records::new(&records, header.record_count)
            .filter_map(Result::ok)
            .find_map(|record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
                (offset >= self.start && timestamp >= target).then_some((offset, timestamp))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::testing::Draft;
    use crate::broker::clock::Now;

    fn log(codec: Codec) -> Log {
        let mut log = Log::default();
        for start in [100, 300, 200] {
            let draft = Draft::sized(3).timestamp(start).codec(codec);
            log.append(draft.admitted(), Now::at(0))
                .expect("the append is good");
        }
        log
    }

    fn offset(log: &Log, sought: Sought) -> Option<(i64, i64)> {
        log.find(sought, Isolation::ReadUncommitted, 0)?.offset()
    }

    #[test]
    fn first_record_at_or_after_a_time_is_found_exactly_in_compressed_batches_too() {
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
            let log = log(codec);
            assert_eq!(offset(&log, Sought::From(0)), Some((0, 100)));
            assert_eq!(offset(&log, Sought::From(101)), Some((1, 101)));
            assert_eq!(offset(&log, Sought::From(103)), Some((3, 300)));
            assert_eq!(offset(&log, Sought::From(302)), Some((5, 302)));
            assert_eq!(offset(&log, Sought::From(303)), None);
            assert_eq!(offset(&log, Sought::Latest), Some((5, 302)));
        }
        assert_eq!(offset(&Log::default(), Sought::Latest), None);
    }

    #[test]
    fn open_transaction_hides_what_follows_from_committed_readers() {
        let mut log = log(Codec::None);
        let open = Draft::sized(1)
            .timestamp(900)
            .producer(1, 0, 0)
            .transactional();
        log.append(open.admitted(), Now::at(0))
            .expect("the append is good");
        assert!(
            log.find(Sought::From(900), Isolation::ReadCommitted, 0)
                .is_none()
        );
        assert!(
            log.find(Sought::From(900), Isolation::ReadUncommitted, 0)
                .is_some()
        );
    }
}
