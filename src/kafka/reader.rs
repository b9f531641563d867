//! Reading partitions from an offset to their end, without a group: for the state, and for finding where
//! a topic ends. All calls block; they belong on plain threads.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};
use rustc_hash::FxBuildHasher;

use super::client::{ANSWER_DEADLINE, Context, is_transient};
use super::config::KafkaSettings;
use super::group::Progress;
use super::native::{headers, known_end};
use super::waiting::{Waiting, Waits};
use crate::shutdown::Shutdown;

/// Brokers abort a transaction after 15 minutes at the latest, unless they are told otherwise.
const OPEN_TRANSACTION_DEADLINE: Duration = Duration::from_secs(16 * 60);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How long to wait for the next record before looking whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// What a partition holds at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The partition.
    pub partition: i32,
    /// The offset of its oldest record.
    pub start: i64,
    /// The offset that its next record will have.
    pub end: i64,
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    message: &'a BorrowedMessage<'a>,
}

impl<'a> Stored<'a> {
    /// Its timestamp, in milliseconds since 1970.
    pub fn timestamp(&self) -> Option<i64> {
        self.message.timestamp().to_millis()
    }

    /// Its headers, in their order: name, and value, which may be null.
    pub fn headers(&self) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
        headers::of(self.message)
    }
}

/// A reader that belongs to no group, though it may ask for one's offsets.
pub struct Reader {
    committed: BaseConsumer<Context>,
    uncommitted: BaseConsumer<Context>,
    waits: Waits,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader; `group` is the group whose committed offsets it may be asked for.
    pub fn new(settings: &KafkaSettings, group: &str) -> anyhow::Result<Reader> {
        let consumer = |isolation: &str| {
            let config = settings.role(&[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("enable.partition.eof", "true"),
                ("auto.offset.reset", "earliest"),
                ("isolation.level", isolation),
                ("fetch.queue.backoff.ms", "10"),
                ("fetch.wait.max.ms", "50"),
                // What is queued takes five times its bytes in memory, and a queue this long never runs dry.
                ("queued.min.messages", "100000"),
                ("queued.max.messages.kbytes", "16384"),
            ]);
            config
                .create_with_context(Context)
                .context("failed to create a consumer")
        };
        Ok(Reader {
            committed: consumer("read_committed")?,
            uncommitted: consumer("read_uncommitted")?,
            waits: settings.waits().clone(),
        })
    }

    /// The extents of partitions as they are now, once every transaction that was open in them is
    /// decided: readers of committed data then see all of it.
    pub fn settled(
        &self,
        topic: &str,
        partitions: &[i32],
        shutdown: &Shutdown,
    ) -> anyhow::Result<Vec<Extent>> {
        let deadline = Instant::now() + OPEN_TRANSACTION_DEADLINE;
        let mut has_warned = false;
        let mut extents = Vec::new();
        for &partition in partitions {
            let extent = self.extent(topic, partition, shutdown)?;
            while self
                .watermarks(&self.committed, topic, partition, shutdown)?
                .end
                < extent.end
            {
                if shutdown.is_requested() {
                    bail!("interrupted while a transaction was open in topic `{topic}`");
                }
                if Instant::now() > deadline {
                    bail!(
                        "a transaction is open in partition {partition} of topic `{topic}`, and nobody ends it"
                    );
                }
                if !std::mem::replace(&mut has_warned, true) {
                    tracing::info!(
                        topic,
                        partition,
                        "waiting for the end of an open transaction"
                    );
                }
                std::thread::sleep(ASK_AGAIN);
            }
            extents.push(extent);
        }
        Ok(extents)
    }

