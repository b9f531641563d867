//! Compaction: of each key only the newest record stays, and offsets stay what they were.
//!
//! A pure function from a snapshot of batches to new ones, so that it runs outside the broker's lock; the
//! log takes the result if nothing else has changed what was snapshot. Only decided records are touched
//! (those below the last stable offset): aborted ones go, committed ones are compacted. The last batch of
//! the snapshot keeps at least one record, so that readers reach its end by fetching: the log's, or the last
//! stable offset of those that read only what is committed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::transactions::Aborted;
use super::{Log, Stored};
use crate::broker::batch::codec::Codec;
use crate::broker::batch::header::{HEADER_BYTES, Header, NO_TIMESTAMP};
use crate::broker::batch::records::{Record, Records};
use crate::broker::clock::Now;
use crate::broker::limits;

/// When to compact, and what to spare: the topic's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compaction {
    /// The share of the log that must be new (`min.cleanable.dirty.ratio`).
    pub dirty_ratio: f64,
    /// How much must be new: less isn't worth the work …
    pub dirty_bytes: u64,
    /// … unless it has waited this long.
    pub dirty_age: Duration,
    pub min_lag_ms: i64,
    pub max_lag_ms: i64,
    /// How long a tombstone is kept for slow readers (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

/// How far the log has been compacted.
#[derive(Debug, Default)]
pub struct Progress {
    /// Batches before this offset have been compacted.
    clean_end: i64,
    dirty_since: Option<Duration>,
    /// When the next tombstones may go, those of the last batch among them.
    next_horizon: Option<i64>,
    /// Counts installed results: one that was computed from an older state is not taken.
    round: u64,
}

impl Progress {
    pub fn appended(&mut self, now: Now) {
        self.dirty_since.get_or_insert(now.elapsed);
    }
}

/// What to compact: a snapshot that shares the batches' bytes with the log.
#[derive(Debug)]
pub struct Job {
    batches: Vec<Stored>,
    /// By producer id, in the order of their markers.
    aborted: HashMap<i64, Vec<Aborted>>,
    /// Batches from here on have not been compacted before.
    clean_end: i64,
    now_ms: i64,
    delete_retention_ms: i64,
    round: u64,
}

/// What stays of the snapshot.
#[derive(Debug)]
pub struct Compacted {
    batches: Vec<Stored>,
    /// The offset after the snapshot.
    end: i64,
    round: u64,
}

impl Job {
    /// The last offset, whose batch must not become empty.
    fn last(&self) -> Option<i64> {
        self.batches.last().map(|batch| batch.last)
    }

    /// The batches that have not been compacted before.
    fn dirty(&self) -> impl Iterator<Item = &Stored> {
        let clean = self
            .batches
            .partition_point(|batch| batch.base < self.clean_end);
        self.batches[clean..].iter()
    }

    /// Whether tombstones may go now. The last batch keeps its own whatever their age.
    fn has_due_tombstones(&self) -> bool {
        let last = self.last();
        let due = |batch: &Stored| {
            batch
                .delete_horizon
                .is_some_and(|horizon| self.now_ms >= horizon)
        };
        self.batches
            .iter()
            .any(|batch| Some(batch.last) != last && due(batch))
    }

    /// Whether compaction would find anything that the last one hasn't.
    fn is_worthwhile(&self) -> bool {
        self.dirty().next().is_some() || self.has_due_tombstones()
    }
}

impl Log {
    /// What there is to compact, if it is time to.
    pub fn due_compaction(&self, settings: &Compaction, now: Now) -> Option<Job> {
        let job = self.worthwhile_compaction(settings, now)?;
        let dirty: u64 = job.dirty().map(|batch| batch.bytes.len() as u64).sum();
        let total: u64 = job
            .batches
            .iter()
            .map(|batch| batch.bytes.len() as u64)
            .sum();
        let waited = self
            .cleaner
            .dirty_since
            .is_some_and(|since| now.has_reached(since + settings.dirty_age));
        let worth_it = dirty > 0
            && (dirty >= settings.dirty_bytes || waited)
            && dirty as f64 >= settings.dirty_ratio * total as f64;
        let lagging = job.dirty().next().is_some_and(|oldest| {
            now.unix_ms.saturating_sub(oldest.max_timestamp) > settings.max_lag_ms
        });
        (worth_it || lagging || job.has_due_tombstones()).then_some(job)
    }

