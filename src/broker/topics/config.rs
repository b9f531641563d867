//! The settings of a topic: which exist, what they default to, and what they mean here.
//!
//! A setting is known or refused, never ignored. Those that Kafka has and that can't mean anything in
//! memory on one broker (index sizes, preallocation, …) are known with their default and refused with any
//! other value.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

use crate::broker::batch::validate::Rules;
use crate::broker::log::compaction::Compaction;
use crate::broker::log::retention::Retention;
use crate::broker::refusal::Refusal;

/// The kinds of values, by their numbers in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// What values are taken.
#[derive(Clone, Copy, Debug)]
enum Allowed {
    Range(i64, i64),
    Ratio,
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these, none twice.
    ListOf(&'static [&'static str]),
    /// Nothing but the default.
    Default,
}

/// A setting that topics have.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker's setting that has the default, if it has a name of its own.
    pub synonym: Option<&'static str>,
    pub documentation: &'static str,
    allowed: Allowed,
}

const fn setting(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    allowed: Allowed,
    synonym: &'static str,
    documentation: &'static str,
) -> Definition {
    let synonym = if synonym.is_empty() {
        None
    } else {
        Some(synonym)
    };
    Definition {
        name,
        kind,
        default,
        synonym,
        documentation,
        allowed,
    }
}

const MAX: i64 = i64::MAX;
const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: &str = "9223372036854775807";

use Allowed::{Default as OnlyDefault, ListOf, OneOf, Range, Ratio};
use Kind::{Boolean, Double, Int, List, Long, String as Text};

/// All settings, with the names and defaults of Kafka 4, in the order of their names.
#[rustfmt::skip]
pub const DEFINITIONS: &[Definition] = &[
    setting("cleanup.policy", List, "delete", ListOf(&["delete", "compact"]), "log.cleanup.policy", "Whether old records are deleted, or compacted by key, or both."),
    setting("compression.gzip.level", Int, "-1", OnlyDefault, "compression.gzip.level", "Batches are kept as their producers compressed them."),
    setting("compression.lz4.level", Int, "9", OnlyDefault, "compression.lz4.level", "Batches are kept as their producers compressed them."),
    setting("compression.type", Text, "producer", OneOf(&["producer"]), "compression.type", "Batches are kept as their producers compressed them."),
    setting("compression.zstd.level", Int, "3", OnlyDefault, "compression.zstd.level", "Batches are kept as their producers compressed them."),
    setting("delete.retention.ms", Long, "86400000", Range(0, MAX), "log.cleaner.delete.retention.ms", "How long compaction keeps a tombstone."),
    setting("file.delete.delay.ms", Long, "60000", OnlyDefault, "log.segment.delete.delay.ms", "There are no files."),
    setting("flush.messages", Long, LONG_MAX, Range(1, MAX), "log.flush.interval.messages", "There is no disk to flush to."),
    setting("flush.ms", Long, LONG_MAX, Range(0, MAX), "log.flush.interval.ms", "There is no disk to flush to."),
    setting("index.interval.bytes", Int, "4096", OnlyDefault, "log.index.interval.bytes", "There are no index files."),
    setting("max.compaction.lag.ms", Long, LONG_MAX, Range(1, MAX), "log.cleaner.max.compaction.lag.ms", "The age at which a record is compacted whatever the ratio."),
    setting("max.message.bytes", Int, "1048588", Range(0, INT_MAX), "message.max.bytes", "The largest batch."),
    setting("message.timestamp.after.max.ms", Long, "3600000", Range(0, MAX), "log.message.timestamp.after.max.ms", "How far ahead of the broker's clock a timestamp may be."),
    setting("message.timestamp.before.max.ms", Long, LONG_MAX, Range(0, MAX), "log.message.timestamp.before.max.ms", "How far behind the broker's clock a timestamp may be."),
    setting("message.timestamp.type", Text, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), "log.message.timestamp.type", "Whose clock stamps records."),
    setting("min.cleanable.dirty.ratio", Double, "0.5", Ratio, "log.cleaner.min.cleanable.ratio", "The share of new bytes at which compaction runs."),
    setting("min.compaction.lag.ms", Long, "0", Range(0, MAX), "log.cleaner.min.compaction.lag.ms", "The age below which a record is not compacted."),
    setting("min.insync.replicas", Int, "1", Range(1, 1), "min.insync.replicas", "There is one replica."),
    setting("preallocate", Boolean, "false", OnlyDefault, "log.preallocate", "There are no files."),
    setting("retention.bytes", Long, "-1", Range(-1, MAX), "log.retention.bytes", "The size of a partition above which its oldest batches are deleted; the broker's own bound applies as well."),
    setting("retention.ms", Long, "604800000", Range(-1, MAX), "log.retention.ms", "The age at which records are deleted."),
    setting("segment.bytes", Int, "1073741824", Range(14, INT_MAX), "log.segment.bytes", "Compaction waits for this much or 1 MiB, whichever is less."),
    setting("segment.index.bytes", Int, "10485760", OnlyDefault, "log.index.size.max.bytes", "There are no index files."),
    setting("segment.jitter.ms", Long, "0", OnlyDefault, "log.roll.jitter.ms", "There are no segments."),
    setting("segment.ms", Long, "604800000", Range(1, MAX), "log.roll.ms", "Compaction waits this long or a minute, whichever is less, for more than little."),
    setting("unclean.leader.election.enable", Boolean, "false", OnlyDefault, "unclean.leader.election.enable", "There is one replica."),
];

