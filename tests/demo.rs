//! `demo`: the whole pipeline in one process, held against the same pipeline in three.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use support::*;

/// A demo on free ports, with the addresses that it has printed.
struct Demo {
    process: Process,
    page: String,
    kafka: String,
}

fn demo(options: &[&str]) -> Demo {
    let ports = [
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--kafka-listen",
        "127.0.0.1:0",
    ];
    let process = start(&[&ports, options].concat());
    let stdout = wait_for("the addresses", || {
        let stdout = process.stdout();
        stdout.contains("Ctrl-C").then_some(stdout)
    });
    let after = |label: &str| {
        let line = stdout.lines().find(|line| line.contains(label)).unwrap();
        line.split_whitespace()
            .nth(label.split(' ').count())
            .unwrap()
            .to_owned()
    };
    Demo {
        page: after("Live picture").replace("http://localhost", "127.0.0.1"),
        kafka: after("Kafka"),
        process,
    }
}

/// Asks for a path and returns the reader of the answer, behind its headers.
fn get(address: &str, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "GET {path}: {line}");
    while line != "\r\n" {
        line.clear();
        answer.read_line(&mut line).unwrap();
    }
    answer
}

/// What the dashboard knows now.
fn snapshot(address: &str) -> Value {
    let mut body = String::new();
    get(address, "/api/snapshot")
        .read_to_string(&mut body)
        .unwrap();
    // The body may come in chunks, whose sizes stand on lines of their own.
    let start = body.find('{').unwrap();
    let json: String = body[start..]
        .split("\r\n")
        .filter(|part| part.len() > 8 || part.contains('}'))
        .collect();
    serde_json::from_str(&json).unwrap()
}

/// The values of a topic, device by device, in their order.
fn by_device(records: &[Record]) -> BTreeMap<Vec<u8>, Vec<String>> {
    let mut devices: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        devices
            .entry(record.key.clone().unwrap())
            .or_default()
            .push(value);
    }
    devices
}

#[test]
fn three_processes_write_what_a_demo_writes_byte_for_byte() {
    let devices = vector_path("devices.csv");
    let source = [
        "--rows-per-batch",
        "2",
        "--start-timestamp",
        "1700000000000",
        "--advance-millis-per-batch",
        "500",
        "--batches",
        "150",
        "--interval",
        "0s",
        "--devices",
        &devices,
    ];
    let demo = demo(&[&["--backfill", "0s"][..], &source].concat());
    let expected = 2 * 150 * 4;
    let steps_at = |kafka: &str, topic: &str| {
        wait_for("every step", || {
            let steps = committed_at(kafka, topic);
            (steps.len() >= expected).then_some(steps)
        })
    };
    let steps = steps_at(&demo.kafka, "markov");
    assert_eq!(steps.len(), expected);

    // On the Kafka under test, and on an embedded broker that is a process as well.
    let (_broker, embedded) = broker_process(&["--listen", "127.0.0.1:0"]);
    for kafka in [kafka(), &embedded] {
        let readings = unique("three");
        let markov = format!("{readings}.markov");
        let stage =
            |arguments: &[&str]| start(&[arguments, &["--bootstrap-servers", kafka]].concat());
        let generate = stage(&[&["generate", "--topic", &readings][..], &source].concat());
        let names = [
            "--input", &readings, "--output", &markov, "--group", &readings,
        ];
        let _brownian = stage(&[&["brownian"][..], &names].concat());
        let dashboard = stage(&["dashboard", "--topic", &markov, "--listen", "127.0.0.1:0"]);
        let written = steps_at(kafka, &markov);
        assert!(generate.wait().status.success());
        assert_eq!(by_device(&steps), by_device(&written));
        assert_eq!(
            by_device(&committed_at(&demo.kafka, "readings")),
            by_device(&committed_at(kafka, &readings))
        );
        let page = wait_for("the page's address", || page_address(&dashboard.stderr()));
        wait_for("every step to be seen at the dashboard", || {
            (snapshot(&page)["now"]["records"] == expected).then_some(())
        });
    }
}

#[test]
fn the_first_picture_has_history_that_counts_in_no_rate_and_goes_on_live() {
    let demo = demo(&["--devices", "3"]);
    let history = 3 * 300;
    wait_for("history", || {
        (snapshot(&demo.page)["now"]["records"].as_u64()? >= history).then_some(())
    });
    let before = snapshot(&demo.page)["now"]["records"].as_u64().unwrap();
    let now = wait_for("live records", || {
        let now = snapshot(&demo.page)["now"].clone();
        (now["records"].as_u64()? > before + 6).then_some(now)
    });
    assert_eq!(now["state"]["kind"], "live");
    assert_eq!(now["devices"], 3);
    assert_eq!(now["bad"], 0);
    assert!(
        now["rate"].as_f64().unwrap() < 100.0,
        "history counts in the rate: {now}"
    );
}

#[test]
fn a_signal_ends_it_with_exit_code_0_also_with_a_browser_connected() {
    for signal in [Signal::INT, Signal::TERM] {
        let demo = demo(&["--devices", "2"]);
        let mut stream = get(&demo.page, "/api/stream");
        let mut event = String::new();
        stream.read_line(&mut event).unwrap();
        demo.process.signal(signal);
        let begun = std::time::Instant::now();
        let outcome = demo.process.wait();
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it took {:?}",
            begun.elapsed()
        );
        stream.read_to_string(&mut event).unwrap();
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_ends_it_with_exit_code_0() {
    for moment in 1..14 {
        let ports = [
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--kafka-listen",
            "127.0.0.1:0",
            "--log-level",
            "info,fireworks=debug",
        ];
        let process = start(&ports);
        wait_for("the listening", || {
            (!process.stdout().is_empty()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(60 * (moment - 1)));
        process.signal(Signal::TERM);
        let outcome = process.wait();
        assert_eq!(
            outcome.status.code(),
            Some(0),
            "{moment}: {}",
            outcome.stderr
        );
        assert!(
            !outcome.stderr.contains("without an answer"),
            "{moment}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn a_stage_that_fails_ends_the_process_with_the_cause() {
    let demo = demo(&["--devices", "2", "--interval", "50ms"]);
    wait_for("a live picture", || {
        (snapshot(&demo.page)["now"]["state"]["kind"] == "live").then_some(())
    });
    // Another writer takes the transactional id over, and the demo's own is fenced.
    let thief = start(&[
        "generate",
        "--bootstrap-servers",
        &demo.kafka,
        "--devices",
        "2",
    ]);
    let outcome = demo.process.wait();
    assert_eq!(outcome.status.code(), Some(1));
    let error = outcome
        .stderr
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap_or_default();
    assert!(
        error.starts_with("error: generate failed: "),
        "{}",
        outcome.stderr
    );
    assert!(error.contains("fenced"), "{}", outcome.stderr);
    drop(thief);
}

#[test]
fn bad_options_are_refused_before_anything_starts() {
    let ports = [
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--kafka-listen",
        "127.0.0.1:0",
    ];
    let outcome = run(&[&ports[..], &["--devices", "0"]].concat());
    assert_eq!(
        (outcome.status.code(), outcome.stdout.as_str()),
        (Some(1), "")
    );
    assert_eq!(
        outcome.stderr,
        "error: invalid --devices 0: at least one device is needed\n"
    );
    let outcome = run(&[
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--kafka-listen",
        "0.0.0.0:0",
    ]);
    assert!(outcome.stderr.contains("loopback"), "{}", outcome.stderr);
}
