//! The answer to Fetch, encoded without copying records.
//!
//! `kafka_protocol` takes the records of a partition as one buffer and copies it; here the batches of the
//! log go to the socket as they are, however many readers there are. Its decoder checks this in a test.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use crate::broker::limits;
use crate::broker::log::Slice;
use crate::broker::log::transactions::Aborted;

/// The first version with varint lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// The first version that names topics by id.
pub const TOPIC_IDS: i16 = 13;
/// Batches shorter than this are copied after all: a buffer of its own would cost more.
const COPIED_BELOW: usize = 4096;

/// What is answered for one partition.
#[derive(Debug)]
pub struct PartitionAnswer {
    pub index: i32,
    pub error: Option<ResponseError>,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// `None` for readers that don't care.
    pub aborted: Option<Vec<Aborted>>,
    pub batches: Vec<Bytes>,
}

impl PartitionAnswer {
    pub fn refused(index: i32, error: ResponseError) -> PartitionAnswer {
        PartitionAnswer {
            index,
            error: Some(error),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted: None,
            batches: Vec::new(),
        }
    }

    pub fn take(&mut self, slice: Slice, with_aborted: bool) {
        self.aborted = with_aborted.then_some(slice.aborted);
        self.batches = slice.batches;
    }
}

/// What is answered for one topic.
#[derive(Debug)]
pub struct TopicAnswer {
    pub name: String,
    pub id: Uuid,
    pub partitions: Vec<PartitionAnswer>,
}

/// An answer in pieces that are written one after the other.
#[derive(Debug, Default)]
pub struct Pieces {
    done: Vec<Bytes>,
    open: BytesMut,
}

impl Pieces {
    /// The pieces, with the length of all of them in front; `None` if they are longer than any answer may be.
    pub fn framed(mut self) -> Option<Vec<Bytes>> {
        if !self.open.is_empty() {
            self.done.push(self.open.freeze());
        }
        let length: usize = self.done.iter().map(Bytes::len).sum();
        if length > limits::ANSWER_BYTES {
            return None;
        }
        let length = u32::try_from(length).ok()?;
        let mut pieces = vec![Bytes::copy_from_slice(&length.to_be_bytes())];
        pieces.append(&mut self.done);
        Some(pieces)
    }

    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    fn append(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED_BELOW {
            self.open.put_slice(&bytes);
        } else {
            if !self.open.is_empty() {
                self.done.push(self.open.split().freeze());
            }
            self.done.push(bytes);
        }
    }
}

/// Encodes the body of an answer without a session.
pub fn encode(
    pieces: &mut Pieces,
    version: i16,
    error: Option<ResponseError>,
    topics: Vec<TopicAnswer>,
) {
    let flexible = version >= FLEXIBLE;
    let out = pieces.buffer();
    out.put_i32(0); // throttle_time_ms
    if version >= 7 {
        out.put_i16(error.map_or(0, |error| error.code()));
        out.put_i32(0); // session_id: there are no sessions
    }
    put_count(out, topics.len(), flexible);
    for topic in topics {
        let out = pieces.buffer();
        if version >= TOPIC_IDS {
            out.put_slice(topic.id.as_bytes());
        } else {
            put_text(out, &topic.name, flexible);
        }
        put_count(out, topic.partitions.len(), flexible);
        for partition in topic.partitions {
            encode_partition(pieces, version, partition);
        }
        put_tags(pieces.buffer(), flexible);
    }
    put_tags(pieces.buffer(), flexible);
}

fn encode_partition(pieces: &mut Pieces, version: i16, partition: PartitionAnswer) {
    let flexible = version >= FLEXIBLE;
    let out = pieces.buffer();
    out.put_i32(partition.index);
    out.put_i16(partition.error.map_or(0, |error| error.code()));
    out.put_i64(partition.high_watermark);
    out.put_i64(partition.last_stable_offset);
    if version >= 5 {
        out.put_i64(partition.log_start_offset);
    }
    match &partition.aborted {
        None if flexible => put_varint(out, 0),
        None => out.put_i32(-1),
        Some(aborted) => {
            put_count(out, aborted.len(), flexible);
            for transaction in aborted {
                out.put_i64(transaction.producer_id);
                out.put_i64(transaction.first);
                put_tags(out, flexible);
            }
        }
    }
    if version >= 11 {
        out.put_i32(-1); // preferred_read_replica
    }
    let length: usize = partition.batches.iter().map(Bytes::len).sum();
    put_count(out, length, flexible);
    for batch in partition.batches {
        pieces.append(batch);
    }
    put_tags(pieces.buffer(), flexible);
}

