//! `fireworks logs`: what the pods said last, or all evidence in one file.
//!
//! Secrets are never asked for, and what looks like one in what others said is taken out line by line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::command::{Command, Runner, System};
use super::print;
use super::target::{Cluster, PART_OF, Target, TargetArgs};
use crate::shutdown::Shutdown;

/// Show what the pipeline and Kafka said last, or collect all evidence in one file.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: TargetArgs,

    /// Collect logs, events, objects and the state of this machine in this file (.tar.gz), secrets left out
    #[arg(long, value_name = "FILE", env = "FIREWORKS_BUNDLE")]
    pub bundle: Option<PathBuf>,
}

/// A question may hang where the cluster is dead: the bundle goes on without it.
const EACH: Duration = Duration::from_secs(30);

/// Prints, or writes the bundle.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let runner = System::new(shutdown);
    let questions = match &args.bundle {
        Some(_) => evidence(&target),
        None => vec![("logs".to_owned(), tail(&target, 20))],
    };
    if args.target.dry_run {
        return print(
            &questions
                .iter()
                .map(|(_, command)| format!("{command}\n"))
                .collect::<String>(),
        );
    }
    let Some(file) = &args.bundle else {
        let (_, command) = &questions[0];
        let output = runner.succeed(command).await?;
        return print(&redacted(&output.text()));
    };
    let count = questions.len();
    let folder = target.state.join("bundle");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to make `{}`", folder.display()))?;
    let outcome = collect(&questions, &folder, file, &runner).await;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("failed to remove `{}`", folder.display()))?;
    outcome?;
    print(&format!(
        "{}: {count} answers. Look through it before you pass it on.\n",
        file.display()
    ))
}

/// Asks everything and packs the answers, those that failed too.
async fn collect(
    questions: &[(String, Command)],
    folder: &Path,
    file: &Path,
    runner: &dyn Runner,
) -> anyhow::Result<()> {
    for (name, command) in questions {
        let said = match runner.run(command).await {
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                format!("{}{errors}\n(exit code {})\n", output.text(), output.code)
            }
            Err(error) => format!("{error:#}\n"),
        };
        let text = redacted(&format!("$ {}\n{said}", command.line()));
        let path = folder.join(format!("{name}.txt"));
        std::fs::write(&path, text)
            .with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    let above = folder.parent().unwrap_or(folder).display().to_string();
    let file = std::path::absolute(file)?.display().to_string();
    let pack = Command::new("tar").args(["-czf", &file, "-C", &above, "bundle"]);
    runner.succeed(&pack).await.map(drop)
}

fn tail(target: &Target, lines: u32) -> Command {
    let namespace = format!("--namespace={}", target.namespace);
    let (selector, tail) = (format!("--selector={PART_OF}"), format!("--tail={lines}"));
    target.kubectl().args([
        "logs",
        &namespace,
        &selector,
        &tail,
        "--prefix",
        "--ignore-errors",
        "--max-log-requests=50",
    ])
}

