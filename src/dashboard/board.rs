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
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged;

use super::picture::{Picture, Subject};
use super::wire::event;
use crate::kafka::tail::{Batch, Phase, Status};
use crate::metrics::Metrics;

/// Messages a viewer may be behind before it is told that it missed some: three seconds' worth.
const BEHIND: usize = 32;
/// Messages that are kept for those who come back: a minute's worth, and no more bytes than this.
const KEPT: usize = 600;
const KEPT_BYTES: usize = 16 << 20;
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
    /// `None` once the board is closed.
    viewers: Option<broadcast::Sender<Frame>>,
    /// The last snapshot, as JSON and as an event: a crowd that reconnects is served from one encoding.
    snapshot: Option<(Bytes, Frame)>,
}

impl Board {
    /// `kafka` is where it is read from, for people; `window` is in milliseconds; without a `field` it draws
    /// what the records suggest.
    pub fn new(
        topic: String,
        kafka: String,
        window: i64,
        field: Option<String>,
        status: watch::Receiver<Status>,
    ) -> Board {
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
            viewers: Some(broadcast::Sender::new(BEHIND)),
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

    /// The picture as JSON.
    pub fn snapshot(&self) -> Bytes {
        self.take_snapshot().0
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
        let inner = self.lock();
        // Subscribed under the lock that publishes: nothing falls between the backlog and what follows.
        let live = inner
            .viewers
            .as_ref()
            .map(|viewers| BroadcastStream::new(viewers.subscribe()));
        let missed = last
            .and_then(|last| self.seq_of(last))
            .and_then(|last| inner.after(last));
        let mut seen = inner.seq;
        match missed {
            Some(missed) => backlog.extend(missed),
            None => {
                drop(inner);
                let (_, snapshot) = self.take_snapshot();
                seen = snapshot.seq;
                backlog.push_back(snapshot.event);
            }
        }
        Viewer {
            board: Arc::clone(self),
            backlog,
            live,
            seen,
        }
    }

    fn take_snapshot(&self) -> (Bytes, Frame) {
        let status = self.status.borrow().clone();
        let mut inner = self.lock();
        let seq = inner.seq;
        if let Some(snapshot) = inner
            .snapshot
            .as_ref()
            .filter(|(_, frame)| frame.seq == seq)
        {
            return snapshot.clone();
        }
        let json = inner.picture.snapshot(seq, now(), &status);
        let frame = Frame {
            seq,
            event: event(None, Some(&self.id(seq)), &json),
        };
        let snapshot = (json.into(), frame);
        inner.snapshot = Some(snapshot.clone());
        snapshot
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
        self.snapshot = None;
        self.kept_bytes += event.len();
        let frame = Frame { seq, event };
        self.kept.push_back(frame.clone());
        while self.kept.len() > KEPT || self.kept_bytes > KEPT_BYTES {
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
                    let missed = format!("{{\"messages\":{messages}}}");
                    let missed = event(Some("missed"), None, missed.as_bytes());
                    // From the end on, not from the oldest message that is still there.
                    *self = self.board.join(None);
                    self.backlog[0] = missed;
                }
            }
        }
    }
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
