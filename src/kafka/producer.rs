//! The producer: transactions, and nothing outside them.
//!
//! It never retries what the client has given up on; it says whether the transaction has to be aborted or
//! the producer is of no more use, and its owner decides.
//!
//! **When Kafka is away for longer than a transaction may take**, the brokers abort the transaction when they are
//! back, and refuse whoever had it open: to them, it has died. The client calls that fenced, as it calls it where
//! another process has taken the id, and is of no more use. What tells the two apart is known here alone: for
//! how long this process, awake, has waited for Kafka in this transaction. A healthy cluster answers in
//! milliseconds, so a wait of seconds says that the brokers were away, and the id is taken over anew, which
//! settles what became of the transaction; the owner then looks at what is there. Whoever is refused without
//! having waited was replaced, or was stopped itself (time that it wasn't awake is not counted), and ends.
//!
//! Two processes with one id can't take it from each other for ever: each taking needs an outage of its own, and
//! a process that starts, or has just taken the id, has waited for nothing. Where a second one was started
//! during the outage, one of the two ends; started again by its supervisor, it takes the id for good.
//! Nothing is written twice meanwhile, for Kafka itself lets only the latest write.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{ANSWER_DEADLINE, Context};
use super::config::KafkaSettings;
use super::failure::CallError;
pub use super::failure::{Ended, Failure};
use super::group::Progress;
use super::native;
use super::native::producer::HandleProducer;
pub use super::native::producer::Record;
use super::waiting::Waiting;
use crate::error::Help;
use crate::shutdown::Shutdown;

/// How long a transaction may stay open before the broker aborts it: as long as readers of committed data
/// wait behind a process that was killed.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long Kafka mostly takes to complete a transaction after it has answered a commit. It refuses the next one
/// before that, and the client asks again after 20 ms, whatever its settings: who has nothing at hand waits
/// rather before it begins.
pub const COMPLETION: Duration = Duration::from_millis(3);
/// How long an abort waits for what is in flight.
const SETTLE_DEADLINE: Duration = Duration::from_secs(1);
/// How long to try to become the owner of a transactional id.
const INIT_DEADLINE: Duration = Duration::from_secs(60);

/// How often it looks meanwhile whether it should stop.
const INIT_SLICE: Duration = Duration::from_millis(250);
/// How long one call of the client may take before it is looked at whether to go on with it.
const SLICE: Duration = Duration::from_secs(1);
/// Who has waited for so long in one transaction has seen an outage: a healthy cluster answers in milliseconds,
/// and the brokers, who wait for [`TRANSACTION_TIMEOUT`], can't have given the transaction up before: it may be
/// half as old when its commit begins.
const OUTAGE: Duration = Duration::from_secs(4);

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

/// A producer that owns a transactional id. All calls block; they belong on plain threads.
pub struct TransactionalProducer {
    client: HandleProducer,
    settings: KafkaSettings,
    id: String,
    timeout: Duration,
    shutdown: Shutdown,
    /// Which cluster it belongs to: one that comes up empty at the same address is another.
    cluster: Option<String>,
    is_open: bool,
    /// The brokers decide about the open transaction.
    is_undecided: bool,
    /// For how long this process was awake in calls that waited for Kafka in the open transaction.
    waited: Duration,
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer")
            .field("id", &self.id)
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}

impl TransactionalProducer {
    /// Takes over the transactional id: whoever had it is fenced, and what it left open is aborted.
    pub fn new(
        settings: &KafkaSettings,
        id: &str,
        shutdown: &Shutdown,
    ) -> anyhow::Result<TransactionalProducer> {
        TransactionalProducer::with_timeout(settings, id, TRANSACTION_TIMEOUT, shutdown)
    }

