//! One way to stop: a flag that every loop can see, awaited by tasks and polled by threads.
//!
//! This is the only place that knows signals. The first SIGINT or SIGTERM asks everything to drain;
//! the second ends the process at once with exit code 130.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The exit code of a process that was interrupted twice: 128 + SIGINT, as shells count.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Tells whether the process has been asked to stop. Clones share one flag, which keeps its value: who
/// asks late still sees it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<bool>,
}

/// Requests the shutdown. Dropping it requests nothing.
#[derive(Clone, Debug)]
pub struct Trigger {
    request: watch::Sender<bool>,
}

impl Trigger {
    /// Asks every holder of the matching [`Shutdown`] to stop.
    pub fn request(&self) {
        self.request.send_replace(true);
    }
}

impl Shutdown {
    /// A shutdown that is requested by its trigger alone: for tests, and for parts of a process.
    pub fn manual() -> (Trigger, Shutdown) {
        let (request, requested) = watch::channel(false);
        (Trigger { request }, Shutdown { requested })
    }

    /// A shutdown that SIGINT and SIGTERM request. Must be called inside a Tokio runtime.
    pub fn on_signals() -> std::io::Result<Shutdown> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (trigger, shutdown) = Shutdown::manual();
        tokio::spawn(async move {
            for first in [true, false] {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                if first {
                    tracing::info!(signal = name, "stopping");
                    trigger.request();
                } else {
                    std::process::exit(EXIT_INTERRUPTED);
                }
            }
        });
        Ok(shutdown)
    }

    /// A shutdown that is requested when this one is, or by its own trigger: for one part of a process
    /// that may end before the rest of it.
    pub fn child(&self) -> (Trigger, Shutdown) {
        let (trigger, child) = Shutdown::manual();
        let (parent, request) = (self.clone(), trigger.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = parent.requested() => request.request(),
                () = request.request.closed() => {}
            }
        });
        (trigger, child)
    }

    /// Whether a stop has been requested.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// For threads: waits until `deadline`, or until a stop is requested, and tells whether it is. Must be
    /// called on a thread of a Tokio runtime that may block.
    pub fn wait_until(&self, deadline: std::time::Instant) -> bool {
        if self.is_requested() || deadline <= std::time::Instant::now() {
            return self.is_requested();
        }
        let requested = tokio::time::timeout_at(deadline.into(), self.requested());
        tokio::runtime::Handle::current()
            .block_on(requested)
            .is_ok()
    }

    /// Waits until a stop is requested; for ever, where nobody is left who could request it.
    pub async fn requested(&self) {
        let mut requested = self.requested.clone();
        if requested.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn late_listeners_see_an_earlier_request() {
        let (trigger, shutdown) = Shutdown::manual();
        assert!(!shutdown.is_requested());
        trigger.request();
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn child_stops_with_its_parent_but_not_the_other_way_round() {
        let (trigger, parent) = Shutdown::manual();
        let (first_trigger, first) = parent.child();
        let (_second_trigger, second) = parent.child();
        first_trigger.request();
        first.requested().await;
        assert!(!parent.is_requested());
        trigger.request();
        second.requested().await;
    }
}
