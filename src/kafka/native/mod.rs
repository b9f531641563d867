//! Calls of librdkafka's own that its wrapper, the crate `rdkafka`, hasn't: everything that is `unsafe` here.
//!
//! [`consumer`] takes records by the batch, and [`producer`] writes by its topics' handles: `brownian` costs an eighth less
//! for the two, `generate` a twentieth. [`headers`] reads and writes names that are not UTF-8, at which the wrapper panics.

#![expect(unsafe_code, reason = "it calls C")]

pub(super) mod consumer;
pub(super) mod headers;
pub(super) mod producer;

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;

use super::client::Context;
use super::failure::CallError;

/// Commits by the client's own call. The wrapper flushes first, in slices of 100 ms and without the flag that
/// overrides `linger.ms`; librdkafka's commit does it in 1 to 2 ms, while the thread of the `ThreadedProducer`
/// serves the delivery reports. A call that has timed out is resumed by the next.
pub(super) fn commit(
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

/// The end of a partition that is read, as the last fetch has told it, without asking, as the wrapper would;
/// `None` before the first.
pub(super) fn known_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as the reference; the call reads the name and writes two numbers.
    let answer = unsafe {
        bindings::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &mut low,
            &mut high,
        )
    };
    (answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// Where bytes are, and how many; null where there are none.
fn pointer(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| {
        (bytes.as_ptr().cast(), bytes.len())
    })
}
