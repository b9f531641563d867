//! What processes tell of themselves: counts that equal what was processed, and readiness that flips.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rdkafka::producer::Producer;
use support::*;

/// Where a process serves its metrics, as it logs.
fn metrics_of(process: &Process) -> String {
    wait_for("the address of the metrics", || {
        let log = process.stderr();
        let (_, rest) = log.split_once("metrics: http://")?;
        Some(rest.split_once("/metrics")?.0.to_owned())
    })
}

/// Asks for a path: the status, the head and the body.
fn get(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// The samples of a scrape, by name and labels as they are written. Every sample must belong to a family with
/// help and type.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (status, head, text) = get(address, "/metrics");
    assert_eq!(status, 200, "{text}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let (mut helped, mut family, mut kind) = (String::new(), String::new(), String::new());
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty(), "{line}");
            name.clone_into(&mut helped);
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, what) = of.split_once(' ').unwrap();
            assert_eq!(name, helped, "a type without help");
            assert_eq!(what == "counter", name.ends_with("_total"), "{line}");
            (family, kind) = (name.to_owned(), what.to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let stem = name.split('{').next().unwrap();
            let is_of_family = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| stem.strip_suffix(end) == Some(family.as_str())),
                _ => stem == family,
            };
            assert!(is_of_family, "{line} after the type of {family}");
            assert!(
                stem.starts_with("fireworks_") || stem.starts_with("process_"),
                "{line}"
            );
            let is_new = samples
                .insert(name.to_owned(), value.parse().unwrap())
                .is_none();
            assert!(is_new, "{line} twice");
        }
    }
    samples
}

/// What is served on `/readyz` once it has that status.
fn ready(address: &str, status: u16) -> String {
    wait_for(&format!("/readyz to say {status}"), || {
        let (actual, _, body) = get(address, "/readyz");
        (actual == status).then_some(body)
    })
}

/// The sum of the samples of a family whose labels contain this.
fn sum(samples: &BTreeMap<String, f64>, family: &str, labels: &str) -> f64 {
    samples
        .iter()
        .filter(|(name, _)| name.split('{').next() == Some(family) && name.contains(labels))
        .map(|(_, value)| value)
        .sum()
}

fn partitions_of(samples: &BTreeMap<String, f64>, family: &str) -> Vec<String> {
    samples
        .keys()
        .filter_map(|name| {
            name.strip_prefix(family)?
                .strip_prefix("{partition=\"")?
                .strip_suffix("\"}")
        })
        .map(str::to_owned)
        .collect()
}

fn brownian(input: &str, instance: &str) -> Process {
    start(&[
        "brownian",
        "--input",
        input,
        "--output",
        &format!("{input}.markov"),
        "--group",
        input,
        "--instance",
        instance,
        "--workers",
        "2",
        "--metrics-listen",
        "127.0.0.1:0",
        "--bootstrap-servers",
        kafka(),
    ])
}

fn generate(topic: &str, more: &[&str]) -> Outcome {
    succeed(
        &[
            &["generate", "--topic", topic, "--start-timestamp", "0"][..],
            more,
        ]
        .concat(),
    )
}

