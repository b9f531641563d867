//! All devices at once, in columns of event time: how their values spread, and what share lies where theory
//! puts it.
//!
//! A column is a few buckets of the picture's grid and holds one number for each device, so that thousands
//! of devices cost a few megabytes and are summed up in a fraction of a millisecond. Everything that a
//! browser draws of a crowd is in the summaries; no single device is told apart here.
//!
//! Theory: measured from an anchor, driftless Brownian motion after τ seconds lies within ±σ√τ with a
//! probability of 68.3 %, and within ±2σ√τ with 95.4 %. Increments are stationary, so any anchor will do: it
//! lies near the beginning of the window and moves on by a tenth of the window at a time.

use std::collections::VecDeque;

use serde::Serialize;

use super::devices::Grid;

/// Buckets of the picture's grid in a column.
pub const BUCKETS: i64 = 4;
/// A device that has sent nothing in a column counts with its last value, if that is no older than so many
/// columns.
const CARRIED: usize = 8;
/// The shares of the devices whose bounds are told: 0 and 100 %, 1 and 99 %, and every twentieth.
pub const LEVELS: usize = 23;

#[derive(Debug)]
pub struct Crowd {
    /// Columns in a window, and the seconds of each.
    span: i64,
    seconds: f64,
    first: i64,
    columns: VecDeque<Column>,
    theory: Option<Theory>,
    /// The devices' own volatilities, by number; not a number where one has none.
    sigmas: Vec<f64>,
    with_spread: bool,
}

/// What the fan is drawn from: its apex and its width after one second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Theory {
    /// The column where it begins.
    pub anchor: i64,
    /// The volatility, per √second.
    pub sigma: f64,
}

#[derive(Debug, Default)]
struct Column {
    /// By the device's number; `NaN` where it has sent nothing.
    values: Vec<f64>,
    records: u32,
    is_dirty: bool,
    summary: Summary,
}

/// What a browser is told of a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The column's number: its end lies at (b + 1) columns of event time.
    pub b: i64,
    /// Devices in it, and records.
    pub n: u32,
    pub c: u32,
    /// How many devices are within ±σ√τ and ±2σ√τ, of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<[u32; 3]>,
    /// The values below which the shares of the devices lie.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub q: Vec<f64>,
    /// The same of the ways from the anchor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub r: Vec<f64>,
}

/// Where a device's way is measured from.
#[derive(Clone, Copy, Debug)]
struct Base {
    value: f64,
    column: i64,
}

impl Crowd {
    pub fn new(grid: Grid) -> Crowd {
        let column = grid.bucket * BUCKETS;
        Crowd {
            span: grid.window / column + 1,
            seconds: column as f64 / 1_000.0,
            first: 0,
            columns: VecDeque::new(),
            theory: None,
            sigmas: Vec::new(),
            with_spread: false,
        }
    }

    /// Takes a device's value. In a column the last one to arrive counts: revisions come in the order of
    /// their steps.
    pub fn take(&mut self, number: u32, bucket: i64, value: f64) {
        let Some(column) = self.column(bucket.div_euclid(BUCKETS)) else {
            return;
        };
        let number = number as usize;
        if column.values.len() <= number {
            column.values.resize(number + 1, f64::NAN);
        }
        column.values[number] = value;
        column.records = column.records.saturating_add(1);
        column.is_dirty = true;
    }

    /// Lets go of a device: its number will be another one's.
    pub fn forget(&mut self, number: u32) {
        for column in &mut self.columns {
            if let Some(value) = column.values.get_mut(number as usize) {
                *value = f64::NAN;
            }
        }
    }

    /// A device's last value in each column, as (the column's last bucket, value).
    pub fn path(&self, number: u32) -> impl Iterator<Item = (i64, f64)> {
        (self.first..)
            .zip(&self.columns)
            .filter_map(move |(at, column)| {
                let value = *column.values.get(number as usize)?;
                (!value.is_nan()).then_some((at * BUCKETS + BUCKETS - 1, value))
            })
    }

