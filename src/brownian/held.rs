//! What is known of each partition that this process holds. It vanishes when the partition goes: a number
//! that nobody keeps up to date any more would be taken for the truth.

use std::time::Duration;

use crate::metrics::{Gauges, IntGauges, Metrics};

/// The numbers of the partitions held, for Prometheus. Two workers never hold the same.
#[derive(Debug)]
pub(super) struct HeldPartitions {
    lag: IntGauges,
    devices: IntGauges,
    readings: IntGauges,
    restore: Gauges,
}

impl HeldPartitions {
    /// None yet.
    pub(super) fn new(metrics: &Metrics) -> HeldPartitions {
        let gauges = |name, help| metrics.int_gauges(name, help, "partition");
        HeldPartitions {
            lag: gauges(
                "fireworks_brownian_lag_records",
                "Offsets of the input that are written and not consumed yet",
            ),
            devices: gauges(
                "fireworks_brownian_state_devices",
                "Devices that have a window",
            ),
            readings: gauges(
                "fireworks_brownian_state_readings",
                "Readings that the windows hold",
            ),
            restore: metrics.gauges(
                "fireworks_brownian_restore_duration_seconds",
                "How long it took to restore the partition when it was assigned last",
                "partition",
            ),
        }
    }

    /// A partition has been restored.
    pub(super) fn restored(&self, partition: i32, took: Duration) {
        let partition = partition.to_string();
        self.restore
            .with_label_values(&[&partition])
            .set(took.as_secs_f64());
    }

    /// What the state of a partition holds.
    pub(super) fn state(&self, partition: i32, devices: usize, readings: usize) {
        let partition = partition.to_string();
        self.devices
            .with_label_values(&[&partition])
            .set(devices as i64);
        self.readings
            .with_label_values(&[&partition])
            .set(readings as i64);
    }

    /// How far the work on a partition is behind its end.
    pub(super) fn lag(&self, partition: i32, records: i64) {
        self.lag
            .with_label_values(&[partition.to_string()])
            .set(records);
    }

    /// A partition is not held any more.
    pub(super) fn forget(&self, partition: i32) {
        let partition = partition.to_string();
        for gauges in [&self.lag, &self.devices, &self.readings] {
            let _was_unknown = gauges.remove_label_values(&[&partition]).is_err();
        }
        let _was_unknown = self.restore.remove_label_values(&[&partition]).is_err();
    }
}
