//! The end of the time axis: the newest event time, as the records themselves tell it.
//!
//! Event times need not be the clock's: a replay is years behind, a simulation may run ahead. So the
//! axis follows the data, and neither one record with a mad time nor one device with a wrong clock may take
//! it along: a time further from the others than the window waits until enough like it have come, and where
//! several devices send, it takes two of them to move far at once. Pure: the clock is an argument.

use super::devices::COMPARED;

/// So many more strays than others, and the axis follows them.
const QUORUM: usize = 8;
/// After so long without a record on the axis, a quorum of strays takes it over, whatever the clock says.
/// Milliseconds. A single stray has to wait for a whole window without one.
const ABANDONED: i64 = 5_000;

/// Where a time belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the axis, which may have moved on with it.
    Inside,
    /// Too far from the others; kept as a stray.
    Stray,
    /// The axis has moved to the strays: look at them again.
    Moved,
}

/// Whose time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The device's number; new devices have none, and count as one.
    pub number: Option<u32>,
    /// Whether its clock is known to be ahead of the others': then it moves nothing.
    pub is_ahead: bool,
}

#[derive(Debug)]
pub struct Axis {
    window: i64,
    head: Option<i64>,
    strays: Vec<i64>,
    inside_at: i64,
    /// Where the head was when the devices were last compared; `None` where there are too few to compare.
    base: Option<i64>,
    /// The one that came furthest since, of those that went beyond what one device may.
    furthest: Option<(Sender, i64)>,
}

impl Axis {
    /// An axis that shows `window` milliseconds.
    pub fn new(window: i64) -> Axis {
        Axis {
            window,
            head: None,
            strays: Vec::new(),
            inside_at: 0,
            base: None,
            furthest: None,
        }
    }

    /// The newest event time.
    pub fn head(&self) -> Option<i64> {
        self.head
    }

    /// Whether the event times are the clock's.
    pub fn is_current(&self, now: i64) -> bool {
        self.head
            .is_some_and(|head| (now - head).abs() <= self.window)
    }

    /// How far ahead of the others a device may be: a quarter of what is shown.
    pub fn tolerance(&self) -> i64 {
        self.window / 4
    }

    /// Takes a time; the caller keeps the points of strays.
    pub fn place(&mut self, time: i64, sender: Sender, now: i64) -> Place {
        let head = *self.head.get_or_insert(time);
        if time.abs_diff(head) <= self.window.unsigned_abs() {
            if time > head && !sender.is_ahead {
                self.lead(time, head, sender);
            }
            self.inside_at = now;
            if !self.strays.is_empty() {
                self.strays.remove(0);
            }
            return Place::Inside;
        }
        if sender.is_ahead {
            return Place::Stray;
        }
        self.strays.push(time);
        let outvoted = self.strays.len() >= QUORUM && !self.is_current(now);
        if outvoted || self.is_abandoned(now) {
            self.move_to_strays(now)
        } else {
            self.forget_old_strays()
        }
    }

    /// Moves the head on. One device alone moves it by the tolerance at most; beyond, as far as two have come.
    fn lead(&mut self, time: i64, head: i64, sender: Sender) {
        let limit = self
            .base
            .map_or(i64::MAX, |base| base.saturating_add(self.tolerance()));
        let reached = match self.furthest {
            _ if time <= limit => time,
            Some((other, furthest)) if other != sender => {
                if time > furthest {
                    self.furthest = Some((sender, time));
                }
                time.min(furthest)
            }
            Some((_, furthest)) if furthest >= time => limit,
            _ => {
                self.furthest = Some((sender, time));
                limit
            }
        };
        self.head = Some(head.max(reached));
    }

    /// Takes what a comparison of the devices has said: how many of them send, and, where some are ahead, the
    /// newest time of the others, to which the head goes back.
    pub fn settle(&mut self, devices: usize, newest: Option<i64>) {
        if let (Some(head), Some(newest)) = (self.head, newest) {
            self.head = Some(head.min(newest));
        }
        self.base = self.head.filter(|_| devices >= COMPARED);
        self.furthest = None;
    }

    /// Whether strays wait for an axis that nothing else uses; then [`Axis::move_to_strays`].
    pub fn is_abandoned(&self, now: i64) -> bool {
        let idle = now - self.inside_at;
        let is_left = self.strays.len() >= QUORUM && idle > ABANDONED;
        !self.strays.is_empty() && (is_left || idle > self.window)
    }

