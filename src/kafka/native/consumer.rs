//! A consumer that takes records by the batch.
//!
//! The wrapper hands out one record a call: each is an event with memory of its own, and costs three looks at the clock
//! and four locks. Here the partitions have a queue of their own, from which many records are taken in one call. What
//! else there is to hear of, rebalances and errors, still comes by the wrapper's poll, and wakes who waits for records.
//!
//! Batches have a trap. The client pauses all partitions while a rebalance is unanswered, and then goes on after the last
//! that it has handed out: in a batch, it takes the end of a partition for a record, too, and would leave out the one
//! that comes there next. So whoever has answered a rebalance calls [`BatchConsumer::seek_ends`].

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings::{self, rd_kafka_timestamp_type_t as TimestampType};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaMessage, RDKafkaQueue, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::headers::Headers;
use crate::kafka::client::ANSWER_DEADLINE;

/// How many records are taken at once: enough to share what a call costs, and few enough to find them in the cache.
const BATCH: usize = 64;

/// A [`BaseConsumer`] with a group, and a queue for the records of what it is assigned.
///
/// What belongs to its client comes first: it must be destroyed before that.
pub(in crate::kafka) struct BatchConsumer<C: ConsumerContext + 'static> {
    batch: Batch,
    events: Queue,
    records: Queue,
    client: BaseConsumer<C>,
    /// The next offset of partitions of which the last that was handed out is no record.
    ended: BTreeMap<i32, i64>,
}

impl<C: ConsumerContext> Deref for BatchConsumer<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &BaseConsumer<C> {
        &self.client
    }
}

impl<C: ConsumerContext> BatchConsumer<C> {
    pub(in crate::kafka) fn new(
        config: &ClientConfig,
        context: C,
    ) -> KafkaResult<BatchConsumer<C>> {
        unsafe extern "C" fn wake(_: *mut RDKafka, records: *mut c_void) {
            // SAFETY: the queue of records lives until that of events no longer calls this.
            unsafe { bindings::rd_kafka_queue_yield(records.cast()) }
        }

        let client: BaseConsumer<C> = config.create_with_context(context)?;
        let native = client.client().native_ptr();
        // SAFETY: the client lives; it lends a reference to the one queue, and makes the other.
        let (events, records) = unsafe {
            let events = Queue::owned(bindings::rd_kafka_queue_get_consumer(native));
            (events, Queue::owned(bindings::rd_kafka_queue_new(native)))
        };
        let no_group = || KafkaError::Subscription("a group is missing".to_owned());
        let (events, records) = events.zip(records).ok_or_else(no_group)?;
        // SAFETY: both queues are ours.
        unsafe {
            let records = records.as_ptr().cast();
            bindings::rd_kafka_queue_cb_event_enable(events.as_ptr(), Some(wake), records);
        }
        Ok(BatchConsumer {
            batch: Batch::default(),
            events,
            records,
            client,
            ended: BTreeMap::new(),
        })
    }

    /// Begins to read partitions, beside the others.
    pub(in crate::kafka) fn assign(&mut self, list: &TopicPartitionList) -> KafkaResult<()> {
        let client = self.client.client().native_ptr();
        for element in list.elements() {
            let topic = CString::new(element.topic())?;
            let partition = element.partition();
            // SAFETY: the client lives, reads the name during the call, and lends a reference to the partition's queue.
            let queue = Queue::owned(unsafe {
                bindings::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition)
            });
            let unknown = KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownPartition);
            let queue = queue.ok_or(unknown)?;
            // SAFETY: both queues are ours.
            unsafe { bindings::rd_kafka_queue_forward(queue.as_ptr(), self.records.as_ptr()) }
        }
        self.client.incremental_assign(list)
    }

    /// Stops reading partitions. What is queued of them is thrown away.
    pub(in crate::kafka) fn unassign(&mut self, list: &TopicPartitionList) -> KafkaResult<()> {
        for element in list.elements() {
            self.batch.discard(element.partition());
            self.ended.remove(&element.partition());
        }
        self.client.incremental_unassign(list)?;
        // Stopping undoes what `assign` has done to the partition's queue, after the answer: a question that is
        // answered after that keeps it away from an `assign` that follows.
        self.client.assignment().map(|_| ())
    }

    /// Goes on where the records of a topic have ended, not one after that.
    pub(in crate::kafka) fn seek_ends(&self, topic: &str) -> KafkaResult<()> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(self.ended.len());
        for (&partition, &offset) in &self.ended {
            list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        let sought = self.client.seek_partitions(list, ANSWER_DEADLINE)?;
        sought
            .elements()
            .iter()
            .try_for_each(|element| element.error())
    }

    /// Whether there is something for the wrapper's poll, which also brings nothing where it has seen to something.
    pub(in crate::kafka) fn has_events(&self) -> bool {
        // SAFETY: the queue is ours.
        unsafe { bindings::rd_kafka_queue_length(self.events.as_ptr()) > 0 }
    }

    /// Whether the next batch is due.
    pub(in crate::kafka) fn is_empty(&self) -> bool {
        self.batch.rest().is_empty()
    }

    /// Gets the next batch. Returns `false` where there was none within `patience`, or events come first.
    pub(in crate::kafka) fn fill(&mut self, patience: Duration) -> bool {
        self.batch.clear();
        // To wait for a batch is to wait until it is full.
        self.batch.take(&self.records, BATCH, Duration::ZERO)
            || !patience.is_zero()
                && !self.has_events()
                && self.batch.take(&self.records, 1, patience)
    }

    /// Takes the error that comes next in the batch, if it is one.
    pub(in crate::kafka) fn next_error(&mut self) -> Option<KafkaError> {
        let message = self.batch.rest().first()?;
        // SAFETY: the batch owns the message.
        let message = unsafe { message.as_ref() };
        let error = match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => return None,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                KafkaError::PartitionEOF(message.partition)
            }
            code => KafkaError::MessageConsumption(code.into()),
        };
        if message.offset >= 0 {
            self.ended.insert(message.partition, message.offset);
        }
        self.batch.next += 1;
        Some(error)
    }

    /// Takes the record that comes next in the batch, where it is no error.
    pub(in crate::kafka) fn next_record(&mut self) -> Option<Received<'_>> {
        let message = *self.batch.rest().first()?;
        self.batch.next += 1;
        let record = Received {
            message,
            batch: PhantomData,
        };
        if !self.ended.is_empty() {
            self.ended.remove(&record.partition());
        }
        Some(record)
    }
}

