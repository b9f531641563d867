//! One picture for each field that somebody looks at: made when it is asked for, let go when nobody watches.
//!
//! History isn't kept for fields that nobody has asked for: a picture of another field reads the window
//! again, by a tail of its own. That costs a consumer while it is watched, and nothing otherwise; keeping
//! every field of every record would cost all the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board::{Board, Showing};
use crate::kafka::tail::{Event, Tail, TailSettings};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Further fields that are shown at a time.
const MAX_FIELDS: usize = 6;
/// A picture of a further field ends when nobody has watched it for so long.
const UNWATCHED: Duration = Duration::from_secs(60);

/// The pictures of one topic by field.
#[derive(Debug)]
pub struct Fields {
    source: Source,
    main: Arc<Board>,
    others: Mutex<BTreeMap<String, Arc<Board>>>,
}

/// What a further picture is made from.
#[derive(Clone, Debug)]
pub struct Source {
    pub tail: TailSettings,
    /// Messages to the browsers are this far apart.
    pub refresh: Duration,
    pub shutdown: Shutdown,
}

/// Why there is no picture of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoField {
    Unknown,
    /// Too many fields are looked at.
    Full,
}

impl Source {
    /// Starts reading for a board.
    pub fn board(&self, field: Option<String>) -> anyhow::Result<(Arc<Board>, Feed)> {
        let window = i64::try_from(self.tail.window.as_millis()).unwrap_or(i64::MAX);
        let kafka = self.tail.kafka.bootstrap_servers().to_owned();
        let Tail {
            events,
            status,
            end,
        } = Tail::start(self.tail.clone(), self.shutdown.clone())?;
        let showing = Showing {
            topic: self.tail.topic.clone(),
            kafka,
            window,
            field,
            refresh: self.refresh,
        };
        let board = Arc::new(Board::new(showing, status));
        let refresh = self.refresh;
        Ok((
            board,
            Feed {
                events,
                end,
                refresh,
            },
        ))
    }
}

impl Fields {
    pub fn new(source: Source, main: Arc<Board>) -> Fields {
        Fields {
            source,
            main,
            others: Mutex::default(),
        }
    }

    pub fn main(&self) -> &Arc<Board> {
        &self.main
    }

    /// The picture of a field, or of the one that the records suggest.
    pub fn board(self: &Arc<Self>, field: Option<&str>) -> Result<Arc<Board>, NoField> {
        let Some(field) = field.filter(|field| !self.main.draws(field)) else {
            return Ok(Arc::clone(&self.main));
        };
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(board) = others.get(field) {
            return Ok(Arc::clone(board));
        }
        if !self.main.has_field(field) {
            return Err(NoField::Unknown);
        }
        if others.len() == MAX_FIELDS {
            return Err(NoField::Full);
        }
        let (board, feed) = self.source.board(Some(field.to_owned())).map_err(|error| {
            tracing::error!(%error, field, "failed to show a field");
            NoField::Full
        })?;
        others.insert(field.to_owned(), Arc::clone(&board));
        tokio::spawn(Arc::clone(self).run(Arc::clone(&board), feed));
        Ok(board)
    }

    /// Feeds a further picture until nobody watches it.
    async fn run(self: Arc<Self>, board: Arc<Board>, mut feed: Feed) {
        feed.reduce(&board, &self.source.shutdown, None).await;
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, other| !Arc::ptr_eq(other, &board));
        board.close();
    }
}

/// What a tail has to tell.
#[derive(Debug)]
pub struct Feed {
    pub events: mpsc::Receiver<Event>,
    pub end: oneshot::Receiver<anyhow::Result<()>>,
    refresh: Duration,
}

impl Feed {
    /// Brings the picture up to date and tells the browsers, until the shutdown, or until the end of the
    /// tail, which it returns. The main picture tells `metrics` whether it is ready; another one ends when
    /// nobody has watched it for a while.
    pub async fn reduce(
        &mut self,
        board: &Board,
        shutdown: &Shutdown,
        metrics: Option<&Metrics>,
    ) -> Option<Result<anyhow::Result<()>, oneshot::error::RecvError>> {
        let mut ticks = interval(self.refresh);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watched = Instant::now();
        let stop = shutdown.requested();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return None,
                end = &mut self.end => return Some(end),
                now = ticks.tick() => {
                    board.tick();
                    if let Some(metrics) = metrics {
                        let waits = (!board.is_ready()).then(|| "loading the topic".to_owned());
                        metrics.readiness().waits_for(0, waits);
                    } else if board.viewers() > 0 {
                        watched = now;
                    } else if now - watched > UNWATCHED {
                        return None;
                    }
                }
                Some(event) = self.events.recv() => match event {
                    Event::Records(batch) => board.apply(&batch),
                    Event::Restarted => board.restart(),
                },
            }
        }
    }
}
