//! The committed offsets of a group, and those that wait for their transaction.
//!
//! Pending offsets become visible when their transaction commits, unless a later commit is there already, and
//! vanish when it is aborted.

use std::collections::{BTreeMap, HashMap};

use crate::broker::batch::control::Outcome;

/// What a position costs beside its names.
const POSITION_OVERHEAD: usize = 128;

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// A position, and which of the group's commits it is.
#[derive(Debug)]
struct Written {
    position: Committed,
    number: u64,
}

type Positions = BTreeMap<(String, i32), Written>;

/// What a group has committed, by topic and partition.
#[derive(Debug, Default)]
pub struct Offsets {
    committed: Positions,
    /// By producer id.
    pending: HashMap<i64, Positions>,
    commits: u64,
    /// What all of it occupies.
    bytes: usize,
}

fn cost(topic: &str, position: &Committed) -> usize {
    POSITION_OVERHEAD + topic.len() + position.metadata.len()
}

impl Offsets {
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// Whether no transaction has yet to decide anything.
    pub fn is_decided(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much more the offsets would occupy with this position, which is pending where a producer is named.
    pub fn growth(
        &self,
        producer_id: Option<i64>,
        topic: &str,
        partition: i32,
        position: &Committed,
    ) -> usize {
        let positions = match producer_id {
            None => Some(&self.committed),
            Some(id) => self.pending.get(&id),
        };
        let key = (topic.to_owned(), partition);
        let present = positions.and_then(|positions| positions.get(&key));
        let present = present.map_or(0, |written| cost(topic, &written.position));
        cost(topic, position).saturating_sub(present)
    }

    /// Keeps a position: at once, or when the transaction of the producer commits.
    pub fn commit(
        &mut self,
        producer_id: Option<i64>,
        topic: &str,
        partition: i32,
        position: Committed,
    ) {
        self.commits += 1;
        self.bytes += cost(topic, &position);
        let positions = match producer_id {
            None => &mut self.committed,
            Some(id) => self.pending.entry(id).or_default(),
        };
        let written = Written {
            position,
            number: self.commits,
        };
        if let Some(old) = positions.insert((topic.to_owned(), partition), written) {
            self.bytes -= cost(topic, &old.position);
        }
    }

    /// Decides what a producer has pending. What was committed after it stays: the transaction's end is no
    /// newer opinion, as in Kafka's `completePendingTxnOffsetCommit`.
    pub fn end(&mut self, producer_id: i64, outcome: Outcome) {
        for (key, written) in self.pending.remove(&producer_id).unwrap_or_default() {
            let present = self.committed.get(&key);
            let is_newer = present.is_none_or(|present| present.number < written.number);
            let gone = if outcome == Outcome::Commit && is_newer {
                self.committed.insert(key.clone(), written)
            } else {
                Some(written)
            };
            if let Some(gone) = gone {
                self.bytes -= cost(&key.0, &gone.position);
            }
        }
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        let written = self.committed.get(&(topic.to_owned(), partition))?;
        Some(&written.position)
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
        if let Some(gone) = self.committed.remove(&(topic.to_owned(), partition)) {
            self.bytes -= cost(topic, &gone.position);
        }
    }

    pub fn forget_topic(&mut self, name: &str) {
        let bytes = &mut self.bytes;
        let mut forget = |positions: &mut Positions| {
            positions.retain(|(topic, _), written| {
                if topic == name {
                    *bytes -= cost(topic, &written.position);
                }
                topic != name
            });
        };
        forget(&mut self.committed);
        self.pending.values_mut().for_each(forget);
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
        offsets.commit(None, "t", 0, position(1));
        offsets.commit(Some(7), "t", 0, position(2));
        assert!(offsets.is_unstable("t", 0) && !offsets.is_unstable("t", 1));
        assert_eq!(offsets.get("t", 0), Some(&position(1)));
        offsets.end(7, Outcome::Commit);
        assert!(!offsets.is_unstable("t", 0));
        assert_eq!(offsets.get("t", 0), Some(&position(2)));
    }

    #[test]
    fn aborted_offset_leaves_no_trace() {
        let mut offsets = Offsets::default();
        offsets.commit(Some(7), "t", 0, position(2));
        offsets.end(8, Outcome::Commit);
        offsets.end(7, Outcome::Abort);
        assert!(offsets.is_empty());
    }

    #[test]
    fn later_commit_outlives_the_end_of_an_earlier_transaction() {
        let mut offsets = Offsets::default();
        offsets.commit(Some(7), "t", 0, position(2));
        offsets.commit(Some(8), "t", 0, position(3));
        offsets.commit(None, "t", 0, position(4));
        offsets.commit(Some(9), "t", 0, position(5));
        for (producer, expected) in [(7, 4), (9, 5), (8, 5)] {
            offsets.end(producer, Outcome::Commit);
            assert_eq!(offsets.get("t", 0), Some(&position(expected)));
        }
    }

    #[test]
    fn bytes_are_those_of_what_is_kept() {
        let mut offsets = Offsets::default();
        let long = Committed {
            metadata: "m".repeat(100),
            ..position(1)
        };
        assert_eq!(offsets.growth(None, "t", 0, &long), POSITION_OVERHEAD + 101);
        offsets.commit(None, "t", 0, long.clone());
        assert_eq!(offsets.growth(None, "t", 0, &long), 0);
        offsets.commit(Some(7), "t", 0, long.clone());
        offsets.commit(Some(8), "u", 0, long);
        assert_eq!(offsets.bytes(), 3 * (POSITION_OVERHEAD + 101));
        offsets.commit(None, "t", 0, position(2));
        offsets.end(7, Outcome::Commit);
        assert_eq!(offsets.bytes(), 2 * (POSITION_OVERHEAD + 1) + 100);
        offsets.forget_topic("u");
        offsets.end(8, Outcome::Commit);
        offsets.delete("t", 0);
        assert_eq!(offsets.bytes(), 0);
        assert!(offsets.is_empty());
    }
}
