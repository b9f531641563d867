//! How a window is kept in `markov.state`: one small binary record a reading held, and one that says whose
//! state it is.
//!
//! | record | key | value |
//! |---|---|---|
//! | a reading held | device id, then one byte: the slot, 0 … 99 | version, then 52 bytes, little-endian |
//! | the owner | one byte, 0xFF: no device id, no slot | version, then JSON |
//!
//! A reading takes the slot of the one that its window has pushed out, so that compaction, which keeps the
//! newest record of a key, reduces the topic to exactly the windows.
//!
//! The other design is a snapshot of the whole window every so often and a bounded replay of the input. It is
//! cheaper to read: 1,000,000 slots cost a client 0.37 s of processor time, the same windows as 10,000
//! snapshots of 5.2 kB cost it 0.04 s. But one snapshot a device and 100 readings writes the bytes of 100
//! slots, 52 a reading, and leaves up to 100 readings a device to be read, decoded and walked again, which is
//! as many records as there are slots, of three times their size; one every 10 readings writes 520 bytes a
//! reading. And it needs a second way through the processor (replay without output) and a second offset. So
//! slots it is: the windows of 100,000 devices, 10,000,000 records of 53 bytes and their key, are restored with
//! 11 s of processor time, of which the client takes 6, and 700 MiB (`make bench`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event_time::EventTime;
use super::window::{CAPACITY, Held};

/// The version that this build writes, and the newest that it can read.
const VERSION: u8 = 1;
/// No version: here begin the bytes of text, so what starts with one is somebody's JSON.
const TEXT: u8 = 0x20;
const OWNER_KEY: [u8; 1] = [0xff];
const HELD_BYTES: usize = 53;

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
    /// A reading held.
    Held {
        /// Whose it is.
        device_id: &'a str,
        /// The reading, with its slot.
        held: Held,
    },
    /// Whose state it is.
    Owner(Owner),
}

/// Why a record of a state topic can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// A newer fireworks wrote it.
    Newer(u8),
    /// It isn't a record of a state topic.
    Foreign,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Newer(version) => write!(
                f,
                "it is of version {version}, written by a newer fireworks; this one reads up to {VERSION}"
            ),
            StateError::Foreign => f.write_str("it is no state of fireworks"),
        }
    }
}

impl std::error::Error for StateError {}

/// Writes key and value of the record of a reading held into two empty buffers.
pub fn encode_held(device_id: &str, held: &Held, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    key.extend_from_slice(device_id.as_bytes());
    key.push(held.slot);
    value.push(VERSION);
    value.extend_from_slice(&held.event_time.millis().to_le_bytes());
    value.extend_from_slice(&held.index.to_le_bytes());
    for number in [held.position, held.draw, held.drift, held.volatility] {
        value.extend_from_slice(&number.to_le_bytes());
    }
    value.extend_from_slice(&held.revision.to_le_bytes());
}

/// Key and value of the record that names the owner.
pub fn encode_owner(owner: &Owner) -> (Vec<u8>, Vec<u8>) {
    let mut value = vec![VERSION];
    serde_json::to_writer(&mut value, owner)
        .expect("an owner is plain data, and a vector takes it");
    (OWNER_KEY.to_vec(), value)
}

/// Reads a record of a state topic.
pub fn decode<'a>(key: &'a [u8], value: &[u8]) -> Result<Record<'a>, StateError> {
    let (version, rest) = value.split_first().ok_or(StateError::Foreign)?;
    match *version {
        VERSION => {}
        newer if (VERSION..TEXT).contains(&newer) => return Err(StateError::Newer(newer)),
        _ => return Err(StateError::Foreign),
    }
    if key == OWNER_KEY {
        let owner = serde_json::from_slice(rest).map_err(|_| StateError::Foreign)?;
        return Ok(Record::Owner(owner));
    }
    let (slot, device_id) = key.split_last().ok_or(StateError::Foreign)?;
    let device_id = std::str::from_utf8(device_id).map_err(|_| StateError::Foreign)?;
    if device_id.is_empty() || usize::from(*slot) >= CAPACITY || value.len() != HELD_BYTES {
        return Err(StateError::Foreign);
    }
    let word = |i: usize| -> [u8; 8] {
        rest[i * 8..i * 8 + 8]
            .try_into()
            .expect("the length was checked")
    };
    let number = |i: usize| f64::from_le_bytes(word(i));
    let held = Held {
        event_time: EventTime::from_millis(i64::from_le_bytes(word(0)))
            .map_err(|_| StateError::Foreign)?,
        index: i64::from_le_bytes(word(1)),
        position: number(2),
        draw: number(3),
        drift: number(4),
        volatility: number(5),
        revision: u32::from_le_bytes(rest[48..52].try_into().expect("the length was checked")),
        slot: *slot,
    };
    Ok(Record::Held { device_id, held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held() -> Held {
        Held {
            event_time: EventTime::from_millis(1_700_000_000_500).unwrap(),
            index: i64::MAX,
            position: -0.0,
            draw: 1.5,
            drift: -1e15,
            volatility: f64::MIN_POSITIVE,
            revision: 7,
            slot: 99,
        }
    }

    fn encoded() -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        encode_held("потік-3", &held(), &mut key, &mut value);
        (key, value)
    }

    #[test]
    fn decoding_inverts_encoding_within_64_bytes_a_reading() {
        let (key, value) = encoded();
        assert!(value.len() <= 64);
        assert_eq!(
            decode(&key, &value),
            Ok(Record::Held {
                device_id: "потік-3",
                held: held()
            })
        );
        let owner = Owner {
            input: "readings".into(),
            partitions: 6,
            group: "g".into(),
        };
        let (key, value) = encode_owner(&owner);
        assert_eq!(decode(&key, &value), Ok(Record::Owner(owner)));
    }

    #[test]
    fn a_newer_version_is_named_and_a_foreign_record_refused() {
        let (key, mut value) = encoded();
        value[0] = 2;
        assert_eq!(decode(&key, &value), Err(StateError::Newer(2)));
        for foreign in [0, b'{'] {
            value[0] = foreign;
            assert_eq!(decode(&key, &value), Err(StateError::Foreign));
        }
        let (key, value) = encoded();
        for (key, value) in [
            (&key[..], &value[..52]),
            (&[99][..], &value[..]),
            (b"a\x64".as_slice(), &value[..]),
            (b"\xfe\x01".as_slice(), &value[..]),
            (b"".as_slice(), &value[..]),
            (&key[..], b"".as_slice()),
        ] {
            assert_eq!(decode(key, value), Err(StateError::Foreign));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            key in proptest::collection::vec(any::<u8>(), 0..20),
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ignored = decode(&key, &value).is_ok();
        }
    }
}
