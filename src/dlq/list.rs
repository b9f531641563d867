//! The list: how many records there are of each reason, and the newest of them.

use std::collections::VecDeque;
use std::fmt::Write;

use serde::Serialize;

use super::letters::Letter;
use super::text::{readable, shown};
use crate::model::dead_letter::Reason;
use crate::model::event_time::EventTime;

/// What a topic of dead letters holds.
#[derive(Debug, Serialize)]
pub(super) struct List {
    topic: String,
    records: u64,
    reasons: Vec<Group>,
    /// Records whose last headers are not those of `brownian`.
    others: u64,
    #[serde(skip)]
    samples: usize,
}

/// The records of one reason.
#[derive(Debug, Serialize)]
struct Group {
    reason: &'static str,
    records: u64,
    /// Those that `replay` has not put back yet.
    waiting: u64,
    /// The newest that were read, oldest first.
    samples: VecDeque<Sample>,
}

/// A record, readable.
#[derive(Debug, Serialize)]
struct Sample {
    partition: i32,
    offset: i64,
    error: String,
    from_topic: String,
    from_partition: i32,
    from_offset: i64,
    /// In the years that event times may lie in.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    /// Of the headers that it had before.
    headers: Vec<(String, String)>,
    key: String,
    value: String,
}

impl List {
    /// Nothing yet.
    pub(super) fn new(topic: &str, samples: usize) -> List {
        let group = |reason: Reason| Group {
            reason: reason.name(),
            records: 0,
            waiting: 0,
            samples: VecDeque::new(),
        };
        List {
            topic: topic.to_owned(),
            records: 0,
            reasons: Reason::ALL.map(group).into(),
            others: 0,
            samples,
        }
    }

    /// Takes a record in.
    pub(super) fn add(&mut self, letter: &Letter<'_>) {
        self.records += 1;
        let Some(origin) = letter.origin else {
            self.others += 1;
            return;
        };
        let group = self
            .reasons
            .iter_mut()
            .find(|group| group.reason == origin.reason.name())
            .expect("there is one for every reason");
        group.records += 1;
        group.waiting += u64::from(letter.is_waiting);
        if self.samples == 0 {
            return;
        }
        if group.samples.len() == self.samples {
            group.samples.pop_front();
        }
        let record = &letter.record;
        let time = record.timestamp().map(EventTime::from_millis);
        group.samples.push_back(Sample {
            partition: record.partition,
            offset: record.offset,
            error: readable(origin.error.as_bytes()),
            from_topic: readable(origin.topic.as_bytes()),
            from_partition: origin.partition,
            from_offset: origin.offset,
            timestamp: time.and_then(|time| Some(time.ok()?.to_string())),
            headers: letter
                .headers
                .iter()
                .map(|(name, value)| (readable(name), shown(*value)))
                .collect(),
            key: shown(record.key),
            value: shown(record.value),
        });
    }

    /// The list as it is printed.
    pub(super) fn text(&self, is_json: bool) -> String {
        if is_json {
            let json = serde_json::to_string(self).expect("a list is JSON");
            return json + "\n";
        }
        let mut text = format!("{}: {} records\n", self.topic, self.records);
        for group in &self.reasons {
            group.write(&mut text);
        }
        if self.others > 0 {
            line(
                &mut text,
                format_args!("\nothers: {} without brownian's headers", self.others),
            );
        }
        text
    }
}

impl Group {
    fn write(&self, text: &mut String) {
        let (reason, records, waiting) = (self.reason, self.records, self.waiting);
        line(
            text,
            format_args!("\n{reason}: {records}, {waiting} of them not put back yet"),
        );
        for sample in &self.samples {
            sample.write(text);
        }
    }
}

impl Sample {
    fn write(&self, text: &mut String) {
        line(
            text,
            format_args!(
                "  {}:{} from {}:{}:{} {}",
                self.partition,
                self.offset,
                self.from_topic,
                self.from_partition,
                self.from_offset,
                self.timestamp.as_deref().unwrap_or_default(),
            ),
        );
        line(text, format_args!("    error  {}", self.error));
        line(text, format_args!("    key    {}", self.key));
        line(text, format_args!("    value  {}", self.value));
        for (name, value) in &self.headers {
            line(text, format_args!("    header {name}: {value}"));
        }
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes what is written");
}
