//! What the devices say together: their estimates as one, and whose clock is ahead of the others'.
//!
//! Medians throughout: one device that sends nonsense moves a result by a rank and no further.

use serde::Serialize;

use super::{Device, Devices, SILENT};

/// Of fewer devices that send, none can be told to be ahead of the others.
pub const COMPARED: usize = 3;

/// What the devices' estimates say together. Counts of transitions are sums over the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pool {
    pub devices: usize,
    /// The median of the devices' own: one device with a mad estimate moves it by a rank, no more, where it
    /// would take a mean along.
    pub drift: f64,
    pub volatility: f64,
    /// Device-seconds that the estimates cover, and the steps in them.
    pub seconds: f64,
    pub n: u64,
    pub up_up: u64,
    pub up_down: u64,
    pub down_up: u64,
    pub down_down: u64,
}

impl Devices {
    /// What the estimates say together; `None` where there are none.
    pub fn pool(&self) -> Option<Pool> {
        let mut pool = Pool::default();
        let (mut drifts, mut volatilities) = (Vec::new(), Vec::new());
        for estimates in self.slots.iter().flatten().filter_map(|d| d.estimates) {
            let (Some(drift), Some(volatility)) = (estimates.drift, estimates.volatility) else {
                continue;
            };
            pool.devices += 1;
            drifts.push(drift);
            volatilities.push(volatility);
            pool.seconds += estimates.seconds.unwrap_or(0.0);
            pool.n = pool.n.saturating_add(estimates.n);
            pool.up_up = pool.up_up.saturating_add(estimates.up_up);
            pool.up_down = pool.up_down.saturating_add(estimates.up_down);
            pool.down_up = pool.down_up.saturating_add(estimates.down_up);
            pool.down_down = pool.down_down.saturating_add(estimates.down_down);
        }
        pool.drift = median(drifts)?;
        pool.volatility = median(volatilities)?;
        (pool.volatility.is_finite() && pool.drift.is_finite()).then_some(pool)
    }

    /// Each device's own volatility, by its number; not a number where it has none.
    pub fn volatilities(&self) -> Vec<f64> {
        let own = |slot: &Option<Device>| {
            let estimates = slot.as_ref().and_then(|device| device.estimates);
            estimates.and_then(|estimates| estimates.volatility)
        };
        self.slots
            .iter()
            .map(|slot| own(slot).unwrap_or(f64::NAN))
            .collect()
    }

    /// Whether the device is known to be ahead of the others, and its number; `None` for a new one.
    pub fn pace(&self, id: &str) -> Option<(u32, bool)> {
        let number = *self.numbers.get(id)?;
        Some((number, self.get(number)?.is_ahead))
    }

    /// Looks anew for devices whose times are further than `tolerance` ahead of the others' median. Returns how
    /// many devices send, and the newest time of those that are not ahead.
    pub fn compare(&mut self, tolerance: i64) -> (usize, Option<i64>) {
        let sends = |device: &Device| device.activity >= SILENT;
        let mut times: Vec<i64> = self
            .slots
            .iter()
            .flatten()
            .filter(|d| sends(d))
            .map(|d| d.newest.0)
            .collect();
        times.sort_unstable();
        let latest = match times.get(times.len() / 2) {
            Some(middle) if times.len() >= COMPARED => middle.saturating_add(tolerance),
            _ => i64::MAX,
        };
        self.ahead = 0;
        for device in self.slots.iter_mut().flatten() {
            device.is_ahead = sends(device) && device.newest.0 > latest;
            self.ahead += usize::from(device.is_ahead);
        }
        let newest = times.iter().rev().copied().find(|time| *time <= latest);
        (times.len(), newest)
    }
}

/// The middle one; the mean of the two in the middle.
fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_unstable_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    let lower = numbers[(numbers.len() - 1) / 2];
    Some(lower + (upper - lower) / 2.0)
}
