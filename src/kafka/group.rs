//! A member of a consumer group, whose assignments and revocations are answered by the loop that polls.
//!
//! librdkafka only announces a rebalance; the partitions move when the application says so. So an
//! assignment is acknowledged at once with nothing in it, and each partition is added when its state has
//! been restored: it is never paused, never sought in, and the others go on meanwhile. A revocation is
//! answered after what was in flight has been committed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Context, is_transient};
use super::config::KafkaSettings;
use super::native::consumer::BatchConsumer;
pub use super::native::consumer::Received;
use super::native::known_end;
use super::waiting::{Waiting, Waits};

/// How long leaving a group may take: longer, and the client waits for an answer that does not come.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

const UNTIL_DROPPED: &str = "it leaves when it is dropped";

/// How often a member that no broker answers asks for one, and how long it waits for that.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
const ASK_PATIENCE: Duration = Duration::from_millis(100);

/// How far a group has come, and who says so: what a transaction commits beside its records.
pub struct Progress {
    pub(super) offsets: TopicPartitionList,
    pub(super) group: ConsumerGroupMetadata,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("offsets", &self.offsets)
            .finish_non_exhaustive()
    }
}

/// A change of what this member is responsible for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// These partitions are ours: restore their state, then [`GroupConsumer::start`] them.
    Assigned(Vec<i32>),
    /// These partitions go to another member: commit, then [`GroupConsumer::release`] them.
    Revoked(Vec<i32>),
    /// This member's session has ended, and these partitions may be another's already: abort, then
    /// [`GroupConsumer::release`] them.
    Lost(Vec<i32>),
}

/// What polling brings.
#[derive(Debug)]
pub enum Polled<'a> {
    /// Nothing within the timeout.
    Nothing,
    /// The next record of a started partition.
    Record(Received<'a>),
    /// The end of a partition has been reached.
    End(i32),
    /// A change of assignment, to be answered before the next poll.
    Rebalance(Rebalance),
    /// The offset to read from is no longer there in one of the partitions.
    OffsetLost,
}

