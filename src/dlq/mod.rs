//! Dead letters, looked at and put back.
//!
//! `list` only reads. `replay` puts records back as they were, in one transaction that also remembers how far
//! it has come, for each reason on its own: what was put back once is not put back again. Both read what is
//! committed, stream it, and hold no more than a few samples of it.

mod letters;
mod list;
mod replay;
mod text;

use std::io::{ErrorKind, Write};

use anyhow::{Context, anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::defaults;
use crate::error::Help;
use crate::kafka::config::{KafkaArgs, KafkaSettings};
use crate::kafka::topics::Topics;
use crate::model::dead_letter::Reason;
use crate::shutdown::Shutdown;
use letters::Letters;
use list::List;
use replay::Replay;

/// Look at dead letters, and put them back.
///
/// What brownian could not use is in INPUT.dlq, byte for byte, with headers that say why: `malformed` (it is
/// no reading) or `late` (it sorts before the last 100 readings of its device).
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What to do with them.
#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    List(ListArgs),
    Replay(ReplayArgs),
}

/// Show reasons, counts and samples.
#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// How many of the newest records to show for each reason
    #[arg(long, value_name = "NUMBER", env = "FIREWORKS_SAMPLES", default_value = "3",
          value_parser = clap::value_parser!(u16).range(0..=1000))]
    samples: u16,

    #[command(flatten)]
    kafka: KafkaArgs,
}

/// Put records back into the topic they came from, as they were.
///
/// Key, value, timestamp and own headers are the original's, and so is the partition, where the topic still
/// has it. All are written in one transaction: all of them or none. It also remembers, in the consumer groups
/// fireworks-dlq-malformed and fireworks-dlq-late, how far it has come, so a second replay puts back only what
/// has come since; --from-beginning puts everything back again. Dead letters stay where they are.
#[derive(Clone, Debug, clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Only the records with this reason [default: all]
    #[arg(long, env = "FIREWORKS_REASON", value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::name))
          .map(|name| Reason::named(&name).expect("the possible values are names of reasons")))]
    reason: Option<Reason>,

    /// The topic to write to [default: the one that each record came from]
    #[arg(long, value_name = "TOPIC", env = "FIREWORKS_TO")]
    to: Option<String>,

    /// Put back also what has been put back before
    #[arg(long, env = "FIREWORKS_FROM_BEGINNING")]
    from_beginning: bool,

    /// Say what would be put back, and write nothing
    #[arg(long, env = "FIREWORKS_DRY_RUN")]
    dry_run: bool,

    #[command(flatten)]
    kafka: KafkaArgs,
}

/// The flags that say which dead letters, and how to tell.
#[derive(Clone, Debug, clap::Args)]
struct SourceArgs {
    /// The topic of dead letters
    #[arg(long, env = "FIREWORKS_TOPIC", default_value = defaults::DEAD_LETTERS)]
    topic: String,

    /// Print one JSON object
    #[arg(long, env = "FIREWORKS_JSON")]
    json: bool,
}

/// Which dead letters, validated.
#[derive(Clone, Debug)]
struct Settings {
    topic: String,
    is_json: bool,
    kafka: KafkaSettings,
    /// What the brokers know; filled in when they have been asked.
    partitions: i32,
}

impl SourceArgs {
    fn settings(self, kafka: &KafkaArgs) -> anyhow::Result<Settings> {
        check_topic("--topic", &self.topic)?;
        Ok(Settings {
            topic: self.topic,
            is_json: self.json,
            kafka: kafka.settings()?,
            partitions: 0,
        })
    }
}

/// Refuses what is no name of a topic of users.
fn check_topic(from: &str, topic: &str) -> anyhow::Result<()> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(is_legal) {
        return Err(anyhow!(
            "invalid {from} `{}`",
            text::readable(topic.as_bytes())
        ))
        .help(|| "a topic's name has 1 to 249 letters, digits, `.`, `_` and `-`".into());
    }
    if topic.starts_with("__") {
        bail!("invalid {from} `{topic}`: it is Kafka's own");
    }
    Ok(())
}

/// Lists or replays, and prints the result on standard output.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let result = match args.action {
        Action::List(args) => list(args, &shutdown).await?,
        Action::Replay(args) => replay(args, &shutdown).await?,
    };
    let mut stdout = std::io::stdout();
    match stdout
        .write_all(result.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("failed to print the result"),
    }
}

async fn list(args: ListArgs, shutdown: &Shutdown) -> anyhow::Result<String> {
    let mut settings = args.source.settings(&args.kafka)?;
    let topics = Topics::new(&settings.kafka)?;
    find(&mut settings, &topics).await?;
    blocking(shutdown, move |shutdown| {
        let mut list = List::new(&settings.topic, usize::from(args.samples));
        let letters = Letters::open(&settings, shutdown)?;
        letters.read(
            |extent| extent.start,
            shutdown,
            |letter| {
                list.add(&letter);
                Ok(())
            },
        )?;
        Ok(list.text(settings.is_json))
    })
    .await
}

async fn replay(args: ReplayArgs, shutdown: &Shutdown) -> anyhow::Result<String> {
    let mut settings = args.source.settings(&args.kafka)?;
    if let Some(to) = &args.to {
        check_topic("--to", to)?;
    }
    let reasons = args
        .reason
        .map_or(Reason::ALL.to_vec(), |reason| vec![reason]);
    let topics = Topics::new(&settings.kafka)?;
    find(&mut settings, &topics).await?;
    blocking(shutdown, move |shutdown| {
        let replay = Replay {
            settings: &settings,
            topics: &topics,
            reasons: &reasons,
            to: args.to.as_deref(),
            is_repeated: args.from_beginning,
        };
        let put_back = replay.run(args.dry_run, shutdown)?;
        Ok(put_back.text(settings.is_json))
    })
    .await
}

/// Asks how many partitions the topic has.
async fn find(settings: &mut Settings, topics: &Topics) -> anyhow::Result<()> {
    let topic = &settings.topic;
    settings.partitions = topics
        .partitions(topic)
        .await?
        .ok_or_else(|| anyhow!("topic `{topic}` does not exist"))
        .help(|| "brownian creates it as INPUT.dlq: name it with --topic".into())?;
    Ok(())
}

/// Runs what blocks on a thread that may.
async fn blocking(
    shutdown: &Shutdown,
    work: impl FnOnce(&Shutdown) -> anyhow::Result<String> + Send + 'static,
) -> anyhow::Result<String> {
    let shutdown = shutdown.clone();
    tokio::task::spawn_blocking(move || work(&shutdown))
        .await
        .context("reading the dead letters panicked")?
}
