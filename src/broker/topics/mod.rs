//! The topics of the broker and their partitions.
//!
//! Names are unique, ids never come back: a topic that is deleted and created again is another one.

pub mod config;

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use super::limits;
use super::log::Log;
use super::refusal::Refusal;
use super::waiters::Waiters;
use config::TopicConfig;

/// The longest topic name.
const NAME_BYTES: usize = 249;

/// A partition: its log, and who waits for it to grow.
#[derive(Debug, Default)]
pub struct Partition {
    pub log: Log,
    pub waiters: Waiters,
}

/// A topic.
#[derive(Debug)]
pub struct Topic {
    pub id: Uuid,
    pub config: TopicConfig,
    pub partitions: Vec<Partition>,
}

/// All topics, by name.
#[derive(Debug, Default)]
pub struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: HashMap<Uuid, String>,
    /// Names as Kafka's metrics have them, with `_` for `.`: two topics must not share one.
    metric_names: HashMap<String, String>,
}

impl Topics {
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    /// The name of the topic with this id.
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Topic)> {
        self.by_name.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Topic)> {
        self.by_name.iter_mut()
    }

    pub fn partition(&self, name: &str, index: i32) -> Result<&Partition, ResponseError> {
        let topic = self
            .by_name
            .get(name)
            .ok_or(ResponseError::UnknownTopicOrPartition)?;
        let partition = usize::try_from(index)
            .ok()
            .and_then(|index| topic.partitions.get(index));
        partition.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub fn partition_mut(
        &mut self,
        name: &str,
        index: i32,
    ) -> Result<&mut Partition, ResponseError> {
        let topic = self
            .by_name
            .get_mut(name)
            .ok_or(ResponseError::UnknownTopicOrPartition)?;
        let partition = usize::try_from(index)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index));
        partition.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// Whether a topic of this name and this many partitions could be created.
    pub fn check_new(&self, name: &str, partitions: i32) -> Result<usize, Refusal> {
        check_name(name)?;
        if self.by_name.contains_key(name) {
            let message = format!("topic `{name}` exists already");
            return Err(Refusal::new(ResponseError::TopicAlreadyExists, message));
        }
        if let Some(other) = self.metric_names.get(&metric_name(name)) {
            let message =
                format!("topic `{name}` collides with `{other}`: `.` and `_` count as the same");
            return Err(Refusal::new(ResponseError::InvalidTopicException, message));
        }
        self.check_count(0, partitions)
    }

    /// Whether a topic may have `wanted` partitions instead of `present`.
    pub fn check_count(&self, present: usize, wanted: i32) -> Result<usize, Refusal> {
        let count = usize::try_from(wanted)
            .ok()
            .filter(|count| *count > present)
            .ok_or_else(|| {
                let message = if present == 0 {
                    format!("{wanted} partitions: a topic needs at least one")
                } else {
                    format!(
                        "the topic has {present} partitions; it can only get more, not {wanted}"
                    )
                };
                Refusal::new(ResponseError::InvalidPartitions, message)
            })?;
        self.check_room(count - present)?;
        Ok(count)
    }

    /// Whether there may be so many partitions more.
    pub fn check_room(&self, more: usize) -> Result<(), Refusal> {
        let total: usize = self
            .by_name
            .values()
            .map(|topic| topic.partitions.len())
            .sum();
        if total + more > limits::PARTITIONS {
            let message = format!("this broker takes {} partitions in all", limits::PARTITIONS);
            return Err(Refusal::new(ResponseError::PolicyViolation, message));
        }
        Ok(())
    }

    /// Creates a topic that [`Topics::check_new`] has approved.
    pub fn create(&mut self, name: &str, partitions: usize, config: TopicConfig) -> Uuid {
        let id = Uuid::new_v4();
        let partitions = std::iter::repeat_with(Partition::default)
            .take(partitions)
            .collect();
        self.by_name.insert(
            name.to_owned(),
            Topic {
                id,
                config,
                partitions,
            },
        );
        self.names.insert(id, name.to_owned());
        self.metric_names.insert(metric_name(name), name.to_owned());
        id
    }

    /// Deletes a topic and wakes whoever waits for it.
    pub fn delete(&mut self, name: &str) -> Option<Topic> {
        let mut topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        self.metric_names.remove(&metric_name(name));
        for partition in &mut topic.partitions {
            partition.waiters.wake();
        }
        Some(topic)
    }
}

fn metric_name(name: &str) -> String {
    name.replace('.', "_")
}

/// The rules for names of Kafka's `Topic.validate`.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let problem = if name.is_empty() {
        "it is empty"
    } else if name == "." || name == ".." {
        "it is a directory"
    } else if name.len() > NAME_BYTES {
        "it is longer than 249 characters"
    } else if !name.bytes().all(legal) {
        "only a-z, A-Z, 0-9, `.`, `_` and `-` are allowed"
    } else {
        return Ok(());
    };
    let message = format!("invalid topic name `{name}`: {problem}");
    Err(Refusal::new(ResponseError::InvalidTopicException, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_kafka() {
        for good in ["readings", "markov.state", "a_b-C.9"] {
            check_name(good).expect(good);
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            let refusal = check_name(bad).expect_err(bad);
            assert_eq!(refusal.error, ResponseError::InvalidTopicException);
        }
    }

    #[test]
    fn new_topic_must_be_new_and_within_the_bounds() {
        let mut topics = Topics::default();
        topics.create("a.b", 3, TopicConfig::default());
        let refused = |name, count| topics.check_new(name, count).expect_err("it is bad").error;
        assert_eq!(refused("a.b", 1), ResponseError::TopicAlreadyExists);
        assert_eq!(refused("a_b", 1), ResponseError::InvalidTopicException);
        assert_eq!(refused("c", 0), ResponseError::InvalidPartitions);
        assert_eq!(refused("c", -5), ResponseError::InvalidPartitions);
        assert_eq!(
            refused("c", limits::PARTITIONS as i32),
            ResponseError::PolicyViolation
        );
        assert_eq!(topics.check_new("c", 4), Ok(4));
        assert!(topics.check_count(3, 3).is_err());
    }

    #[test]
    fn deleted_topic_is_gone_by_name_and_id() {
        let mut topics = Topics::default();
        let id = topics.create("a", 1, TopicConfig::default());
        assert_eq!(topics.name_of(id), Some("a"));
        assert!(topics.delete("a").is_some());
        assert!(topics.get("a").is_none() && topics.name_of(id).is_none());
        assert_ne!(topics.create("a", 1, TopicConfig::default()), id);
    }
}