    /// [`TransactionalProducer::new`], for transactions that may stay open for so long.
    pub fn with_timeout(
        settings: &KafkaSettings,
        id: &str,
        timeout: Duration,
        shutdown: &Shutdown,
    ) -> anyhow::Result<TransactionalProducer> {
        let mut producer = TransactionalProducer {
            client: client(settings, id, timeout)?,
            settings: settings.clone(),
            id: id.to_owned(),
            timeout,
            shutdown: shutdown.clone(),
            cluster: None,
            is_open: false,
            is_undecided: false,
            waited: Duration::ZERO,
        };
        producer.take_over(Some(Instant::now() + INIT_DEADLINE))?;
        producer.cluster = producer.client.client().fetch_cluster_id(ANSWER_DEADLINE);
        Ok(producer)
    }

    /// Becomes the owner of the transactional id, which ends what an earlier one has left open.
    fn take_over(&self, deadline: Option<Instant>) -> anyhow::Result<()> {
        let waiting = self.settings.waits().begin("the transactional id");
        let is_in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
        loop {
            match self.client.init_transactions(INIT_SLICE) {
                Ok(()) => break,
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && is_in_time() && !self.shutdown.is_requested() => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "failed to take over the transactional id `{}` at `{}`",
                            self.id,
                            self.settings.bootstrap_servers()
                        )
                    });
                }
            }
        }
        waiting.answered();
        Ok(())
    }

    /// Whether there is something to commit.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Begins a transaction, unless one is open.
    pub fn begin(&mut self) -> Result<(), Failure> {
        if !self.is_open {
            self.waited = Duration::ZERO;
            self.client
                .begin_transaction()
                .map_err(|error| self.failure("failed to begin a transaction", error))?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Writes a record in the open transaction. Where the client's queue is full, it waits for it to drain.
    pub fn send(&mut self, mut record: Record<'_>) -> Result<(), Failure> {
        debug_assert!(self.is_open);
        let mut waiting = None;
        loop {
            match self.client.send(&mut record) {
                Ok(()) => {
                    self.waited += waiting.as_ref().map_or(Duration::ZERO, Waiting::awake);
                    return Ok(());
                }
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                    let waiting =
                        waiting.get_or_insert_with(|| self.settings.waits().begin("its queue"));
                    if self.is_overdue(waiting) {
                        return Err(self.undecided("failed to write: Kafka does not take it"));
                    }
                    self.client.poll(Duration::from_millis(1));
                }
                Err(error) => {
                    let action = format!("failed to write to `{}`", record.topic);
                    return Err(self.failure(&action, error));
                }
            }
        }
    }

    /// Makes the group's offsets part of the open transaction.
    pub fn send_offsets(&mut self, progress: &Progress) -> Result<(), Failure> {
        let action = "failed to move the group's offsets";
        self.wait("the group's offsets", action, |client| {
            client
                .send_offsets_to_transaction(&progress.offsets, &progress.group, ANSWER_DEADLINE)
                .map_err(CallError::from)
        })
    }

    /// Commits the open transaction, if there is one.
    pub fn commit(&mut self) -> Result<(), Failure> {
        if !self.is_open {
            return Ok(());
        }
        if self.is_undecided {
            return Err(self.undecided("the brokers decide about the transaction"));
        }
        self.wait("a commit", "failed to commit a transaction", |client| {
            native::commit(client, SLICE)
        })?;
        self.is_open = false;
        Ok(())
    }

    /// Ends the open transaction, if there is one, without committing it. Where the brokers have decided
    /// about it, or can't be asked to abort it, the transactional id is taken over anew, however long it
    /// takes until they are back; `Undecided` where the process is to stop before that.
    pub fn abort(&mut self) -> Result<Ended, Failure> {
        if !self.is_open {
            return Ok(Ended::Aborted);
        }
        if !self.is_undecided {
            self.settle();
            let aborted = self.wait("an abort", "failed to abort a transaction", |client| {
                client.abort_transaction(SLICE).map_err(CallError::from)
            });
            match aborted {
                Ok(()) => {
                    self.is_open = false;
                    // A Kafka that came back empty knows nothing of the transaction: it aborts it, too.
                    self.verify_cluster()?;
                    return Ok(Ended::Aborted);
                }
                Err(_) if self.is_undecided || self.waited >= OUTAGE => {}
                // An abort that has to be aborted: the client has lost track.
                Err(failure) => return Err(Failure::Fatal(failure.into_error())),
            }
        }
        // Whoever was stopped meanwhile may have been replaced, and would fence the one in its place.
        if let Some(stop) = self.settings.waits().stopped_lately() {
            return Err(fenced_by_a_stop(stop));
        }
        self.renew()?;
        Ok(Ended::Decided)
    }

    /// A new client with the same transactional id, when Kafka is back.
    fn renew(&mut self) -> Result<(), Failure> {
        let waiting = self.settings.waits().begin("the transactional id");
        let client = client(&self.settings, &self.id, self.timeout);
        self.client = client.map_err(Failure::Fatal)?;
        if let Err(error) = self.take_over(None) {
            return Err(if self.shutdown.is_requested() {
                Failure::Undecided(error)
            } else {
                Failure::Fatal(error)
            });
        }
        self.verify_cluster()?;
        waiting.answered();
        self.is_open = false;
        self.is_undecided = false;
        Ok(())
    }

    /// Fails where another Kafka has come up at the same address: what is known of the one before is worth
    /// nothing there.
    pub fn verify_cluster(&self) -> Result<(), Failure> {
        let Some(before) = &self.cluster else {
            return Ok(());
        };
        // The client tells the cluster that it heard of last: let it hear of the one that is there now.
        let client = self.client.client();
        let waiting = self.settings.waits().begin("the name of the cluster");
        let now = match client.fetch_metadata(None, ANSWER_DEADLINE) {
            Ok(_) => {
                waiting.answered();
                client.fetch_cluster_id(ANSWER_DEADLINE)
            }
            Err(_) => None,
        };
        match now {
            Some(now) if now != *before => Err(anyhow!(
                "the Kafka at `{}` is not the one it was before (cluster {now}, not {before}): what was written is gone",
                self.settings.bootstrap_servers()
            ))
            .help(|| "start again, to begin with what is there now; the embedded broker keeps nothing".into())
            .map_err(Failure::Fatal),
            _ => Ok(()),
        }
    }

    /// Calls until there is an answer, or Kafka must have decided without us.
    fn wait(
        &mut self,
        what: &'static str,
        action: &str,
        mut call: impl FnMut(&ThreadedProducer<Context>) -> Result<(), CallError>,
    ) -> Result<(), Failure> {
        let waiting = self.settings.waits().begin(what);
        loop {
            match call(&self.client) {
                Ok(()) => {
                    self.waited += waiting.awake();
                    waiting.answered();
                    return Ok(());
                }
                Err(error) if error.is_retriable && self.is_overdue(&waiting) => {
                    return Err(self.undecided(&format!("{action}: Kafka did not answer in time")));
                }
                Err(error) if error.is_retriable => {}
                Err(error) => {
                    self.waited += waiting.awake();
                    return Err(self.classified(action, &error));
                }
            }
        }
    }

    /// Whether the brokers must have decided about the transaction by now, or nobody will wait for it.
    fn is_overdue(&self, waiting: &Waiting) -> bool {
        self.waited + waiting.awake() >= self.timeout || self.shutdown.is_requested()
    }

    fn undecided(&mut self, text: &str) -> Failure {
        self.is_undecided = true;
        Failure::Undecided(anyhow!("{text}"))
    }

    /// An error of a call that doesn't classify itself: the client knows whether it is beyond repair.
    fn failure(&mut self, action: &str, error: KafkaError) -> Failure {
        let error = match self.client.client().fatal_error() {
            Some((code, text)) => CallError {
                code: Some(code),
                is_retriable: false,
                requires_abort: false,
                text,
            },
            None => match error {
                error @ KafkaError::Transaction(_) => CallError::from(error),
                error => return Failure::Abort(anyhow!(error).context(action.to_owned())),
            },
        };
        self.classified(action, &error)
    }

    /// What an error that isn't retriable means for the transaction.
    fn classified(&mut self, action: &str, error: &CallError) -> Failure {
        use RDKafkaErrorCode as Code;
        let text = format!("{action}: {}", error.text);
        if error.requires_abort {
            return Failure::Abort(anyhow!(text));
        }
        if self.waited >= OUTAGE {
            return self.undecided(&text);
        }
        if let Err(failure) = self.verify_cluster() {
            return failure;
        }
        match (error.code, self.settings.waits().stopped_lately()) {
            (Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch), _) => {
                let reason = format!(
                    "fenced: another process uses the transactional id `{}`, or this one was silent for too long",
                    self.id
                );
                let help =
                    "run one process per id; two `brownian` on one host need an --instance each";
                let error = Err::<(), _>(anyhow!(text).context(reason)).help(|| help.into());
                Failure::Fatal(error.expect_err("it is an error"))
            }
            // So the coordinator answers, too, when it has ended the transaction in the meantime.
            (
                Some(
                    Code::InvalidTransactionalState
                    | Code::InvalidProducerIdMapping
                    | Code::UnknownProducerId,
                ),
                Some(stop),
            ) => fenced_by_a_stop(stop),
            _ => Failure::Fatal(anyhow!(text)),
        }
    }

    /// Lets what was sent arrive. An abort that overtakes the registration of its partitions is refused by
    /// the coordinator, which doesn't know of a transaction yet, and the client takes that as fatal.
    fn settle(&self) {
        if let Err(error) = self.client.flush(SETTLE_DEADLINE) {
            tracing::debug!(%error, id = self.id, "aborting with records in flight");
        }
    }
}

