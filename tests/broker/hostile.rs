//! Bytes that no client sends, ports that are taken, and the end.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fireworks::broker::{Broker, Settings};
use rdkafka::consumer::BaseConsumer;

use super::harness::*;

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(bytes.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    frame.extend(bytes);
    frame
}

/// Whether the broker closes the connection after these bytes.
fn is_closed_after(address: SocketAddr, bytes: &[u8]) -> bool {
    let mut socket = TcpStream::connect(address).expect("connected");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    socket.write_all(bytes).expect("written");
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => answer.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn malformed_frames_close_their_connection_and_nothing_else() {
    let broker = Running::embedded();
    broker.create("t", 1, &[]);
    let header = |api: i16, version: i16| {
        let mut bytes = api.to_be_bytes().to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
        bytes
    };
    let with = |mut bytes: Vec<u8>, more: &[u8]| {
        bytes.extend(more);
        framed(&bytes)
    };
    let huge = [0x7f, 0xff, 0xff, 0xff];
    let hostile: HashMap<&str, Vec<u8>> = HashMap::from([
        ("negative length", vec![0xff; 4]),
        ("two gigabytes", huge.to_vec()),
        (
            "http",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        ("too short", framed(&[0, 3])),
        ("unknown api", with(header(999, 0), &[])),
        ("unsupported version", with(header(1, 99), &[0; 30])),
        ("no body", with(header(3, 1), &[])),
        ("array of two thousand million", with(header(3, 1), &huge)),
        (
            "compact array of four thousand million",
            with(header(3, 9), &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
        (
            "text beyond the end",
            with(header(10, 0), &[0x7f, 0xff, b'g']),
        ),
        ("not utf-8", with(header(10, 0), &[0, 2, 0xff, 0xfe])),
        (
            "client id beyond the end",
            framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff]),
        ),
        (
            "records of two gigabytes",
            with(
                header(0, 3),
                &[
                    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0,
                    0, 0, 0x7f, 0xff, 0xff, 0xff,
                ],
            ),
        ),
    ]);
    for (what, bytes) in &hostile {
        assert!(is_closed_after(broker.socket(), bytes), "{what}");
    }
    // A frame that announces much and stops holds nothing up.
    let mut slow = TcpStream::connect(broker.socket()).expect("connected");
    slow.write_all(&[0x05, 0, 0, 0, 0, 0, 0, 3])
        .expect("written");
    let producer = broker.producer(&[]);
    send(&producer, "t", 0, "k", "still here");
    settle(&producer);
    assert_eq!(
        values(&broker.reader("t", 0, "read_committed"), 1, LONG),
        ["still here"]
    );
}

#[test]
fn records_that_lie_are_refused_and_the_connection_lives() {
    let broker = Running::embedded();
    broker.create("t", 1, &[]);
    // Produce 3, acks 1, topic t, partition 0, records of magic 1: refused with INVALID_RECORD.
    let mut request = vec![
        0, 0, 0, 3, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 100,
    ];
    request.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 61]);
    let mut batch = vec![0; 61];
    batch[16] = 1;
    request.extend(&batch);
    let mut socket = TcpStream::connect(broker.socket()).expect("connected");
    socket.set_read_timeout(Some(LONG)).expect("a timeout");
    for magic in [1, 2] {
        let last = request.len() - 61 + 16;
        request[last] = magic;
        socket.write_all(&framed(&request)).expect("written");
        let mut length = [0; 4];
        socket.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut answer).expect("an answer");
        let error = i16::from_be_bytes([answer[19], answer[20]]);
        assert_eq!(error, if magic == 1 { 87 } else { 2 });
    }
}

#[test]
fn taken_port_and_foreign_address_are_errors_that_name_the_flag() {
    let broker = Running::embedded();
    let settings = Settings {
        listen: broker.socket(),
        ..Settings::on_free_port()
    };
    let error = broker
        .runtime
        .block_on(Broker::bind(settings))
        .expect_err("the port is taken");
    let report = fireworks::error::report(&error);
    assert!(
        report.contains(&broker.socket().to_string()) && report.contains("--listen"),
        "{report}"
    );
}

#[test]
fn shutdown_is_quick_however_many_clients_wait() {
    let mut broker = Running::embedded();
    broker.create("t", 1, &[]);
    let readers: Vec<BaseConsumer> = (0..5)
        .map(|_| broker.reader("t", 0, "read_committed"))
        .collect();
    let _idle = TcpStream::connect(broker.socket()).expect("connected");
    for reader in &readers {
        assert!(reader.poll(Duration::from_millis(100)).is_none());
    }
    let took = broker.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
