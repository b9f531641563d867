//! What `up` needs of this machine, row by row: pass, warn or fail, and the remedy. Pure judgement of facts.

use std::fmt;

use anyhow::anyhow;
use serde::Serialize;

use super::command::{Stopped, System};
use super::facts::{self, Docker, Facts, Tool, Version, first_version};
use super::machine::overlap;
use super::target::{Cluster, TargetArgs};
use super::{files, print};
use crate::error::Help;
use crate::shutdown::Shutdown;

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub verdict: Verdict,
    pub said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Pass => "✓",
            Verdict::Warn => "!",
            Verdict::Fail => "✗",
        };
        write!(f, "{mark} {}: {}", self.name, self.said)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n    help: {remedy}"),
            None => Ok(()),
        }
    }
}

/// Check what `up` needs of this machine, and say what to do where it is missing.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub target: TargetArgs,

    /// The port of this machine that shows the dashboard
    #[arg(long, env = "FIREWORKS_PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
}

/// Looks, and prints a row a check. An error where `up` could not work.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let target = args.target.target()?;
    let stopped = shutdown.clone();
    let facts = facts::gather(&target, &[], args.port, &System::new(shutdown)).await;
    if stopped.is_requested() {
        return Err(Stopped.into());
    }
    let wish = Wish {
        is_kind: matches!(target.cluster, Cluster::Kind { .. }),
        // Those that are there are as many as are wanted.
        nodes: match facts.nodes.len() as u64 {
            0 => 4,
            nodes => nodes,
        },
        brokers: 1,
        has_spark: false,
        port: args.port,
        node_image: None,
    };
    let rows = rows(&facts, &wish);
    let text = match args.target.json {
        true => serde_json::json!({"v": 1, "rows": rows}).to_string() + "\n",
        false => rows.iter().map(|row| format!("{row}\n")).collect(),
    };
    print(&text)?;
    match rows.into_iter().find(|row| row.verdict == Verdict::Fail) {
        None => Ok(()),
        Some(row) => {
            Err(anyhow!("{}: {}", row.name, row.said)).help(|| row.remedy.unwrap_or_default())
        }
    }
}

/// What is asked of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// A kind cluster on this machine's engine, or one that is elsewhere.
    pub is_kind: bool,
    /// Nodes of the cluster, the control plane included.
    pub nodes: u64,
    pub brokers: u64,
    /// Whether Spark is the source.
    pub has_spark: bool,
    pub port: u16,
    /// The nodes' image, where the user chose one.
    pub node_image: Option<String>,
}

const GIB: u64 = 1 << 30;

fn pass(name: &'static str, said: impl Into<String>) -> Row {
    Row {
        name,
        verdict: Verdict::Pass,
        said: said.into(),
        remedy: None,
    }
}

