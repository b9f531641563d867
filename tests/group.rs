//! A member of a consumer group against a Kafka: what it leaves behind, whatever it was in the middle of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::mpsc;
use std::time::Duration;

use fireworks::kafka::group::{GroupConsumer, Polled, Rebalance};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use support::*;

/// Long for leaving, short for a session to run out (10 s).
const SOON: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(20);

fn member(topic: &str) -> GroupConsumer {
    GroupConsumer::subscribe(&settings(), topic, topic, "test").unwrap()
}

/// Polls until a rebalance is announced.
fn rebalance(member: &mut GroupConsumer) -> Rebalance {
    wait_for("a rebalance", || match member.poll(POLL).unwrap() {
        Polled::Rebalance(rebalance) => Some(rebalance),
        _ => None,
    })
}

/// Takes over and starts whatever is assigned first.
fn start_all(member: &mut GroupConsumer) {
    let Rebalance::Assigned(partitions) = rebalance(member) else {
        panic!("the first rebalance assigns");
    };
    member.acknowledge().unwrap();
    for partition in partitions {
        member.start(partition, 0).unwrap();
    }
}

fn assert_leaves_soon(member: GroupConsumer) {
    let (send, left) = mpsc::channel();
    std::thread::spawn(move || {
        drop(member);
        send.send(()).unwrap();
    });
    assert!(left.recv_timeout(SOON).is_ok(), "it hangs while leaving");
}

#[test]
fn member_with_an_unanswered_assignment_leaves_at_once() {
    let topic = unique("unanswered-assignment");
    create_topic(&topic, 4, &[]);
    let mut member = member(&topic);
    assert!(matches!(rebalance(&mut member), Rebalance::Assigned(_)));
    assert_leaves_soon(member);
}

#[test]
fn member_that_has_not_seen_its_assignment_leaves_at_once() {
    let topic = unique("unseen-assignment");
    create_topic(&topic, 4, &[]);
    let member = member(&topic);
    wait_for("the assignment", || is_stable(&topic).then_some(()));
    assert_leaves_soon(member);
}

#[test]
fn member_with_an_unanswered_empty_assignment_leaves_at_once() {
    let topic = unique("unanswered-nothing");
    create_topic(&topic, 1, &[]);
    let mut first = member(&topic);
    start_all(&mut first);
    let mut second = member(&topic);
    wait_for("an assignment of nothing", || {
        if let Polled::Rebalance(_) = first.poll(POLL).unwrap() {
            first.acknowledge().unwrap();
        }
        match second.poll(Duration::from_millis(5)).unwrap() {
            Polled::Rebalance(rebalance) => {
                assert_eq!(rebalance, Rebalance::Assigned(Vec::new()));
                Some(())
            }
            _ => None,
        }
    });
    assert_leaves_soon(second);
    assert_leaves_soon(first);
}

#[test]
fn member_with_an_unanswered_revocation_leaves_at_once() {
    let topic = unique("unanswered-revocation");
    create_topic(&topic, 4, &[]);
    let mut first = member(&topic);
    start_all(&mut first);
    let mut second = member(&topic);
    let revoked = wait_for("a revocation", || {
        if let Polled::Rebalance(_) = second.poll(Duration::from_millis(5)).unwrap() {
            second.acknowledge().unwrap();
        }
        match first.poll(POLL).unwrap() {
            Polled::Rebalance(Rebalance::Revoked(partitions)) => Some(partitions),
            Polled::Rebalance(_) => {
                first.acknowledge().unwrap();
                None
            }
            _ => None,
        }
    });
    assert_eq!(revoked.len(), 2);
    assert_leaves_soon(first);
    assert_leaves_soon(second);
}

#[test]
fn what_comes_after_a_rebalance_at_the_end_of_a_partition_is_read() {
    let topic = unique("rebalance-at-the-end");
    create_topic(&topic, 1, &[]);
    let producer = producer(&[]);
    let mut first = member(&topic);
    start_all(&mut first);
    for offset in 0..3 {
        send(&producer, &topic, 0, None, Some(b"before"));
        producer.flush(DEADLINE).unwrap();
        assert_eq!(next_record(&mut first), offset);
        wait_for("the end", || {
            matches!(first.poll(POLL).unwrap(), Polled::End(0)).then_some(())
        });
        // The client pauses what is read, and goes on where it believes that it was.
        let mut second = member(&topic);
        wait_for("an assignment of nothing", || {
            if let Polled::Rebalance(_) = first.poll(POLL).unwrap() {
                first.acknowledge().unwrap();
            }
            matches!(second.poll(POLL).unwrap(), Polled::Rebalance(_)).then_some(())
        });
        second.acknowledge().unwrap();
    }
}

#[test]
fn partition_that_is_stopped_and_started_at_once_is_read() {
    let topic = unique("stop-and-start");
    create_topic(&topic, 2, &[]);
    let producer = producer(&[]);
    for partition in [0, 1] {
        for _ in 0..100 {
            send(&producer, &topic, partition, None, Some(b"again"));
        }
    }
    producer.flush(DEADLINE).unwrap();
    let mut member = member(&topic);
    start_all(&mut member);
    for offset in 0..100 {
        member.release(&[0, 1]).unwrap();
        member.start(0, offset).unwrap();
        assert_eq!(next_record(&mut member), offset);
    }
}

/// The offset of the next record; ends and rebalances come between.
fn next_record(member: &mut GroupConsumer) -> i64 {
    wait_for("a record", || match member.poll(POLL).unwrap() {
        Polled::Record(record) => Some(record.offset()),
        Polled::Rebalance(_) => {
            member.acknowledge().unwrap();
            None
        }
        _ => None,
    })
}

/// Whether the group has handed out its partitions.
fn is_stable(group: &str) -> bool {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .create()
        .unwrap();
    let list = consumer.fetch_group_list(Some(group), DEADLINE).unwrap();
    list.groups().iter().any(|found| found.state() == "Stable")
}
