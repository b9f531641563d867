//! What is measured, a file for each part.

mod broker;
mod dashboard;
mod latency;
mod processor;
mod restore;
mod scaling;
mod source;
mod start;

use std::time::Duration;

use crate::Scope;
use crate::kafka::Kafka;
use crate::process::{Running, peer};
use crate::report::Part;

/// Measures a part.
type Measure = fn(&Scope) -> Part;

/// Every part by its name, in the order of the page.
pub const ALL: [(&str, Measure); 8] = [
    ("processor", processor::measure),
    ("source", source::measure),
    ("broker", broker::measure),
    ("latency", latency::measure),
    ("restore", restore::measure),
    ("scaling", scaling::measure),
    ("dashboard", dashboard::measure),
    ("start", start::measure),
];

/// The measuring program that librdkafka brings along.
const PERFORMANCE: &str = "rdkafka_performance";
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs it; what it has used, and the messages a second that it counts.
fn performance(
    kafka: &Kafka,
    topic: &str,
    messages: usize,
    flags: &[&str],
    settings: &[&str],
) -> (Duration, f64) {
    let messages = messages.to_string();
    let ours = ["-b", &kafka.address, "-t", topic, "-c", &messages];
    // A line of its own now and then is more than enough.
    let mut arguments = [&ours[..], &["-i", "600000"], flags].concat();
    for setting in settings {
        arguments.extend(["-X", setting]);
    }
    let running = Running::start(PERFORMANCE, peer(PERFORMANCE, &arguments));
    let log = running.log_path();
    let used = running.finish(PATIENCE);
    let said = std::fs::read_to_string(log).unwrap();
    let rate = said.rsplit_once(" msgs/s").and_then(|(before, _)| {
        let (_, rate) = before.rsplit_once(' ')?;
        rate.parse().ok()
    });
    (
        used,
        rate.unwrap_or_else(|| panic!("{PERFORMANCE} tells no rate:\n{said}")),
    )
}
