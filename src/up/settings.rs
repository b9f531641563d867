//! What the user typed, validated, before anybody is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use xxhash_rust::xxh64::Xxh64;

use super::doctor::Wish;
use super::facts::Facts;
use super::target::{Cluster, Target};
use super::{Args, Generator, files};
use crate::error::Help;

/// What `up` is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    pub target: Target,
    pub workers: u8,
    pub kafka: Kafka,
    /// `name=value` of librdkafka, for every client.
    pub properties: Vec<String>,
    /// Instances of brownian.
    pub replicas: u16,
    pub image: Image,
    /// The image of the Spark application, where it is the source.
    pub spark_image: Option<String>,
    /// The image of the nodes, where the user chose one.
    pub node_image: Option<String>,
    /// The dashboard's port on this machine.
    pub port: u16,
    /// How long one wait may take.
    pub timeout: Duration,
    /// This program, which is a command of the plan too.
    pub executable: PathBuf,
    pub yes: bool,
}

/// Which Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kafka {
    Install { replicas: u8, image: String },
    Existing { addresses: String },
}

/// Which image of fireworks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    Reference(String),
    /// Made of this executable; the tag is its content's.
    Made {
        tag: String,
    },
}

impl Image {
    pub fn reference(&self) -> &str {
        match self {
            Image::Reference(reference) => reference,
            Image::Made { tag } => tag,
        }
    }
}

impl Settings {
    /// Validates the flags. Only this executable is read, for its hash.
    pub fn new(args: &Args) -> anyhow::Result<Settings> {
        let target = args.target.target()?;
        let is_existing = matches!(target.cluster, Cluster::Existing { .. });
        let executable = std::env::current_exe().context("failed to find this executable")?;
        for property in &args.properties {
            if !property.contains('=') {
                return Err(anyhow!("invalid -X `{property}`: there is no `=` in it")).help(|| {
                    "write it as -X name=value, for example -X security.protocol=SASL_SSL".into()
                });
            }
            if args.image.is_none() && needs_tls(property) && !cfg!(feature = "tls") {
                return Err(anyhow!(
                    "-X {property} needs TLS, and the image would be made of this executable, which has none"
                ))
                .help(|| {
                    "install it with TLS (make install), or pass an --image that has it, as docker/Dockerfile builds it"
                        .into()
                });
            }
        }
        let kafka = match &args.bootstrap_servers {
            Some(addresses) => existing_kafka(addresses)?,
            None => Kafka::Install {
                replicas: args.kafka_replicas,
                image: given("--kafka-image", args.kafka_image.as_deref())?
                    .unwrap_or_else(|| files::pin("KAFKA_IMAGE").to_owned()),
            },
        };
        let image = match given("--image", args.image.as_deref())? {
            Some(reference) => Image::Reference(reference),
            None if is_existing => {
                return Err(anyhow!("--context needs --image: its nodes pull their images")).help(|| {
                    "build and push one: docker build -f docker/Dockerfile -t REGISTRY/fireworks:TAG . \
                     && docker push REGISTRY/fireworks:TAG"
                        .into()
                });
            }
            None => Image::Made {
                tag: tag(&executable)?,
            },
        };
        Ok(Settings {
            target,
            workers: args.workers,
            kafka,
            properties: args.properties.clone(),
            replicas: args.replicas,
            image,
            spark_image: spark_image(args)?,
            node_image: given("--node-image", args.node_image.as_deref())?,
            port: args.port,
            timeout: args.timeout.into(),
            executable,
            yes: args.target.yes,
        })
    }

    /// The Kafka image to install; nothing where none is.
    pub fn kafka_image(&self) -> &str {
        match &self.kafka {
            Kafka::Install { image, .. } => image,
            Kafka::Existing { .. } => "",
        }
    }

    /// What is asked of this machine.
    pub fn wish(&self) -> Wish {
        let brokers = match self.kafka {
            Kafka::Install { replicas, .. } => replicas.into(),
            Kafka::Existing { .. } => 0,
        };
        Wish {
            is_kind: matches!(self.target.cluster, Cluster::Kind { .. }),
            nodes: u64::from(self.workers) + 1,
            brokers,
            has_spark: self.spark_image.is_some(),
            port: self.port,
            node_image: self.node_image.clone(),
        }
    }

