//! What partitions hold: by time, in the far future, and waited for.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::harness::*;

#[test]
fn records_are_found_by_time_with_every_codec() {
    let broker = Running::start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = broker.name(codec);
        broker.create(&topic, 1, &[]);
        let producer = broker.producer(&[("compression.type", codec), ("linger.ms", "50")]);
        for n in 0..1000_i64 {
            let value = "a value that is worth compressing ".repeat(3);
            let record = BaseRecord::to(&topic)
                .partition(0)
                .key("k")
                .payload(&value)
                .timestamp(10_000 + n);
            producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("there is room");
        }
        settle(&producer);
        let reader = broker.reader(&topic, 0, "read_committed");
        for (time, expected) in [
            (0, Offset::Offset(0)),
            (10_500, Offset::Offset(500)),
            (10_999, Offset::Offset(999)),
            (11_000, Offset::End),
        ] {
            let mut wanted = TopicPartitionList::new();
            wanted
                .add_partition_offset(&topic, 0, Offset::Offset(time))
                .expect("a partition");
            let found = reader.offsets_for_times(wanted, LONG).expect("an answer");
            assert_eq!(found.elements()[0].offset(), expected, "{codec} {time}");
        }
        assert_eq!(values(&reader, 1000, LONG).len(), 1000);
    }
}

#[test]
fn fetch_that_waits_is_woken_by_a_commit() {
    let broker = Running::start();
    broker.create(&broker.name("t"), 1, &[]);
    let config = broker.client(&[
        ("group.id", "reader"),
        ("isolation.level", "read_committed"),
        ("fetch.wait.max.ms", "20000"),
        ("socket.timeout.ms", "60000"),
        ("auto.offset.reset", "earliest"),
    ]);
    let consumer: BaseConsumer = config.create().expect("a client");
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(&broker.name("t"), 0, Offset::Beginning)
        .expect("a partition");
    consumer.assign(&assignment).expect("assigned");
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    let producer = broker.transactional(&broker.name("id"));
    producer.begin_transaction().expect("begun");
    send(&producer, &broker.name("t"), 0, "k", "v");
    settle(&producer);
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    let began = Instant::now();
    producer.commit_transaction(LONG).expect("committed");
    assert_eq!(values(&consumer, 1, LONG), ["v"]);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn unknown_topic_is_an_error_and_is_not_created() {
    let broker = Running::start();
    let producer = broker.producer(&[("message.timeout.ms", "1500")]);
    send(&producer, &broker.name("nowhere"), 0, "k", "v");
    settle(&producer);
    let metadata = producer
        .client()
        .fetch_metadata(None, LONG)
        .expect("metadata");
    let nowhere = broker.name("nowhere");
    assert!(
        metadata
            .topics()
            .iter()
            .all(|topic| topic.name() != nowhere)
    );
}

#[test]
fn record_from_the_far_future_needs_the_topics_leave() {
    let broker = Running::start();
    let (strict, open) = (broker.name("strict"), broker.name("open"));
    broker.create(&strict, 1, &[]);
    broker.create(
        &open,
        1,
        &[("message.timestamp.after.max.ms", &i64::MAX.to_string())],
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as i64;
    let producer = broker.producer(&[]);
    for topic in [&strict, &open] {
        let record = BaseRecord::to(topic)
            .partition(0)
            .key("k")
            .payload("v")
            .timestamp(now + 7_200_000);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("there is room");
    }
    settle(&producer);
    let ends = [&strict, &open].map(|topic| {
        producer
            .client()
            .fetch_watermarks(topic, 0, LONG)
            .expect("watermarks")
            .1
    });
    assert_eq!(ends, [0, 1]);
}
