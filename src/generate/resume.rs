//! Where a topic ends: its last committed reading.

use std::ops::ControlFlow;

use anyhow::bail;

use crate::kafka::config::KafkaSettings;
use crate::kafka::reader::{Extent, Reader};
use crate::model::event_time::EventTime;
use crate::model::reading::Reading;
use crate::shutdown::Shutdown;

/// How many offsets of a partition are looked at first: enough for what another writer may have left
/// unsorted in its last batch.
const FIRST_LOOK: i64 = 1000;

/// The last row that a topic holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRow {
    pub(super) index: i64,
    pub(super) event_time: EventTime,
}

/// The reading with the highest index in the committed tail of `topic`; `None` where there is no reading.
///
/// What an earlier writer left open must have been ended before: otherwise its rows could still appear.
pub(super) fn last_reading(
    kafka: &KafkaSettings,
    topic: &str,
    partitions: i32,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<LastRow>> {
    let reader = Reader::new(kafka, "fireworks-generate")?;
    let mut extents = reader.settled(topic, &(0..partitions).collect::<Vec<_>>(), shutdown)?;
    extents.retain(|extent| extent.start < extent.end);
    let mut last: Option<LastRow> = None;
    let mut look = FIRST_LOOK;
    // Control records, aborted ones and strangers' fill offsets too: look further back until a reading
    // turns up in each partition, or its start is reached.
    while !extents.is_empty() {
        let from = |extent: &Extent| extent.end.saturating_sub(look).max(extent.start);
        let tail = |extent: &Extent| Extent {
            start: from(extent),
            ..*extent
        };
        let tails: Vec<_> = extents.iter().map(tail).collect();
        let mut found = Vec::new();
        let is_whole = reader.read(topic, &tails, shutdown, |record| {
            if let Ok(reading) = Reading::decode(record.key, record.value) {
                found.push(record.partition);
                let row = LastRow {
                    index: reading.index,
                    event_time: reading.event_time,
                };
                if last.is_none_or(|last| last.index < row.index) {
                    last = Some(row);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if !is_whole {
            bail!("interrupted while reading topic `{topic}`");
        }
        extents.retain(|extent| from(extent) > extent.start && !found.contains(&extent.partition));
        look = look.saturating_mul(8);
    }
    Ok(last)
}
