//! What the suites share: a Kafka to test on, topics nobody else has, clients, and the real binary.
//!
//! `FIREWORKS_TEST_BOOTSTRAP_SERVERS` names the Kafka to test on; without it an embedded broker is started,
//! one a test binary. Nothing here sleeps for a state: it is polled for, under a deadline.

#![allow(dead_code, reason = "every suite uses some of it")]

pub mod dashboard;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use fireworks::kafka::config::{KafkaArgs, KafkaSettings};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rustix::process::Pid;
pub use rustix::process::Signal;

/// How long a state may take to come about.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long one answer of a broker may take, where it is asked again: it may be the one that has gone.
const ANSWER: Duration = Duration::from_secs(5);

static ADDRESS: OnceLock<Option<String>> = OnceLock::new();

/// The Kafka to test on.
pub fn kafka() -> &'static str {
    let address = ADDRESS.get_or_init(|| std::env::var("FIREWORKS_TEST_BOOTSTRAP_SERVERS").ok());
    address.as_deref().unwrap_or_else(|| embedded())
}

/// What a client of the Kafka to test on needs to know.
pub fn settings() -> KafkaSettings {
    let args = KafkaArgs {
        bootstrap_servers: kafka().to_owned(),
        properties: Vec::new(),
    };
    args.settings().unwrap()
}

/// Makes this the Kafka to test on, before the first use of one.
pub fn test_on(address: &str) {
    ADDRESS.set(Some(address.to_owned())).unwrap();
}

/// The embedded broker of this test binary, whatever Kafka is tested on.
pub fn embedded() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| embedded_broker().to_string())
}

/// Starts an embedded broker that lives as long as the test binary.
fn embedded_broker() -> SocketAddr {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let settings = fireworks::broker::Settings::on_free_port();
            let broker = fireworks::broker::Broker::bind(settings).await.unwrap();
            send.send(broker.local_addr()).unwrap();
            let (_trigger, shutdown) = fireworks::shutdown::Shutdown::manual();
            broker.serve(shutdown).await.unwrap();
        });
    });
    receive.recv().unwrap()
}

/// Where a `broker` or a `demo` listens, as its log says.
pub fn broker_address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("Kafka protocol on ")?;
    Some(rest.split_once(',')?.0.to_owned())
}

/// Where the page of a `dashboard` or a `demo` is, as its log says.
pub fn page_address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("http://localhost:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}

/// An embedded broker in a process of its own, to be stopped, killed or measured, and its address.
pub fn broker_process(arguments: &[&str]) -> (Process, String) {
    let process = start(&[&["broker"], arguments].concat());
    let address = wait_for("the broker's address", || broker_address(&process.stderr()));
    (process, address)
}

/// A name that no other test and no other run uses.
pub fn unique(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let run = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis()
        & 0xff_ffff;
    format!(
        "{name}-{run:x}-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

/// Polls until there is something, or fails after the deadline with `what`.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a process left behind.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The real binary, running. It is killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// Starts `fireworks` with these arguments and nothing of ours in its environment.
pub fn start(arguments: &[&str]) -> Process {
    start_with(arguments, &[])
}

/// [`start`], with an environment.
pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fireworks"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, out_reader) = collect(child.stdout.take().unwrap());
    let (stderr, err_reader) = collect(child.stderr.take().unwrap());
    Process {
        child,
        stdout,
        stderr,
        readers: vec![out_reader, err_reader],
    }
}

fn collect(stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let filled = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut text = filled.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    (text, reader)
}

impl Process {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                None => panic!("it did not end within {DEADLINE:?}:\n{}", self.stderr()),
            }
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Outcome {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill().is_err();
        let _reaped_already = self.child.wait().is_err();
    }
}

/// The largest resident set that a process has had, in bytes.
pub fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

/// Runs `fireworks` to its end.
pub fn run(arguments: &[&str]) -> Outcome {
    start(arguments).wait()
}

/// Runs `fireworks` against the Kafka under test and expects it to succeed.
pub fn succeed(arguments: &[&str]) -> Outcome {
    let arguments: Vec<_> = arguments
        .iter()
        .copied()
        .chain(["--bootstrap-servers", kafka()])
        .collect();
    let outcome = run(&arguments);
    assert!(
        outcome.status.success(),
        "{arguments:?} failed: {}",
        outcome.stderr
    );
    outcome
}

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// The value, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_deref().unwrap()).unwrap()
    }

    /// The last header of that name, as text.
    pub fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .and_then(|(_, value)| value.clone());
        String::from_utf8(value.unwrap_or_default()).unwrap()
    }
}

fn consumer(kafka: &str, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .set("fetch.wait.max.ms", "20")
        .create()
        .unwrap()
}

/// All committed records of a topic, in the order of each partition.
pub fn committed(topic: &str) -> Vec<Record> {
    read(kafka(), topic, "read_committed")
}

/// [`committed`], of another Kafka; nothing where the topic doesn't exist.
pub fn committed_at(kafka: &str, topic: &str) -> Vec<Record> {
    read(kafka, topic, "read_committed")
}

/// All records of a topic, also those of open and aborted transactions.
pub fn uncommitted(topic: &str) -> Vec<Record> {
    read(kafka(), topic, "read_uncommitted")
}

/// What there is when it begins: a topic that is written to all the time is never seen to end.
fn read(kafka: &str, topic: &str, isolation: &str) -> Vec<Record> {
    let consumer = consumer(kafka, isolation);
    let mut list = TopicPartitionList::new();
    let mut open = BTreeMap::new();
    for partition in 0..partitions_at(kafka, topic) {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition, DEADLINE)
            .unwrap();
        list.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
        open.insert(partition, end);
    }
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "topic `{topic}` has no end");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let end = open.get(&partition).copied().unwrap_or_default();
                if offset < end {
                    records.push(record(&message));
                }
                if offset + 1 >= end {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("failed to read `{topic}`: {error}"),
        }
    }
    records.sort_by_key(|record: &Record| (record.partition, record.offset));
    records
}

