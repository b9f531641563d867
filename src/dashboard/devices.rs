//! The devices of a topic, and which of them are drawn: at most 200 as lines, 20 of them in colour.
//!
//! More than 200 are a crowd: then the 20 in colour are drawn, and those that somebody has asked for.
//!
//! Whatever a producer sends, the number of devices and of their points is bounded. Choices are stable:
//! a device that is drawn stays so until another one is clearly more active, and keeps its colour.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::decode::{Estimates, Point};
use super::series::Series;
pub use together::{COMPARED, Pool};

mod together;

/// Devices known at a time; records of others are counted only.
pub const MAX_DEVICES: usize = 5_000;
/// Devices that are sent to the browsers.
pub const MAX_DRAWN: usize = 200;
/// Devices that are drawn in colour and listed.
pub const MAX_TOP: usize = 20;
/// Points of a drawn device: about one for every other pixel of a wide screen.
pub const MAX_POINTS: usize = 1_200;
/// Points of a device that isn't drawn: enough to begin with, should it be.
const MAX_HIDDEN_POINTS: usize = 60;
/// Fewer devices than this are a crowd no more.
const FEW: usize = 180;
/// Devices that are kept in colour because somebody asks for them, and for how long. Milliseconds.
const MAX_WANTED: usize = 16;
const WANTED: i64 = 30_000;
/// Steps whose times are remembered: the contract's window.
const STEPS: usize = 100;
/// How much more active a device must be to take another one's place.
const INCUMBENT: f64 = 1.5;
/// Less activity than a single record leaves after two rankings.
const SILENT: f64 = 0.3;

#[derive(Debug)]
pub struct Device {
    pub id: Arc<str>,
    pub series: Series,
    /// (time, index) of the newest point.
    pub newest: (i64, u64),
    pub value: f64,
    pub estimates: Option<Estimates>,
    /// The times of the last steps.
    steps: VecDeque<i64>,
    pub is_drawn: bool,
    /// Buckets that changed since they were last sent.
    pub changed: Vec<i64>,
    /// Whether the browsers need all of its points.
    pub is_whole: bool,
    /// Whether `value` and `estimates` changed since they were last sent.
    pub is_fresh: bool,
    /// Whether its clock seems to be ahead of the others'.
    is_ahead: bool,
    activity: f64,
}

/// Devices by number. A number is given anew only after its device is gone.
#[derive(Debug, Default)]
pub struct Devices {
    numbers: HashMap<Arc<str>, u32>,
    slots: Vec<Option<Device>>,
    free: Vec<u32>,
    drawn: usize,
    /// Colours: which device has which.
    top: Vec<Option<u32>>,
    pub top_changed: bool,
    /// Devices that are drawn no more, since it was last told.
    pub left: Vec<u32>,
    /// Devices that are drawn again, with few points of their own.
    pub entered: Vec<u32>,
    /// Devices that are gone.
    pub gone: Vec<u32>,
    /// Whether there are too many to draw each of them.
    pub is_crowd: bool,
    /// Devices whose clocks seem to be ahead.
    pub ahead: usize,
    /// Devices that somebody asks for, and until when.
    wanted: Vec<(u32, i64)>,
}

/// A device as the answer to a search.
#[derive(Debug, Serialize)]
pub struct Found {
    pub id: String,
    pub time: i64,
    pub value: f64,
}

/// The grid of event time that the points lie on.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub window: i64,
    pub bucket: i64,
}

impl Grid {
    /// A grid of at most about 600 buckets of a round length.
    pub fn of(window: i64) -> Grid {
        const ROUND: &[i64] = &[
            1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000,
        ];
        let bucket = ROUND.iter().copied().find(|bucket| window / bucket <= 600);
        Grid {
            window,
            bucket: bucket.unwrap_or(window / 600),
        }
    }

    pub fn bucket_of(self, time: i64) -> i64 {
        time.div_euclid(self.bucket)
    }

    /// The first bucket of a window that ends at `head`.
    pub fn first(self, head: i64) -> i64 {
        self.bucket_of(head.saturating_sub(self.window))
    }
}

impl Devices {
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn top(&self) -> &[Option<u32>] {
        &self.top
    }

