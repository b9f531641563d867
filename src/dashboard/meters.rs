//! Rates and latencies over the last seconds, and how long silence is normal.
//!
//! Pure: time is an argument, in milliseconds. What they keep is bounded, at any rate of records.

use std::collections::VecDeque;

/// What is measured is an average of this long.
const SPAN: i64 = 10_000;
/// Samples of a tick; beyond, every second, fourth, … record is sampled.
const SAMPLES: usize = 128;
/// Pauses between arrivals that are remembered.
const GAPS: usize = 15;
/// A shorter pause is one within a burst, not one between two of them: a topic that sends a thousand records
/// every ten seconds is not silent after one.
const PAUSE: i64 = 500;
/// Silence is never usual for longer than this.
const MOST_PATIENT: i64 = 600_000;

/// Records a second, and their latency from event time to frame.
#[derive(Debug)]
pub struct Meters {
    since: Option<i64>,
    ticks: VecDeque<Tick>,
    pending: Tick,
    stride: u64,
    /// Whether samples are spans already, not times of events.
    are_spans: bool,
}

#[derive(Debug, Default)]
struct Tick {
    at: i64,
    records: u64,
    /// Event times first, latencies once the tick is closed.
    samples: Vec<i64>,
}

/// Half, and all but one in a hundred, of the latencies are below. Negative where a clock is skewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    pub p50: i64,
    pub p99: i64,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            since: None,
            ticks: VecDeque::new(),
            pending: Tick::default(),
            stride: 1,
            are_spans: false,
        }
    }
}

impl Meters {
    /// Meters whose samples are spans, not times.
    pub fn of_spans() -> Meters {
        Meters {
            are_spans: true,
            ..Meters::default()
        }
    }

    /// Counts a record; `event_time` where its latency means something.
    pub fn count(&mut self, event_time: Option<i64>) {
        self.pending.records += 1;
        let Some(event_time) = event_time else { return };
        if !self.pending.records.is_multiple_of(self.stride) {
            return;
        }
        if self.pending.samples.len() == SAMPLES {
            let mut keep = false;
            self.pending.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
        self.pending.samples.push(event_time);
    }

    /// Closes a tick: its records leave for the clients now.
    pub fn tick(&mut self, now: i64) {
        self.since = Some(self.since.unwrap_or(now).min(now));
        let mut tick = std::mem::take(&mut self.pending);
        self.stride = 1;
        tick.at = now;
        if !self.are_spans {
            let times = tick.samples.iter_mut();
            times.for_each(|event_time| *event_time = now - *event_time);
        }
        if tick.records > 0 {
            self.ticks.push_back(tick);
        }
        // Those ahead of now are of before the clock was set back, and would block the others for as long.
        let is_over = |tick: &Tick| tick.at <= now - SPAN || tick.at > now;
        while self.ticks.front().is_some_and(is_over) {
            self.ticks.pop_front();
        }
    }

    pub fn rate(&self, now: i64) -> f64 {
        let records: u64 = self.ticks.iter().map(|tick| tick.records).sum();
        let span = (now - self.since.unwrap_or(now)).clamp(1_000, SPAN);
        records as f64 * 1_000.0 / span as f64
    }

    /// `None` without a record whose latency means something.
    pub fn latency(&self) -> Option<Latency> {
        let mut samples: Vec<i64> = self
            .ticks
            .iter()
            .flat_map(|tick| &tick.samples)
            .copied()
            .collect();
        samples.sort_unstable();
        let quantile = |percent: usize| {
            samples
                .get((samples.len() * percent / 100).min(samples.len() - 1))
                .copied()
        };
        if samples.is_empty() {
            return None;
        }
        Some(Latency {
            p50: quantile(50)?,
            p99: quantile(99)?,
        })
    }
}

/// Tells silence from a pause that is usual for the topic.
#[derive(Debug, Default)]
pub struct Silence {
    last: Option<i64>,
    gaps: VecDeque<i64>,
}

impl Silence {
    /// Something arrived.
    pub fn arrival(&mut self, now: i64) {
        let gap = now - self.last.replace(now).unwrap_or(now);
        if gap >= PAUSE {
            self.gaps.push_back(gap);
        }
        if self.gaps.len() > GAPS {
            self.gaps.pop_front();
        }
    }

    /// Since when nothing has arrived; `None` before the first arrival.
    pub fn since(&self) -> Option<i64> {
        self.last
    }

    /// A silence longer than this is unusual: three of the usual pauses.
    pub fn patience(&self) -> i64 {
        let mut gaps: Vec<i64> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
        (3 * usual).clamp(3_000, MOST_PATIENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_the_average_of_the_last_ten_seconds() {
        let mut meters = Meters::default();
        meters.tick(0);
        for second in 1..=20 {
            (0..5).for_each(|_| meters.count(None));
            meters.tick(second * 1_000);
        }
        assert_eq!(meters.rate(20_000), 5.0);
        meters.tick(40_000);
        assert_eq!(meters.rate(40_000), 0.0);
        assert_eq!(meters.latency(), None);
    }

    #[test]
    fn latency_runs_from_the_event_to_the_frame_and_may_be_negative() {
        let mut meters = Meters::default();
        (0..100).for_each(|n| meters.count(Some(1_000 - n)));
        meters.tick(1_000);
        assert_eq!(meters.latency(), Some(Latency { p50: 50, p99: 99 }));
        let mut ahead = Meters::default();
        ahead.count(Some(5_000));
        ahead.tick(1_000);
        assert_eq!(
            ahead.latency(),
            Some(Latency {
                p50: -4_000,
                p99: -4_000
            })
        );
    }

    #[test]
    fn samples_are_bounded_and_spread_over_the_tick() {
        let mut meters = Meters::default();
        (0..100_000).for_each(|n| meters.count(Some(-n)));
        assert!(meters.pending.samples.len() <= SAMPLES);
        meters.tick(0);
        let latency = meters.latency().expect("samples");
        assert!((40_000..60_000).contains(&latency.p50), "{latency:?}");
    }

    #[test]
    fn silence_is_unusual_after_three_usual_pauses() {
        let mut silence = Silence::default();
        assert_eq!(silence.patience(), 3_000);
        (0..10).for_each(|n| silence.arrival(n * 5_000));
        assert_eq!(silence.patience(), 15_000);
        assert_eq!(silence.since(), Some(45_000));
        silence.arrival(10_000_000);
        (0..20).for_each(|n| silence.arrival(10_000_000 + n * 1_000_000));
        assert_eq!(silence.patience(), MOST_PATIENT);
    }

    #[test]
    fn pauses_within_a_burst_say_nothing_about_the_next_one() {
        let mut silence = Silence::default();
        for burst in 0..5 {
            (0..100).for_each(|n| silence.arrival(burst * 20_000 + n));
        }
        assert_eq!(silence.patience(), 3 * (20_000 - 99));
    }

    #[test]
    fn clock_that_is_set_back_leaves_no_tick_in_the_future() {
        let mut meters = Meters::default();
        meters.count(Some(3_600_000));
        meters.tick(3_600_000);
        meters.count(Some(0));
        meters.tick(10);
        meters.tick(20_000);
        assert_eq!((meters.rate(20_000), meters.latency()), (0.0, None));
    }
}
