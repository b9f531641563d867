//! The Kafkas to measure on: an Apache Kafka that `tests/kafka/run` has started, and embedded brokers.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::process::{self, Running, fireworks};
use crate::support::{self, DEADLINE, create_topic_at, wait_for};

/// How long it may take to write what is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many partitions every topic has.
pub const PARTITIONS: i32 = 6;

/// A Kafka of one node, and the process that it is.
#[derive(Debug)]
pub struct Kafka {
    pub address: String,
    process: u32,
    _running: Option<Running>,
}

impl Kafka {
    /// The Apache Kafka around this process.
    pub fn apache() -> Kafka {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!("{name} is not set: run it as `make bench` does, by tests/kafka/run")
            })
        };
        let pid = format!("{}/1/pid", variable("KAFKA_DIRECTORY"));
        let pid = std::fs::read_to_string(pid).unwrap();
        Kafka {
            address: variable("FIREWORKS_TEST_BOOTSTRAP_SERVERS"),
            process: pid.trim().parse().unwrap(),
            _running: None,
        }
    }

    /// An embedded broker in a process of its own, with room for so much in a partition.
    pub fn embedded(retention: &str) -> Kafka {
        let listen = ["broker", "--listen", "127.0.0.1:0"];
        let arguments = [&listen[..], &["--retention-bytes", retention]].concat();
        let running = Running::start("broker", fireworks(&arguments));
        let address = wait_for("the broker's address", || {
            support::broker_address(&running.log())
        });
        Kafka {
            address,
            process: running.id(),
            _running: Some(running),
        }
    }

    /// What its process has used of the processors.
    pub fn processor_time(&self) -> Duration {
        process::processor_time(self.process)
    }

    /// What its process has used beside compiling its own code, as a Java program does until it has run for a while.
    pub fn processor_time_but_compiling(&self) -> Duration {
        let compiling = |compiler| process::processor_time_of_threads(self.process, compiler);
        self.processor_time() - compiling("C1 Compiler") - compiling("C2 Compiler")
    }

    /// The most that its process has held in memory, in bytes.
    pub fn peak_memory(&self) -> u64 {
        support::peak_memory(self.process)
    }

    /// Creates a topic that keeps everything, whatever the event times.
    pub fn create(&self, topic: &str) {
        let config = [
            ("retention.ms", "-1"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
        ];
        create_topic_at(&self.address, topic, PARTITIONS, &config);
    }

    /// Creates a topic of state.
    pub fn create_compacted(&self, topic: &str) {
        let config = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "33554432"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
        ];
        create_topic_at(&self.address, topic, PARTITIONS, &config);
    }

    /// Deletes topics, to make room.
    pub fn delete(&self, topics: &[&str]) {
        use rdkafka::admin::{AdminClient, AdminOptions};
        let admin: AdminClient<_> = self.client().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let deleted = admin.delete_topics(topics, &AdminOptions::new());
        for outcome in runtime.block_on(deleted).unwrap() {
            outcome.unwrap();
        }
    }

    /// The settings of a client.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// How many offsets a topic has given away, to records of any kind.
    pub fn records(&self, topic: &str) -> i64 {
        let client: BaseConsumer = self.client().create().unwrap();
        let end = |partition| {
            client
                .fetch_watermarks(topic, partition, DEADLINE)
                .unwrap()
                .1
        };
        (0..PARTITIONS).map(end).sum()
    }

    /// A reader of partitions of a topic, from there on.
    pub fn reader(&self, topic: &str, partitions: &[i32], from: Offset) -> BaseConsumer {
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "100")
            .set("queued.min.messages", "1000000")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition_offset(topic, partition, from).unwrap();
        }
        consumer.assign(&list).unwrap();
        consumer
    }
}

/// Writes without transactions, so that a partition's offsets count its records.
pub struct Writer(BaseProducer);

impl Writer {
    pub fn of(kafka: &Kafka) -> Writer {
        let producer = kafka
            .client()
            .set("linger.ms", "20")
            .set("compression.type", "lz4")
            .set("enable.idempotence", "true")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .unwrap();
        Writer(producer)
    }

    /// Takes a record, and waits for room where there is none.
    pub fn write(&self, mut record: BaseRecord<'_, [u8], [u8]>) {
        while let Err((error, back)) = self.0.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full);
            self.0.poll(Duration::from_millis(5));
            record = back;
        }
    }

    /// Lets the client tell what has been written.
    pub fn poll(&self) {
        self.0.poll(Duration::ZERO);
    }

    /// Waits until everything is written.
    pub fn finish(self) {
        self.0.flush(PATIENCE).unwrap();
    }
}

/// How far a group has come in a topic.
pub struct Progress {
    consumer: BaseConsumer,
    partitions: TopicPartitionList,
}

impl Progress {
    pub fn of(kafka: &Kafka, group: &str, topic: &str) -> Progress {
        let consumer = kafka
            .client()
            .set("group.id", group)
            .set("isolation.level", "read_uncommitted")
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(topic, 0, PARTITIONS - 1);
        Progress {
            consumer,
            partitions,
        }
    }

    /// How many records it has committed.
    pub fn committed(&self) -> usize {
        let partitions = self.partitions.clone();
        let offsets = self.consumer.committed_offsets(partitions, DEADLINE);
        let offset = |offset: Offset| match offset {
            Offset::Offset(offset) => usize::try_from(offset).unwrap(),
            _ => 0,
        };
        let offsets = offsets.unwrap();
        let elements = offsets.elements();
        elements.iter().map(|e| offset(e.offset())).sum()
    }
}
