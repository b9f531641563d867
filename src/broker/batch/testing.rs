//! Batches for tests, written as a producer would.

use super::codec::Codec;
use super::header::Header;
use super::records::put_record;
use super::validate::Admitted;
use crate::broker::clock::Now;

/// A batch to be built.
#[derive(Clone, Debug)]
pub struct Draft {
    records: Vec<(Option<String>, Option<String>)>,
    codec: Codec,
    timestamp: i64,
    producer: (i64, i16, i32),
    transactional: bool,
}

impl Draft {
    pub fn of(records: &[(Option<&str>, Option<&str>)]) -> Draft {
        let owned = |text: &Option<&str>| text.map(str::to_owned);
        Draft {
            records: records
                .iter()
                .map(|(key, value)| (owned(key), owned(value)))
                .collect(),
            codec: Codec::None,
            timestamp: Now::at(0).unix_ms,
            producer: (-1, -1, -1),
            transactional: false,
        }
    }

    pub fn keyed(records: &[(&str, Option<&str>)]) -> Draft {
        let records: Vec<_> = records
            .iter()
            .map(|(key, value)| (Some(*key), *value))
            .collect();
        Draft::of(&records)
    }

    /// `count` records whose content doesn't matter.
    pub fn sized(count: usize) -> Draft {
        Draft::of(&vec![(None, Some("value")); count])
    }

    pub fn codec(mut self, codec: Codec) -> Draft {
        self.codec = codec;
        self
    }

    /// The timestamp of the first record; each further one is a millisecond later.
    pub fn timestamp(mut self, timestamp: i64) -> Draft {
        self.timestamp = timestamp;
        self
    }

    pub fn producer(mut self, id: i64, epoch: i16, sequence: i32) -> Draft {
        self.producer = (id, epoch, sequence);
        self
    }

    pub fn transactional(mut self) -> Draft {
        self.transactional = true;
        self
    }

    pub fn build(&self) -> Vec<u8> {
        let mut records = Vec::new();
        for (delta, (key, value)) in (0..).zip(&self.records) {
            let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
            let (key, value) = (bytes(key), bytes(value));
            put_record(
                &mut records,
                delta,
                i64::from(delta),
                key.as_deref(),
                value.as_deref(),
            );
        }
        let count = i32::try_from(self.records.len()).expect("a test's batch is small");
        let header = Header {
            base_offset: 0,
            length: 0,
            leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: Header::data_attributes(self.codec as i16, self.transactional),
            last_offset_delta: count - 1,
            base_timestamp: self.timestamp,
            max_timestamp: self.timestamp + i64::from(count) - 1,
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            base_sequence: self.producer.2,
            record_count: count,
        };
        header.seal(&self.codec.compress(&records).expect("compresses"))
    }

    pub fn admitted(&self) -> Admitted {
        let bytes = self.build();
        let header = Header::read(&bytes).expect("it was just built");
        Admitted { header, bytes }
    }
}
