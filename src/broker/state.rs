//! All that the broker knows, under one lock, and what concerns more than one part of it.
//!
//! One lock is what makes a commit atomic: markers, offsets and the transaction itself change together, and
//! no request sees them half-way. It is held for as long as a look or an append takes, never while waiting,
//! decompressing or compacting.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_protocol::error::ResponseError;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::batch::validate::Admitted;
use super::clock::{Clock, Now};
use super::groups::Groups;
use super::limits;
use super::log::compaction::{self, Compacted, Compaction, Job};
use super::log::{Appended, Log};
use super::refusal::Refusal;
use super::settings::Settings;
use super::topics::Topics;
use super::transactions::{Ended, ProducerId, Transactions};
use super::wire::frame::Budget;

/// This broker as clients see it.
#[derive(Clone, Debug)]
pub struct Node {
    pub cluster_id: String,
    pub host: String,
    pub port: u16,
}

impl Node {
    /// The only broker, which is also the controller.
    pub const ID: i32 = 1;
}

/// What all connections share.
#[derive(Debug)]
pub struct Core {
    state: Mutex<State>,
    pub clock: Clock,
    pub node: Node,
    /// Long requests take from this what they hold.
    pub frames: Budget,
    /// Long answers take from this what they hold until they are written.
    pub answers: Semaphore,
    /// Batches are decompressed by so many at a time.
    pub decompressions: Semaphore,
    /// One partition is compacted at a time: it takes a core, and the memory of a second copy.
    compactions: Semaphore,
}

impl Core {
    pub fn new(settings: &Settings, node: Node) -> Core {
        Core {
            state: Mutex::new(State::new(settings.retention_bytes)),
            clock: Clock::start(),
            node,
            frames: Budget::default(),
            answers: Semaphore::new(limits::ANSWERS_BYTES),
            decompressions: Semaphore::new(limits::DECOMPRESSIONS),
            compactions: Semaphore::new(1),
        }
    }

    /// The state. Should a connection ever have panicked with the lock in its hand, the others go on.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compacts what is due, one partition after the other, each outside the lock.
    pub async fn compact_due(&self) {
        let due = self.state().partitions_to_compact();
        for (name, index) in due {
            self.compact(&name, index, Log::due_compaction).await;
        }
    }

    /// Compacts a partition as far as it goes, to make room in it, unless that has been done.
    pub async fn compact_now(&self, name: &str, index: i32) {
        self.compact(name, index, Log::worthwhile_compaction).await;
    }

    async fn compact(
        &self,
        name: &str,
        index: i32,
        plan: impl FnOnce(&Log, &Compaction, Now) -> Option<Job>,
    ) {
        let Ok(_turn) = self.compactions.acquire().await else {
            return;
        };
        let now = self.clock.now();
        let planned = self.state().plan_compaction(name, index, now, plan);
        let Some((topic, job)) = planned else { return };
        match tokio::task::spawn_blocking(move || compaction::compact(&job)).await {
            Ok(compacted) => self
                .state()
                .install(name, topic, index, compacted, self.clock.now()),
            Err(error) => tracing::error!(%error, "compaction ended in a defect of this broker"),
        }
    }
}

/// Topics, groups and transactions.
#[derive(Debug)]
pub struct State {
    pub topics: Topics,
    pub groups: Groups,
    pub transactions: Transactions,
    /// What a partition may occupy.
    pub retention_bytes: u64,
}

