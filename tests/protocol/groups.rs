//! Consumer groups under every assignor.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::harness::*;

#[test]
fn members_share_partitions_under_every_assignor() {
    let broker = Running::start();
    broker.create(&broker.name("t"), 6, &[]);
    for assignor in ["range", "roundrobin", "cooperative-sticky"] {
        let member = || -> BaseConsumer {
            let config = broker.client(&[
                ("group.id", &broker.name(assignor)),
                ("partition.assignment.strategy", assignor),
                ("heartbeat.interval.ms", "100"),
                ("auto.offset.reset", "earliest"),
            ]);
            let consumer: BaseConsumer = config.create().expect("a client");
            consumer
                .subscribe(&[&broker.name("t")])
                .expect("subscribed");
            consumer
        };
        let mut members = Vec::new();
        for (count, share) in [(1, 6), (2, 3), (3, 2)] {
            members.push(member());
            assert_eq!(members.len(), count);
            shares(&members, share);
        }
        members.pop();
        shares(&members, 3);
        members.pop();
        shares(&members, 6);
    }
}

/// Waits until every member has `share` partitions, each partition belonging to one of them.
fn shares(members: &[BaseConsumer], share: usize) {
    eventually("an even assignment", || {
        // Rebalances are served by polling; the error that one is going on is no error here.
        for member in members {
            member.poll(Duration::from_millis(10));
        }
        let assignment = |member: &BaseConsumer| member.assignment().expect("an assignment");
        let assignments: Vec<TopicPartitionList> = members.iter().map(assignment).collect();
        if assignments
            .iter()
            .any(|assignment| assignment.count() != share)
        {
            return None;
        }
        let elements = assignments
            .iter()
            .flat_map(|assignment| assignment.elements());
        let owned: BTreeSet<i32> = elements.map(|element| element.partition()).collect();
        (owned.len() == 6).then_some(())
    });
}

#[test]
fn committed_offsets_survive_an_empty_group() {
    let broker = Running::start();
    broker.create(&broker.name("t"), 1, &[]);
    let producer = broker.producer(&[]);
    (0..10).for_each(|n| send(&producer, &broker.name("t"), 0, "k", &n.to_string()));
    settle(&producer);
    let member = || -> BaseConsumer {
        let config = broker.client(&[
            ("group.id", &broker.name("g")),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
        ]);
        let consumer: BaseConsumer = config.create().expect("a client");
        consumer
            .subscribe(&[&broker.name("t")])
            .expect("subscribed");
        consumer
    };
    let first = member();
    assert_eq!(values(&first, 4, LONG), ["0", "1", "2", "3"]);
    first
        .commit_consumer_state(CommitMode::Sync)
        .expect("committed");
    drop(first);
    assert_eq!(values(&member(), 2, LONG), ["4", "5"]);
}
