//! What all clients have in common: where their log goes, and how long they wait for an answer.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;

/// How long one question to the brokers may take.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Sends the client's own log to ours.
///
/// While a broker is away librdkafka logs every attempt to connect, every request that is overdue and what
/// becomes of it, for each client and several a second. [`super::waiting`] tells that once, and whoever acts on
/// a failed transaction or a lost partition says so; here it is for `debug`.
#[derive(Clone, Debug, Default)]
pub struct Context;

/// What librdkafka calls its lines about brokers that don't answer.
const OUTAGE_FACILITIES: &[&str] = &[
    "ERROR",
    "FAIL",
    "REQTMOUT",
    "SESSTMOUT",
    "TXNERR",
    "MAXPOLL",
    "GETPID",
    "FATAL",
    "ADDPARTS",
    "ADDOFFSETS",
];

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
                if !OUTAGE_FACILITIES.contains(&facility) =>
            {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    // A record that can't be delivered makes its transaction fail, and that says why.
    fn delivery(&self, _: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {}
}

/// Whether the client gets over this error by itself, so that to go on polling is right.
pub fn is_transient(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else {
        return false;
    };
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            // A leader that has just been chosen.
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::KafkaStorageError
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::RebalanceInProgress
            | Code::UnstableOffsetCommit
            | Code::Retry
            // The loop waited for Kafka for longer than the group allows: polling joins it again.
            | Code::PollExceeded
            | Code::WaitCache
    ) && !matches!(error, KafkaError::MessageConsumptionFatal(_))
}