    pub fn drawn(&self) -> impl Iterator<Item = (u32, &Device)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(n, slot)| slot.as_ref().map(|device| (n, device)))
            .filter(|(_, d)| d.is_drawn)
    }

    pub fn drawn_mut(&mut self) -> impl Iterator<Item = (u32, &mut Device)> {
        (0..)
            .zip(&mut self.slots)
            .filter_map(|(n, slot)| slot.as_mut().map(|d| (n, d)))
            .filter(|(_, d)| d.is_drawn)
    }

    pub fn get(&self, number: u32) -> Option<&Device> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut Device> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// Takes a point of the device that it returns; `None` where there is no room for another one.
    pub fn take(&mut self, point: &Point<'_>, grid: Grid) -> Option<u32> {
        let known = self.numbers.get(point.device.as_ref()).copied();
        let number = known.or_else(|| self.add(&point.device))?;
        if let Some(device) = self.slots[number as usize].as_mut() {
            device.take(point, grid);
        }
        Some(number)
    }

    /// Keeps a device in colour for a while. Returns whether it does: there may be no such device, or as many
    /// are asked for as there is room for. Those who came first keep what they look at.
    pub fn want(&mut self, id: &str, now: i64) -> bool {
        let Some(number) = self.numbers.get(id).copied() else {
            return false;
        };
        match self.wanted.iter_mut().find(|(wanted, _)| *wanted == number) {
            Some((_, until)) => *until = now + WANTED,
            None => {
                if self.wanted.len() == MAX_WANTED {
                    return false;
                }
                self.wanted.push((number, now + WANTED));
                self.choose();
            }
        }
        true
    }

    /// Devices with `text` in their names, as people sort them, and how many there are.
    pub fn search(&self, text: &str, limit: usize) -> (usize, Vec<Found>) {
        let text = text.to_lowercase();
        let all = self.slots.iter().flatten();
        let mut found: Vec<&Device> = all
            .filter(|device| device.id.to_lowercase().contains(&text))
            .collect();
        found.sort_by_cached_key(|device| natural(&device.id));
        let first = found.iter().take(limit).map(|device| Found {
            id: device.id.to_string(),
            time: device.newest.0,
            value: device.value,
        });
        (found.len(), first.collect())
    }

    fn add(&mut self, id: &str) -> Option<u32> {
        if self.numbers.len() == MAX_DEVICES {
            return None;
        }
        let id: Arc<str> = id.into();
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        let is_drawn = self.drawn < MAX_DRAWN && !self.is_crowd;
        if is_drawn {
            self.drawn += 1;
            self.colour(number);
        }
        self.slots[number as usize] = Some(Device {
            id: id.clone(),
            series: Series::default(),
            newest: (i64::MIN, 0),
            value: 0.0,
            estimates: None,
            steps: VecDeque::new(),
            is_drawn,
            changed: Vec::new(),
            is_whole: true,
            is_fresh: true,
            is_ahead: false,
            activity: 0.0,
        });
        self.numbers.insert(id, number);
        Some(number)
    }

    /// Gives the device a free colour, if there is one.
    fn colour(&mut self, number: u32) {
        if let Some(slot) = self.top.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(number);
        } else if self.top.len() < MAX_TOP {
            self.top.push(Some(number));
        } else {
            return;
        }
        self.top_changed = true;
    }

    /// Lets go of devices that have left the window, and chooses anew which ones are drawn.
    pub fn rank(&mut self, head: i64, window: i64, now: i64) {
        // One that sends is in the window again in a moment: a partition is read ahead of the others.
        let is_silent = |device: &Device| device.activity < SILENT;
        self.forget(|device| {
            is_silent(device) && device.newest.0.abs_diff(head) > window.unsigned_abs()
        });
        // None is wanted for longer, unless the clock was set back.
        self.wanted
            .retain(|(_, until)| (now + 1..=now + WANTED).contains(until));
        self.choose();
        self.slots
            .iter_mut()
            .flatten()
            .for_each(|device| device.activity *= 0.5);
    }

    fn choose(&mut self) {
        self.is_crowd = self.len() > if self.is_crowd { FEW } else { MAX_DRAWN };
        self.choose_top();
        if self.is_crowd || self.len() > MAX_DRAWN || self.drawn < self.len() {
            self.choose_drawn();
        }
    }

    /// Orders the colours by name: as long as the picture is young, nobody has got used to them.
    pub fn sort_top(&mut self) {
        let mut sorted: Vec<u32> = self.top.iter().copied().flatten().collect();
        sorted.sort_by_key(|number| self.get(*number).map(|device| natural(&device.id)));
        let sorted: Vec<Option<u32>> = sorted.into_iter().map(Some).collect();
        if self.top != sorted {
            self.top = sorted;
            self.top_changed = true;
        }
    }

    fn forget(&mut self, is_gone: impl Fn(&Device) -> bool) {
        for (number, slot) in (0..).zip(&mut self.slots) {
            let Some(device) = slot.take_if(|device| is_gone(device)) else {
                continue;
            };
            self.numbers.remove(&device.id);
            self.free.push(number);
            self.gone.push(number);
            self.wanted.retain(|(wanted, _)| *wanted != number);
            if device.is_drawn {
                self.drawn -= 1;
                self.left.push(number);
            }
            for colour in self
                .top
                .iter_mut()
                .filter(|colour| **colour == Some(number))
            {
                *colour = None;
                self.top_changed = true;
            }
        }
    }

    fn choose_drawn(&mut self) {
        let chosen = if self.is_crowd {
            self.top.iter().copied().flatten().collect()
        } else {
            self.most_active(MAX_DRAWN, |_, device| device.is_drawn)
        };
        for number in (0..self.slots.len() as u32).filter(|number| !chosen.contains(number)) {
            if let Some(device) = self.slots[number as usize]
                .as_mut()
                .filter(|device| device.is_drawn)
            {
                device.is_drawn = false;
                device.changed = Vec::new();
                self.left.push(number);
            }
        }
        for number in &chosen {
            if let Some(device) = self.slots[*number as usize]
                .as_mut()
                .filter(|device| !device.is_drawn)
            {
                device.is_drawn = true;
                device.is_whole = true;
                self.entered.push(*number);
            }
        }
        self.drawn = chosen.len();
    }

    fn choose_top(&mut self) {
        let top = self.top.clone();
        let chosen = self.most_active(MAX_TOP, |number, _| top.contains(&Some(number)));
        for slot in &mut self.top {
            if slot.is_some_and(|number| !chosen.contains(&number)) {
                *slot = None;
            }
        }
        for number in chosen {
            if !self.top.contains(&Some(number)) {
                self.colour(number);
                if let Some(device) = self.slots[number as usize].as_mut() {
                    device.is_fresh = true;
                }
            }
        }
        self.top_changed |= self.top != top;
    }

    fn most_active(&self, count: usize, is_incumbent: impl Fn(u32, &Device) -> bool) -> Vec<u32> {
        let score = |number: u32, device: &Device| {
            // The least bonus is for a topic at rest, where all activities fade to nothing.
            let bonus = if is_incumbent(number, device) {
                INCUMBENT
            } else {
                1.0
            };
            let is_wanted = self.wanted.iter().any(|(wanted, _)| *wanted == number);
            let first = if is_wanted { f64::INFINITY } else { 0.0 };
            device.activity * bonus + bonus * 1e-3 + first
        };
        let all = (0..)
            .zip(&self.slots)
            .filter_map(|(number, slot)| Some((number, slot.as_ref()?)));
        let mut all: Vec<(f64, u32)> = all
            .map(|(number, device)| (score(number, device), number))
            .collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(count);
        all.into_iter().map(|(_, number)| number).collect()
    }
}