    /// What the devices' volatility is, if they have one: theory follows when it differs by more than 2 %.
    pub fn set_sigma(&mut self, sigma: Option<f64>) {
        let known = self.theory.map(|theory| theory.sigma);
        let is_near = match (known, sigma) {
            (Some(known), Some(sigma)) => (sigma / known - 1.0).abs() < 0.02,
            (None, None) => true,
            _ => false,
        };
        if !is_near {
            self.theory = sigma.map(|sigma| Theory {
                anchor: self.anchor(),
                sigma,
            });
            self.mark_all();
        }
    }

    /// What each device is measured by, if it has a volatility of its own: one that is twice as volatile as the
    /// others is inside as often, by theory. Takes effect as columns change.
    pub fn set_sigmas(&mut self, sigmas: Vec<f64>) {
        self.sigmas = sigmas;
    }

    /// Whether the spread of the values is wanted, beside the shares within theory.
    pub fn set_spread(&mut self, with_spread: bool) {
        if self.with_spread != with_spread {
            self.with_spread = with_spread;
            self.mark_all();
        }
    }

    pub fn theory(&self) -> Option<Theory> {
        self.theory
    }

    /// Sums up the columns that have changed, and returns them.
    pub fn changes(&mut self) -> Vec<Summary> {
        let anchor = self.anchor();
        if let Some(theory) = self
            .theory
            .as_mut()
            .filter(|theory| theory.anchor != anchor)
        {
            theory.anchor = anchor;
            self.mark_all();
        }
        let dirty: Vec<usize> = (0..self.columns.len())
            .filter(|at| self.columns[*at].is_dirty)
            .collect();
        if dirty.is_empty() {
            return Vec::new();
        }
        let bases = self.bases();
        for at in &dirty {
            let summary = self.sum_up(*at, &bases);
            let column = &mut self.columns[*at];
            column.summary = summary;
            column.is_dirty = false;
        }
        dirty
            .into_iter()
            .map(|at| self.columns[at].summary.clone())
            .collect()
    }

    /// Everything that has been summed up.
    pub fn summaries(&self) -> impl Iterator<Item = &Summary> {
        let all = self.columns.iter().map(|column| &column.summary);
        all.filter(|summary| summary.n > 0)
    }

    fn mark_all(&mut self) {
        for column in self
            .columns
            .iter_mut()
            .filter(|column| !column.values.is_empty())
        {
            column.is_dirty = true;
        }
    }

    /// The column, made where it lies in the window; columns that leave the window are let go.
    fn column(&mut self, wanted: i64) -> Option<&mut Column> {
        let end = self.first + self.columns.len() as i64;
        if self.columns.is_empty() || wanted >= end + self.span || wanted < self.first - self.span {
            self.columns.clear();
            self.first = wanted;
            self.columns.push_back(Column::default());
        } else if wanted >= end {
            for _ in end..=wanted {
                self.columns.push_back(Column::default());
            }
            while self.columns.len() as i64 > self.span {
                self.columns.pop_front();
                self.first += 1;
            }
        } else if wanted < self.first {
            if end - wanted > self.span {
                return None;
            }
            while self.first > wanted {
                self.first -= 1;
                self.columns.push_front(Column::default());
            }
        }
        self.columns.get_mut((wanted - self.first) as usize)
    }

    /// The first column, from the beginning of the window on, whose number is a round one.
    fn anchor(&self) -> i64 {
        let pace = (self.span / 10).max(1);
        let newest = self.first + self.columns.len() as i64 - 1;
        let begin = (newest - self.span + 1).max(self.first);
        // A path that has begun within the window is measured from its beginning.
        if begin == self.first && (self.columns.len() as i64) < self.span {
            return begin;
        }
        begin + (-begin).rem_euclid(pace)
    }

    fn value(&self, at: usize, number: usize) -> Option<f64> {
        (at.saturating_sub(CARRIED)..=at).rev().find_map(|at| {
            let value = *self.columns[at].values.get(number)?;
            (!value.is_nan()).then_some(value)
        })
    }