/// A length or a count.
fn put_count(out: &mut BytesMut, count: usize, flexible: bool) {
    let count = u32::try_from(count).expect("an answer is far below 4 GiB");
    if flexible {
        put_varint(out, count + 1)
    } else {
        out.put_u32(count)
    }
}

fn put_text(out: &mut BytesMut, text: &str, flexible: bool) {
    if flexible {
        put_count(out, text.len(), true);
    } else {
        out.put_u16(u16::try_from(text.len()).expect("names of topics are short"));
    }
    out.put_slice(text.as_bytes());
}

/// No tagged fields.
fn put_tags(out: &mut BytesMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    }
}

fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8((value as u8) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use kafka_protocol::messages::FetchResponse;
    use kafka_protocol::protocol::Decodable;

    fn answer(id: Uuid) -> Vec<TopicAnswer> {
        let mut full = PartitionAnswer {
            error: None,
            high_watermark: 10,
            last_stable_offset: 9,
            log_start_offset: 1,
            ..PartitionAnswer::refused(3, ResponseError::UnknownServerError)
        };
        let slice = Slice {
            batches: vec![Bytes::from_static(b"small"), Bytes::from(vec![7; 10_000])],
            bytes: 10_005,
            aborted: vec![Aborted {
                producer_id: 5,
                first: 6,
                marker: 7,
            }],
        };
        full.take(slice, true);
        let refused = PartitionAnswer::refused(4, ResponseError::OffsetOutOfRange);
        vec![TopicAnswer {
            name: "topic".to_owned(),
            id,
            partitions: vec![full, refused],
        }]
    }

    #[test]
    fn every_version_decodes_to_what_was_encoded() {
        let id = Uuid::new_v4();
        for version in 4..=16 {
            let mut pieces = Pieces::default();
            encode(&mut pieces, version, None, answer(id));
            let mut bytes = Bytes::from(pieces.framed().expect("short").concat());
            assert_eq!(bytes.get_u32() as usize, bytes.remaining());
            let decoded = FetchResponse::decode(&mut bytes, version).expect("it decodes");
            assert!(bytes.is_empty(), "version {version}");
            let topic = &decoded.responses[0];
            assert_eq!(
                topic.topic.as_str(),
                if version < TOPIC_IDS { "topic" } else { "" }
            );
            assert_eq!(
                topic.topic_id,
                if version < TOPIC_IDS { Uuid::nil() } else { id }
            );
            let [full, refused] = topic.partitions.as_slice() else {
                panic!("two partitions")
            };
            assert_eq!(
                (
                    full.partition_index,
                    full.high_watermark,
                    full.last_stable_offset
                ),
                (3, 10, 9)
            );
            assert_eq!(full.log_start_offset, if version >= 5 { 1 } else { -1 });
            assert_eq!(full.records.as_ref().map(Bytes::len), Some(10_005));
            let aborted = full.aborted_transactions.as_ref().expect("a list");
            assert_eq!((*aborted[0].producer_id, aborted[0].first_offset), (5, 6));
            assert_eq!(refused.error_code, ResponseError::OffsetOutOfRange.code());
            assert_eq!(refused.aborted_transactions, None);
        }
    }

    #[test]
    fn answer_beyond_the_bound_is_none() {
        let batch = Bytes::from(vec![7; limits::ANSWER_BYTES / 4]);
        let mut pieces = Pieces::default();
        for _ in 0..5 {
            pieces.append(batch.clone());
        }
        assert_eq!(pieces.framed(), None);
    }

    #[test]
    fn large_batches_are_shared_not_copied() {
        let batch = Bytes::from(vec![7; 10_000]);
        let mut pieces = Pieces::default();
        pieces.append(batch.clone());
        assert!(
            pieces
                .framed()
                .expect("short")
                .iter()
                .any(|piece| piece.as_ptr() == batch.as_ptr())
        );
    }
}
