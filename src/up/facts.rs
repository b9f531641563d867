//! What is here before anything is done: tools, engine, cluster, images, this machine. All is asked at once.
//!
//! Asking changes nothing. What can't be found out is unknown, not an error: [`super::doctor`] judges, the plan
//! takes the usual case.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::command::{Command, Missing, Output, Runner};
use super::machine::{self, Machine};
use super::net;
use super::target::{Cluster, Target};

/// How long a question may take.
const QUICK: Duration = Duration::from_secs(10);

/// What is here.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub docker: Tool<Docker>,
    pub kind: Tool<Version>,
    pub helm: Tool<Version>,
    pub kubectl: Tool<Version>,
    /// The nodes of the kind cluster of that name; none where there is no such cluster.
    pub nodes: Vec<NodeContainer>,
    /// Why these could not be listed, where they could not: there may be some.
    pub nodes_trouble: Option<String>,
    /// The node images, Kafka's and ours that the engine has, of those that were asked for.
    pub images: Vec<String>,
    /// This container's own id, where fireworks runs in one of this engine.
    pub container: Option<String>,
    /// Whether a bridge was made on this plain host, by name.
    pub has_bridge_on_host: bool,
    pub machine: Machine,
    /// The user and the server of an existing cluster's context.
    pub context: Tool<Context>,
}

/// A program, and what it said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tool<T> {
    Found(T),
    Missing,
    /// It is there and did not answer as expected; its last words.
    Broken(String),
    /// Nobody asked.
    #[default]
    Unasked,
}

impl<T> Tool<T> {
    pub fn found(&self) -> Option<&T> {
        match self {
            Tool::Found(found) => Some(found),
            _ => None,
        }
    }
}

/// Major, minor, patch.
pub type Version = (u32, u32, u32);

/// The docker engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Docker {
    pub version: String,
    /// What client and engine speak with each other.
    pub api: (u32, u32),
    /// Of its containers, as Go names them: linux, amd64.
    pub os: String,
    pub arch: String,
    pub cgroup: u8,
    pub memory: u64,
    pub cpus: u64,
    /// Where it keeps images, on its own machine.
    pub root: PathBuf,
}

/// A node of a kind cluster, as docker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeContainer {
    pub name: String,
    pub is_running: bool,
    pub is_control_plane: bool,
    /// The dashboard's port on this machine, whether or not the container runs.
    pub port: Option<u16>,
    /// The image, as it was named when the node was made.
    pub image: String,
}

/// Where a context of the user's kubeconfig leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub server: String,
    pub user: String,
}

impl Context {
    /// The name of the API server; none where that is an address.
    pub fn host_name(&self) -> Option<String> {
        let rest = self.server.split("://").last()?;
        let host = rest.split('/').next()?;
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => host,
        };
        let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
        (!is_address && !host.is_empty()).then(|| host.to_owned())
    }
}

/// Asks for all of it. `images` are those whose presence matters; `port` is the dashboard's.
pub async fn gather(target: &Target, images: &[&str], port: u16, runner: &dyn Runner) -> Facts {
    match &target.cluster {
        Cluster::Kind { name, .. } => {
            let (docker, kind, helm, kubectl, nodes, images, container) = tokio::join!(
                docker(runner),
                version(runner, Command::new("kind").arg("version")),
                version(runner, Command::new("helm").args(["version", "--short"])),
                version(runner, kubectl_version()),
                nodes(runner, name),
                present(runner, images),
                container(runner),
            );
            let (nodes, nodes_trouble) = match nodes {
                Ok(nodes) => (nodes, None),
                Err(said) => (Vec::new(), Some(said)),
            };
            let root = docker
                .found()
                .map_or(target.state.clone(), |docker| docker.root.clone());
            Facts {
                docker,
                kind,
                helm,
                kubectl,
                nodes,
                nodes_trouble,
                images,
                container,
                has_bridge_on_host: net::is_on_host(),
                machine: machine::look(port, &root),
                context: Tool::Unasked,
            }
        }
        Cluster::Existing { context } => {
            let (helm, kubectl, context) = tokio::join!(
                version(runner, Command::new("helm").args(["version", "--short"])),
                version(runner, kubectl_version()),
                context_of(runner, context),
            );
            Facts {
                helm,
                kubectl,
                context,
                ..Facts::default()
            }
        }
    }
}

async fn ask(runner: &dyn Runner, command: Command) -> Tool<String> {
    let command = command.within(QUICK);
    match runner.run(&command).await {
        Ok(Output {
            code: 0, stdout, ..
        }) => Tool::Found(String::from_utf8_lossy(&stdout).into_owned()),
        Ok(output) => Tool::Broken(output.last_lines()),
        Err(error) if error.is::<Missing>() => Tool::Missing,
        Err(error) => Tool::Broken(format!("{error:#}")),
    }
}

