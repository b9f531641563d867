//! What one partition's readings become: a pure function of its state and a record.
//!
//! It consumes nothing, produces nothing and knows no offsets, so everything that `brownian` decides is
//! tested as a value.

use std::borrow::Cow;

use compact_str::CompactString;
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use crate::model::dead_letter::Reason;
use crate::model::reading::Reading;
use crate::model::slots::Slots;
use crate::model::step::Step;
use crate::model::window::{Fate, Held, Window};

/// The windows of one partition's devices.
#[derive(Debug, Default)]
pub(super) struct Processor {
    windows: IndexMap<CompactString, Window, FxBuildHasher>,
    /// Which windows have changed since the last [`Processor::take_changes`].
    dirty: Vec<usize>,
}

/// What a record turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome<'a> {
    /// A reading, whose steps and revisions have been appended.
    Steps {
        /// Whose steps they are.
        device_id: Cow<'a, str>,
    },
    /// A reading that is there already.
    Duplicate,
    /// Nothing that can be used.
    DeadLetter {
        /// Why not, in one word.
        reason: Reason,
        /// Why not, for people.
        error: String,
    },
}

impl Processor {
    /// The state that restored readings make. An error names a device whose readings make no window.
    pub(super) fn restore(
        held: IndexMap<CompactString, Slots, FxBuildHasher>,
    ) -> Result<Processor, CompactString> {
        let mut processor = Processor::default();
        processor.windows.reserve(held.len());
        for (device_id, slots) in held {
            let Some(window) = slots.window() else {
                return Err(device_id);
            };
            processor.windows.insert(device_id, window);
        }
        Ok(processor)
    }

    /// How many devices have a window.
    pub(super) fn devices(&self) -> usize {
        self.windows.len()
    }

    /// How many readings all windows hold. It goes through the windows: for now and then.
    pub(super) fn readings(&self) -> usize {
        self.windows
            .values()
            .map(|window| window.held().len())
            .sum()
    }

