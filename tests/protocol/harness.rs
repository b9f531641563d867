//! A broker for one test, and what tests do with its clients.

#![allow(dead_code, reason = "each of the two suites uses some of it")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fireworks::broker::{Broker, Settings};
use fireworks::shutdown::{Shutdown, Trigger};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;

pub const LONG: Duration = Duration::from_secs(30);
pub const SOON: Duration = Duration::from_secs(1);

/// A broker that ends with the test, or the Kafka to test on.
pub struct Running {
    pub address: String,
    /// What makes the names of this test its own.
    suffix: String,
    trigger: Trigger,
    served: Option<tokio::task::JoinHandle<anyhow::Result<()>>>,
    pub runtime: Runtime,
}

impl Running {
    /// The Kafka that the environment names; otherwise an embedded broker.
    pub fn start() -> Running {
        match std::env::var("FIREWORKS_TEST_BOOTSTRAP_SERVERS") {
            Ok(address) => Running::at(&address),
            Err(_) => Running::embedded(),
        }
    }

    /// A broker that runs already.
    pub fn at(address: &str) -> Running {
        let (trigger, _) = Shutdown::manual();
        Running {
            address: address.to_owned(),
            suffix: suffix(),
            trigger,
            served: None,
            runtime: runtime(),
        }
    }

    /// A name of a topic, a group or a producer that no other test has.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }

    /// Where it listens, for those who speak to it without a client.
    pub fn socket(&self) -> SocketAddr {
        self.address
            .parse()
            .expect("an embedded broker has a plain address")
    }

    /// An embedded broker, whatever the environment names.
    pub fn embedded() -> Running {
        Running::with(Settings::on_free_port())
    }

    pub fn with(settings: Settings) -> Running {
        let runtime = runtime();
        let broker = runtime
            .block_on(Broker::bind(settings))
            .expect("a free port");
        let address = broker.local_addr().to_string();
        let (trigger, shutdown) = Shutdown::manual();
        let served = Some(runtime.spawn(broker.serve(shutdown)));
        Running {
            address,
            suffix: suffix(),
            trigger,
            served,
            runtime,
        }
    }

    pub fn client(&self, properties: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config
    }

    pub fn create(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client(&[]).create().expect("a client");
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in configs {
            new = new.set(name, value);
        }
        let created = self
            .runtime
            .block_on(admin.create_topics([&new], &AdminOptions::new()));
        created
            .expect("an answer")
            .pop()
            .expect("one topic")
            .expect("created");
    }

    pub fn producer(&self, properties: &[(&str, &str)]) -> BaseProducer {
        let mut config = self.client(&[("linger.ms", "0"), ("retry.backoff.ms", "2")]);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().expect("a client")
    }

    pub fn transactional(&self, id: &str) -> BaseProducer {
        let producer = self.producer(&[("transactional.id", id)]);
        producer.init_transactions(LONG).expect("a producer id");
        producer
    }

    /// A consumer without a group that reads one partition.
    pub fn reader(&self, topic: &str, partition: i32, isolation: &str) -> BaseConsumer {
        let config = self.client(&[
            ("group.id", "reader"),
            ("enable.auto.commit", "false"),
            ("isolation.level", isolation),
            ("auto.offset.reset", "earliest"),
            ("fetch.wait.max.ms", "100"),
        ]);
        let consumer: BaseConsumer = config.create().expect("a client");
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .expect("a partition");
        consumer.assign(&assignment).expect("assigned");
        consumer
    }

    /// Shuts down and says how long that took.
    pub fn stop(&mut self) -> Duration {
        let began = Instant::now();
        self.trigger.request();
        let served = self.served.take().expect("it is stopped once");
        let outcome = self.runtime.block_on(served);
        outcome.expect("no panic").expect("no error");
        began.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.trigger.request();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn suffix() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

pub fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &str) {
    let record = BaseRecord::to(topic)
        .partition(partition)
        .key(key)
        .payload(value);
    producer
        .send(record)
        .map_err(|(error, _)| error)
        .expect("there is room in the queue");
}

pub fn settle(producer: &BaseProducer) {
    let deadline = Instant::now() + LONG;
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
        assert!(
            Instant::now() < deadline,
            "the records were not acknowledged"
        );
    }
}

/// Values in order, until `count` have come or nothing more does.
pub fn values(consumer: &BaseConsumer, count: usize, patience: Duration) -> Vec<String> {
    let mut values = Vec::new();
    let mut deadline = Instant::now() + patience;
    while values.len() < count && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => {
                let value = message
                    .payload()
                    .map(|value| String::from_utf8_lossy(value).into_owned());
                values.push(value.unwrap_or_default());
                deadline = Instant::now() + patience;
            }
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    values
}

pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn code<T: std::fmt::Debug>(outcome: Result<T, KafkaError>) -> (RDKafkaErrorCode, bool) {
    match outcome.expect_err("it must fail") {
        KafkaError::Transaction(error) => (error.code(), error.is_fatal()),
        other => panic!("{other}"),
    }
}