/// What is asked for a bundle, each with the name of its file.
fn evidence(target: &Target) -> Vec<(String, Command)> {
    let namespace = format!("--namespace={}", target.namespace);
    let kubectl = |args: &[&str]| {
        target
            .kubectl()
            .arg("--request-timeout=10s")
            .args(args.iter().copied())
    };
    let ours = |args: &[&str]| kubectl(args).arg(&namespace);
    let mut questions = vec![
        ("versions-docker", Command::new("docker").arg("version")),
        ("versions-kind", Command::new("kind").arg("version")),
        ("versions-helm", Command::new("helm").arg("version")),
        ("versions-kubectl", kubectl(&["version"])),
        ("engine", Command::new("docker").arg("info")),
        ("containers", Command::new("docker").args(["ps", "--all"])),
        ("routes", Command::new("cat").arg("/proc/net/route")),
        ("resolver", Command::new("cat").arg("/etc/resolv.conf")),
        ("nodes", kubectl(&["get", "nodes", "--output=wide"])),
        ("nodes-described", kubectl(&["describe", "nodes"])),
        (
            "system-pods",
            kubectl(&["get", "pods", "--all-namespaces", "--output=wide"]),
        ),
        // Not secrets: their values are in there.
        (
            "objects",
            ours(&[
                "get",
                "statefulsets,deployments,pods,services,persistentvolumeclaims,networkpolicies",
                "--output=yaml",
            ]),
        ),
        ("pods-described", ours(&["describe", "pods"])),
        (
            "events",
            ours(&["get", "events", "--sort-by=.lastTimestamp"]),
        ),
        ("releases", target.helm().args(["list", "--all"])),
        ("logs", tail(target, 5_000)),
        ("logs-previous", tail(target, 1_000).arg("--previous")),
    ];
    if let Cluster::Kind { name, network } = &target.cluster {
        questions.push((
            "network",
            Command::new("docker").args(["network", "inspect", network]),
        ));
        let node = format!("{name}-control-plane");
        questions.push((
            "control-plane",
            Command::new("docker").args(["logs", "--tail=500", &node]),
        ));
        let journal = [
            "exec",
            &node,
            "journalctl",
            "--no-pager",
            "--lines=500",
            "--unit=kubelet",
        ];
        questions.push(("kubelet", Command::new("docker").args(journal)));
    }
    let named = questions
        .into_iter()
        .map(|(name, command)| (name.to_owned(), command.within(EACH)));
    named.collect()
}

/// Names whose values nobody else should read.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "sasl.username",
    "api_key",
    "apikey",
    "private",
];

/// A text in which the values of lines that name a secret are taken out.
fn redacted(text: &str) -> String {
    text.lines()
        .map(|line| redacted_line(line) + "\n")
        .collect()
}

fn redacted_line(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let at = SECRET
        .iter()
        .filter_map(|name| Some(lower.find(name)? + name.len()))
        .min();
    let Some(at) = at else { return line.to_owned() };
    match line[at..].find(['=', ':']) {
        Some(separator) => format!("{}[redacted]", &line[..=at + separator]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Recorder, fails, says};
    use super::*;

    #[test]
    fn values_of_secrets_are_taken_out_and_the_rest_stays() {
        for (line, left) in [
            (
                "sasl.password=hunter2 sasl.username=bob",
                "sasl.password=[redacted]",
            ),
            (
                "  FIREWORKS_X: sasl.mechanism=PLAIN\\nsasl.Password = a:b",
                "  FIREWORKS_X: sasl.mechanism=PLAIN\\nsasl.Password =[redacted]",
            ),
            ("{\"token\":\"eyJ\"}", "{\"token\":[redacted]"),
            ("steps=12 readings=12", "steps=12 readings=12"),
            ("a secret", "a secret"),
        ] {
            assert_eq!(redacted_line(line), left);
        }
    }

    fn target(state: &Path) -> Target {
        Target {
            cluster: Cluster::Kind {
                name: "a".into(),
                network: "kind".into(),
            },
            namespace: "fireworks".into(),
            state: state.into(),
        }
    }

    #[test]
    fn secrets_are_never_asked_for() {
        for (name, command) in evidence(&target(Path::new("/state"))) {
            let line = command.line();
            assert!(
                !line.contains("secret")
                    && !line.contains("helm get")
                    && !line.contains("config view"),
                "{name}: {line}"
            );
        }
    }

    #[tokio::test]
    async fn bundle_holds_what_failed_too_and_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(|command| match command.program.as_str() {
            "docker" => fails(1, "Cannot connect to the Docker daemon"),
            _ => says("sasl.password=hunter2\n"),
        });
        let questions = evidence(&target(folder.path()));
        collect(
            &questions,
            folder.path(),
            Path::new("bundle.tar.gz"),
            &recorder,
        )
        .await
        .unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("engine.txt").contains("Cannot connect to the Docker daemon\n(exit code 1)"));
        assert_eq!(
            questions.len(),
            std::fs::read_dir(folder.path()).unwrap().count()
        );
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            assert!(
                !std::fs::read_to_string(entry.unwrap().path())
                    .unwrap()
                    .contains("hunter2")
            );
        }
        assert!(recorder.lines().last().unwrap().starts_with("tar -czf "));
    }
}
