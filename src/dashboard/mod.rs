//! `fireworks dashboard`: a topic as a live page.
//!
//! ```text
//!   kafka/tail ──batches──▶ picture (reducer) ──one message a tick──▶ board ──same bytes──▶ every browser
//! ```
//!
//! | asked for | answer |
//! |---|---|
//! | `/` | the page, with the picture of the moment in it; `?field=` draws another numeric field |
//! | `/api/stream` | Server-Sent Events: a snapshot, then a message a tick; goes on after `Last-Event-ID` or `?since=` |
//! | `/api/snapshot` | the picture as JSON, of a second ago at most; its shape is in `wire.rs` |
//! | `/api/devices?search=` | devices by a part of their names: `{"all": 12, "devices": [{"id", "time", "value"}]}` |
//! | `/api/want?id=` | keeps a device in colour for half a minute, however many there are: `true`, or `false` where there is no such device or 16 are asked for already |
//! | `/api/time` | the server's clock, in milliseconds since 1970 |
//! | `/metrics` | the numbers of the server for Prometheus |
//! | `/healthz`, `/readyz` | whether it runs, and whether the first picture is there |
//!
//! One consumer, one reducer, one encoding, whatever the number of browsers. It only reads: it joins no
//! group, commits nothing, and keeps what it shows in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::access::Access;
use self::fields::{Fields, Source};
use crate::defaults;
use crate::error::Help;
use crate::kafka::config::{KafkaArgs, KafkaSettings};
use crate::kafka::tail::TailSettings;
use crate::metrics::{Metrics, MetricsArgs};
use crate::server;
use crate::shutdown::Shutdown;

mod access;
mod assets;
mod axis;
mod bad;
mod board;
mod crowd;
mod decode;
mod devices;
mod fields;
mod meters;
mod page;
mod picture;
mod routes;
mod series;
mod wire;

/// How long a stop waits for the tail to say how it ended.
const LET_GO: Duration = Duration::from_millis(300);

/// Show a topic on a live web page.
///
/// The paths of its devices, how fast records come, how late, and which of them are bad. It works with any
/// topic of JSON records; `markov` is shown best.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The topic to show
    #[arg(long, env = "FIREWORKS_TOPIC", default_value = defaults::MARKOV)]
    pub topic: String,

    /// Where to serve the page
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_LISTEN", default_value = defaults::DASHBOARD)]
    pub listen: String,

    /// How much of the past to show, in event time
    #[arg(long, value_name = "DURATION", env = "FIREWORKS_WINDOW", default_value = "5m", value_parser = humantime::parse_duration)]
    pub window: Duration,

    /// How often the page is told what is new, from 50ms to 1s
    #[arg(long, value_name = "DURATION", env = "FIREWORKS_REFRESH", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub refresh: Duration,

    /// A name, beside localhost and addresses, under which browsers may ask for the page; may be repeated
    #[arg(
        long,
        value_name = "NAME",
        env = "FIREWORKS_ALLOW_HOST",
        value_delimiter = ','
    )]
    pub allow_host: Vec<String>,

    /// Ask for this token before anything is shown; without a value, one is made up and logged
    #[arg(
        long,
        value_name = "TOKEN",
        env = "FIREWORKS_TOKEN",
        num_args = 0..=1,
        default_missing_value = "",
        hide_env_values = true
    )]
    pub token: Option<String>,

    #[command(flatten)]
    pub metrics: MetricsArgs,

    #[command(flatten)]
    pub kafka: KafkaArgs,
}

pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let dashboard = Dashboard::bind(args.settings()?).await?;
    let _serving = dashboard.metrics.serve(&args.metrics, &shutdown).await?;
    tracing::info!("dashboard: {}", dashboard.url());

    dashboard.serve(shutdown).await
}

