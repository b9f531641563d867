//! Rows to records: the join with the device table, and the transactions that hold whole batches.

use anyhow::anyhow;

use super::Settings;
use super::resume::{self, LastRow};
use super::totals::Totals;
use crate::crash;
use crate::error::Help;
use crate::kafka::partitioner;
use crate::kafka::producer::{Ended, Failure, Record, TransactionalProducer};
use crate::model::noise::Noise;
use crate::model::reading::Reading;
use crate::model::source::Batch;
use crate::shutdown::Shutdown;

/// How often a transaction may fail before it is given up.
const ATTEMPTS: u32 = 5;
/// How often, in rows, a batch looks whether it should stop.
const ROWS_BETWEEN_LOOKS: i64 = 64;

/// A device with what stays the same over its readings.
struct Column<'a> {
    id: &'a str,
    drift: f64,
    volatility: f64,
    noise: Noise,
    partition: i32,
}

/// Writes batches, one or many in a transaction.
pub(super) struct Sender<'a> {
    producer: TransactionalProducer,
    settings: &'a Settings,
    totals: &'a Totals,
    columns: Vec<Column<'a>>,
    shutdown: &'a Shutdown,
    value: Vec<u8>,
}

impl<'a> Sender<'a> {
    /// Takes over the writing of the topic: an earlier writer is fenced, and what it left open aborted.
    pub(super) fn new(
        settings: &'a Settings,
        totals: &'a Totals,
        shutdown: &'a Shutdown,
    ) -> anyhow::Result<Sender<'a>> {
        let id = format!("fireworks-generate-{}", settings.topic);
        let columns = settings.devices.iter().map(|device| Column {
            id: &device.id,
            drift: device.drift,
            volatility: device.volatility,
            noise: Noise::new(settings.seed, &device.id),
            partition: partitioner::partition(device.id.as_bytes(), settings.partitions),
        });
        Ok(Sender {
            producer: TransactionalProducer::with_timeout(
                &settings.kafka,
                &id,
                settings.transaction_timeout(),
                shutdown,
            )?,
            settings,
            totals,
            columns: columns.collect(),
            shutdown,
            value: Vec::new(),
        })
    }

    /// Writes all of the batches in one transaction. Returns `false` where it was asked to stop in their
    /// middle: then none is written, or where Kafka is away it may be all.
    pub(super) fn write(&mut self, batches: &[Batch]) -> anyhow::Result<bool> {
        let mut attempts = 1;
        loop {
            match self.transaction(batches) {
                Ok(is_whole) => return Ok(is_whole),
                Err(Failure::Abort(error) | Failure::Undecided(error)) if attempts < ATTEMPTS => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the transaction failed; writing it again"
                    );
                    self.totals.abort();
                    attempts += 1;
                }
                Err(failure) => return Err(failure.into_error()),
            }
            match self.producer.abort() {
                Ok(Ended::Aborted) => {}
                Ok(Ended::Decided) => match self.is_written(batches) {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(_) if self.shutdown.is_requested() => return Ok(false),
                    Err(error) => return Err(error),
                },
                Err(_) if self.shutdown.is_requested() => return Ok(false),
                Err(failure) => return Err(failure.into_error()),
            }
        }
    }

    /// What became of batches that the brokers have decided about: the topic ends with them, or before them.
    /// Where it ends elsewhere, another process has written.
    fn is_written(&self, batches: &[Batch]) -> anyhow::Result<bool> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(true);
        };
        let Settings {
            kafka,
            topic,
            partitions,
            ..
        } = self.settings;
        let found = resume::last_reading(kafka, topic, *partitions, self.shutdown)?;
        let next = found.map_or(0, |LastRow { index, .. }| index + 1);
        if next == last.first_row + last.rows {
            Ok(true)
        } else if next == first.first_row {
            Ok(false)
        } else {
            Err(anyhow!(
                "fenced: topic `{topic}` goes on with row {next} after an outage, not with row {}: another process writes to it",
                first.first_row
            ))
            .help(|| "run one generate for a topic".into())
        }
    }

    fn transaction(&mut self, batches: &[Batch]) -> Result<bool, Failure> {
        self.producer.begin()?;
        for batch in batches {
            for row in batch.first_row..batch.first_row + batch.rows {
                if row % ROWS_BETWEEN_LOOKS == 0 && self.shutdown.is_requested() {
                    self.producer.abort()?;
                    self.totals.abort();
                    return Ok(false);
                }
                self.send_row(row, batch)?;
            }
        }
        crash::place("written");
        self.producer.commit()?;
        crash::place("readings committed");
        Ok(true)
    }

    /// The join: one reading for every device.
    fn send_row(&mut self, index: i64, batch: &Batch) -> Result<(), Failure> {
        for column in &self.columns {
            let (magnitude, direction) = column.noise.at(index);
            let reading = Reading {
                device_id: column.id.into(),
                index,
                event_time: batch.event_time,
                magnitude,
                direction,
                drift: column.drift,
                volatility: column.volatility,
            };
            self.value.clear();
            reading.encode(&mut self.value);
            self.producer.send(Record {
                topic: &self.settings.topic,
                partition: column.partition,
                key: Some(column.id.as_bytes()),
                value: Some(&self.value),
                timestamp: Some(batch.event_time.millis()),
                headers: None,
            })?;
        }
        Ok(())
    }
}
