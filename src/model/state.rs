//! How a window is kept in `markov.state`: a small binary record for every few readings held, and one that says
//! whose state it is.
//!
//! | record | key | value |
//! |---|---|---|
//! | a block of readings held | device id, then one byte: the block, 0 … 19 | version, then 52 bytes each, little-endian |
//! | the owner | one byte, 0xFF: no device id, no block | version, then JSON |
//!
//! A reading takes the slot of the one that its window has pushed out, and block b has the slots 5·b to 5·b + 4,
//! as far as there are any: so compaction, which keeps the newest record of a key, reduces the topic to exactly
//! the windows. A block is written whole where one of its readings has changed. The client's work is by the
//! record: with a record a reading, the state took a sixth of all processor time under load, where a device
//! changes many slots, one after the other, in a transaction, and the windows of 100,000 devices 11 s of it to
//! restore; with five readings it takes a twentieth, and 2.2 s. Where a device changes one reading in a
//! transaction, 260 bytes are written instead of 52: larger blocks would gain little more, and cost more there.
//!
//! The other design is a snapshot of the whole window every so often and a bounded replay of the input. One
//! snapshot a device and 100 readings leaves up to 100 readings a device to be read, decoded and walked again
//! at a restart, five times as many records as there are blocks; one every 10 readings writes 520 bytes a
//! reading. And it needs a second way through the processor (replay without output) and a second offset.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event_time::EventTime;
use super::window::{BLOCK, CAPACITY, Held};

/// The version that this build writes, and the only one that it can read.
const VERSION: u8 = 2;
/// No version: here begin the bytes of text, so what starts with one is somebody's JSON.
const TEXT: u8 = 0x20;
const OWNER_KEY: [u8; 1] = [0xff];
const HELD_BYTES: usize = 52;

/// Whose state a topic holds: it is of use to nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The topic that was read.
    pub input: String,
    /// How many partitions it had.
    pub partitions: i32,
    /// The group whose committed offsets belong to the state.
    pub group: String,
}

/// A record of a state topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// Readings held.
    Held {
        /// Whose they are.
        device_id: &'a str,
    },
    /// Whose state it is.
    Owner(Owner),
}

/// Why a record of a state topic can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// A newer or an older fireworks wrote it.
    OtherVersion(u8),
    /// It isn't a record of a state topic.
    Foreign,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::OtherVersion(version) => {
                let age = if *version > VERSION {
                    "a newer"
                } else {
                    "an older"
                };
                write!(
                    f,
                    "it is of version {version}, written by {age} fireworks; this one reads {VERSION}"
                )
            }
            StateError::Foreign => f.write_str("it is no state of fireworks"),
        }
    }
}

impl std::error::Error for StateError {}

/// Writes key and value of the record of a block into two empty buffers: of its readings, in the order of their
/// slots.
pub fn encode_held(device_id: &str, block: &[Held], key: &mut Vec<u8>, value: &mut Vec<u8>) {
    let first = block
        .first()
        .expect("a block that is written has a reading");
    key.extend_from_slice(device_id.as_bytes());
    key.push(first.slot / BLOCK as u8);
    value.push(VERSION);
    for held in block {
        value.extend_from_slice(&held.event_time.millis().to_le_bytes());
        value.extend_from_slice(&held.index.to_le_bytes());
        for number in [held.position, held.draw, held.drift, held.volatility] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        value.extend_from_slice(&held.revision.to_le_bytes());
    }
}

/// Key and value of the record that names the owner.
pub fn encode_owner(owner: &Owner) -> (Vec<u8>, Vec<u8>) {
    let mut value = vec![VERSION];
    serde_json::to_writer(&mut value, owner)
        .expect("an owner is plain data, and a vector takes it");
    (OWNER_KEY.to_vec(), value)
}