fn record(message: &impl Message) -> Record {
    let headers = message.headers().map(|headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        headers: headers.unwrap_or_default(),
    }
}

/// How many partitions a topic has; 0 where it doesn't exist.
pub fn partitions(topic: &str) -> i32 {
    partitions_at(kafka(), topic)
}

fn partitions_at(kafka: &str, topic: &str) -> i32 {
    let consumer = consumer(kafka, "read_committed");
    let metadata = consumer.fetch_metadata(None, DEADLINE).unwrap();
    metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic)
        .map_or(0, |found| found.partitions().len() as i32)
}

/// How many offsets a topic has given away, to records of any kind; 0 where it doesn't exist.
pub fn offsets(topic: &str) -> i64 {
    let consumer = consumer(kafka(), "read_uncommitted");
    let end = |partition| {
        consumer
            .fetch_watermarks(topic, partition, DEADLINE)
            .unwrap()
            .1
    };
    (0..partitions(topic)).map(end).sum()
}

/// Where the partitions of a topic end: what is decided, and all there is.
#[derive(Debug)]
pub struct Extents {
    /// The last stable offset of each partition.
    pub stable: Vec<i64>,
    /// The high watermark of each partition.
    pub end: Vec<i64>,
}

impl Extents {
    /// Those of now.
    pub fn of(topic: &str) -> Extents {
        static CLIENTS: OnceLock<[BaseConsumer; 2]> = OnceLock::new();
        let [stable, end] = CLIENTS.get_or_init(|| {
            [
                consumer(kafka(), "read_committed"),
                consumer(kafka(), "read_uncommitted"),
            ]
        });
        let partitions = partitions(topic);
        // A leader that moves is asked again.
        let ends = |client: &BaseConsumer, isolation: &str| {
            let end = |partition| {
                let (begun, mut fresh) = (Instant::now(), None);
                loop {
                    let client = fresh.as_ref().unwrap_or(client);
                    match client.fetch_watermarks(topic, partition, ANSWER) {
                        Ok((_, end)) => break end,
                        Err(error) => assert!(
                            begun.elapsed() < DEADLINE,
                            "no answer for the end of partition {partition} of `{topic}`: {error}"
                        ),
                    }
                    // One that was there before a broker went may ask in vain for long.
                    fresh = Some(consumer(kafka(), isolation));
                }
            };
            (0..partitions).map(end).collect()
        };
        Extents {
            stable: ends(stable, "read_committed"),
            end: ends(end, "read_uncommitted"),
        }
    }
}

/// How far a group has come in a topic; -1 in a partition where it has committed nothing.
pub fn committed_offsets(group: &str, topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .set("group.id", group)
        .set("isolation.level", "read_uncommitted")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions(topic) - 1);
    let offsets = consumer.committed_offsets(list, DEADLINE).unwrap();
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        element
            .offset()
            .to_raw()
            .filter(|offset| *offset >= 0)
            .unwrap_or(-1)
    };
    offsets.elements().iter().map(offset).collect()
}

/// Creates a topic.
pub fn create_topic(topic: &str, partitions: i32, config: &[(&str, &str)]) {
    create_topic_at(kafka(), topic, partitions, config);
}

/// [`create_topic`], on another Kafka.
pub fn create_topic_at(kafka: &str, topic: &str, partitions: i32, config: &[(&str, &str)]) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = ClientConfig::new()
        .set("bootstrap.servers", kafka)
        .create()
        .unwrap();
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in config {
        new = new.set(name, value);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let results = runtime
        .block_on(admin.create_topics([&new], &AdminOptions::new()))
        .unwrap();
    results.into_iter().for_each(|result| {
        result.unwrap();
    });
    wait_for("the topic to appear", || {
        (partitions_at(kafka, topic) == partitions).then_some(())
    });
}

/// A plain producer, as any stranger may use one.
pub fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka())
        .set("linger.ms", "1")
        .set("message.max.bytes", "2000000");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Writes a record.
pub fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) {
    send_record(
        producer,
        topic,
        partition,
        key,
        value,
        1_700_000_000_000,
        OwnedHeaders::new(),
    );
}

/// Writes a record with a timestamp and headers.
pub fn send_record(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    timestamp: i64,
    headers: OwnedHeaders,
) {
    let record = BaseRecord::<[u8], [u8]> {
        topic,
        partition: Some(partition),
        payload: value,
        key,
        timestamp: Some(timestamp),
        headers: Some(headers),
        delivery_opaque: (),
    };
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.poll(Duration::ZERO);
}

/// Waits until everything sent has been written.
pub fn flush(producer: &BaseProducer) {
    producer.flush(DEADLINE).unwrap();
}

/// The lines of a file of `tests/vectors`.
pub fn vectors(name: &str) -> Vec<serde_json::Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The path of a file of `tests/vectors`.
pub fn vector_path(name: &str) -> String {
    format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The last revision of every step, by device, time and index: its path, without `revision` and `window`.
pub fn final_steps(
    steps: &[Record],
) -> std::collections::BTreeMap<(String, String, i64), serde_json::Value> {
    let mut last = std::collections::BTreeMap::new();
    for record in steps {
        let mut step = record.json();
        let field = |name: &str| step[name].as_str().unwrap().to_owned();
        let key = (
            field("device_id"),
            field("event_time"),
            step["index"].as_i64().unwrap(),
        );
        let fields = step.as_object_mut().unwrap();
        fields.remove("window");
        fields.remove("revision");
        last.insert(key, step);
    }
    last
}
