//! A reader of what is in a topic, against a Kafka: to the ends that it was given, and no further.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use fireworks::kafka::reader::Reader;
use fireworks::shutdown::Shutdown;
use support::*;

#[test]
fn a_partition_that_is_broken_off_is_read_no_further_and_the_others_to_their_ends() {
    let topic = unique("broken-off");
    create_topic(&topic, 3, &[]);
    let producer = producer(&[]);
    for n in 0..1000 {
        for partition in 0..3 {
            let value = n.to_string();
            send(&producer, &topic, partition, None, Some(value.as_bytes()));
        }
    }
    flush(&producer);

    let reader = Reader::new(&settings(), &topic).unwrap();
    let (_stop, shutdown) = Shutdown::manual();
    let extents = reader.settled(&topic, &[0, 1, 2], &shutdown).unwrap();
    let mut read: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let is_whole = reader.read(&topic, &extents, &shutdown, |record| {
        read.entry(record.partition)
            .or_default()
            .push(record.offset);
        Ok(if (record.partition, record.offset) == (1, 10) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    });
    assert!(is_whole.unwrap());
    let expected = [(0, 1000), (1, 11), (2, 1000)];
    let expected = expected.map(|(partition, end)| (partition, (0..end).collect()));
    assert_eq!(read, BTreeMap::from(expected));
}
