//! `generate` as fast as it goes, beside librdkafka's own measuring program.

use std::time::Duration;

use super::{PERFORMANCE, performance};
use crate::Scope;
use crate::kafka::Kafka;
use crate::load;
use crate::process::{Running, fireworks};
use crate::report::{Part, Row, Target};
use crate::support::unique;

const PATIENCE: Duration = Duration::from_secs(600);
const DEVICES: usize = 1000;

pub fn measure(scope: &Scope) -> Part {
    let kafka = Kafka::apache();
    let rows = scope.messages / DEVICES;
    let messages = rows * DEVICES;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut size = 0;
    for _ in 0..scope.runs {
        let topic = unique("source");
        kafka.create(&topic);
        let used = generate(&kafka, &topic, rows);
        ours.push(messages as f64 / used.as_secs_f64());
        let bytes = load::verify_readings(&kafka, &topic, DEVICES, rows);
        size = (bytes as f64 / messages as f64).round() as usize;
        kafka.delete(&[&topic]);

        kafka.create(&topic);
        let (size, messages_text) = (size.to_string(), messages.to_string());
        let flags = ["-P", "-s", &size, "-k", "sensor-500", "-a", "-1"];
        let settings = [
            "enable.idempotence=true",
            "linger.ms=5",
            "queue.buffering.max.messages=500000",
            "queue.buffering.max.kbytes=262144",
        ];
        let (used, _) = performance(&kafka, &topic, &messages_text, &flags, &settings);
        theirs.push(messages as f64 / used.as_secs_f64());
        kafka.delete(&[&topic]);
        println!(
            "generate {:.0}, {PERFORMANCE} {:.0}",
            ours[ours.len() - 1],
            theirs[theirs.len() - 1]
        );
    }
    let about = format!(
        "{messages} readings of {DEVICES} devices, {size} bytes each beside their key, into an Apache Kafka: `generate` in\n\
         transactions; {PERFORMANCE} the same message over and over, idempotent, to one partition, which fills its\n\
         batches best. Both with acknowledgement by all and lz4."
    );
    let row = Row::new(
        "`generate --interval 0s`",
        "messages per core-second",
        ours,
        PERFORMANCE,
        theirs,
        Target::AtLeast(0.8),
    );
    Part::new("Generating", &about, vec![row])
}

fn generate(kafka: &Kafka, topic: &str, rows: usize) -> Duration {
    let (devices, rows) = (DEVICES.to_string(), rows.to_string());
    let start = load::START.to_string();
    let command = fireworks(&[
        "generate",
        "--interval",
        "0s",
        "--topic",
        topic,
        "--devices",
        &devices,
        "--batches",
        &rows,
        "--start-timestamp",
        &start,
        "--bootstrap-servers",
        &kafka.address,
    ]);
    Running::start("generate", command).finish(PATIENCE)
}
