//! `fireworks down`: removes what `up` made and nothing else. Done twice, it finds nothing the second time.
//!
//! What is ours is found by labels: on the control plane's node, the docker network, the namespace, the volumes.
//! A kind cluster or a namespace of the same name that lacks them is left alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::command::{Command, Runner, Stopped, System};
use super::facts::{self, Facts, Tool};
use super::lock::Lock;
use super::meter::Meter;
use super::plan::{Check, Part, Plan, Step};
use super::report::{Done, Event, seconds};
use super::run::{self, Outcome, Stage};
use super::target::{Cluster, PART_OF, Target, TargetArgs};
use super::{files, guard, print, reporter, trouble};
use crate::error::{self, Help};
use crate::shutdown::Shutdown;

/// Remove what `up` made: the bridge first, then the cluster; on an existing cluster, the pipeline and Kafka.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: TargetArgs,
}

const DELETE: Duration = Duration::from_secs(300);

/// Removes it all, or prints what would be done.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let (halt, running) = shutdown.child();
    let meter = Meter::new(System::new(running));
    let facts = facts::gather(&target, &[], 0, &meter).await;
    if shutdown.is_requested() {
        return Err(trouble::explain(Stopped.into(), &target));
    }
    let executable = std::env::current_exe()?.display().to_string();
    let plan = plan(&target, &facts, &executable);
    if args.target.dry_run {
        return print(&plan.script());
    }
    let report = reporter(args.target.json);
    let stage = Stage {
        runner: Arc::new(meter.clone()),
        undo: Arc::new(System::unstoppable()),
        halt,
        report: report.clone(),
    };
    let outcome = async {
        if let Tool::Broken(said) = &facts.docker {
            return Err(anyhow!("the docker engine does not answer: {said}"));
        }
        if let (Cluster::Existing { .. }, Tool::Found(_)) = (&target.cluster, &facts.context) {
            guard::allow(&target, &facts, args.target.yes, &report)?;
        }
        is_ours(&target, &facts, &meter).await?;
        let _lock = Lock::take(&target.state)?;
        tokio::select! {
            outcome = run::run(&plan, &stage) => outcome,
            () = report.live() => unreachable!("signs of life never end"),
        }
    };
    match outcome
        .await
        .map_err(|error| trouble::explain(error, &target))
    {
        Ok(outcome) => {
            let changed = outcome == Outcome::Changed;
            let elapsed_ms = meter.elapsed().as_millis();
            let words = match changed {
                true => format!(
                    "All of it is removed, after {}. Images stay with docker.\n",
                    seconds(elapsed_ms)
                ),
                false => "There is nothing to remove.\n".to_owned(),
            };
            report.send(&Event::Done(Done {
                changed,
                dashboard: None,
                elapsed_ms,
                own_ms: meter.own().as_millis(),
            }));
            if args.target.json {
                Ok(())
            } else {
                print(&words)
            }
        }
        Err(error) => {
            report.send(&Event::Error {
                error: error::report(&error),
            });
            Err(error)
        }
    }
}

/// Refuses a kind cluster of that name that somebody else made.
async fn is_ours(target: &Target, facts: &Facts, runner: &dyn Runner) -> anyhow::Result<()> {
    let Cluster::Kind { name, .. } = &target.cluster else {
        return Ok(());
    };
    if let Some(said) = &facts.nodes_trouble {
        return Err(anyhow!(
            "it can't be told whose cluster `{name}` is: {said}"
        ))
        .help(|| "nothing was removed; see what is wrong: fireworks doctor".into());
    }
    if facts.nodes.is_empty() {
        return Ok(());
    }
    // One that we were interrupted in making may have no configuration yet.
    if target.state.join("creating").exists() {
        return Ok(());
    }
    let foreign = || {
        Err(anyhow!(
            "the kind cluster `{name}` was not made by fireworks up"
        ))
        .help(|| format!("remove it yourself: kind delete cluster --name {name}"))
    };
    let Some(control_plane) = facts.nodes.iter().find(|node| node.is_control_plane) else {
        // What a `down` that was interrupted has left has no more to say for itself; our folder has.
        return match target.kubeconfig().exists() {
            true => Ok(()),
            false => foreign(),
        };
    };
    // kubeadm's configuration holds the node's labels, and can be read off a container that is stopped. How it is
    // written there changes with kubeadm's version.
    let file = format!("{}:/kind/kubeadm.conf", control_plane.name);
    let command = Command::new("docker").args(["cp", &file, "-"]);
    let output = runner.run(&command).await?;
    if output.is_success() && output.text().contains(files::NODE_LABEL) {
        return Ok(());
    }
    foreign()
}

/// The plan of `down`.
pub fn plan(target: &Target, facts: &Facts, executable: &str) -> Plan {
    let mut steps = Vec::new();
    match &target.cluster {
        Cluster::Kind { name, network } => {
            if facts.container.is_some() || facts.has_bridge_on_host {
                steps.push(bridge(target, executable));
            }
            steps.push(cluster(target, name));
            steps.push(docker_network(network));
        }
        Cluster::Existing { context } => steps.push(existing(target, context)),
    }
    let state = target.state.display().to_string();
    let folder = Step::new("state", "folder of this cluster");
    steps.push(folder.part(Part::always([Command::new("rm").args(["-rf", &state])])));
    Plan { steps }.in_sequence()
}

/// A bridge is there where it left something to put back.
fn bridge(target: &Target, executable: &str) -> Step {
    let down = Command::new(executable)
        .args(["net", "down"])
        .args(target.flags());
    Step::new("bridge", "names and routes as before").part(Part::always([down]))
}

