//! One worker: a plain thread with a consumer, a producer and the state of its partitions (the StreamThread
//! of Kafka Streams).
//!
//! It shares nothing with other workers. The life of a partition: assigned → restoring → running → revoked,
//! drained and committed; or lost, and aborted. When a transaction has to be aborted, what it has done to
//! the state is undone by restoring it again: rare, and the same way a restart goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::Settings;
use super::held::HeldPartitions;
use super::output::Output;
use super::restore::{OnLostOffset, Restoring};
use super::totals::Totals;
use super::until_end::UntilEnd;
use super::work::{Running, Work};
use crate::kafka::group::{GroupConsumer, Polled, Rebalance};
use crate::kafka::producer::{COMPLETION, Failure, fenced_by_a_stop};
use crate::metrics::Readiness;
use crate::shutdown::Shutdown;

/// A transaction is not committed before it is this old, unless its partitions go: so many cost too much.
const MIN_COMMIT_AGE: Duration = Duration::from_millis(2);
/// How many records are processed before anything else is looked at: the clock, whether to stop, what has been
/// restored. For every record, that would be a twentieth of its time.
const RECORDS_A_TURN: usize = 64;
/// How long a poll waits while there is nothing to commit.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How long a poll waits while partitions are being restored.
const RESTORING_POLL: Duration = Duration::from_millis(10);
/// How often it is told how large the state is and how far it is behind.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// How often in a row, and for how long, transactions may fail: a group refuses offsets while it rebalances, which
/// takes as long as it waits for a member that is gone.
const ATTEMPTS: u32 = 10;
const FAILING: Duration = Duration::from_secs(60);
/// How much longer it waits after each failure before it goes on, up to a second.
const FAILURE_PAUSE: Duration = Duration::from_millis(50);

/// What the workers of a process have in common.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) totals: Arc<Totals>,
    pub(super) held: Arc<HeldPartitions>,
    pub(super) readiness: Readiness,
    pub(super) until_end: Option<Arc<UntilEnd>>,
    pub(super) shutdown: Shutdown,
}

/// A worker and what it is responsible for. Dropping it leaves the group and then aborts what is open.
pub(super) struct Worker {
    settings: Settings,
    number: usize,
    shared: Shared,
    consumer: GroupConsumer,
    work: Work,
    restoring: Vec<Restoring>,
    is_member: bool,
    told: Instant,
    /// Since when transactions have failed, and how many.
    failures: Option<(Instant, u32)>,
}

impl Worker {
    /// Joins the group.
    pub(super) fn new(
        settings: &Settings,
        number: usize,
        shared: Shared,
    ) -> anyhow::Result<Worker> {
        let output = Output::new(settings, number, &shared.shutdown)?;
        let client_id = format!("fireworks-{}-{number}", settings.instance);
        let consumer = GroupConsumer::subscribe(
            &settings.kafka,
            &settings.group,
            &settings.input,
            &client_id,
        )?;
        let worker = Worker {
            settings: settings.clone(),
            number,
            consumer,
            work: Work::new(output, shared.until_end.clone()),
            shared,
            restoring: Vec::new(),
            is_member: false,
            told: Instant::now(),
            failures: None,
        };
        worker.tell_readiness();
        Ok(worker)
    }

