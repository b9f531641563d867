//! Who waits for a partition to change: fetches without enough data.
//!
//! A waiter is registered under the lock under which it saw too little, and a wake-up is a permit that
//! stays until it is used: none can be lost. A wake-up may be for nothing; who is woken looks again.

use std::sync::Arc;

use tokio::sync::Notify;

/// The waiters of one partition.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Vec<Arc<Notify>>,
    /// How many waiters there may be before those that gave up are looked for.
    sweep_at: usize,
}

impl Waiters {
    pub fn register(&mut self, waiter: &Arc<Notify>) {
        if self.waiting.len() >= self.sweep_at {
            // Whoever gave up has dropped its own reference.
            self.waiting.retain(|waiter| Arc::strong_count(waiter) > 1);
            self.sweep_at = (2 * self.waiting.len()).max(16);
        }
        if !self.waiting.iter().any(|other| Arc::ptr_eq(other, waiter)) {
            self.waiting.push(waiter.clone());
        }
    }

    /// Wakes all of them.
    pub fn wake(&mut self) {
        for waiter in self.waiting.drain(..) {
            waiter.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wake_up_before_the_wait_is_not_lost() {
        let mut waiters = Waiters::default();
        let waiter = Arc::new(Notify::new());
        waiters.register(&waiter);
        waiters.wake();
        waiter.notified().await;
    }

    #[test]
    fn those_who_gave_up_are_forgotten() {
        let mut waiters = Waiters::default();
        for _ in 0..1000 {
            waiters.register(&Arc::new(Notify::new()));
        }
        assert!(waiters.waiting.len() <= 16);
    }
}
