//! `fireworks net`: the bridge between a dev container and the cluster's network.
//!
//! ```text
//!   dev container ── docker network of the nodes ──┬── node ── its pods        one route a node
//!     │    └─ route to services, by way of a node ─┴── node ── its pods
//!     └─ resolv.conf ─▶ resolver ─┬─ *.cluster.local ─▶ the cluster's DNS
//!                                 └─ everything else ─▶ whoever was asked before
//! ```
//!
//! `up` makes or mends it, `down` undoes it to the byte, `status` looks. It changes the container it runs in;
//! routes and names of a plain host only where that is asked for by name. Its only memory is of what can't be
//! asked any more; everything else is asked of docker, the kernel and the API each time. IPv4 only, as kind is
//! unless told otherwise.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::fs::{FlockOperation, flock};

mod bridge;
mod cluster;
mod container;
mod exchange;
mod memory;
mod message;
mod probe;
mod resolv_conf;
mod resolver;
mod routes;
mod split;
mod status;
#[cfg(test)]
mod tests;
mod undo;

use self::bridge::{Bridge, Settings, Show};
pub use self::container::own_id;
use self::memory::Place;
use super::command::{Command, Runner, System};
use super::target::{Cluster, Target, TargetArgs};
use crate::error::Help;
use crate::shutdown::Shutdown;

/// How long probes may be repeated.
const SETTLING: Duration = Duration::from_secs(15);
/// How long another run may take.
const LOCK: Duration = Duration::from_secs(120);

/// Let this container use the cluster's names and addresses as pods do.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub action: Action,

    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Join the cluster's network: routes to pods and services, and its names
    Up(UpArgs),
    /// Leave it, and put everything back as it was
    Down,
    /// Show routes, names and whether bytes come through
    Status,
    /// Only join the network of the nodes: what `fireworks up` needs to reach the API server
    #[command(hide = true)]
    Join,
    #[command(hide = true)]
    Resolver(resolver::Args),
}

/// What only `net up` is asked.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct UpArgs {
    /// Do nothing where the cluster is not there, and call that a success
    #[arg(long, env = "FIREWORKS_IF_CLUSTER")]
    pub if_cluster: bool,

    /// Change the routes and names of this machine, although it is no container
    #[arg(long, env = "FIREWORKS_ON_HOST")]
    pub on_host: bool,
}

/// Runs one of the actions.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let dry_run = args.target.dry_run;
    match args.action {
        Action::Resolver(args) => resolver::run(args, shutdown).await,
        Action::Join => join(&target, dry_run, shutdown).await,
        Action::Up(up) => make(&target, up, dry_run, shutdown).await,
        Action::Down => undo(&target, dry_run).await,
        Action::Status => look(&target, args.target.json, shutdown).await,
    }
}

async fn make(
    target: &Target,
    args: UpArgs,
    dry_run: bool,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let show = Terminal { dry_run };
    let settings = Settings {
        on_host: args.on_host,
        dry_run,
        ..settings(target)?
    };
    let runner = System::new(shutdown.clone());
    let bridge = bridge_on(&runner, &show, settings.clone());
    let _lock = lock(bridge.place.root()).await?;
    let made = tokio::select! {
        made = bridge.up() => made,
        () = shutdown.requested() => Err(anyhow!("interrupted")),
    };
    if shutdown.is_requested() && !dry_run {
        let unstoppable = System::unstoppable();
        bridge_on(&unstoppable, &show, settings).down().await?;
        bail!("interrupted: the bridge is undone, the cluster is as it was");
    }
    match made {
        Err(error) if args.if_cluster && error.is::<cluster::Absent>() => {
            show.line("no cluster, no bridge");
            Ok(())
        }
        made => made,
    }
}

