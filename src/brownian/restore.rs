//! Restoring: a partition's state from `markov.state`, and where its input goes on.
//!
//! It reads the state of the partitions assigned and nothing else, on a thread of its own with a client of
//! its own, so that the worker keeps polling and keeps processing what it has.
//!
//! The order of its questions is what makes it exact. The group's offsets are asked for first, and only
//! once no transaction is about to move them: whatever they cover has been written by then. The end of the
//! state is asked for second, as the high watermark: the marker of a transaction can reach the state's
//! partition after it has reached the group's. And since a transaction of an earlier owner can move the
//! offsets no more, the state up to there is neither behind them nor ahead.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use compact_str::CompactString;
use indexmap::IndexMap;
use rustc_hash::FxBuildHasher;

use super::Settings;
use super::processor::Processor;
use crate::crash;
use crate::error::Help;
use crate::kafka::reader::{Extent, Reader};
use crate::model::slots::Slots;
use crate::model::state::{self, Owner, Record, StateError};
use crate::model::window::Held;
use crate::shutdown::{Shutdown, Trigger};

/// How often it is told how far a restore has come.
const LOG_INTERVAL: Duration = Duration::from_secs(3);

/// What to do where the offset to go on from is no longer in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnLostOffset {
    /// Stop with an error
    Stop,
    /// Go on with the oldest record that is there
    Earliest,
    /// Go on with the next record that is written
    Latest,
}

/// A partition that is ready to be processed.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) partition: i32,
    /// The input offset to go on from.
    pub(super) offset: i64,
    /// Whether that is elsewhere than the group has committed, because `--on-lost-offset` says so.
    pub(super) is_elsewhere: bool,
    pub(super) processor: Processor,
    /// Whether the state says whose it is.
    pub(super) has_owner: bool,
}

/// How far a restore has come.
#[derive(Debug, Default)]
struct Progress {
    /// Records read.
    records: AtomicU64,
    /// Offsets passed: more than records, where compaction has taken some away.
    passed: AtomicU64,
    /// Offsets to pass.
    offsets: AtomicU64,
    /// Partitions that nobody waits for any more.
    given_up: Mutex<BTreeSet<i32>>,
    /// Whether there are any, so that a record takes the lock only then.
    has_given_up: AtomicBool,
}

/// A restore that is under way.
#[derive(Debug)]
pub(super) struct Restoring {
    /// Those that are waited for.
    pub(super) partitions: Vec<i32>,
    begun: Instant,
    logged: Instant,
    progress: Arc<Progress>,
    cancel: Trigger,
    outcome: mpsc::Receiver<anyhow::Result<Option<Vec<Restored>>>>,
}

impl Restoring {
    /// Begins to restore.
    pub(super) fn begin(settings: &Settings, partitions: Vec<i32>) -> anyhow::Result<Restoring> {
        let (cancel, cancelled) = Shutdown::manual();
        let (send, outcome) = mpsc::channel();
        let (settings, wanted) = (settings.clone(), partitions.clone());
        let progress = Arc::new(Progress::default());
        let told = Arc::clone(&progress);
        std::thread::Builder::new()
            .name("restore".into())
            .spawn(move || {
                // Nobody may be waiting any more.
                let _unheard = send
                    .send(restore(&settings, &wanted, &told, &cancelled))
                    .is_err();
            })
            .context("failed to start a thread")?;
        let now = Instant::now();
        Ok(Restoring {
            partitions,
            begun: now,
            logged: now,
            progress,
            cancel,
            outcome,
        })
    }

    /// The outcome, once there is one; a line of the log now and then before.
    pub(super) fn finished(&mut self) -> Option<anyhow::Result<Vec<Restored>>> {
        if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let [records, passed, offsets] = self.progress.now();
            let partitions = &self.partitions;
            let seconds = self.begun.elapsed().as_secs();
            match passed.saturating_mul(100).checked_div(offsets) {
                None => tracing::info!(
                    ?partitions,
                    seconds,
                    "restoring: finding the end of the state"
                ),
                Some(percent) => {
                    tracing::info!(?partitions, records, percent, seconds, "restoring")
                }
            }
        }
        match self.outcome.try_recv() {
            Ok(Ok(Some(restored))) => Some(Ok(restored)),
            Ok(Ok(None)) => Some(Ok(Vec::new())),
            Ok(Err(error)) => Some(Err(error)),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => {
                Some(Err(anyhow!("restoring the state panicked")))
            }
        }
    }
}

