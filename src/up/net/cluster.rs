//! What the bridge has to know of a cluster: its nodes, its networks, its DNS.
//!
//! Asked of the API each time, by the `kubectl` inside the control plane's container: that needs the docker
//! engine and nothing else, no kubeconfig and no name or route, which are what is being made. Addresses and
//! networks change with every restart of docker, so none is remembered and none assumed.

use std::net::Ipv4Addr;

use anyhow::{Context, anyhow};
use ipnet::Ipv4Net;
use serde_json::Value;

use crate::error::Help;
use crate::up::command::{Command, Runner};

/// The cluster has no container on this engine.
#[derive(Debug)]
pub struct Absent {
    name: String,
}

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "there is no kind cluster `{}` on this docker engine",
            self.name
        )
    }
}

impl std::error::Error for Absent {}

/// A node, and the pod addresses that are to be reached by way of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub address: Ipv4Addr,
    pub pods: Ipv4Net,
    pub is_ready: bool,
    pub is_control_plane: bool,
}

/// A cluster as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub pods: Ipv4Net,
    pub services: Ipv4Net,
    /// The domain that the names of its services end with.
    pub domain: String,
    /// Where its DNS is: an address among the services.
    pub dns: Ipv4Addr,
    /// The image of its DNS server, which every node of a kind cluster has.
    pub dns_image: String,
}

/// `kubectl` on the control plane of the kind cluster `name`.
pub fn kubectl(name: &str) -> Command {
    Command::new("docker").args([
        "exec",
        "-i",
        &format!("{name}-control-plane"),
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
    ])
}

impl Cluster {
    /// Asks the kind cluster `name`.
    pub async fn ask(runner: &dyn Runner, name: &str) -> anyhow::Result<Cluster> {
        let nodes = kubectl(name).args(["get", "nodes", "-o", "json"]);
        let system = kubectl(name).args([
            "-n",
            "kube-system",
            "get",
            "service/kube-dns",
            "configmap/kubeadm-config",
            "deployment/coredns",
            "-o",
            "json",
        ]);
        let (nodes, system) = tokio::join!(json(runner, &nodes, name), json(runner, &system, name));
        Cluster::read(&nodes?, &system?)
            .with_context(|| format!("failed to understand the kind cluster `{name}`"))
    }

    /// Reads a list of nodes, and a list with the service, settings and deployment that `ask` names.
    fn read(nodes: &Value, system: &Value) -> anyhow::Result<Cluster> {
        let service = item(system, "Service")?;
        let settings = &item(system, "ConfigMap")?["data"]["ClusterConfiguration"];
        let settings = settings.as_str().context("kubeadm-config is empty")?;
        let containers = &item(system, "Deployment")?["spec"]["template"]["spec"]["containers"];
        let mut nodes = items(nodes)
            .filter_map(|node| Node::read(node).transpose())
            .collect::<anyhow::Result<Vec<_>>>()?;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        if nodes.is_empty() {
            return Err(anyhow!("none of its nodes has an address and pods yet"))
                .help(|| "wait until they have joined: fireworks status".into());
        }
        Ok(Cluster {
            nodes,
            pods: network(&setting(settings, "podSubnet")?)?,
            services: network(&setting(settings, "serviceSubnet")?)?,
            domain: setting(settings, "dnsDomain")?,
            dns: text(&service["spec"]["clusterIP"])?.parse()?,
            dns_image: text(&containers[0]["image"])?.to_owned(),
        })
    }

    /// The node that takes what is for a service. Any does: it rewrites the address, masks the sender where the
    /// pod is elsewhere, and so sees the answer too. Pods have no such luck, see [`super::routes`].
    pub fn service_node(&self) -> &Node {
        let rank = |node: &&Node| (!node.is_ready, !node.is_control_plane);
        self.nodes.iter().min_by_key(rank).unwrap_or(&self.nodes[0])
    }
}

impl Node {
    /// Reads a node: none, where it has no address or pods yet.
    fn read(node: &Value) -> anyhow::Result<Option<Node>> {
        let name = text(&node["metadata"]["name"])?.to_owned();
        let is_internal = |address: &&Value| {
            address["type"] == "InternalIP"
                && address["address"]
                    .as_str()
                    .is_some_and(|text| text.parse::<Ipv4Addr>().is_ok())
        };
        let address = list(&node["status"]["addresses"]).find(is_internal);
        let all_pods = list(&node["spec"]["podCIDRs"]).chain([&node["spec"]["podCIDR"]]);
        let pods = all_pods
            .filter_map(Value::as_str)
            .find_map(|text| text.parse().ok());
        let (Some(address), Some(pods)) = (address, pods) else {
            return Ok(None);
        };
        let is_ready =
            |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        Ok(Some(Node {
            address: text(&address["address"])?.parse()?,
            pods,
            is_ready: list(&node["status"]["conditions"]).any(is_ready),
            is_control_plane: node["metadata"]["labels"]
                .get("node-role.kubernetes.io/control-plane")
                .is_some(),
            name,
        }))
    }
}

