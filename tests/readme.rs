//! The README, done as it says: its commands under "Try it", in an empty folder, in their order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::*;

/// A shell that finds our binary first, and a Kafka and free ports where the README has the usual ones.
fn shell(directory: &Path, kafka: &str, line: &str) -> Command {
    let binaries = Path::new(env!("CARGO_BIN_EXE_fireworks")).parent().unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command
        .args(["-c", &line.replace("127.0.0.1:9092", kafka)])
        .current_dir(directory)
        .env("PATH", path)
        .env("FIREWORKS_BOOTSTRAP_SERVERS", kafka)
        .env("FIREWORKS_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null());
    command
}

/// The lines behind `$ ` of a section.
fn commands(section: &str) -> Vec<String> {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("$ ").map(str::to_owned))
        .collect()
}

fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

#[test]
fn what_the_readme_says_to_try_works() {
    let directory = tempfile::tempdir().unwrap();
    let kafka = embedded();
    let has_kcat = is_there("kcat");
    let mut done = Vec::new();
    for line in commands("Try it") {
        let program = line
            .split(' ')
            .find(|word| ["fireworks", "kcat", "cargo"].contains(word))
            .unwrap_or("sh");
        let ends = line.contains("--batches")
            || line.contains("--until-end")
            || line.contains(" dlq ")
            || line.contains("completions");
        match program {
            "kcat" if !has_kcat => continue,
            "cargo" => continue,
            "fireworks" if !ends => {
                let line = line.replace("127.0.0.1:9464", "127.0.0.1:0");
                let words: Vec<_> = line.split(' ').skip(1).collect();
                let mut process = start_with(
                    &words,
                    &[
                        ("FIREWORKS_BOOTSTRAP_SERVERS", kafka),
                        ("FIREWORKS_LISTEN", "127.0.0.1:0"),
                    ],
                );
                wait_for("its first words", || {
                    (!process.stderr().is_empty()).then_some(())
                });
                assert!(process.is_running(), "{line}: {}", process.stderr());
                process.signal(Signal::INT);
                let outcome = process.wait();
                assert_eq!(outcome.status.code(), Some(0), "{line}: {}", outcome.stderr);
            }
            _ => {
                let output = shell(directory.path(), kafka, &line).output().unwrap();
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{line}: {stderr}");
                if program == "kcat" && line.contains(" -C") {
                    assert!(!output.stdout.is_empty(), "{line} shows nothing: {stderr}");
                }
            }
        }
        done.push(line);
    }
    assert!(
        done.len() >= 8,
        "the README has lost its commands: {done:?}"
    );
    assert!(directory.path().join("fireworks.bash").exists());
}
