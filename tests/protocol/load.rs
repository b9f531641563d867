//! Producers and consumers at once, as fast as they go: nothing missing, nothing twice.
//!
//! `BROKER_LOAD_RECORDS` makes it long enough to measure.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::harness::*;

const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn nothing_is_lost_or_repeated_under_load() {
    let records = std::env::var("BROKER_LOAD_RECORDS")
        .map_or(200_000, |count| count.parse().expect("a number"));
    let broker = Running::start();
    let address = broker.address.clone();
    let topic = format!("load-{}", std::process::id());
    broker.create(&topic, PARTITIONS, &[]);

    let producing = {
        let (address, topic) = (address.clone(), topic.clone());
        std::thread::spawn(move || produce(&address, &topic, records))
    };
    let at_once = consume(&address, &topic, records);
    let produced = producing.join().expect("the producer");
    let afterwards = consume(&address, &topic, records);
    let rate = |took: Duration| records as f64 / took.as_secs_f64() / 1e6;
    #[expect(
        clippy::print_stdout,
        reason = "whoever measures asks for it with --nocapture"
    )]
    {
        println!(
            "{records} records of 100 bytes: produced {:.2} M/s, consumed meanwhile {:.2} M/s, afterwards {:.2} M/s",
            rate(produced),
            rate(at_once),
            rate(afterwards)
        );
    }
}

/// How many records a transaction of [`transact`] has.
const TRANSACTION: u64 = 500;
const PRODUCERS: u8 = 4;

/// Half of the producers in transactions, of which every third is aborted, and readers of either isolation
/// beside them: each counts what is missing, what comes twice, and what nobody was to see.
#[test]
fn producers_and_readers_at_once_see_everything_once() {
    let broker = Running::start();
    let topic = broker.name("concurrent");
    broker.create(&topic, PARTITIONS, &[]);
    let each = 20_000;
    let (address, topic) = (broker.address.as_str(), topic.as_str());
    let counts: Vec<Counts> = std::thread::scope(|scope| {
        let readers: Vec<_> = ["read_committed", "read_committed", "read_uncommitted"]
            .map(|isolation| scope.spawn(move || count(address, topic, isolation, each)))
            .into();
        for producer in 0..PRODUCERS {
            scope.spawn(move || transact(address, topic, producer, each));
        }
        readers
            .into_iter()
            .map(|reader| reader.join().expect("the reader"))
            .collect()
    });
    let aborted = u64::from(PRODUCERS / 2) * (each / TRANSACTION / 2) * TRANSACTION;
    for (reader, counted) in counts.iter().enumerate() {
        let expected = Counts {
            read: u64::from(PRODUCERS) * each,
            // A reader of everything meets the aborted ones as well.
            aborted: if reader == 2 { aborted } else { 0 },
            gaps: 0,
            repeats: 0,
        };
        assert_eq!(*counted, expected, "reader {reader}");
    }
}

/// What a reader has met.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    read: u64,
    aborted: u64,
    gaps: u64,
    repeats: u64,
}

/// Writes the numbers 0 … `records` − 1: odd producers in transactions, after every second of which comes one
/// that is aborted.
fn transact(address: &str, topic: &str, producer_number: u8, records: u64) {
    let is_transactional = producer_number % 2 == 1;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1");
    if is_transactional {
        config.set("transactional.id", format!("{topic}-{producer_number}"));
    }
    let producer: BaseProducer = config.create().expect("a client");
    let write = |first: u64, is_doomed: bool| {
        for number in first..first + TRANSACTION {
            let mut value = vec![producer_number, u8::from(is_doomed)];
            value.extend(number.to_be_bytes());
            let partition = i32::try_from(number % PARTITIONS as u64).expect("small");
            let record = BaseRecord::<(), [u8]>::to(topic)
                .partition(partition)
                .payload(&value);
            producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("there is room");
        }
        settle(&producer);
    };
    if !is_transactional {
        (0..records / TRANSACTION).for_each(|n| write(n * TRANSACTION, false));
        return;
    }
    producer.init_transactions(LONG).expect("a producer id");
    for n in 0..records / TRANSACTION {
        producer.begin_transaction().expect("begun");
        write(n * TRANSACTION, false);
        producer.commit_transaction(LONG).expect("committed");
        if n % 2 == 1 {
            producer.begin_transaction().expect("begun");
            write(n * TRANSACTION, true);
            producer.abort_transaction(LONG).expect("aborted");
        }
    }
}

/// Reads until everything has come and nothing more does.
fn count(address: &str, topic: &str, isolation: &str, each: u64) -> Counts {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "load")
        .set("fetch.queue.backoff.ms", "10")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation)
        .create()
        .expect("a client");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a partition");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut counts = Counts::default();
    let mut next = [[0_u64; PARTITIONS as usize]; PRODUCERS as usize];
    for row in &mut next {
        *row = std::array::from_fn(|partition| partition as u64);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut silent_since = Instant::now();
    while counts.read < u64::from(PRODUCERS) * each || silent_since.elapsed() < 2 * SOON {
        assert!(Instant::now() < deadline, "only {counts:?} came");
        let Some(message) = consumer.poll(Duration::from_millis(50)) else {
            continue;
        };
        silent_since = Instant::now();
        let message = message.expect("no error");
        let value = message.payload().expect("a value");
        let number = u64::from_be_bytes(value[2..].try_into().expect("eight bytes"));
        if value[1] == 1 {
            counts.aborted += 1;
            continue;
        }
        let partition = usize::try_from(message.partition()).expect("small");
        let expected = &mut next[usize::from(value[0])][partition];
        counts.gaps += u64::from(number > *expected);
        counts.repeats += u64::from(number < *expected);
        *expected = number + PARTITIONS as u64;
        counts.read += 1;
    }
    counts
}

/// Sends records that carry their number; record n goes to partition n modulo the partitions.
fn produce(address: &str, topic: &str, records: u64) -> Duration {
    let config = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "1000000")
        .clone();
    let producer: BaseProducer = config.create().expect("a client");
    let began = Instant::now();
    let mut value = [b'x'; 100];
    for n in 0..records {
        value[..8].copy_from_slice(&n.to_be_bytes());
        let partition = i32::try_from(n % PARTITIONS as u64).expect("small");
        let mut record = BaseRecord::<(), [u8]>::to(topic)
            .partition(partition)
            .payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            );
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        if n % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LONG).expect("flushed");
    began.elapsed()
}

/// Reads all records and checks that each partition has its own ones in order, without a gap.
fn consume(address: &str, topic: &str, records: u64) -> Duration {
    let config = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "load")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.min.messages", "1000000")
        .set("auto.offset.reset", "error")
        .clone();
    let consumer: BaseConsumer = config.create().expect("a client");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a partition");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut next: Vec<u64> = (0..PARTITIONS as u64).collect();
    let began = Instant::now();
    let mut read = 0;
    while read < records {
        // None may also mean that something else than a record was served.
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            assert!(began.elapsed() < PATIENCE, "only {read} records came");
            continue;
        };
        let message = message.expect("no error");
        let value = message.payload().expect("a value");
        let number = u64::from_be_bytes(value[..8].try_into().expect("eight bytes"));
        let expected = &mut next[usize::try_from(message.partition()).expect("small")];
        assert_eq!(number, *expected);
        *expected += PARTITIONS as u64;
        read += 1;
    }
    began.elapsed()
}
