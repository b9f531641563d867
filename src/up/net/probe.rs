//! Whether the bridge bears: bytes there and back, with a pod on every node, by address and by name.
//!
//! A connection alone proves nothing: where answers take another way than questions it comes about, and then
//! hangs. So every probe asks a DNS server of ours on a node for that node's name, and reads it in the answer.
//! What fails is named with the one command that mends it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::cluster::{self, Cluster, items, list};
use super::exchange::{self, Fault, Transport};
use super::message::{self, Kind};
use super::resolver;
use crate::up::command::{Command, Runner};

/// The servers on the nodes, with IMAGE for the image of the cluster's DNS.
const OBJECTS: &str = include_str!("probe.yaml");
/// The name of all of them, and of the Service in front.
const NAME: &str = "fireworks-net-probe";
const NAMESPACE: &str = "default";
const PORT: u16 = 5353;
const SELECTOR: &str = "app.kubernetes.io/instance=fireworks-net-probe";
/// A name that is none of the cluster's.
const OTHER_NAME: &str = "example.com";

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);
/// How long the servers may take to start, on nodes that may still be joining.
const ROLLOUT: Duration = Duration::from_secs(60);

/// An answer on its way.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// The network as programs in here see it.
pub trait Wire: Send + Sync {
    /// Sends a DNS message and returns the answer.
    fn ask<'a>(
        &'a self,
        server: SocketAddr,
        transport: Transport,
        query: &'a [u8],
    ) -> Asking<'a, Vec<u8>>;

    /// The addresses of a name, by way of /etc/resolv.conf.
    fn look_up<'a>(&'a self, name: &'a str) -> Asking<'a, Vec<Ipv4Addr>>;
}

/// The real network.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Wire for Network {
    fn ask<'a>(
        &'a self,
        server: SocketAddr,
        transport: Transport,
        query: &'a [u8],
    ) -> Asking<'a, Vec<u8>> {
        Box::pin(exchange::ask(server, transport, query, PATIENCE))
    }

    fn look_up<'a>(&'a self, name: &'a str) -> Asking<'a, Vec<Ipv4Addr>> {
        Box::pin(async move {
            let found = tokio::time::timeout(3 * PATIENCE, tokio::net::lookup_host((name, 0)));
            let found = found.await.map_err(|_| Fault::NoAnswer)??;
            let mut addresses: Vec<_> = found
                .filter_map(|address| match address.ip() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                })
                .collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses)
        })
    }
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub what: String,
    /// What went wrong, if anything did.
    pub fault: Option<String>,
    /// The command that mends it.
    pub fix: String,
}

/// A server on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    node: String,
    address: Option<Ipv4Addr>,
    /// Why it is not ready, if it is not.
    trouble: Option<String>,
}

/// Starts the servers on the nodes, or changes them to what they are to be.
pub fn apply(cluster: &Cluster, name: &str) -> Command {
    let objects = OBJECTS.replace("IMAGE", &cluster.dns_image);
    cluster::kubectl(name)
        .args(["apply", "-f", "-"])
        .stdin(objects)
}

/// Waits until they have started.
pub fn wait(name: &str) -> Command {
    cluster::kubectl(name)
        .args(["-n", NAMESPACE, "rollout", "status"])
        .arg(format!("daemonset/{NAME}"))
        .arg(format!("--timeout={}s", ROLLOUT.as_secs()))
        .within(ROLLOUT + Duration::from_secs(10))
}

/// Removes them.
pub fn remove(name: &str) -> Command {
    cluster::kubectl(name)
        .args([
            "-n",
            NAMESPACE,
            "delete",
            "daemonset,service,configmap",
            "-l",
            SELECTOR,
        ])
        .args(["--ignore-not-found", "--wait=false", "--request-timeout=5s"])
        .within(Duration::from_secs(10))
}

/// What probes need to know.
pub struct Probes<'a> {
    pub runner: &'a dyn Runner,
    pub wire: &'a dyn Wire,
    pub cluster: &'a Cluster,
    /// The kind cluster's name.
    pub name: &'a str,
    /// Where the split resolver listens, and whom it asks for other names.
    pub resolver: SocketAddr,
    pub upstream: &'a [SocketAddr],
    /// How long all of them together may be repeated.
    pub settling: Duration,
    /// The command that makes the bridge anew.
    pub again: String,
}