/// Reads a record of a state topic. The readings of one that holds some go into `block`, which is emptied first.
pub fn decode<'a>(
    key: &'a [u8],
    value: &[u8],
    block: &mut Vec<Held>,
) -> Result<Record<'a>, StateError> {
    let (version, rest) = value.split_first().ok_or(StateError::Foreign)?;
    match *version {
        VERSION => {}
        other if (1..TEXT).contains(&other) => return Err(StateError::OtherVersion(other)),
        _ => return Err(StateError::Foreign),
    }
    if key == OWNER_KEY {
        let owner = serde_json::from_slice(rest).map_err(|_| StateError::Foreign)?;
        return Ok(Record::Owner(owner));
    }
    let (number, device_id) = key.split_last().ok_or(StateError::Foreign)?;
    let device_id = std::str::from_utf8(device_id).map_err(|_| StateError::Foreign)?;
    let first = usize::from(*number) * BLOCK;
    let readings = rest.chunks_exact(HELD_BYTES);
    let is_whole = readings.remainder().is_empty() && (1..=BLOCK).contains(&readings.len());
    if device_id.is_empty() || first >= CAPACITY || !is_whole {
        return Err(StateError::Foreign);
    }
    block.clear();
    for (slot, reading) in (first as u8..).zip(readings) {
        block.push(decode_held(slot, reading)?);
    }
    Ok(Record::Held { device_id })
}

fn decode_held(slot: u8, reading: &[u8]) -> Result<Held, StateError> {
    let word = |i: usize| -> [u8; 8] {
        reading[i * 8..i * 8 + 8]
            .try_into()
            .expect("a chunk has its length")
    };
    let number = |i: usize| f64::from_le_bytes(word(i));
    Ok(Held {
        event_time: EventTime::from_millis(i64::from_le_bytes(word(0)))
            .map_err(|_| StateError::Foreign)?,
        index: i64::from_le_bytes(word(1)),
        position: number(2),
        draw: number(3),
        drift: number(4),
        volatility: number(5),
        revision: u32::from_le_bytes(reading[48..].try_into().expect("a chunk has its length")),
        slot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block() -> Vec<Held> {
        let held = |slot| Held {
            event_time: EventTime::from_millis(1_700_000_000_500).unwrap(),
            index: i64::MAX - i64::from(slot),
            position: -0.0,
            draw: 1.5,
            drift: -1e15,
            volatility: f64::MIN_POSITIVE,
            revision: 7,
            slot,
        };
        (95..98).map(held).collect()
    }

    fn encoded() -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        encode_held("потік-3", &block(), &mut key, &mut value);
        (key, value)
    }

    fn refused(key: &[u8], value: &[u8]) -> StateError {
        decode(key, value, &mut Vec::new()).unwrap_err()
    }

    #[test]
    fn decoding_inverts_encoding_within_64_bytes_a_reading() {
        let (key, value) = encoded();
        assert!(value.len() <= 64 * block().len());
        // Whatever is there from before.
        let mut read = block();
        let device_id = "потік-3";
        assert_eq!(
            decode(&key, &value, &mut read),
            Ok(Record::Held { device_id })
        );
        assert_eq!(read, block());
        let owner = Owner {
            input: "readings".into(),
            partitions: 6,
            group: "g".into(),
        };
        let (key, value) = encode_owner(&owner);
        assert_eq!(decode(&key, &value, &mut read), Ok(Record::Owner(owner)));
    }

    #[test]
    fn another_version_is_named_and_a_foreign_record_refused() {
        let (key, mut value) = encoded();
        for (other, age) in [(1, "an older"), (3, "a newer")] {
            value[0] = other;
            let error = refused(&key, &value);
            assert_eq!(error, StateError::OtherVersion(other));
            assert!(error.to_string().contains(age), "{error}");
        }
        for foreign in [0, b'{'] {
            value[0] = foreign;
            assert_eq!(refused(&key, &value), StateError::Foreign);
        }
        let (key, value) = encoded();
        let six = [&value[..], &value[1..]].concat();
        for (key, value) in [
            (&key[..], &value[..value.len() - 1]),
            (&key[..], &value[..1]),
            (&key[..], &six[..]),
            (&[19][..], &value[..]),
            (b"a\x14".as_slice(), &value[..]),
            (b"\xfe\x01".as_slice(), &value[..]),
            (b"".as_slice(), &value[..]),
            (&key[..], b"".as_slice()),
        ] {
            assert_eq!(refused(key, value), StateError::Foreign);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            key in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ignored = decode(&key, &value, &mut Vec::new()).is_ok();
        }
    }
}
