//! What a produced batch must be before it may enter a log: a pure function of bytes, rules and time.
//!
//! The checks and their errors are those of Kafka's `ProduceRequest` and `LogValidator`. Sequence numbers
//! and transactions are not judged here: they depend on the log.

use kafka_protocol::error::ResponseError;

use super::codec::{Codec, CodecError};
use super::header::{self, HEADER_BYTES, Header, LENGTH_OVERHEAD, NO_TIMESTAMP};
use super::records::Records;
use crate::broker::clock::Now;
use crate::broker::limits;
use crate::broker::refusal::Refusal;

/// The first version of Produce that may carry zstd.
const ZSTD_SINCE: i16 = 7;

/// What a topic demands of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub max_message_bytes: usize,
    /// Whether each record needs a key, because compaction goes by it.
    pub keys_required: bool,
    pub log_append_time: bool,
    /// How far a timestamp may lie before and after the broker's clock.
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
}

/// A batch that may enter a log, once its producer's sequence is checked.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub header: Header,
    /// Memory of its own, exactly as long as the batch, so that a log's size is what its batches occupy
    /// (a slice of the request would keep all of the request alive).
    pub bytes: Vec<u8>,
}

/// A batch that was refused, and the record in it that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub refusal: Refusal,
    pub record: Option<i32>,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Rejected {
        Rejected {
            refusal,
            record: None,
        }
    }
}

/// Judges the records of one partition in a Produce request of `version`.
pub fn admit(batch: &[u8], rules: &Rules, version: i16, now: Now) -> Result<Admitted, Rejected> {
    let mut header = framing(batch, rules)?;
    fields(&header, version)?;
    let max_timestamp = records(&header, &batch[HEADER_BYTES..], rules, now)?;
    let bytes = if rules.log_append_time {
        header.stamp_log_append_time(now.unix_ms);
        header.seal(&batch[HEADER_BYTES..])
    } else if header.max_timestamp != max_timestamp {
        // Searches by time trust this field, so a producer that got it wrong is corrected, as in Kafka.
        header.max_timestamp = max_timestamp;
        header.seal(&batch[HEADER_BYTES..])
    } else {
        batch.to_vec()
    };
    Ok(Admitted { header, bytes })
}

/// One whole batch of magic 2 with the right checksum, not larger than allowed.
fn framing(batch: &[u8], rules: &Rules) -> Result<Header, Refusal> {
    // The magic is at the same place in all formats, and older ones may be shorter than our header.
    if let Some(magic) = batch.get(16).filter(|magic| **magic != 2) {
        return Err(invalid(format!(
            "records of magic {magic} are not taken, only those of magic 2"
        )));
    }
    let header =
        Header::read(batch).ok_or_else(|| corrupt("the batch is shorter than its header"))?;
    let length =
        usize::try_from(header.length).map_err(|_| corrupt("the batch has a negative length"))?;
    let size = LENGTH_OVERHEAD + length;
    if size < HEADER_BYTES || size > batch.len() {
        return Err(corrupt("the batch is not as long as it says"));
    }
    if size < batch.len() {
        return Err(invalid(
            "a partition may be sent one batch at a time".into(),
        ));
    }
    if size > rules.max_message_bytes {
        let message = format!(
            "the batch has {size} bytes, max.message.bytes is {}",
            rules.max_message_bytes
        );
        return Err(Refusal::new(ResponseError::MessageTooLarge, message));
    }
    if header::checksum(batch) != header.crc {
        return Err(corrupt("the batch's checksum does not match its content"));
    }
    Ok(header)
}

