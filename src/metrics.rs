//! What a process tells of itself over HTTP: that it is alive, whether it is ready, and its counts.
//!
//! A leaf: a stage says what it counts and what it waits for. Nothing here asks Kafka anything, so a
//! process that answers is alive. It listens only where it is told to, and has no secrets: `/metrics` holds
//! numbers, and `/readyz` names of topics and groups.
//!
//! The `prometheus` crate, because it writes the text format that every scraper and `promtool check metrics`
//! read. `prometheus-client` writes OpenMetrics alone, whose counters have another name in their `# TYPE`
//! line: to a reader of the older format they have no type.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use anyhow::Context;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
pub use prometheus::{
    GaugeVec as Gauges, Histogram, IntCounter as Counter, IntCounterVec as Counters,
    IntGaugeVec as IntGauges,
};
use prometheus::{HistogramOpts, Opts, Registry, TEXT_FORMAT, TextEncoder};
use tokio::task::AbortHandle;
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderValue, StatusCode};
use warp::{Filter, Reply};

use crate::server;
use crate::shutdown::Shutdown;

/// For remedies.
const EXAMPLE: &str = "127.0.0.1:9100";
const VALID: &str = "names and labels are constants, and each is registered once";

/// The flags of what a process tells of itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MetricsArgs {
    /// Where to serve /metrics (for Prometheus), /healthz and /readyz [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "FIREWORKS_METRICS_LISTEN")]
    pub metrics_listen: Option<String>,
}

/// The counts of one stage, and whether it is ready. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    readiness: Readiness,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// No counts yet, but for what every process tells. It is not ready: it `waits_for` this.
    pub fn new(waits_for: &str) -> Metrics {
        let metrics = Metrics {
            registry: Registry::new(),
            readiness: Readiness::default(),
        };
        metrics.readiness.waits_for(0, Some(waits_for.to_owned()));
        metrics
            .int_gauges(
                "fireworks_build_info",
                "Which fireworks this is; always 1",
                "version",
            )
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let started = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        metrics.computed(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970",
            move || started,
        );
        metrics
    }

    /// Whether it is ready, to be kept up to date.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect(VALID);
        self.registry
            .register(Box::new(collector.clone()))
            .expect(VALID);
        collector
    }

    /// A count that only grows; `name` ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::new(name, help))
    }

    /// A count for each value of a label.
    pub fn counters(&self, name: &str, help: &str, label: &str) -> Counters {
        self.register(Counters::new(Opts::new(name, help), &[label]))
    }

    /// A whole number, which may fall, for each value of a label.
    pub fn int_gauges(&self, name: &str, help: &str, label: &str) -> IntGauges {
        self.register(IntGauges::new(Opts::new(name, help), &[label]))
    }

    /// A number for each value of a label.
    pub fn gauges(&self, name: &str, help: &str, label: &str) -> Gauges {
        self.register(Gauges::new(Opts::new(name, help), &[label]))
    }

    /// How often which values came, in `buckets` up to these bounds.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// A number that is worked out whenever it is asked for.
    pub fn computed(
        &self,
        name: &str,
        help: &str,
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let gauge = prometheus::Gauge::new(name, help).expect(VALID);
        let computed = Computed {
            gauge,
            value: Box::new(value),
        };
        self.registry.register(Box::new(computed)).expect(VALID);
    }

    /// All counts, in the Prometheus text format.
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("what is registered can be written")
    }

    /// Serves them, if the flag says where, until the value that is returned is dropped. Takes the port at
    /// once: a port that is in use is an error before anything else happens.
    pub async fn serve(
        &self,
        args: &MetricsArgs,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Option<Serving>> {
        let Some(address) = &args.metrics_listen else {
            return Ok(None);
        };
        let listener = server::bind("metrics", "--metrics-listen", address, EXAMPLE).await?;
        let address = listener
            .local_addr()
            .context("failed to learn the own address")?;
        tracing::info!("metrics: http://{address}/metrics");
        // Not until the shutdown, but through it: a process that drains says that it is no longer ready.
        let routes = routes(self.clone(), shutdown.clone());
        let (_, never) = Shutdown::manual();
        let task = tokio::spawn(server::serve(listener, routes, never));
        Ok(Some(Serving(task.abort_handle())))
    }
}

/// A gauge whose value is worked out when it is read.
struct Computed {
    gauge: prometheus::Gauge,
    value: Box<dyn Fn() -> f64 + Send + Sync>,
}

