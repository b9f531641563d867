//! One transactional id: who has it now, and its transaction, if one is open.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ProducerId;
use crate::broker::batch::control::{Marker, Outcome};
use crate::broker::clock::Now;

/// What has become of the last transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Empty,
    Ongoing,
    CompleteCommit,
    CompleteAbort,
}

impl Phase {
    /// The name that ListTransactions has for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Ongoing => "Ongoing",
            Phase::CompleteCommit => "CompleteCommit",
            Phase::CompleteAbort => "CompleteAbort",
        }
    }
}

/// One transactional id.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub producer: ProducerId,
    /// The epoch before the last bump that the producer itself asked for: it may ask again.
    pub(super) previous_epoch: Option<i16>,
    pub timeout_ms: i32,
    pub phase: Phase,
    /// When the ongoing transaction began, on the wall clock.
    pub started_ms: i64,
    pub(super) deadline: Duration,
    pub(super) last_used: Duration,
    pub partitions: BTreeSet<(String, i32)>,
    pub(super) groups: BTreeSet<String>,
}

/// A transaction that has ended: where the markers go, and whose pending offsets are decided.
#[derive(Clone, Debug)]
pub struct Ended {
    pub marker: Marker,
    pub partitions: BTreeSet<(String, i32)>,
    pub groups: BTreeSet<String>,
}

impl Transaction {
    pub(super) fn new(producer: ProducerId, timeout_ms: i32, now: Now) -> Transaction {
        Transaction {
            producer,
            previous_epoch: None,
            timeout_ms,
            phase: Phase::Empty,
            started_ms: -1,
            deadline: Duration::ZERO,
            last_used: now.elapsed,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    pub(super) fn begin(&mut self, now: Now) {
        self.last_used = now.elapsed;
        if self.phase != Phase::Ongoing {
            self.phase = Phase::Ongoing;
            self.previous_epoch = None;
            self.started_ms = now.unix_ms;
            self.deadline =
                now.elapsed + Duration::from_millis(u64::from(self.timeout_ms.unsigned_abs()));
        }
    }

    pub(super) fn end(&mut self, outcome: Outcome) -> Ended {
        self.phase = match outcome {
            Outcome::Commit => Phase::CompleteCommit,
            Outcome::Abort => Phase::CompleteAbort,
        };
        self.started_ms = -1;
        Ended {
            marker: Marker {
                producer_id: self.producer.id,
                producer_epoch: self.producer.epoch,
                outcome,
            },
            partitions: std::mem::take(&mut self.partitions),
            groups: std::mem::take(&mut self.groups),
        }
    }

    /// Aborts an ongoing transaction against its producer's will: the markers carry the next epoch, which
    /// fences the producer in every partition as well.
    pub(super) fn abort_as_new_epoch(&mut self) -> Option<Ended> {
        (self.phase == Phase::Ongoing).then(|| {
            self.producer.epoch = self.producer.epoch.saturating_add(1);
            self.end(Outcome::Abort)
        })
    }
}