    /// What there is to compact, unless it would come out as it is.
    pub fn worthwhile_compaction(&self, settings: &Compaction, now: Now) -> Option<Job> {
        // A first look that costs nothing: a snapshot of a full partition does.
        let decided = self.position(self.last_stable());
        let newest = decided.checked_sub(1).and_then(|n| self.batches.get(n));
        let is_dirty = newest.is_some_and(|newest| newest.base >= self.cleaner.clean_end);
        let horizon = self.cleaner.next_horizon;
        let is_due = horizon.is_some_and(|horizon| now.unix_ms >= horizon);
        if !is_dirty && !is_due {
            return None;
        }
        self.compaction(settings, now).filter(Job::is_worthwhile)
    }

    /// What can be compacted, whether or not it is worth it.
    pub fn compaction(&self, settings: &Compaction, now: Now) -> Option<Job> {
        let stable = self.last_stable();
        let too_new = |batch: &Stored| {
            settings.min_lag_ms > 0
                && batch.max_timestamp > now.unix_ms.saturating_sub(settings.min_lag_ms)
        };
        let decided = |batch: &&Stored| batch.last < stable && !too_new(batch);
        let batches: Vec<Stored> = self.batches.iter().take_while(decided).cloned().collect();
        (!batches.is_empty()).then(|| Job {
            batches,
            aborted: by_producer(self.transactions.aborted()),
            clean_end: self.cleaner.clean_end,
            now_ms: now.unix_ms,
            delete_retention_ms: settings.delete_retention_ms,
            round: self.cleaner.round,
        })
    }

    /// Puts the result in the place of what it was computed from. Whatever retention removed meanwhile
    /// stays removed.
    pub fn install(&mut self, compacted: Compacted, now: Now) {
        if compacted.round != self.cleaner.round {
            return;
        }
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.last < compacted.end)
        {
            self.batches.pop_front();
        }
        let start = self.start;
        for batch in compacted
            .batches
            .into_iter()
            .rev()
            .filter(|batch| batch.last >= start)
        {
            self.batches.push_front(batch);
        }
        self.bytes = self
            .batches
            .iter()
            .map(|batch| batch.bytes.len() as u64)
            .sum();
        let markers: HashSet<i64> = self.batches.iter().map(|batch| batch.base).collect();
        self.transactions
            .retain_aborted(|aborted| markers.contains(&aborted.marker));
        self.cleaner = Progress {
            clean_end: compacted.end,
            dirty_since: (compacted.end < self.end).then_some(now.elapsed),
            next_horizon: self
                .batches
                .iter()
                .filter_map(|batch| batch.delete_horizon)
                .min(),
            round: compacted.round + 1,
        };
    }
}

/// Compacts a snapshot.
pub fn compact(job: &Job) -> Compacted {
    let newest = newest_offsets(job);
    let mut kept = Vec::new();
    // Producers of which data is kept that the next marker ends.
    let mut in_transaction = HashSet::new();
    for batch in &job.batches {
        let Some(header) = Header::read(&batch.bytes) else {
            continue;
        };
        let is_last = Some(batch.last) == job.last();
        if header.is_control() {
            if in_transaction.remove(&header.producer_id) || is_last {
                kept.push(batch.clone());
            }
        } else if !is_aborted(&header, &job.aborted)
            && let Some(batch) = compact_batch(batch, &header, is_last, &newest, job)
        {
            if header.is_transactional() {
                in_transaction.insert(header.producer_id);
            }
            kept.push(batch);
        }
    }
    Compacted {
        batches: kept,
        end: job.batches.last().map_or(0, |batch| batch.last + 1),
        round: job.round,
    }
}

