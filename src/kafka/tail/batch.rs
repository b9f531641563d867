//! Records on their way out of the tail, many in one allocation.
//!
//! A copy of a few hundred bytes costs less than a message's life time costs in code. It knows the shape
//! of a record in the log, not what its bytes mean.

use std::ops::Range;

const BATCH_RECORDS: usize = 2_000;
const BATCH_BYTES: usize = 1 << 20;

/// Records in the order they were read.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    appended: bool,
    history: bool,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// A record as it was in the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Whether that is the broker's own time, of when it took the record, and not the producer's.
    pub appended: bool,
    /// Whether it was in the log before the tail began.
    pub history: bool,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

impl Batch {
    pub fn push(&mut self, record: Record<'_>) {
        let mut copy = |part: Option<&[u8]>| {
            part.map(|part| {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(part);
                start..self.bytes.len()
            })
        };
        let (key, value) = (copy(record.key), copy(record.value));
        let Record {
            partition,
            offset,
            timestamp,
            appended,
            history,
            ..
        } = record;
        self.entries.push(Entry {
            partition,
            offset,
            timestamp,
            appended,
            history,
            key,
            value,
        });
    }

    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &self.bytes[range]);
        self.entries.iter().map(move |entry| Record {
            partition: entry.partition,
            offset: entry.offset,
            timestamp: entry.timestamp,
            appended: entry.appended,
            history: entry.history,
            key: part(&entry.key),
            value: part(&entry.value),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it should be handed on before more is read.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_RECORDS || self.bytes.len() >= BATCH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_gives_back_what_was_pushed() {
        let mut batch = Batch::default();
        let record = |key, value| Record {
            partition: 1,
            offset: 2,
            timestamp: Some(3),
            appended: false,
            history: true,
            key,
            value,
        };
        batch.push(record(Some(b"key".as_slice()), None));
        batch.push(record(None, Some(b"value".as_slice())));
        let parts: Vec<_> = batch
            .records()
            .map(|record| (record.key, record.value))
            .collect();
        assert_eq!(
            parts,
            [
                (Some(b"key".as_slice()), None),
                (None, Some(b"value".as_slice()))
            ]
        );
    }
}
