//! The layers of the crate, kept: who may import whom, read off the source.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// A layer, what of ours it may import beside itself, and which crates it may name that not all may.
struct Layer {
    name: &'static str,
    ours: &'static [&'static str],
    crates: &'static [&'static str],
}

const LEAVES: &[&str] = &[
    "crash",
    "defaults",
    "error",
    "metrics",
    "server",
    "shutdown",
    "telemetry",
];
/// Crates that belong to some layers only.
const GUARDED: &[&str] = &[
    "rdkafka",
    "warp",
    "hyper_util",
    "askama",
    "kafka_protocol",
    "tokio",
    "tracing",
    "prometheus",
];

const LAYERS: &[Layer] = &[
    Layer {
        name: "model",
        ours: &[],
        crates: &[],
    },
    Layer {
        name: "kafka",
        ours: &["model"],
        crates: &["rdkafka", "tokio", "tracing"],
    },
    Layer {
        name: "generate",
        ours: &["model", "kafka"],
        crates: &["tokio", "tracing"],
    },
    Layer {
        name: "brownian",
        ours: &["model", "kafka"],
        crates: &["tokio", "tracing"],
    },
    Layer {
        name: "dashboard",
        ours: &["model", "kafka"],
        crates: &["tokio", "tracing", "warp", "askama"],
    },
    Layer {
        name: "dlq",
        ours: &["model", "kafka"],
        crates: &["tokio", "tracing"],
    },
    Layer {
        name: "broker",
        ours: &[],
        crates: &["tokio", "tracing", "kafka_protocol"],
    },
    Layer {
        name: "up",
        ours: &[],
        crates: &["tokio", "tracing"],
    },
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The identifiers that follow `prefix` wherever it occurs outside of comments.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + prefix.len()..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        is_whole.then_some(&rest[..end])
    })
}

fn is_named(line: &str, krate: &str) -> bool {
    let path = format!("{krate}::");
    names_after(line, &path).next().is_some() || line.trim() == format!("use {krate};")
}

#[test]
fn layers_import_only_what_lies_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for layer in LAYERS {
        let leaves = if layer.name == "model" {
            &[][..]
        } else {
            LEAVES
        };
        for file in sources(&source.join(layer.name)) {
            for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
                let place = format!(
                    "{}:{}",
                    file.strip_prefix(&source).unwrap().display(),
                    number + 1
                );
                let allowed = |name: &str| {
                    name == layer.name
                        || layer.ours.contains(&name)
                        || leaves.contains(&name)
                        || name.is_empty()
                };
                broken.extend(
                    names_after(line, "crate::")
                        .filter(|name| !allowed(name))
                        .map(|name| format!("{place}: crate::{name}")),
                );
                let forbidden =
                    |krate: &&&str| !layer.crates.contains(*krate) && is_named(line, krate);
                broken.extend(
                    GUARDED
                        .iter()
                        .filter(forbidden)
                        .map(|krate| format!("{place}: {krate}")),
                );
            }
        }
    }
    assert!(
        broken.is_empty(),
        "imports against the layers:\n{}",
        broken.join("\n")
    );
}

#[test]
fn model_knows_no_clock_environment_or_file() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model");
    for file in sources(&source) {
        let text = fs::read_to_string(&file).unwrap();
        for forbidden in [
            "std::fs",
            "std::env",
            "std::net",
            "Instant",
            "SystemTime",
            "async fn",
            "async move",
            "println!",
        ] {
            assert!(
                !text.contains(forbidden),
                "{} names {forbidden}",
                file.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in sources(&root.join("src"))
        .into_iter()
        .chain(sources(&root.join("tests")))
    {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} has no module comment on top",
            file.display()
        );
        // Tests are long where there is much to test.
        let is_test =
            !file.starts_with(root.join("src")) || file.to_string_lossy().ends_with("tests.rs");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = if is_test { 0 } else { code.lines().count() };
        assert!(
            lines <= 500,
            "{} has {lines} lines: split it",
            file.display()
        );
    }
}
