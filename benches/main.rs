//! What it costs, beside its peers and its limits, measured in one run on the machine at hand.
//!
//! `make bench` runs every part and writes `benches/BENCHMARKS.md`; `make bench PARTS="processor restore"` runs
//! some, and keeps what the page says of the others. A part asserts that what came out is right, and no figure:
//! those are printed beside their target, for whoever reads them. It runs on the Apache Kafka that
//! `tests/kafka/run` has started. By environment:
//!
//! - `FIREWORKS_BENCH_RUNS` (3): how often each thing is measured, in turn with what stands beside it;
//! - `FIREWORKS_BENCH_MESSAGES` (3000000): how many readings are processed.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(clippy::print_stdout, reason = "the figures are its output")]

mod kafka;
mod load;
mod machine;
mod parts;
mod process;
mod report;
#[path = "../tests/support/mod.rs"]
mod support;

use report::Page;

/// What every part is told.
#[derive(Debug)]
pub struct Scope {
    /// How often each thing is measured.
    pub runs: usize,
    /// How many readings are processed.
    pub messages: usize,
}

fn main() {
    // Cargo passes flags of its own.
    let named: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let known = parts::ALL.map(|(name, _)| name);
    for name in &named {
        assert!(
            known.contains(&name.as_str()),
            "there is no part `{name}`, only {}",
            known.join(", ")
        );
    }
    let scope = Scope {
        runs: number("FIREWORKS_BENCH_RUNS").unwrap_or(3),
        messages: number("FIREWORKS_BENCH_MESSAGES").unwrap_or(3_000_000),
    };
    for (name, measure) in parts::ALL {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            println!("──── {name}");
            let part = measure(&scope);
            print!("{}", part.text());
            part.keep(name);
        }
    }
    let page = Page::of(&known);
    page.write();
    println!("──── {}", page.summary());
}

fn number(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not `{value}`")),
    )
}
