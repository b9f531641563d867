//! Transactions: whole or not at all, one producer at a time, with their offsets.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::harness::*;

#[test]
fn transaction_is_seen_whole_when_it_commits_and_never_when_it_aborts() {
    let broker = Running::start();
    broker.create(&broker.name("t"), 2, &[]);
    let producer = broker.transactional(&broker.name("id"));
    let committed = broker.reader(&broker.name("t"), 0, "read_committed");
    let uncommitted = broker.reader(&broker.name("t"), 0, "read_uncommitted");

    producer.begin_transaction().expect("begun");
    send(&producer, &broker.name("t"), 0, "k", "kept");
    send(&producer, &broker.name("t"), 1, "k", "kept too");
    settle(&producer);
    assert_eq!(values(&uncommitted, 1, LONG), ["kept"]);
    assert!(values(&committed, 1, Duration::from_millis(300)).is_empty());
    producer.commit_transaction(LONG).expect("committed");
    assert_eq!(values(&committed, 1, LONG), ["kept"]);

    producer.begin_transaction().expect("begun");
    send(&producer, &broker.name("t"), 0, "k", "dropped");
    settle(&producer);
    producer.abort_transaction(LONG).expect("aborted");
    producer.begin_transaction().expect("begun");
    send(&producer, &broker.name("t"), 0, "k", "last");
    settle(&producer);
    producer.commit_transaction(LONG).expect("committed");
    assert_eq!(values(&committed, 1, LONG), ["last"]);
    assert_eq!(values(&uncommitted, 2, LONG), ["dropped", "last"]);
    // Two batches, their markers, and the aborted pair: markers take offsets, as in Kafka.
    let (_, high) = committed
        .fetch_watermarks(&broker.name("t"), 0, LONG)
        .expect("watermarks");
    assert_eq!(high, 6);
}

#[test]
fn second_producer_of_an_id_fences_the_first_and_aborts_what_it_left() {
    let broker = Running::start();
    broker.create(&broker.name("t"), 1, &[]);
    let zombie = broker.transactional(&broker.name("id"));
    zombie.begin_transaction().expect("begun");
    send(&zombie, &broker.name("t"), 0, "k", "zombie");
    settle(&zombie);
    let successor = broker.transactional(&broker.name("id"));
    assert_eq!(
        code(zombie.commit_transaction(LONG)),
        (RDKafkaErrorCode::Fenced, true)
    );
    successor.begin_transaction().expect("begun");
    send(&successor, &broker.name("t"), 0, "k", "successor");
    successor.commit_transaction(LONG).expect("committed");
    assert_eq!(
        values(
            &broker.reader(&broker.name("t"), 0, "read_committed"),
            2,
            SOON
        ),
        ["successor"]
    );
}

#[test]
fn overdue_transaction_is_aborted_for_the_readers_behind_it() {
    let broker = Running::start();
    broker.create(&broker.name("t"), 1, &[]);
    let hung = broker.producer(&[
        ("transactional.id", &broker.name("hung")),
        ("transaction.timeout.ms", "1000"),
    ]);
    hung.init_transactions(LONG).expect("a producer id");
    hung.begin_transaction().expect("begun");
    send(&hung, &broker.name("t"), 0, "k", "hung");
    settle(&hung);
    let other = broker.transactional(&broker.name("other"));
    other.begin_transaction().expect("begun");
    send(&other, &broker.name("t"), 0, "k", "other");
    other.commit_transaction(LONG).expect("committed");
    let reader = broker.reader(&broker.name("t"), 0, "read_committed");
    assert_eq!(values(&reader, 1, LONG), ["other"]);
    assert_eq!(
        code(hung.commit_transaction(LONG)),
        (RDKafkaErrorCode::Fenced, true)
    );
}

#[test]
fn offsets_move_with_their_transaction() {
    let broker = Running::start();
    broker.create(&broker.name("in"), 1, &[]);
    broker.create(&broker.name("out"), 1, &[]);
    let source = broker.producer(&[]);
    for n in 0..10 {
        send(&source, &broker.name("in"), 0, "k", &n.to_string());
    }
    settle(&source);
    let group = broker.name("g");
    let config = [
        ("group.id", group.as_str()),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
    ];
    let consumer: BaseConsumer = broker.client(&config).create().expect("a client");
    consumer
        .subscribe(&[&broker.name("in")])
        .expect("subscribed");
    assert_eq!(values(&consumer, 10, LONG).len(), 10);
    let metadata = consumer.group_metadata().expect("it is in a group");
    let committed = || {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&broker.name("in"), 0);
        let found = consumer.committed_offsets(wanted, LONG).expect("an answer");
        found.elements()[0].offset()
    };
    let mut position = TopicPartitionList::new();
    position
        .add_partition_offset(&broker.name("in"), 0, Offset::Offset(7))
        .expect("a partition");
    let producer = broker.transactional(&broker.name("id"));
    for (commit, expected) in [(false, Offset::Invalid), (true, Offset::Offset(7))] {
        producer.begin_transaction().expect("begun");
        send(&producer, &broker.name("out"), 0, "k", "v");
        settle(&producer);
        producer
            .send_offsets_to_transaction(&position, &metadata, LONG)
            .expect("sent");
        if commit {
            producer.commit_transaction(LONG).expect("committed");
        } else {
            producer.abort_transaction(LONG).expect("aborted");
        }
        assert_eq!(committed(), expected);
    }

    // Another member takes over: the generation that the old metadata names is gone.
    let second: BaseConsumer = broker.client(&config).create().expect("a client");
    second.subscribe(&[&broker.name("in")]).expect("subscribed");
    eventually("a fenced commit", || {
        for member in [&consumer, &second] {
            member.poll(Duration::from_millis(10));
        }
        producer.begin_transaction().expect("begun");
        let outcome = producer.send_offsets_to_transaction(&position, &metadata, LONG);
        producer.abort_transaction(LONG).expect("aborted");
        match outcome {
            Ok(()) => None,
            Err(KafkaError::Transaction(error)) => {
                assert_eq!(error.code(), RDKafkaErrorCode::IllegalGeneration);
                assert!(error.txn_requires_abort());
                Some(())
            }
            Err(other) => panic!("{other}"),
        }
    });
}
