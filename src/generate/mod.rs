//! The source: batches of rows on a timetable, joined to the device table, into a topic, keyed by device.
//!
//! It keeps nothing: where to go on is found in what the topic holds. A batch is committed whole or not at
//! all, and what is in it never depends on when it is sent.

mod progress;
mod resume;
mod sender;
mod timetable;
mod totals;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail};

use crate::defaults;
use crate::error::Help;
use crate::kafka::config::{KafkaArgs, KafkaSettings};
use crate::kafka::producer::{COMPLETION, TRANSACTION_TIMEOUT};
use crate::kafka::topics::{CleanUp, Topic, Topics};
use crate::metrics::{Metrics, MetricsArgs, Readiness};
use crate::model::device::{self, Device};
use crate::model::event_time::EventTime;
use crate::model::source::{Batch, Cursor, RateMicroBatch};
use crate::shutdown::Shutdown;
use progress::Progress;
use sender::Sender;
use timetable::Timetable;
use totals::Totals;

/// Where many batches are due at once, a transaction takes them until it holds this many readings: enough to
/// make its cost small, few enough to stay far below its timeout.
const READINGS_PER_TRANSACTION: u64 = 50_000;

/// What a reading beyond those adds to a transaction's timeout: many times what it takes to write one.
const MICROS_PER_READING: u64 = 80;
/// The largest batch: brokers let a transaction take 15 minutes unless they are told otherwise.
const MAX_READINGS_PER_BATCH: u64 = 10_000_000;
/// The longest interval.
const MAX_INTERVAL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Write sensor readings to a topic, on a timetable or as fast as it goes.
///
/// They come in batches of rows, and each row is joined to every device of a table.
/// Batch k holds the rows k·R to k·R + R − 1, all with the timestamp S + k·A, as Spark's rate-micro-batch
/// source has them. A restarted generate goes on where the topic ends, without a gap or a repeat.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The topic to write to; it is created where it doesn't exist
    #[arg(long, env = "FIREWORKS_TOPIC", default_value = defaults::READINGS)]
    pub topic: String,

    #[command(flatten)]
    pub source: SourceArgs,

    /// Event time before the first start whose batches come at once [default: 0s]
    #[arg(long, value_name = "DURATION", env = "FIREWORKS_BACKFILL")]
    pub backfill: Option<humantime::Duration>,

    #[command(flatten)]
    pub metrics: MetricsArgs,

    #[command(flatten)]
    pub kafka: KafkaArgs,
}

/// The flags that say what is written, and when.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// R: rows in a batch
    #[arg(long, value_name = "R", env = "FIREWORKS_ROWS_PER_BATCH", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub rows_per_batch: u32,

    /// Time between two batches on the clock; 0s is as fast as it goes
    #[arg(
        long,
        value_name = "DURATION",
        env = "FIREWORKS_INTERVAL",
        default_value = "1s"
    )]
    pub interval: humantime::Duration,

    /// A: event time between two batches, in milliseconds
    #[arg(long, value_name = "A", env = "FIREWORKS_ADVANCE_MILLIS_PER_BATCH", allow_negative_numbers = true, default_value = "1000",
          value_parser = clap::value_parser!(i64).range(0..))]
    pub advance_millis_per_batch: i64,

    /// S: event time of the first batch of an empty topic, in milliseconds since 1970 [default: the second
    /// of the first start, less --backfill]
    #[arg(
        long,
        value_name = "S",
        env = "FIREWORKS_START_TIMESTAMP",
        allow_negative_numbers = true
    )]
    pub start_timestamp: Option<i64>,

    /// Stop before batch N, also after a restart [default: never]
    #[arg(long, value_name = "N", env = "FIREWORKS_BATCHES")]
    pub batches: Option<u64>,

    /// The device table: a CSV file with the header `device_id,drift,volatility`, or a number of devices
    /// (sensor-1, sensor-2, …; drift 0, volatility 1)
    #[arg(
        long,
        value_name = "FILE|NUMBER",
        env = "FIREWORKS_DEVICES",
        default_value = "5"
    )]
    pub devices: String,

    /// The seed of the noise
    #[arg(long, env = "FIREWORKS_SEED", default_value = "42")]
    pub seed: u64,

    /// How many partitions the topic has
    #[arg(long, value_name = "NUMBER", env = "FIREWORKS_PARTITIONS", default_value = "6",
          value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
}

