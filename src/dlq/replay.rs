//! Putting back: records as they were, in one transaction with how far it has come.
//!
//! It never changes a record and never deletes a dead letter.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Serialize;
use tokio::runtime::Handle;

use super::letters::{Letter, Letters};
use super::{Settings, check_topic};
use crate::error::Help;
use crate::kafka::partitioner;
use crate::kafka::producer::{Failure, NO_TIMESTAMP, Record, TransactionalProducer};
use crate::kafka::reader::Extent;
use crate::kafka::topics::Topics;
use crate::model::dead_letter::{Origin, Reason};
use crate::shutdown::Shutdown;

/// How long a transaction may stay open at least, and at most, which is what brokers allow by default. Until
/// a replay that was killed is timed out, or another takes over, readers of committed data wait for it.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(15 * 60));
/// What it may take longer for each record: many times what it does take.
const TIMEOUT_PER_RECORD: Duration = Duration::from_millis(1);

/// What to put back, and where to.
pub(super) struct Replay<'a> {
    pub(super) settings: &'a Settings,
    pub(super) topics: &'a Topics,
    pub(super) reasons: &'a [Reason],
    /// The topic for all of them, instead of that of each.
    pub(super) to: Option<&'a str>,
    /// Whether what has been put back before is put back again.
    pub(super) is_repeated: bool,
}

/// What has been put back, or would be.
#[derive(Debug, Default, Serialize)]
pub(super) struct PutBack {
    topic: String,
    is_dry_run: bool,
    /// By topic and reason.
    records: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Records without the headers of `brownian`.
    others: u64,
}

impl Replay<'_> {
    /// Puts back what there is, or only counts it.
    pub(super) fn run(&self, is_dry_run: bool, shutdown: &Shutdown) -> anyhow::Result<PutBack> {
        let letters = Letters::open(self.settings, shutdown)?;
        if is_dry_run {
            return self.pass(&letters, None, shutdown);
        }
        let expected = TIMEOUT_PER_RECORD.saturating_mul(
            u32::try_from(letters.offsets(|e| self.from(&letters, e))).unwrap_or(u32::MAX),
        );
        let mut producer = TransactionalProducer::with_timeout(
            &self.settings.kafka,
            &format!("fireworks-dlq-{}", self.settings.topic),
            (TIMEOUT.0 + expected).min(TIMEOUT.1),
            shutdown,
        )?;
        producer.begin().map_err(Failure::into_error)?;
        // Where this fails, dropping the producer aborts.
        let put_back = self
            .pass(&letters, Some(&mut producer), shutdown)
            .and_then(|put_back| {
                for reason in self.reasons {
                    let progress = letters.progress(*reason)?;
                    producer
                        .send_offsets(&progress)
                        .map_err(Failure::into_error)?;
                }
                Ok(put_back)
            })
            .context("nothing was put back")?;
        match producer.commit() {
            Ok(()) => Ok(put_back),
            Err(Failure::Undecided(error)) => Err(error)
                .context("it is not known whether the records were put back")
                .help(|| "run it again when Kafka is back: what was put back is left alone".into()),
            Err(failure) => Err(failure.into_error()).context("nothing was put back"),
        }
    }

    fn from(&self, letters: &Letters, extent: &Extent) -> i64 {
        match self.is_repeated {
            true => extent.start,
            false => letters.next(extent, self.reasons),
        }
    }

    /// Goes through the records once; writes them if there is a producer.
    fn pass(
        &self,
        letters: &Letters,
        mut producer: Option<&mut TransactionalProducer>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<PutBack> {
        let mut put_back = PutBack {
            topic: self.settings.topic.clone(),
            is_dry_run: producer.is_none(),
            ..PutBack::default()
        };
        let mut targets = BTreeMap::new();
        letters.read(
            |extent| self.from(letters, extent),
            shutdown,
            |letter| {
                let Some(origin) = letter.origin else {
                    put_back.others += 1;
                    return Ok(());
                };
                if !self.reasons.contains(&origin.reason) {
                    return Ok(());
                }
                if !letter.is_waiting && !self.is_repeated {
                    return Ok(());
                }
                let topic = self.to.unwrap_or(origin.topic);
                let partitions = self.partitions(topic, &mut targets)?;
                let partition = partition(&letter, &origin, partitions);
                if let Some(producer) = producer.as_deref_mut() {
                    let record = restored(&letter, topic, partition);
                    producer.send(record).map_err(Failure::into_error)?;
                }
                let counts = put_back.records.entry(topic.to_owned()).or_default();
                *counts.entry(origin.reason.name()).or_default() += 1;
                Ok(())
            },
        )?;
        Ok(put_back)
    }

    /// How many partitions a topic has, asked once.
    fn partitions(&self, topic: &str, known: &mut BTreeMap<String, i32>) -> anyhow::Result<i32> {
        let entry = match known.entry(topic.to_owned()) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(entry) => entry,
        };
        check_topic("header fireworks.topic", topic)
            .help(|| "say where to put the records with --to".into())?;
        let partitions = Handle::current()
            .block_on(self.topics.partitions(topic))?
            .ok_or_else(|| anyhow!("topic `{topic}` does not exist"))
            .help(|| "create it, or name another one with --to".into())?;
        Ok(*entry.insert(partitions))
    }
}

/// The partition that a record came from, so that order is kept; the one its key belongs to, where the topic
/// has fewer now.
fn partition(letter: &Letter<'_>, origin: &Origin<'_>, partitions: i32) -> i32 {
    if origin.partition < partitions {
        return origin.partition;
    }
    let key = letter.record.key;
    key.map_or(0, |key| partitioner::partition(key, partitions))
}

/// The record as it was.
fn restored<'a>(letter: &Letter<'a>, topic: &'a str, partition: i32) -> Record<'a> {
    let has_headers = !letter.headers.is_empty();
    Record {
        topic,
        partition,
        key: letter.record.key,
        value: letter.record.value,
        timestamp: Some(letter.record.timestamp().unwrap_or(NO_TIMESTAMP)),
        headers: has_headers.then(|| letter.headers.iter().copied().collect()),
    }
}

impl PutBack {
    /// The result as it is printed.
    pub(super) fn text(&self, is_json: bool) -> String {
        if is_json {
            let json = serde_json::to_string(self).expect("a result is JSON");
            return json + "\n";
        }
        let verb = match self.is_dry_run {
            true => "would put back",
            false => "put back",
        };
        let mut lines = Vec::new();
        for (topic, counts) in &self.records {
            let total: u64 = counts.values().sum();
            let by_reason: Vec<_> = counts
                .iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            lines.push(format!(
                "{verb} {total} into {topic}: {}",
                by_reason.join(", ")
            ));
        }
        if lines.is_empty() {
            lines.push(format!("{}: nothing left to put back", self.topic));
        }
        if self.others > 0 {
            lines.push(format!(
                "{} left alone: they have not brownian's headers",
                self.others
            ));
        }
        lines.join("\n") + "\n"
    }
}