#[test]
fn counts_of_brownian_are_what_it_has_processed() {
    let input = unique("counts");
    let source = ["--batches", "150", "--interval", "0s", "--devices", "8"];
    generate(&input, &source);
    // The first row once more is late, the last one a duplicate, and one record is no reading at all.
    let readings = committed(&input);
    let of_first_device = |record: &&Record| record.key.as_deref() == Some(&b"sensor-1"[..]);
    let first = readings.iter().find(of_first_device).unwrap();
    let last = readings.iter().rfind(of_first_device).unwrap();
    let producer = producer(&[]);
    for record in [first, last] {
        send(
            &producer,
            &input,
            record.partition,
            record.key.as_deref(),
            record.value.as_deref(),
        );
    }
    send(&producer, &input, 0, None, Some(b"no reading"));
    flush(&producer);

    let process = brownian(&input, "a");
    let address = metrics_of(&process);
    let consumed = "fireworks_brownian_records_total";
    let samples = wait_for("all to be processed and told", || {
        let samples = scrape(&address);
        let is_told = sum(&samples, "fireworks_brownian_state_readings", "") == 800.0
            && partitions_of(&samples, "fireworks_brownian_lag_records").len() == 6;
        (samples[consumed] == 1203.0
            && is_told
            && sum(&samples, "fireworks_brownian_lag_records", "") == 0.0)
            .then_some(samples)
    });
    assert_eq!(samples["fireworks_brownian_steps_total"], 1200.0);
    assert_eq!(samples["fireworks_brownian_revisions_total"], 0.0);
    assert_eq!(samples["fireworks_brownian_duplicates_total"], 1.0);
    for reason in ["late", "malformed"] {
        let name = format!("fireworks_brownian_dead_letters_total{{reason=\"{reason}\"}}");
        assert_eq!(samples[&name], 1.0, "{name}");
    }
    let transactions = samples["fireworks_brownian_transactions_total{outcome=\"committed\"}"];
    assert!(transactions >= 1.0);
    assert_eq!(
        samples["fireworks_brownian_transactions_total{outcome=\"aborted\"}"],
        0.0
    );
    assert_eq!(
        samples["fireworks_brownian_commit_duration_seconds_count"],
        transactions
    );
    assert!(samples["fireworks_brownian_commit_duration_seconds_sum"] > 0.0);
    assert_eq!(sum(&samples, "fireworks_brownian_state_devices", ""), 8.0);
    let restored = partitions_of(&samples, "fireworks_brownian_restore_duration_seconds");
    assert_eq!(restored, ["0", "1", "2", "3", "4", "5"]);
    let version = format!(
        "fireworks_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(samples[&version], 1.0);
    assert!(samples["process_start_time_seconds"] > 1.7e9);

    // The log and the metrics tell the same.
    process.signal(Signal::TERM);
    let outcome = process.wait();
    let line = outcome
        .stderr
        .lines()
        .find(|line| line.contains("stopped processing"))
        .unwrap();
    for told in [
        "records=1203",
        "steps=1200",
        "duplicates=1",
        "malformed=1",
        "late=1",
    ] {
        assert!(line.contains(told), "{told}: {line}");
    }
}

#[test]
fn what_is_told_of_a_partition_goes_with_it() {
    let input = unique("moves");
    generate(&input, &["--batches", "3", "--interval", "0s"]);
    let first = brownian(&input, "first");
    let first_address = metrics_of(&first);
    let state = "fireworks_brownian_state_devices";
    wait_for("all partitions", || {
        (partitions_of(&scrape(&first_address), state).len() == 6).then_some(())
    });
    let second = brownian(&input, "second");
    let second_address = metrics_of(&second);
    wait_for("the partitions to be shared", || {
        let mut all = partitions_of(&scrape(&first_address), state);
        let moved = partitions_of(&scrape(&second_address), state);
        let are_few = all.len() < 6 && !moved.is_empty();
        all.extend(moved);
        all.sort();
        (are_few && all == ["0", "1", "2", "3", "4", "5"]).then_some(())
    });
    ready(&first_address, 200);
    ready(&second_address, 200);
}

#[test]
fn brownian_is_ready_once_it_is_a_member_with_its_state_and_alive_before() {
    let input = unique("ready");
    let process = brownian(&input, "a");
    let address = metrics_of(&process);
    assert_eq!(ready(&address, 503), "looking for the topics\n");
    assert_eq!(get(&address, "/healthz").0, 200);
    create_topic(&input, 2, &[]);
    assert_eq!(ready(&address, 200), "ok\n");
}

#[test]
fn a_restore_that_takes_long_is_told_and_waited_for() {
    let input = unique("restoring");
    create_topic(&input, 2, &[]);
    let state = format!("{input}.markov.state");
    create_topic(&state, 2, &[("cleanup.policy", "compact")]);
    // A restore can't know the end of the state while somebody's transaction is open in it.
    let stranger = producer(&[("transactional.id", &input)]);
    stranger.init_transactions(DEADLINE).unwrap();
    stranger.begin_transaction().unwrap();
    send(&stranger, &state, 1, Some(b"key"), Some(b"value"));
    stranger.flush(DEADLINE).unwrap();

    let process = brownian(&input, "a");
    let address = metrics_of(&process);
    wait_for("the worker with the partition to wait", || {
        let (status, _, body) = get(&address, "/readyz");
        (status == 503 && body.contains("is restoring partitions [1]")).then_some(())
    });
    wait_for("the log to tell so", || {
        let line = "restoring: finding the end of the state partitions=[1]";
        process.stderr().contains(line).then_some(())
    });
    stranger.abort_transaction(DEADLINE).unwrap();
    ready(&address, 200);
    let log = process.stderr();
    for line in ["restoring partitions=[1] offsets=", "restored partition=1 "] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[test]
fn generate_is_ready_once_it_knows_where_to_go_on_and_counts_what_it_commits() {
    let topic = unique("source");
    let arguments = [
        "generate",
        "--topic",
        &topic,
        "--rows-per-batch",
        "3",
        "--interval",
        "20ms",
        "--metrics-listen",
        "127.0.0.1:0",
        "--bootstrap-servers",
        kafka(),
    ];
    let process = start(&arguments);
    let address = metrics_of(&process);
    ready(&address, 200);
    let samples = wait_for("a few batches", || {
        let samples = scrape(&address);
        (samples["fireworks_generate_batches_total"] >= 5.0).then_some(samples)
    });
    assert!(samples["fireworks_generate_lag_seconds"] >= 0.0);
    process.signal(Signal::STOP);
    let (readings, batches) = (
        samples["fireworks_generate_readings_total"],
        samples["fireworks_generate_batches_total"],
    );
    assert_eq!(readings, batches * 15.0);
    assert!(samples["fireworks_generate_transactions_total{outcome=\"committed\"}"] <= batches);
    process.signal(Signal::CONT);
    process.signal(Signal::TERM);
    let outcome = process.wait();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    let total = committed(&topic).len();
    assert!(
        outcome.stderr.contains(&format!("total={total}")),
        "{}",
        outcome.stderr
    );
}

#[test]
fn who_is_not_ready_says_what_it_waits_for_and_who_stops_is_no_longer_ready() {
    // A Kafka that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let kafka = silent.local_addr().unwrap().to_string();
    for (command, waits_for) in [
        ("generate", "looking for the topic\n"),
        ("brownian", "looking for the topics\n"),
        ("dashboard", "loading the topic\n"),
    ] {
        let mut arguments = vec![
            command,
            "--metrics-listen",
            "127.0.0.1:0",
            "--bootstrap-servers",
            &kafka,
        ];
        if command == "dashboard" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let process = start(&arguments);
        let address = metrics_of(&process);
        assert_eq!(ready(&address, 503), waits_for, "{command}");
        assert_eq!(get(&address, "/healthz").0, 200);
    }
}

#[test]
fn a_process_that_drains_is_alive_and_not_ready() {
    let ports = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let (broker, kafka) = broker_process(&ports);
    ready(&metrics_of(&broker), 200);
    let process = start(&[
        "generate",
        "--interval",
        "0s",
        "--metrics-listen",
        "127.0.0.1:0",
        "--bootstrap-servers",
        &kafka,
    ]);
    let address = metrics_of(&process);
    ready(&address, 200);
    // With the broker stopped, the drain has to wait for its deadline: long enough to be seen.
    broker.signal(Signal::STOP);
    process.signal(Signal::TERM);
    wait_for("it to say that it is stopping", || {
        (get(&address, "/readyz").2 == "stopping\n").then_some(())
    });
    broker.signal(Signal::CONT);
    assert_eq!(process.wait().status.code(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_refused_before_kafka_is_asked() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["generate", "brownian", "dashboard"] {
        let mut arguments = vec![
            command,
            "--metrics-listen",
            &address,
            "--bootstrap-servers",
            "127.0.0.1:1",
        ];
        if command == "dashboard" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let outcome = run(&arguments);
        assert_eq!(outcome.status.code(), Some(1));
        let expected = format!(
            "error: failed to serve metrics on --metrics-listen `{address}`: Address already in use (os error 98)\n\
             help: another program may have the port: pass --metrics-listen 127.0.0.1:0 for a free one\n"
        );
        assert!(
            outcome.stderr.ends_with(&expected),
            "{command}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn the_log_can_be_json_a_line() {
    let topic = unique("json");
    let outcome = generate(&topic, &["--batches", "1", "--log-format", "json"]);
    let lines: Vec<serde_json::Value> = outcome
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let stopped = lines
        .iter()
        .find(|line| line["fields"]["message"] == "stopped writing readings")
        .unwrap();
    assert_eq!(stopped["fields"]["total"], 5);
    assert_eq!(stopped["level"], "INFO");
}