/// Runs a `kubectl` that prints JSON.
pub async fn json(runner: &dyn Runner, command: &Command, name: &str) -> anyhow::Result<Value> {
    let output = runner.run(command).await?;
    let said = output.last_lines().to_lowercase();
    if !output.is_success() && said.contains("no such container") {
        return Err(anyhow!("{}", output.last_lines()))
            .help(|| format!("make it with `fireworks up --name {name}`, or name another with --name: kind get clusters"))
            .context(Absent { name: name.into() });
    }
    if !output.is_success() && said.contains("is not running") {
        return Err(anyhow!(
            "the control plane of the kind cluster `{name}` is stopped"
        ))
        .help(|| format!("start it: docker start {name}-control-plane"));
    }
    let output = output
        .checked(command)
        .with_context(|| format!("failed to ask the kind cluster `{name}`"))?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{}` did not print JSON", command.line()))
}

/// A list that may be missing.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The items of a Kubernetes list.
pub fn items(value: &Value) -> impl Iterator<Item = &Value> {
    list(&value["items"])
}

fn item<'a>(system: &'a Value, kind: &str) -> anyhow::Result<&'a Value> {
    items(system)
        .find(|item| item["kind"] == kind)
        .with_context(|| format!("no {kind} in its answer"))
}

fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().context("a text is missing in its answer")
}

/// A value of kubeadm's settings, whose YAML has each of the keys asked for once, on a line of its own.
fn setting(yaml: &str, key: &str) -> anyhow::Result<String> {
    yaml.lines()
        .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'))
        .map(|value| value.trim().trim_matches('"').to_owned())
        .find(|value| !value.is_empty())
        .with_context(|| format!("kubeadm-config names no {key}"))
}

/// The IPv4 network of a list that may name one of each family.
fn network(networks: &str) -> anyhow::Result<Ipv4Net> {
    networks
        .split(',')
        .find_map(|network| network.trim().parse().ok())
        .with_context(|| format!("`{networks}` is no IPv4 network"))
        .help(|| {
            "the bridge is for clusters with IPv4; kind makes one unless told otherwise".into()
        })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// A node as the API describes it.
    pub fn node(name: &str, address: &str, pods: &str, ready: &str) -> Value {
        let labels = match name.ends_with("control-plane") {
            true => json!({"node-role.kubernetes.io/control-plane": ""}),
            false => json!({}),
        };
        json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDR": pods, "podCIDRs": ["fd00::/64", pods]},
            "status": {
                "addresses": [{"type": "Hostname", "address": name},
                    {"type": "InternalIP", "address": "fc00::2"},
                    {"type": "InternalIP", "address": address}],
                "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
            },
        })
    }

    /// The rest of what is asked, as kind makes it.
    pub fn system() -> Value {
        let settings = "apiServer: {}\nnetworking:\n  dnsDomain: cluster.local\n  podSubnet: \"10.244.0.0/16\"\n  \
                        serviceSubnet: fd00:10:96::/112,10.96.0.0/16\n";
        json!({"items": [
            {"kind": "Service", "spec": {"clusterIP": "10.96.0.10"}},
            {"kind": "ConfigMap", "data": {"ClusterConfiguration": settings}},
            {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"image": "coredns:1"}]}}}},
        ]})
    }

    /// Two workers and a control plane.
    pub fn nodes() -> Value {
        json!({"items": [
            node("it-worker2", "172.18.0.3", "10.244.2.0/24", "True"),
            node("it-control-plane", "172.18.0.4", "10.244.0.0/24", "True"),
            node("it-worker", "172.18.0.2", "10.244.1.0/24", "True"),
            {"metadata": {"name": "it-new"}, "spec": {}, "status": {}},
        ]})
    }

    #[test]
    fn cluster_is_read_from_what_the_api_says() {
        let cluster = Cluster::read(&nodes(), &system()).unwrap();
        let names: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["it-control-plane", "it-worker", "it-worker2"]);
        assert_eq!(cluster.nodes[1].address.to_string(), "172.18.0.2");
        assert_eq!(cluster.nodes[1].pods.to_string(), "10.244.1.0/24");
        assert_eq!(cluster.pods.to_string(), "10.244.0.0/16");
        assert_eq!(cluster.services.to_string(), "10.96.0.0/16");
        assert_eq!(cluster.dns.to_string(), "10.96.0.10");
        assert_eq!(
            (cluster.domain.as_str(), cluster.dns_image.as_str()),
            ("cluster.local", "coredns:1")
        );
    }

    #[test]
    fn services_go_by_the_control_plane_unless_it_is_down() {
        let mut cluster = Cluster::read(&nodes(), &system()).unwrap();
        assert_eq!(cluster.service_node().name, "it-control-plane");
        cluster.nodes[0].is_ready = false;
        assert_eq!(cluster.service_node().name, "it-worker");
    }

    #[test]
    fn answer_that_lacks_something_is_an_error_and_no_guess() {
        assert!(Cluster::read(&json!({"items": []}), &system()).is_err());
        assert!(Cluster::read(&nodes(), &json!({"items": []})).is_err());
        let mut system = system();
        system["items"][1]["data"]["ClusterConfiguration"] = "networking: {}".into();
        let error = Cluster::read(&nodes(), &system).unwrap_err();
        assert_eq!(error.to_string(), "kubeadm-config names no podSubnet");
    }
}