    /// Each device's value at the anchor, or the first one after it.
    fn bases(&self) -> Vec<Option<Base>> {
        let Some(theory) = self.theory else {
            return Vec::new();
        };
        let anchor = (theory.anchor - self.first).max(0) as usize;
        let devices = self.columns.iter().map(|column| column.values.len()).max();
        let base = |number: usize| {
            let at = |column: usize, value| Base {
                value,
                column: self.first + column as i64,
            };
            if anchor < self.columns.len()
                && let Some(value) = self.value(anchor, number)
            {
                return Some(at(anchor, value));
            }
            let mut later = self.columns.iter().enumerate().skip(anchor);
            later.find_map(|(column, values)| {
                let value = *values.values.get(number)?;
                (!value.is_nan()).then(|| at(column, value))
            })
        };
        (0..devices.unwrap_or(0)).map(base).collect()
    }

    fn sum_up(&self, at: usize, bases: &[Option<Base>]) -> Summary {
        let here = self.first + at as i64;
        let devices = (at.saturating_sub(CARRIED)..=at).map(|at| self.columns[at].values.len());
        let mut values = Vec::new();
        let mut ways = Vec::new();
        let mut inside = [0; 3];
        for number in 0..devices.max().unwrap_or(0) {
            let Some(value) = self.value(at, number) else {
                continue;
            };
            values.push(value);
            let Some(base) = bases.get(number).copied().flatten() else {
                continue;
            };
            let way = value - base.value;
            ways.push(way);
            let elapsed = (here - base.column) as f64 * self.seconds;
            if let Some(theory) = self.theory.filter(|_| elapsed > 0.0) {
                let own = self.sigmas.get(number).filter(|sigma| **sigma > 0.0);
                let sigma = own.copied().unwrap_or(theory.sigma);
                let sigmas = way.abs() / (sigma * elapsed.sqrt());
                inside[0] += u32::from(sigmas <= 1.0);
                inside[1] += u32::from(sigmas <= 2.0);
                inside[2] += 1;
            }
        }
        Summary {
            b: here,
            n: values.len() as u32,
            c: self.columns[at].records,
            inside: (inside[2] > 0).then_some(inside),
            q: self.spread(values),
            r: self.spread(ways),
        }
    }

    fn spread(&self, mut values: Vec<f64>) -> Vec<f64> {
        if !self.with_spread || values.is_empty() {
            return Vec::new();
        }
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len() - 1;
        let range = values[last] - values[0];
        // As many digits as a screen can show: the rest would double the message.
        let digits = (4.0 - range.max(1e-30).log10().floor()).clamp(0.0, 12.0);
        let scale = 10_f64.powi(digits as i32);
        let short = |value: f64| {
            let rounded = (value * scale).round() / scale;
            if rounded.is_finite() { rounded } else { value }
        };
        (0..LEVELS)
            .map(|n| short(values[(last as f64 * level(n)).round() as usize]))
            .collect()
    }
}

