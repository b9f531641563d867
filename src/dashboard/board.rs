//! Where the picture meets its viewers: one tick encodes once, every viewer gets the same bytes.
//!
//! A viewer resumes after the last message it saw, without a gap, or gets a snapshot. One that doesn't
//! read is told how many messages it missed and gets one fresh snapshot, not the backlog: it can slow
//! nobody, and what is kept for it is bounded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged;

use super::picture::{Picture, Subject};
use super::wire::{EVENT_END, event, event_head};
use crate::kafka::tail::{Batch, Phase, Status};
use crate::metrics::Metrics;

/// How far a viewer may be behind before it is told that it missed something.
const BEHIND: Duration = Duration::from_millis(3_200);
/// How much is kept for those who come back, and no more bytes than this.
const KEPT: Duration = Duration::from_secs(60);
const KEPT_BYTES: usize = 16 << 20;
/// A snapshot serves all who come within a second of it, or so many messages; they get those messages too.
/// So what clients hold that don't read is a snapshot a second, however many they are.
const SNAPSHOT: Duration = Duration::from_secs(1);
const SNAPSHOT_MESSAGES: u64 = 10;
/// A browser that lost its connection tries again after this long.
const RETRY: &[u8] = b"retry: 1000\n\n";

#[derive(Clone, Debug)]
struct Frame {
    seq: u64,
    event: Bytes,
}

/// The picture and its viewers behind one lock, so that a viewer joins between two messages.
#[derive(Debug)]
pub struct Board {
    topic: String,
    epoch: String,
    status: watch::Receiver<Status>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    picture: Picture,
    seq: u64,
    kept: VecDeque<Frame>,
    kept_bytes: usize,
    most_kept: usize,
    /// `None` once the board is closed.
    viewers: Option<broadcast::Sender<Frame>>,
    snapshot: Option<Snapshot>,
}

/// The picture of a moment, encoded once for all who ask.
#[derive(Clone, Debug)]
struct Snapshot {
    seq: u64,
    taken: Instant,
    json: Bytes,
    /// The page with the picture in it, once somebody has asked for it.
    page: Option<Bytes>,
}

/// What a board is of, and how often it tells.
#[derive(Clone, Debug)]
pub struct Showing {
    pub topic: String,
    /// Where it is read from, for people.
    pub kafka: String,
    /// Milliseconds.
    pub window: i64,
    /// Without a field it draws what the records suggest.
    pub field: Option<String>,
    /// How far its messages are apart.
    pub refresh: Duration,
}

