//! The processor: readings become steps of Brownian paths, exactly once, by a consumer group.
//!
//! Everything that a reading causes (steps, dead letters, state, the group's offset) is in the transaction
//! that consumed it. Parallelism is partitions × workers × instances: a worker is a plain thread with a
//! consumer, a producer and state of its own, and no two share anything but counts.

mod held;
mod output;
mod processor;
mod restore;
mod totals;
mod until_end;
mod work;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::defaults;
use crate::error::Help;
use crate::kafka::config::{KafkaArgs, KafkaSettings};
use crate::kafka::reader::Reader;
use crate::kafka::topics::{CleanUp, Topic, Topics};
use crate::metrics::{Metrics, MetricsArgs};
use crate::model::state::Owner;
use crate::shutdown::{Shutdown, Trigger};
use held::HeldPartitions;
pub use restore::OnLostOffset;
use totals::Totals;
use until_end::UntilEnd;
use worker::Shared;

/// A dead letter is as large as its record, and its headers come on top.
const DEAD_LETTER_HEADER_BYTES: u64 = 64 * 1024;
/// Kafka's default for `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: u64 = 1_048_588;
/// How often a log line tells how it is going.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often to look for a topic that isn't there yet.
const TOPIC_INTERVAL: Duration = Duration::from_millis(100);

/// Turn readings into Brownian paths and Markov chains, exactly once.
///
/// For each device, every reading is merged with the one before it, the last 100 are kept sorted by time, and
/// each step of the path is written, again where a late reading changes it.
///
/// Instances with the same --group share the partitions. What can't be used goes to INPUT.dlq; what a
/// restart needs is kept in OUTPUT.state.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The topic of readings
    #[arg(long, value_name = "TOPIC", env = "FIREWORKS_INPUT", default_value = defaults::READINGS)]
    pub input: String,

    /// The topic of steps; it is created where it doesn't exist
    #[arg(long, value_name = "TOPIC", env = "FIREWORKS_OUTPUT", default_value = defaults::MARKOV)]
    pub output: String,

    /// The consumer group
    #[arg(long, env = "FIREWORKS_GROUP", default_value = defaults::BROWNIAN_GROUP)]
    pub group: String,

    /// How many workers share the partitions in this process [default: one per core]
    #[arg(long, value_name = "NUMBER", env = "FIREWORKS_WORKERS", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,

    /// The longest time that a transaction stays open
    #[arg(
        long,
        value_name = "DURATION",
        env = "FIREWORKS_COMMIT_INTERVAL",
        default_value = "100ms"
    )]
    pub commit_interval: humantime::Duration,

    /// The name of this instance: stable over its restarts, and another for each that runs at a time
    /// [default: the host name]
    #[arg(long, value_name = "NAME", env = "FIREWORKS_INSTANCE")]
    pub instance: Option<String>,

    /// Stop at the end that each partition has at the start
    #[arg(long, env = "FIREWORKS_UNTIL_END")]
    pub until_end: bool,

    /// What to do where the offset to go on from is no longer in the topic
    #[arg(
        long,
        value_name = "WHAT",
        env = "FIREWORKS_ON_LOST_OFFSET",
        value_enum,
        default_value = "stop"
    )]
    pub on_lost_offset: OnLostOffset,

    #[command(flatten)]
    pub metrics: MetricsArgs,

    #[command(flatten)]
    pub kafka: KafkaArgs,
}

/// What `brownian` does, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    input: String,
    output: String,
    state: String,
    dead_letters: String,
    group: String,
    instance: String,
    workers: usize,
    commit_interval: Duration,
    until_end: bool,
    on_lost_offset: OnLostOffset,
    kafka: KafkaSettings,
    /// What the brokers know; filled in when they have been asked.
    partitions: i32,
    dead_letter_partitions: i32,
    max_dead_letter_bytes: u64,
}

impl Args {
    /// Checks everything that can be checked without Kafka.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let commit_interval = Duration::from(self.commit_interval);
        if commit_interval > Duration::from_secs(5) {
            bail!(
                "invalid --commit-interval {}: it is at most 5s",
                self.commit_interval
            );
        }
        for (flag, value) in [
            ("--input", &self.input),
            ("--output", &self.output),
            ("--group", &self.group),
        ] {
            if value.is_empty() {
                bail!("invalid {flag}: it is empty");
            }
        }
        if self.input == self.output {
            bail!("invalid --output {}: it is the input", self.output);
        }
        let instance = match self.instance {
            Some(name) if name.is_empty() => bail!("invalid --instance: it is empty"),
            Some(name) if name.contains('/') => {
                bail!("invalid --instance {name}: it has a slash")
            }
            Some(name) => name,
            None => host_name()?,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            state: format!("{}.state", self.output),
            dead_letters: format!("{}.dlq", self.input),
            input: self.input,
            output: self.output,
            group: self.group,
            instance,
            workers: self.workers.map_or(cores, usize::from),
            commit_interval,
            until_end: self.until_end,
            on_lost_offset: self.on_lost_offset,
            kafka: self.kafka.settings()?,
            partitions: 0,
            dead_letter_partitions: 1,
            max_dead_letter_bytes: 0,
        })
    }
}

impl Settings {
    /// Whose state this is.
    fn owner(&self) -> Owner {
        Owner {
            input: self.input.clone(),
            partitions: self.partitions,
            group: self.group.clone(),
        }
    }
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("failed to read the host name")
        .help(|| "name this instance with --instance".into())?;
    Ok(name.trim().to_owned())
}

