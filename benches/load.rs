//! Readings to process, and what must come of them.
//!
//! The readings are `generate`'s, a second apart, written row by row over all devices; some may come late. They
//! are written without transactions, so that a partition's offsets count its records.

use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use fireworks::kafka::partitioner;
use fireworks::model::device;
use fireworks::model::event_time::EventTime;
use fireworks::model::noise::Noise;
use fireworks::model::reading::Reading;
use fireworks::model::step::Step;
use fireworks::model::window::{CAPACITY, Window};
use rdkafka::Offset;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::BaseRecord;
use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::kafka::{Kafka, PARTITIONS, Writer};
use crate::process::own_processor_time;
use crate::support::unique;

const PATIENCE: Duration = Duration::from_secs(300);
/// By how many readings one that is late is at most.
const LATE_BY: u64 = 20;
/// The event time of the first.
pub const START: i64 = 1_700_000_000_000;
/// How many readings of each device are made and processed without a Kafka.
const READINGS_ALONE: usize = 1000;
/// How far apart two numbers of another program may be, as a share.
const TOLERANCE: f64 = 1e-9;

/// A topic full of readings.
#[derive(Debug)]
pub struct Load {
    pub topic: String,
    pub devices: usize,
    /// The indices of each device's readings, in the order of their arrival.
    order: Vec<i64>,
}

impl Load {
    /// Writes so many readings of each device, this share of them late.
    pub fn fill(kafka: &Kafka, devices: usize, readings: usize, late: f64) -> Load {
        let topic = unique("readings");
        kafka.create(&topic);
        let load = Load {
            topic,
            devices,
            order: order(readings, late),
        };
        load.write(kafka);
        load
    }

    /// How many readings there are.
    pub fn messages(&self) -> usize {
        self.devices * self.order.len()
    }

    fn write(&self, kafka: &Kafka) {
        let writer = Writer::of(kafka);
        let names = names(self.devices);
        let devices: Vec<_> = names
            .iter()
            .map(|name| {
                let partition = partitioner::partition(name.as_bytes(), PARTITIONS);
                (name, Noise::new(42, name), partition)
            })
            .collect();
        let mut value = Vec::new();
        for &index in &self.order {
            for (name, noise, partition) in &devices {
                let reading = reading(name, *noise, index);
                value.clear();
                reading.encode(&mut value);
                let record = BaseRecord::to(&self.topic)
                    .partition(*partition)
                    .key(name.as_bytes())
                    .payload(&value[..])
                    .timestamp(reading.event_time.millis());
                writer.write(record);
            }
            writer.poll();
        }
        writer.finish();
    }

    /// Fails unless a topic holds exactly the steps that these readings make, those of each device in order. Where
    /// another program has written them, numbers may differ in their last digits. Returns how many they are.
    pub fn verify(&self, kafka: &Kafka, output: &str, written_by_us: bool) -> usize {
        let mut expected: FxHashMap<String, Expected> = names(self.devices)
            .into_iter()
            .map(|name| (name.clone(), Expected::new(name)))
            .collect();
        let mut steps = 0;
        read_all(kafka, output, |key, value| {
            let name = std::str::from_utf8(key).unwrap();
            let expected = expected.get_mut(name).expect("a device of the load");
            expected.verify(value, &self.order, written_by_us);
            steps += 1;
        });
        for one in expected.values() {
            let is_complete = one.arrived == self.order.len() && one.steps.len() == one.written;
            assert!(is_complete, "steps of {} are missing", one.name);
        }
        steps
    }
}

/// The devices of `generate --devices NUMBER`.
pub fn names(devices: usize) -> Vec<String> {
    let devices = device::numbered(u32::try_from(devices).unwrap());
    devices.into_iter().map(|device| device.id).collect()
}

/// Indices in the order of their arrival: in turn, but for the share of those that are late.
fn order(readings: usize, late: f64) -> Vec<i64> {
    let noise = Noise::new(7, "order");
    let readings = i64::try_from(readings).unwrap();
    let mut order: Vec<_> = (0..readings)
        .map(|index| {
            let (chance, _) = noise.at(index);
            let delay = if chance < late {
                // Those below `late` are spread evenly.
                1.5 + chance / late * LATE_BY as f64
            } else {
                0.0
            };
            (index as f64 + delay, index)
        })
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    order.into_iter().map(|(_, index)| index).collect()
}

/// The processor time, in seconds a message, of making readings as `generate` does, and of what `brownian` makes of
/// them: reading JSON, windows with their sums, writing JSON. No Kafka, one thread, and nothing else.
#[derive(Debug)]
pub struct Alone {
    pub making: f64,
    pub processing: f64,
}

