//! The Brownian path of one device, and the last 100 readings that it is computed from.
//!
//! For the readings of one device, sorted by (event_time, index), with n the position in that order:
//!
//! ```text
//! z_n  = −direction_n · Φ⁻¹((1 − magnitude_n) / 2)      a standard normal draw, finite for every magnitude
//! dt_n = event_time_n − event_time_{n−1}, in seconds
//! X_0  = 0
//! X_n  = X_{n−1} + drift_n · dt_n + volatility_n · √dt_n · z_n
//! ```
//!
//! This is the exact discretisation of Brownian motion with drift, and a Markov chain: X_n depends on the
//! past through X_{n−1} alone. So a reading that arrives late changes the steps after it and none before,
//! and the window is all that is needed to compute them again.
//!
//! Every sum runs from the oldest reading to the newest, each time anew: a running total would be faster
//! and would round differently after a restart.

use std::collections::VecDeque;

use super::event_time::EventTime;
use super::normal;
use super::reading::Reading;
use super::step::{Previous, Step, WindowStatistics};

/// How many readings a window holds.
pub const CAPACITY: usize = 100;

/// How many readings the state store keeps together: those of slots 0 to 4, of 5 to 9, and so on.
pub const BLOCK: usize = 5;

/// A reading held, with what the path has made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// When it was read.
    pub event_time: EventTime,
    /// Its index; (event_time, index) is its place in the order.
    pub index: i64,
    /// X_n.
    pub position: f64,
    /// z_n.
    pub draw: f64,
    /// μ of the device at that reading.
    pub drift: f64,
    /// σ of the device at that reading.
    pub volatility: f64,
    /// How often its step has changed since it was first written.
    pub revision: u32,
    /// Where the state store keeps it: unique in the window, below [`CAPACITY`].
    pub slot: u8,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the window; its step and those it changed were written.
    Used,
    /// The window holds a reading of the same (event_time, index): the first one stands.
    Duplicate,
    /// It sorts before the oldest reading of a full window.
    Late {
        /// That oldest reading's time.
        oldest: EventTime,
    },
}

/// The last readings of one device, sorted by (event_time, index).
///
/// Each is in two parts: the sums run over the points alone, which are a third of its memory.
#[derive(Clone, Debug, Default)]
pub struct Window {
    points: VecDeque<Point>,
    /// As many, in the same order.
    rests: VecDeque<Rest>,
    /// Bit i is set where something in block i has changed since [`Window::take_dirty`].
    dirty: u32,
}

/// Where the path is at a time: what the sums are made of.
#[derive(Clone, Copy, Debug)]
struct Point {
    event_time: EventTime,
    position: f64,
}

/// What else is held of a reading: see [`Held`].
#[derive(Clone, Copy, Debug)]
struct Rest {
    index: i64,
    draw: f64,
    drift: f64,
    volatility: f64,
    revision: u32,
    slot: u8,
}

impl Held {
    fn new(point: Point, rest: Rest) -> Held {
        Held {
            event_time: point.event_time,
            index: rest.index,
            position: point.position,
            draw: rest.draw,
            drift: rest.drift,
            volatility: rest.volatility,
            revision: rest.revision,
            slot: rest.slot,
        }
    }

    fn order(&self) -> (EventTime, i64) {
        (self.event_time, self.index)
    }

    fn point(&self) -> Point {
        Point {
            event_time: self.event_time,
            position: self.position,
        }
    }

    fn rest(&self) -> Rest {
        Rest {
            index: self.index,
            draw: self.draw,
            drift: self.drift,
            volatility: self.volatility,
            revision: self.revision,
            slot: self.slot,
        }
    }
}

impl Rest {
    /// The step to here from a reading that is `dt` seconds older.
    fn step(&self, dt: f64) -> f64 {
        self.drift * dt + self.volatility * dt.sqrt() * self.draw
    }
}

