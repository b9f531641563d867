//! The command line: one line a command, dispatch, nothing else.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{CommandFactory, Parser, Subcommand};

use crate::error::Help;
use crate::shutdown::Shutdown;
use crate::{broker, brownian, dashboard, demo, dlq, generate, telemetry, up};

/// How long a stop may take. Draining takes milliseconds; where the brokers don't answer, nothing is gained
/// by waiting: an open transaction is aborted by them, or by whoever next takes its id.
const DRAIN_DEADLINE: Duration = Duration::from_millis(1700);

/// How long a stop may take that has other programs to end and the bridge to undo.
const UNDO_DEADLINE: Duration = Duration::from_secs(45);

/// A live streaming pipeline on Kafka in one binary.
///
/// `fireworks demo` runs all of it on this machine: readings of five sensors, their Brownian paths
/// computed exactly once, and a live page at http://localhost:8080.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What to log on standard error: a level (error, warn, info, debug, trace), or levels by module
    /// (`info,librdkafka=debug`) [default: info; demo: warn]
    #[arg(
        long,
        value_name = "LEVEL",
        global = true,
        env = "FIREWORKS_LOG_LEVEL",
        help_heading = "Log"
    )]
    log_level: Option<String>,

    /// How to write the log
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        env = "FIREWORKS_LOG_FORMAT",
        value_enum,
        default_value = "text",
        help_heading = "Log"
    )]
    log_format: telemetry::Format,
}

/// The commands; what each is for stands at its `Args`.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Generate(generate::Args),
    Brownian(brownian::Args),
    Dashboard(dashboard::Args),
    Broker(broker::Args),
    Dlq(dlq::Args),
    Up(up::Args),
    Down(up::down::Args),
    Status(up::status::Args),
    Doctor(up::doctor::Args),
    Logs(up::logs::Args),
    Net(up::net::Args),
    Unpack(up::files::UnpackArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> anyhow::Result<()> {
        let usual_level = if matches!(self.command, Command::Demo(_)) {
            "warn"
        } else {
            "info"
        };
        telemetry::init(
            self.log_level.as_deref().unwrap_or(usual_level),
            self.log_format,
        )?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let (deadline, overran) = self.command.stop();
        let outcome = runtime.block_on(async {
            let shutdown = Shutdown::on_signals()?;
            tokio::select! {
                outcome = self.command.run(shutdown.clone()) => outcome,
                () = overdue(&shutdown, deadline) => overran(),
            }
        });
        // A thread may still wait for a broker that never answers.
        runtime.shutdown_background();
        outcome
    }
}

/// Comes when a stop that was asked for has taken too long.
async fn overdue(shutdown: &Shutdown, deadline: Duration) {
    shutdown.requested().await;
    tokio::time::sleep(deadline).await;
}

/// What a stop that took too long comes to, for a stage: nothing is lost by it.
fn left_to_kafka() -> anyhow::Result<()> {
    tracing::warn!("stopped without an answer from Kafka; it aborts what was left open");
    Ok(())
}

/// The same for a command whose result somebody waits for.
fn unanswered() -> anyhow::Result<()> {
    Err(anyhow!("interrupted, without an answer from Kafka"))
}

/// The same for a command that had something to undo.
fn not_undone() -> anyhow::Result<()> {
    Err(anyhow!("interrupted, and undoing took too long"))
        .help(|| "put back what is left: fireworks net down".into())
}

impl Command {
    /// How long it may take to stop when it is asked to, and what it comes to where that isn't enough.
    fn stop(&self) -> (Duration, fn() -> anyhow::Result<()>) {
        match self {
            Command::Up(_) | Command::Down(_) | Command::Net(_) | Command::Logs(_) => {
                (UNDO_DEADLINE, not_undone)
            }
            Command::Dlq(_) => (DRAIN_DEADLINE, unanswered),
            _ => (DRAIN_DEADLINE, left_to_kafka),
        }
    }

    async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        match self {
            Command::Demo(args) => demo::run(args, shutdown).await,
            Command::Generate(args) => generate::run(args, shutdown).await,
            Command::Brownian(args) => brownian::run(args, shutdown).await,
            Command::Dashboard(args) => dashboard::run(args, shutdown).await,
            Command::Broker(args) => broker::run(args, shutdown).await,
            Command::Dlq(args) => dlq::run(args, shutdown).await,
            Command::Up(args) => up::run(args, shutdown).await,
            Command::Down(args) => up::down::run(args, shutdown).await,
            Command::Status(args) => up::status::run(args, shutdown).await,
            Command::Doctor(args) => up::doctor::run(args, shutdown).await,
            Command::Logs(args) => up::logs::run(args, shutdown).await,
            Command::Net(args) => up::net::run(args, shutdown).await,
            Command::Unpack(args) => up::files::unpack(&args),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "fireworks", &mut script);
                std::io::stdout()
                    .write_all(&script)
                    .context("failed to print the script")
            }
        }
    }
}
