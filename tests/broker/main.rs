//! The embedded broker's own ways: its bounds, and what it does with hostile bytes.
//!
//! What it shares with every Kafka is tested in `tests/protocol`. Each test has a broker of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
#[path = "../protocol/harness.rs"]
mod harness;
mod hostile;
mod memory;
#[path = "../support/mod.rs"]
mod support;