impl Window {
    /// Puts a reading where it belongs and appends its step and every step that it changed to `steps`, in
    /// the order of (event_time, index).
    pub fn insert(&mut self, reading: &Reading<'_>, steps: &mut Vec<Step>) -> Fate {
        let Err(place) = self.find(reading.event_time, reading.index) else {
            return Fate::Duplicate;
        };
        let is_full = self.points.len() == CAPACITY;
        let before = place.checked_sub(1).map(|i| Previous {
            index: self.rests[i].index,
            event_time: self.points[i].event_time,
            position: self.points[i].position,
        });
        if is_full && before.is_none() {
            let oldest = self.points[0].event_time;
            return Fate::Late { oldest };
        }
        // The oldest goes out first, so that a window never grows beyond its capacity; the path goes on
        // from the copy of the reading before, even where that is the one that goes.
        let (place, slot) = if is_full {
            self.points.pop_front();
            let oldest = self
                .rests
                .pop_front()
                .expect("a full window has an oldest reading");
            (place - 1, oldest.slot)
        } else {
            (place, self.points.len() as u8)
        };
        if self.points.len() == self.points.capacity() {
            let growth = growth(self.points.len());
            self.points.reserve_exact(growth);
            self.rests.reserve_exact(growth);
        }
        let point = Point {
            event_time: reading.event_time,
            position: 0.0,
        };
        let rest = Rest {
            index: reading.index,
            draw: -f64::from(reading.direction)
                * normal::inverse_cdf((1.0 - reading.magnitude) / 2.0),
            drift: reading.drift,
            volatility: reading.volatility,
            revision: 0,
            slot,
        };
        self.points.insert(place, point);
        self.rests.insert(place, rest);
        self.walk(place, before, steps);
        Fate::Used
    }

    /// The place of the reading with this time and index, or the place where it belongs.
    fn find(&self, event_time: EventTime, index: i64) -> Result<usize, usize> {
        // Most come in order, and a search would mean as many cache misses as it takes halves.
        let newest = self.points.back();
        if newest.is_none_or(|newest| newest.event_time < event_time) {
            return Err(self.points.len());
        }
        let first = self
            .points
            .partition_point(|point| point.event_time < event_time);
        // Few have the same time.
        let place = self
            .parts(first)
            .take_while(|(point, rest)| (point.event_time, rest.index) < (event_time, index))
            .count()
            + first;
        let there = self.parts(place).next();
        if there.is_some_and(|(point, rest)| (point.event_time, rest.index) == (event_time, index))
        {
            Ok(place)
        } else {
            Err(place)
        }
    }

    /// The parts of the readings from a place on.
    fn parts(&self, from: usize) -> impl ExactSizeIterator<Item = (&Point, &Rest)> {
        self.points.range(from..).zip(self.rests.range(from..))
    }

    /// Computes the path again from `place` on, whose predecessor is `before`, until nothing changes any
    /// more.
    fn walk(&mut self, place: usize, before: Option<Previous>, steps: &mut Vec<Step>) {
        let mut statistics = Statistics::default();
        for point in self.points.range(..place) {
            statistics.add(point);
        }
        let mut previous = before;
        let points = self.points.range_mut(place..);
        for (i, (point, rest)) in points.zip(self.rests.range_mut(place..)).enumerate() {
            let dt = previous.map_or(0.0, |previous| {
                point.event_time.seconds_since(previous.event_time)
            });
            let step = previous.map_or(0.0, |_| rest.step(dt));
            let position = previous.map_or(0.0, |previous| previous.position + step);
            let moved = point.position.to_bits() != position.to_bits();
            point.position = position;
            if i > 0 {
                rest.revision += 1;
            }
            self.dirty |= 1 << (usize::from(rest.slot) / BLOCK);
            statistics.add(point);
            steps.push(Step {
                index: rest.index,
                event_time: point.event_time,
                revision: rest.revision,
                position,
                step,
                dt,
                previous,
                window: statistics.finish((place + i + 1) as u32),
            });
            // What follows depends on this position alone. The inserted reading itself is always news to
            // the one after it.
            if i > 0 && !moved {
                break;
            }
            previous = Some(Previous {
                index: rest.index,
                event_time: point.event_time,
                position,
            });
        }
    }

