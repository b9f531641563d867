//! The marker that ends a transaction in a partition: a control batch with one record.

use super::header::Header;
use super::records::put_record;

/// How a transaction ended. The number is the marker's type on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Abort = 0,
    Commit = 1,
}

/// The marker of one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Marker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub outcome: Outcome,
}

impl Marker {
    /// The control batch, not yet given its offset.
    pub fn batch(&self, timestamp: i64) -> (Header, Vec<u8>) {
        // Key: version and type. Value: version and the epoch of the coordinator, which never changes here.
        let key = [0, 0, 0, self.outcome as u8];
        let value = [0, 0, 0, 0, 0, 0];
        let mut records = Vec::new();
        put_record(&mut records, 0, 0, Some(&key), Some(&value));
        let header = Header {
            base_offset: 0,
            length: 0,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: Header::marker_attributes(),
            last_offset_delta: 0,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: -1,
            record_count: 1,
        };
        let batch = header.seal(&records);
        (Header::read(&batch).expect("it was just sealed"), batch)
    }
}
