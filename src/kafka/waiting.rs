//! How long Kafka lets us wait: one line when that gets long and one when it is over, whatever the number of
//! clients; and the time that this process was awake for it.
//!
//! A process that was stopped (SIGSTOP, a frozen container) has not waited, though the clock has gone on: a
//! thread that counts its own small sleeps tells the two apart. It decides nothing; it tells and counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// How long a wait may take before it is spoken of.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the thread looks.
const TICK: Duration = Duration::from_millis(100);
/// What a tick may take on a busy machine; one that took longer was a stop, and counts as this much.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// A tick that took this long was no busy machine: the process was stopped.
const SURELY_STOPPED: Duration = Duration::from_secs(5);
/// For how long that is remembered: what follows from it shows within seconds.
const LATELY: Duration = Duration::from_secs(30);

/// The waits of all clients with the same settings. Clones are the same.
#[derive(Clone, Debug)]
pub struct Waits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bootstrap_servers: String,
    has_thread: AtomicBool,
    /// Milliseconds that this process was awake since the thread began.
    awake: AtomicU64,
    ticks: Mutex<Ticks>,
    state: Mutex<State>,
}

/// When the thread has looked last, and whether it was kept from it.
#[derive(Debug, Default)]
struct Ticks {
    last: Option<Instant>,
    /// For how long the process was stopped last, and when that was over.
    stop: Option<(Duration, Instant)>,
}