impl Alone {
    /// Many readings of so many devices, in turn.
    pub fn measure(devices: usize) -> Alone {
        let names = names(devices);
        let noises: Vec<_> = names.iter().map(|name| Noise::new(42, name)).collect();
        let mut value = Vec::new();
        let mut make = |range: Range<i64>, each: &mut dyn FnMut(&str, &[u8])| {
            let before = own_processor_time();
            for index in range {
                for (name, noise) in names.iter().zip(&noises) {
                    value.clear();
                    reading(name, *noise, index).encode(&mut value);
                    each(name, &value);
                }
            }
            (own_processor_time() - before).as_secs_f64() / (devices * READINGS_ALONE) as f64
        };
        let making = make(0..READINGS_ALONE as i64, &mut |_, value| {
            black_box(value);
        });
        let mut windows: FxHashMap<&str, Window> = names
            .iter()
            .map(|name| (name.as_str(), Window::default()))
            .collect();
        let (mut steps, mut out) = (Vec::new(), Vec::new());
        let mut process = |name: &str, value: &[u8]| {
            let reading = Reading::decode(Some(name.as_bytes()), Some(value)).unwrap();
            let window = windows.get_mut(&*reading.device_id).unwrap();
            steps.clear();
            window.insert(&reading, &mut steps);
            for step in &steps {
                out.clear();
                step.encode(&reading.device_id, &mut out);
                black_box(&out);
            }
        };
        // While windows fill, their sums are short.
        let full = CAPACITY as i64;
        make(0..full, &mut process);
        let both = make(full..full + READINGS_ALONE as i64, &mut process);
        Alone {
            making,
            processing: both - making,
        }
    }
}

fn reading(name: &str, noise: Noise, index: i64) -> Reading<'_> {
    let (magnitude, direction) = noise.at(index);
    Reading {
        device_id: name.into(),
        index,
        event_time: EventTime::from_millis(START + index * 1000).unwrap(),
        magnitude,
        direction,
        drift: 0.0,
        volatility: 1.0,
    }
}

/// The steps of a device that come next.
struct Expected {
    name: String,
    noise: Noise,
    window: Window,
    /// How many of its readings have been taken in.
    arrived: usize,
    /// What the last of them has caused, and how much of it has been seen.
    steps: Vec<Step>,
    written: usize,
    text: Vec<u8>,
}

impl Expected {
    fn new(name: String) -> Expected {
        Expected {
            noise: Noise::new(42, &name),
            name,
            window: Window::default(),
            arrived: 0,
            steps: Vec::new(),
            written: 0,
            text: Vec::new(),
        }
    }

    fn verify(&mut self, value: &[u8], order: &[i64], written_by_us: bool) {
        if self.written == self.steps.len() {
            let index = *order
                .get(self.arrived)
                .expect("no more steps than readings make");
            self.arrived += 1;
            self.steps.clear();
            self.written = 0;
            let reading = reading(&self.name, self.noise, index);
            self.window.insert(&reading, &mut self.steps);
        }
        let step = &self.steps[self.written];
        self.written += 1;
        if written_by_us {
            self.text.clear();
            step.encode(&self.name, &mut self.text);
            assert_eq!(value, self.text, "a step of {} differs", self.name);
        } else {
            let theirs: Theirs = serde_json::from_slice(value).unwrap();
            theirs.assert_is(step);
        }
    }
}

/// A step as another program has written it.
#[derive(Debug, Deserialize)]
struct Theirs {
    index: i64,
    revision: u32,
    position: f64,
    step: f64,
    dt: f64,
    window: TheirWindow,
}

#[derive(Debug, Deserialize)]
struct TheirWindow {
    n: u32,
    drift: Option<f64>,
    volatility: Option<f64>,
    up_up: u32,
    down_down: u32,
}

impl Theirs {
    fn assert_is(&self, step: &Step) {
        let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
        let near_too = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => near(a, b),
            (a, b) => a == b,
        };
        let (theirs, ours) = (&self.window, &step.window);
        let is_same = self.index == step.index
            && self.revision == step.revision
            && near(self.position, step.position)
            && near(self.step, step.step)
            && self.dt == step.dt
            && theirs.n as usize == ours.n as usize
            && near_too(theirs.drift, ours.drift)
            && near_too(theirs.volatility, ours.volatility)
            && (theirs.up_up, theirs.down_down) == (ours.up_up, ours.down_down);
        assert!(is_same, "{self:?} is not {step:?}");
    }
}

/// Fails unless a topic holds exactly these readings, those of each device in order; returns how many bytes their
/// values have.
pub fn verify_readings(kafka: &Kafka, topic: &str, devices: usize, readings: usize) -> usize {
    let mut next: FxHashMap<String, (Noise, i64)> = names(devices)
        .into_iter()
        .map(|name| (name.clone(), (Noise::new(42, &name), 0)))
        .collect();
    let (mut bytes, mut expected) = (0, Vec::new());
    read_all(kafka, topic, |key, value| {
        let name = std::str::from_utf8(key).unwrap();
        let (noise, index) = next.get_mut(name).expect("one of the devices");
        expected.clear();
        reading(name, *noise, *index).encode(&mut expected);
        assert_eq!(value, expected, "a reading of {name} differs");
        *index += 1;
        bytes += value.len();
    });
    let is_whole = next.values().all(|(_, index)| *index == readings as i64);
    assert!(is_whole, "readings are missing in `{topic}`");
    bytes
}

/// Hands out key and value of every committed record of a topic that nobody writes to any more.
pub fn read_all(kafka: &Kafka, topic: &str, mut each: impl FnMut(&[u8], &[u8])) {
    let partitions: Vec<_> = (0..PARTITIONS).collect();
    let consumer = kafka.reader(topic, &partitions, Offset::Beginning);
    let mut open = partitions.len();
    while open > 0 {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => each(message.key().unwrap(), message.payload().unwrap()),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("failed to read `{topic}`: {error}"),
            None => panic!("topic `{topic}` has no end"),
        }
    }
}
