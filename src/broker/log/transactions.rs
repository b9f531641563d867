//! What a partition knows of transactions: which are open, and which ranges were aborted.
//!
//! Whether a producer may write at all is not known here; the coordinator decides that.

use std::collections::HashMap;

use crate::broker::batch::control::Outcome;

/// A transaction that was aborted here: its data lies between `first` and its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first: i64,
    pub marker: i64,
}

/// Open and aborted transactions of a partition.
#[derive(Debug, Default)]
pub struct Transactions {
    /// Producer id to the offset of its first batch.
    open: HashMap<i64, i64>,
    /// In the order of their markers.
    aborted: Vec<Aborted>,
}

impl Transactions {
    /// Notes that a producer has written at `offset`; only its first batch counts.
    pub fn open(&mut self, producer_id: i64, offset: i64) {
        self.open.entry(producer_id).or_insert(offset);
    }

    /// Notes the marker of a producer at `offset`.
    pub fn end(&mut self, producer_id: i64, outcome: Outcome, offset: i64) {
        let first = self.open.remove(&producer_id);
        if let (Some(first), Outcome::Abort) = (first, outcome) {
            self.aborted.push(Aborted {
                producer_id,
                first,
                marker: offset,
            });
        }
    }

    /// The offset from which on fates are undecided.
    pub fn first_open(&self) -> Option<i64> {
        self.open.values().copied().min()
    }

    /// Where the open transaction of a producer began.
    pub fn opened_at(&self, producer_id: i64) -> Option<i64> {
        self.open.get(&producer_id).copied()
    }

    /// The aborted transactions with data in `from..to`.
    pub fn aborted_within(&self, from: i64, to: i64) -> impl Iterator<Item = Aborted> + '_ {
        let begin = self
            .aborted
            .partition_point(|aborted| aborted.marker < from);
        self.aborted[begin..]
            .iter()
            .copied()
            .filter(move |aborted| aborted.first < to)
    }

    /// All aborted transactions that are remembered.
    pub fn aborted(&self) -> &[Aborted] {
        &self.aborted
    }

    /// Forgets aborted transactions that `keep` doesn't want.
    pub fn retain_aborted(&mut self, keep: impl Fn(&Aborted) -> bool) {
        self.aborted.retain(keep);
    }
}
