//! The dashboard on a real port, without a Kafka: it is up, says so, and ends at once.

use std::time::{Duration, Instant};

use clap::Parser;
use fireworks::dashboard::{Args, Dashboard};
use fireworks::error::report;
use fireworks::shutdown::{Shutdown, Trigger};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn args(more: &[&str]) -> Args {
    // Port 1 is nobody's: connections to it are refused at once.
    let mut typed = vec!["dashboard", "--bootstrap-servers", "127.0.0.1:1"];
    typed.extend(if more.contains(&"--listen") {
        &[][..]
    } else {
        &["--listen", "127.0.0.1:0"]
    });
    typed.extend(more);
    Command::parse_from(typed).args
}

struct Running {
    address: String,
    trigger: Trigger,
    task: JoinHandle<anyhow::Result<()>>,
}

async fn run() -> Running {
    let settings = args(&[]).settings().expect("valid flags");
    let dashboard = Dashboard::bind(settings).await.expect("a free port");
    let address = dashboard.local_addr().to_string();
    let (trigger, shutdown) = Shutdown::manual();
    let task = tokio::spawn(dashboard.serve(shutdown));
    Running {
        address,
        trigger,
        task,
    }
}

/// Opens a connection and asks; whatever comes stays to be read.
async fn ask(running: &Running, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&running.address)
        .await
        .expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    stream
}

/// Reads until the text is there.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let found = async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&read).contains(text) {
            let n = stream
                .read(&mut buffer)
                .await
                .expect("a connection that lives");
            assert_ne!(n, 0, "no `{text}` in {}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(DEADLINE, found)
        .await
        .unwrap_or_else(|_| panic!("no `{text}` in time"));
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_is_up_without_kafka_and_the_stream_says_why_it_is_empty() {
    let running = run().await;
    let page = read_until(&mut ask(&running, "/").await, "</html>").await;
    assert!(
        page.contains("200 OK") && page.contains("content-security-policy"),
        "{page}"
    );
    let mut stream = ask(&running, "/api/stream").await;
    read_until(
        &mut stream,
        r#""state":{"kind":"down","cause":"no broker answers"}"#,
    )
    .await;
    read_until(&mut ask(&running, "/readyz").await, "200 OK").await;
    running.trigger.request();
    running.task.await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_streams_as_whole_replies_and_waits_for_no_half_sent_request() {
    let running = run().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = ask(&running, "/api/stream").await;
        read_until(&mut stream, "data: ").await;
        streams.push(stream);
    }
    let mut half = TcpStream::connect(&running.address)
        .await
        .expect("a connection");
    half.write_all(b"GET / HTTP/1.1\r\nHos")
        .await
        .expect("half a request");
    let began = Instant::now();
    running.trigger.request();
    running.task.await.expect("no panic").expect("a clean end");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        began.elapsed()
    );
    // A stream ends as a whole reply does, so that a browser knows that nothing was cut off.
    read_until(&mut streams[0], "0\r\n\r\n").await;
}

#[tokio::test]
async fn taken_port_is_an_error_that_names_the_flag_and_the_remedy() {
    let first = Dashboard::bind(args(&[]).settings().expect("valid flags"))
        .await
        .expect("a port");
    let taken = first.local_addr().to_string();
    let settings = args(&["--listen", &taken]).settings().expect("valid flags");
    let error = Dashboard::bind(settings)
        .await
        .expect_err("the port is taken");
    assert_eq!(
        report(&error),
        format!(
            "error: failed to serve the dashboard on --listen `{taken}`: Address already in use \
             (os error 98)\nhelp: another program may have the port: pass --listen 127.0.0.1:0 for \
             a free one"
        )
    );
}

#[test]
fn what_was_typed_is_checked_before_anything_happens() {
    let error = |more: &[&str]| report(&args(more).settings().expect_err("invalid"));
    assert!(error(&["--topic", "a b"]).starts_with("error: invalid --topic `a b`\nhelp: "));
    assert!(error(&["--window", "0s"]).contains("invalid --window: 0s"));
    for refresh in ["0ms", "49ms", "1001ms", "1m"] {
        assert!(error(&["--refresh", refresh]).contains("is not between 50ms and 1s"));
    }
    for refresh in ["50ms", "1s"] {
        args(&["--refresh", refresh]).settings().expect("a bound");
    }
}