    /// Hands out every block with a reading that changed since the last call: its readings, by slot.
    pub fn take_dirty(&mut self, mut each: impl FnMut(&[Held])) {
        let Some(any) = self.held().next() else {
            return;
        };
        // Slots are 0 to n − 1, in any order.
        let mut places = [0; CAPACITY];
        for (place, rest) in self.rests.iter().enumerate() {
            places[usize::from(rest.slot)] = place;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        while dirty != 0 {
            let first = dirty.trailing_zeros() as usize * BLOCK;
            dirty &= dirty - 1;
            let places = &places[first..self.rests.len().min(first + BLOCK)];
            let mut block = [any; BLOCK];
            for (held, &place) in block.iter_mut().zip(places) {
                *held = Held::new(self.points[place], self.rests[place]);
            }
            each(&block[..places.len()]);
        }
    }

    /// Whether [`Window::take_dirty`] would hand anything out.
    pub fn is_dirty(&self) -> bool {
        self.dirty != 0
    }

    /// The readings held, oldest first.
    pub fn held(&self) -> impl ExactSizeIterator<Item = Held> {
        self.parts(0).map(|(&point, &rest)| Held::new(point, rest))
    }

    /// A window of readings that were held before, in any order, at most [`CAPACITY`] and each with a slot of
    /// its own below their number.
    pub(super) fn restore(mut held: Vec<Held>) -> Window {
        // Slots are handed out in turn: mostly, these are two runs that are in order, which this sort is good at.
        held.sort_by_key(Held::order);
        Window {
            points: held.iter().map(Held::point).collect(),
            rests: held.iter().map(Held::rest).collect(),
            dirty: 0,
        }
    }
}

/// By how much to grow what is to hold a window and is full: in few steps to exactly the capacity, since
/// 100,000 windows must not hold twice what they need, nor leave holes of many sizes behind.
pub(super) fn growth(length: usize) -> usize {
    (length * 5).clamp(4, CAPACITY).saturating_sub(length)
}

/// The running sums of [`WindowStatistics`], fed oldest first. With increments ΔX_i between neighbours,
/// those over dt_i > 0, T = Σ dt_i and m their number,
///
/// ```text
/// drift      = (X_last − X_first) / T
/// volatility = √( max(0, Σ ΔX_i² / dt_i − drift² · T) / (m − 1) )
/// ```
///
/// and the pairs are counts of consecutive directions, increments of 0 or over dt = 0 left out before
/// pairs are formed.
#[derive(Default)]
struct Statistics {
    first: f64,
    last: Option<Point>,
    dt: Interval,
    increments: u32,
    time: f64,
    squares: f64,
    pairs: Pairs,
}

impl Statistics {
    // A call would keep the sums in memory.
    #[inline(always)]
    fn add(&mut self, point: &Point) {
        let Some(last) = self.last.replace(*point) else {
            self.first = point.position;
            return;
        };
        let Some(dt) = self.dt.between(last.event_time, point.event_time) else {
            return;
        };
        let increment = point.position - last.position;
        self.increments += 1;
        self.time += dt;
        self.squares += increment * increment / dt;
        if increment != 0.0 {
            self.pairs.add(increment > 0.0);
        }
    }

    /// Of so many readings.
    fn finish(&self, n: u32) -> WindowStatistics {
        let last = self.last.map_or(self.first, |last| last.position);
        let drift = (self.increments > 0).then(|| (last - self.first) / self.time);
        let volatility = drift.filter(|_| self.increments > 1).map(|drift| {
            let rest = self.squares - drift * drift * self.time;
            (rest.max(0.0) / f64::from(self.increments - 1)).sqrt()
        });
        WindowStatistics {
            n,
            drift,
            volatility,
            up_up: self.pairs.count(true, true),
            up_down: self.pairs.count(true, false),
            down_up: self.pairs.count(false, true),
            down_down: self.pairs.count(false, false),
        }
    }
}

/// The last dt > 0, in milliseconds and in seconds: most are the same, and a division is a third of the work.
struct Interval {
    millis: i64,
    seconds: f64,
}

impl Default for Interval {
    /// None yet: no dt is negative.
    fn default() -> Interval {
        Interval {
            millis: -1,
            seconds: 0.0,
        }
    }
}

impl Interval {
    /// The seconds between two neighbours, if there are any.
    #[inline(always)]
    fn between(&mut self, earlier: EventTime, later: EventTime) -> Option<f64> {
        let millis = later.millis() - earlier.millis();
        if millis != self.millis {
            if millis == 0 {
                return None;
            }
            self.millis = millis;
            self.seconds = later.seconds_since(earlier);
        }
        Some(self.seconds)
    }
}

/// How often which direction has followed which. All counts are in one number, since an array that is indexed by what
/// comes would keep all sums beside it out of the registers: first two for a direction that follows none, then down
/// and up after down, then down and up after up.
#[derive(Default)]
struct Pairs {
    counts: u64,
    /// Where the counts begin of what follows the last direction.
    follows: u32,
}

impl Pairs {
    /// Bits for a count, of which there are fewer than [`CAPACITY`].
    const BITS: u32 = 10;

    /// Where the counts begin of what follows a direction.
    fn after(is_up: bool) -> u32 {
        2 * Pairs::BITS * (1 + u32::from(is_up))
    }

    #[inline(always)]
    fn add(&mut self, is_up: bool) {
        self.counts += 1 << (self.follows + Pairs::BITS * u32::from(is_up));
        self.follows = Pairs::after(is_up);
    }

    fn count(&self, was_up: bool, is_up: bool) -> u32 {
        let place = Pairs::after(was_up) + Pairs::BITS * u32::from(is_up);
        (self.counts >> place) as u32 & ((1 << Pairs::BITS) - 1)
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