async fn join(target: &Target, dry_run: bool, shutdown: Shutdown) -> anyhow::Result<()> {
    let show = Terminal { dry_run };
    let settings = Settings {
        dry_run,
        ..settings(target)?
    };
    let runner = System::new(shutdown);
    let bridge = bridge_on(&runner, &show, settings);
    let _lock = lock(bridge.place.root()).await?;
    bridge.join_only().await
}

async fn undo(target: &Target, dry_run: bool) -> anyhow::Result<()> {
    let show = Terminal { dry_run };
    let settings = Settings {
        dry_run,
        ..settings(target)?
    };
    // Not to be stopped half-way.
    let runner = System::unstoppable();
    let bridge = bridge_on(&runner, &show, settings);
    let _lock = lock(bridge.place.root()).await?;
    bridge.down().await
}

async fn look(target: &Target, json: bool, shutdown: Shutdown) -> anyhow::Result<()> {
    let show = Terminal { dry_run: false };
    let runner = System::new(shutdown);
    let bridge = bridge_on(&runner, &show, settings(target)?);
    let rows = bridge.status().await?;
    let text = match json {
        false => status::screen(&rows),
        true => {
            serde_json::json!({"v": 1, "command": "net status", "rows": rows}).to_string() + "\n"
        }
    };
    print(&text)?;
    match rows.iter().find(|row| !row.is_ok) {
        None => Ok(()),
        Some(row) => Err(anyhow!(
            "the bridge does not bear: {}: {}",
            row.what,
            row.said
        ))
        .help(|| row.fix.clone().unwrap_or_default()),
    }
}

fn bridge_on<'a>(runner: &'a dyn Runner, show: &'a dyn Show, settings: Settings) -> Bridge<'a> {
    Bridge {
        runner,
        wire: &probe::Network,
        show,
        place: Place::new(Path::new("/")),
        settings,
    }
}

fn settings(target: &Target) -> anyhow::Result<Settings> {
    let Cluster::Kind { name, network } = &target.cluster else {
        return Err(anyhow!("the bridge leads to kind clusters on this docker engine only")).help(|| {
            "to use services of another cluster from here: kubectl port-forward, or run the client in the cluster".into()
        });
    };
    let program = std::env::current_exe().context("failed to find this executable")?;
    Ok(Settings {
        cluster: name.clone(),
        namespace: target.namespace.clone(),
        flags: target.short_flags(),
        network: network.clone(),
        program: program.display().to_string(),
        on_host: false,
        dry_run: false,
        settling: SETTLING,
    })
}

/// Whether a bridge is remembered that was made on a plain host.
pub fn is_on_host() -> bool {
    // One that can't be read is there.
    let memory = Place::new(Path::new("/")).load(bridge::Here::Host.id());
    memory.is_err() || memory.is_ok_and(|memory| memory.is_some())
}

/// One run at a time: whoever holds the file that this returns. The lock is on the root folder: the only one that is
/// always there, and there to stay. The bridge's own comes and goes, and with it a lock on it or beside it.
async fn lock(root: &Path) -> anyhow::Result<std::fs::File> {
    let handle = std::fs::File::open(root)
        .with_context(|| format!("failed to open `{}`", root.display()))?;
    let deadline = Instant::now() + LOCK;
    while flock(&handle, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > deadline {
            return Err(anyhow!("another `fireworks net` is at work"))
                .help(|| "wait for it, or end it".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(handle)
}

/// Shows commands and lines to whoever sits there: commands of a dry run are its result.
struct Terminal {
    dry_run: bool,
}

impl Show for Terminal {
    fn command(&self, command: &Command) {
        if self.dry_run {
            // Standard output may be closed; nothing is to be done about it.
            drop(print(&format!("{command}\n")));
        } else {
            tell(&format!("$ {}", command.line()));
        }
    }

    fn line(&self, line: &str) {
        if !self.dry_run {
            tell(line);
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("failed to print")
}

#[expect(
    clippy::print_stderr,
    reason = "progress for whoever sits at the terminal"
)]
fn tell(line: &str) {
    eprintln!("{line}");
}
