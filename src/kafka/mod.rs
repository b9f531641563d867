//! The client side of Kafka: the only code that names rdkafka.
//!
//! It knows topics, partitions, bytes and offsets, and nothing of readings or pages.
//!
//! **Delivery.** [`producer`] writes inside transactions only, and moves a group's offsets in them.
//! **Ordering.** A record's partition is always named by the caller; within it, order is that of sending.
//! **On rebalance.** [`group`] hands assignments and revocations to the loop that polls, which answers
//! them itself: nothing happens behind its back.
//! **Reading back.** [`reader`] reads partitions from an offset to their end without a group: for the
//! state, and for finding where a topic ends.
//! **Looking on.** [`tail`] follows the newest records of a topic without a group, and leaves no trace.
//! **Past the wrapper.** `native` holds the calls of librdkafka that the crate hasn't, and all that is unsafe.
//! **When Kafka is away** every call waits until it is back or the process is to stop; [`waiting`] says so, once.

pub mod client;
pub mod config;
mod failure;
pub mod group;
mod native;
pub mod partitioner;
pub mod producer;
pub mod reader;
pub mod tail;
pub mod topics;
pub mod waiting;
