//! `fireworks status`: one screen of what runs. It only looks.

use serde::Serialize;
use serde_json::Value;

use super::command::{Command, Runner, System};
use super::facts::{self, Facts};
use super::nodes::{Node, nodes};
use super::pods::{Workload, look, workloads};
use super::target::{Cluster, Target, TargetArgs};
use super::{doctor, print};
use crate::shutdown::Shutdown;

/// Show on one screen what runs: cluster, nodes, bridge, Kafka, pipeline, address.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: TargetArgs,
}

/// What there is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    pub v: u32,
    pub cluster: String,
    /// Why the cluster can't be seen, where it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    pub nodes: Vec<Node>,
    pub bridge: String,
    /// Kafka's and the pipeline's sets of pods.
    pub workloads: Vec<Workload>,
    /// What is being waited for.
    pub waiting: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    /// Advice.
    pub notes: Vec<String>,
}

/// Looks, and prints.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let runner = System::new(shutdown);
    if args.target.dry_run {
        return print(
            &questions(&target)
                .map(|command| format!("{command}\n"))
                .concat(),
        );
    }
    let status = ask(&target, &runner).await;
    print(&if args.target.json {
        serde_json::to_string(&status)? + "\n"
    } else {
        screen(&status)
    })
}

/// Nodes, and the objects of the namespace.
fn questions(target: &Target) -> [Command; 2] {
    let get = |what: &str| {
        target
            .kubectl()
            .args(["get", what, "--output=json", "--request-timeout=5s"])
    };
    let namespace = format!("--namespace={}", target.namespace);
    [
        get("nodes"),
        get("statefulsets,deployments,pods,events").arg(namespace),
    ]
}

async fn ask(target: &Target, runner: &dyn Runner) -> Status {
    let facts = facts::gather(target, &[], 0, runner).await;
    let mut status = Status {
        v: 1,
        cluster: title(target),
        ..Status::default()
    };
    if !target.kubeconfig().exists() {
        let flags = target.short_flags();
        status.trouble = Some(match facts.nodes.is_empty() {
            true => format!("there is none: fireworks up{flags} makes it"),
            false => format!("fireworks up has not finished here: fireworks up{flags} goes on"),
        });
        return status;
    }
    let stopped = facts.nodes.iter().find(|node| !node.is_running);
    if let Some(node) = stopped {
        let flags = target.short_flags();
        status.notes.push(format!(
            "the container {} is stopped: fireworks up{flags} starts it",
            node.name
        ));
    }
    let [of_nodes, of_objects] = questions(target);
    let (of_nodes, of_objects) =
        tokio::join!(answer(runner, &of_nodes), answer(runner, &of_objects));
    match (of_nodes, of_objects) {
        (Ok(of_nodes), Ok(objects)) => describe(&mut status, &of_nodes, &objects, &facts),
        (Err(said), _) | (_, Err(said)) => {
            status.trouble = Some(format!("it does not answer: {said}"))
        }
    }
    status.bridge = bridge(target, &facts, runner).await;
    status
}

