//! What the embedded broker keeps, and what it lets go or refuses to take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fireworks::broker::Settings;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;

use super::harness::*;

#[test]
fn compacted_topic_keeps_the_newest_of_each_key_and_its_readers_reach_the_end() {
    let broker = Running::embedded();
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    broker.create("t", 1, &configs);
    let producer = broker.transactional("id");
    for round in 0..50 {
        producer.begin_transaction().expect("begun");
        for key in 0..20 {
            send(
                &producer,
                "t",
                0,
                &key.to_string(),
                &format!("{key}-{round}"),
            );
        }
        settle(&producer);
        if round % 2 == 0 {
            producer.commit_transaction(LONG).expect("committed");
        } else {
            producer.abort_transaction(LONG).expect("aborted");
        }
    }
    let expected: BTreeMap<String, String> = (0..20)
        .map(|key| (key.to_string(), format!("{key}-48")))
        .collect();
    let read = || {
        let reader = broker.reader("t", 0, "read_committed");
        let mut count = 0;
        let mut newest = BTreeMap::new();
        let (_, high) = reader.fetch_watermarks("t", 0, LONG).expect("watermarks");
        // The position passes markers and gaps, so reaching the end proves that it can be reached.
        eventually("the end of the partition", || {
            if let Some(message) = reader.poll(Duration::from_millis(10)) {
                let message = message.expect("a record");
                let text = |bytes: Option<&[u8]>| {
                    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
                };
                newest.insert(text(message.key()), text(message.payload()));
                count += 1;
            }
            let position = reader.position().expect("positions").elements()[0].offset();
            (position == Offset::Offset(high)).then_some(())
        });
        (count, newest)
    };
    assert_eq!(read().1, expected);
    eventually("compaction", || (read().0 == 20).then_some(()));
    assert_eq!(read().1, expected);
    let record = BaseRecord::<(), str>::to("t")
        .partition(0)
        .payload("no key");
    producer.begin_transaction().expect("begun");
    producer
        .send(record)
        .map_err(|(error, _)| error)
        .expect("there is room");
    assert!(producer.commit_transaction(LONG).is_err());
}

#[test]
fn full_compacted_partition_refuses_instead_of_forgetting() {
    let broker = Running::with(Settings {
        retention_bytes: 256 * 1024,
        ..Settings::on_free_port()
    });
    broker.create("t", 1, &[("cleanup.policy", "compact")]);
    let producer = broker.producer(&[
        ("enable.idempotence", "true"),
        ("message.timeout.ms", "5000"),
    ]);
    let value = "v".repeat(1000);
    // Ten keys over and over: compaction makes room as often as it is needed.
    for n in 0..2000 {
        send(&producer, "t", 0, &(n % 10).to_string(), &value);
        if n % 100 == 0 {
            settle(&producer);
        }
    }
    settle(&producer);
    let reader = broker.reader("t", 0, "read_committed");
    assert_eq!(
        reader.fetch_watermarks("t", 0, LONG).expect("watermarks").1,
        2000
    );
    // A thousand keys don't fit, and none of those that do is lost.
    for n in 0..1000 {
        send(&producer, "t", 0, &format!("key-{n}"), &value);
        settle(&producer);
    }
    let end = reader.fetch_watermarks("t", 0, LONG).expect("watermarks").1;
    assert!((2100..2300).contains(&end), "{end}");
    let mut keys = BTreeSet::new();
    let mut deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        if let Some(message) = reader.poll(Duration::from_millis(20)) {
            let message = message.expect("a record");
            keys.insert(String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned());
            deadline = Instant::now() + SOON;
        }
    }
    assert_eq!(keys.len() as i64, 10 + end - 2000);
}

#[test]
fn retention_keeps_the_newest_within_its_bound() {
    let broker = Running::with(Settings {
        retention_bytes: 256 * 1024,
        ..Settings::on_free_port()
    });
    broker.create("t", 1, &[]);
    let producer = broker.producer(&[]);
    let value = "v".repeat(1000);
    for n in 0..3000 {
        send(&producer, "t", 0, &n.to_string(), &value);
        if n % 50 == 0 {
            settle(&producer);
        }
    }
    settle(&producer);
    let reader = broker.reader("t", 0, "read_committed");
    let (low, high) = reader.fetch_watermarks("t", 0, LONG).expect("watermarks");
    assert_eq!(high, 3000);
    assert!((2700..2900).contains(&low), "{low}");
    assert_eq!(values(&reader, 3000, SOON).len() as i64, high - low);
}