/// Header fields that make sense and that a client may set.
fn fields(header: &Header, version: i16) -> Result<(), Refusal> {
    if header.is_control() {
        return Err(invalid("clients may not write control records".into()));
    }
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return Err(invalid(format!(
            "{} records with a last offset delta of {}",
            header.record_count, header.last_offset_delta
        )));
    }
    if header.has_producer_id()
        && (header.producer_id < 0 || header.producer_epoch < 0 || header.base_sequence < 0)
    {
        return Err(invalid(format!(
            "invalid sequence {} or epoch {} of producer {}",
            header.base_sequence, header.producer_epoch, header.producer_id
        )));
    }
    if header.is_transactional() && !header.has_producer_id() {
        return Err(invalid("a transactional batch needs a producer id".into()));
    }
    match Codec::of(header.codec_id()) {
        None => Err(Refusal::new(
            ResponseError::UnsupportedCompressionType,
            format!("there is no codec {}", header.codec_id()),
        )),
        Some(Codec::Zstd) if version < ZSTD_SINCE => Err(Refusal::new(
            ResponseError::UnsupportedCompressionType,
            format!("zstd needs Produce {ZSTD_SINCE} or newer"),
        )),
        Some(_) => Ok(()),
    }
}

/// Every record: well-formed, numbered without a gap, keyed and timed as the topic demands. Returns the
/// largest timestamp.
fn records(header: &Header, body: &[u8], rules: &Rules, now: Now) -> Result<i64, Rejected> {
    let codec = Codec::of(header.codec_id()).expect("the codec was checked");
    let expanded =
        codec
            .expand(body, limits::EXPANDED_BATCH_BYTES)
            .map_err(|error| match error {
                CodecError::Corrupt(error) => {
                    corrupt(&format!("the {codec:?} records can't be read: {error}"))
                }
                CodecError::TooLarge => invalid(format!(
                    "the records expand to more than {} bytes",
                    limits::EXPANDED_BATCH_BYTES
                )),
            })?;
    if !rules.log_append_time && header.is_log_append_time() {
        let message = "a producer may not mark its records as stamped by the broker";
        return Err(Refusal::new(ResponseError::InvalidTimestamp, message).into());
    }
    let mut max_timestamp = NO_TIMESTAMP;
    for (index, record) in (0..).zip(Records::new(&expanded, header.record_count)) {
        let rejected = |refusal| Rejected {
            refusal,
            record: Some(index),
        };
        let record = record.map_err(|_| rejected(invalid("the record is malformed".into())))?;
        if record.offset_delta != index {
            let message = format!("the record has offset delta {}", record.offset_delta);
            return Err(rejected(invalid(message)));
        }
        if rules.keys_required && record.key.is_none() {
            return Err(rejected(invalid(
                "a compacted topic takes no record without a key".into(),
            )));
        }
        let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
        if !rules.log_append_time {
            timely(timestamp, rules, now).map_err(rejected)?;
        }
        max_timestamp = max_timestamp.max(timestamp);
    }
    Ok(max_timestamp)
}

fn timely(timestamp: i64, rules: &Rules, now: Now) -> Result<(), Refusal> {
    let age = now.unix_ms.saturating_sub(timestamp);
    let (limit, name) = if timestamp == NO_TIMESTAMP {
        return Ok(());
    } else if age > rules.timestamp_before_max_ms {
        (
            rules.timestamp_before_max_ms,
            "message.timestamp.before.max.ms",
        )
    } else if age.saturating_neg() > rules.timestamp_after_max_ms {
        (
            rules.timestamp_after_max_ms,
            "message.timestamp.after.max.ms",
        )
    } else {
        return Ok(());
    };
    let message = format!("timestamp {timestamp} is out of range: {name} is {limit}");
    Err(Refusal::new(ResponseError::InvalidTimestamp, message))
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ResponseError::InvalidRecord, message)
}

