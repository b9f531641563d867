//! `fireworks up` and what belongs to it: a cluster, Kafka, the bridge, and the pipeline on it.
//!
//! ```text
//!   Args ─▶ Settings ─▶ facts (what is here) ─▶ plan (a value) ─▶ run: check → act → verify, step by step
//!                                                    └─▶ --dry-run: the same commands, as a shell script
//! ```
//!
//! It drives `docker`, `kind`, `helm` and `kubectl` as a person would, and shows each command. It stands apart
//! from the stages: it knows their names, images and ports, and none of their code. What it made is found by
//! labels, never remembered.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, anyhow};

use self::command::{Stopped, System};
use self::doctor::Verdict;
use self::facts::Facts;
use self::lock::Lock;
use self::meter::Meter;
use self::report::{Done, Event, Report};
use self::run::{Outcome, Stage};
use self::settings::Settings;
use self::target::TargetArgs;
use crate::error::{self, Help};
use crate::shutdown::Shutdown;

pub mod command;
pub mod doctor;
pub mod down;
mod facts;
pub mod files;
mod guard;
mod lock;
pub mod logs;
mod machine;
mod meter;
pub mod net;
mod nodes;
mod plan;
mod pods;
#[cfg(test)]
pub mod recorder;
mod report;
mod run;
mod settings;
pub mod status;
mod steps;
pub mod target;
mod terminal;
mod trouble;
mod wait;

/// Make a kind cluster with Kafka and the whole pipeline on it, or bring them to an existing cluster.
///
/// It needs docker, kind, helm and kubectl, shows each command that it runs, and ends when data is seen at the
/// dashboard: http://localhost:8080. What is there already is left as it is; an `up` that failed or was
/// interrupted is gone on with by the next.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Nodes beside the control plane
    #[arg(long, env = "FIREWORKS_WORKERS", default_value_t = 3, conflicts_with = "context", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub workers: u8,

    /// Brokers of the Kafka that is installed: 1, or 3 that keep three copies
    #[arg(long, value_name = "N", env = "FIREWORKS_KAFKA_REPLICAS", default_value_t = 1, conflicts_with = "bootstrap_servers", value_parser = one_or_three)]
    pub kafka_replicas: u8,

    /// Instances of brownian
    #[arg(long, value_name = "N", env = "FIREWORKS_REPLICAS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub replicas: u16,

    /// Use the Kafka at these addresses, as seen from the cluster, and install none
    #[arg(long, value_name = "ADDRESSES", env = "FIREWORKS_BOOTSTRAP_SERVERS")]
    pub bootstrap_servers: Option<String>,

    /// Set a librdkafka property of every client, such as `security.protocol=SASL_SSL`; they are kept in a
    /// Secret; may be repeated (in the environment: one a line)
    #[arg(
        short = 'X',
        value_name = "NAME=VALUE",
        env = "FIREWORKS_X",
        value_delimiter = '\n'
    )]
    pub properties: Vec<String>,

    /// The image of fireworks [default: one made of this executable]
    #[arg(long, value_name = "REFERENCE", env = "FIREWORKS_IMAGE")]
    pub image: Option<String>,

    /// The image of the cluster's nodes [default: the one that goes with the kind release]
    #[arg(
        long,
        value_name = "REFERENCE",
        env = "FIREWORKS_NODE_IMAGE",
        conflicts_with = "context"
    )]
    pub node_image: Option<String>,

    /// The image of Kafka [default: the official one, by digest]
    #[arg(
        long,
        value_name = "REFERENCE",
        env = "FIREWORKS_KAFKA_IMAGE",
        conflicts_with = "bootstrap_servers"
    )]
    pub kafka_image: Option<String>,

    /// What writes the readings
    #[arg(long, env = "FIREWORKS_GENERATOR", value_enum, default_value_t)]
    pub generator: Generator,

    /// The image of the Spark application, as docker/spark.Dockerfile makes it; needed with --generator spark
    #[arg(long, value_name = "REFERENCE", env = "FIREWORKS_SPARK_IMAGE")]
    pub spark_image: Option<String>,

    /// The port of this machine that shows the dashboard
    #[arg(long, env = "FIREWORKS_PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// How long one wait may take, for nodes, for Kafka, for the pipeline
    #[arg(
        long,
        value_name = "DURATION",
        env = "FIREWORKS_TIMEOUT",
        default_value = "5m"
    )]
    pub timeout: humantime::Duration,
}

