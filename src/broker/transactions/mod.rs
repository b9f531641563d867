//! The transaction coordinator: which transactional id has which producer, and what its transaction covers.
//!
//! A plain state machine. Ending a transaction yields an [`Ended`] that the broker's state carries out under
//! the same lock, so there is no state between "being committed" and "committed", and CONCURRENT_TRANSACTIONS
//! is never answered. The rules are those of Kafka's `TransactionCoordinator` before transaction.version 2.

mod transaction;

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::error::ResponseError;

use super::batch::control::Outcome;
use super::clock::Now;
use super::limits;
pub use transaction::{Ended, Phase, Transaction};

/// The last epoch of a producer id: the next incarnation gets a new id.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// A producer as it identifies itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

/// All transactional ids.
#[derive(Debug, Default)]
pub struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    /// Producer id to transactional id.
    owners: HashMap<i64, String>,
    next_producer_id: i64,
}

impl Transactions {
    /// A producer id that nobody has.
    pub fn new_producer(&mut self) -> ProducerId {
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        ProducerId { id, epoch: 0 }
    }

    /// Gives the transactional id to a new incarnation: older ones are fenced, and what they left open is
    /// aborted. `known` is who the caller was until now, if it is recovering from an error.
    pub fn init(
        &mut self,
        id: &str,
        timeout_ms: i32,
        known: Option<ProducerId>,
        now: Now,
    ) -> Result<(ProducerId, Option<Ended>), ResponseError> {
        if id.is_empty() || id.len() > limits::ID_BYTES {
            return Err(ResponseError::InvalidRequest);
        }
        if timeout_ms <= 0 || timeout_ms > limits::TRANSACTION_TIMEOUT_MS {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        if !self.by_id.contains_key(id) {
            self.make_room()?;
            let producer = self.new_producer();
            self.owners.insert(producer.id, id.to_owned());
            self.by_id
                .insert(id.to_owned(), Transaction::new(producer, timeout_ms, now));
            return Ok((producer, None));
        }
        let fresh = self.new_producer();
        let transaction = self.by_id.get_mut(id).expect("it was just seen");
        if let Some(known) = known {
            if known.id != transaction.producer.id {
                return Err(ResponseError::ProducerFenced);
            }
            if Some(known.epoch) == transaction.previous_epoch
                && transaction.phase != Phase::Ongoing
            {
                // The answer to the same question was lost.
                return Ok((transaction.producer, None));
            }
            if known.epoch != transaction.producer.epoch {
                return Err(ResponseError::ProducerFenced);
            }
        }
        transaction.previous_epoch = known.map(|known| known.epoch);
        transaction.timeout_ms = timeout_ms;
        transaction.last_used = now.elapsed;
        if transaction.producer.epoch >= LAST_EPOCH {
            let ended = transaction.abort_as_new_epoch();
            transaction.producer = fresh;
            transaction.previous_epoch = None;
            transaction.phase = Phase::Empty;
            self.owners.insert(fresh.id, id.to_owned());
            return Ok((fresh, ended));
        }
        let ended = transaction.abort_as_new_epoch();
        if ended.is_none() {
            transaction.producer.epoch += 1;
        }
        transaction.phase = Phase::Empty;
        Ok((transaction.producer, ended))
    }

    /// Makes room for one more transactional id, at the cost of the idle one that was used longest ago.
    fn make_room(&mut self) -> Result<(), ResponseError> {
        if self.by_id.len() < limits::TRANSACTIONAL_IDS {
            return Ok(());
        }
        let idle = self
            .by_id
            .iter()
            .filter(|(_, transaction)| transaction.phase != Phase::Ongoing);
        let oldest = idle
            .min_by_key(|(_, transaction)| transaction.last_used)
            .map(|(id, _)| id.clone());
        self.forget(&oldest.ok_or(ResponseError::CoordinatorNotAvailable)?);
        Ok(())
    }

    fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
        self.owners.retain(|_, owner| owner != id);
    }

    /// The transaction of a producer that is who it says it is.
    fn owned(&mut self, id: &str, producer: ProducerId) -> Result<&mut Transaction, ResponseError> {
        let transaction = self
            .by_id
            .get_mut(id)
            .ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.producer.id != producer.id {
            Err(ResponseError::InvalidProducerIdMapping)
        } else if transaction.producer.epoch != producer.epoch {
            Err(ResponseError::ProducerFenced)
        } else {
            Ok(transaction)
        }
    }

