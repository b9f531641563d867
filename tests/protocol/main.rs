//! What every Kafka does, under librdkafka over real sockets: on the Kafka that
//! `FIREWORKS_TEST_BOOTSTRAP_SERVERS` names, or on an embedded broker for each test.
//!
//! States are waited for by looking, under a deadline.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod groups;
mod harness;
mod load;
mod logs;
mod transactions;
