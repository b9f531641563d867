//! From what is asked for and what is here to the plan of `up`. Pure.
//!
//! ```text
//!   files ─┬─▶ image ────────▶ load ──────────┐
//!          ├─▶ cluster ─┬─▶ load-kafka ─┐     ├─▶ fireworks ─▶ data
//!          │            ├─▶ nodes ──────┴▶ kafka
//!          └────────────┴─▶ bridge (inside a container)
//! ```
//!
//! Every wait is a command of kubectl's own, so that the plan read as a script waits as well.

use std::path::PathBuf;
use std::time::Duration;

use super::command::Command;
use super::facts::Facts;
use super::files;
use super::plan::{Act, Check, Part, Plan, Step};
use super::settings::{Kafka, Settings};
use super::target::{Cluster, Target};

mod kind;
mod release;
#[cfg(test)]
mod tests;

/// The plan of `up`.
pub fn up(settings: &Settings, facts: &Facts) -> Plan {
    let builder = Builder {
        settings,
        facts,
        target: &settings.target,
    };
    let mut plan = Plan::default();
    plan.steps.push(builder.files());
    match &settings.target.cluster {
        Cluster::Kind { name, network } => builder.kind(name, network, &mut plan),
        Cluster::Existing { context } => plan.steps.push(builder.existing(context)),
    }
    plan.steps.push(builder.namespace());
    if let Kafka::Install { replicas, image } = &settings.kafka {
        plan.steps.push(builder.kafka(*replicas, image));
    }
    plan.steps.push(builder.fireworks());
    plan.steps.push(builder.data());
    // What a step comes after may not be part of this plan.
    let names: Vec<_> = plan.steps.iter().map(|step| step.name).collect();
    for step in &mut plan.steps {
        step.after.retain(|name| names.contains(name));
    }
    plan
}

struct Builder<'a> {
    settings: &'a Settings,
    facts: &'a Facts,
    target: &'a Target,
}

impl Builder<'_> {
    /// The folder of the unpacked files: one for each version of them.
    fn folder(&self) -> PathBuf {
        self.target
            .state
            .join(format!("files-{:016x}", files::hash()))
    }

    fn path(&self, name: &str) -> String {
        self.target.state.join(name).display().to_string()
    }

    fn ourselves(&self) -> Command {
        Command::new(self.settings.executable.display().to_string())
    }

    fn kubectl(&self) -> Command {
        self.target.kubectl()
    }

    fn in_namespace(&self) -> Command {
        self.kubectl()
            .arg(format!("--namespace={}", self.target.namespace))
    }

    fn seconds(&self) -> String {
        format!("--timeout={}s", self.settings.timeout.as_secs().max(1))
    }

    /// Somewhat longer than the command itself waits.
    fn patience(&self) -> Duration {
        self.settings.timeout + Duration::from_secs(15)
    }

    fn files(&self) -> Step {
        let folder = self.folder().display().to_string();
        Step::new("files", "charts and Dockerfile").part(Part::unless(
            [Check::succeeds(Command::new("test").args(["-d", &folder]))],
            [self.ourselves().args(["unpack", &folder])],
        ))
    }

    /// An existing cluster: a private copy of its context.
    fn existing(&self, context: &str) -> Step {
        let view = Command::new("kubectl")
            .args(["config", "view", "--raw", "--minify", "--flatten"])
            .arg(format!("--context={context}"))
            .stdout(self.target.kubeconfig());
        let version = self
            .kubectl()
            .args(["get", "--raw=/readyz"])
            .within(Duration::from_secs(30));
        Step::new("cluster", format!("cluster of the context `{context}`"))
            .part(Part::always([view, version]))
    }

    fn namespace(&self) -> Step {
        let name = &self.target.namespace;
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/part-of": "fireworks", "app.kubernetes.io/managed-by": "fireworks",
                "pod-security.kubernetes.io/enforce": "restricted",
            }}
        });
        Step::new("namespace", format!("namespace `{name}`"))
            .after(&["cluster", "nodes"])
            .part(Part::unless(
                [Check::succeeds(self.kubectl().args([
                    "get",
                    "namespace",
                    name,
                ]))],
                [self
                    .kubectl()
                    .args(["create", "--filename=-"])
                    .stdin(format!("{manifest:#}\n"))],
            ))
    }

    /// A step of a path, seen where the user will look.
    fn data(&self) -> Step {
        let snapshot = match (&self.target.cluster, &self.facts.container) {
            // This kubectl asks the dashboard, not the cluster: it fetches from any server.
            (Cluster::Kind { .. }, None) => Command::new("kubectl")
                .args([
                    "--kubeconfig=/dev/null",
                    &format!(
                        "--server=http://127.0.0.1:{}",
                        port(self.settings, self.facts)
                    ),
                ])
                .args(["get", "--raw=/api/snapshot"]),
            _ => self
                .kubectl()
                .args(["get", &format!("--raw={}/api/snapshot", self.proxy())]),
        };
        Step::new("data", "data at the dashboard")
            .after(&["fireworks"])
            .part(Part::wait(Act::Until {
                command: snapshot.within(Duration::from_secs(10)),
                says: "\"series\":[".into(),
                deadline: self.settings.timeout,
            }))
    }

    /// The dashboard by way of the API server.
    fn proxy(&self) -> String {
        format!(
            "/api/v1/namespaces/{}/services/dashboard:http/proxy",
            self.target.namespace
        )
    }
}

/// The dashboard's port: that of the cluster that is there, or the one asked for.
fn port(settings: &Settings, facts: &Facts) -> u16 {
    facts
        .nodes
        .iter()
        .find_map(|node| node.port)
        .unwrap_or(settings.port)
}

/// Where a browser finds the dashboard, or how to get it there.
pub fn address(settings: &Settings, facts: &Facts) -> String {
    match &settings.target.cluster {
        Cluster::Kind { .. } => format!("http://localhost:{}", port(settings, facts)),
        Cluster::Existing { .. } => {
            let kubectl = settings.target.kubectl();
            let namespace = format!("--namespace={}", settings.target.namespace);
            let forward = kubectl.args([&namespace, "port-forward", "service/dashboard"]);
            let forward = forward.arg(format!("{}:80", settings.port)).line();
            format!("http://localhost:{}, behind: {forward}", settings.port)
        }
    }
}
