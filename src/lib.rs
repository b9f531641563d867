//! Fireworks: a live streaming pipeline on Kafka in one binary.
//!
//! ```text
//! generate ──readings──▶ brownian ──markov──▶ dashboard
//!                           │  ├──readings.dlq      what could not be used, byte for byte
//!                           │  └──markov.state      compacted: what a restart needs
//! ```
//!
//! A source writes sensor readings; the processor turns the readings of each device into a Brownian path and
//! a Markov chain, exactly once; the dashboard shows the paths as they grow. Each is a command of its own
//! and speaks the Kafka protocol, to any Kafka or to the embedded broker; `demo` runs all of them in one
//! process.
//!
//! # The map
//!
//! ```text
//!                  main.rs ── cli.rs ── demo.rs             parse, dispatch, exit code; all in one process
//!        ┌──────────┬─────────┴─┬─────────┬───────┬───────┐
//!     generate/  brownian/  dashboard/   dlq/  broker/   up/    stages: `Args`, `Settings` and `run`; `up` stands
//!        └─────┬────┴───────────┴─────────┘                    apart: it drives docker, kind, helm and kubectl
//!            kafka/                                         the only code that names rdkafka
//!              │
//!            model/                                         pure: what the data is and means
//!     metrics · server · shutdown · error                   leaves: usable by all but model/
//!          telemetry · defaults · crash
//! ```
//!
//! A layer imports what is below it and never its neighbours; `tests/layers.rs` keeps that. To read the
//! crate in an order that explains itself: [`model::reading`], [`model::window`], [`generate`], [`brownian`]
//! with its `worker`, [`kafka::group`] and [`kafka::producer`], [`broker`], [`dashboard`].
//!
//! # The topics
//!
//! | topic | key | written by | partitions | clean-up |
//! |---|---|---|---|---|
//! | `readings` | device id | [`generate`], or anybody | 6 | delete |
//! | `markov` | device id | [`brownian`] | as `readings`; a device keeps its partition's number | delete |
//! | `readings.dlq` | as received | [`brownian`] | 1 | delete |
//! | `markov.state` | device id and slot | [`brownian`] | as `readings` | compact |
//!
//! Keys are partitioned as Java clients do it (`murmur2`). Values are JSON, times ISO 8601 in UTC with
//! milliseconds, and the Kafka timestamp of a reading and of a step is its event time. Event times may lie in
//! 1970 or far ahead, so the topics are created with `message.timestamp.after.max.ms` at its maximum and are
//! bounded by bytes, not by age.
//!
//! # The source
//!
//! With R rows a batch, a start S and an advance A, batch k holds the rows k·R … k·R + R − 1, all with the
//! timestamp S + k·A: the semantics of Spark's `rate-micro-batch` ([`model::source`]). Contents never depend
//! on a clock; a batch is due at start + k · interval, and a stall is made good. Each row is joined to the
//! device table ([`model::device`]), which gives one reading for every row and device, with noise that is a
//! pure function of seed, device and row ([`model::noise`]). A restart goes on behind the last row that the
//! topic holds.
//!
//! # The path
//!
//! For the readings of one device, sorted by (event_time, index):
//!
//! ```text
//! z_n  = −direction_n · Φ⁻¹((1 − magnitude_n) / 2)
//! dt_n = event_time_n − event_time_{n−1}, in seconds
//! X_0  = 0,   X_n = X_{n−1} + drift_n · dt_n + volatility_n · √dt_n · z_n
//! ```
//!
//! The last 100 readings of each device are held ([`model::window`]). One that arrives late but fits is put
//! where it belongs, and every step whose content changed is written again with its `revision` + 1; one that
//! sorts before the oldest of a full window is a dead letter (`late`); one that is there already is counted
//! and dropped. So whatever the order of arrival, as long as nothing is too late, the last revision of every
//! step is what sorted input gives.
//!
//! # What is promised
//!
//! - **Exactly once.** Readings consumed, steps, dead letters, state and offsets move in one transaction. A
//!   reader of `markov` with `isolation.level=read_committed` sees every step once, whatever crashed.
//!   `generate` commits whole batches.
//! - **Deterministic.** The same readings in the same order give the same steps, bit for bit, whatever the
//!   number of instances, workers, crashes and rebalances.
//! - **A restart costs what is alive, not what has passed.** It reads `markov.state`, never the history of
//!   `readings`.
//! - **Nothing is silently lost.** What can't be used goes to `readings.dlq` with key, value, timestamp and
//!   headers untouched, and the headers `fireworks.reason`, `.error`, `.topic`, `.partition` and `.offset`.
//!   [`dlq`] lists them and puts them back.
//! - **Order.** The steps that one reading causes are written in the order of (event_time, index), right after
//!   each other, and a revision after what it revises.

pub mod broker;
pub mod brownian;
pub mod cli;
pub mod crash;
pub mod dashboard;
pub mod defaults;
pub mod demo;
pub mod dlq;
pub mod error;
pub mod generate;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod up;
