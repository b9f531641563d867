//! A window on its way back from the state store: the newest record of each slot, whatever order they come in.
//!
//! It knows nothing of the order of readings, and checks nothing until the window is asked for.

use super::window::{Held, Window, growth};

/// The readings of one window, as far as they have been read.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    held: Vec<Held>,
    /// Bit i is set where slot i has been read. Without it every new slot would be looked for in vain.
    taken: u128,
}

impl Slots {
    /// Puts a reading into its slot, in place of an older one. Its slot is below
    /// [`CAPACITY`](super::window::CAPACITY).
    pub fn put(&mut self, held: Held) {
        let slot = usize::from(held.slot);
        if self.taken >> slot & 1 == 0 {
            self.taken |= 1 << slot;
            if self.held.len() == self.held.capacity() {
                self.held.reserve_exact(growth(self.held.len()));
            }
            self.held.push(held);
            return;
        }
        // Slots are handed out in order, so most readings stand at the place of that number.
        let place = match self.held.get_mut(slot) {
            Some(place) if place.slot == held.slot => Some(place),
            _ => self.held.iter_mut().find(|place| place.slot == held.slot),
        };
        *place.expect("a slot that is taken is held") = held;
    }

    /// The window that they make, if they make one: their slots are 0 … n − 1.
    pub fn window(self) -> Option<Window> {
        let length = self.held.len();
        (self.taken.trailing_ones() as usize == length).then(|| Window::restore(self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_time::EventTime;
    use super::super::window::CAPACITY;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn held(slot: u8, index: i64) -> Held {
        Held {
            event_time: EventTime::from_millis(index).unwrap(),
            index,
            position: 0.0,
            draw: 0.0,
            drift: 0.0,
            volatility: 0.0,
            revision: 0,
            slot,
        }
    }

    proptest! {
        #[test]
        fn the_newest_of_each_slot_makes_the_window_where_no_slot_is_missing(
            slots in proptest::collection::vec(0..CAPACITY as u8, 0..400), upper in 1..CAPACITY as u8,
        ) {
            let mut newest = BTreeMap::new();
            let mut read = Slots::default();
            for (index, slot) in slots.iter().map(|slot| slot % upper).enumerate() {
                let held = held(slot, index as i64);
                newest.insert(slot, held);
                read.put(held);
            }
            let is_whole = newest.keys().copied().eq(0..newest.len() as u8);
            let mut expected: Vec<_> = newest.into_values().collect();
            expected.sort_by_key(|held| held.index);
            let window = read.window().map(|window| window.held().collect::<Vec<_>>());
            prop_assert_eq!(window, is_whole.then_some(expected));
        }
    }

    #[test]
    fn full_windows_take_no_more_room_than_they_need() {
        let mut slots = Slots::default();
        (0..CAPACITY as u8).for_each(|slot| slots.put(held(slot, i64::from(slot))));
        assert_eq!(slots.held.capacity(), CAPACITY);
        assert_eq!(Slots::default().held.capacity(), 0);
    }
}