/// The share that the bound number `n` stands for.
fn level(n: usize) -> f64 {
    match n {
        0 => 0.0,
        1 => 0.01,
        n if n == LEVELS - 2 => 0.99,
        n if n >= LEVELS - 1 => 1.0,
        n => (n - 1) as f64 * 0.05,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::noise::Noise;
    use crate::model::normal::inverse_cdf;

    const GRID: Grid = Grid {
        window: 300_000,
        bucket: 500,
    };

    /// `devices` walks of one second a step with a volatility of 1, by the noise of the contract.
    fn walks(devices: u32, seconds: i64) -> Crowd {
        let mut crowd = Crowd::new(GRID);
        for number in 0..devices {
            let (mut x, noise) = (0.0, Noise::new(42, &format!("d{number}")));
            for second in 0..seconds {
                if second > 0 {
                    let (magnitude, direction) = noise.at(second);
                    x -= f64::from(direction) * inverse_cdf((1.0 - magnitude) / 2.0);
                }
                crowd.take(number, second * 2, x);
            }
        }
        crowd
    }

    #[test]
    fn shares_within_the_fan_are_those_of_theory() {
        let mut crowd = walks(1_000, 250);
        crowd.set_sigma(Some(1.0));
        let summaries = crowd.changes();
        let [one, two, all] = summaries.last().and_then(|s| s.inside).expect("theory");
        assert_eq!(all, 1_000);
        // Three standard errors of a share of 1,000: 4.4 and 2 %.
        assert!(
            (638..=727).contains(&one),
            "{one} of {all} within one sigma"
        );
        assert!(
            (934..=974).contains(&two),
            "{two} of {all} within two sigmas"
        );
    }

    #[test]
    fn each_device_is_measured_by_its_own_volatility() {
        let mut crowd = Crowd::new(GRID);
        for (number, value) in [(0, 0.5), (1, 50.0), (2, 50.0)] {
            crowd.take(number, 0, 0.0);
            crowd.take(number, 4 * BUCKETS, value);
        }
        crowd.set_sigma(Some(1.0));
        crowd.set_sigmas(vec![f64::NAN, 100.0, 1.0]);
        let last = crowd.changes().pop().expect("a summary");
        assert_eq!(last.inside, Some([2, 2, 3]));
    }

    #[test]
    fn values_keep_their_digits() {
        let mut crowd = Crowd::new(GRID);
        crowd.set_spread(true);
        (0..3).for_each(|n| crowd.take(n, 0, 1_700_000_000.0 + f64::from(n)));
        let summary = crowd.changes().pop().expect("a summary");
        assert_eq!(
            (summary.q[0], summary.q[LEVELS - 1]),
            (1_700_000_000.0, 1_700_000_002.0)
        );
        assert_eq!(crowd.path(1).next(), Some((3, 1_700_000_001.0)));
    }

    #[test]
    fn spread_tells_the_bounds_of_the_shares() {
        let mut crowd = Crowd::new(GRID);
        crowd.set_spread(true);
        (0..=100).for_each(|n| crowd.take(n, 8, f64::from(n)));
        let summary = crowd.changes().pop().expect("a summary");
        assert_eq!((summary.n, summary.c, summary.q.len()), (101, 101, LEVELS));
        assert_eq!(summary.q[..4], [0.0, 1.0, 5.0, 10.0]);
        assert_eq!(summary.q[LEVELS / 2], 50.0);
        assert_eq!(summary.q[LEVELS - 2..], [99.0, 100.0]);
        assert!(summary.r.is_empty() && summary.inside.is_none());
        assert!(crowd.changes().is_empty(), "nothing has changed since");
    }

    #[test]
    fn device_counts_on_for_a_while_and_its_number_can_be_another_ones() {
        let mut crowd = Crowd::new(GRID);
        crowd.take(0, 0, 1.0);
        crowd.take(1, 0, 2.0);
        crowd.take(1, CARRIED as i64 * BUCKETS, 3.0);
        crowd.take(1, 40 * BUCKETS, 4.0);
        let counts: Vec<(i64, u32)> = crowd.changes().iter().map(|s| (s.b, s.n)).collect();
        assert_eq!(counts, [(0, 2), (CARRIED as i64, 2), (40, 1)]);
        crowd.forget(1);
        assert_eq!((crowd.path(0).count(), crowd.path(1).count()), (1, 0));
    }

    #[test]
    fn window_moves_on_with_the_data_and_back_with_them() {
        let mut crowd = Crowd::new(GRID);
        for bucket in 0..10_000 {
            crowd.take(0, bucket, 0.0);
        }
        assert_eq!(crowd.columns.len() as i64, crowd.span);
        crowd.take(0, 3, 7.0);
        assert_eq!(crowd.path(0).collect::<Vec<_>>(), [(3, 7.0)]);
        crowd.take(0, i64::MAX / 8, 1.0);
        assert_eq!(crowd.columns.len(), 1);
    }

    #[test]
    fn anchor_stays_for_a_tenth_of_a_window() {
        let mut crowd = walks(2, 300);
        crowd.set_sigma(Some(1.0));
        crowd.changes();
        let anchors: Vec<i64> = (300..400)
            .map(|second| {
                crowd.take(0, second * 2, 0.0);
                crowd.changes();
                crowd.theory().expect("a theory").anchor
            })
            .collect();
        let mut different = anchors.clone();
        different.dedup();
        assert!(different.len() <= 5, "{anchors:?}");
        assert!(anchors.iter().all(|anchor| *anchor >= 0 && *anchor < 75));
    }
}
