//! `--until-end`: where each partition ended when the run began, and which of them have been reached.

use std::sync::Mutex;
use std::time::Duration;

use super::Settings;
use crate::kafka::reader::{Extent, Reader};
use crate::shutdown::{Shutdown, Trigger};

/// How often to look how far other instances of the group have come.
const LOOK: Duration = Duration::from_millis(500);

/// The ends to reach; shared by the workers.
#[derive(Debug)]
pub(super) struct UntilEnd {
    ends: Vec<i64>,
    open: Mutex<Vec<i32>>,
    finish: Trigger,
}

impl UntilEnd {
    /// The ends as they are now, once all that was written before them can be read. `finish` is requested
    /// when they have been reached.
    pub(super) fn new(extents: &[Extent], finish: Trigger) -> UntilEnd {
        let open = extents
            .iter()
            .filter(|extent| extent.start < extent.end)
            .map(|extent| extent.partition)
            .collect();
        let until_end = UntilEnd {
            ends: extents.iter().map(|extent| extent.end).collect(),
            open: Mutex::new(open),
            finish,
        };
        until_end.reached(&[]);
        until_end
    }

    /// The end of a partition: its records from there on are left alone. One that was added since is.
    pub(super) fn end(&self, partition: i32) -> i64 {
        self.ends.get(partition as usize).copied().unwrap_or(0)
    }

    /// These partitions are committed up to their ends.
    pub(super) fn reached(&self, partitions: &[i32]) {
        let mut open = self.open.lock().expect("no holder of this lock panics");
        open.retain(|partition| !partitions.contains(partition));
        if open.is_empty() {
            self.finish.request();
        }
    }

    /// For a thread: notices what other instances of the group have committed, until all is reached.
    pub(super) fn watch_the_group(
        &self,
        settings: &Settings,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let reader = Reader::new(&settings.kafka, &settings.group)?;
        while !shutdown.wait_until(std::time::Instant::now() + LOOK) {
            let open = self
                .open
                .lock()
                .expect("no holder of this lock panics")
                .clone();
            let committed = match reader.committed(&settings.input, &open, shutdown) {
                Err(_) if shutdown.is_requested() => break,
                committed => committed?,
            };
            let is_reached = |(partition, offset): &(i32, Option<i64>)| {
                offset.is_some_and(|o| o >= self.end(*partition))
            };
            let reached: Vec<_> = open
                .into_iter()
                .zip(committed)
                .filter(is_reached)
                .map(|(partition, _)| partition)
                .collect();
            self.reached(&reached);
        }
        Ok(())
    }
}