fn corrupt(message: &str) -> Refusal {
    Refusal::new(ResponseError::CorruptMessage, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::testing::Draft;
    use ResponseError::*;

    const RULES: Rules = Rules {
        max_message_bytes: 1000,
        keys_required: false,
        log_append_time: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
    };

    fn refused(batch: &[u8], rules: &Rules) -> ResponseError {
        admit(batch, rules, 7, Now::at(0))
            .expect_err("the batch is bad")
            .refusal
            .error
    }

    #[test]
    fn good_batch_is_admitted_byte_for_byte_with_every_codec() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let batch = Draft::keyed(&[("a", Some("1")), ("b", None)])
                .codec(codec)
                .build();
            let admitted = admit(&batch, &RULES, 7, Now::at(0)).expect("the batch is good");
            assert_eq!(admitted.bytes, batch, "{codec:?}");
        }
    }

    #[test]
    fn truncated_lengthened_flipped_and_old_batches_are_refused() {
        let batch = Draft::keyed(&[("a", Some("1"))]).build();
        assert_eq!(refused(&batch[..batch.len() - 1], &RULES), CorruptMessage);
        assert_eq!(refused(&batch[..20], &RULES), CorruptMessage);
        assert_eq!(refused(&[], &RULES), CorruptMessage);
        assert_eq!(
            refused(&[batch.clone(), batch.clone()].concat(), &RULES),
            InvalidRecord
        );
        let mut flipped = batch.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        assert_eq!(refused(&flipped, &RULES), CorruptMessage);
        let mut old = batch;
        old[16] = 1;
        assert_eq!(refused(&old, &RULES), InvalidRecord);
    }

    #[test]
    fn batch_above_max_message_bytes_is_too_large() {
        let batch = Draft::keyed(&[("a", Some(&"x".repeat(1000)))]).build();
        assert_eq!(refused(&batch, &RULES), MessageTooLarge);
    }

    #[test]
    fn compacted_topic_names_the_record_without_a_key() {
        let rules = Rules {
            keys_required: true,
            ..RULES
        };
        let batch = Draft::of(&[(Some("k"), Some("v")), (None, Some("v"))]).build();
        let rejected = admit(&batch, &rules, 7, Now::at(0)).expect_err("a key is missing");
        assert_eq!(
            (rejected.refusal.error, rejected.record),
            (InvalidRecord, Some(1))
        );
    }

    #[test]
    fn timestamp_an_hour_ahead_is_refused_unless_the_topic_allows_it() {
        let now = Now::at(0);
        let batch = Draft::keyed(&[("a", None)])
            .timestamp(now.unix_ms + 3_600_001)
            .build();
        assert_eq!(refused(&batch, &RULES), InvalidTimestamp);
        let open = Rules {
            timestamp_after_max_ms: i64::MAX,
            ..RULES
        };
        assert!(admit(&batch, &open, 7, now).is_ok());
        let ancient = Draft::keyed(&[("a", None)]).timestamp(0).build();
        assert!(admit(&ancient, &open, 7, now).is_ok());
    }

    #[test]
    fn log_append_time_stamps_the_batch_and_its_checksum_stays_right() {
        let rules = Rules {
            log_append_time: true,
            ..RULES
        };
        let batch = Draft::keyed(&[("a", None)]).timestamp(1).build();
        let admitted = admit(&batch, &rules, 7, Now::at(5)).expect("the batch is good");
        let header = Header::read(&admitted.bytes).expect("a header");
        assert!(header.is_log_append_time());
        assert_eq!(header.max_timestamp, Now::at(5).unix_ms);
        assert_eq!(header.crc, header::checksum(&admitted.bytes));
    }

    #[test]
    fn control_bit_wrong_count_and_unknown_codec_are_refused() {
        let draft = Draft::keyed(&[("a", None)]);
        let spoilt = |change: fn(&mut Header)| {
            let batch = draft.clone().build();
            let mut header = Header::read(&batch).expect("a header");
            change(&mut header);
            refused(&header.seal(&batch[HEADER_BYTES..]), &RULES)
        };
        assert_eq!(
            spoilt(|header| header.attributes = Header::marker_attributes()),
            InvalidRecord
        );
        assert_eq!(spoilt(|header| header.record_count = 2), InvalidRecord);
        assert_eq!(
            spoilt(|header| header.record_count = i32::MIN),
            InvalidRecord
        );
        assert_eq!(
            spoilt(|header| header.attributes = 7),
            UnsupportedCompressionType
        );
        assert_eq!(spoilt(|header| header.producer_id = 5), InvalidRecord);
    }
}
