//! A small Kafka-protocol broker in memory, for one machine: for the demo and for tests.
//!
//! It tells the truth or refuses: transactions, groups, compaction and retention do what the protocol says,
//! and what it can't do is answered with the protocol's own error. It keeps nothing: when it ends, all is
//! gone. It has no authentication, so it listens on loopback only.
//!
//! ```text
//! connection ── wire (frames, shapes) ── api (requests to state and back)        async, thin
//!                                         │
//!                              state: one lock over                              plain values, time
//!                  topics ─ log ─ batch   │   groups   │   transactions          is an argument
//! ```

mod api;
mod batch;
mod clock;
mod connection;
#[cfg(fuzzing)]
pub mod fuzzing;
mod groups;
mod limits;
mod log;
mod refusal;
mod settings;
mod state;
mod topics;
mod transactions;
mod waiters;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::defaults;
use crate::error::Help;
use crate::metrics::{Metrics, MetricsArgs};
use crate::shutdown::Shutdown;
pub use settings::{RETENTION_BYTES, Settings};
use state::{Core, Node};

/// Run a small Kafka broker in memory, for one machine.
///
/// It has what a pipeline needs of Kafka: transactions, idempotent producers, consumer groups, retention and
/// compaction. It has no disk, no authentication and no second node: it listens on loopback only, and when it
/// ends everything is gone.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen, on loopback
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_LISTEN", default_value = defaults::KAFKA)]
    pub listen: String,

    /// The memory that one partition may fill, in bytes or as 64MiB: the oldest records go first (a compacted
    /// topic refuses new ones instead)
    #[arg(
        long,
        value_name = "BYTES",
        env = "FIREWORKS_RETENTION_BYTES",
        default_value = "64MiB",
        value_parser = settings::parse_bytes
    )]
    pub retention_bytes: u64,

    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Runs the broker until it is asked to stop.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let settings = Settings::new(&args.listen, args.retention_bytes)?;
    let metrics = Metrics::new("taking the port");
    let _serving = metrics.serve(&args.metrics, &shutdown).await?;
    let broker = Broker::bind(settings).await?;
    metrics.readiness().waits_for(0, None);
    tracing::info!(
        "Kafka protocol on {}, for this machine only; everything is in memory and gone at the end",
        broker.local_addr()
    );
    broker.serve(shutdown).await
}

/// A broker that listens and does not serve yet.
#[derive(Debug)]
pub struct Broker {
    listener: TcpListener,
    local_addr: SocketAddr,
    core: Arc<Core>,
}

impl Broker {
    /// Takes the port. Clients that connect from now on wait until [`Broker::serve`].
    pub async fn bind(settings: Settings) -> anyhow::Result<Broker> {
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("failed to listen on {}", settings.listen))
            .help(|| "another program may have the port: choose one with --listen".into())?;
        let local_addr = listener
            .local_addr()
            .context("failed to read the own address")?;
        let node = Node {
            cluster_id: Uuid::new_v4().simple().to_string(),
            host: local_addr.ip().to_string(),
            port: local_addr.port(),
        };
        let core = Arc::new(Core::new(&settings, node));
        Ok(Broker {
            listener,
            local_addr,
            core,
        })
    }

    /// Where the broker listens: with port 0 in the settings, the port that was free.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves clients until it is asked to stop, then closes all connections at once: answers that wait for
    /// data are worth nothing to a client whose broker ends.
    pub async fn serve(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let mut house = JoinSet::new();
        house.spawn(keep_deadlines(self.core.clone()));
        house.spawn(keep_logs(self.core.clone()));
        loop {
            tokio::select! {
                () = shutdown.requested() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, peer)) => self.admit(socket, peer, &mut tasks),
                    // Out of file descriptors, or the client has gone already: neither lasts.
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        tokio::time::sleep(limits::TICK).await;
                    }
                },
                Some(ended) = house.join_next() => {
                    // Without it nothing would time out any more: better no broker than that one.
                    return ended.context("the broker's housekeeping ended");
                }
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a connection ended in a defect of this broker");
                },
            }
        }
        house.shutdown().await;
        tasks.shutdown().await;
        Ok(())
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        if tasks.len() > limits::CONNECTIONS {
            tracing::warn!(%peer, "refusing a connection: there are {} already", limits::CONNECTIONS);
            return;
        }
        let core = self.core.clone();
        tasks.spawn(async move { connection::serve(&core, socket, peer).await });
    }
}

/// Looks after the deadlines of members and transactions, which nothing may hold up.
async fn keep_deadlines(core: Arc<Core>) {
    let mut tick = every(limits::TICK);
    loop {
        tick.tick().await;
        core.state().expire(core.clock.now());
    }
}

/// Looks after retention and compaction, however long they take.
async fn keep_logs(core: Arc<Core>) {
    let mut tick = every(limits::SWEEP);
    loop {
        tick.tick().await;
        core.state().sweep(core.clock.now());
        core.compact_due().await;
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