async fn answer(runner: &dyn Runner, command: &Command) -> Result<Value, String> {
    let output = runner
        .run(command)
        .await
        .map_err(|error| format!("{error:#}"))?;
    if !output.is_success() {
        return Err(output
            .last_lines()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn title(target: &Target) -> String {
    match &target.cluster {
        Cluster::Kind { name, .. } => format!("kind `{name}`, namespace `{}`", target.namespace),
        Cluster::Existing { context } => {
            format!("context `{context}`, namespace `{}`", target.namespace)
        }
    }
}

fn describe(status: &mut Status, of_nodes: &Value, objects: &Value, facts: &Facts) {
    status.nodes = nodes(of_nodes);
    for release in ["kafka", "fireworks"] {
        status.workloads.extend(workloads(objects, release));
        status.waiting.extend(look(objects, release).reason);
    }
    let port = facts.nodes.iter().find_map(|node| node.port);
    status.dashboard = port.map(|port| format!("http://localhost:{port}"));
    let kubelet = status
        .nodes
        .first()
        .map(|node| node.version.clone())
        .unwrap_or_default();
    let skew = facts
        .kubectl
        .found()
        .and_then(|kubectl| doctor::skew(*kubectl, &kubelet));
    status.notes.extend(skew.map(|row| row.to_string()));
}

/// One line about routes and names.
async fn bridge(target: &Target, facts: &Facts, runner: &dyn Runner) -> String {
    match (&target.cluster, &facts.container) {
        (Cluster::Existing { .. }, _) => "none: not for clusters that were there before".to_owned(),
        (Cluster::Kind { .. }, None) => {
            "none: this is no container; its host is left as it is".to_owned()
        }
        (Cluster::Kind { .. }, Some(_)) => ask_bridge(target, runner).await,
    }
}

/// The bridge is another command of ours, which exchanges bytes to find out.
async fn ask_bridge(target: &Target, runner: &dyn Runner) -> String {
    let Ok(executable) = std::env::current_exe() else {
        return "unknown".to_owned();
    };
    let command = Command::new(executable.display().to_string());
    let command = command.args(["net", "status"]).args(target.flags());
    match runner.run(&command).await {
        Ok(output) if output.is_success() => "routes and names bear".to_owned(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let error = said.lines().find_map(|line| line.strip_prefix("error: "));
            format!(
                "{}: fireworks net up{} mends it",
                error.unwrap_or("it does not bear"),
                target.short_flags()
            )
        }
        Err(error) => format!("{error:#}"),
    }
}

fn screen(status: &Status) -> String {
    let mut lines = vec![format!("Cluster    {}", status.cluster)];
    lines.extend(
        status
            .trouble
            .iter()
            .map(|trouble| format!("           {trouble}")),
    );
    for node in &status.nodes {
        let state = node.trouble.as_deref().unwrap_or("ready");
        let Node {
            name,
            address,
            pod_cidr,
            version,
            ..
        } = node;
        lines.push(format!(
            "  {name:<28} {address:<15} {pod_cidr:<18} {version:<9} {state}"
        ));
    }
    if !status.bridge.is_empty() {
        lines.push(format!("Bridge     {}", status.bridge));
    }
    if !status.workloads.is_empty() {
        lines.push("Pods".to_owned());
    }
    for workload in &status.workloads {
        let Workload {
            name,
            ready,
            wanted,
            restarts,
            image,
        } = workload;
        let restarts = match restarts {
            0 => String::new(),
            1 => "1 restart".to_owned(),
            many => format!("{many} restarts"),
        };
        lines.push(format!(
            "  {name:<12} {ready}/{wanted} ready  {restarts:<12} {image}"
        ));
    }
    lines.extend(
        status
            .waiting
            .iter()
            .map(|reason| format!("  waiting: {reason}")),
    );
    lines.extend(
        status
            .dashboard
            .iter()
            .map(|url| format!("Dashboard  {url}")),
    );
    lines.extend(status.notes.clone());
    lines
        .iter()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_fits_on_one_screen() {
        let node = |name: &str, trouble: Option<&str>| Node {
            name: name.into(),
            address: "172.18.0.2".into(),
            pod_cidr: "10.244.0.0/24".into(),
            version: "v1.34.4".into(),
            trouble: trouble.map(str::to_owned),
        };
        let set = |name: &str, ready, restarts| Workload {
            name: name.into(),
            ready,
            wanted: 3,
            restarts,
            image: "fireworks:0123456789abcdef".into(),
        };
        insta::assert_snapshot!(screen(&Status {
            cluster: "kind `fireworks`, namespace `fireworks`".into(),
            nodes: vec![
                node("fireworks-control-plane", None),
                node("fireworks-worker", Some("its kubelet is silent"))
            ],
            bridge: "none: this is no container; its host is left as it is".into(),
            workloads: vec![set("kafka", 3, 0), set("brownian", 2, 1)],
            waiting: vec!["brownian-2: it is starting".into()],
            dashboard: Some("http://localhost:8080".into()),
            ..Status::default()
        }));
    }
}
