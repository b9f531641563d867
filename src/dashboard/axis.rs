//! The end of the time axis: the newest event time, as the records themselves tell it.
//!
//! Event times need not be the clock's: a replay is years behind, a simulation may run ahead. So the
//! axis follows the data, and one record with a mad time must not move it: a time further from the
//! others than the window waits until enough like it have come. Pure: the clock is an argument.

/// So many more strays than others, and the axis follows them.
const QUORUM: usize = 8;
/// After so long without a record on the axis, even a single stray takes it over. Milliseconds.
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

#[derive(Debug)]
pub struct Axis {
    window: i64,
    head: Option<i64>,
    strays: Vec<i64>,
    inside_at: i64,
}

impl Axis {
    /// An axis that shows `window` milliseconds.
    pub fn new(window: i64) -> Axis {
        Axis {
            window,
            head: None,
            strays: Vec::new(),
            inside_at: 0,
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

    /// Takes a time; the caller keeps the points of strays.
    pub fn place(&mut self, time: i64, now: i64) -> Place {
        let head = *self.head.get_or_insert(time);
        if time.abs_diff(head) <= self.window.unsigned_abs() {
            self.head = Some(head.max(time));
            self.inside_at = now;
            if !self.strays.is_empty() {
                self.strays.remove(0);
            }
            return Place::Inside;
        }
        self.strays.push(time);
        let outvoted = self.strays.len() >= QUORUM && !self.is_current(now);
        if outvoted || self.is_abandoned(now) {
            self.move_to_strays(now)
        } else {
            self.forget_old_strays()
        }
    }

    /// Whether strays wait for an axis that nothing else uses; then [`Axis::move_to_strays`].
    pub fn is_abandoned(&self, now: i64) -> bool {
        !self.strays.is_empty() && now - self.inside_at > ABANDONED
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
        Place::Moved
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

    fn axis_at(head: i64) -> Axis {
        let mut axis = Axis::new(300_000);
        assert_eq!(axis.place(head, NOW), Place::Inside);
        axis
    }

    #[test]
    fn axis_follows_the_data_wherever_they_are_in_time() {
        for head in [NOW, NOW - 50 * YEAR, NOW + 50 * YEAR] {
            let mut axis = axis_at(head);
            assert_eq!(axis.place(head + 1_000, NOW), Place::Inside);
            assert_eq!(axis.place(head - 1_000, NOW), Place::Inside);
            assert_eq!(axis.head(), Some(head + 1_000));
            assert_eq!(axis.is_current(NOW), head == NOW);
        }
    }

    #[test]
    fn mad_times_never_move_an_axis_that_is_in_use() {
        let mut axis = axis_at(NOW);
        for n in 0..1_000 {
            assert_eq!(axis.place(NOW + 8_000 * YEAR, NOW + n), Place::Stray);
            assert_eq!(axis.place(NOW - 40 * YEAR, NOW + n), Place::Stray);
            assert_eq!(axis.place(NOW + n, NOW + n), Place::Inside);
        }
        assert_eq!(axis.head(), Some(NOW + 999));
    }

    #[test]
    fn mad_first_time_is_outvoted() {
        let mut axis = axis_at(NOW + 8_000 * YEAR);
        let places: Vec<Place> = (0..QUORUM as i64)
            .map(|n| axis.place(NOW + n, NOW))
            .collect();
        assert_eq!(places.last(), Some(&Place::Moved));
        assert!(axis.is_current(NOW));
    }

    #[test]
    fn axis_that_nothing_uses_moves_to_a_single_stray() {
        let mut axis = axis_at(NOW);
        assert_eq!(axis.place(NOW + YEAR, NOW), Place::Stray);
        assert!(!axis.is_abandoned(NOW + ABANDONED));
        assert!(axis.is_abandoned(NOW + ABANDONED + 1));
        axis.move_to_strays(NOW);
        assert_eq!(axis.head(), Some(NOW + YEAR));
    }
}