impl<C: ConsumerContext> Drop for BatchConsumer<C> {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; it calls back under the lock that this takes.
        unsafe {
            let events = self.events.as_ptr();
            bindings::rd_kafka_queue_cb_event_enable(events, None, ptr::null_mut());
        }
    }
}

/// A record that was received.
pub struct Received<'a> {
    message: NonNull<RDKafkaMessage>,
    batch: PhantomData<&'a Batch>,
}

impl Received<'_> {
    fn message(&self) -> &RDKafkaMessage {
        // SAFETY: the message lives as long as the batch is not filled anew.
        unsafe { self.message.as_ref() }
    }

    /// The partition it came from.
    pub fn partition(&self) -> i32 {
        self.message().partition
    }

    /// Its offset there.
    pub fn offset(&self) -> i64 {
        self.message().offset
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: the key has that length, and lives as long as the message.
        unsafe { bytes(message.key, message.key_len) }
    }

    /// Its value.
    pub fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: the payload has that length, and lives as long as the message.
        unsafe { bytes(message.payload, message.len) }
    }

    /// Its timestamp, in milliseconds since 1970.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = TimestampType::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives; the call writes the type of its timestamp.
        let millis =
            unsafe { bindings::rd_kafka_message_timestamp(self.message.as_ptr(), &mut kind) };
        let is_there = kind != TimestampType::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && millis != -1;
        is_there.then_some(millis)
    }

    /// A copy of its headers.
    pub fn headers(&self) -> Headers {
        // SAFETY: the message lives.
        unsafe { Headers::copy(self.message) }
    }
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

/// # Safety
///
/// Where `start` isn't null, there are `length` bytes, which live as long as the result.
unsafe fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller has promised.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

/// What one call has brought: records and errors, of which those before `next` have been handed out.
#[derive(Default)]
struct Batch {
    messages: Vec<NonNull<RDKafkaMessage>>,
    next: usize,
}

// SAFETY: the messages are its own, and the client may be called with them from any thread.
unsafe impl Send for Batch {}

impl Batch {
    fn rest(&self) -> &[NonNull<RDKafkaMessage>] {
        &self.messages[self.next..]
    }

    /// Takes up to so many from a queue, and waits for as many. It must have been cleared before.
    fn take(&mut self, queue: &Queue, most: usize, patience: Duration) -> bool {
        debug_assert!(self.messages.is_empty());
        self.messages.reserve(most);
        let messages = self.messages.as_mut_ptr().cast();
        let millis = patience.as_micros().div_ceil(1000) as i32;
        // SAFETY: there is room for so many; the call writes as many as it returns, which are ours from then on.
        unsafe {
            let queue = queue.as_ptr();
            let taken = bindings::rd_kafka_consume_batch_queue(queue, millis, messages, most);
            self.messages.set_len(usize::try_from(taken).unwrap_or(0));
        }
        !self.messages.is_empty()
    }

    /// Drops what is left of a partition.
    fn discard(&mut self, partition: i32) {
        for message in self.messages.split_off(self.next) {
            // SAFETY: the message is ours.
            unsafe {
                if message.as_ref().partition == partition {
                    bindings::rd_kafka_message_destroy(message.as_ptr());
                } else {
                    self.messages.push(message);
                }
            }
        }
    }

    fn clear(&mut self) {
        self.next = 0;
        for message in self.messages.drain(..) {
            // SAFETY: the message is ours, and nobody has it any more.
            unsafe { bindings::rd_kafka_message_destroy(message.as_ptr()) }
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A reference to a queue of the client's.
struct Queue(NonNull<RDKafkaQueue>);

// SAFETY: the client may be called with its queues from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// Takes a reference over; `None` where it is null.
    fn owned(native: *mut RDKafkaQueue) -> Option<Queue> {
        NonNull::new(native).map(Queue)
    }

    fn as_ptr(&self) -> *mut RDKafkaQueue {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and its client still lives.
        unsafe { bindings::rd_kafka_queue_destroy(self.as_ptr()) }
    }
}