    /// Whether AddPartitionsToTxn and AddOffsetsToTxn would be accepted.
    pub fn check(&mut self, id: &str, producer: ProducerId) -> Result<(), ResponseError> {
        self.owned(id, producer).map(|_| ())
    }

    /// Adds partitions to the transaction, beginning one if need be.
    pub fn add_partitions(
        &mut self,
        id: &str,
        producer: ProducerId,
        partitions: impl IntoIterator<Item = (String, i32)>,
        now: Now,
    ) -> Result<(), ResponseError> {
        let transaction = self.owned(id, producer)?;
        transaction.begin(now);
        transaction.partitions.extend(partitions);
        Ok(())
    }

    /// Adds the offsets of a group to the transaction, beginning one if need be.
    pub fn add_group(
        &mut self,
        id: &str,
        producer: ProducerId,
        group: &str,
        now: Now,
    ) -> Result<(), ResponseError> {
        let transaction = self.owned(id, producer)?;
        let groups = &transaction.groups;
        if groups.len() >= limits::GROUPS_PER_TRANSACTION && !groups.contains(group) {
            return Err(ResponseError::PolicyViolation);
        }
        transaction.begin(now);
        transaction.groups.insert(group.to_owned());
        Ok(())
    }

    /// Whether the producer may write to the partition in its transaction, with the errors of Produce.
    pub fn check_partition(
        &mut self,
        producer: ProducerId,
        name: &str,
        index: i32,
    ) -> Result<(), ResponseError> {
        let partition = (name.to_owned(), index);
        let covers = |transaction: &Transaction| transaction.partitions.contains(&partition);
        self.check_covered(producer, covers)
    }

    /// Whether the producer may commit offsets of the group in its transaction.
    pub fn check_group(
        &mut self,
        id: &str,
        producer: ProducerId,
        group: &str,
    ) -> Result<(), ResponseError> {
        if self
            .owners
            .get(&producer.id)
            .is_none_or(|owner| owner != id)
        {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        self.check_covered(producer, |transaction| transaction.groups.contains(group))
    }

    fn check_covered(
        &mut self,
        producer: ProducerId,
        covers: impl Fn(&Transaction) -> bool,
    ) -> Result<(), ResponseError> {
        let id = self
            .owners
            .get(&producer.id)
            .cloned()
            .ok_or(ResponseError::InvalidProducerIdMapping)?;
        // Requests that write speak of an invalid epoch where those to the coordinator say fenced.
        let transaction = self.owned(&id, producer).map_err(|error| match error {
            ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            other => other,
        })?;
        if transaction.phase == Phase::Ongoing && covers(transaction) {
            Ok(())
        } else {
            Err(ResponseError::InvalidTxnState)
        }
    }

    /// Ends the transaction as its producer asks. `None` where that has happened already.
    pub fn end(
        &mut self,
        id: &str,
        producer: ProducerId,
        outcome: Outcome,
        now: Now,
    ) -> Result<Option<Ended>, ResponseError> {
        let transaction = self.owned(id, producer)?;
        transaction.last_used = now.elapsed;
        match (transaction.phase, outcome) {
            (Phase::Ongoing, outcome) => Ok(Some(transaction.end(outcome))),
            (Phase::CompleteCommit, Outcome::Commit) | (Phase::CompleteAbort, Outcome::Abort) => {
                Ok(None)
            }
            _ => Err(ResponseError::InvalidTxnState),
        }
    }

    /// Aborts transactions that have outlived their timeout, and fences their producers.
    pub fn expire(&mut self, now: Now) -> Vec<Ended> {
        let mut ended = Vec::new();
        for transaction in self.by_id.values_mut() {
            if transaction.phase == Phase::Ongoing && now.has_reached(transaction.deadline) {
                transaction.last_used = now.elapsed;
                ended.extend(transaction.abort_as_new_epoch());
            }
        }
        let idle = |transaction: &Transaction| {
            transaction.phase != Phase::Ongoing
                && now.has_reached(transaction.last_used + limits::TRANSACTIONAL_ID_EXPIRY)
        };
        let expired: Vec<String> = self
            .by_id
            .iter()
            .filter(|(_, transaction)| idle(transaction))
            .map(|(id, _)| id.clone())
            .collect();
        for id in expired {
            self.forget(&id);
        }
        ended
    }

    /// Forgets a topic that was deleted: it needs no markers.
    pub fn forget_topic(&mut self, name: &str) {
        for transaction in self.by_id.values_mut() {
            transaction.partitions.retain(|(topic, _)| topic != name);
        }
    }

    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.by_id.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Transaction)> {
        self.by_id.iter()
    }
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod tests;
