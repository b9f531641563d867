//! How a transaction can fail, and what the client itself says about it.
//!
//! It classifies nothing: the producer does, which knows how long it has waited.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

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