impl Restoring {
    /// Does not wait for these partitions any more, nor reads what is left of them.
    pub(super) fn give_up(&mut self, partitions: &[i32]) {
        self.partitions.retain(|one| !partitions.contains(one));
        self.progress.given_up().extend(partitions);
        self.progress.has_given_up.store(true, Relaxed);
    }

    /// Whether it knows what it has to read.
    pub(super) fn is_reading(&self) -> bool {
        let [_, _, offsets] = self.progress.now();
        offsets > 0
    }

    /// How long it has taken so far.
    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Progress {
    /// What a restore has to read.
    fn begin(&self, partitions: &[i32], extents: &[Extent]) {
        let offsets = extents
            .iter()
            .map(|extent| (extent.end - extent.start).unsigned_abs())
            .sum();
        self.offsets.store(offsets, Relaxed);
        tracing::info!(?partitions, offsets, "restoring");
    }

    /// One record more, and with it so many offsets. One thread counts, so it need not be one operation.
    fn add(&self, offsets: i64) {
        self.records.store(self.records.load(Relaxed) + 1, Relaxed);
        let passed = self.passed.load(Relaxed) + offsets.unsigned_abs();
        self.passed.store(passed, Relaxed);
    }

    /// Whether nobody waits for a partition any more.
    fn is_given_up(&self, partition: i32) -> bool {
        self.has_given_up.load(Relaxed) && self.given_up().contains(&partition)
    }

    fn given_up(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.given_up.lock().expect("no holder of this lock panics")
    }

    fn now(&self) -> [u64; 3] {
        [&self.records, &self.passed, &self.offsets].map(|count| count.load(Relaxed))
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.cancel.request();
    }
}

/// Restores partitions, as far as they are not given up; `None` where it was cancelled.
fn restore(
    settings: &Settings,
    partitions: &[i32],
    progress: &Progress,
    cancelled: &Shutdown,
) -> anyhow::Result<Option<Vec<Restored>>> {
    let reader = Reader::new(&settings.kafka, &settings.group)?;
    let committed = reader.committed(&settings.input, partitions, cancelled)?;
    let extents = reader.settled(&settings.state, partitions, cancelled)?;
    progress.begin(partitions, &extents);
    crash::place("restoring");
    let Some(mut stores) = read_stores(settings, &reader, &extents, progress, cancelled)? else {
        return Ok(None);
    };
    let mut restored = Vec::new();
    for (&partition, committed) in partitions.iter().zip(committed) {
        let Some(store) = stores.swap_remove(&partition) else {
            continue;
        };
        let input = reader.extent(&settings.input, partition, cancelled)?;
        let offset = go_on_from(settings, &input, committed, store.has_owner)?;
        let processor = Processor::restore(store.held).map_err(|device_id| {
            anyhow!("the state of device `{device_id}` in partition {partition} of topic `{}` is incomplete", settings.state)
        })?;
        restored.push(Restored {
            partition,
            offset,
            is_elsewhere: committed.map_or(store.has_owner, |committed| committed != offset),
            processor,
            has_owner: store.has_owner,
        });
    }
    Ok(Some(restored))
}

/// What a partition of the state topic holds: the newest record of each slot.
#[derive(Default)]
struct Store {
    held: IndexMap<CompactString, Slots, FxBuildHasher>,
    /// The place behind the device of the last record, where the next one's is likely to be.
    likely: usize,
    has_owner: bool,
    /// The offset behind the last record read.
    next: i64,
}

type Stores = IndexMap<i32, Store, FxBuildHasher>;

fn read_stores(
    settings: &Settings,
    reader: &Reader,
    extents: &[Extent],
    progress: &Progress,
    cancelled: &Shutdown,
) -> anyhow::Result<Option<Stores>> {
    let new = |extent: &Extent| Store {
        next: extent.start,
        ..Store::default()
    };
    let mut stores: Stores = extents
        .iter()
        .map(|extent| (extent.partition, new(extent)))
        .collect();
    let mut block = Vec::new();
    let is_whole = reader.read(&settings.state, extents, cancelled, |record| {
        if progress.is_given_up(record.partition) {
            stores.swap_remove(&record.partition);
            return Ok(ControlFlow::Break(()));
        }
        let store = stores.entry(record.partition).or_default();
        progress.add(record.offset + 1 - store.next);
        store.next = record.offset + 1;
        let unreadable = |error: StateError| {
            let record = format!("failed to read the state in partition {} of topic `{}`", record.partition, settings.state);
            Err::<ControlFlow<()>, _>(error).context(record).help(|| {
                "run the fireworks that wrote it, or name another --output and --group, which begin anew".into()
            })
        };
        let (Some(key), Some(value)) = (record.key, record.value) else {
            return unreadable(StateError::Foreign);
        };
        match state::decode(key, value, &mut block) {
            Err(error) => return unreadable(error),
            Ok(Record::Owner(owner)) => {
                check_owner(settings, &owner)?;
                store.has_owner = true;
            }
            Ok(Record::Held { device_id }) => store.put(device_id, &block),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(is_whole.then_some(stores))
}

impl Store {
    fn put(&mut self, device_id: &str, block: &[Held]) {
        let index = self.index_of(device_id);
        self.likely = index + 1;
        let slots = &mut self.held[index];
        block.iter().for_each(|held| slots.put(*held));
    }

    /// The place of a device. Where the devices have their turn, as most sources let them, a record belongs
    /// to the one that follows in the table: looking there first spares a walk through cold memory.
    fn index_of(&mut self, device_id: &str) -> usize {
        let next = self.held.get_index(self.likely);
        if next.is_some_and(|(next, _)| **next == *device_id) {
            return self.likely;
        }
        match self.held.get_index_of(device_id) {
            Some(index) => index,
            None => self.held.insert_full(device_id.into(), Slots::default()).0,
        }
    }
}

fn check_owner(settings: &Settings, owner: &Owner) -> anyhow::Result<()> {
    let state = &settings.state;
    let ours = settings.owner();
    if owner.partitions != ours.partitions && owner.input == ours.input {
        return Err(anyhow!(
            "topic `{}` has {} partitions, but the state in `{state}` was made when it had {}",
            ours.input, ours.partitions, owner.partitions
        ))
        .help(|| "a device's readings may have moved between partitions: name another --output and --group, which begin anew".into());
    }
    if *owner != ours {
        return Err(anyhow!(
            "the state in `{state}` belongs to group `{}` reading topic `{}`, not to group `{}` reading `{}`",
            owner.group, owner.input, ours.group, ours.input
        ))
        .help(|| format!("pass --group {} --input {}, or name another --output and --group, which begin anew", owner.group, owner.input));
    }
    Ok(())
}

/// The offset to go on from, if it is still there.
fn go_on_from(
    settings: &Settings,
    input: &Extent,
    committed: Option<i64>,
    has_state: bool,
) -> anyhow::Result<i64> {
    let lost = match committed {
        // Whoever has moved the offset has written whose state it is.
        Some(offset) if !has_state && offset > input.start => {
            format!("has been read up to offset {offset}, but there is no state of it")
        }
        Some(offset) if (input.start..=input.end).contains(&offset) => return Ok(offset),
        None if !has_state => return Ok(input.start),
        Some(offset) => format!(
            "goes on from offset {offset}, but it holds {} to {}",
            input.start, input.end
        ),
        None => "has state, but the group's offset is gone".into(),
    };
    let message = format!(
        "partition {} of topic `{}` {lost}",
        input.partition, settings.input
    );
    match settings.on_lost_offset {
        OnLostOffset::Stop => Err(anyhow!(message)).help(|| {
            "what was there is not to be had: choose --on-lost-offset earliest or latest, or name another --output and --group, which begin anew".into()
        }),
        OnLostOffset::Earliest => {
            tracing::warn!(offset = input.start, "{message}; going on with the oldest record");
            Ok(input.start)
        }
        OnLostOffset::Latest => {
            tracing::warn!(offset = input.end, "{message}; going on with the next record");
            Ok(input.end)
        }
    }
}
