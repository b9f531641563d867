//! The log: one line an event on standard error, so that standard output carries results only.
//!
//! Nothing is logged per record above `trace`.

use std::io::IsTerminal;

use anyhow::{Context, anyhow};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::Help;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line: timestamp, level, target, and `fields` with the message
    Json,
}

/// Starts logging at `level`: a level (`warn`) or a list of `module=level` (`info,librdkafka=debug`).
pub fn init(level: &str, format: Format) -> anyhow::Result<()> {
    let targets = targets(level)
        .with_context(|| format!("invalid --log-level `{level}`"))
        .help(|| {
            "write a level, such as warn, or levels by module, such as info,librdkafka=debug".into()
        })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().with_ansi(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init()
        .context("failed to start logging")
}

/// The filter that a list of levels describes. Its parser takes a lone word that is no level for a module, so
/// that a misspelt level would silence everything.
fn targets(levels: &str) -> anyhow::Result<Targets> {
    for level in levels.split(',').filter(|level| !level.contains('=')) {
        level
            .parse::<LevelFilter>()
            .map_err(|_| anyhow!("`{level}` is no level"))?;
    }
    Ok(levels.parse()?)
}