impl Device {
    fn take(&mut self, point: &Point<'_>, grid: Grid) {
        self.activity += 1.0;
        let bucket = grid.bucket_of(point.time);
        let span = grid.window / grid.bucket + 1;
        let limit = if self.is_drawn {
            MAX_POINTS
        } else {
            MAX_HIDDEN_POINTS
        };
        if self
            .series
            .insert(bucket, point.time, point.index, point.value, span, limit)
            && self.is_drawn
        {
            self.mark(bucket);
        }
        let went_back = self.newest.0.saturating_sub(point.time) > grid.window;
        if (point.time, point.index) >= self.newest || went_back {
            self.newest = (point.time, point.index);
            self.value = point.value;
            self.estimates = point
                .estimates
                .map(|estimates| self.with_seconds(estimates, point.time));
            self.is_fresh = true;
        }
    }

    /// Adds how long the estimates' steps took: what the error of a drift depends on.
    fn with_seconds(&mut self, estimates: Estimates, time: i64) -> Estimates {
        if self.steps.len() == STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(time);
        let first = self.steps.len().checked_sub(estimates.n as usize);
        let seconds = first
            .map(|first| (time - self.steps[first.min(self.steps.len() - 1)]) as f64 / 1_000.0);
        Estimates {
            seconds: seconds.filter(|seconds| *seconds > 0.0),
            ..estimates
        }
    }

    fn mark(&mut self, bucket: i64) {
        if self.is_whole || self.changed.contains(&bucket) {
            return;
        }
        self.changed.push(bucket);
        // Cheaper to send than to list, and the list stays short enough to search.
        if self.changed.len() > 64 {
            self.is_whole = true;
            self.changed.clear();
        }
    }
}

/// `sensor-10` after `sensor-9`.
fn natural(id: &str) -> (String, u64) {
    let stem = id.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), id[stem.len()..].parse().unwrap_or(0))
}

#[cfg(test)]
mod tests;
