//! What a transaction holds: steps, dead letters, state, and the offsets that they were made from.

use std::collections::BTreeMap;

use super::Settings;
use super::processor::Processor;
use super::totals::Counts;
use crate::crash;
use crate::kafka::group::{GroupConsumer, Received};
use crate::kafka::partitioner;
use crate::kafka::producer::{Failure, NO_TIMESTAMP, Record, TransactionalProducer};
use crate::model::dead_letter::{HEADERS, Reason};
use crate::model::state;
use crate::model::step::Step;
use crate::shutdown::Shutdown;

/// The longest text of `fireworks.error`: an error may quote what it is about, and that may be long.
const MAX_ERROR_BYTES: usize = 1024;

/// Writes one worker's output, transaction by transaction.
#[derive(Debug)]
pub(super) struct Output {
    settings: Settings,
    producer: TransactionalProducer,
    offsets: BTreeMap<i32, i64>,
    counts: Counts,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Output {
    /// Takes over the worker's transactional id: what its predecessor left open is aborted.
    pub(super) fn new(
        settings: &Settings,
        worker: usize,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Output> {
        // An instance has no slash in its name, so no two have the same id.
        let id = format!("{}/{}/{worker}", settings.group, settings.instance);
        let producer = TransactionalProducer::new(&settings.kafka, &id, shutdown)?;
        Ok(Output {
            settings: settings.clone(),
            producer,
            offsets: BTreeMap::new(),
            counts: Counts::default(),
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Whether there is something to commit.
    pub(super) fn is_open(&self) -> bool {
        self.producer.is_open()
    }

    /// Notes that a partition has been consumed up to before `offset`.
    pub(super) fn consumed(&mut self, partition: i32, offset: i64) -> Result<(), Failure> {
        self.producer.begin()?;
        self.offsets.insert(partition, offset);
        Ok(())
    }

    /// Writes the steps that one reading has caused.
    pub(super) fn steps(
        &mut self,
        partition: i32,
        device_id: &str,
        steps: &[Step],
    ) -> Result<(), Failure> {
        self.producer.begin()?;
        self.counts.records += 1;
        for step in steps {
            self.value.clear();
            step.encode(device_id, &mut self.value);
            self.counts.steps += 1;
            self.counts.revisions += u64::from(step.revision > 0);
            self.producer.send(Record {
                topic: &self.settings.output,
                partition,
                key: Some(device_id.as_bytes()),
                value: Some(&self.value),
                timestamp: Some(step.event_time.millis()),
                headers: None,
            })?;
        }
        Ok(())
    }

    /// Counts a reading that was there already.
    pub(super) fn duplicate(&mut self) {
        self.counts.records += 1;
        self.counts.duplicates += 1;
    }

    /// Writes a record that can't be used to the dead letters: as it was, and why.
    pub(super) fn dead_letter(
        &mut self,
        record: &Received<'_>,
        reason: Reason,
        error: &str,
    ) -> Result<(), Failure> {
        self.producer.begin()?;
        self.counts.records += 1;
        match reason {
            Reason::Malformed => self.counts.malformed += 1,
            Reason::Late => self.counts.late += 1,
        }
        let values = [
            reason.name(),
            shortened(error),
            &self.settings.input,
            &record.partition().to_string(),
            &record.offset().to_string(),
        ];
        let mut headers = record.headers();
        headers.extend(
            HEADERS
                .into_iter()
                .zip(values)
                .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))),
        );
        self.producer.send(Record {
            topic: &self.settings.dead_letters,
            partition: record.key().map_or(0, |key| {
                partitioner::partition(key, self.settings.dead_letter_partitions)
            }),
            key: record.key(),
            value: record.value(),
            timestamp: Some(record.timestamp().unwrap_or(NO_TIMESTAMP)),
            headers: Some(headers),
        })
    }

    /// Writes what the state of a partition lacks.
    pub(super) fn state(
        &mut self,
        partition: i32,
        processor: &mut Processor,
        has_owner: &mut bool,
    ) -> Result<(), Failure> {
        let topic = &self.settings.state;
        if !*has_owner {
            let (key, value) = state::encode_owner(&self.settings.owner());
            self.producer.send(Record {
                topic,
                partition,
                key: Some(&key),
                value: Some(&value),
                ..Record::default()
            })?;
            *has_owner = true;
        }
        processor.take_changes(|device_id, block| {
            self.key.clear();
            self.value.clear();
            state::encode_held(device_id, block, &mut self.key, &mut self.value);
            self.producer.send(Record {
                topic,
                partition,
                key: Some(&self.key),
                value: Some(&self.value),
                ..Record::default()
            })
        })
    }

    /// Commits everything written since the last call, with the offsets.
    pub(super) fn commit(&mut self, consumer: &GroupConsumer) -> Result<Counts, Failure> {
        let progress = consumer.progress(
            self.offsets
                .iter()
                .map(|(partition, offset)| (*partition, *offset)),
        );
        crash::place("produced");
        self.producer
            .send_offsets(&progress.map_err(Failure::Abort)?)?;
        crash::place("offsets sent");
        self.producer.commit()?;
        crash::place("committed");
        self.offsets.clear();
        Ok(std::mem::take(&mut self.counts))
    }

    /// Aborts everything written since the last commit, unless the brokers have decided about it already:
    /// only the state and the offsets that they keep say which.
    pub(super) fn abort(&mut self) -> Result<(), Failure> {
        self.offsets.clear();
        self.counts = Counts::default();
        self.producer.abort().map(|_| ())
    }

    /// Fails where another Kafka has come up at the same address.
    pub(super) fn verify_cluster(&self) -> Result<(), Failure> {
        self.producer.verify_cluster()
    }

    /// The partitions that the open transaction has consumed something of.
    pub(super) fn touched(&self) -> impl Iterator<Item = (i32, i64)> {
        self.offsets
            .iter()
            .map(|(partition, offset)| (*partition, *offset))
    }
}

/// As much of a text as a header takes.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_ERROR_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_errors_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = format!("x{}", "é".repeat(MAX_ERROR_BYTES));
        assert_eq!(shortened(&long).len(), MAX_ERROR_BYTES - 1);
    }
}
