//! Millions of records through a broker that may keep a few: what the real process occupies stays bounded, and
//! nothing is counted twice or left out.
//!
//! `BROKER_MEMORY_RECORDS` says how many (2000000): ten million take a minute.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::harness::{LONG, Running};
use super::support;

const PARTITIONS: i32 = 4;
const RETENTION: u64 = 8 << 20;
/// What the process needs beside its logs: itself, and requests and answers on their way.
const BESIDE: u64 = 96 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn millions_of_records_pass_through_bounded_memory() {
    let records: u64 = std::env::var("BROKER_MEMORY_RECORDS")
        .map_or(2_000_000, |count| count.parse().expect("a number"));
    let retention = RETENTION.to_string();
    let limits = ["--listen", "127.0.0.1:0", "--retention-bytes", &retention];
    let (process, address) = support::broker_process(&limits);
    let broker = Running::at(&address);
    broker.create("t", PARTITIONS, &[]);

    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("batch.num.messages", "10000")
        .create()
        .expect("a client");
    let value = [b'x'; 150];
    let began = Instant::now();
    for n in 0..records {
        let partition = i32::try_from(n % PARTITIONS as u64).expect("small");
        let mut record = BaseRecord::<(), [u8]>::to("t")
            .partition(partition)
            .payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert!(began.elapsed() < PATIENCE, "{error}");
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        if n % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE).expect("flushed");

    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &address)
        .create()
        .expect("a client");
    let (mut written, mut kept) = (0, 0);
    for partition in 0..PARTITIONS {
        let (low, high) = client
            .fetch_watermarks("t", partition, LONG)
            .expect("watermarks");
        written += high;
        kept += high - low;
    }
    assert_eq!(written, i64::try_from(records).expect("small"));
    assert!(
        kept > 0 && (kept < written || written < 1_000_000),
        "{kept} are kept"
    );
    let peak = support::peak_memory(process.id());
    let cap = PARTITIONS as u64 * RETENTION + BESIDE;
    assert!(
        peak < cap,
        "{} MiB are more than {} MiB",
        peak >> 20,
        cap >> 20
    );
}
