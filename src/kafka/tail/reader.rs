//! The loop of the tail's thread: find the topic, follow it, notice what happens to it.
//!
//! Everything it waits for has an end, so that it sees a stop within a moment.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message, Timestamp};
use tokio::sync::{mpsc, watch};

use super::batch::{Batch, Record};
use super::client::{Partitions, TopicClient, cause};
use super::offsets::{Offsets, Positions, Start};
use super::{Event, Phase, Status, TailSettings};
use crate::shutdown::Shutdown;

/// Below this lag nothing is ever skipped.
const SKIP_LAG: u64 = 50_000;
const RETRY: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);
/// How often the topic is looked at: for new partitions, a deletion, and being too far behind.
const INSPECT: Duration = Duration::from_secs(3);

/// Why following the partitions ended.
enum End {
    Stopped,
    TopicGone,
    TopicReplaced,
}

pub struct Reader {
    settings: TailSettings,
    client: TopicClient,
    events: mpsc::Sender<Event>,
    status: watch::Sender<Status>,
    shutdown: Shutdown,
    positions: Positions,
    /// All partitions that the topic has had: one that has been without a leader isn't new.
    known: BTreeSet<i32>,
    /// Whether an offset was out of the log's range, and reading waits until it is known why.
    is_out_of_range: bool,
}

impl Reader {
    pub fn new(
        settings: TailSettings,
        client: TopicClient,
        events: mpsc::Sender<Event>,
        status: watch::Sender<Status>,
        shutdown: Shutdown,
    ) -> Reader {
        let positions = Positions::default();
        Reader {
            settings,
            client,
            events,
            status,
            shutdown,
            positions,
            known: BTreeSet::new(),
            is_out_of_range: false,
        }
    }

    /// Runs until nobody listens, or the client fails for good.
    pub fn run(&mut self) -> anyhow::Result<()> {
        let mut followed_before = false;
        while !self.is_over() {
            let found = self.client.partitions().and_then(|found| {
                // A topic seen again is another one, and what was read of the first is said to be gone.
                if found.all.is_empty() || (followed_before && !self.send(Event::Restarted)) {
                    return Ok(false);
                }
                self.positions.clear();
                self.is_out_of_range = false;
                self.known = found.all.iter().copied().collect();
                self.begin(&found).map(|()| true)
            });
            match found {
                Ok(true) => {}
                Ok(false) => {
                    self.enter(Phase::Missing);
                    self.wait(RETRY);
                    continue;
                }
                Err(error) => {
                    self.unreachable(&error);
                    self.wait(RETRY);
                    continue;
                }
            }
            followed_before = true;
            match self.follow()? {
                End::Stopped => break,
                End::TopicGone => self.enter(Phase::Missing),
                End::TopicReplaced => {}
            }
            self.client
                .unassign()
                .context("failed to let go of the topic's partitions")?;
        }
        Ok(())
    }

    /// Reads until the topic is gone or nobody listens.
    fn follow(&mut self) -> anyhow::Result<End> {
        let mut inspected = Instant::now();
        let mut is_silent = false;
        while !self.is_over() {
            let mut batch = Batch::default();
            if let Some(end) = self.fill(&mut batch)? {
                return Ok(end);
            }
            if !batch.is_empty() && !self.send(Event::Records(batch)) {
                return Ok(End::Stopped);
            }
            let is_connected = self.observe();
            let pause = if is_silent || self.is_out_of_range || self.is_unreachable() {
                RETRY
            } else {
                INSPECT
            };
            if inspected.elapsed() >= pause {
                match self.inspect() {
                    Ok(Some(end)) => return Ok(end),
                    Ok(None) => is_silent = false,
                    // A busy broker may miss one look; one that is gone misses the next as well.
                    Err(_) if is_connected && !is_silent => is_silent = true,
                    Err(error) => self.unreachable(&error),
                }
                inspected = Instant::now();
            }
            // An unreachable Kafka stays so until it answers a look.
            if !self.is_unreachable() {
                self.enter(self.positions.phase());
            }
        }
        Ok(End::Stopped)
    }