/// What `generate` does, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    topic: String,
    source: RateMicroBatch,
    interval: Duration,
    start_timestamp: Option<EventTime>,
    backfill: Duration,
    devices: Vec<Device>,
    seed: u64,
    partitions: i32,
    kafka: KafkaSettings,
    /// Whether a terminal gets a line of progress, which is written over.
    pub shows_progress: bool,
}

impl Settings {
    fn readings_of(&self, batch: &Batch) -> u64 {
        batch.rows.unsigned_abs() * self.devices.len() as u64
    }

    /// How long a transaction may stay open: longer, where a single batch takes longer to write.
    fn transaction_timeout(&self) -> Duration {
        let batch = u64::from(self.source.rows_per_batch) * self.devices.len() as u64;
        let beyond = batch.saturating_sub(READINGS_PER_TRANSACTION);
        TRANSACTION_TIMEOUT + Duration::from_micros(MICROS_PER_READING * beyond)
    }
}

impl Args {
    /// Checks everything that can be checked without Kafka.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let source = self.source;
        let start_timestamp = source
            .start_timestamp
            .map(EventTime::from_millis)
            .transpose()
            .with_context(|| {
                format!(
                    "invalid --start-timestamp {}",
                    source.start_timestamp.unwrap_or_default()
                )
            })
            .help(|| "it is in milliseconds since 1970, for example 1700000000000".into())?;
        if self.topic.is_empty() {
            bail!("invalid --topic: it is empty");
        }
        let interval = Duration::from(source.interval);
        if interval > MAX_INTERVAL {
            bail!(
                "invalid --interval {}: it is at most a year",
                source.interval
            );
        }
        let devices = devices(&source.devices)?;
        let readings = u64::from(source.rows_per_batch) * devices.len() as u64;
        if readings > MAX_READINGS_PER_BATCH {
            return Err(anyhow!(
                "a batch of {readings} readings does not fit into a transaction: {MAX_READINGS_PER_BATCH} do"
            ))
            .help(|| "lower --rows-per-batch or --devices".into());
        }
        Ok(Settings {
            topic: self.topic,
            source: RateMicroBatch {
                rows_per_batch: source.rows_per_batch,
                advance_millis: source.advance_millis_per_batch,
                batches: source.batches,
            },
            interval,
            start_timestamp,
            backfill: self.backfill.map_or(Duration::ZERO, Into::into),
            devices,
            seed: source.seed,
            partitions: source.partitions,
            kafka: self.kafka.settings()?,
            shows_progress: true,
        })
    }
}

/// A number of devices, or the file that lists them.
fn devices(table: &str) -> anyhow::Result<Vec<Device>> {
    if let Ok(number) = table.parse::<u32>() {
        if number == 0 {
            bail!("invalid --devices 0: at least one device is needed");
        }
        if u64::from(number) > MAX_READINGS_PER_BATCH {
            bail!("invalid --devices {number}: at most {MAX_READINGS_PER_BATCH} are possible");
        }
        return Ok(device::numbered(number));
    }
    let path = Path::new(table);
    let file = File::open(path)
        .with_context(|| format!("failed to read the device table `{table}`"))
        .help(|| "--devices takes a number of devices or the path of a CSV file".into())?;
    device::parse_csv(file)
        .with_context(|| format!("failed to read the device table `{table}`"))
        .help(|| "it is CSV with the header device_id,drift,volatility and a line for each device, such as sensor-1,0,1".into())
}

/// Writes readings until the last batch or until it is asked to stop.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let listen = args.metrics.clone();
    let settings = args.settings()?;
    let metrics = Metrics::new("looking for the topic");
    let _serving = metrics.serve(&listen, &shutdown).await?;
    run_settings(settings, &metrics, shutdown).await
}

