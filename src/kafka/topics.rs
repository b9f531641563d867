//! Topics: what they are created with, and whether those that exist will do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{ANSWER_DEADLINE, Context};
use super::config::KafkaSettings;
use crate::error::Help;

/// How long the brokers may take to say which topics there are: it is the first question, and most often
/// unanswered because the address is wrong.
const METADATA_DEADLINE: Duration = Duration::from_secs(5);
/// How much of a topic is kept: event times may lie anywhere, so records can't go by age.
const RETENTION_BYTES: &str = "1073741824";
/// The smallest segment that keeps files few; compaction leaves the newest one alone, so this bounds what
/// a restart reads in vain.
const STATE_SEGMENT_BYTES: &str = "33554432";

/// What becomes of old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanUp {
    /// The oldest go when the topic is large enough.
    Delete,
    /// The newest of each key stays.
    Compact,
}

/// A topic as we need it.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has; any number will do where this is `None`, and one is created.
    pub partitions: Option<i32>,
    /// What becomes of old records.
    pub clean_up: CleanUp,
    /// The largest record, where it isn't the broker's default.
    pub max_message_bytes: Option<u64>,
    /// The flag that names the number of partitions, for the remedy.
    pub partitions_from: &'static str,
}

impl Topic {
    fn config(&self) -> Vec<(&'static str, String)> {
        // Kafka refuses records an hour ahead of its clock, and counts retention from their timestamps.
        let mut config = vec![("message.timestamp.after.max.ms", i64::MAX.to_string())];
        match self.clean_up {
            CleanUp::Delete => config.extend([
                ("cleanup.policy", "delete".into()),
                ("retention.ms", "-1".into()),
                ("retention.bytes", RETENTION_BYTES.into()),
            ]),
            CleanUp::Compact => config.extend([
                ("cleanup.policy", "compact".into()),
                ("segment.bytes", STATE_SEGMENT_BYTES.into()),
                ("min.cleanable.dirty.ratio", "0.1".into()),
            ]),
        }
        config.extend(
            self.max_message_bytes
                .map(|bytes| ("max.message.bytes", bytes.to_string())),
        );
        config
    }
}

/// Looks at topics and creates them.
#[derive(Clone)]
pub struct Topics {
    client: Arc<AdminClient<Context>>,
    bootstrap_servers: String,
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

impl Topics {
    /// A client for `settings`; nothing is connected yet.
    pub fn new(settings: &KafkaSettings) -> anyhow::Result<Topics> {
        let client = settings
            .client()
            .create_with_context(Context)
            .context("failed to create a Kafka client")?;
        Ok(Topics {
            client: Arc::new(client),
            bootstrap_servers: settings.bootstrap_servers().to_owned(),
        })
    }

    /// How many partitions `topic` has; `None` where it doesn't exist. Never creates it, as a question by
    /// name would on brokers with `auto.create.topics.enable`.
    pub async fn partitions(&self, topic: &str) -> anyhow::Result<Option<i32>> {
        let (client, name) = (Arc::clone(&self.client), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let metadata = client.inner().fetch_metadata(None, METADATA_DEADLINE)?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            anyhow::Ok(topic.map(|topic| topic.partitions().len() as i32))
        })
        .await
        .expect("asking for metadata does not panic")
        .with_context(|| format!("failed to reach Kafka at `{}`", self.bootstrap_servers))
        .help(|| {
            "give its address with --bootstrap-servers, or start one here: fireworks broker".into()
        })
    }

