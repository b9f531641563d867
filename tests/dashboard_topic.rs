//! The dashboard while things happen to its topic: partitions come, the topic goes and is made anew, retention
//! is faster than the reader.
//!
//! The real binary on the Kafka to test on, looked at through `/api/snapshot` alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use support::{
    Process, Signal, create_topic, flush, kafka, producer, send_record, start, unique, wait_for,
};

struct Dashboard {
    process: Process,
    address: String,
}

impl Dashboard {
    fn of(topic: &str) -> Dashboard {
        let process = start(&[
            "dashboard",
            "--topic",
            topic,
            "--listen",
            "127.0.0.1:0",
            "--bootstrap-servers",
            kafka(),
        ]);
        let address = wait_for("the dashboard's address", || {
            let log = process.stderr();
            let (_, rest) = log.split_once("http://localhost:")?;
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Some(format!("127.0.0.1:{port}"))
        });
        Dashboard { process, address }
    }

    fn snapshot(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = "GET /api/snapshot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (_, body) = reply.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The first snapshot of which this holds.
    fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.snapshot().filter(&holds))
    }
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .create()
        .unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Writes so many records of a device into a partition, with times that go on from 2023.
fn write(topic: &str, partition: i32, device: &str, count: i64) {
    let producer = producer(&[]);
    for n in 0..count {
        let time = 1_700_000_000_000 + n * 10;
        let value = format!(r#"{{"celsius":{n}}}"#);
        let (key, value) = (Some(device.as_bytes()), Some(value.as_bytes()));
        send_record(
            &producer,
            topic,
            partition,
            key,
            value,
            time,
            OwnedHeaders::new(),
        );
    }
    flush(&producer);
}

fn kind(snapshot: &Value) -> &str {
    snapshot["now"]["state"]["kind"].as_str().unwrap()
}

fn records(snapshot: &Value) -> u64 {
    snapshot["now"]["records"].as_u64().unwrap()
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let topic = unique("grows");
    create_topic(&topic, 1, &[]);
    write(&topic, 0, "first", 10);
    let dashboard = Dashboard::of(&topic);
    dashboard.wait("the first partition", |now| {
        kind(now) == "live" && records(now) == 10
    });
    let wider = [NewPartitions::new(&topic, 3)];
    let results = block_on(admin().create_partitions(&wider, &AdminOptions::new())).unwrap();
    results.into_iter().for_each(|result| {
        result.unwrap();
    });
    wait_for("the partitions to appear", || {
        (support::partitions(&topic) == 3).then_some(())
    });
    write(&topic, 2, "later", 5);
    let now = dashboard.wait("the new partition", |now| records(now) == 15);
    assert_eq!(now["now"]["devices"], 2);
    assert_eq!(now["now"]["partitions"], 3);
}

#[test]
fn topic_that_is_deleted_is_missing_and_one_made_anew_is_another_picture() {
    let topic = unique("goes");
    create_topic(&topic, 2, &[]);
    write(&topic, 0, "old", 20);
    let dashboard = Dashboard::of(&topic);
    dashboard.wait("the topic", |now| kind(now) == "live" && records(now) == 20);
    let results = block_on(admin().delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    results.into_iter().for_each(|result| {
        result.unwrap();
    });
    dashboard.wait("its end", |now| kind(now) == "missing");
    create_topic(&topic, 1, &[]);
    write(&topic, 0, "new", 3);
    let now = dashboard.wait("the next topic", |now| {
        kind(now) == "live" && records(now) == 3
    });
    assert_eq!(
        (&now["series"][0]["id"], &now["now"]["devices"]),
        (&"new".into(), &1.into())
    );
}

#[test]
fn what_retention_takes_before_it_was_read_is_skipped_and_the_picture_stays() {
    let topic = unique("short");
    create_topic(&topic, 1, &[]);
    write(&topic, 0, "d", 10);
    let dashboard = Dashboard::of(&topic);
    let before = dashboard.wait("the topic", |now| kind(now) == "live" && records(now) == 10);
    // It sleeps while others write and delete. A request for more may be under way; the first record answers it.
    dashboard.process.signal(Signal::STOP);
    write(&topic, 0, "d", 1);
    write(&topic, 0, "d", 99);
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&topic, 0, Offset::Offset(90))
        .unwrap();
    block_on(admin().delete_records(&upto, &AdminOptions::new())).unwrap();
    dashboard.process.signal(Signal::CONT);
    let skipped = |now: &Value| now["now"]["skipped"].as_u64().unwrap();
    let after = dashboard.wait("what was left", |now| records(now) + skipped(now) == 110);
    assert!(skipped(&after) > 0, "{after}");
    assert_eq!(after["about"]["epoch"], before["about"]["epoch"]);
    assert_eq!(after["now"]["lag"], 0);
}