/// Queues rebalances for the loop instead of answering them inside the client's callback.
#[derive(Debug, Default)]
struct GroupContext {
    /// Announced, and not seen by the loop yet.
    announced: Mutex<VecDeque<Rebalance>>,
    /// Seen by the loop, and not answered yet.
    unanswered: Mutex<Option<Rebalance>>,
    is_closing: AtomicBool,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Context.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = list
            .elements()
            .iter()
            .map(|element| element.partition())
            .collect();
        let rebalance = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Rebalance::Assigned(partitions)
        } else if consumer.assignment_lost() {
            Rebalance::Lost(partitions)
        } else {
            Rebalance::Revoked(partitions)
        };
        if self.is_closing.load(Ordering::Acquire) {
            // A client that is told to close while an assignment is unanswered revokes it again, and takes the
            // first answer for that of both: a second would wait for a group that has gone, without an end.
            let is_taken_back =
                matches!(&rebalance, Rebalance::Assigned(partitions) if !partitions.is_empty());
            if !is_taken_back {
                decline(consumer, &rebalance);
            }
        } else {
            lock(&self.announced).push_back(rebalance);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

/// Answers a rebalance for a member that is leaving: it takes nothing more, and lets go of what it has. The
/// client waits for an answer to each before it leaves the group.
fn decline(consumer: &BaseConsumer<GroupContext>, rebalance: &Rebalance) {
    let declined = match rebalance {
        Rebalance::Assigned(_) => consumer.incremental_assign(&TopicPartitionList::new()),
        Rebalance::Revoked(_) | Rebalance::Lost(_) => consumer
            .assignment()
            .and_then(|started| consumer.incremental_unassign(&started)),
    };
    if let Err(error) = declined {
        tracing::warn!(%error, ?rebalance, "failed to answer a rebalance while leaving the group");
    }
}

/// A member of a consumer group that reads one topic. All calls block; they belong on plain threads.
pub struct GroupConsumer {
    /// There until it leaves.
    consumer: Option<BatchConsumer<GroupContext>>,
    topic: String,
    started: BTreeSet<i32>,
    waits: Waits,
    /// Since no broker can be reached.
    cut_off: RefCell<Option<Waiting>>,
    asked: Cell<Instant>,
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer")
            .field("topic", &self.topic)
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl GroupConsumer {
    /// Joins `group` as a reader of `topic`; `client_id` names the member where groups are described.
    pub fn subscribe(
        settings: &KafkaSettings,
        group: &str,
        topic: &str,
        client_id: &str,
    ) -> anyhow::Result<GroupConsumer> {
        let mut config = settings.role(&[
            ("client.id", client_id),
            ("group.id", group),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            // A member that was killed is missed after this long.
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            // A second, by default, for which a consumer whose queue was full stands still.
            ("fetch.queue.backoff.ms", "10"),
            // Enough to be busy with while more is fetched; the rest would be memory, and cold when its turn comes.
            ("queued.min.messages", "5000"),
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.wait.max.ms", "100"),
        ]);
        // Many batches in an answer spare the broker requests; limited over all partitions, they are little memory. The
        // client refuses less than the largest message, and its own limit grows with that.
        if config.get("message.max.bytes").is_none() && config.get("fetch.max.bytes").is_none() {
            config.set("fetch.max.bytes", "1048576");
        }
        let consumer = BatchConsumer::new(&config, GroupContext::default())
            .context("failed to create a consumer")?;
        consumer
            .subscribe(&[topic])
            .with_context(|| format!("failed to subscribe to topic `{topic}`"))?;
        Ok(GroupConsumer {
            consumer: Some(consumer),
            topic: topic.to_owned(),
            started: BTreeSet::new(),
            waits: settings.waits().clone(),
            cut_off: RefCell::new(None),
            asked: Cell::new(Instant::now()),
        })
    }

    fn client(&self) -> &BatchConsumer<GroupContext> {
        self.consumer.as_ref().expect(UNTIL_DROPPED)
    }

    fn client_mut(&mut self) -> &mut BatchConsumer<GroupContext> {
        self.consumer.as_mut().expect(UNTIL_DROPPED)
    }

    /// Waits for the next thing to do.
    pub fn poll(&mut self, timeout: Duration) -> anyhow::Result<Polled<'_>> {
        if self.client().is_empty() {
            if let Some(polled) = self.next_event()? {
                return Ok(polled);
            }
            if !self.client_mut().fill(timeout) {
                return Ok(self.next_event()?.unwrap_or(Polled::Nothing));
            }
            self.reached();
        }
        if let Some(error) = self.client_mut().next_error() {
            return self.failed(error);
        }
        let record = self.client_mut().next_record();
        Ok(record.map_or(Polled::Nothing, Polled::Record))
    }

    /// What there is beside records.
    fn next_event(&self) -> anyhow::Result<Option<Polled<'static>>> {
        loop {
            if let Some(polled) = self.client().poll(Duration::ZERO) {
                let error = polled.err().context("a record has not come by its queue")?;
                return self.failed(error).map(Some);
            }
            // A rebalance is announced inside of a poll, which then brings nothing: so it is looked for only here.
            if let Some(rebalance) = self.next_rebalance() {
                return Ok(Some(Polled::Rebalance(rebalance)));
            }
            if !self.client().has_events() {
                self.ask_if_cut_off();
                return Ok(None);
            }
        }
    }

    /// What an error stands for.
    fn failed(&self, error: KafkaError) -> anyhow::Result<Polled<'static>> {
        match error {
            KafkaError::PartitionEOF(partition) => Ok(Polled::End(partition)),
            error if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                Ok(Polled::OffsetLost)
            }
            error if is_transient(&error) => {
                tracing::debug!(%error, topic = self.topic, "still polling");
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
                    self.cut_off
                        .borrow_mut()
                        .get_or_insert_with(|| self.waits.begin("a broker"));
                }
                Ok(Polled::Nothing)
            }
            error => Err(error).with_context(|| format!("failed to read topic `{}`", self.topic)),
        }
    }

    /// For how long this process was stopped, where that is not long over: then it was silent, not the brokers.
    pub fn stopped_lately(&self) -> Option<Duration> {
        self.waits.stopped_lately()
    }

    /// A broker has answered.
    fn reached(&self) {
        if let Some(waiting) = self.cut_off.take() {
            waiting.answered();
        }
    }

    /// Nothing tells that a broker is back while there is nothing to read: ask now and then.
    fn ask_if_cut_off(&self) {
        let is_cut_off = self.cut_off.borrow().is_some();
        if is_cut_off && self.asked.get().elapsed() > ASK_INTERVAL {
            let answer = self
                .client()
                .fetch_metadata(Some(&self.topic), ASK_PATIENCE);
            if answer.is_ok() {
                self.reached();
            }
            self.asked.set(Instant::now());
        }
    }

    fn next_rebalance(&self) -> Option<Rebalance> {
        let context = self.client().context();
        let rebalance = lock(&context.announced).pop_front()?;
        *lock(&context.unanswered) = Some(rebalance.clone());
        Some(rebalance)
    }

    /// Acknowledges an assignment: the partitions are ours, and none is read yet.
    pub fn acknowledge(&self) -> anyhow::Result<()> {
        lock(&self.client().context().unanswered).take();
        let client = self.client();
        let acknowledged = client.incremental_assign(&TopicPartitionList::new());
        acknowledged
            .and_then(|()| client.seek_ends(&self.topic))
            .context("failed to take partitions over")
    }

    /// Reads a partition that is ours from `offset` on.
    pub fn start(&mut self, partition: i32, offset: i64) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        self.client_mut().assign(&list).with_context(|| {
            format!(
                "failed to start partition {partition} of topic `{}`",
                self.topic
            )
        })?;
        self.started.insert(partition);
        Ok(())
    }

    /// Stops reading partitions that are no longer ours, started or not.
    pub fn release(&mut self, partitions: &[i32]) -> anyhow::Result<()> {
        lock(&self.client().context().unanswered).take();
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if self.started.remove(partition) {
                list.add_partition(&self.topic, *partition);
            }
        }
        let released = self.client_mut().unassign(&list);
        released
            .and_then(|()| self.client().seek_ends(&self.topic))
            .context("failed to let go of partitions")
    }

    /// The end of a started partition as the last fetch has told it, without asking; `None` before the first.
    pub fn known_end(&self, partition: i32) -> Option<i64> {
        known_end(self.client(), &self.topic, partition)
    }

    /// What a transaction has to commit for these next offsets.
    pub fn progress(
        &self,
        offsets: impl IntoIterator<Item = (i32, i64)>,
    ) -> anyhow::Result<Progress> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))?;
        }
        Ok(Progress {
            offsets: list,
            group: self
                .client()
                .group_metadata()
                .context("the consumer has left its group")?,
        })
    }
}