/// Processes readings until it is asked to stop or, with `--until-end`, until their end.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let listen = args.metrics.clone();
    let settings = args.settings()?;
    let metrics = Metrics::new("looking for the topics");
    let _serving = metrics.serve(&listen, &shutdown).await?;
    run_settings(settings, &metrics, shutdown).await
}

/// [`run`], with settings made elsewhere.
pub async fn run_settings(
    mut settings: Settings,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let totals = Arc::new(Totals::new(metrics));
    let held = Arc::new(HeldPartitions::new(metrics));
    tokio::select! {
        () = shutdown.requested() => return Ok(()),
        resolved = resolve(&mut settings) => resolved?,
    }
    let (finish, stop) = shutdown.child();
    let until_end = match find_ends(&settings, &stop, &finish).await {
        Err(_) if shutdown.is_requested() => return Ok(()),
        ends => ends?,
    };
    let shared = Shared {
        totals,
        held,
        readiness: metrics.readiness().clone(),
        until_end,
        shutdown: stop,
    };
    tracing::info!(
        input = settings.input,
        output = settings.output,
        group = settings.group,
        instance = settings.instance,
        workers = settings.workers,
        "processing"
    );
    let outcome = work(&settings, &shared, &finish).await;
    shared.totals.log("stopped processing", 0, f64::INFINITY);
    outcome
}

/// Waits for the input, and creates what is written to.
async fn resolve(settings: &mut Settings) -> anyhow::Result<()> {
    let topics = Topics::new(&settings.kafka)?;
    let partitions = wait_for_input(settings, &topics).await?;
    settings.partitions = partitions;
    settings.workers = settings.workers.min(partitions.unsigned_abs() as usize);
    let max_message_bytes = topics.config(&settings.input, "max.message.bytes").await?;
    let max_message_bytes = max_message_bytes
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
    settings.max_dead_letter_bytes = max_message_bytes + DEAD_LETTER_HEADER_BYTES;
    let topic = |name: &String, partitions, clean_up| Topic {
        name: name.clone(),
        partitions,
        clean_up,
        max_message_bytes: None,
        partitions_from: "",
    };
    topics
        .ensure(&topic(&settings.output, Some(partitions), CleanUp::Delete))
        .await?;
    topics
        .ensure(&topic(&settings.state, Some(partitions), CleanUp::Compact))
        .await?;
    let dead_letters = Topic {
        max_message_bytes: Some(settings.max_dead_letter_bytes),
        ..topic(&settings.dead_letters, None, CleanUp::Delete)
    };
    settings.dead_letter_partitions = topics.ensure(&dead_letters).await?;
    Ok(())
}

async fn wait_for_input(settings: &Settings, topics: &Topics) -> anyhow::Result<i32> {
    let topic = &settings.input;
    let mut has_told = false;
    loop {
        if let Some(partitions) = topics.partitions(topic).await? {
            return Ok(partitions);
        }
        if settings.until_end {
            return Err(anyhow!("topic `{topic}` does not exist"))
                .help(|| format!("write to it first: fireworks generate --topic {topic}"));
        }
        if !std::mem::replace(&mut has_told, true) {
            tracing::info!(topic, "waiting for the topic: nobody has created it yet");
        }
        tokio::time::sleep(TOPIC_INTERVAL).await;
    }
}

/// Where each partition ends now, if that is where to stop.
async fn find_ends(
    settings: &Settings,
    shutdown: &Shutdown,
    finish: &Trigger,
) -> anyhow::Result<Option<Arc<UntilEnd>>> {
    if !settings.until_end {
        return Ok(None);
    }
    let (settings, shutdown, finish) = (settings.clone(), shutdown.clone(), finish.clone());
    let finding = tokio::task::spawn_blocking(move || {
        let reader = Reader::new(&settings.kafka, &settings.group)?;
        let partitions: Vec<_> = (0..settings.partitions).collect();
        let extents = reader.settled(&settings.input, &partitions, &shutdown)?;
        anyhow::Ok(Some(Arc::new(UntilEnd::new(&extents, finish))))
    });
    finding
        .await
        .context("finding the ends of the input panicked")?
}

/// Runs the workers to their end. The first that fails ends the others.
async fn work(settings: &Settings, shared: &Shared, finish: &Trigger) -> anyhow::Result<()> {
    let mut threads = tokio::task::JoinSet::new();
    for number in 0..settings.workers {
        let starting = format!("worker {number} is starting");
        shared.readiness.waits_for(number, Some(starting));
        let (settings, shared) = (settings.clone(), shared.clone());
        threads.spawn_blocking(move || worker::work(&settings, number, shared));
    }
    if let Some(until_end) = shared.until_end.clone() {
        let (settings, shutdown) = (settings.clone(), shared.shutdown.clone());
        threads.spawn_blocking(move || until_end.watch_the_group(&settings, &shutdown));
    }
    let mut outcome = Ok(());
    let mut logged = (Instant::now(), 0);
    loop {
        tokio::select! {
            ended = threads.join_next() => match ended {
                None => return outcome,
                Some(ended) => {
                    let ended = ended.context("a worker panicked").and_then(|ended| ended);
                    if outcome.is_ok() {
                        outcome = ended;
                    }
                    if outcome.is_err() {
                        finish.request();
                    }
                }
            },
            () = tokio::time::sleep_until((logged.0 + LOG_INTERVAL).into()) => {
                let records = shared.totals.log("processed", logged.1, logged.0.elapsed().as_secs_f64());
                logged = (Instant::now(), records);
            }
        }
    }
}
