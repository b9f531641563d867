//! The state between two runs of the real binary: found again by whoever comes next, and refused where it is of
//! no use, with the remedy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use fireworks::kafka::partitioner;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use support::*;

/// A pipeline of its own.
struct Pipeline {
    input: String,
    output: String,
    group: String,
}

impl Pipeline {
    fn new(name: &str) -> Pipeline {
        let input = unique(name);
        let config = [
            ("message.timestamp.after.max.ms", "9223372036854775807"),
            ("retention.ms", "-1"),
        ];
        create_topic(&input, 6, &config);
        Pipeline {
            output: format!("{input}.markov"),
            group: input.clone(),
            input,
        }
    }

    fn state(&self) -> String {
        format!("{}.state", self.output)
    }

    fn start(&self, more: &[&str]) -> Process {
        let ours = [
            "brownian",
            "--bootstrap-servers",
            kafka(),
            "--input",
            &self.input,
            "--output",
            &self.output,
            "--group",
            &self.group,
        ];
        start(
            &ours
                .into_iter()
                .chain(more.iter().copied())
                .collect::<Vec<_>>(),
        )
    }

    fn process(&self, more: &[&str]) {
        let outcome = self.start(&[&["--until-end"], more].concat()).wait();
        assert!(outcome.status.success(), "{}", outcome.stderr);
    }

    /// What a run says that refuses to begin: the last two lines.
    fn refusal(&self) -> String {
        let outcome = self.start(&[]).wait();
        assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
        let (_, error) = outcome.stderr.rsplit_once("error: ").unwrap();
        error.to_owned()
    }

    fn write(&self, lines: &[serde_json::Value]) {
        let producer = producer(&[]);
        for line in lines {
            let device = line["value"]["device_id"].as_str().unwrap().as_bytes();
            let partition = partitioner::partition(device, 6);
            let value = line["value"].to_string();
            send(
                &producer,
                &self.input,
                partition,
                Some(device),
                Some(value.as_bytes()),
            );
        }
        flush(&producer);
    }

    /// Some readings, processed.
    fn begun(name: &str) -> Pipeline {
        let pipeline = Pipeline::new(name);
        pipeline.write(&vectors("readings.jsonl")[..20]);
        pipeline.process(&[]);
        pipeline
    }
}

fn grow(topic: &str, partitions: usize) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .create()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let grown = runtime.block_on(admin.create_partitions(
        &[NewPartitions::new(topic, partitions)],
        &AdminOptions::new(),
    ));
    grown.unwrap().into_iter().for_each(|grown| {
        grown.unwrap();
    });
    wait_for("the partitions to appear", || {
        (support::partitions(topic) == partitions as i32).then_some(())
    });
}

#[test]
fn other_instances_with_other_numbers_of_workers_go_on_where_the_last_ones_stopped() {
    let pipeline = Pipeline::new("handed-on");
    let arrivals = vectors("arrivals-out-of-order.jsonl");
    let parts: Vec<_> = arrivals.chunks(arrivals.len() / 3 + 1).collect();
    pipeline.write(parts[0]);
    pipeline.process(&["--instance", "a", "--workers", "1"]);
    pipeline.write(parts[1]);
    let both = [
        pipeline.start(&["--until-end", "--instance", "b", "--workers", "2"]),
        pipeline.start(&["--until-end", "--instance", "c", "--workers", "1"]),
    ];
    for process in both {
        let outcome = process.wait();
        assert!(outcome.status.success(), "{}", outcome.stderr);
    }
    pipeline.write(parts[2]);
    pipeline.process(&["--instance", "a", "--workers", "6"]);

    let alone = Pipeline {
        output: unique("alone"),
        input: pipeline.input.clone(),
        group: unique("alone"),
    };
    alone.process(&[]);
    let (steps, expected) = (committed(&pipeline.output), committed(&alone.output));
    assert_eq!(final_steps(&steps), final_steps(&expected));
    assert_eq!(
        steps.len(),
        expected.len(),
        "a step is there twice, or missing"
    );
}

#[test]
fn state_of_a_newer_version_and_what_is_no_state_are_refused() {
    for (name, key, value, reason) in [
        (
            "newer",
            b"sensor-1\x00".as_slice(),
            Some([&[2][..], &[0; 60]].concat()),
            "it is of version 2, written by a newer fireworks; this one reads up to 1",
        ),
        (
            "foreign",
            b"sensor-1",
            Some(b"{}".to_vec()),
            "it is no state of fireworks",
        ),
        (
            "short",
            b"sensor-1\x00",
            Some(vec![1, 2, 3]),
            "it is no state of fireworks",
        ),
        ("null", b"sensor-1\x00", None, "it is no state of fireworks"),
    ] {
        let pipeline = Pipeline::begun(name);
        let producer = producer(&[]);
        send(&producer, &pipeline.state(), 3, Some(key), value.as_deref());
        flush(&producer);
        let refusal = pipeline.refusal();
        let expected = format!(
            "failed to read the state in partition 3 of topic `{}`: {reason}",
            pipeline.state()
        );
        assert!(refusal.contains(&expected), "{name}: {refusal}");
        let remedy = "help: run the fireworks that wrote it, or name another --output and --group, which begin anew\n";
        assert!(refusal.ends_with(remedy), "{name}: {refusal}");
    }
}

#[test]
fn state_of_another_input_is_refused_with_its_name() {
    let pipeline = Pipeline::begun("input");
    let other = Pipeline {
        input: Pipeline::new("other-input").input,
        output: pipeline.output.clone(),
        group: pipeline.group.clone(),
    };
    let refusal = other.refusal();
    let expected = format!(
        "belongs to group `{0}` reading topic `{0}`, not to group `{0}` reading `{1}`\nhelp: pass --group {0} --input {0}, or name another --output and --group, which begin anew\n",
        pipeline.input, other.input
    );
    assert!(refusal.ends_with(&expected), "{refusal}");
}

#[test]
fn changed_number_of_partitions_is_refused_with_the_remedy() {
    let pipeline = Pipeline::begun("grown");
    grow(&pipeline.input, 8);
    let refusal = pipeline.refusal();
    let expected = format!(
        "topic `{0}` has 6 partitions, not 8\nhelp: delete topic `{0}`, or name another one\n",
        pipeline.output
    );
    assert_eq!(refusal, expected);
    // Whoever helps the topics along is told what the state says.
    grow(&pipeline.output, 8);
    grow(&pipeline.state(), 8);
    let refusal = pipeline.refusal();
    let expected = format!(
        "topic `{}` has 8 partitions, but the state in `{}` was made when it had 6\nhelp: a device's readings may have moved between partitions: name another --output and --group, which begin anew\n",
        pipeline.input,
        pipeline.state()
    );
    assert!(refusal.ends_with(&expected), "{refusal}");
}