    /// Moves the axis to the median of the strays: as many mad times as sound ones can't take it along.
    pub fn move_to_strays(&mut self, now: i64) -> Place {
        self.strays.sort_unstable();
        self.head = self
            .strays
            .get(self.strays.len() / 2)
            .copied()
            .or(self.head);
        self.strays.clear();
        self.inside_at = now;
        self.settle(0, None);
        Place::Moved
    }

    /// The clock was set back: what has happened can't lie ahead of it.
    pub fn set_back(&mut self, now: i64) {
        self.inside_at = self.inside_at.min(now);
    }

    fn forget_old_strays(&mut self) -> Place {
        if self.strays.len() > QUORUM {
            self.strays.remove(0);
        }
        Place::Stray
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const YEAR: i64 = 31_536_000_000;
    const ANY: Sender = Sender {
        number: None,
        is_ahead: false,
    };

    fn device(number: u32) -> Sender {
        Sender {
            number: Some(number),
            is_ahead: false,
        }
    }

    fn axis_at(head: i64) -> Axis {
        let mut axis = Axis::new(300_000);
        assert_eq!(axis.place(head, ANY, NOW), Place::Inside);
        axis
    }

    #[test]
    fn axis_follows_the_data_wherever_they_are_in_time() {
        for head in [NOW, NOW - 50 * YEAR, NOW + 50 * YEAR] {
            let mut axis = axis_at(head);
            assert_eq!(axis.place(head + 1_000, ANY, NOW), Place::Inside);
            assert_eq!(axis.place(head - 1_000, ANY, NOW), Place::Inside);
            assert_eq!(axis.head(), Some(head + 1_000));
            assert_eq!(axis.is_current(NOW), head == NOW);
        }
    }

    #[test]
    fn mad_times_never_move_an_axis_that_is_in_use() {
        let mut axis = axis_at(NOW);
        for n in 0..1_000 {
            assert_eq!(axis.place(NOW + 8_000 * YEAR, ANY, NOW + n), Place::Stray);
            assert_eq!(axis.place(NOW - 40 * YEAR, ANY, NOW + n), Place::Stray);
            assert_eq!(axis.place(NOW + n, ANY, NOW + n), Place::Inside);
        }
        assert_eq!(axis.head(), Some(NOW + 999));
    }

    #[test]
    fn mad_first_time_is_outvoted() {
        let mut axis = axis_at(NOW + 8_000 * YEAR);
        let places: Vec<Place> = (0..QUORUM as i64)
            .map(|n| axis.place(NOW + n, ANY, NOW))
            .collect();
        assert_eq!(places.last(), Some(&Place::Moved));
        assert!(axis.is_current(NOW));
    }

    #[test]
    fn axis_that_nothing_uses_moves_to_many_strays_soon_and_to_a_single_one_after_a_window() {
        let mut axis = axis_at(NOW);
        assert_eq!(axis.place(NOW + YEAR, ANY, NOW), Place::Stray);
        assert!(
            !axis.is_abandoned(NOW + ABANDONED + 1),
            "a pause of a slow topic"
        );
        assert!(axis.is_abandoned(NOW + 300_001));
        (1..QUORUM).for_each(|_| assert_eq!(axis.place(NOW + YEAR, ANY, NOW), Place::Stray));
        assert!(axis.is_abandoned(NOW + ABANDONED + 1));
        axis.move_to_strays(NOW);
        assert_eq!(axis.head(), Some(NOW + YEAR));
    }

    #[test]
    fn one_device_never_walks_away_with_the_axis_and_two_do() {
        let mut axis = axis_at(NOW);
        axis.settle(COMPARED, None);
        for ahead in [299_000, 598_000, 897_000] {
            axis.place(NOW + ahead, device(1), NOW);
        }
        assert_eq!(axis.head(), Some(NOW + 75_000));
        assert_eq!(axis.place(NOW + 200_000, device(2), NOW), Place::Inside);
        assert_eq!(axis.head(), Some(NOW + 200_000), "as far as two have come");
        axis.settle(COMPARED, Some(NOW + 1_000));
        assert_eq!(
            axis.head(),
            Some(NOW + 1_000),
            "it goes back when they are found to be ahead"
        );
        let wrong = Sender {
            is_ahead: true,
            ..device(1)
        };
        assert_eq!(axis.place(NOW + 240_000, wrong, NOW), Place::Inside);
        assert_eq!(axis.place(NOW + 400_000, wrong, NOW), Place::Stray);
        assert_eq!(axis.head(), Some(NOW + 1_000));
    }
}