/// How long a little that is new waits for compaction, at most.
const DIRTY_AGE_MAX: Duration = Duration::from_secs(60);
/// How much that is new makes compaction worth it, at most.
const DIRTY_BYTES_MAX: u64 = 1024 * 1024;

/// The settings of one topic: what was set, over the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    set: BTreeMap<&'static str, String>,
}

/// The definition of a setting.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS
        .iter()
        .find(|definition| definition.name == name)
}

impl TopicConfig {
    /// Sets `name`, or puts it back to its default.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Refusal> {
        let definition = definition(name).ok_or_else(|| unknown(name))?;
        match value {
            None => self.set.remove(definition.name),
            Some(value) => {
                definition.check(value.trim())?;
                self.set.insert(definition.name, value.trim().to_owned())
            }
        };
        Ok(())
    }

    /// Adds to a setting that is a list.
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        self.edit_list(name, |items| {
            for item in value.split(',').map(str::trim) {
                if !items.iter().any(|present| present == item) {
                    items.push(item.to_owned());
                }
            }
        })
    }

    /// Takes something out of a setting that is a list.
    pub fn subtract(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        self.edit_list(name, |items| {
            items.retain(|item| !value.split(',').any(|removed| removed.trim() == item));
        })
    }

    fn edit_list(
        &mut self,
        name: &str,
        edit: impl FnOnce(&mut Vec<String>),
    ) -> Result<(), Refusal> {
        let definition = definition(name).ok_or_else(|| unknown(name))?;
        if definition.kind != List {
            return Err(invalid(format!(
                "{name} is not a list: it can be set, not added to"
            )));
        }
        let mut items = self
            .value(definition)
            .split(',')
            .map(|item| item.trim().to_owned())
            .collect();
        edit(&mut items);
        self.set(name, Some(&items.join(",")))
    }

    /// The value of a setting.
    pub fn value(&self, definition: &Definition) -> &str {
        self.set
            .get(definition.name)
            .map_or(definition.default, String::as_str)
    }

    /// Whether the setting was set for this topic.
    pub fn is_set(&self, definition: &Definition) -> bool {
        self.set.contains_key(definition.name)
    }

    fn text(&self, name: &str) -> &str {
        self.value(definition(name).expect("the name is in the table"))
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name)
            .parse()
            .expect("values are checked when they are set")
    }

    pub fn is_compacted(&self) -> bool {
        self.text("cleanup.policy").contains("compact")
    }

    pub fn is_deleted(&self) -> bool {
        self.text("cleanup.policy").contains("delete")
    }

    /// What batches must be.
    pub fn rules(&self) -> Rules {
        Rules {
            max_message_bytes: usize::try_from(self.number("max.message.bytes"))
                .unwrap_or(usize::MAX),
            keys_required: self.is_compacted(),
            log_append_time: self.text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: self.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: self.number("message.timestamp.after.max.ms"),
        }
    }

    /// Whether no record may go that is the only one of its key, so that a full partition takes no more.
    pub fn keeps_every_key(&self) -> bool {
        self.is_compacted() && !self.is_deleted()
    }

    /// What may stay; `occupied` is the broker's own bound. It never deletes from a topic that is only
    /// compacted: writing stops instead.
    pub fn retention(&self, occupied: u64) -> Retention {
        let deleted = self.is_deleted();
        let limit = |name| Some(self.number(name)).filter(|limit| deleted && *limit >= 0);
        Retention {
            occupied: if self.keeps_every_key() {
                u64::MAX
            } else {
                occupied
            },
            bytes: limit("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok()),
            age_ms: limit("retention.ms"),
        }
    }

    /// How the topic is compacted, if it is.
    pub fn compaction(&self) -> Option<Compaction> {
        let positive = |name| u64::try_from(self.number(name)).unwrap_or(0);
        self.is_compacted().then(|| Compaction {
            dirty_ratio: self
                .text("min.cleanable.dirty.ratio")
                .parse()
                .unwrap_or(0.5),
            dirty_bytes: positive("segment.bytes").min(DIRTY_BYTES_MAX),
            dirty_age: Duration::from_millis(positive("segment.ms")).min(DIRTY_AGE_MAX),
            min_lag_ms: self.number("min.compaction.lag.ms"),
            max_lag_ms: self.number("max.compaction.lag.ms"),
            delete_retention_ms: self.number("delete.retention.ms"),
        })
    }
}

