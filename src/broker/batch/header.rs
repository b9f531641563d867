//! The 61 bytes in front of the records of a batch.
//!
//! Reading never fails on content, only on length: what the fields mean is judged by `validate`.

use bytes::{Buf, BufMut};

/// The length of a batch header; the records follow it.
pub const HEADER_BYTES: usize = 61;
/// Bytes in front of those that the batch's length field counts: base offset and the field itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// Where the bytes begin that the checksum covers.
const CRC_COVERS_FROM: usize = 21;
/// Stands for "no producer id".
pub const NO_PRODUCER_ID: i64 = -1;
/// Stands for "no timestamp".
pub const NO_TIMESTAMP: i64 = -1;

const COMPRESSION_BITS: i16 = 0b111;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;

/// A batch header, field by field in wire order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub base_offset: i64,
    pub length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl Header {
    /// Reads the header in front of `batch`; `None` where there is too little of it.
    pub fn read(batch: &[u8]) -> Option<Header> {
        let mut bytes = batch.get(..HEADER_BYTES)?;
        Some(Header {
            base_offset: bytes.get_i64(),
            length: bytes.get_i32(),
            leader_epoch: bytes.get_i32(),
            magic: bytes.get_i8(),
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            record_count: bytes.get_i32(),
        })
    }

    /// The batch of this header and these (possibly compressed) records: length and checksum are
    /// computed, whatever the header says.
    pub fn seal(&self, records: &[u8]) -> Vec<u8> {
        let size = HEADER_BYTES + records.len();
        let mut batch = Vec::with_capacity(size);
        batch.put_i64(self.base_offset);
        batch
            .put_i32(i32::try_from(size - LENGTH_OVERHEAD).expect("a batch is shorter than 2 GiB"));
        batch.put_i32(self.leader_epoch);
        batch.put_i8(self.magic);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(self.last_offset_delta);
        batch.put_i64(self.base_timestamp);
        batch.put_i64(self.max_timestamp);
        batch.put_i64(self.producer_id);
        batch.put_i16(self.producer_epoch);
        batch.put_i32(self.base_sequence);
        batch.put_i32(self.record_count);
        batch.put_slice(records);
        let crc = checksum(&batch);
        batch[17..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    /// The number of the codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec_id(&self) -> i16 {
        self.attributes & COMPRESSION_BITS
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id != NO_PRODUCER_ID
    }

    /// The sequence number of the last record.
    pub fn last_sequence(&self) -> i32 {
        advance_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Marks the batch as stamped by the broker at `timestamp`.
    pub fn stamp_log_append_time(&mut self, timestamp: i64) {
        self.attributes |= LOG_APPEND_TIME_BIT;
        self.max_timestamp = timestamp;
    }

    /// The attributes of a transaction's marker.
    pub const fn marker_attributes() -> i16 {
        TRANSACTIONAL_BIT | CONTROL_BIT
    }
}

#[cfg(test)]
impl Header {
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The attributes of a batch of data: the codec, and whether a transaction covers it.
    pub const fn data_attributes(codec_id: i16, transactional: bool) -> i16 {
        codec_id | if transactional { TRANSACTIONAL_BIT } else { 0 }
    }
}

/// The checksum that belongs into the header of `batch`.
pub fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[CRC_COVERS_FROM..])
}

/// Gives a batch its place in the log. Neither field is covered by the checksum.
pub fn assign_offset(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// `sequence + count`, which goes on with 0 after the largest.
pub fn advance_sequence(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    i32::try_from(sum & i64::from(i32::MAX)).expect("31 bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_wraps_to_zero_after_the_largest() {
        assert_eq!(advance_sequence(i32::MAX, 1), 0);
        assert_eq!(advance_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(advance_sequence(7, 3), 10);
    }

    #[test]
    fn sealed_header_reads_back_with_its_length_and_checksum() {
        let header = Header {
            base_offset: 7,
            length: 0,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: Header::data_attributes(0, true),
            last_offset_delta: 2,
            base_timestamp: 5,
            max_timestamp: 6,
            producer_id: 9,
            producer_epoch: 1,
            base_sequence: 3,
            record_count: 3,
        };
        let batch = header.seal(b"records");
        let read = Header::read(&batch).expect("the batch has a header");
        assert_eq!(read.length as usize, batch.len() - LENGTH_OVERHEAD);
        assert_eq!(read.crc, checksum(&batch));
        assert_eq!(read.last_offset(), 9);
        assert!(read.is_transactional() && !read.is_control());
        assert_eq!(Header::read(&batch[..60]), None);
    }
}