    /// What a partition holds now, decided or not.
    pub fn extent(
        &self,
        topic: &str,
        partition: i32,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Extent> {
        self.watermarks(&self.uncommitted, topic, partition, shutdown)
    }

    /// Asks until there is an answer: brokers that are away are waited for.
    fn watermarks(
        &self,
        consumer: &BaseConsumer<Context>,
        topic: &str,
        partition: i32,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Extent> {
        let waiting = self.waits.begin("the end of a partition");
        loop {
            match consumer.fetch_watermarks(topic, partition, ANSWER_DEADLINE) {
                Ok((start, end)) => {
                    waiting.answered();
                    return Ok(Extent {
                        partition,
                        start,
                        end,
                    });
                }
                Err(error)
                    if (is_transient(&error) || is_moving(&error, &waiting))
                        && !shutdown.is_requested() =>
                {
                    std::thread::sleep(ASK_AGAIN)
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "failed to find the end of partition {partition} of topic `{topic}`"
                        )
                    });
                }
            }
        }
    }

    /// The committed offsets of the group in `topic`, once no transaction is about to change them; `None`
    /// for a partition without one.
    pub fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
        shutdown: &Shutdown,
    ) -> anyhow::Result<Vec<Option<i64>>> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(topic, partition);
        }
        let deadline = Instant::now() + OPEN_TRANSACTION_DEADLINE;
        let list = loop {
            match self
                .committed
                .committed_offsets(list.clone(), ANSWER_DEADLINE)
            {
                Ok(list) => break list,
                Err(error)
                    if is_transient(&error)
                        && Instant::now() < deadline
                        && !shutdown.is_requested() =>
                {
                    std::thread::sleep(ASK_AGAIN);
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("failed to read the group's offsets in topic `{topic}`")
                    });
                }
            }
        };
        let offset = |&partition: &i32| {
            list.find_partition(topic, partition)
                .and_then(|found| match found.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                })
        };
        Ok(partitions.iter().map(offset).collect())
    }

    /// What a transaction has to commit so that the group goes on from these offsets. The group must have no
    /// members.
    pub fn progress(
        &self,
        topic: &str,
        offsets: impl IntoIterator<Item = (i32, i64)>,
    ) -> anyhow::Result<Progress> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        let group = self.committed.group_metadata();
        Ok(Progress {
            offsets: list,
            group: group.context("the reader has no group")?,
        })
    }

    /// Reads the committed records of these extents, in the order of each partition, and none behind them. `each`
    /// may break a partition off. Returns `false` where it was interrupted.
    ///
    /// A leader that has just been chosen may know less than the one that told the end: a partition is done
    /// where its last fetch has seen that end, not where the client first calls it an end.
    pub fn read(
        &self,
        topic: &str,
        extents: &[Extent],
        shutdown: &Shutdown,
        mut each: impl FnMut(Stored<'_>) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<bool> {
        let mut list = TopicPartitionList::with_capacity(extents.len());
        let mut ends: HashMap<i32, i64, FxBuildHasher> = HashMap::default();
        for extent in extents.iter().filter(|extent| extent.start < extent.end) {
            list.add_partition_offset(topic, extent.partition, Offset::Offset(extent.start))?;
            ends.insert(extent.partition, extent.end);
        }
        self.committed
            .assign(&list)
            .with_context(|| format!("failed to read topic `{topic}`"))?;
        while !ends.is_empty() {
            if shutdown.is_requested() {
                self.committed.unassign()?;
                return Ok(false);
            }
            // A call that may wait looks at the clock three times, one that may not never does.
            let polled = self.committed.poll(Duration::ZERO);
            match polled.or_else(|| self.committed.poll(POLL)) {
                None => {}
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    // One that was done before is still fetched from.
                    let Some(&end) = ends.get(&partition) else {
                        continue;
                    };
                    let is_broken_off = offset < end && each(stored(&message))?.is_break();
                    if is_broken_off {
                        let mut list = TopicPartitionList::with_capacity(1);
                        list.add_partition(topic, partition);
                        self.committed.pause(&list)?;
                    }
                    if is_broken_off || offset + 1 >= end {
                        ends.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let known = known_end(&self.committed, topic, partition);
                    if ends.get(&partition).is_some_and(|end| known >= Some(*end)) {
                        ends.remove(&partition);
                    }
                }
                Some(Err(error)) if is_transient(&error) => {
                    tracing::debug!(%error, topic, "still reading")
                }
                Some(Err(error)) => {
                    return Err(error).with_context(|| format!("failed to read topic `{topic}`"));
                }
            }
        }
        self.committed.unassign()?;
        Ok(true)
    }
}

/// Whether a partition may only be without a leader; one that is gone for so long is gone.
fn is_moving(error: &KafkaError, waiting: &Waiting) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition)
        && waiting.awake() < 3 * ANSWER_DEADLINE
}

fn stored<'a>(message: &'a BorrowedMessage<'_>) -> Stored<'a> {
    Stored {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        value: message.payload(),
        message,
    }
}