impl Args {
    /// Validates the flags without connecting.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.topic.is_empty() || self.topic.len() > 249 || !self.topic.chars().all(is_legal) {
            return Err(anyhow!("invalid --topic `{}`", self.topic.escape_debug()))
                .help(|| "a topic's name has 1 to 249 letters, digits, `.`, `_` and `-`".into());
        }
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3_600));
        if !(least..=most).contains(&self.window) {
            bail!(
                "invalid --window: {} is not between 1s and 7days",
                humantime::format_duration(self.window)
            );
        }
        if !(Duration::from_millis(50)..=Duration::from_secs(1)).contains(&self.refresh) {
            bail!(
                "invalid --refresh: {} is not between 50ms and 1s",
                humantime::format_duration(self.refresh)
            );
        }
        let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"._~-".contains(c);
        if self
            .token
            .as_ref()
            .is_some_and(|token| token.contains(is_odd))
        {
            return Err(anyhow!("invalid --token"))
                .help(|| "a token has letters, digits, `.`, `_`, `~` and `-`".into());
        }
        let token = self.token.clone().map(|token| match token.is_empty() {
            true => uuid::Uuid::new_v4().simple().to_string(),
            false => token,
        });
        Ok(Settings {
            token,
            topic: self.topic.clone(),
            listen: self.listen.clone(),
            window: self.window,
            refresh: self.refresh,
            hosts: self.allow_host.clone(),
            kafka: self.kafka.settings()?,
        })
    }
}

/// What a dashboard shows, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    pub topic: String,
    /// HOST:PORT; port 0 takes a free one.
    pub listen: String,
    pub window: Duration,
    /// How far messages to the browsers are apart.
    pub refresh: Duration,
    /// Names under which browsers may ask for it, beside localhost and addresses.
    pub hosts: Vec<String>,
    /// What has to be shown before anything is answered.
    pub token: Option<String>,
    pub kafka: KafkaSettings,
}

/// A dashboard that has its port.
#[derive(Debug)]
pub struct Dashboard {
    settings: Settings,
    listener: TcpListener,
    address: SocketAddr,
    metrics: Metrics,
}

impl Dashboard {
    /// Takes the port. Kafka need not be there yet.
    pub async fn bind(settings: Settings) -> anyhow::Result<Dashboard> {
        let listener = server::bind(
            "the dashboard",
            "--listen",
            &settings.listen,
            defaults::DASHBOARD,
        )
        .await?;
        let address = listener
            .local_addr()
            .context("failed to learn the dashboard's own address")?;
        if !address.ip().is_loopback() && settings.token.is_none() {
            tracing::warn!(
                "the dashboard is open to the network on {address}: whoever reaches it sees the topic, unless it \
                 is started with --token"
            );
        }
        Ok(Dashboard {
            settings,
            listener,
            address,
            metrics: Metrics::new("loading the topic"),
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser on this machine finds it, with the token that it asks for.
    pub fn url(&self) -> String {
        let port = self.address.port();
        let base = match self.address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => format!("http://localhost:{port}"),
            _ => format!("http://{}", self.address),
        };
        match &self.settings.token {
            Some(token) => format!("{base}/?token={token}"),
            None => base,
        }
    }

    /// Serves until the shutdown; fails when Kafka's client fails for good.
    pub async fn serve(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Settings {
            topic,
            window,
            refresh,
            hosts,
            token,
            kafka,
            ..
        } = self.settings;
        let source = Source {
            tail: TailSettings {
                kafka,
                topic,
                window,
            },
            refresh,
            shutdown: shutdown.clone(),
        };
        let (board, mut feed) = source.board(None)?;
        let fields = Arc::new(Fields::new(source, Arc::clone(&board)));
        let (end_server, server_shutdown) = shutdown.child();
        board.tell(&self.metrics);
        let routes = routes::routes(fields, Access { hosts, token }, self.metrics.clone());
        let server = tokio::spawn(server::serve(self.listener, routes, server_shutdown));

        let ended = feed
            .reduce(&board, &shutdown, Some(&self.metrics))
            .await
            .map(how);

        // The streams end first: a server that drains waits for them. Meanwhile the tail sees the closed
        // channel.
        board.close();
        end_server.request();
        feed.events.close();
        server.await.context("the dashboard's server failed")?;
        match ended {
            Some(ended) => ended,
            // A broker that doesn't answer may hold it; then it is left behind.
            None => timeout(LET_GO, feed.end).await.map_or(Ok(()), how),
        }
    }
}

/// How the tail ended. It always says, unless it panicked.
fn how(end: Result<anyhow::Result<()>, oneshot::error::RecvError>) -> anyhow::Result<()> {
    end.unwrap_or_else(|_| Err(anyhow!("the dashboard's tail panicked")))
}