fn warn(name: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Row {
    Row {
        name,
        verdict: Verdict::Warn,
        said: said.into(),
        remedy: Some(remedy.into()),
    }
}

fn fail(name: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Row {
    Row {
        name,
        verdict: Verdict::Fail,
        said: said.into(),
        remedy: Some(remedy.into()),
    }
}

/// All rows, in the order in which one would mend them.
pub fn rows(facts: &Facts, wish: &Wish) -> Vec<Row> {
    let mut rows = Vec::new();
    if wish.is_kind {
        rows.push(docker(&facts.docker));
        rows.push(kind(&facts.kind));
    }
    rows.push(helm(&facts.helm));
    rows.push(kubectl(&facts.kubectl));
    if !wish.is_kind {
        return rows;
    }
    if let Tool::Found(docker) = &facts.docker {
        rows.push(memory(docker, wish));
        rows.push(cgroup(docker, wish));
    }
    let kubelet = kubelet(facts, wish);
    let skew = |kubectl: &Version| skew(*kubectl, &kubelet.clone()?);
    rows.extend(facts.kubectl.found().and_then(skew));
    rows.extend(workers(facts, wish));
    rows.extend(facts.machine.disk.map(disk));
    rows.extend(inotify(facts));
    rows.push(port(facts, wish));
    rows.push(subnets(facts));
    if facts.container.is_some() {
        rows.push(net_admin(facts.machine.has_net_admin));
    }
    rows
}

fn docker(tool: &Tool<Docker>) -> Row {
    match tool {
        Tool::Found(docker) => pass(
            "docker",
            format!("engine {}, {} CPUs", docker.version, docker.cpus),
        ),
        Tool::Missing => fail(
            "docker",
            "not installed",
            "install it: https://docs.docker.com/engine/install",
        ),
        Tool::Broken(said) if said.contains("permission denied") => fail(
            "docker",
            "its socket may not be used by this user",
            "sudo usermod -aG docker $USER, and log in again",
        ),
        Tool::Broken(_) | Tool::Unasked => fail(
            "docker",
            "the engine does not answer as it should",
            "start it: sudo systemctl start docker, or Docker Desktop",
        ),
    }
}

/// Whether kind is of the release that the pinned node image belongs to.
pub fn is_pinned_kind(kind: &Tool<Version>) -> bool {
    let pinned = first_version(files::pin("KIND_VERSION"));
    kind.found().is_none_or(|found| Some(*found) == pinned)
}

fn kind(tool: &Tool<Version>) -> Row {
    let pinned = files::pin("KIND_VERSION");
    let install =
        format!("install {pinned}: https://kind.sigs.k8s.io/docs/user/quick-start/#installation");
    match tool {
        Tool::Found(version) if is_pinned_kind(tool) => pass("kind", shown(*version)),
        // Nodes of this configuration; images in current containerd's format.
        Tool::Found(version) if *version < (0, 27, 0) => {
            fail("kind", format!("{} is too old", shown(*version)), install)
        }
        Tool::Found(version) => warn(
            "kind",
            format!(
                "{}; its own node image is used, not the one that was tested with {pinned}",
                shown(*version)
            ),
            install,
        ),
        other => absent("kind", other, &install),
    }
}

fn helm(tool: &Tool<Version>) -> Row {
    let install = "install 3.13 or newer: https://helm.sh/docs/intro/install";
    match tool {
        Tool::Found(version) if *version < (3, 13, 0) => {
            fail("helm", format!("{} is too old", shown(*version)), install)
        }
        Tool::Found(version) => pass("helm", shown(*version)),
        other => absent("helm", other, install),
    }
}

fn kubectl(tool: &Tool<Version>) -> Row {
    let install = format!(
        "install {}: https://kubernetes.io/docs/tasks/tools",
        files::pin("KUBECTL_VERSION")
    );
    match tool {
        Tool::Found(version) if *version < (1, 30, 0) => fail(
            "kubectl",
            format!("{} is too old", shown(*version)),
            install,
        ),
        Tool::Found(version) => pass("kubectl", shown(*version)),
        other => absent("kubectl", other, &install),
    }
}

fn absent(name: &'static str, tool: &Tool<Version>, install: &str) -> Row {
    match tool {
        Tool::Broken(said) => fail(
            name,
            format!("does not tell its version: {}", said.trim()),
            install,
        ),
        _ => fail(name, "not installed", install),
    }
}

fn shown((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

/// The nodes' image: what the user chose, or the one of the kind release that is here, if that is ours; none where
/// kind is to take its own.
pub fn node_image(facts: &Facts, chosen: Option<&str>) -> Option<String> {
    let cgroup = facts.docker.found().map(|docker| docker.cgroup);
    let pinned = match (is_pinned_kind(&facts.kind), cgroup) {
        (_, Some(1)) => Some(files::pin("NODE_IMAGE_CGROUP_V1")),
        (true, _) => Some(files::pin("NODE_IMAGE")),
        (false, _) => None,
    };
    chosen.or(pinned).map(str::to_owned)
}

/// The version of the cluster's nodes, or of those that would be made, as their image is named.
fn kubelet(facts: &Facts, wish: &Wish) -> Option<String> {
    let there = facts.nodes.iter().find(|node| node.is_control_plane);
    let image = match there {
        Some(node) => node.image.clone(),
        None => node_image(facts, wish.node_image.as_deref())?,
    };
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    Some(tag.to_owned())
}

/// kind does not add nodes to a cluster.
fn workers(facts: &Facts, wish: &Wish) -> Option<Row> {
    let there = facts.nodes.len() as u64;
    (there > 0 && there != wish.nodes).then(|| {
        warn(
            "workers",
            format!(
                "this cluster has {}, not {}",
                there.saturating_sub(1),
                wish.nodes - 1
            ),
            "a cluster's nodes are fixed: fireworks down, then up with --workers",
        )
    })
}

/// kubectl and the cluster may be a minor version apart.
pub fn skew(kubectl: Version, kubelet: &str) -> Option<Row> {
    let (_, minor, _) = first_version(kubelet)?;
    (kubectl.1.abs_diff(minor) > 1).then(|| {
        warn(
            "kubectl",
            format!(
                "{} with a cluster of {kubelet}: more than one minor version apart",
                shown(kubectl)
            ),
            format!("install kubectl 1.{minor}: https://kubernetes.io/docs/tasks/tools"),
        )
    })
}

fn memory(docker: &Docker, wish: &Wish) -> Row {
    // Measured: 2 GiB for four nodes and one broker, half of one for each further broker.
    // Spark's driver may take its limit of 1.5.
    let spark = if wish.has_spark { GIB * 3 / 2 } else { 0 };
    let needed = GIB * 3 / 4 * 2 + wish.nodes * GIB / 4 + wish.brokers * GIB / 2 + spark;
    let has = docker.memory;
    let said = format!("{} GiB", tenths(has));
    let remedy = "give the engine more (Docker Desktop: Settings, Resources), or pass --workers 1";
    if has < GIB * 2 {
        return fail("memory", format!("{said}, and a cluster takes 2"), remedy);
    }
    if has < needed {
        return warn(
            "memory",
            format!("{said}, and this cluster takes about {}", tenths(needed)),
            remedy,
        );
    }
    pass("memory", said)
}

fn cgroup(docker: &Docker, wish: &Wish) -> Row {
    match docker.cgroup {
        1 if wish.node_image.is_some() => {
            pass("cgroup", "version 1, with a node image of your choice")
        }
        1 => warn(
            "cgroup",
            "version 1, which Kubernetes 1.35 and newer refuse: nodes are of 1.34",
            "boot with systemd.unified_cgroup_hierarchy=1 for the current version",
        ),
        version => pass("cgroup", format!("version {version}")),
    }
}

fn disk(free: u64) -> Row {
    let said = format!("{} GiB free", tenths(free));
    let remedy = "make room: docker system prune, docker image prune --all";
    match free {
        0..3_221_225_472 => fail(
            "disk",
            format!("{said}, and the images and a cluster take 3"),
            remedy,
        ),
        3_221_225_472..8_589_934_592 => warn("disk", said, remedy),
        _ => pass("disk", said),
    }
}

fn inotify(facts: &Facts) -> Option<Row> {
    let (watches, instances) = (facts.machine.watches?, facts.machine.instances?);
    let said = format!("{watches} watches, {instances} instances");
    if watches >= 65_536 && instances >= 256 {
        return Some(pass("inotify", said));
    }
    Some(warn(
        "inotify",
        format!("{said}: nodes may fail with \"too many open files\""),
        "sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512",
    ))
}

fn port(facts: &Facts, wish: &Wish) -> Row {
    let published = facts.nodes.iter().find_map(|node| node.port);
    match published {
        Some(port) if port == wish.port => pass("port", format!("{port}, of this cluster")),
        Some(port) => warn(
            "port",
            format!("this cluster has {port}, not {}", wish.port),
            "a cluster's port is fixed: fireworks down, then up with --port",
        ),
        // It would be waited for in vain.
        None if facts.nodes.iter().any(|node| node.is_control_plane) => fail(
            "port",
            "the kind cluster of this name does not show its port 30080 on this machine: fireworks up has not made it",
            "choose another --name, or bring the pipeline there with --context and --image",
        ),
        // Inside a container the port is the host's, where docker finds out.
        None if facts.container.is_some() || facts.machine.is_port_free => {
            pass("port", format!("{} is free", wish.port))
        }
        None => fail(
            "port",
            format!("{} is taken by another program", wish.port),
            format!(
                "stop that program, or pass --port {}",
                wish.port.saturating_add(1)
            ),
        ),
    }
}

/// The cluster's pods and services as kind has them; a route of this machine into them would win.
fn subnets(facts: &Facts) -> Row {
    let inner = [
        ("10.244.0.0/16", (10 << 24 | 244 << 16, 16)),
        ("10.96.0.0/16", (10 << 24 | 96 << 16, 16)),
    ];
    let clash = facts.machine.routes.iter().find_map(|route| {
        let ours = |(_, (address, prefix)): &&(&str, (u32, u32))| {
            overlap(*route, ((*address).into(), *prefix))
        };
        inner.iter().find(ours).map(|(name, _)| (name, route))
    });
    match clash {
        // A bridge of ours that is up.
        Some(_) if facts.container.is_some() && !facts.nodes.is_empty() => {
            pass("subnets", "the cluster's, by the bridge")
        }
        Some((name, (address, prefix))) => warn(
            "subnets",
            format!("this machine routes {address}/{prefix}, and the cluster uses {name} inside"),
            "a VPN or another network has them: disconnect it where names of that network are looked for in the cluster",
        ),
        None => pass("subnets", "no clash"),
    }
}

fn net_admin(has: bool) -> Row {
    match has {
        true => pass("NET_ADMIN", "the bridge can be made"),
        false => warn(
            "NET_ADMIN",
            "this container may not change its routes: no bridge",
            "start it with --cap-add NET_ADMIN, as docker/dev does; or use kubectl port-forward",
        ),
    }
}

fn tenths(bytes: u64) -> String {
    format!("{}.{}", bytes / GIB, bytes % GIB * 10 / GIB)
}

#[cfg(test)]
mod tests;
