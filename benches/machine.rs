//! What it was measured on, and with what.

use std::process::Command;

use crate::process::root;

/// Names and versions, a line each.
pub fn facts() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pom = std::fs::read_to_string(root().join("tests/kafka/pom.xml")).unwrap();
    vec![
        format!("Fireworks {} at {}", env!("CARGO_PKG_VERSION"), commit()),
        format!("{cores} cores: {}", processor()),
        format!(
            "{}, {}",
            said("uname", &["-sr"]),
            said("rustc", &["--version"])
        ),
        format!(
            "librdkafka {}; Apache Kafka {} on {}, both on this machine",
            rdkafka::util::get_rdkafka_version().1,
            version_in(&pom).unwrap_or("of unknown version"),
            said("java", &["-version"])
        ),
    ]
}

fn commit() -> String {
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]);
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    // The page itself changes with every run.
    let is_clean = changed.is_empty() || changed.trim() == "M benches/BENCHMARKS.md";
    if is_clean {
        commit
    } else {
        format!("{commit} with changes")
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    model.map_or("unknown".into(), |model| {
        model.trim_matches([' ', '\t', ':']).to_owned()
    })
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
    else {
        return format!("no {program}");
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn version_in(pom: &str) -> Option<&str> {
    let (_, rest) = pom.split_once("<artifactId>kafka_2.13</artifactId>")?;
    let (_, rest) = rest.split_once("<version>")?;
    Some(rest.split_once('<')?.0)
}

/// Today.
pub fn date() -> String {
    said("date", &["-u", "+%Y-%m-%d"])
}
