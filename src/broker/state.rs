//! All that the broker knows, under one lock, and what concerns more than one part of it.
//!
//! One lock is what makes a commit atomic: markers, offsets and the transaction itself change together, and
//! no request sees them half-way. It is held for as long as a look or an append takes, never while waiting,
//! decompressing or compacting.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_protocol::error::ResponseError;
use tokio::sync::Semaphore;

use super::batch::validate::Admitted;
use super::clock::{Clock, Now};
use super::groups::Groups;
use super::limits;
use super::log::Appended;
use super::log::compaction::{self, Job};
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
    /// Batches are decompressed by so many at a time.
    pub decompressions: Semaphore,
}

impl Core {
    pub fn new(settings: &Settings, node: Node) -> Core {
        Core {
            state: Mutex::new(State::new(settings.retention_bytes)),
            clock: Clock::start(),
            node,
            frames: Budget::default(),
            decompressions: Semaphore::new(limits::DECOMPRESSIONS),
        }
    }

    /// The state. Should a connection ever have panicked with the lock in its hand, the others go on.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compacts what is due, one partition after the other, each outside the lock.
    pub fn compact_due(&self, now: Now) {
        let due = self.state().partitions_to_compact();
        for (name, index) in due {
            let job = self.state().due_compaction(&name, index, now);
            if let Some(job) = job {
                self.compact(&name, index, &job, now);
            }
        }
    }

    /// Compacts a partition as far as it goes, to make room in it.
    pub fn compact_now(&self, name: &str, index: i32, now: Now) {
        let job = self.state().compaction(name, index, now);
        if let Some(job) = job {
            self.compact(name, index, &job, now);
        }
    }

    fn compact(&self, name: &str, index: i32, job: &Job, now: Now) {
        let compacted = compaction::compact(job);
        if let Ok(partition) = self.state().topics.partition_mut(name, index) {
            partition.log.install(compacted, now);
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
        let is_compacted = topic.config.is_compacted();
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
        if is_compacted && full && partition.log.is_next(&header)? {
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
        let compacted = self
            .topics
            .get(name)
            .is_some_and(|topic| topic.config.is_compacted());
        let full = |occupied: u64| occupied + size as u64 > self.retention_bytes;
        compacted
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

    fn due_compaction(&self, name: &str, index: i32, now: Now) -> Option<Job> {
        let settings = self.topics.get(name)?.config.compaction()?;
        self.topics
            .partition(name, index)
            .ok()?
            .log
            .due_compaction(&settings, now)
    }

    fn compaction(&self, name: &str, index: i32, now: Now) -> Option<Job> {
        let settings = self.topics.get(name)?.config.compaction()?;
        self.topics
            .partition(name, index)
            .ok()?
            .log
            .compaction(&settings, now)
    }
}
