//! How a transaction can fail, and what the client itself says about it.
//!
//! It classifies nothing: the producer does, which knows how long it has waited.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::client::Context;

/// Why something in a transaction went wrong, and so what is left to do.
#[derive(Debug)]
pub enum Failure {
    /// The transaction must be aborted; the producer can begin another.
    Abort(anyhow::Error),
    /// Kafka was away for so long that it has decided about the transaction without us:
    /// [`super::producer::TransactionalProducer::abort`] finds out how.
    Undecided(anyhow::Error),
    /// The producer is of no more use: it was fenced, or the client has lost track.
    Fatal(anyhow::Error),
}

/// How a transaction that wasn't committed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was aborted.
    Aborted,
    /// It was aborted or committed, by the brokers, when the transactional id was taken over anew.
    Decided,
}

impl Failure {
    /// The error, for owners that give up either way.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Failure::Abort(error) | Failure::Undecided(error) | Failure::Fatal(error) => error,
        }
    }
}

/// Commits by the client's own call. The wrapper flushes first, in slices of 100 ms and without the flag that
/// overrides `linger.ms`; librdkafka's commit does it in 1 to 2 ms, while the thread of the `ThreadedProducer`
/// serves the delivery reports. A call that has timed out is resumed by the next.
#[expect(unsafe_code, reason = "the wrapper has no way around its 100 ms floor")]
pub(super) fn native_commit(
    client: &ThreadedProducer<Context>,
    patience: Duration,
) -> Result<(), CallError> {
    // SAFETY: the client lives as long as the reference; the error, if any, is ours to read and to destroy.
    unsafe {
        let client = client.client().native_ptr();
        let error = bindings::rd_kafka_commit_transaction(client, patience.as_millis() as i32);
        if error.is_null() {
            return Ok(());
        }
        let text = CStr::from_ptr(bindings::rd_kafka_error_string(error))
            .to_string_lossy()
            .into_owned();
        let failure = CallError {
            code: Some(bindings::rd_kafka_error_code(error).into()),
            is_retriable: bindings::rd_kafka_error_is_retriable(error) != 0,
            requires_abort: bindings::rd_kafka_error_txn_requires_abort(error) != 0,
            text,
        };
        bindings::rd_kafka_error_destroy(error);
        Err(failure)
    }
}

/// Why a call failed, in the client's own terms.
pub(super) struct CallError {
    pub(super) code: Option<RDKafkaErrorCode>,
    pub(super) is_retriable: bool,
    pub(super) requires_abort: bool,
    pub(super) text: String,
}

impl From<KafkaError> for CallError {
    fn from(error: KafkaError) -> CallError {
        let (is_retriable, requires_abort) = match &error {
            KafkaError::Transaction(error) => (error.is_retriable(), error.txn_requires_abort()),
            _ => (false, false),
        };
        CallError {
            code: error.rdkafka_error_code(),
            is_retriable,
            requires_abort,
            text: error.to_string(),
        }
    }
}