/// Leaves the group. What is in flight must have been committed or aborted before, or it will be aborted by
/// the broker.
impl Drop for GroupConsumer {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        // A call that reaches the client in the moment in which it has left the group is dropped there without
        // an answer, and its caller waits without an end: so leaving is done beside.
        let (left, leaving) = mpsc::channel::<()>();
        let leaver = thread::Builder::new().name("leave".to_owned());
        let spawned = leaver.spawn(move || {
            leave(&consumer);
            drop(consumer);
            drop(left);
        });
        match spawned {
            Ok(_) => {
                if leaving.recv_timeout(LEAVE_PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    tracing::debug!(topic = self.topic, "still leaving the group");
                }
            }
            Err(error) => tracing::warn!(%error, "failed to leave the group: no thread"),
        }
    }
}

/// The client waits, when it is dropped, for rebalances to be answered: nobody polls for them now.
fn leave(consumer: &BaseConsumer<GroupContext>) {
    let context = consumer.context();
    context.is_closing.store(true, Ordering::Release);
    let unanswered = lock(&context.unanswered).take();
    let announced = std::mem::take(&mut *lock(&context.announced));
    for rebalance in unanswered.into_iter().chain(announced) {
        decline(consumer, &rebalance);
    }
    // Closing alone does not tell the group where a member has no partitions, and the others would wait
    // for it until its session ends.
    consumer.unsubscribe();
}