/// What is waited for, and what has been said about it.
#[derive(Debug, Default)]
struct State {
    /// When each wait began, and for what, by its number. Times are milliseconds awake.
    waits: BTreeMap<u64, (u64, &'static str)>,
    next: u64,
    /// Since when Kafka hasn't answered, where that has been said.
    told: Option<u64>,
    /// Whether an answer has come since.
    is_answered: bool,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Silence { what: &'static str },
    Answer { after: Duration },
}

impl State {
    /// What has changed, at the time `now`.
    fn news(&mut self, now: u64) -> Option<News> {
        let is_long = |(since, _): &&(u64, &str)| now - since > PATIENCE.as_millis() as u64;
        let longest = self.waits.values().min().filter(is_long).copied();
        match (self.told, longest) {
            (None, Some((since, what))) => {
                self.told = Some(since);
                self.is_answered = false;
                Some(News::Silence { what })
            }
            (Some(since), None) if self.is_answered => {
                self.told = None;
                let after = Duration::from_millis(now - since);
                Some(News::Answer { after })
            }
            _ => None,
        }
    }
}

impl Waits {
    /// None yet.
    pub fn new(bootstrap_servers: &str) -> Waits {
        Waits(Arc::new(Inner {
            bootstrap_servers: bootstrap_servers.to_owned(),
            has_thread: AtomicBool::new(false),
            awake: AtomicU64::new(0),
            ticks: Mutex::default(),
            state: Mutex::default(),
        }))
    }

    /// Begins to wait for `what`.
    pub fn begin(&self, what: &'static str) -> Waiting {
        self.ensure_thread();
        let since = self.0.awake.load(Ordering::Acquire);
        let mut state = self.0.state();
        let number = state.next;
        state.next += 1;
        state.waits.insert(number, (since, what));
        Waiting {
            inner: Arc::clone(&self.0),
            number,
            since,
        }
    }

    /// Whether it has been said that Kafka doesn't answer.
    pub fn is_told(&self) -> bool {
        self.0.state().told.is_some()
    }

    /// For how long this process was stopped, where that is not long over.
    pub fn stopped_lately(&self) -> Option<Duration> {
        // The thread that counts may be the last to go on.
        let (_, stop) = self.0.tick(Instant::now());
        stop.filter(|(_, over)| over.elapsed() < LATELY)
            .map(|(length, _)| length)
    }

    fn ensure_thread(&self) {
        if self.0.has_thread.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        let thread = std::thread::Builder::new().name("waiting".into());
        if let Err(error) = thread.spawn(move || watch(&inner)) {
            tracing::warn!(%error, "nobody will tell when Kafka does not answer");
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// How long it is since the last look, and the last stop.
    fn tick(&self, now: Instant) -> (Duration, Option<(Duration, Instant)>) {
        let mut ticks = self.ticks.lock().expect("no holder of this lock panics");
        ticks.tick(now)
    }
}

impl Ticks {
    fn tick(&mut self, now: Instant) -> (Duration, Option<(Duration, Instant)>) {
        let since = now - self.last.replace(now).unwrap_or(now);
        if since >= SURELY_STOPPED {
            self.stop = Some((since, now));
        }
        (since, self.stop)
    }
}

/// The thread: counts, and tells, until the last of the clients has gone.
fn watch(inner: &Weak<Inner>) {
    loop {
        std::thread::sleep(TICK);
        let Some(inner) = inner.upgrade() else { return };
        let (tick, _) = inner.tick(Instant::now());
        let tick = tick.min(LONGEST_TICK).as_millis() as u64;
        let now = inner.awake.fetch_add(tick, Ordering::AcqRel) + tick;
        let news = inner.state().news(now);
        let bootstrap_servers = &inner.bootstrap_servers;
        match news {
            None => {}
            Some(News::Silence { what }) => {
                tracing::warn!(
                    bootstrap_servers,
                    waiting_for = what,
                    "Kafka does not answer; waiting for it"
                );
            }
            Some(News::Answer { after }) => {
                tracing::warn!(
                    bootstrap_servers,
                    after_seconds = after.as_secs_f64(),
                    "Kafka answers again"
                );
            }
        }
    }
}

/// A wait that is under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    inner: Arc<Inner>,
    number: u64,
    since: u64,
}

impl Waiting {
    /// How long it has been, in time that this process was awake; to a tenth of a second.
    pub fn awake(&self) -> Duration {
        let now = self.inner.awake.load(Ordering::Acquire);
        Duration::from_millis(now - self.since)
    }

    /// Ends it: the answer has come.
    pub fn answered(self) {
        self.inner.state().is_answered = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inner.state().waits.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_told_once_and_its_end_once_whatever_the_number_of_waits() {
        let mut state = State::default();
        state.waits.insert(0, (1000, "a commit"));
        state.waits.insert(1, (2000, "another"));
        assert_eq!(state.news(4000), None);
        assert_eq!(state.news(4001), Some(News::Silence { what: "a commit" }));
        assert_eq!(state.news(9000), None);
        state.waits.remove(&0);
        state.is_answered = true;
        assert_eq!(state.news(10_000), None, "one still waits");
        state.waits.remove(&1);
        let after = Duration::from_millis(10_000);
        assert_eq!(state.news(11_000), Some(News::Answer { after }));
        assert_eq!(state.news(12_000), None);
    }

    #[test]
    fn a_tick_of_many_seconds_was_a_stop_of_the_process() {
        let (mut ticks, start) = (Ticks::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(ticks.tick(at(0)), (Duration::ZERO, None));
        assert_eq!(ticks.tick(at(2)), (Duration::from_secs(2), None));
        let stop = Some((Duration::from_secs(13), at(15)));
        assert_eq!(ticks.tick(at(15)), (Duration::from_secs(13), stop));
        assert_eq!(ticks.tick(at(16)), (Duration::from_secs(1), stop));
    }

    #[test]
    fn a_wait_that_is_given_up_is_no_answer() {
        let mut state = State::default();
        state.waits.insert(0, (0, "a commit"));
        assert!(state.news(5000).is_some());
        state.waits.remove(&0);
        assert_eq!(state.news(5100), None);
        state.waits.insert(1, (5200, "the transactional id"));
        assert_eq!(state.news(9000), None, "it has been told");
        state.waits.remove(&1);
        state.is_answered = true;
        let after = Duration::from_millis(9100);
        assert_eq!(state.news(9100), Some(News::Answer { after }));
    }
}