    /// Makes sure that the topic exists and fits; creates it where it doesn't. Returns its number of
    /// partitions.
    pub async fn ensure(&self, topic: &Topic) -> anyhow::Result<i32> {
        let found = self.partitions(&topic.name).await?;
        let partitions = match found {
            Some(partitions) => partitions,
            // Another process may be faster, and want another number.
            None => self.create(topic).await?,
        };
        if let Some(expected) = topic.partitions
            && expected != partitions
        {
            return Err(anyhow!(
                "topic `{}` has {partitions} partitions, not {expected}",
                topic.name
            ))
            .help(|| topic.partitions_remedy(partitions));
        }
        if found.is_none() {
            return Ok(partitions);
        }
        if let Some(wanted) = topic.max_message_bytes {
            self.warn_of_limit(&topic.name, wanted).await?;
        }
        if topic.clean_up == CleanUp::Compact {
            let policy = self.config(&topic.name, "cleanup.policy").await?;
            if policy.as_deref() != Some("compact") {
                return Err(anyhow!(
                    "topic `{}` has cleanup.policy={}, not compact: what it keeps would be lost",
                    topic.name,
                    policy.unwrap_or_default(),
                ))
                .help(|| "set cleanup.policy=compact on it, or delete it and start again".into());
            }
        }
        Ok(partitions)
    }

    /// Says so where a topic that was there takes smaller records than may have to go there.
    async fn warn_of_limit(&self, topic: &str, wanted: u64) -> anyhow::Result<()> {
        let limit = self.config(topic, "max.message.bytes").await?;
        let limit = limit.and_then(|bytes| bytes.parse::<u64>().ok());
        if limit.is_some_and(|limit| limit < wanted) {
            tracing::warn!(
                topic,
                max_message_bytes = limit,
                "the largest records will not fit: set max.message.bytes={wanted} on the topic"
            );
        }
        Ok(())
    }

    /// Returns how many partitions it has now.
    async fn create(&self, topic: &Topic) -> anyhow::Result<i32> {
        let config = topic.config();
        let replication = TopicReplication::Fixed(-1); // as the broker's default.replication.factor says
        let mut new = NewTopic::new(&topic.name, topic.partitions.unwrap_or(1), replication);
        for (name, value) in &config {
            new = new.set(name, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_DEADLINE));
        let results = self
            .client
            .create_topics([&new], &options)
            .await
            .with_context(|| format!("failed to create topic `{}`", topic.name))?;
        match results.into_iter().next() {
            Some(Ok(_)) => tracing::info!(
                topic = topic.name,
                partitions = topic.partitions.unwrap_or(1),
                "created topic"
            ),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((name, code))) => bail!("failed to create topic `{name}`: {code}"),
            None => bail!(
                "failed to create topic `{}`: the broker did not answer for it",
                topic.name
            ),
        }
        self.appeared(&topic.name).await
    }

    /// Waits until a topic that was just created can be seen.
    async fn appeared(&self, name: &str) -> anyhow::Result<i32> {
        let deadline = Instant::now() + ANSWER_DEADLINE;
        loop {
            match self.partitions(name).await? {
                Some(partitions) => return Ok(partitions),
                None if Instant::now() > deadline => {
                    bail!("topic `{name}` was created, but the brokers do not show it")
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The value of one setting of a topic. A broker that has only just heard of the topic is asked again.
    pub async fn config(&self, topic: &str, setting: &str) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + ANSWER_DEADLINE;
        loop {
            let value = self.told_config(topic, setting).await?;
            if value.is_some() || Instant::now() > deadline {
                return Ok(value);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn told_config(&self, topic: &str, setting: &str) -> anyhow::Result<Option<String>> {
        let action = || format!("failed to read the configuration of topic `{topic}`");
        let options = AdminOptions::new().request_timeout(Some(ANSWER_DEADLINE));
        let resource = ResourceSpecifier::Topic(topic);
        let answers = self
            .client
            .describe_configs([&resource], &options)
            .await
            .with_context(action)?;
        let answer = answers.into_iter().next().with_context(action)?;
        let answer = answer
            .map_err(|code| anyhow!("{code}"))
            .with_context(action)?;
        Ok(answer.get(setting).and_then(|entry| entry.value.clone()))
    }
}

impl Topic {
    fn partitions_remedy(&self, actual: i32) -> String {
        if self.partitions_from.is_empty() {
            format!("delete topic `{}`, or name another one", self.name)
        } else {
            format!(
                "pass {} {actual}, or delete topic `{}`",
                self.partitions_from, self.name
            )
        }
    }
}