    /// Poll → process → send → commit, until asked to stop; then commits, and leaves the group.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        while !self.shared.shutdown.is_requested() {
            self.start_restored()?;
            let now = Instant::now();
            let done = self
                .commit_if(self.settings.commit_interval, now)
                .and_then(|_| self.turn(self.patience(now)));
            if let Err(failure) = done {
                self.recover(failure)?;
            }
        }
        self.drain()
    }

    /// Waits for something to do, and does it; records as long as they are at hand, up to so many.
    fn turn(&mut self, mut patience: Duration) -> Result<(), Failure> {
        for _ in 0..RECORDS_A_TURN {
            match self.consumer.poll(patience).map_err(Failure::Fatal)? {
                Polled::Record(record) => self.work.process(&record)?,
                Polled::Nothing => {
                    self.tell();
                    if self.commit_if(MIN_COMMIT_AGE, Instant::now())? {
                        std::thread::sleep(COMPLETION);
                    }
                    return Ok(());
                }
                Polled::End(partition) => {
                    let end = self.consumer.known_end(partition);
                    return self.work.end(partition, end);
                }
                Polled::Rebalance(rebalance) => return self.rebalance(rebalance),
                Polled::OffsetLost => return self.offset_lost(),
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }

    /// How long the next poll may wait.
    fn patience(&self, now: Instant) -> Duration {
        match self.work.begun {
            Some(begun) => MIN_COMMIT_AGE.saturating_sub(now.duration_since(begun)),
            None if self.restoring.is_empty() => IDLE_POLL,
            None => RESTORING_POLL,
        }
    }

    /// Commits, if a transaction is open and that old. Returns whether it was.
    fn commit_if(&mut self, age: Duration, now: Instant) -> Result<bool, Failure> {
        let begun = self.work.begun;
        let is_due = begun.is_some_and(|begun| now.duration_since(begun) >= age);
        if is_due {
            self.commit()?;
        }
        Ok(is_due)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let work = &mut self.work;
        if !work.output.is_open() {
            return Ok(());
        }
        let begun = Instant::now();
        let touched: Vec<_> = work.output.touched().collect();
        for (partition, _) in &touched {
            if let Some(running) = work.partitions.get_mut(partition) {
                work.output
                    .state(*partition, &mut running.processor, &mut running.has_owner)?;
            }
        }
        let counts = work.output.commit(&self.consumer)?;
        work.begun = None;
        self.failures = None;
        self.shared.totals.commit(counts, begun.elapsed());
        if let Some(until_end) = &self.shared.until_end {
            let reached = touched
                .iter()
                .filter(|(partition, offset)| *offset >= until_end.end(*partition));
            until_end.reached(&reached.map(|(partition, _)| *partition).collect::<Vec<_>>());
        }
        self.tell();
        Ok(())
    }

    /// Tells now and then how large the state is and how far it is behind.
    fn tell(&mut self) {
        if self.told.elapsed() < TELL_INTERVAL {
            return;
        }
        self.told = Instant::now();
        for (&partition, running) in &self.work.partitions {
            let (devices, readings) = (running.processor.devices(), running.processor.readings());
            self.shared.held.state(partition, devices, readings);
            if let Some(end) = self.consumer.known_end(partition) {
                let is_at_end = running.read_to_end_at == Some(end);
                let lag = if is_at_end {
                    0
                } else {
                    (end - running.next).max(0)
                };
                self.shared.held.lag(partition, lag);
            }
        }
    }

    /// Tells what this worker waits for before it does its work, if it does.
    fn tell_readiness(&self) {
        let number = self.number;
        let restoring: Vec<_> = self
            .restoring
            .iter()
            .flat_map(|restoring| &restoring.partitions)
            .collect();
        let waits_for = if !self.is_member {
            Some(format!(
                "worker {number} is joining group {}",
                self.settings.group
            ))
        } else if !restoring.is_empty() {
            Some(format!(
                "worker {number} is restoring partitions {restoring:?}"
            ))
        } else {
            None
        };
        self.shared.readiness.waits_for(number, waits_for);
    }

    fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), Failure> {
        self.is_member = !matches!(rebalance, Rebalance::Lost(_));
        let answered = self.answer(rebalance);
        self.tell_readiness();
        answered
    }

    fn answer(&mut self, rebalance: Rebalance) -> Result<(), Failure> {
        let abort = Failure::Abort;
        match rebalance {
            Rebalance::Assigned(partitions) => {
                tracing::debug!(?partitions, "assigned");
                self.consumer.acknowledge().map_err(abort)?;
                if !partitions.is_empty() {
                    self.restoring
                        .push(Restoring::begin(&self.settings, partitions).map_err(abort)?);
                }
            }
            Rebalance::Revoked(partitions) => {
                tracing::debug!(?partitions, "revoked");
                let committed = self.commit();
                self.forget(&partitions).map_err(abort)?;
                self.consumer.release(&partitions).map_err(abort)?;
                committed?;
            }
            Rebalance::Lost(partitions) => {
                tracing::warn!(
                    ?partitions,
                    "lost: the session with the group has ended, and another member may have them"
                );
                self.forget(&partitions).map_err(abort)?;
                self.consumer.release(&partitions).map_err(abort)?;
                self.work.output.verify_cluster()?;
                if let Some(stop) = self.consumer.stopped_lately() {
                    return Err(fenced_by_a_stop(stop));
                }
                if self.work.output.is_open() {
                    return Err(Failure::Abort(anyhow!(
                        "partitions were lost with a transaction open"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Drops the state of partitions, and goes on restoring the others that were being restored with them.
    fn forget(&mut self, partitions: &[i32]) -> anyhow::Result<()> {
        for partition in partitions {
            self.work.partitions.remove(partition);
            self.shared.held.forget(*partition);
        }
        for mut restoring in std::mem::take(&mut self.restoring) {
            let before = restoring.partitions.len();
            restoring.give_up(partitions);
            if restoring.partitions.is_empty() {
                continue;
            }
            // What is being read is not read twice; but what is still waited for may be of those that have gone.
            if restoring.partitions.len() < before && !restoring.is_reading() {
                restoring = Restoring::begin(&self.settings, restoring.partitions.clone())?;
            }
            self.restoring.push(restoring);
        }
        Ok(())
    }

    /// Starts the partitions whose state is there.
    fn start_restored(&mut self) -> anyhow::Result<()> {
        for i in (0..self.restoring.len()).rev() {
            let Some(outcome) = self.restoring[i].finished() else {
                continue;
            };
            let restoring = self.restoring.remove(i);
            let (took, wanted) = (restoring.took(), &restoring.partitions);
            // Some may have gone to another member meanwhile.
            let restored = outcome?.into_iter();
            for restored in restored.filter(|one| wanted.contains(&one.partition)) {
                tracing::info!(
                    partition = restored.partition,
                    offset = restored.offset,
                    devices = restored.processor.devices(),
                    seconds = took.as_secs_f64(),
                    "restored"
                );
                self.shared.held.restored(restored.partition, took);
                let running = Running {
                    processor: restored.processor,
                    has_owner: restored.has_owner,
                    next: restored.offset,
                    read_to_end_at: None,
                };
                self.work.partitions.insert(restored.partition, running);
                self.consumer.start(restored.partition, restored.offset)?;
                if restored.is_elsewhere {
                    // Whoever comes next must not be asked again.
                    self.work.begun.get_or_insert_with(Instant::now);
                    let moved = self
                        .work
                        .output
                        .consumed(restored.partition, restored.offset);
                    moved.map_err(Failure::into_error)?;
                } else if let Some(until_end) = &self.shared.until_end
                    && restored.offset >= until_end.end(restored.partition)
                {
                    until_end.reached(&[restored.partition]);
                }
            }
            self.tell_readiness();
        }
        Ok(())
    }

    fn offset_lost(&mut self) -> Result<(), Failure> {
        if self.settings.on_lost_offset == OnLostOffset::Stop {
            // Restoring asks for the offsets anew, and names the partition and the remedy.
            tracing::warn!(
                topic = self.settings.input,
                "an offset to read from is no longer there"
            );
        }
        Err(Failure::Abort(anyhow!(
            "an offset of topic `{}` is lost",
            self.settings.input
        )))
    }

    /// After a failure: aborts, and restores everything that the transaction may have touched.
    fn recover(&mut self, failure: Failure) -> anyhow::Result<()> {
        let error = match failure {
            Failure::Fatal(error) => return Err(error),
            Failure::Abort(error) | Failure::Undecided(error) => error,
        };
        // Its group may have given it up, and the client not have heard of that yet.
        if let Some(stop) = self.consumer.stopped_lately() {
            tracing::warn!(error = format!("{error:#}"), "aborting the transaction");
            return Err(fenced_by_a_stop(stop).into_error());
        }
        let (since, before) = self.failures.unwrap_or((Instant::now(), 0));
        self.failures = Some((since, before + 1));
        if before + 1 >= ATTEMPTS && since.elapsed() >= FAILING {
            return Err(error.context(format!(
                "gave up after {} aborted transactions in a row",
                before + 1
            )));
        }
        tracing::warn!(
            error = format!("{error:#}"),
            "aborting the transaction and restoring the state"
        );
        match self.work.output.abort() {
            Ok(()) => {}
            // Asked to stop while Kafka is away: `drain` does.
            Err(Failure::Undecided(_)) => return Ok(()),
            Err(failure) => return Err(failure.into_error()),
        }
        self.shared.totals.abort();
        self.work.begun = None;
        std::thread::sleep((FAILURE_PAUSE * before).min(Duration::from_secs(1)));
        let partitions: Vec<_> = self.work.partitions.keys().copied().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        self.work.partitions.clear();
        self.consumer.release(&partitions)?;
        self.restoring
            .push(Restoring::begin(&self.settings, partitions)?);
        self.tell_readiness();
        Ok(())
    }

    /// Commits what is open, or aborts it where that can't be had, and leaves the group.
    fn drain(mut self) -> anyhow::Result<()> {
        let ended = match self.commit() {
            Err(Failure::Abort(error)) => {
                tracing::warn!(error = format!("{error:#}"), "aborted the last transaction");
                self.shared.totals.abort();
                self.work.output.abort()
            }
            committed => committed,
        };
        match ended {
            Ok(()) => Ok(()),
            Err(Failure::Undecided(error)) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "left the last transaction to the brokers"
                );
                Ok(())
            }
            Err(Failure::Abort(error) | Failure::Fatal(error)) => {
                Err(error).context("failed to commit the last transaction")
            }
        }
    }
}

/// One worker's whole life, for its thread.
pub(super) fn work(settings: &Settings, number: usize, shared: Shared) -> anyhow::Result<()> {
    let shutdown = shared.shutdown.clone();
    let worker = match Worker::new(settings, number, shared) {
        Err(_) if shutdown.is_requested() => return Ok(()),
        worker => worker,
    };
    worker
        .and_then(Worker::run)
        .with_context(|| format!("worker {number} failed"))
}