    /// The values of the fireworks chart.
    pub fn pipeline_values(&self, facts: &Facts) -> serde_json::Value {
        let service = match self.target.cluster {
            Cluster::Kind { .. } => serde_json::json!({"type": "NodePort", "nodePort": 30080}),
            Cluster::Existing { .. } => serde_json::json!({"type": "ClusterIP"}),
        };
        let mut values = serde_json::json!({
            "image": self.image.reference(),
            "brownian": {"replicas": self.replicas},
            "dashboard": {"service": service},
        });
        // By way of the API server the page is asked for under the API server's own name. In the cluster's network that
        // is the control plane's container.
        let server = match &self.target.cluster {
            Cluster::Kind { name, .. } => Some(format!("{name}-control-plane")),
            Cluster::Existing { .. } => facts.context.found().and_then(|found| found.host_name()),
        };
        if let Some(server) = server {
            values["dashboard"]["allowHosts"] = serde_json::json!([server]);
        }
        if let Kafka::Existing { addresses } = &self.kafka {
            values["bootstrapServers"] = addresses.as_str().into();
        }
        if let Some(image) = &self.spark_image {
            values["generate"] = serde_json::json!({"engine": "spark", "spark": {"image": image}});
        }
        if !self.properties.is_empty() {
            values["clientProperties"] = self.properties.join("\n").into();
        }
        values
    }
}

/// Whether a property makes a client speak TLS. Its value is no secret.
fn needs_tls(property: &str) -> bool {
    let value = property.strip_prefix("security.protocol=");
    value.is_some_and(|value| ["ssl", "sasl_ssl"].contains(&value.to_lowercase().as_str()))
}

fn existing_kafka(addresses: &str) -> anyhow::Result<Kafka> {
    let is_address = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "9092"));
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !addresses
        .split(',')
        .all(|address| is_address(address.trim()))
    {
        return Err(anyhow!("invalid --bootstrap-servers `{addresses}`")).help(|| {
            "write HOST:PORT, separated by commas, as the cluster's pods reach them".into()
        });
    }
    Ok(Kafka::Existing {
        addresses: addresses.to_owned(),
    })
}

/// The image of Spark, which goes with --generator spark alone.
fn spark_image(args: &Args) -> anyhow::Result<Option<String>> {
    let image = given("--spark-image", args.spark_image.as_deref())?;
    match (args.generator, &image) {
        (Generator::Spark, None) => {
            Err(anyhow!("--generator spark needs --spark-image")).help(|| {
                "build it: docker build -f docker/spark.Dockerfile -t fireworks-spark:TAG . \
             (and for --context: docker push)"
                    .into()
            })
        }
        (Generator::Rust, Some(_)) => Err(anyhow!(
            "--spark-image has a meaning with --generator spark alone"
        ))
        .help(|| "add --generator spark, or leave it out".into()),
        _ => Ok(image),
    }
}

fn given(flag: &str, reference: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(reference) = reference else {
        return Ok(None);
    };
    if reference.is_empty() || reference.starts_with('-') || reference.contains(char::is_whitespace)
    {
        return Err(anyhow!("invalid {flag} `{}`", reference.escape_debug())).help(|| {
            "an image is named as docker names it, such as registry.example/fireworks:1".into()
        });
    }
    Ok(Some(reference.to_owned()))
}

/// The image of this executable: a new build gets a new tag, an old one is not built or loaded again.
fn tag(executable: &Path) -> anyhow::Result<String> {
    let content = std::fs::read(executable)
        .with_context(|| format!("failed to read `{}`", executable.display()))?;
    let mut hash = Xxh64::new(0);
    hash.update(files::packed_dockerfile().as_bytes());
    hash.update(&content);
    Ok(format!("fireworks:{:016x}", hash.digest()))
}
