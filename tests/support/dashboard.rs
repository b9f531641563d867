//! The real dashboard, looked at through `/api/snapshot` alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::message::OwnedHeaders;
use serde_json::Value;

use super::{Process, flush, kafka, page_address, producer, send_record, start, wait_for};

/// One that shows a topic of the Kafka to test on.
pub struct Dashboard {
    pub process: Process,
    address: String,
}

impl Dashboard {
    pub fn of(topic: &str) -> Dashboard {
        let process = start(&[
            "dashboard",
            "--topic",
            topic,
            "--listen",
            "127.0.0.1:0",
            "--bootstrap-servers",
            kafka(),
        ]);
        let address = wait_for("the dashboard's address", || {
            page_address(&process.stderr())
        });
        Dashboard { process, address }
    }

    /// The picture of now, or of a second ago.
    pub fn snapshot(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = "GET /api/snapshot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (_, body) = reply.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// The first snapshot of which this holds.
    pub fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.snapshot().filter(&holds))
    }
}

/// Writes so many records of a device into a partition, with times that go on from 2023.
pub fn write(topic: &str, partition: i32, device: &str, count: i64) {
    let producer = producer(&[]);
    for n in 0..count {
        let time = 1_700_000_000_000 + n * 10;
        let value = format!(r#"{{"celsius":{n}}}"#);
        let (key, value) = (Some(device.as_bytes()), Some(value.as_bytes()));
        send_record(
            &producer,
            topic,
            partition,
            key,
            value,
            time,
            OwnedHeaders::new(),
        );
    }
    flush(&producer);
}

/// What state it is in.
pub fn kind(snapshot: &Value) -> &str {
    snapshot["now"]["state"]["kind"].as_str().unwrap()
}

/// How many records it has read.
pub fn records(snapshot: &Value) -> u64 {
    snapshot["now"]["records"].as_u64().unwrap()
}
