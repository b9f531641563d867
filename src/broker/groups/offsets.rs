//! The committed offsets of a group, and those that wait for their transaction.
//!
//! Pending offsets become visible when their transaction commits, in the order of the commits, and vanish
//! when it is aborted.

use std::collections::{BTreeMap, HashMap};

use crate::broker::batch::control::Outcome;

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

type Positions = BTreeMap<(String, i32), Committed>;

/// What a group has committed, by topic and partition.
#[derive(Debug, Default)]
pub struct Offsets {
    committed: Positions,
    /// By producer id.
    pending: HashMap<i64, Positions>,
}

impl Offsets {
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    pub fn commit(&mut self, topic: &str, partition: i32, position: Committed) {
        self.committed
            .insert((topic.to_owned(), partition), position);
    }

    /// Keeps a position until the transaction of `producer_id` ends.
    pub fn commit_pending(
        &mut self,
        producer_id: i64,
        topic: &str,
        partition: i32,
        position: Committed,
    ) {
        let pending = self.pending.entry(producer_id).or_default();
        pending.insert((topic.to_owned(), partition), position);
    }

    /// Decides what a producer has pending.
    pub fn end(&mut self, producer_id: i64, outcome: Outcome) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if outcome == Outcome::Commit {
            self.committed.extend(pending);
        }
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.committed.get(&(topic.to_owned(), partition))
    }

    /// Whether a transaction has yet to decide this position.
    pub fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        let key = (topic.to_owned(), partition);
        self.pending
            .values()
            .any(|pending| pending.contains_key(&key))
    }

    /// Topics and partitions that have a position.
    pub fn partitions(&self) -> impl Iterator<Item = &(String, i32)> {
        self.committed.keys()
    }

    pub fn delete(&mut self, topic: &str, partition: i32) {
        self.committed.remove(&(topic.to_owned(), partition));
    }

    pub fn forget_topic(&mut self, name: &str) {
        let other = |positions: &mut Positions| positions.retain(|(topic, _), _| topic != name);
        other(&mut self.committed);
        self.pending.values_mut().for_each(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: i64) -> Committed {
        Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }
    }

    #[test]
    fn pending_offset_is_unstable_and_unseen_until_its_commit() {
        let mut offsets = Offsets::default();
        offsets.commit("t", 0, position(1));
        offsets.commit_pending(7, "t", 0, position(2));
        assert!(offsets.is_unstable("t", 0) && !offsets.is_unstable("t", 1));
        assert_eq!(offsets.get("t", 0), Some(&position(1)));
        offsets.end(7, Outcome::Commit);
        assert!(!offsets.is_unstable("t", 0));
        assert_eq!(offsets.get("t", 0), Some(&position(2)));
    }

    #[test]
    fn aborted_offset_leaves_no_trace() {
        let mut offsets = Offsets::default();
        offsets.commit_pending(7, "t", 0, position(2));
        offsets.end(8, Outcome::Commit);
        offsets.end(7, Outcome::Abort);
        assert!(offsets.is_empty());
    }
}
