//! The client of one topic: what can be asked of Kafka, and what it tells beside the records.
//!
//! Requests end within [`REQUEST`]. It keeps no positions and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Broker;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

use super::TailSettings;
use super::offsets::{Offsets, Start, choose_starts};

/// How long one request may take: a stop waits for it.
const REQUEST: Duration = Duration::from_millis(700);

/// A dashboard's needs: what is new at once, little memory, fast recovery. The group is never joined;
/// librdkafka wants a name for it even to assign.
const PROPERTIES: &[(&str, &str)] = &[
    ("client.id", "fireworks-dashboard"),
    ("group.id", "fireworks-dashboard"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("statistics.interval.ms", "500"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "10"),
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "16384"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "10000"),
];

pub struct TopicClient {
    consumer: BaseConsumer<Watch>,
    topic: String,
    window: Duration,
}

impl TopicClient {
    /// Makes the client. It connects by itself, later.
    pub fn new(settings: &TailSettings) -> anyhow::Result<TopicClient> {
        let consumer = settings
            .kafka
            .role(PROPERTIES)
            .create_with_context(Watch::default())
            .context("failed to create the consumer of the dashboard")?;
        Ok(TopicClient {
            consumer,
            topic: settings.topic.clone(),
            window: settings.window,
        })
    }

    pub fn poll(&self, patience: Duration) -> Option<KafkaResult<BorrowedMessage<'_>>> {
        self.consumer.poll(patience)
    }

    /// What was told since it was last asked for.
    pub fn observed(&self) -> Option<Observed> {
        let latest = &self.consumer.context().latest;
        latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads further partitions, from these offsets on.
    pub fn assign(&self, from: &Offsets) -> KafkaResult<()> {
        self.consumer.incremental_assign(&self.list(from)?)
    }

    /// Begins anew at these offsets. A partition whose offset was out of range is read no more: a seek alone
    /// doesn't wake it.
    pub fn reassign(&self, from: &Offsets) -> KafkaResult<()> {
        let list = self.list(from)?;
        self.consumer.incremental_unassign(&list)?;
        self.consumer.incremental_assign(&list)
    }

    pub fn unassign(&self) -> KafkaResult<()> {
        self.consumer.unassign()
    }

    pub fn seek(&self, to: &Offsets) -> KafkaResult<()> {
        self.consumer
            .seek_partitions(self.list(to)?, REQUEST)
            .map(drop)
    }

    fn list(&self, offsets: &Offsets) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (number, offset) in offsets {
            list.add_partition_offset(&self.topic, *number, Offset::Offset(*offset))?;
        }
        Ok(list)
    }

    /// The topic's partitions; none where there is no such topic.
    pub fn partitions(&self) -> KafkaResult<Partitions> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), REQUEST)?;
        let topic = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == self.topic);
        let Some(topic) = topic else {
            return Ok(Partitions::default());
        };
        match topic.error().map(Code::from) {
            None | Some(Code::LeaderNotAvailable) => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                return Ok(Partitions::default());
            }
            Some(code) => return Err(KafkaError::MetadataFetch(code)),
        }
        let mut found = Partitions::default();
        for partition in topic.partitions() {
            found.all.push(partition.id());
            if partition.leader() >= 0 {
                found.led.insert(partition.id(), partition.leader());
            }
        }
        Ok(found)
    }

    /// Whether the connection to this broker, which there has been, is lost.
    pub fn has_lost(&self, broker: i32) -> bool {
        let lost = &self.consumer.context().lost;
        let lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.contains(&broker)
    }

    /// Where to begin: a window before now in event time, or what [`choose_starts`] makes of it.
    pub fn starts(&self, numbers: &[i32]) -> KafkaResult<BTreeMap<i32, Start>> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let since = i64::try_from(now.saturating_sub(self.window).as_millis()).unwrap_or(i64::MAX);
        let low = self.lows(numbers)?;
        let end = self.ends(numbers)?;
        let since = self.offsets(numbers, Offset::Offset(since))?;
        Ok(choose_starts(&low, &end, &since))
    }

    pub fn lows(&self, numbers: &[i32]) -> KafkaResult<Offsets> {
        self.offsets(numbers, Offset::Beginning)
    }

    pub fn ends(&self, numbers: &[i32]) -> KafkaResult<Offsets> {
        self.offsets(numbers, Offset::End)
    }

    /// One round trip for all partitions. `at` is an event time or one of the log's ends; a partition
    /// without a record that young is left out, and so is one that has just lost its leader: the others go on.
    fn offsets(&self, numbers: &[i32], at: Offset) -> KafkaResult<Offsets> {
        let mut list = TopicPartitionList::new();
        for number in numbers {
            list.add_partition_offset(&self.topic, *number, at)?;
        }
        let list = self.consumer.offsets_for_times(list, REQUEST)?;
        let mut offsets = Offsets::new();
        let elements = list.elements();
        if elements.iter().all(|element| element.error().is_err()) {
            elements.iter().try_for_each(|element| element.error())?;
        }
        for element in elements.iter().filter(|element| element.error().is_ok()) {
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(element.partition(), offset);
            }
        }
        Ok(offsets)
    }
}

/// What there is to read of a topic.
#[derive(Debug, Default)]
pub struct Partitions {
    pub all: Vec<i32>,
    /// Those that have a leader, with the number of that broker: of the others nothing can be asked, and the
    /// question alone would take until its time-out.
    pub led: BTreeMap<i32, i32>,
}

/// What librdkafka tells beside the records.
#[derive(Debug, Default)]
pub struct Watch {
    latest: Mutex<Option<Observed>>,
    /// Brokers that were asked for something and are not connected.
    lost: Mutex<BTreeSet<i32>>,
}

#[derive(Debug)]
pub struct Observed {
    pub connected: bool,
    /// By partition: the last stable offset, and the offset at which the end was last met.
    pub ends: Vec<(i32, i64, i64)>,
}

impl ClientContext for Watch {
    fn stats(&self, statistics: Statistics) {
        let connected = statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP");
        let is_lost = |broker: &&Broker| {
            broker.nodeid >= 0 && broker.state != "UP" && broker.connects.unwrap_or(0) > 0
        };
        let lost = statistics.brokers.values().filter(is_lost);
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) =
            lost.map(|broker| broker.nodeid).collect();
        let partitions = statistics
            .topics
            .values()
            .flat_map(|topic| topic.partitions.values());
        let ends = partitions
            .map(|p| (p.partition, p.ls_offset, p.eof_offset))
            .collect();
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Observed { connected, ends });
    }

    /// A lost broker is shown as a state, once; the client's own words for it come twice a second.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", ?level, "{facility}: {message}");
    }

    /// The same events come with the records, the end of a partition among them.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Watch {}

/// A cause in words for people.
pub fn cause(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure | Code::OperationTimedOut) => {
            "no broker answers".to_owned()
        }
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}