fn cluster(target: &Target, name: &str) -> Step {
    let list = Command::new("docker").args([
        "ps",
        "--all",
        "--quiet",
        &format!("--filter=label=io.x-k8s.kind.cluster={name}"),
    ]);
    let kubeconfig = format!("--kubeconfig={}", target.kubeconfig().display());
    let delete =
        Command::new("kind").args(["delete", "cluster", &format!("--name={name}"), &kubeconfig]);
    Step::new("cluster", format!("kind cluster `{name}`")).part(Part::unless(
        [Check::is_empty(list)],
        [delete.within(DELETE)],
    ))
}

/// The network goes where it carries our label and nobody else is on it.
fn docker_network(network: &str) -> Step {
    let inspect = Command::new("docker").args(["network", "inspect"]);
    let labels = inspect.args([
        "--format={{json .Labels}} used by {{len .Containers}}",
        network,
    ]);
    let ours = Check::says(
        labels.clone(),
        "\"app.kubernetes.io/part-of\":\"fireworks\"",
    );
    let remove = Command::new("docker").args(["network", "rm", network]);
    Step::new("network", format!("docker network `{network}`")).part(Part::when(
        [ours, Check::says(labels, " used by 0")],
        [remove],
    ))
}

/// On an existing cluster: the releases, Kafka's volumes, and the namespace if we made it.
fn existing(target: &Target, context: &str) -> Step {
    let view = Command::new("kubectl")
        .args(["config", "view", "--raw", "--minify", "--flatten"])
        .arg(format!("--context={context}"))
        .stdout(target.kubeconfig());
    let namespace = format!("--namespace={}", target.namespace);
    let label = format!("--selector={PART_OF}");
    let mut step = Step::new(
        "releases",
        format!("pipeline and Kafka in `{}`", target.namespace),
    );
    step = step.part(Part::always([view]));
    for release in ["fireworks", "kafka"] {
        let ours = Check::says(
            target.helm().args(["status", release, "--output=json"]),
            "fireworks-up-",
        );
        step = step.part(Part::when(
            [ours],
            [target.helm().args(["uninstall", release]).within(DELETE)],
        ));
    }
    let volumes = |verb: &str| {
        target
            .kubectl()
            .args([verb, "persistentvolumeclaims", &namespace, &label])
    };
    let names = |noun: &str| {
        let field = format!("--field-selector=metadata.name={}", target.namespace);
        target
            .kubectl()
            .args(["get", noun, &label, &field, "--output=name"])
    };
    step.part(Part::unless(
        [Check::is_empty(volumes("get").arg("--output=name"))],
        [volumes("delete").within(DELETE)],
    ))
    .part(Part::unless(
        [Check::is_empty(names("namespaces"))],
        [target
            .kubectl()
            .args(["delete", "namespace", &target.namespace])
            .within(DELETE)],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::facts::NodeContainer;
    use super::super::recorder::{Recorder, says};
    use super::*;

    fn target() -> Target {
        Target {
            cluster: Cluster::Kind {
                name: "a".into(),
                network: "kind".into(),
            },
            namespace: "fireworks".into(),
            state: "/nowhere".into(),
        }
    }

    fn facts(is_control_plane: bool) -> Facts {
        Facts {
            nodes: vec![NodeContainer {
                name: "a-node".into(),
                is_running: false,
                is_control_plane,
                port: None,
                image: String::new(),
            }],
            ..Facts::default()
        }
    }

    #[tokio::test]
    async fn cluster_of_ours_is_known_by_its_label_however_kubeadm_writes_it() {
        for (said, is_ours_too) in [
            (
                "kubeletExtraArgs:\n  node-labels: part-of=fireworks\n",
                true,
            ),
            ("- name: node-labels\n  value: part-of=fireworks\n", true),
            ("- name: node-labels\n  value: \"\"\n", false),
        ] {
            let runner = Recorder::new(move |_| says(said));
            let outcome = is_ours(&target(), &facts(true), &runner).await;
            assert_eq!(outcome.is_ok(), is_ours_too, "{said}");
        }
    }

    #[tokio::test]
    async fn cluster_that_can_not_be_asked_is_left_alone() {
        let runner = Recorder::new(|_| says("part-of=fireworks"));
        let silent = Facts {
            nodes_trouble: Some("took longer than 10s".into()),
            ..Facts::default()
        };
        let error = is_ours(&target(), &silent, &runner).await.unwrap_err();
        assert_eq!(
            error::report(&error),
            "error: it can't be told whose cluster `a` is: took longer than 10s\n\
             help: nothing was removed; see what is wrong: fireworks doctor"
        );
        // Workers alone, and no folder of ours.
        assert!(is_ours(&target(), &facts(false), &runner).await.is_err());
    }

    #[test]
    fn bridge_is_undone_in_a_container_and_on_a_host_that_has_one() {
        let names = |facts: &Facts| {
            let plan = plan(&target(), facts, "fireworks");
            plan.steps.iter().map(|step| step.name).collect::<Vec<_>>()
        };
        let with_bridge = ["bridge", "cluster", "network", "state"];
        let on_host = Facts {
            has_bridge_on_host: true,
            ..Facts::default()
        };
        let inside = Facts {
            container: Some("c0ffee".into()),
            ..Facts::default()
        };
        assert_eq!(names(&on_host), with_bridge);
        assert_eq!(names(&inside), with_bridge);
        assert_eq!(names(&Facts::default()), with_bridge[1..]);
    }
}