impl Tool<String> {
    fn read<T>(self, parse: impl Fn(&str) -> Option<T>) -> Tool<T> {
        match self {
            Tool::Found(text) => match parse(&text) {
                Some(found) => Tool::Found(found),
                None => Tool::Broken(text),
            },
            Tool::Missing => Tool::Missing,
            Tool::Broken(text) => Tool::Broken(text),
            Tool::Unasked => Tool::Unasked,
        }
    }
}

async fn docker(runner: &dyn Runner) -> Tool<Docker> {
    let command = |name: &str| Command::new("docker").args([name, "--format={{json .}}"]);
    let (version, info) = tokio::join!(
        ask(runner, command("version")),
        ask(runner, command("info"))
    );
    let Tool::Found(info) = info else {
        return version.read(|_| None);
    };
    version.read(|version| {
        let version: Value = serde_json::from_str(version).ok()?;
        let info: Value = serde_json::from_str(&info).ok()?;
        let server = &version["Server"];
        let (major, minor) = version["Client"]["ApiVersion"].as_str()?.split_once('.')?;
        Some(Docker {
            version: server["Version"].as_str()?.to_owned(),
            api: (major.parse().ok()?, minor.parse().ok()?),
            os: server["Os"].as_str()?.to_owned(),
            arch: server["Arch"].as_str()?.to_owned(),
            cgroup: info["CgroupVersion"].as_str()?.parse().ok()?,
            memory: info["MemTotal"].as_u64()?,
            cpus: info["NCPU"].as_u64()?,
            root: info["DockerRootDir"].as_str()?.into(),
        })
    })
}

fn kubectl_version() -> Command {
    Command::new("kubectl").args(["version", "--client", "--output=json"])
}

async fn version(runner: &dyn Runner, command: Command) -> Tool<Version> {
    ask(runner, command).await.read(first_version)
}

/// The first thing in a text that looks like v1.2.3.
pub fn first_version(text: &str) -> Option<Version> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .find_map(|word| {
            let mut numbers = word.strip_prefix('v')?.splitn(3, '.');
            let mut next = || {
                let digits: String = numbers
                    .next()?
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect();
                digits.parse().ok()
            };
            Some((next()?, next()?, next()?))
        })
}

/// The nodes of a cluster, or why they can't be told.
async fn nodes(runner: &dyn Runner, name: &str) -> Result<Vec<NodeContainer>, String> {
    let command = Command::new("docker").args([
        "ps",
        "--all",
        "--no-trunc",
        &format!("--filter=label=io.x-k8s.kind.cluster={name}"),
        r#"--format={{.Names}};{{.State}};{{.Image}};{{.Label "io.x-k8s.kind.role"}};{{.Ports}}"#,
    ]);
    let text = match ask(runner, command).await {
        Tool::Found(text) => text,
        Tool::Broken(said) => return Err(said),
        Tool::Missing | Tool::Unasked => return Err("docker is not there".into()),
    };
    let mut nodes: Vec<_> = text.lines().filter_map(node).collect();
    nodes.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    // A container that is stopped publishes nothing, and will again.
    let silent = |node: &&mut NodeContainer| node.is_control_plane && node.port.is_none();
    if let Some(node) = nodes.iter_mut().find(silent) {
        node.port = port_of(runner, &node.name).await;
    }
    Ok(nodes)
}

/// The port that the dashboard's node port was bound to when the container was made.
async fn port_of(runner: &dyn Runner, container: &str) -> Option<u16> {
    let format = "--format={{json .HostConfig.PortBindings}}";
    let command = Command::new("docker").args(["container", "inspect", format, container]);
    let Tool::Found(text) = ask(runner, command).await else {
        return None;
    };
    let bindings: Value = serde_json::from_str(&text).ok()?;
    bindings["30080/tcp"][0]["HostPort"].as_str()?.parse().ok()
}

fn node(line: &str) -> Option<NodeContainer> {
    let mut columns = line.splitn(5, ';');
    let mut next = || columns.next();
    let (name, state, image, role, ports) = (next()?, next()?, next()?, next()?, next()?);
    let published = ports
        .split(", ")
        .find_map(|port| port.strip_suffix("->30080/tcp"));
    Some(NodeContainer {
        name: name.to_owned(),
        is_running: state == "running",
        is_control_plane: role == "control-plane",
        port: published.and_then(|address| address.rsplit(':').next()?.parse().ok()),
        image: image.to_owned(),
    })
}

async fn present(runner: &dyn Runner, images: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for image in images.iter().filter(|image| !image.is_empty()) {
        let command = Command::new("docker").args(["image", "inspect", "--format={{.Id}}", image]);
        if let Tool::Found(_) = ask(runner, command).await {
            found.push((*image).to_owned());
        }
    }
    found
}

