//! Any history of writes, retries, lost batches, markers and deletions, against a plain list of records.

use super::*;
use crate::broker::batch::control::Outcome;
use crate::broker::batch::records::Records;
use crate::broker::batch::testing::Draft;
use proptest::prelude::*;

/// How many batches of a producer are recognised when they come again.
const REMEMBERED: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    /// The next batch of a producer.
    Write {
        producer: usize,
        count: usize,
    },
    /// One of its earlier batches again, counted from the last one.
    Again {
        producer: usize,
        back: usize,
    },
    /// A batch whose predecessor was lost on the way.
    Skip {
        producer: usize,
    },
    /// A batch of an earlier epoch.
    Zombie {
        producer: usize,
    },
    /// Its successor begins: the epoch grows, the sequence starts anew.
    Bump {
        producer: usize,
    },
    End {
        producer: usize,
        commit: bool,
    },
    Delete {
        share: f64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let producer = || 0..3_usize;
    let step = prop_oneof![
        6 => (producer(), 1..4_usize).prop_map(|(producer, count)| Step::Write { producer, count }),
        3 => (producer(), 0..8_usize).prop_map(|(producer, back)| Step::Again { producer, back }),
        1 => producer().prop_map(|producer| Step::Skip { producer }),
        1 => producer().prop_map(|producer| Step::Zombie { producer }),
        1 => producer().prop_map(|producer| Step::Bump { producer }),
        3 => (producer(), any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        1 => (0.0..1.0_f64).prop_map(|share| Step::Delete { share }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// What stands at an offset: a record of a producer, with its fate once that is known, or a marker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Slot {
    Record {
        producer: usize,
        number: u32,
        fate: Option<bool>,
    },
    Marker,
}

/// What one producer has sent in its epoch: sequence, offset and the numbers of its records.
#[derive(Clone, Debug, Default)]
struct Sent {
    epoch: i16,
    next: i32,
    batches: Vec<(i32, i64, Vec<u32>)>,
}

#[derive(Debug, Default)]
struct Model {
    slots: Vec<Slot>,
    start: i64,
    producers: [Sent; 3],
    numbers: u32,
}

impl Model {
    fn draft(&self, producer: usize, epoch: i16, sequence: i32, numbers: &[u32]) -> Draft {
        let values: Vec<_> = numbers.iter().map(u32::to_string).collect();
        let records: Vec<_> = values
            .iter()
            .map(|value| (None, Some(value.as_str())))
            .collect();
        Draft::of(&records)
            .producer(producer as i64, epoch, sequence)
            .transactional()
    }

    /// The next batch of a producer, which the log is expected to take.
    fn next(&mut self, producer: usize, count: usize) -> (Draft, i64) {
        let numbers: Vec<u32> = (self.numbers..).take(count).collect();
        self.numbers += count as u32;
        let Sent { epoch, next, .. } = self.producers[producer];
        let (draft, base) = (
            self.draft(producer, epoch, next, &numbers),
            self.slots.len() as i64,
        );
        let slot = |number: &u32| Slot::Record {
            producer,
            number: *number,
            fate: None,
        };
        self.slots.extend(numbers.iter().map(slot));
        let sent = &mut self.producers[producer];
        sent.batches.push((next, base, numbers));
        sent.next += count as i32;
        (draft, base)
    }

    fn end(&mut self, ended: usize, commit: bool) {
        for slot in &mut self.slots {
            if let Slot::Record {
                producer,
                fate: fate @ None,
                ..
            } = slot
                && *producer == ended
            {
                *fate = Some(commit);
            }
        }
        self.slots.push(Slot::Marker);
    }

    fn last_stable(&self) -> i64 {
        let open = |slot: &Slot| matches!(slot, Slot::Record { fate: None, .. });
        let first = self.slots.iter().position(open).unwrap_or(self.slots.len());
        (first as i64).max(self.start)
    }

    /// (offset, number) of what a reader is to see from the start on.
    fn readable(&self, isolation: Isolation) -> Vec<(i64, u32)> {
        let end = match isolation {
            Isolation::ReadUncommitted => self.slots.len() as i64,
            Isolation::ReadCommitted => self.last_stable(),
        };
        let seen = |(offset, slot): (i64, &Slot)| match *slot {
            Slot::Record { number, fate, .. }
                if isolation == Isolation::ReadUncommitted || fate == Some(true) =>
            {
                Some((offset, number))
            }
            _ => None,
        };
        let slots = (0..).zip(&self.slots);
        slots
            .filter(|(offset, _)| (self.start..end).contains(offset))
            .filter_map(seen)
            .collect()
    }
}

/// What a client makes of what it fetches in many small pieces: markers and aborted transactions left out.
fn read(log: &Log, isolation: Isolation) -> Vec<(i64, u32)> {
    let (mut records, mut offset) = (Vec::new(), log.start());
    loop {
        let slice = log
            .read(offset, isolation, 200, true)
            .expect("it is in the log");
        let from = offset;
        for bytes in &slice.batches {
            let header = Header::read(bytes).expect("a header");
            offset = header.last_offset() + 1;
            let is_aborted = slice.aborted.iter().any(|aborted| {
                aborted.producer_id == header.producer_id
                    && (aborted.first..=aborted.marker).contains(&header.base_offset)
            });
            if header.is_control() || is_aborted {
                continue;
            }
            for record in Records::new(&bytes[header::HEADER_BYTES..], header.record_count) {
                let record = record.expect("a record");
                let at = header.base_offset + i64::from(record.offset_delta);
                let number = std::str::from_utf8(record.value.expect("a value")).expect("text");
                records.push((at, number.parse().expect("a number")));
            }
        }
        if offset == from {
            // A batch is whole, so its first records may lie before the start.
            records.retain(|(offset, _)| *offset >= log.start());
            return records;
        }
    }
}

proptest! {
    #[test]
    fn log_is_a_list_that_takes_every_batch_once(steps in steps()) {
        let mut log = Log::default();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Write { producer, count } => {
                    let (draft, base) = model.next(producer, count);
                    let appended = log.append(draft.admitted(), Now::at(0));
                    prop_assert_eq!(appended.map_err(|refusal| refusal.error), Ok(Appended::At { base }));
                }
                Step::Again { producer, back } => {
                    let sent = &model.producers[producer];
                    let Some((sequence, base, numbers)) = sent.batches.iter().rev().nth(back).cloned() else { continue };
                    let draft = model.draft(producer, sent.epoch, sequence, &numbers);
                    let appended = log.append(draft.admitted(), Now::at(0)).map_err(|refusal| refusal.error);
                    let expected = if back < REMEMBERED {
                        Ok(Appended::Duplicate { base })
                    } else {
                        Err(ResponseError::OutOfOrderSequenceNumber)
                    };
                    prop_assert_eq!(appended, expected);
                }
                Step::Skip { producer } => {
                    let sent = &model.producers[producer];
                    // Of a producer that has sent nothing yet any sequence is the next one.
                    if sent.batches.is_empty() { continue }
                    let draft = model.draft(producer, sent.epoch, sent.next + 1, &[0]);
                    let refused = log.append(draft.admitted(), Now::at(0)).map_err(|refusal| refusal.error);
                    prop_assert_eq!(refused, Err(ResponseError::OutOfOrderSequenceNumber));
                }
                Step::Zombie { producer } => {
                    let sent = &model.producers[producer];
                    if sent.epoch == 0 { continue }
                    let draft = model.draft(producer, sent.epoch - 1, 0, &[0]);
                    let refused = log.append(draft.admitted(), Now::at(0)).map_err(|refusal| refusal.error);
                    prop_assert_eq!(refused, Err(ResponseError::InvalidProducerEpoch));
                }
                // As the coordinator does it: what is open is aborted first.
                Step::Bump { producer } => {
                    let sent = &mut model.producers[producer];
                    *sent = Sent { epoch: sent.epoch + 1, ..Sent::default() };
                    end(&mut log, &mut model, producer, false);
                }
                Step::End { producer, commit } => end(&mut log, &mut model, producer, commit),
                Step::Delete { share } => {
                    let offset = model.start + ((log.end() - model.start) as f64 * share) as i64;
                    model.start = offset;
                    prop_assert_eq!(log.delete_before(offset), Ok(offset));
                }
            }
            prop_assert_eq!(log.end(), model.slots.len() as i64);
            prop_assert_eq!(log.last_stable(), model.last_stable());
            for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
                prop_assert_eq!(read(&log, isolation), model.readable(isolation));
            }
        }
    }
}

fn end(log: &mut Log, model: &mut Model, producer: usize, commit: bool) {
    let marker = Marker {
        producer_id: producer as i64,
        producer_epoch: model.producers[producer].epoch,
        outcome: if commit {
            Outcome::Commit
        } else {
            Outcome::Abort
        },
    };
    log.append_marker(marker, Now::at(0))
        .expect("a marker is always taken");
    model.end(producer, commit);
}
