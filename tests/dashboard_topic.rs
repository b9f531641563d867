//! The dashboard while things happen to its topic: partitions come, the topic goes and is made anew, retention
//! is faster than the reader.
//!
//! The real binary on the Kafka to test on, looked at through `/api/snapshot` alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use support::dashboard::{Dashboard, kind, records, write};
use support::{Signal, create_topic, kafka, unique, wait_for};

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