/// What writes the readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Generator {
    /// `fireworks generate`
    #[default]
    Rust,
    /// The Spark application of kind/spark
    Spark,
}

fn one_or_three(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("it is 1 or 3".into()),
    }
}

/// Brings it all up, or prints what would be done.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let settings = Settings::new(&args)?;
    let (halt, running) = shutdown.child();
    let meter = Meter::new(System::new(running));
    let images = [
        settings.image.reference(),
        settings.kafka_image(),
        settings.spark_image.as_deref().unwrap_or_default(),
    ];
    let facts = facts::gather(&settings.target, &images, settings.port, &meter).await;
    if shutdown.is_requested() {
        // What the tools were asked was cut short.
        return Err(trouble::explain(Stopped.into(), &settings.target));
    }
    let plan = steps::up(&settings, &facts);
    if args.target.dry_run {
        return print(&plan.script());
    }

    let report = reporter(args.target.json);
    let outcome = async {
        examine(&settings, &facts, &report)?;
        guard::allow(&settings.target, &facts, settings.yes, &report)?;
        let _lock = Lock::take(&settings.target.state)?;
        let stage = Stage {
            runner: Arc::new(meter.clone()),
            undo: Arc::new(System::unstoppable()),
            halt,
            report: report.clone(),
        };
        tokio::select! {
            outcome = run::run(&plan, &stage) => outcome,
            () = report.live() => unreachable!("signs of life never end"),
        }
    };
    let outcome = outcome
        .await
        .map_err(|error| trouble::explain(error, &settings.target));
    match outcome {
        Ok(outcome) => {
            let address = steps::address(&settings, &facts);
            let done = Done {
                changed: outcome == Outcome::Changed,
                dashboard: Some(address),
                elapsed_ms: meter.elapsed().as_millis(),
                own_ms: meter.own().as_millis(),
            };
            let words = last_words(&settings, &done);
            report.send(&Event::Done(done));
            if args.target.json {
                Ok(())
            } else {
                print(&words)
            }
        }
        Err(error) => {
            report.send(&Event::Error {
                error: error::report(&error),
            });
            Err(error)
        }
    }
}

/// Tells what doctor has against it, and refuses where that can't work.
fn examine(settings: &Settings, facts: &Facts, report: &Report) -> anyhow::Result<()> {
    let rows = doctor::rows(facts, &settings.wish());
    let failed = rows
        .iter()
        .find(|row| row.verdict == Verdict::Fail)
        .cloned();
    for row in rows {
        if row.verdict != Verdict::Pass {
            report.send(&Event::Checked(row));
        }
    }
    match failed {
        None => Ok(()),
        Some(row) => {
            Err(anyhow!("{}: {}", row.name, row.said)).help(|| row.remedy.unwrap_or_default())
        }
    }
}

/// Where events go: JSON lines, a terminal, or plain lines.
fn reporter(json: bool) -> Report {
    let stderr = std::io::stderr();
    if json {
        Report::new(report::Json(std::io::stdout()))
    } else if stderr.is_terminal() && std::env::var_os("CI").is_none() {
        Report::new(terminal::Terminal::default())
    } else {
        Report::new(report::Plain(stderr))
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("failed to print")
}

/// The address, one thing to try, how to stop.
fn last_words(settings: &Settings, done: &Done) -> String {
    let target = &settings.target;
    let flags = target.short_flags();
    let took = match done.changed {
        true => format!(
            "Fireworks is up, after {}",
            report::seconds(done.elapsed_ms)
        ),
        false => format!(
            "Fireworks was up already ({})",
            report::seconds(done.elapsed_ms)
        ),
    };
    let address = done.dashboard.clone().unwrap_or_default();
    let kubectl = target
        .kubectl()
        .arg(format!("--namespace={}", target.namespace));
    let strike = kubectl.args(["delete", "pod", "brownian-0"]).line();
    format!(
        "\n{took}\n\n  Live picture   {address}\n  Try            {strike}\n                 \
         (kill an instance: the paths go on, every step once)\n  Look           fireworks status{flags}\n  \
         Stop           fireworks down{flags}\n"
    )
}