impl State {
    pub fn new(retention_bytes: u64) -> State {
        State {
            topics: Topics::default(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            retention_bytes,
        }
    }

    /// Appends a batch, if its transaction covers the partition and there is room.
    pub fn append(
        &mut self,
        name: &str,
        index: i32,
        batch: Admitted,
        now: Now,
    ) -> Result<Appended, Refusal> {
        let header = batch.header;
        let (retention_bytes, transactions) = (self.retention_bytes, &mut self.transactions);
        let topic = self
            .topics
            .get_mut(name)
            .ok_or(ResponseError::UnknownTopicOrPartition)?;
        let retention = topic.config.retention(retention_bytes);
        let keeps_every_key = topic.config.keeps_every_key();
        let partition = usize::try_from(index)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index));
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        if header.is_transactional() {
            let producer = ProducerId {
                id: header.producer_id,
                epoch: header.producer_epoch,
            };
            transactions.check_partition(producer, name, index)?;
        }
        let full = partition.log.occupied() + batch.bytes.len() as u64 > retention_bytes;
        // A batch that is sent again is answered as before; it needs no room.
        if keeps_every_key && full && partition.log.is_next(&header)? {
            let message = format!(
                "compacted partition {name}-{index} is full: what it must keep fills its {retention_bytes} bytes"
            );
            return Err(Refusal::new(ResponseError::PolicyViolation, message));
        }
        let appended = partition.log.append(batch, now)?;
        partition.log.retain(&retention, now);
        partition.waiters.wake();
        Ok(appended)
    }

    /// Whether a batch of this size only fits into the partition after compaction.
    pub fn needs_compaction(&self, name: &str, index: i32, size: usize) -> bool {
        let keeps_every_key = self
            .topics
            .get(name)
            .is_some_and(|topic| topic.config.keeps_every_key());
        let full = |occupied: u64| occupied + size as u64 > self.retention_bytes;
        keeps_every_key
            && self
                .topics
                .partition(name, index)
                .is_ok_and(|partition| full(partition.log.occupied()))
    }

    /// Does what follows from the end of a transaction: markers in its partitions, and its offsets.
    pub fn carry_out(&mut self, ended: &Ended, now: Now) {
        for (name, index) in &ended.partitions {
            if let Ok(partition) = self.topics.partition_mut(name, *index) {
                if let Err(refusal) = partition.log.append_marker(ended.marker, now) {
                    tracing::error!(topic = name, partition = index, %refusal, "no marker could be written");
                }
                partition.waiters.wake();
            }
        }
        for id in &ended.groups {
            if let Some(group) = self.groups.get_mut(id) {
                group
                    .offsets
                    .end(ended.marker.producer_id, ended.marker.outcome);
            }
        }
    }

    /// Deletes a topic and what others hold about it.
    pub fn delete_topic(&mut self, name: &str) -> bool {
        self.transactions.forget_topic(name);
        self.groups.forget_topic(name);
        self.topics.delete(name).is_some()
    }

    /// Ends what has outlived its timeout: members, rebalances, transactions.
    pub fn expire(&mut self, now: Now) {
        for ended in self.transactions.expire(now) {
            self.carry_out(&ended, now);
        }
        self.groups.expire(now);
    }

    /// Removes records whose time is over, and forgets producers that are gone.
    pub fn sweep(&mut self, now: Now) {
        let retention_bytes = self.retention_bytes;
        for (_, topic) in self.topics.iter_mut() {
            let retention = topic.config.retention(retention_bytes);
            for partition in &mut topic.partitions {
                partition.log.retain(&retention, now);
                partition.log.expire_producers(now);
            }
        }
    }

    fn partitions_to_compact(&self) -> Vec<(String, i32)> {
        let compacted = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.config.is_compacted());
        let partitions = compacted.flat_map(|(name, topic)| {
            (0..)
                .zip(&topic.partitions)
                .map(|(index, _)| (name.clone(), index))
        });
        partitions.collect()
    }

    /// What there is to compact in a partition, and the id of its topic: by the time it is done, the name may
    /// be another's.
    fn plan_compaction(
        &self,
        name: &str,
        index: i32,
        now: Now,
        plan: impl FnOnce(&Log, &Compaction, Now) -> Option<Job>,
    ) -> Option<(Uuid, Job)> {
        let topic = self.topics.get(name)?;
        let settings = topic.config.compaction()?;
        let log = &self.topics.partition(name, index).ok()?.log;
        Some((topic.id, plan(log, &settings, now)?))
    }

    /// Puts a compacted partition in its place, if it is still that of the same topic.
    fn install(&mut self, name: &str, topic: Uuid, index: i32, compacted: Compacted, now: Now) {
        let is_same = self.topics.get(name).is_some_and(|now| now.id == topic);
        if let (true, Ok(partition)) = (is_same, self.topics.partition_mut(name, index)) {
            partition.log.install(compacted, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::testing::Draft;
    use crate::broker::topics::config::TopicConfig;

    fn create(state: &mut State, policy: &str) {
        let mut config = TopicConfig::default();
        config
            .set("cleanup.policy", Some(policy))
            .expect("a good policy");
        state.topics.create("t", 1, config);
    }

    fn write(state: &mut State, key: &str, value: &str) -> Result<Appended, Refusal> {
        let batch = Draft::keyed(&[(key, Some(value))]).admitted();
        state.append("t", 0, batch, Now::at(0))
    }

    fn log(state: &State) -> &Log {
        &state.topics.partition("t", 0).expect("it exists").log
    }

    #[test]
    fn compaction_of_a_deleted_topic_leaves_its_successor_alone() {
        let mut state = State::new(1 << 20);
        create(&mut state, "compact");
        for value in ["1", "2"] {
            write(&mut state, "a", value).expect("there is room");
        }
        let (id, job) = state
            .plan_compaction("t", 0, Now::at(0), Log::compaction)
            .expect("there is something");
        let compacted = compaction::compact(&job);
        state.delete_topic("t");
        create(&mut state, "compact");
        for key in ["b", "c"] {
            write(&mut state, key, "1").expect("there is room");
        }
        let bytes = log(&state).bytes();
        state.install("t", id, 0, compacted, Now::at(0));
        assert_eq!(log(&state).bytes(), bytes);
        assert_eq!(log(&state).end(), 2);
    }

    #[test]
    fn full_topic_refuses_only_if_it_may_not_delete() {
        let value = "v".repeat(1000);
        for (policy, is_refused) in [("compact,delete", false), ("compact", true)] {
            let mut state = State::new(64 * 1024);
            create(&mut state, policy);
            let outcome: Result<Vec<Appended>, Refusal> = (0..200)
                .map(|n| write(&mut state, &n.to_string(), &value))
                .collect();
            assert_eq!(outcome.is_err(), is_refused, "{policy}");
            assert_eq!(log(&state).start() == 0, is_refused, "{policy}");
            assert_eq!(state.needs_compaction("t", 0, 2000), is_refused, "{policy}");
        }
    }
}
