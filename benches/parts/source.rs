//! `generate` as fast as it goes, beside librdkafka's own measuring program.

use std::time::Duration;

use super::{PERFORMANCE, performance};
use crate::Scope;
use crate::kafka::Kafka;
use crate::load::{self, Alone};
use crate::process::{Running, fireworks, peer};
use crate::report::{Part, Row, Target, median};
use crate::support::unique;

const PATIENCE: Duration = Duration::from_secs(600);
const DEVICES: usize = 1000;

pub fn measure(scope: &Scope) -> Part {
    let kafka = Kafka::apache();
    let rows = scope.messages / DEVICES;
    let messages = rows * DEVICES;
    let per_core_second = |used: Duration| messages as f64 / used.as_secs_f64();
    let mut table = Vec::new();
    let mut size = 0;
    let making = Alone::measure(DEVICES).making * 1e6;
    for codec in ["lz4", "none"] {
        let (mut ours, mut theirs, mut moving) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scope.runs {
            let topic = unique("source");
            kafka.create(&topic);
            ours.push(per_core_second(generate(&kafka, &topic, rows, codec)));
            let bytes = load::verify_readings(&kafka, &topic, DEVICES, rows);
            size = (bytes as f64 / messages as f64).round() as usize;
            let copies = unique("copies");
            kafka.create(&copies);
            moving.push(per_core_second(produce(
                &kafka, &topic, &copies, messages, codec,
            )));
            kafka.delete(&[&topic, &copies]);

            kafka.create(&topic);
            let flags = [
                "-P",
                "-s",
                &size.to_string(),
                "-k",
                "sensor-500",
                "-a",
                "-1",
                "-z",
                codec,
            ];
            let settings = [
                "enable.idempotence=true",
                "linger.ms=50",
                "queue.buffering.max.messages=500000",
                "queue.buffering.max.kbytes=262144",
            ];
            let (used, _) = performance(&kafka, &topic, messages, &flags, &settings);
            theirs.push(per_core_second(used));
            kafka.delete(&[&topic]);
        }
        let what = match codec {
            "none" => "`generate --interval 0s -X compression.type=none`",
            _ => "`generate --interval 0s`",
        };
        let target = Target::AtLeast(0.8);
        let peer = 1e6 / median(&theirs);
        let moving = 1e6 / median(&moving);
        let reason = format!(
            "the peer makes no message: it sends one buffer over and over, which is not even copied, and has one partition\n\
             to look after. It takes {peer:.2} µs a message. The C loop of `benches/peers` takes {moving:.2} µs to send ready-made readings to\n\
             six partitions, each copied, as one must be that has only just been made; and making a reading alone, its noise\n\
             and its JSON, takes {making:.2} µs: with nothing beside both, `generate` would reach {:.2}.",
            peer / (moving + making)
        );
        let row = Row::new(
            what,
            "messages per core-second",
            ours,
            PERFORMANCE,
            theirs,
            target,
        );
        table.push(row.or_because(&reason));
    }
    let about = format!(
        "{messages} readings of {DEVICES} devices, {size} bytes each beside their key, into an Apache Kafka: `generate` in\n\
         transactions; {PERFORMANCE} the same message over and over, idempotent, to one partition, which fills its\n\
         batches best. Both with acknowledgement by all, with lz4 and without; of one message, lz4 leaves nothing to send."
    );
    Part::new("Generating", &about, table)
}

fn generate(kafka: &Kafka, topic: &str, rows: usize, codec: &str) -> Duration {
    let compression = format!("compression.type={codec}");
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
        "-X",
        &compression,
    ]);
    Running::start("generate", command).finish(PATIENCE)
}

/// Has the C loop write as many readings of `samples`, copied.
fn produce(kafka: &Kafka, samples: &str, topic: &str, messages: usize, codec: &str) -> Duration {
    let messages = messages.to_string();
    let command = peer(
        "limit",
        &[
            "--bootstrap-servers",
            &kafka.address,
            "--input",
            samples,
            "--output",
            topic,
            "--group",
            topic,
            "--sample-output",
            samples,
            "--sample-state",
            samples,
            "--copy",
            "1",
            "--produce",
            &messages,
            "--codec",
            codec,
        ],
    );
    Running::start("moving", command).finish(PATIENCE)
}