impl Definition {
    fn check(&self, value: &str) -> Result<(), Refusal> {
        let wrong = |expected: &str| {
            Err(invalid(format!(
                "invalid value `{value}` for {}: expected {expected}",
                self.name
            )))
        };
        match self.allowed {
            Range(low, high) => match value.parse::<i64>() {
                Ok(number) if (low..=high).contains(&number) => Ok(()),
                _ if low == high => wrong(&format!("{low}")),
                _ => wrong(&format!("a whole number from {low} to {high}")),
            },
            Ratio => match value.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
                _ => wrong("a number from 0 to 1"),
            },
            OneOf(values) if values.contains(&value) => Ok(()),
            OneOf(values) => wrong(&values.join(" or ")),
            ListOf(values) => {
                let items: Vec<&str> = value.split(',').map(str::trim).collect();
                let twice = (1..items.len()).any(|n| items[n..].contains(&items[n - 1]));
                if !twice && items.iter().all(|item| values.contains(item)) {
                    Ok(())
                } else {
                    wrong(&format!("a list of {}", values.join(", ")))
                }
            }
            OnlyDefault if value == self.default => Ok(()),
            OnlyDefault => Err(invalid(format!(
                "{} can't be changed on this broker: it keeps everything in memory and has one replica",
                self.name
            ))),
        }
    }
}

fn unknown(name: &str) -> Refusal {
    invalid(format!("unknown or unsupported topic setting `{name}`"))
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ResponseError::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for definition in DEFINITIONS {
            definition.check(definition.default).expect(definition.name);
        }
        assert!(DEFINITIONS.is_sorted_by_key(|definition| definition.name));
        let defaults = TopicConfig::default();
        assert_eq!(defaults.rules().timestamp_after_max_ms, 3_600_000);
        assert_eq!(defaults.compaction(), None);
        assert_eq!(defaults.retention(7).occupied, 7);
    }

    #[test]
    fn unknown_and_bad_values_are_refused_with_what_is_expected() {
        let mut config = TopicConfig::default();
        let refused = |outcome: Result<(), Refusal>| outcome.expect_err("it is bad").message;
        assert!(refused(config.set("retention.hours", Some("1"))).contains("retention.hours"));
        assert!(refused(config.set("retention.ms", Some("soon"))).contains("whole number"));
        assert!(refused(config.set("cleanup.policy", Some("compact,compact"))).contains("list"));
        assert!(refused(config.set("min.insync.replicas", Some("2"))).contains("expected 1"));
        assert!(refused(config.set("compression.type", Some("zstd"))).contains("producer"));
        assert!(refused(config.set("preallocate", Some("true"))).contains("can't be changed"));
        assert_eq!(config, TopicConfig::default());
    }

    #[test]
    fn lists_can_be_added_to_and_taken_from() {
        let mut config = TopicConfig::default();
        config
            .append("cleanup.policy", "compact")
            .expect("it is a list");
        assert!(config.is_compacted() && config.is_deleted());
        config
            .subtract("cleanup.policy", "delete")
            .expect("it is a list");
        assert!(config.is_compacted() && !config.is_deleted());
        assert_eq!(
            config.retention(7),
            Retention {
                occupied: u64::MAX,
                bytes: None,
                age_ms: None
            }
        );
        assert!(config.append("retention.ms", "5").is_err());
    }
}
