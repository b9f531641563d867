//! Another writer of readings, of devices of its own: late ones, repeated ones and broken ones among them, and
//! the account of what must become of each.
//!
//! Every reading has index 0, so that `generate` finds its own last row in the topic whatever stands beside it.

use std::collections::BTreeSet;

use fireworks::kafka::partitioner::partition;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseProducer;

use crate::support::{flush, producer, send_record};

/// Its devices. Each has readings of its own pattern.
const DEVICES: [&str; 3] = ["odd-1", "odd-2", "odd-3"];
/// How many partitions `generate` gives its topic.
const PARTITIONS: i32 = 6;
/// The readings of a device that are held: an older one is too late.
const WINDOW: u64 = 100;
/// The time of a device's first reading, and between two, in milliseconds.
const START: u64 = 1_700_000_000_000;
const STEP: u64 = 250;

/// What a dead letter must be: its key and value.
pub type Letter = (Vec<u8>, Vec<u8>);

/// The writer, and its account.
pub struct Stranger {
    producer: BaseProducer,
    topic: String,
    turn: u64,
    /// Device and time of every reading that must become a step.
    pub steps: BTreeSet<(String, u64)>,
    pub repeats: usize,
    pub malformed: Vec<Letter>,
    pub late: Vec<Letter>,
}

impl Stranger {
    /// Each of its records is written once and in order, however long a broker is away.
    pub fn new(topic: &str) -> Stranger {
        Stranger {
            producer: producer(&[("enable.idempotence", "true"), ("message.timeout.ms", "0")]),
            topic: topic.to_owned(),
            turn: 0,
            steps: BTreeSet::new(),
            repeats: 0,
            malformed: Vec::new(),
            late: Vec::new(),
        }
    }

    /// The next reading of each device, with what goes with it.
    pub fn write(&mut self) {
        let turn = self.turn;
        self.turn += 1;
        for device in DEVICES {
            // Every seventh stays behind, and arrives when five newer ones have been there.
            if turn % 7 != 3 {
                self.reading(device, turn);
            }
            if turn >= 5 && turn % 7 == (3 + 5) % 7 {
                self.reading(device, turn - 5);
            }
            if turn % 5 == 4 && turn % 7 != 3 {
                self.send(device, &value(device, turn * STEP));
                self.repeats += 1;
            }
            if turn % 11 == 2 {
                let broken = format!("{{\"device_id\":\"{device}\",\"index\":-{turn}");
                self.send(device, &broken);
                self.malformed.push((device.into(), broken.into()));
            }
            // Between two readings that have left the window long ago.
            if turn % 13 == 6 && turn > 2 * WINDOW {
                let old = value(device, (turn - 2 * WINDOW) * STEP + 1 + turn % (STEP - 1));
                self.send(device, &old);
                self.late.push((device.into(), old.into()));
            }
        }
    }

    fn reading(&mut self, device: &str, turn: u64) {
        self.send(device, &value(device, turn * STEP));
        self.steps.insert((device.to_owned(), START + turn * STEP));
    }

    fn send(&self, device: &str, value: &str) {
        let header = Header {
            key: "from",
            value: Some("stranger"),
        };
        send_record(
            &self.producer,
            &self.topic,
            partition(device.as_bytes(), PARTITIONS),
            Some(device.as_bytes()),
            Some(value.as_bytes()),
            1_700_000_000_000,
            OwnedHeaders::new().insert(header),
        );
    }

    /// Waits until everything has been written.
    pub fn finish(&self) {
        flush(&self.producer);
    }
}

fn value(device: &str, millis: u64) -> String {
    let time =
        fireworks::model::event_time::EventTime::from_millis((START + millis) as i64).unwrap();
    let magnitude = (millis % 9973) as f64 / 9973.0;
    let direction = if (millis / STEP).is_multiple_of(2) {
        1
    } else {
        -1
    };
    format!(
        r#"{{"device_id":"{device}","index":0,"event_time":"{time}","magnitude":{magnitude},"direction":{direction},"drift":0.25,"volatility":2}}"#
    )
}