/// Who was stopped for so long is given up by its group and by the coordinator of its transactions. It could begin
/// anew; but whoever stopped it has most likely put another in its place, and a process that ends says so.
pub fn fenced_by_a_stop(stop: Duration) -> Failure {
    let error = anyhow!(
        "fenced: this process was stopped for {} s, and others may do its work by now",
        stop.as_secs()
    );
    let error = Err::<(), _>(error).help(|| "start it again: it goes on where they are".into());
    Failure::Fatal(error.expect_err("it is an error"))
}

/// A client that has not taken over its transactional id yet.
fn client(settings: &KafkaSettings, id: &str, timeout: Duration) -> anyhow::Result<HandleProducer> {
    let timeout_ms = timeout.as_millis().to_string();
    let config = settings.role(&[
        ("transactional.id", id),
        ("transaction.timeout.ms", &timeout_ms),
        // The broker's limit is the one that matters: it counts what is left of a batch when it is compressed,
        // and what came in under it must go out again.
        ("message.max.bytes", "1000000000"),
        // Batches fill for this long; a commit sends what there is at once. Under load, with 5 ms, a tenth more of
        // this process and half as much again of the broker goes into batches that are not full.
        ("linger.ms", "50"),
        ("compression.type", "lz4"),
        // A commit tells of the others.
        ("delivery.report.only.error", "true"),
        ("queue.buffering.max.messages", "500000"),
        ("queue.buffering.max.kbytes", "262144"),
        // A transaction's first request meets the last one still completing and waits this long.
        ("retry.backoff.ms", "2"),
        ("retry.backoff.max.ms", "20"),
    ]);
    HandleProducer::new(&config).context("failed to create a producer")
}

/// Aborts what is open, so that nobody has to wait for its timeout.
impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        if !self.is_open || self.is_undecided || self.client.client().fatal_error().is_some() {
            return;
        }
        self.settle();
        if let Err(error) = self.client.abort_transaction(SETTLE_DEADLINE) {
            tracing::debug!(%error, id = self.id, "left a transaction to its timeout");
        }
    }
}
