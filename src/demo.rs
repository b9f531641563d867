//! The whole pipeline in one process, supervised: broker, generate, brownian and dashboard.
//!
//! It composes the stages as they are and adds nothing to them: they speak the Kafka protocol over loopback
//! to the embedded broker, as they speak it to any other. A stage that fails ends the others.

use std::io::Write;

use anyhow::{Context, anyhow};
use tokio::task::JoinSet;

use crate::broker::{self, Broker};
use crate::dashboard::{self, Dashboard};
use crate::error::Help;
use crate::kafka::config::KafkaArgs;
use crate::metrics::{Metrics, MetricsArgs};
use crate::shutdown::{Shutdown, Trigger};
use crate::{brownian, defaults, generate};

/// Run the whole pipeline in one process, on an embedded broker.
///
/// A source writes readings, the processor makes Brownian paths of them, and the dashboard shows those at
/// http://localhost:8080. It is for one machine and keeps nothing.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the dashboard listens
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_LISTEN", default_value = defaults::DASHBOARD)]
    pub listen: String,

    /// Where the embedded broker listens
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_KAFKA_LISTEN", default_value = defaults::KAFKA)]
    pub kafka_listen: String,

    #[command(flatten)]
    pub source: generate::SourceArgs,

    /// Event time before the start whose batches come at once, so that the first picture is full
    #[arg(
        long,
        value_name = "DURATION",
        env = "FIREWORKS_BACKFILL",
        default_value = "5m"
    )]
    pub backfill: humantime::Duration,
}

/// Runs the pipeline until it is asked to stop or a stage fails.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    // Ports first: a demo that can't be seen should not begin.
    let broker = broker::Settings::new(&args.kafka_listen, broker::RETENTION_BYTES)?;
    let broker = Broker::bind(broker).await.help(|| {
        format!(
            "another program has the port: pass --kafka-listen {}",
            free_port(&args.kafka_listen)
        )
    })?;
    let address = broker.local_addr().to_string();
    let stages = Stages::new(args, &address)?;
    let dashboard = Dashboard::bind(stages.dashboard).await?;
    let url = dashboard.url();

    // The broker outlives the stages: they commit or abort before it goes.
    let (end_broker, broker_shutdown) = Shutdown::manual();
    let (end_stages, stages_shutdown) = shutdown.child();
    let mut running = JoinSet::new();
    running.spawn(ended("broker", broker.serve(broker_shutdown)));
    running.spawn(ended(
        "generate",
        generate(stages.generate, stages_shutdown.clone()),
    ));
    running.spawn(ended(
        "brownian",
        brownian(stages.brownian, stages_shutdown.clone()),
    ));
    running.spawn(ended("dashboard", dashboard.serve(stages_shutdown)));
    announce(&url, &address)?;

    supervise(running, &shutdown, &end_stages, &end_broker).await
}

async fn generate(settings: generate::Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    generate::run_settings(settings, &Metrics::new("starting"), shutdown).await
}

async fn brownian(settings: brownian::Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    brownian::run_settings(settings, &Metrics::new("starting"), shutdown).await
}

/// What the stages of a demo do.
struct Stages {
    generate: generate::Settings,
    brownian: brownian::Settings,
    dashboard: dashboard::Settings,
}

impl Stages {
    fn new(args: Args, kafka: &str) -> anyhow::Result<Stages> {
        let kafka = KafkaArgs {
            bootstrap_servers: kafka.to_owned(),
            properties: Vec::new(),
        };
        let mut generate = generate::Args {
            topic: defaults::READINGS.to_owned(),
            source: args.source,
            backfill: Some(args.backfill),
            metrics: MetricsArgs::default(),
            kafka: kafka.clone(),
        }
        .settings()?;
        generate.shows_progress = false;
        let brownian = brownian::Args {
            input: defaults::READINGS.to_owned(),
            output: defaults::MARKOV.to_owned(),
            until_end: false,
            kafka: kafka.clone(),
            ..without_flags()?
        };
        let dashboard = dashboard::Args {
            topic: defaults::MARKOV.to_owned(),
            listen: args.listen,
            kafka,
            ..without_flags()?
        };
        Ok(Stages {
            generate,
            brownian: brownian.settings()?,
            dashboard: dashboard.settings()?,
        })
    }
}

/// A stage's arguments as they are when it is started without a flag.
fn without_flags<A: clap::Args>() -> anyhow::Result<A> {
    let command = A::augment_args(clap::Command::new("stage"));
    Ok(A::from_arg_matches(
        &command.try_get_matches_from(["stage"])?,
    )?)
}

/// A stage's name with its outcome.
async fn ended(
    name: &'static str,
    stage: impl Future<Output = anyhow::Result<()>>,
) -> (&'static str, anyhow::Result<()>) {
    (name, stage.await)
}

/// Waits for all to end: the stages when they are asked to, or when one fails, and the broker after them.
async fn supervise(
    mut running: JoinSet<(&'static str, anyhow::Result<()>)>,
    shutdown: &Shutdown,
    end_stages: &Trigger,
    end_broker: &Trigger,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(joined) = running.join_next().await {
        let (name, result) = joined.map_err(|panic| anyhow!(panic).context("a stage panicked"))?;
        // A source that has written its last batch is done; the picture stays.
        let is_expected = name == "generate" || shutdown.is_requested() || outcome.is_err();
        let result = result.with_context(|| format!("{name} failed"));
        let result = if is_expected {
            result
        } else {
            result.and_then(|()| Err(anyhow!("{name} ended by itself")))
        };
        if outcome.is_ok() {
            outcome = result;
        }
        if outcome.is_err() {
            end_stages.request();
        }
        if running.len() == 1 {
            end_broker.request();
        }
    }
    outcome
}

/// The same address with a port that the system chooses.
fn free_port(address: &str) -> String {
    format!(
        "{}:0",
        address
            .rsplit_once(':')
            .map_or("127.0.0.1", |(host, _)| host)
    )
}

fn announce(url: &str, kafka: &str) -> anyhow::Result<()> {
    let text = format!(
        "\
Fireworks is running: generate → readings → brownian → markov → dashboard

  Live picture   {url}
  Kafka          {kafka} (in memory, for this machine; nothing is kept)

Look further:

  kcat -b {kafka} -t markov -C
  fireworks dashboard --topic readings --listen 127.0.0.1:8081 --bootstrap-servers {kafka}
  fireworks --help

Ctrl-C stops it.
"
    );
    let mut stdout = std::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("failed to print the addresses")
}
