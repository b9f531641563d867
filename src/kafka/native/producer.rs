//! A producer's client that writes by its topics' handles.
//!
//! The wrapper names the topic with each record: it copies the name, and the client looks for it among all the topics
//! that it knows, under a lock.

use std::ffi::CString;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use rdkafka::bindings::{self, RD_KAFKA_MSG_F_COPY, rd_kafka_vtype_t as Vtype};
use rdkafka::config::ClientConfig;
use rdkafka::error::{IsError, KafkaError, KafkaResult};
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::types::RDKafkaTopic;

use super::headers::Headers;
use super::pointer;
use crate::kafka::client::Context;

/// A record to write.
#[derive(Debug, Default)]
pub struct Record<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Which partition of it.
    pub partition: i32,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970, or [`crate::kafka::producer::NO_TIMESTAMP`]; the present, if there is none.
    pub timestamp: Option<i64>,
    /// The headers, if there are any.
    pub headers: Option<Headers>,
}

/// A [`ThreadedProducer`], and handles of the topics that it has written to.
pub(in crate::kafka) struct HandleProducer {
    /// Destroyed before their client is, for they come first.
    handles: Vec<Handle>,
    client: ThreadedProducer<Context>,
}

impl Deref for HandleProducer {
    type Target = ThreadedProducer<Context>;

    fn deref(&self) -> &ThreadedProducer<Context> {
        &self.client
    }
}

impl HandleProducer {
    pub(in crate::kafka) fn new(config: &ClientConfig) -> KafkaResult<HandleProducer> {
        Ok(HandleProducer {
            handles: Vec::new(),
            client: config.create_with_context(Context)?,
        })
    }

    /// Copies a record into the client's queue. Where that fails, it is as it was; else, its headers have gone.
    pub(in crate::kafka) fn send(&mut self, record: &mut Record<'_>) -> KafkaResult<()> {
        let topic = self.handle(record.topic)?;
        let (key, key_length) = pointer(record.key);
        let (value, value_length) = pointer(record.value);
        // The client takes 0 for "now", which would put the first millisecond of 1970 into the present.
        let timestamp = match record.timestamp {
            None => 0,
            Some(0) => 1,
            Some(millis) => millis,
        };
        let headers = record.headers.as_ref();
        // SAFETY: client and handle live as long as `self`; each type is followed by what it stands for; the client
        // copies key and value before it returns, and takes headers over where it returns no error.
        let answer = unsafe {
            bindings::rd_kafka_producev(
                self.client.client().native_ptr(),
                Vtype::RD_KAFKA_VTYPE_RKT,
                topic.as_ptr(),
                Vtype::RD_KAFKA_VTYPE_PARTITION,
                record.partition,
                Vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                RD_KAFKA_MSG_F_COPY,
                Vtype::RD_KAFKA_VTYPE_KEY,
                key,
                key_length,
                Vtype::RD_KAFKA_VTYPE_VALUE,
                value,
                value_length,
                Vtype::RD_KAFKA_VTYPE_TIMESTAMP,
                timestamp,
                Vtype::RD_KAFKA_VTYPE_HEADERS,
                headers.map_or(ptr::null_mut(), Headers::as_ptr),
                Vtype::RD_KAFKA_VTYPE_END,
            )
        };
        if answer.is_error() {
            return Err(KafkaError::MessageProduction(answer.into()));
        }
        std::mem::forget(record.headers.take());
        Ok(())
    }

    /// The handle of a topic; a producer writes to few.
    fn handle(&mut self, name: &str) -> KafkaResult<NonNull<RDKafkaTopic>> {
        if let Some(known) = self.handles.iter().find(|handle| handle.name == name) {
            return Ok(known.topic);
        }
        let c_name = CString::new(name)?;
        // SAFETY: the client lives, and reads the name only during the call; no configuration means its own.
        let topic = unsafe {
            let client = self.client.client().native_ptr();
            bindings::rd_kafka_topic_new(client, c_name.as_ptr(), ptr::null_mut())
        };
        let Some(topic) = NonNull::new(topic) else {
            // SAFETY: it reads what the last call of this thread has left.
            let answer = unsafe { bindings::rd_kafka_last_error() };
            return Err(KafkaError::MessageProduction(answer.into()));
        };
        let name = name.to_owned();
        self.handles.push(Handle { name, topic });
        Ok(topic)
    }
}

/// A topic's handle, of the client that it is kept with.
struct Handle {
    name: String,
    topic: NonNull<RDKafkaTopic>,
}

// SAFETY: the client may be called from any thread, with any of its handles.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: its client still lives, and nobody else has the handle.
        unsafe { bindings::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}
