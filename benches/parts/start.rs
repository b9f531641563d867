//! How long it takes until there is something to see.

use std::io::Read;
use std::time::Instant;

use super::dashboard;
use crate::Scope;
use crate::process::{Running, fireworks};
use crate::report::{Part, Row};
use crate::support::{page_address, wait_for};

/// Starts that are measured for a figure.
const STARTS: usize = 20;

pub fn measure(scope: &Scope) -> Part {
    let versions = (0..scope.runs).map(|_| version()).collect();
    let pictures = (0..scope.runs).map(|_| demo()).collect();
    let rows = vec![
        Row::limited("`fireworks --version`", "ms", versions, 5.0),
        Row::limited(
            "`fireworks demo`, to the first picture",
            "ms",
            pictures,
            1000.0,
        ),
    ];
    let about = format!(
        "`--version` is the median of {STARTS} starts, each from its fork to its end. The first picture is the first\n\
         message of a page's stream that has steps in it; the process writes five minutes of history before."
    );
    Part::new("Starting", &about, rows)
}

fn version() -> f64 {
    let once = |_| {
        let began = Instant::now();
        let output = fireworks(&["--version"]).output().unwrap();
        assert!(output.status.success());
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<_> = (0..STARTS).map(once).collect();
    times.sort_by(f64::total_cmp);
    times[STARTS / 2]
}

fn demo() -> f64 {
    let began = Instant::now();
    let ports = ["--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"];
    let demo = Running::start("demo", fireworks(&[&["demo"], &ports[..]].concat()));
    let page = wait_for("the page's address", || page_address(&demo.log()));
    // As a page follows it: the stream tells of the state when it changes.
    let mut stream = dashboard::follow(&page);
    let mut told = String::new();
    let mut buffer = [0; 64 * 1024];
    while !told.contains("\"kind\":\"live\"") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the stream has ended:\n{}", demo.log());
        told += &String::from_utf8_lossy(&buffer[..read]);
    }
    let took = began.elapsed();
    demo.stop();
    took.as_secs_f64() * 1e3
}