/// This container's id, if the engine knows it.
async fn container(runner: &dyn Runner) -> Option<String> {
    let name = net::own_id(Path::new("/"))?;
    let format = "--format={{.HostConfig.NetworkMode}} {{.Id}}";
    let command = Command::new("docker").args(["container", "inspect", format, &name]);
    match ask(runner, command).await {
        Tool::Found(text) => {
            // With the host's own network it is as good as the host.
            let (mode, id) = text.trim().split_once(' ')?;
            (mode != "host").then(|| id.to_owned())
        }
        _ => None,
    }
}

async fn context_of(runner: &dyn Runner, context: &str) -> Tool<Context> {
    let command = Command::new("kubectl").args(["config", "view", "--minify", "--output=json"]);
    ask(runner, command.arg(format!("--context={context}")))
        .await
        .read(|text| {
            let config: Value = serde_json::from_str(text).ok()?;
            Some(Context {
                server: config["clusters"][0]["cluster"]["server"]
                    .as_str()?
                    .to_owned(),
                user: config["contexts"][0]["context"]["user"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Recorder, fails, says};
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_tools_say() {
        for (said, version) in [
            ("kind v0.33.0 go1.26.8 linux/amd64", (0, 33, 0)),
            ("v4.3.1", (4, 3, 1)),
            ("v3.21.0+gabc", (3, 21, 0)),
            (
                "{\"clientVersion\": {\"major\": \"1\", \"gitVersion\": \"v1.34.4-eks-1\"}}",
                (1, 34, 4),
            ),
        ] {
            assert_eq!(first_version(said), Some(version), "{said}");
        }
        assert_eq!(first_version("command not found"), None);
    }

    #[test]
    fn server_has_a_name_unless_it_is_an_address() {
        for (server, name) in [
            ("https://a-control-plane:6443", Some("a-control-plane")),
            (
                "https://x.eks.example.com/k8s/clusters/1",
                Some("x.eks.example.com"),
            ),
            ("https://127.0.0.1:40883", None),
            ("https://[::1]:40883", None),
        ] {
            let context = Context {
                server: server.into(),
                user: String::new(),
            };
            assert_eq!(context.host_name().as_deref(), name, "{server}");
        }
    }

    #[test]
    fn node_tells_role_state_and_the_port_of_the_dashboard() {
        let line = "a-control-plane;running;kindest/node:v1.34.4;control-plane;127.0.0.1:40883->6443/tcp, 127.0.0.1:8081->30080/tcp";
        assert_eq!(
            node(line).unwrap(),
            NodeContainer {
                name: "a-control-plane".into(),
                is_running: true,
                is_control_plane: true,
                port: Some(8081),
                image: "kindest/node:v1.34.4".into(),
            }
        );
        assert!(!node("a-worker;exited;i;worker;").unwrap().is_running);
    }

    #[tokio::test]
    async fn port_of_a_cluster_that_is_stopped_is_known_and_one_without_is_told() {
        for (bindings, port) in [
            (
                r#"{"30080/tcp":[{"HostIp":"127.0.0.1","HostPort":"8081"}],"6443/tcp":[{"HostIp":"127.0.0.1","HostPort":"40883"}]}"#,
                Some(8081),
            ),
            (
                r#"{"6443/tcp":[{"HostIp":"127.0.0.1","HostPort":"40883"}]}"#,
                None,
            ),
        ] {
            let recorder = Recorder::new(move |command| match command.args[0].as_str() {
                "ps" => {
                    says("a-worker;exited;i;worker;\na-control-plane;exited;i;control-plane;\n")
                }
                _ => says(bindings),
            });
            let nodes = nodes(&recorder, "a").await.unwrap();
            assert_eq!(nodes.iter().find_map(|node| node.port), port);
        }
    }

    #[tokio::test]
    async fn tools_that_are_missing_or_broken_are_facts_too() {
        let recorder = Recorder::new(|command| match command.program.as_str() {
            "helm" => Err(Missing {
                program: "helm".into(),
            }
            .into()),
            "kind" => says("kind v0.33.0 go1.26.8 linux/amd64"),
            "docker" => fails(
                1,
                "permission denied while trying to connect to the Docker daemon socket",
            ),
            _ => says("no version at all"),
        });
        let target = Target {
            cluster: Cluster::Kind {
                name: "a".into(),
                network: "kind".into(),
            },
            namespace: "a".into(),
            state: "/nowhere".into(),
        };
        let facts = gather(&target, &["kafka"], 1, &recorder).await;
        assert_eq!(facts.helm, Tool::Missing);
        assert_eq!(facts.kind, Tool::Found((0, 33, 0)));
        assert_eq!(facts.kubectl, Tool::Broken("no version at all".into()));
        assert!(
            matches!(facts.docker, Tool::Broken(said) if said.starts_with("permission denied"))
        );
        assert_eq!((facts.nodes, facts.images), (Vec::new(), Vec::new()));
        assert!(
            facts
                .nodes_trouble
                .unwrap()
                .starts_with("permission denied")
        );
    }
}