impl Board {
    pub fn new(showing: Showing, status: watch::Receiver<Status>) -> Board {
        let Showing {
            topic,
            kafka,
            window,
            field,
            refresh,
        } = showing;
        let messages = |span: Duration| {
            usize::try_from(span.as_millis() / refresh.as_millis().max(1)).unwrap_or(usize::MAX)
        };
        let epoch = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let subject = Subject {
            epoch: epoch.clone(),
            topic: topic.clone(),
            kafka,
            window,
            field,
        };
        let inner = Inner {
            picture: Picture::new(subject, now()),
            seq: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            most_kept: messages(KEPT),
            viewers: Some(broadcast::Sender::new(messages(BEHIND).max(4))),
            snapshot: None,
        };
        Board {
            topic,
            epoch,
            status,
            inner: Mutex::new(inner),
        }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub fn apply(&self, batch: &Batch) {
        self.lock().picture.apply(batch.records(), now());
    }

    /// The topic was made anew: the picture begins again, for the viewers too.
    pub fn restart(&self) {
        let status = self.status.borrow().clone();
        let mut inner = self.lock();
        inner.picture.restart(now());
        inner.snapshot = None;
        let seq = inner.seq + 1;
        let json = inner.picture.snapshot(seq, now(), &status);
        let id = self.id(seq);
        inner.publish(seq, event(None, Some(&id), &json));
    }

    /// Tells the viewers what has changed.
    pub fn tick(&self) {
        let status = self.status.borrow().clone();
        let mut inner = self.lock();
        let seq = inner.seq + 1;
        if let Some(json) = inner.picture.message(seq, now(), &status) {
            let id = self.id(seq);
            inner.publish(seq, event(None, Some(&id), &json));
        }
    }

    /// Ends the viewers' streams, after what has been published.
    pub fn close(&self) {
        self.lock().viewers = None;
    }

    /// The picture as JSON: of this moment, or of the second before it.
    pub fn snapshot(&self) -> Bytes {
        let status = self.status.borrow().clone();
        let mut inner = self.lock();
        self.recent(&mut inner, &status).json.clone()
    }

    /// The page, which `render` makes of the picture as JSON.
    pub fn page(&self, render: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        let status = self.status.borrow().clone();
        let mut inner = self.lock();
        let Snapshot { json, page, .. } = self.recent(&mut inner, &status);
        page.get_or_insert_with(|| render(json)).clone()
    }

    /// How many are watching.
    pub fn viewers(&self) -> usize {
        let inner = self.lock();
        let viewers = inner.viewers.as_ref();
        viewers.map_or(0, broadcast::Sender::receiver_count)
    }

    /// Registers its numbers.
    pub fn tell(self: &Arc<Self>, metrics: &Metrics) {
        let tell = |name, help, value: fn(&Board) -> f64| {
            let board = Arc::clone(self);
            metrics.computed(name, help, move || value(&board));
        };
        tell(
            "fireworks_dashboard_viewers",
            "Streams that are open.",
            |board| board.viewers() as f64,
        );
        tell(
            "fireworks_dashboard_records",
            "Records read since the topic began, or was made anew.",
            |board| board.lock().picture.records() as f64,
        );
        tell(
            "fireworks_dashboard_bad_records",
            "Those of them that could not be drawn.",
            |board| board.lock().picture.bad() as f64,
        );
        tell(
            "fireworks_dashboard_devices",
            "Devices in the picture.",
            |board| board.lock().picture.devices() as f64,
        );
        tell(
            "fireworks_dashboard_lag_records",
            "Records in the topic that are not in the picture yet.",
            |board| board.status.borrow().lag.map_or(f64::NAN, |lag| lag as f64),
        );
        tell(
            "fireworks_dashboard_leaderless_partitions",
            "Partitions of which nothing can be read now, for want of a leader that answers.",
            |board| board.status.borrow().leaderless.len() as f64,
        );
        tell(
            "fireworks_dashboard_skipped_records",
            "Records jumped over because they were too far behind.",
            |board| board.status.borrow().skipped as f64,
        );
    }

    /// Whether this field can be drawn, as far as is known: before the first record, any.
    pub fn has_field(&self, field: &str) -> bool {
        self.lock().picture.has_field(field)
    }

    /// Whether its picture is of this field.
    pub fn draws(&self, field: &str) -> bool {
        self.lock().picture.field() == Some(field)
    }

    /// Keeps a device in colour for a while; false where there is no such device.
    pub fn want(&self, id: &str) -> bool {
        self.lock().picture.want(id, now())
    }

    /// Devices with `text` in their names as JSON, `limit` of them, and how many there are.
    pub fn search(&self, text: &str, limit: usize) -> Bytes {
        let (all, devices) = self.lock().picture.search(text, limit);
        let answer = serde_json::json!({ "all": all, "devices": devices });
        answer.to_string().into()
    }

    /// Whether Kafka has answered and the first picture is there.
    pub fn is_ready(&self) -> bool {
        !matches!(
            self.status.borrow().phase,
            Phase::Connecting | Phase::Loading { .. }
        )
    }

    /// What a viewer is sent who saw `last` last (`<epoch>-<seq>`), or nothing yet.
    pub fn join(self: &Arc<Self>, last: Option<&str>) -> Viewer {
        let mut backlog = VecDeque::from([Bytes::from_static(RETRY)]);
        let status = self.status.borrow().clone();
        let mut inner = self.lock();
        // Subscribed under the lock that publishes: nothing falls between the backlog and what follows.
        let live = inner
            .viewers
            .as_ref()
            .map(|viewers| BroadcastStream::new(viewers.subscribe()));
        let last = last.and_then(|last| self.seq_of(last));
        match last.and_then(|last| inner.after(last)) {
            Some(missed) => backlog.extend(missed),
            None => {
                // A number that is still to come is of nobody that we know.
                let missed = last.and_then(|last| inner.seq.checked_sub(last));
                backlog.extend(missed.map(missed_event));
                let Snapshot { seq, json, .. } = self.recent(&mut inner, &status);
                let seq = *seq;
                // An event in three parts: the large one is everybody's.
                let head = event_head(None, Some(&self.id(seq)));
                backlog.extend([head, json.clone(), Bytes::from_static(EVENT_END)]);
                backlog.extend(inner.after(seq).unwrap_or_default());
            }
        }
        let seen = inner.seq;
        drop(inner);
        Viewer {
            board: Arc::clone(self),
            backlog,
            live,
            seen,
        }
    }

    /// A snapshot that is young enough to go on from.
    fn recent<'a>(&self, inner: &'a mut Inner, status: &Status) -> &'a mut Snapshot {
        let known = inner.snapshot.take().filter(|snapshot| {
            snapshot.taken.elapsed() <= SNAPSHOT
                && inner.seq - snapshot.seq <= SNAPSHOT_MESSAGES
                && inner.after(snapshot.seq).is_some()
        });
        let snapshot = known.unwrap_or_else(|| {
            let seq = inner.seq;
            let json = inner.picture.snapshot(seq, now(), status);
            Snapshot {
                seq,
                taken: Instant::now(),
                // A vector that has grown holds up to twice as much as is in it.
                json: json.into_boxed_slice().into(),
                page: None,
            }
        });
        inner.snapshot.insert(snapshot)
    }

    fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.epoch)
    }

    /// The number in an id of ours; an id of another process says nothing here.
    fn seq_of(&self, id: &str) -> Option<u64> {
        let (epoch, seq) = id.split_once('-')?;
        (epoch == self.epoch).then(|| seq.parse().ok()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn publish(&mut self, seq: u64, event: Bytes) {
        self.seq = seq;
        self.kept_bytes += event.len();
        let frame = Frame { seq, event };
        self.kept.push_back(frame.clone());
        while self.kept.len() > self.most_kept || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.event.len();
        }
        if let Some(viewers) = &self.viewers {
            // An error says that nobody is watching.
            viewers.send(frame).ok();
        }
    }

    /// All messages after `last`; `None` where some of them are gone.
    fn after(&self, last: u64) -> Option<Vec<Bytes>> {
        let first = self.kept.front().map_or(self.seq + 1, |frame| frame.seq);
        let is_whole = last <= self.seq && last + 1 >= first;
        is_whole.then(|| {
            self.kept
                .iter()
                .filter(|frame| frame.seq > last)
                .map(|f| f.event.clone())
                .collect()
        })
    }
}

/// The stream of one viewer.
#[derive(Debug)]
pub struct Viewer {
    board: Arc<Board>,
    backlog: VecDeque<Bytes>,
    live: Option<BroadcastStream<Frame>>,
    seen: u64,
}

impl Stream for Viewer {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.backlog.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(live) = self.live.as_mut() else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(live).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(frame)) if frame.seq <= self.seen => {}
                Some(Ok(frame)) => {
                    self.seen = frame.seq;
                    return Poll::Ready(Some(Ok(frame.event)));
                }
                Some(Err(Lagged(messages))) => {
                    // From the end on, not from the oldest message that is still there.
                    *self = self.board.join(None);
                    self.backlog[0] = missed_event(messages);
                }
            }
        }
    }
}

/// Tells a viewer how many messages it has not seen before it gets a snapshot.
fn missed_event(messages: u64) -> Bytes {
    let json = format!("{{\"messages\":{messages}}}");
    event(Some("missed"), None, json.as_bytes())
}

/// The clock of everything above the reducer, which has none: milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
