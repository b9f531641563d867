//! The dead letters of a topic, read one by one, and how far each reason has been put back.
//!
//! It looks at what is there when it is opened and no further: what is put back may come again.

use std::ops::ControlFlow;

use anyhow::bail;

use super::Settings;
use crate::kafka::group::Progress;
use crate::kafka::reader::{Extent, Reader, Stored};
use crate::model::dead_letter::{Header, Origin, Reason};
use crate::shutdown::Shutdown;

/// A reader of a topic of dead letters.
pub(super) struct Letters {
    topic: String,
    extents: Vec<Extent>,
    queues: Vec<Queue>,
}

/// How far the records with a reason have been put back: a consumer group's offsets.
struct Queue {
    reason: Reason,
    reader: Reader,
    /// By place in the extents.
    next: Vec<i64>,
}

/// A record of a topic of dead letters.
pub(super) struct Letter<'a> {
    pub(super) record: Stored<'a>,
    /// Where it comes from; `None` where `brownian` has not written it.
    pub(super) origin: Option<Origin<'a>>,
    /// The headers that it had before.
    pub(super) headers: Vec<Header<'a>>,
    /// Whether it has not been put back yet.
    pub(super) is_waiting: bool,
}

impl Letters {
    /// Finds out what is there, once no transaction is open in it.
    pub(super) fn open(settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<Letters> {
        let partitions: Vec<_> = (0..settings.partitions).collect();
        let readers = Reason::ALL
            .map(|reason| {
                let group = format!("fireworks-dlq-{}", reason.name());
                Ok((reason, Reader::new(&settings.kafka, &group)?))
            })
            .into_iter()
            .collect::<anyhow::Result<Vec<_>>>()?;
        let extents = readers[0]
            .1
            .settled(&settings.topic, &partitions, shutdown)?;
        let mut queues = Vec::new();
        for (reason, reader) in readers {
            let committed = reader.committed(&settings.topic, &partitions, shutdown)?;
            // An offset that lies elsewhere is that of a topic that was deleted since.
            let next = |(extent, committed): (&Extent, Option<i64>)| {
                committed
                    .filter(|offset| (extent.start..=extent.end).contains(offset))
                    .unwrap_or(extent.start)
            };
            let next = extents.iter().zip(committed).map(next).collect();
            queues.push(Queue {
                reason,
                reader,
                next,
            });
        }
        Ok(Letters {
            topic: settings.topic.clone(),
            extents,
            queues,
        })
    }

    fn queue(&self, reason: Reason) -> &Queue {
        self.queues
            .iter()
            .find(|queue| queue.reason == reason)
            .expect("there is one for every reason")
    }

    /// The oldest record of a partition that may be waiting for one of these reasons.
    pub(super) fn next(&self, extent: &Extent, reasons: &[Reason]) -> i64 {
        reasons
            .iter()
            .map(|reason| self.queue(*reason).next[extent.partition as usize])
            .min()
            .unwrap_or(extent.end)
    }

    /// How many offsets there are from there on.
    pub(super) fn offsets(&self, from: impl Fn(&Extent) -> i64) -> u64 {
        let left = |extent: &Extent| (extent.end - from(extent)).unsigned_abs();
        self.extents.iter().map(left).sum()
    }

    /// Reads each partition from there on, and stops at the ends that were there when this was opened.
    pub(super) fn read(
        &self,
        from: impl Fn(&Extent) -> i64,
        shutdown: &Shutdown,
        mut each: impl FnMut(Letter<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let rest = |extent: &Extent| Extent {
            start: from(extent),
            ..*extent
        };
        let rest: Vec<_> = self.extents.iter().map(rest).collect();
        let reader = &self.queues[0].reader;
        let is_whole = reader.read(&self.topic, &rest, shutdown, |record| {
            each(self.letter(record)).map(ControlFlow::Continue)
        })?;
        if !is_whole {
            bail!("interrupted while reading topic `{}`", self.topic);
        }
        Ok(())
    }

    fn letter<'a>(&self, record: Stored<'a>) -> Letter<'a> {
        let all = record.headers();
        let (origin, headers) = match Origin::of(&all) {
            Some((origin, own)) => (Some(origin), own.to_vec()),
            None => (None, all),
        };
        let is_waiting = origin.is_some_and(|origin| {
            self.queue(origin.reason).next[record.partition as usize] <= record.offset
        });
        Letter {
            record,
            origin,
            headers,
            is_waiting,
        }
    }

    /// What has to be committed when everything with this reason has been put back.
    pub(super) fn progress(&self, reason: Reason) -> anyhow::Result<Progress> {
        let ends = self
            .extents
            .iter()
            .map(|extent| (extent.partition, extent.end));
        self.queue(reason).reader.progress(&self.topic, ends)
    }
}