    /// Takes what has arrived: waits for the first record, never for a second one.
    fn fill(&mut self, batch: &mut Batch) -> anyhow::Result<Option<End>> {
        use KafkaError::{MessageConsumption, MessageConsumptionFatal, PartitionEOF};
        let mut patience = POLL;
        while !batch.is_full() {
            let Some(polled) = self.client.poll(patience) else {
                break;
            };
            match polled {
                Ok(message) => take(&mut self.positions, &message, batch),
                Err(PartitionEOF(number)) => self.positions.meet_end(number),
                Err(MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange)) => {
                    self.is_out_of_range = true;
                }
                Err(error @ MessageConsumption(Code::AllBrokersDown | Code::Resolve)) => {
                    self.unreachable(&error);
                }
                Err(error @ MessageConsumptionFatal(_)) => {
                    return Err(error).context("the consumer of the dashboard failed for good");
                }
                Err(error) => tracing::debug!(%error, "reading goes on"),
            }
            patience = Duration::ZERO;
        }
        Ok(None)
    }

    /// Brings the ends up to date; returns whether a broker is connected.
    fn observe(&mut self) -> bool {
        let Some(observed) = self.client.observed() else {
            return !self.is_unreachable();
        };
        for (number, end, met) in observed.ends {
            self.positions.hear(number, end, met);
        }
        if !observed.connected {
            self.unreachable(&KafkaError::MetadataFetch(Code::AllBrokersDown));
        }
        observed.connected
    }

    /// Begins to read what has a leader that answers. Where none does, no Kafka does.
    fn begin(&mut self, found: &Partitions) -> KafkaResult<()> {
        let all: Vec<i32> = found.led.keys().copied().collect();
        let mut begun = self.assign(&all, false);
        // One that doesn't answer keeps the answers of all: they are asked one by one.
        let leaders: BTreeSet<i32> = found.led.values().copied().collect();
        if begun.is_err() && leaders.len() > 1 {
            for leader in leaders {
                let led = found.led.iter().filter(|(_, by)| **by == leader);
                let numbers: Vec<i32> = led.map(|(number, _)| *number).collect();
                begun = self.assign(&numbers, false).or(begun);
            }
        }
        self.lead(found);
        begun.map(|()| self.enter(self.positions.phase()))
    }

    /// Notes which partitions can't be read: they have no leader, or one that has not answered. A leader that is
    /// gone is one still for a few seconds, until its peers miss it.
    fn lead(&mut self, found: &Partitions) {
        let is_read = |number: &i32| {
            let leader = found.led.get(number);
            leader.is_some_and(|leader| !self.client.has_lost(*leader))
                && self.positions.contains(*number)
        };
        let leaderless: BTreeSet<i32> =
            self.known.iter().copied().filter(|n| !is_read(n)).collect();
        let topic = &self.settings.topic;
        if self.positions.lead(leaderless) {
            match self.positions.leaderless() {
                none if none.is_empty() => tracing::info!(topic, "all partitions have a leader"),
                some => {
                    tracing::warn!(topic, partitions = ?some, "no leader answers: the others go on")
                }
            }
        }
    }

    /// Looks for what the records themselves don't tell.
    fn inspect(&mut self) -> KafkaResult<Option<End>> {
        let found = self.client.partitions()?;
        if found.all.is_empty() {
            return Ok(Some(End::TopicGone));
        }
        if self.is_unreachable() {
            self.enter(self.positions.phase());
        }
        if found.all.len() < self.known.len() {
            return Ok(Some(End::TopicReplaced));
        }
        let is_read = |number: &i32| self.positions.contains(*number);
        let (mut read, others): (Vec<i32>, Vec<i32>) = found.led.keys().partition(|n| is_read(n));
        let (late, new): (Vec<i32>, Vec<i32>) = others
            .into_iter()
            .partition(|number| self.known.contains(number));
        self.known.extend(&found.all);
        for (numbers, from_beginning) in [(late, false), (new, true)] {
            if !numbers.is_empty() {
                tracing::info!(topic = self.settings.topic, partitions = ?numbers, "reading further partitions");
                if let Err(error) = self.assign(&numbers, from_beginning) {
                    tracing::debug!(%error, "their leaders are asked again later");
                }
            }
        }
        self.lead(&found);
        read.retain(|number| !self.positions.leaderless().contains(number));
        if read.is_empty() {
            return Ok(None);
        }
        let ends = match self.client.ends(&read) {
            Ok(ends) => ends,
            // Kafka has just answered: it is one leader that doesn't.
            Err(error) => {
                tracing::debug!(%error, "the ends are asked for again later");
                return Ok(None);
            }
        };
        if self.positions.are_beyond(&ends) {
            return Ok(Some(End::TopicReplaced));
        }
        if self.is_out_of_range {
            let Some(places) = self.positions.within(&self.client.lows(&read)?, &ends) else {
                return Ok(Some(End::TopicReplaced));
            };
            self.client.reassign(&places)?;
            let why = "retention was faster: went on where the log begins";
            self.skipped(&self.positions.ahead(&places), why);
            // One without a leader is asked again: it may be the one.
            self.is_out_of_range = places.len() < self.positions.len();
        } else if self.positions.lag() > SKIP_LAG {
            self.skip_ahead(&read, &ends)?;
        }
        Ok(None)
    }

    /// Jumps to what is fresh, on each partition that is further behind. While history loads, that is where a
    /// tail would begin now.
    fn skip_ahead(&mut self, numbers: &[i32], ends: &Offsets) -> KafkaResult<()> {
        let places = match self.positions.phase() {
            Phase::Loading { .. } => {
                let starts = self.client.starts(numbers)?.into_iter();
                self.positions
                    .ahead(&starts.map(|(number, start)| (number, start.from)).collect())
            }
            _ => self.positions.fresh(&self.client.lows(numbers)?, ends),
        };
        if !places.is_empty() {
            self.client.seek(&places)?;
            self.skipped(&places, "too far behind: went on with fresh records");
        }
        Ok(())
    }

    /// Notes where reading goes on, once the client does: else it would tell of a jump that failed.
    fn skipped(&mut self, places: &Offsets, why: &str) {
        let skipped = self.positions.skip_to(places);
        if skipped > 0 {
            self.status.send_modify(|status| status.skipped += skipped);
            tracing::warn!(topic = self.settings.topic, skipped, "{why}");
        }
    }

    /// Adds partitions to what is read. A partition that came later is read from its beginning.
    fn assign(&mut self, numbers: &[i32], from_beginning: bool) -> KafkaResult<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut from = Offsets::new();
        for (number, mut start) in self.client.starts(numbers)? {
            if from_beginning {
                start = Start {
                    from: start.low,
                    end: start.low,
                    ..start
                };
            }
            from.insert(number, start.from);
            self.positions.begin(number, start);
        }
        self.client.assign(&from)
    }

    /// Returns false once nobody listens.
    fn send(&self, event: Event) -> bool {
        self.events.blocking_send(event).is_ok()
    }

    fn enter(&self, phase: Phase) {
        let lag = (self.positions.len() > 0).then(|| self.positions.lag());
        let leaderless = match phase {
            Phase::Loading { .. } | Phase::Live => {
                self.positions.leaderless().iter().copied().collect()
            }
            _ => Vec::new(),
        };
        self.status.send_if_modified(|status| {
            let next = Status {
                phase,
                partitions: self.known.len(),
                leaderless,
                lag,
                skipped: status.skipped,
            };
            let is_new = *status != next;
            *status = next;
            is_new
        });
    }

    fn unreachable(&self, error: &KafkaError) {
        let cause = cause(error);
        if !self.is_unreachable() {
            let address = self.settings.kafka.bootstrap_servers();
            tracing::warn!("kafka at {address} is not reachable: {cause}; retrying");
        }
        self.enter(Phase::Unreachable(cause));
    }

    fn is_unreachable(&self) -> bool {
        matches!(self.status.borrow().phase, Phase::Unreachable(_))
    }

    fn is_over(&self) -> bool {
        self.shutdown.is_requested() || self.events.is_closed()
    }

    /// Waits, serving the client's events, so that it notices a broker that is back.
    fn wait(&self, duration: Duration) {
        let until = Instant::now() + duration;
        while !self.is_over() && Instant::now() < until {
            if let Some(Err(error)) = self.client.poll(POLL) {
                tracing::debug!(%error, "waiting goes on");
            }
        }
    }
}

fn take(positions: &mut Positions, message: &BorrowedMessage<'_>, batch: &mut Batch) {
    let (partition, offset) = (message.partition(), message.offset());
    // Of a partition that was let go a moment ago.
    let Some(history) = positions.take(partition, offset) else {
        return;
    };
    let timestamp = message.timestamp();
    let appended = matches!(timestamp, Timestamp::LogAppendTime(_));
    let (key, value) = (message.key(), message.payload());
    batch.push(Record {
        partition,
        offset,
        timestamp: timestamp.to_millis(),
        appended,
        history,
        key,
        value,
    });
}