impl Probes<'_> {
    /// Tries everything, and says how it went.
    pub async fn run(&self) -> anyhow::Result<Vec<Hop>> {
        let command = cluster::kubectl(self.name)
            .args(["-n", NAMESPACE, "get", "pods", "-l", SELECTOR, "-o", "json"]);
        let pods = read(&cluster::json(self.runner, &command, self.name).await?);
        let deadline = Instant::now() + self.settling;
        let mut hops = self.names(deadline).await;
        hops.extend(self.nodes(&pods, deadline).await);
        hops.extend(self.services(&pods, deadline).await);
        Ok(hops)
    }

    /// The cluster's DNS itself, and the resolver in front of it, each way that a name may be asked for.
    async fn names(&self, deadline: Instant) -> Vec<Hop> {
        let name = format!("kubernetes.default.svc.{}", self.cluster.domain);
        let query = message::query(1, &name, Kind::A);
        let mut hops = Vec::new();
        for transport in [Transport::Udp, Transport::Tcp] {
            let server = SocketAddr::from((self.cluster.dns, 53));
            hops.push(Hop {
                what: format!("the cluster's DNS at {server} by {transport}"),
                fault: self
                    .until(deadline, || self.found(server, transport, &query))
                    .await,
                fix: self.kubectl("-n kube-system rollout restart deployment/coredns"),
            });
            let server = self.resolver;
            hops.push(Hop {
                what: format!("the resolver at {server} by {transport}"),
                fault: self
                    .until(deadline, || self.found(server, transport, &query))
                    .await,
                fix: self.again.clone(),
            });
        }
        hops.push(Hop {
            what: "other names, as before".into(),
            fault: self.until(deadline, || self.others()).await,
            fix: self.again.clone(),
        });
        hops
    }

    /// The server on every node, by its address.
    async fn nodes(&self, pods: &[Pod], deadline: Instant) -> Vec<Hop> {
        let mut hops = Vec::new();
        for node in &self.cluster.nodes {
            let is_here = |pod: &&Pod| pod.node == node.name;
            // Of an old one and a new one, the one that is ready.
            let pod = pods
                .iter()
                .filter(is_here)
                .min_by_key(|pod| pod.trouble.is_some());
            let start = format!("docker restart {}", node.name);
            let (what, fault, fix) = match pod {
                _ if !node.is_ready => ("the node".into(), Some("it is not ready".into()), start),
                Some(Pod {
                    address: Some(address),
                    trouble: None,
                    ..
                }) => {
                    let server = SocketAddr::from((*address, PORT));
                    let fault = self
                        .until(deadline, || self.tells(server, Some(&node.name)))
                        .await;
                    (format!("the pod at {address}"), fault, start)
                }
                Some(pod) => (
                    "the pod".into(),
                    Some(
                        pod.trouble
                            .clone()
                            .unwrap_or_else(|| "it has no address".into()),
                    ),
                    self.kubectl(&format!("-n {NAMESPACE} describe pods -l {SELECTOR}")),
                ),
                None => (
                    "the pod".into(),
                    Some("there is none".into()),
                    self.again.clone(),
                ),
            };
            hops.push(Hop {
                what: format!("{}: {what}", node.name),
                fault,
                fix,
            });
        }
        hops
    }

    /// The same servers by the names that a Service gives them.
    async fn services(&self, pods: &[Pod], deadline: Instant) -> Vec<Hop> {
        let zone = format!("{NAMESPACE}.svc.{}", self.cluster.domain);
        let mut addresses: Vec<_> = pods
            .iter()
            .filter(|pod| pod.trouble.is_none())
            .filter_map(|pod| pod.address)
            .collect();
        addresses.sort_unstable();
        let restart = self.kubectl("-n kube-system rollout restart daemonset/kube-proxy");
        let headless = format!("{NAME}-headless.{zone}");
        let mut hops = vec![Hop {
            fault: self
                .until(deadline, || self.by_name(&headless, Some(&addresses)))
                .await,
            what: format!("the headless name {headless}"),
            fix: self.again.clone(),
        }];
        for name in [
            format!("{NAME}.{zone}"),
            format!("{NAME}.{NAMESPACE}.svc"),
            format!("{NAME}.{NAMESPACE}"),
        ] {
            hops.push(Hop {
                fault: self.until(deadline, || self.by_name(&name, None)).await,
                what: format!("the service {name}"),
                fix: restart.clone(),
            });
        }
        hops
    }

    fn kubectl(&self, arguments: &str) -> String {
        format!("kubectl --context kind-{} {arguments}", self.name)
    }

    /// Repeats a probe until it succeeds or the time is up; at least once.
    async fn until<F>(&self, deadline: Instant, probe: impl Fn() -> F) -> Option<String>
    where
        F: Future<Output = Result<(), Fault>>,
    {
        loop {
            match probe().await {
                Ok(()) => return None,
                Err(fault) if Instant::now() >= deadline => return Some(fault.to_string()),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Whether a server knows a name.
    async fn found(
        &self,
        server: SocketAddr,
        transport: Transport,
        query: &[u8],
    ) -> Result<(), Fault> {
        let answer = self.wire.ask(server, transport, query).await?;
        match (message::code(&answer), message::count(&answer)) {
            (0, 1..) => Ok(()),
            (code, _) => Err(Fault::Unreachable(format!("it answers with code {code}"))),
        }
    }

    /// Whether names of others fare as they do without us. Where nobody answered before either, nothing is wrong.
    async fn others(&self) -> Result<(), Fault> {
        let query = message::query(2, OTHER_NAME, Kind::A);
        let Some(&server) = self.upstream.first() else {
            return Ok(());
        };
        let Ok(direct) = self.wire.ask(server, Transport::Udp, &query).await else {
            return Ok(());
        };
        let answer = self.wire.ask(self.resolver, Transport::Udp, &query).await?;
        let (expected, code) = (message::code(&direct), message::code(&answer));
        if code == expected {
            return Ok(());
        }
        Err(Fault::Unreachable(format!(
            "{server} answers with code {expected}, the resolver with {code}"
        )))
    }

    /// Whether the server at an address tells the name of its node: this one, or any.
    async fn tells(&self, server: SocketAddr, node: Option<&str>) -> Result<(), Fault> {
        let query = message::query(3, "node", Kind::Txt);
        let answer = self.wire.ask(server, Transport::Tcp, &query).await?;
        let holds = |name: &str| {
            answer
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        let is_right = match node {
            Some(node) => holds(node),
            None => self.cluster.nodes.iter().any(|node| holds(&node.name)),
        };
        if is_right {
            return Ok(());
        }
        Err(Fault::Unreachable("somebody else answers there".into()))
    }

    /// Whether a name leads to these addresses, or to any, and bytes come from the first.
    async fn by_name(&self, name: &str, expected: Option<&[Ipv4Addr]>) -> Result<(), Fault> {
        let addresses = self.wire.look_up(name).await?;
        if expected.is_some_and(|expected| addresses != expected) {
            return Err(Fault::Unreachable(format!("it resolves to {addresses:?}")));
        }
        let Some(&address) = addresses.first() else {
            return Err(Fault::Unreachable("it resolves to nothing".into()));
        };
        self.tells(SocketAddr::from((address, PORT)), None).await
    }
}

fn read(pods: &Value) -> Vec<Pod> {
    let read = |pod: &Value| {
        let node = pod["spec"]["nodeName"].as_str()?.to_owned();
        // A pod on its way out may still be ready.
        let is_leaving = pod["metadata"]["deletionTimestamp"].is_string();
        (!is_leaving).then(|| Pod {
            node,
            address: pod["status"]["podIP"]
                .as_str()
                .and_then(|text| text.parse().ok()),
            trouble: trouble(&pod["status"]),
        })
    };
    items(pods).filter_map(read).collect()
}

/// Why a pod is not ready, in Kubernetes' own words.
fn trouble(status: &Value) -> Option<String> {
    let is_ready =
        |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    if list(&status["conditions"]).any(is_ready) {
        return None;
    }
    let waiting = list(&status["containerStatuses"])
        .map(|container| &container["state"]["waiting"])
        .find(|waiting| waiting.is_object());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(match waiting {
        Some(waiting) => format!("{} {}", word(&waiting["reason"]), word(&waiting["message"])),
        None => format!("it is {}, and not ready", word(&status["phase"])),
    })
}

/// Where the split resolver listens: an address of loopback that nobody else takes.
pub const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 201)), 53);

/// Whom a running resolver asks for other names.
pub fn upstream_of(running: &resolver::Running) -> Vec<SocketAddr> {
    let server = |word: &String| word.strip_prefix("--upstream=")?.parse().ok();
    running.words.iter().filter_map(server).collect()
}
