//! From flags to client properties: what the user typed, what a role needs, and how the two meet.
//!
//! A role's own properties (`isolation.level`, `transactional.id`, …) carry promises, so `-X` may tune
//! anything but those. Every property is known before the first connection.

use anyhow::{anyhow, bail};
use rdkafka::config::ClientConfig;

use super::waiting::Waits;
use crate::defaults;
use crate::error::Help;

/// The flags that all Kafka clients share.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// The brokers to start from, as HOST:PORT, separated by commas
    #[arg(long, value_name = "ADDRESSES", env = "FIREWORKS_BOOTSTRAP_SERVERS", default_value = defaults::KAFKA)]
    pub bootstrap_servers: String,

    /// Set a librdkafka property, such as `security.protocol=SASL_SSL`; may be repeated (in the
    /// environment: one a line)
    #[arg(
        short = 'X',
        value_name = "NAME=VALUE",
        env = "FIREWORKS_X",
        value_delimiter = '\n'
    )]
    pub properties: Vec<String>,
}

/// Validated settings of every client: where Kafka is, and the user's own properties.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    bootstrap_servers: String,
    properties: Vec<(String, String)>,
    waits: Waits,
}

/// Properties that carry a promise or that a flag sets.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "use --bootstrap-servers"),
    ("metadata.broker.list", "use --bootstrap-servers"),
    ("group.id", "use --group, where the command has it"),
    (
        "transactional.id",
        "it is derived from --group and --instance, or from the topic",
    ),
    ("enable.idempotence", "exactly-once needs it on"),
    ("enable.auto.commit", "offsets move with the transaction"),
    (
        "enable.auto.offset.store",
        "offsets move with the transaction",
    ),
    ("auto.offset.reset", "a lost offset must never go unnoticed"),
    ("isolation.level", "exactly-once needs read_committed"),
    (
        "enable.partition.eof",
        "the end of a partition is used internally",
    ),
    (
        "partition.assignment.strategy",
        "the processor is written for cooperative-sticky",
    ),
    (
        "group.protocol",
        "the processor is written for the classic protocol",
    ),
    ("acks", "exactly-once needs all of them"),
    ("request.required.acks", "exactly-once needs all of them"),
];

impl KafkaArgs {
    /// Validates the flags without connecting.
    pub fn settings(&self) -> anyhow::Result<KafkaSettings> {
        if self
            .bootstrap_servers
            .split(',')
            .any(|address| address.trim().is_empty())
        {
            bail!(
                "invalid --bootstrap-servers `{}`: an address is empty",
                self.bootstrap_servers
            );
        }
        let properties = self
            .properties
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| property(line))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let settings = KafkaSettings {
            bootstrap_servers: self.bootstrap_servers.clone(),
            properties,
            waits: Waits::new(&self.bootstrap_servers),
        };
        // librdkafka names an unknown property and a bad value best itself, and needs no broker for it.
        settings
            .client()
            .create_native_config()
            .map_err(|error| anyhow!("invalid -X: {error}"))?;
        Ok(settings)
    }
}

fn property(line: &str) -> anyhow::Result<(String, String)> {
    let Some((name, value)) = line.split_once('=') else {
        return Err(anyhow!("invalid -X `{line}`: there is no `=` in it")).help(|| {
            "write it as -X name=value, for example -X security.protocol=SASL_SSL".into()
        });
    };
    let (name, value) = (name.trim(), value.trim());
    if let Some((_, reason)) = OURS.iter().find(|(ours, _)| *ours == name) {
        bail!("-X {name} can't be set: {reason}");
    }
    let needs_tls = name.starts_with("ssl.")
        || name.starts_with("sasl.")
        || (name == "security.protocol" && !value.eq_ignore_ascii_case("plaintext"));
    if needs_tls && !cfg!(feature = "tls") {
        return Err(anyhow!(
            "-X {line}: this fireworks was built without TLS and SASL"
        ))
        .help(|| {
            "build it with them: make install, or cargo build --release --features tls".into()
        });
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl KafkaSettings {
    /// Where Kafka is, for messages.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// What the clients with these settings wait for.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// The properties of a client without a role.
    pub fn client(&self) -> ClientConfig {
        self.role(&[])
    }

    /// The properties of a client: the role's defaults, then what the user set.
    pub fn role(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config.set("client.id", "fireworks");
        // Ten seconds, by default, for which a client may not notice that a broker is back.
        config.set("reconnect.backoff.max.ms", "1000");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }
}