/// [`run`], with settings made elsewhere.
pub async fn run_settings(
    settings: Settings,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let totals = Totals::new(metrics);
    let topic = Topic {
        name: settings.topic.clone(),
        partitions: Some(settings.partitions),
        clean_up: CleanUp::Delete,
        max_message_bytes: None,
        partitions_from: "--partitions",
    };
    let topics = Topics::new(&settings.kafka)?;
    tokio::select! {
        () = shutdown.requested() => return Ok(()),
        ensured = topics.ensure(&topic) => ensured?,
    };
    let readiness = metrics.readiness().clone();
    let generating =
        tokio::task::spawn_blocking(move || generate(&settings, &totals, &readiness, &shutdown));
    generating
        .await
        .map_err(|panic| anyhow!(panic).context("generate panicked"))?
}

/// The one loop: wait until a batch is due, gather those that are due as well, write them.
fn generate(
    settings: &Settings,
    totals: &Totals,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    readiness.waits_for(0, Some("taking over the transactional id".into()));
    let ready = Sender::new(settings, totals, shutdown).and_then(|sender| {
        readiness.waits_for(0, Some("looking where the topic ends".into()));
        Ok((sender, begin(settings, shutdown)?))
    });
    let (mut sender, (mut cursor, timetable)) = match ready {
        Err(_) if shutdown.is_requested() => return Ok(()),
        ready => ready?,
    };
    readiness.waits_for(0, None);
    let mut progress = Progress::new(&settings.topic, totals, settings.shows_progress);
    let mut due = timetable.first();
    let mut next = settings.source.next(&mut cursor);
    let mut completed = Instant::now();
    while let Some(batch) = next? {
        let first_due = due.instant();
        if shutdown.wait_until(first_due.max(completed)) {
            break;
        }
        let now = Instant::now();
        let mut batches = vec![batch];
        let mut readings = settings.readings_of(&batch);
        loop {
            due.advance();
            next = settings.source.next(&mut cursor);
            let is_full = readings >= READINGS_PER_TRANSACTION || due.instant() > now;
            let Some(batch) = next.ok().flatten().filter(|_| !is_full) else {
                break;
            };
            readings += settings.readings_of(&batch);
            batches.push(batch);
        }
        totals.writes(Some(first_due));
        if !sender.write(&batches)? {
            break;
        }
        progress.committed(readings, batches.len(), first_due);
        totals.writes(None);
        // Nothing more is due.
        if readings < READINGS_PER_TRANSACTION {
            completed = Instant::now() + COMPLETION;
        }
    }
    progress.finish();
    Ok(())
}

/// Where to go on, and from when on the batches are due.
fn begin(settings: &Settings, shutdown: &Shutdown) -> anyhow::Result<(Cursor, Timetable)> {
    let topic = &settings.topic;
    if let Some(last) = resume::last_reading(&settings.kafka, topic, settings.partitions, shutdown)?
    {
        let cursor = settings.source.after(last.index, last.event_time);
        let left = settings.source.batches_left(cursor);
        tracing::info!(topic, last_index = last.index, last_event_time = %last.event_time, batches_left = left, "going on after the last row found");
        return Ok((cursor, Timetable::new(Instant::now(), settings.interval)));
    }
    // The timetable begins where event time does, so that a batch is due when its event time is the
    // present, to the millisecond, wherever interval and advance agree.
    let now = Instant::now();
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let second = Duration::from_secs(since_1970.as_secs());
    let (first, age) = match settings.start_timestamp {
        Some(start) => (start, settings.backfill),
        None => {
            let start = second.checked_sub(settings.backfill).with_context(|| {
                format!(
                    "invalid --backfill {}: it begins before 1970",
                    humantime::format_duration(settings.backfill)
                )
            })?;
            (
                EventTime::from_millis(start.as_millis() as i64)?,
                since_1970 - start,
            )
        }
    };
    tracing::info!(topic, first_event_time = %first, devices = settings.devices.len(), "starting an empty topic");
    Ok((
        Cursor::start(first),
        Timetable::begun(now, age, settings.interval),
    ))
}
