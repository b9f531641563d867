//! How much of the time is ours: a runner that counts when no other program is at work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::command::{Command, Listener, Runner, Running, System};

/// Runs commands of the system and measures.
#[derive(Clone, Debug)]
pub struct Meter {
    system: System,
    began: Instant,
    busy: Arc<Mutex<Busy>>,
}

#[derive(Debug, Default)]
struct Busy {
    active: usize,
    since: Option<Instant>,
    total: Duration,
}

impl Meter {
    pub fn new(system: System) -> Meter {
        Meter {
            system,
            began: Instant::now(),
            busy: Arc::default(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time so far in which none of our commands ran.
    pub fn own(&self) -> Duration {
        let busy = lock(&self.busy);
        let running = busy.since.map(|since| since.elapsed()).unwrap_or_default();
        self.began.elapsed().saturating_sub(busy.total + running)
    }
}

/// Counts a command from its making to its end, or to its being dropped.
struct Active(Arc<Mutex<Busy>>);

impl Active {
    fn new(busy: &Arc<Mutex<Busy>>) -> Active {
        let mut counts = lock(busy);
        counts.active += 1;
        counts.since.get_or_insert_with(Instant::now);
        drop(counts);
        Active(Arc::clone(busy))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut busy = lock(&self.0);
        busy.active -= 1;
        if busy.active == 0
            && let Some(since) = busy.since.take()
        {
            busy.total += since.elapsed();
        }
    }
}

fn lock(busy: &Mutex<Busy>) -> MutexGuard<'_, Busy> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner for Meter {
    fn run_heard<'a>(&'a self, command: &'a Command, listener: Listener<'a>) -> Running<'a> {
        Box::pin(async move {
            let _active = Active::new(&self.busy);
            self.system.run_heard(command, listener).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_of_commands_side_by_side_counts_once() {
        let meter = Meter::new(System::unstoppable());
        let sleep = Command::new("sleep").arg("0.6");
        let (first, second) = tokio::join!(meter.run(&sleep), meter.run(&sleep));
        first.and(second).unwrap();
        let busy = lock(&meter.busy).total;
        assert!(busy >= Duration::from_millis(600), "{busy:?}");
        assert!(meter.own() <= meter.elapsed() - busy);
    }
}
