//! What a browser is told: one JSON message a tick, the same for all, columnar and short.
//!
//! A message is idempotent: points are set, not added, so a message that overlaps the snapshot before it
//! does no harm. Device names travel as JSON strings only; event names and ids are ours.

use bytes::Bytes;
use serde::Serialize;

use super::bad::BadRecords;
use super::crowd::{Summary, Theory};
use super::decode::Estimates;
use super::devices::Pool;
use crate::kafka::tail::{Phase, Status};

/// A message. A snapshot is a message with `about` and every drawn device in `series`.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    pub seq: u64,
    pub now: Now<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<About<'a>>,
    /// Devices that are drawn no more. Comes before `series`, which may give their numbers anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<u32>,
    /// Devices with all of their points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Path<'a>>,
    #[serde(skip_serializing_if = "Points::is_empty")]
    pub points: Points,
    /// The newest point of coloured devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latest: Vec<Latest>,
    /// What has changed of all devices together, in columns of event time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Summary>,
    /// What the devices' estimates say together; `null` once they say nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Option<Pool>>,
    /// Which device has which colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<&'a [Option<u32>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<&'a BadRecords>,
}

/// What a snapshot says about the picture as a whole.
#[derive(Debug, Serialize)]
pub struct About<'a> {
    pub epoch: &'a str,
    pub topic: &'a str,
    /// Where Kafka is, as the dashboard was told.
    pub kafka: &'a str,
    pub window_ms: i64,
    /// A point's time is its bucket times this.
    pub bucket_ms: i64,
    /// A column's end is its number and one more times this.
    pub column_ms: i64,
    pub max_drawn: usize,
    pub max_top: usize,
}

/// The numbers of the moment. Times are milliseconds since 1970.
#[derive(Debug, Serialize)]
pub struct Now<'a> {
    /// The server's clock.
    pub at: i64,
    pub state: State<'a>,
    /// The newest event time, and whether event times are the clock's.
    pub head: Option<i64>,
    pub current: bool,
    pub rate: f64,
    /// Records read so far.
    pub records: u64,
    pub lag: Option<u64>,
    /// From event time to this message.
    pub p50_ms: Option<i64>,
    pub p99_ms: Option<i64>,
    /// Its parts, where the broker's own time is known: half, and all but one in a hundred, are below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_broker_ms: Option<(i64, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_server_ms: Option<(i64, i64)>,
    pub devices: usize,
    /// Whether there are too many devices to draw each of them.
    pub crowd: bool,
    /// The fan that a driftless walk stays in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theory: Option<Theory>,
    /// Devices whose clocks seem to be ahead of the others'.
    pub ahead: usize,
    /// Records of devices that there was no room for.
    pub others: u64,
    pub bad: u64,
    pub skipped: u64,
    pub partitions: usize,
    /// Partitions of which nothing can be read now: no broker leads them, or none that answers.
    #[serde(skip_serializing_if = "<[i32]>::is_empty")]
    pub leaderless: &'a [i32],
    /// When something last arrived, and how long a silence is usual.
    pub arrived: Option<i64>,
    pub patience_ms: i64,
    /// The field that is drawn, and those that could be.
    pub field: Option<&'a str>,
    pub fields: &'a [String],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum State<'a> {
    Connecting,
    Down { cause: &'a str },
    Missing,
    Loading { done: u64, total: u64 },
    Empty,
    Live,
}

impl<'a> State<'a> {
    pub fn of(status: &'a Status, records: u64) -> State<'a> {
        match &status.phase {
            Phase::Connecting => State::Connecting,
            Phase::Unreachable(cause) => State::Down { cause },
            Phase::Missing => State::Missing,
            Phase::Loading { done, total } => State::Loading {
                done: *done,
                total: *total,
            },
            Phase::Live if records == 0 => State::Empty,
            Phase::Live => State::Live,
        }
    }
}

/// A device and its points: buckets as differences, each to the one before.
#[derive(Debug, Serialize)]
pub struct Path<'a> {
    pub i: u32,
    pub id: &'a str,
    pub b: Vec<i64>,
    pub y: Vec<f64>,
}

impl<'a> Path<'a> {
    pub fn of(i: u32, id: &'a str, points: impl Iterator<Item = (i64, f64)>) -> Path<'a> {
        let mut previous = 0;
        let (b, y) = points
            .map(|(bucket, value)| (bucket - std::mem::replace(&mut previous, bucket), value))
            .unzip();
        Path { i, id, b, y }
    }
}

/// Single points, column by column.
#[derive(Debug, Default, Serialize)]
pub struct Points {
    pub i: Vec<u32>,
    pub b: Vec<i64>,
    pub y: Vec<f64>,
}

impl Points {
    pub fn is_empty(&self) -> bool {
        self.i.is_empty()
    }
}

#[derive(Debug, Serialize)]
pub struct Latest {
    pub i: u32,
    pub time: i64,
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimates: Option<Estimates>,
}

/// The JSON of a message.
pub fn json(message: &Message<'_>) -> Vec<u8> {
    // Only a map with keys that aren't text, or a failing writer, can make this fail.
    serde_json::to_vec(message).expect("a message is JSON")
}

/// A Server-Sent Event by hand: `warp::sse` would encode it again for every client.
pub fn event(name: Option<&str>, id: Option<&str>, json: &[u8]) -> Bytes {
    [&event_head(name, id), json, EVENT_END].concat().into()
}

/// What stands before an event's JSON.
pub fn event_head(name: Option<&str>, id: Option<&str>) -> Bytes {
    let name = name.map(|name| format!("event: {name}\n"));
    let id = id.map(|id| format!("id: {id}\n"));
    let head = [name.as_deref(), id.as_deref(), Some("data: ")];
    let head: String = head.into_iter().flatten().collect();
    head.into()
}

/// What stands behind it.
pub const EVENT_END: &[u8] = b"\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_columnar_with_buckets_as_differences() {
        let path = Path::of(
            3,
            "a\r\nid: 9\r\n\r\n</script>",
            [(1_000, 0.5), (1_001, 1.5), (1_004, 2.0)].into_iter(),
        );
        let json = serde_json::to_string(&path).expect("json");
        assert_eq!(
            json, r#"{"i":3,"id":"a\r\nid: 9\r\n\r\n</script>","b":[1000,1,3],"y":[0.5,1.5,2.0]}"#,
            "a name can't end its line, so it can't become a field of the stream"
        );
    }

    #[test]
    fn event_is_one_block_of_lines() {
        assert_eq!(
            &event(None, Some("e-7"), b"{}")[..],
            b"id: e-7\ndata: {}\n\n"
        );
        assert_eq!(
            &event(Some("missed"), None, b"{}")[..],
            b"event: missed\ndata: {}\n\n"
        );
    }
}