impl Collector for Computed {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.value)());
        self.gauge.collect()
    }
}

/// Metrics that are being served: until it is dropped.
#[derive(Debug)]
pub struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the parts of a process, by number, still wait for; it is ready when none waits. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<usize, String>>>);

impl Readiness {
    /// Says what a part waits for, or that it waits no longer.
    pub fn waits_for(&self, part: usize, what: Option<String>) {
        let mut waiting = self.0.lock().expect("no holder of this lock panics");
        match what {
            Some(what) => waiting.insert(part, what),
            None => waiting.remove(&part),
        };
    }

    /// What is waited for, a line a part; nothing where all is ready.
    pub fn waiting(&self) -> Option<String> {
        let waiting = self.0.lock().expect("no holder of this lock panics");
        let lines: Vec<_> = waiting.values().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The answer to `/metrics`.
pub fn reply(metrics: &Metrics) -> impl Reply + use<> {
    warp::reply::with_header(
        metrics.text(),
        CONTENT_TYPE,
        HeaderValue::from_static(TEXT_FORMAT),
    )
}

fn routes(
    metrics: Metrics,
    shutdown: Shutdown,
) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone + Send + Sync + 'static {
    let health = warp::path!("healthz").map(|| "ok\n");
    let readiness = metrics.readiness.clone();
    let ready = warp::path!("readyz").map(move || {
        let waiting = match shutdown.is_requested() {
            true => Some("stopping".to_owned()),
            false => readiness.waiting(),
        };
        match waiting {
            None => warp::reply::with_status("ok\n".to_owned(), StatusCode::OK),
            Some(what) => {
                warp::reply::with_status(format!("{what}\n"), StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    });
    let counts = warp::path!("metrics").map(move || reply(&metrics));
    let nothing = warp::any().map(|| {
        warp::reply::with_status(
            "not found: there are /metrics, /healthz and /readyz\n",
            StatusCode::NOT_FOUND,
        )
    });
    let read = warp::get().or(warp::head()).unify();
    read.and(health.or(ready).or(counts)).or(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(metrics: &Metrics, shutdown: &Shutdown, path: &str) -> (u16, String) {
        let routes = routes(metrics.clone(), shutdown.clone());
        let reply = warp::test::request().path(path).reply(&routes).await;
        let text = String::from_utf8(reply.body().to_vec()).unwrap();
        (reply.status().as_u16(), text)
    }

    #[tokio::test]
    async fn ready_is_who_waits_for_nothing_and_is_not_stopping() {
        let metrics = Metrics::new("starting");
        let (trigger, shutdown) = Shutdown::manual();
        let ready = async || ask(&metrics, &shutdown, "/readyz").await;
        assert_eq!(ready().await, (503, "starting\n".into()));
        metrics
            .readiness()
            .waits_for(1, Some("worker 1 is joining".into()));
        assert_eq!(
            ready().await,
            (503, "starting\nworker 1 is joining\n".into())
        );
        metrics.readiness().waits_for(0, None);
        metrics.readiness().waits_for(1, None);
        assert_eq!(ready().await, (200, "ok\n".into()));
        trigger.request();
        assert_eq!(ready().await, (503, "stopping\n".into()));
        assert_eq!(
            ask(&metrics, &shutdown, "/healthz").await,
            (200, "ok\n".into())
        );
        assert_eq!(ask(&metrics, &shutdown, "/").await.0, 404);
    }

    #[tokio::test]
    async fn counts_are_text_that_names_help_and_type() {
        let metrics = Metrics::new("starting");
        let (_trigger, shutdown) = Shutdown::manual();
        let lag = metrics.int_gauges("fireworks_test_lag_records", "How far behind", "partition");
        lag.with_label_values(&["3"]).set(5);
        metrics
            .counter("fireworks_test_records_total", "Records")
            .inc_by(7);
        let (status, text) = ask(&metrics, &shutdown, "/metrics").await;
        assert_eq!(status, 200);
        let expected = "# HELP fireworks_test_lag_records How far behind\n\
                        # TYPE fireworks_test_lag_records gauge\n\
                        fireworks_test_lag_records{partition=\"3\"} 5\n\
                        # HELP fireworks_test_records_total Records\n\
                        # TYPE fireworks_test_records_total counter\n\
                        fireworks_test_records_total 7\n";
        assert!(text.contains(expected), "{text}");
        lag.remove_label_values(&["3"]).unwrap();
        assert!(!metrics.text().contains("partition"), "{}", metrics.text());
    }
}
