//! A group-less tail of one topic: its last window of records, then every new one, on its own thread.
//!
//! It assigns all partitions and never subscribes or commits, so any number of tails watch the same
//! topic without sharing it out, and leave nothing behind on the cluster. It prefers fresh to complete:
//! whoever can't keep up skips ahead and says by how much. It knows offsets and bytes, not what they mean.
//!
//! A partition without a leader is named and waited for, while the others go on. The life of a tail:
//!
//! ```text
//!   connecting ──▶ missing ──▶ loading ──▶ live ──▶ (topic deleted) ──▶ missing …
//!        ╰──────────── unreachable, from anywhere and back ───────────╯
//! ```

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::batch::{Batch, Record};
use self::client::TopicClient;
use self::reader::Reader;
use super::config::KafkaSettings;
use crate::shutdown::Shutdown;

mod batch;
mod client;
mod offsets;
mod reader;

/// What to tail.
#[derive(Clone, Debug)]
pub struct TailSettings {
    pub kafka: KafkaSettings,
    pub topic: String,
    /// How far back to begin, in event time.
    pub window: Duration,
}

/// A running tail: records and what happens to the topic in order, its state as the latest value.
#[derive(Debug)]
pub struct Tail {
    pub events: mpsc::Receiver<Event>,
    pub status: watch::Receiver<Status>,
    /// How reading ended: when the events' receiver was closed, on shutdown, or by a fatal error. The
    /// thread itself lives a second longer: closing a client takes that, and nobody need wait for it.
    pub end: oneshot::Receiver<anyhow::Result<()>>,
}

#[derive(Debug)]
pub enum Event {
    Records(Batch),
    /// The topic was deleted and made anew: what was read before is of another topic.
    Restarted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// How many the topic has.
    pub partitions: usize,
    /// Those of them that can't be read now: no broker leads them, or none that answers.
    pub leaderless: Vec<i32>,
    /// Records that could be read now and haven't been; `None` before it is known.
    pub lag: Option<u64>,
    /// Records jumped over because they were too far behind.
    pub skipped: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Connecting,
    /// No broker answers, with the cause.
    Unreachable(String),
    /// Kafka answers: there is no such topic.
    Missing,
    /// Reading what was in the log when the tail began.
    Loading {
        done: u64,
        total: u64,
    },
    Live,
}

/// Batches between the tail and its reader: with those of the client itself, all that is ever queued.
const QUEUED_BATCHES: usize = 4;

impl Tail {
    /// Starts the thread. Nothing has been connected yet when this returns.
    pub fn start(settings: TailSettings, shutdown: Shutdown) -> anyhow::Result<Tail> {
        let client = TopicClient::new(&settings)?;
        let (events, events_receiver) = mpsc::channel(QUEUED_BATCHES);
        let (status, status_receiver) = watch::channel(Status {
            phase: Phase::Connecting,
            partitions: 0,
            leaderless: Vec::new(),
            lag: None,
            skipped: 0,
        });
        let mut reader = Reader::new(settings, client, events, status, shutdown);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new()
            .name("tail".into())
            .spawn(move || {
                // An error says that nobody waits for the end.
                ended.send(reader.run()).ok();
            })
            .context("failed to start the thread of the tail")?;
        Ok(Tail {
            events: events_receiver,
            status: status_receiver,
            end,
        })
    }
}