    /// Takes one record in; appends the steps that it causes to `steps`, in the order they are to be written.
    pub(super) fn process<'a>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&'a [u8]>,
        steps: &mut Vec<Step>,
    ) -> Outcome<'a> {
        let reading = match Reading::decode(key, value) {
            Ok(reading) => reading,
            Err(error) => {
                return Outcome::DeadLetter {
                    reason: Reason::Malformed,
                    error: error.to_string(),
                };
            }
        };
        let index = match self.windows.get_index_of(&*reading.device_id) {
            Some(index) => index,
            None => {
                self.windows
                    .insert_full(reading.device_id.as_ref().into(), Window::default())
                    .0
            }
        };
        let window = &mut self.windows[index];
        let was_dirty = window.is_dirty();
        match window.insert(&reading, steps) {
            Fate::Used => {
                if !was_dirty {
                    self.dirty.push(index);
                }
                Outcome::Steps {
                    device_id: reading.device_id,
                }
            }
            Fate::Duplicate => Outcome::Duplicate,
            Fate::Late { oldest } => Outcome::DeadLetter {
                reason: Reason::Late,
                error: format!(
                    "index {} of {} sorts before the oldest of the last 100 readings, of {oldest}",
                    reading.index, reading.event_time
                ),
            },
        }
    }

    /// Hands out every block of readings held that has changed since the last call: what the state store lacks.
    pub(super) fn take_changes<E>(
        &mut self,
        mut each: impl FnMut(&str, &[Held]) -> Result<(), E>,
    ) -> Result<(), E> {
        for index in self.dirty.drain(..) {
            let (device_id, window) = self
                .windows
                .get_index_mut(index)
                .expect("windows are never removed");
            let mut result = Ok(());
            window.take_dirty(|block| {
                if result.is_ok() {
                    result = each(device_id, block);
                }
            });
            result?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::window::BLOCK;
    use std::collections::HashMap;

    fn value(device: &str, index: i64, millis: i64) -> Vec<u8> {
        let time = crate::model::event_time::EventTime::from_millis(millis).unwrap();
        format!(
            r#"{{"device_id":"{device}","index":{index},"event_time":"{time}","magnitude":0.5,"direction":1,"drift":0,"volatility":1}}"#
        )
        .into_bytes()
    }

    fn process(processor: &mut Processor, device: &str, index: i64) -> (String, usize) {
        let value = value(device, index, index * 1000);
        let mut steps = Vec::new();
        let outcome = processor.process(Some(device.as_bytes()), Some(&value), &mut steps);
        let word = match outcome {
            Outcome::Steps { .. } => "steps".into(),
            Outcome::Duplicate => "duplicate".into(),
            Outcome::DeadLetter { reason, .. } => reason.name().into(),
        };
        (word, steps.len())
    }

    #[test]
    fn devices_have_windows_of_their_own() {
        let mut processor = Processor::default();
        assert_eq!(process(&mut processor, "a", 2), ("steps".into(), 1));
        assert_eq!(process(&mut processor, "b", 1), ("steps".into(), 1));
        assert_eq!(process(&mut processor, "a", 1), ("steps".into(), 2));
        assert_eq!(process(&mut processor, "a", 1), ("duplicate".into(), 0));
        for index in 3..=102 {
            process(&mut processor, "a", index);
        }
        assert_eq!(process(&mut processor, "a", 1), ("late".into(), 0));
        assert_eq!(process(&mut processor, "b", 0), ("steps".into(), 2));
        assert_eq!(processor.devices(), 2);
    }

    #[test]
    fn what_is_no_reading_changes_nothing_and_says_why() {
        let mut processor = Processor::default();
        let mut steps = Vec::new();
        let outcome = processor.process(Some(b"a"), None, &mut steps);
        let error = "the value is null".into();
        assert_eq!(
            outcome,
            Outcome::DeadLetter {
                reason: Reason::Malformed,
                error
            }
        );
        assert_eq!((processor.devices(), steps.len()), (0, 0));
    }

    #[test]
    fn readings_of_full_windows_allocate_nothing() {
        let mut processor = Processor::default();
        let (mut steps, mut out) = (Vec::new(), Vec::new());
        let mut take = |index: i64, late: i64, value: &[u8]| {
            steps.clear();
            let outcome = processor.process(Some(b"a"), Some(value), &mut steps);
            let Outcome::Steps { device_id } = outcome else {
                panic!("{index} is no reading: {outcome:?}");
            };
            assert_eq!(steps.len() as i64, late + 1);
            for step in &steps {
                out.clear();
                step.encode(&device_id, &mut out);
            }
            let kept = processor.take_changes(|_, _| Ok::<(), ()>(()));
            assert_eq!(kept, Ok(()));
        };
        // Every second index, so that one between two of them comes late.
        for index in 0..300 {
            take(index, 0, &value("a", 2 * index, 2000 * index));
        }
        take(300, 49, &value("a", 501, 501_000));
        let values: Vec<_> = (301..400)
            .map(|index| value("a", 2 * index, 2000 * index))
            .collect();
        let late = value("a", 701, 701_000);
        let allocated = allocation_counter::measure(|| {
            for (index, value) in (301..).zip(&values) {
                take(index, 0, value);
            }
            take(400, 49, &late);
        });
        assert_eq!(allocated.count_total, 0);
    }

    #[test]
    fn changes_are_handed_out_once_and_restore_the_same_state() {
        let mut processor = Processor::default();
        let mut store: HashMap<(String, u8), Held> = HashMap::new();
        let mut save = |processor: &mut Processor| {
            let mut changes = 0;
            processor
                .take_changes(|device, block| {
                    changes += 1;
                    for held in block {
                        store.insert((device.to_owned(), held.slot), *held);
                    }
                    Ok::<(), ()>(())
                })
                .unwrap();
            changes
        };
        for index in (0..150).rev() {
            process(&mut processor, "a", index + 10);
            process(&mut processor, "b", 300 - index);
        }
        assert_eq!(save(&mut processor), 2 * 100 / BLOCK);
        assert_eq!(save(&mut processor), 0);
        process(&mut processor, "a", 400);
        assert_eq!(save(&mut processor), 1);
        let mut held: IndexMap<CompactString, Slots, FxBuildHasher> = IndexMap::default();
        for ((device, _), one) in store {
            held.entry(device.into()).or_default().put(one);
        }
        let mut restored = Processor::restore(held).unwrap();
        for index in [401, 90, 250, 500] {
            let value = value("a", index, index * 1000);
            let (mut expected, mut actual) = (Vec::new(), Vec::new());
            processor.process(Some(b"a"), Some(&value), &mut expected);
            restored.process(Some(b"a"), Some(&value), &mut actual);
            assert_eq!(actual, expected);
        }
    }
}
