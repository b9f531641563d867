//! What a worker does with each record: the partitions that are running, and the transaction their steps go into.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::output::Output;
use super::processor::{Outcome, Processor};
use super::until_end::UntilEnd;
use crate::kafka::group::Received;
use crate::kafka::producer::Failure;
use crate::model::step::Step;

/// A partition that is being processed.
pub(super) struct Running {
    pub(super) processor: Processor,
    pub(super) has_owner: bool,
    /// The offset that comes next.
    pub(super) next: i64,
    /// Where its end was when there was nothing more to read, which may be behind `next`: the last offsets
    /// may be control records.
    pub(super) read_to_end_at: Option<i64>,
}

/// What a record needs beside the consumer that lends it.
pub(super) struct Work {
    pub(super) output: Output,
    pub(super) partitions: BTreeMap<i32, Running>,
    until_end: Option<Arc<UntilEnd>>,
    /// When the open transaction began.
    pub(super) begun: Option<Instant>,
    steps: Vec<Step>,
}

impl Work {
    pub(super) fn new(output: Output, until_end: Option<Arc<UntilEnd>>) -> Work {
        Work {
            output,
            partitions: BTreeMap::new(),
            until_end,
            begun: None,
            steps: Vec::new(),
        }
    }

    pub(super) fn process(&mut self, record: &Received<'_>) -> Result<(), Failure> {
        let (partition, offset) = (record.partition(), record.offset());
        let Some(running) = self.partitions.get_mut(&partition) else {
            return Ok(());
        };
        // A rebalance that comes while the client hands out records makes it fetch them again.
        if offset < running.next {
            return Ok(());
        }
        if self
            .until_end
            .as_ref()
            .is_some_and(|until_end| offset >= until_end.end(partition))
        {
            return self.end(partition, None);
        }
        self.steps.clear();
        let outcome = running
            .processor
            .process(record.key(), record.value(), &mut self.steps);
        self.begun.get_or_insert_with(Instant::now);
        running.next = offset + 1;
        self.output.consumed(partition, offset + 1)?;
        match outcome {
            Outcome::Steps { device_id } => self.output.steps(partition, &device_id, &self.steps),
            Outcome::Duplicate => {
                self.output.duplicate();
                Ok(())
            }
            Outcome::DeadLetter { reason, error } => {
                self.output.dead_letter(record, reason, &error)
            }
        }
    }

    /// A partition has been read to its end, which is there. With `--until-end` its group is to stand there,
    /// behind the last control record, so that whoever asks for the lag is told 0.
    pub(super) fn end(&mut self, partition: i32, at: Option<i64>) -> Result<(), Failure> {
        let Some(running) = self.partitions.get_mut(&partition) else {
            return Ok(());
        };
        running.read_to_end_at = at;
        let Some(until_end) = &self.until_end else {
            return Ok(());
        };
        // Another instance of the group may have gone on, behind that end.
        let end = until_end.end(partition).max(running.next);
        if end > 0 {
            self.begun.get_or_insert_with(Instant::now);
            self.output.consumed(partition, end)?;
        }
        Ok(())
    }
}