/// The offset of the newest record of each key, aborted records not counted.
fn newest_offsets(job: &Job) -> HashMap<Bytes, i64> {
    let mut newest = HashMap::new();
    for batch in &job.batches {
        let Some(header) = Header::read(&batch.bytes) else {
            continue;
        };
        if header.is_control() || is_aborted(&header, &job.aborted) {
            continue;
        }
        with_records(batch, &header, |record| {
            if let Some(key) = record.key {
                let offset = header.base_offset + i64::from(record.offset_delta);
                match newest.get_mut(key) {
                    Some(newest) => *newest = offset,
                    None => {
                        newest.insert(Bytes::copy_from_slice(key), offset);
                    }
                }
            }
        });
    }
    newest
}

/// What stays of a batch; `None` if nothing does.
fn compact_batch(
    batch: &Stored,
    header: &Header,
    is_last: bool,
    newest: &HashMap<Bytes, i64>,
    job: &Job,
) -> Option<Stored> {
    let drop_tombstones = !is_last
        && batch
            .delete_horizon
            .is_some_and(|horizon| job.now_ms >= horizon);
    let (mut records, mut count, mut tombstones) = (Vec::new(), 0, false);
    let mut max_timestamp = NO_TIMESTAMP;
    let readable = with_records(batch, header, |record| {
        let offset = header.base_offset + i64::from(record.offset_delta);
        let is_newest = record
            .key
            .is_some_and(|key| newest.get(key) == Some(&offset));
        let is_tombstone = record.value.is_none();
        if is_newest && !(is_tombstone && drop_tombstones) {
            records.extend_from_slice(record.bytes);
            count += 1;
            tombstones |= is_tombstone;
            let timestamp = header.base_timestamp.saturating_add(record.timestamp_delta);
            max_timestamp = max_timestamp.max(timestamp);
        }
    });
    let delete_horizon = tombstones.then(|| {
        let horizon = job.now_ms.saturating_add(job.delete_retention_ms);
        batch.delete_horizon.unwrap_or(horizon)
    });
    // A batch that can't be read (it was when it came) stays as it is, and is not looked at again for its
    // tombstones.
    let untouched = Stored {
        delete_horizon: None,
        ..batch.clone()
    };
    if !readable {
        return Some(untouched);
    }
    if count == header.record_count || (count == 0 && is_last) {
        return Some(Stored {
            delete_horizon,
            ..batch.clone()
        });
    }
    if count == 0 {
        return None;
    }
    let max_timestamp = if header.is_log_append_time() {
        header.max_timestamp
    } else {
        max_timestamp
    };
    let shrunk = Header {
        record_count: count,
        max_timestamp,
        ..*header
    };
    let codec = Codec::of(header.codec_id())?;
    let Ok(records) = codec.compress(&records) else {
        return Some(untouched);
    };
    let bytes = shrunk.seal(&records);
    Some(Stored {
        max_timestamp,
        bytes: bytes.into(),
        delete_horizon,
        ..*batch
    })
}

/// Calls `each` for every record of a batch; `false` if they can't be read.
fn with_records(batch: &Stored, header: &Header, mut each: impl FnMut(&Record<'_>)) -> bool {
    let Some(codec) = Codec::of(header.codec_id()) else {
        return false;
    };
    let Ok(records) = codec.expand(&batch.bytes[HEADER_BYTES..], limits::EXPANDED_BATCH_BYTES)
    else {
        return false;
    };
    for record in Records::new(&records, header.record_count) {
        match record {
            Ok(record) => each(&record),
            Err(_) => return false,
        }
    }
    true
}

fn by_producer(all: &[Aborted]) -> HashMap<i64, Vec<Aborted>> {
    let mut by_producer: HashMap<i64, Vec<Aborted>> = HashMap::new();
    for aborted in all {
        by_producer
            .entry(aborted.producer_id)
            .or_default()
            .push(*aborted);
    }
    by_producer
}

fn is_aborted(header: &Header, aborted: &HashMap<i64, Vec<Aborted>>) -> bool {
    let Some(aborted) = aborted.get(&header.producer_id) else {
        return false;
    };
    // A producer's transactions follow each other: the first that ends behind the batch is the only one.
    let offset = header.base_offset;
    let next = aborted.partition_point(|aborted| aborted.marker < offset);
    header.is_transactional()
        && aborted
            .get(next)
            .is_some_and(|aborted| aborted.first <= offset)
}

#[cfg(test)]
#[path = "compaction_tests.rs"]
mod tests;
