//! Names and addresses that more than one command knows: one place, each with its meaning.

/// Where Kafka is looked for, and where the embedded broker listens.
pub const KAFKA: &str = "127.0.0.1:9092";
/// Where the dashboard listens.
pub const DASHBOARD: &str = "127.0.0.1:8080";
/// Sensor readings: written by `generate`, read by `brownian`.
pub const READINGS: &str = "readings";
/// What of `readings` could not be used: written by `brownian`, read by `dlq`.
pub const DEAD_LETTERS: &str = "readings.dlq";
/// Steps of the Brownian paths: written by `brownian`, read by `dashboard`.
pub const MARKOV: &str = "markov";
/// The consumer group of `brownian`.
pub const BROWNIAN_GROUP: &str = "fireworks-brownian";
