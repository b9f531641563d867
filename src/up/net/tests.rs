//! The bridge as a whole, against a world of fakes: a docker that moves routes and writes resolv.conf, a kernel
//! that keeps routes, a cluster that answers. Nothing of this machine is touched.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::bridge::{Bridge, Settings, Show};
use super::cluster::tests::{node, nodes, system};
use super::exchange::{Fault, Transport};
use super::memory::Place;
use super::message::{Code, question, refusal};
use super::probe::{Asking, Wire};
use super::status::screen;
use crate::error::report;
use crate::up::command::{Command, Output, Runner};
use crate::up::recorder::{Recorder, fails, says};

const ID: &str = "bd3182d8dfbe00bf02f467a98488ced2d50e817f4b8a1c01a34ec9ff0d9bf933";
const BEFORE: &str = "# by docker\nnameserver 10.255.255.53\nsearch corp.example\n";
const JOINED: &str = "nameserver 127.0.0.11\nsearch corp.example\noptions ndots:0\n";

/// What the fakes act upon.
struct State {
    root: PathBuf,
    is_joined: bool,
    default: Option<&'static str>,
    ipv6_default: bool,
    /// Of our own routes, as `ip` prints them.
    routes: Vec<Value>,
    nodes: Value,
    cluster_is_there: bool,
    docker_is_there: bool,
    /// Commands that fail.
    broken: Option<&'static str>,
    /// Nodes that nothing comes back from.
    silent: Vec<&'static str>,
}

impl State {
    fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn inspect(&self) -> Value {
        let mut networks = json!({"bridge": {"Gateway": "172.17.0.1", "IPAddress": "172.17.0.2"}});
        if self.is_joined {
            networks["kind"] = json!({"Gateway": "172.18.0.1", "IPAddress": "172.18.0.9", "IPv6Gateway": "fc00::1"});
        }
        json!([{"HostConfig": {"NetworkMode": "default"}, "NetworkSettings": {"Networks": networks}}])
    }

    fn join(&mut self, is_joined: bool) {
        self.is_joined = is_joined;
        self.default = Some(if is_joined {
            "172.18.0.1"
        } else {
            "172.17.0.1"
        });
        self.ipv6_default = is_joined;
        if is_joined {
            fs::write(self.file("etc/resolv.conf"), JOINED).unwrap();
        }
    }

    fn ip(&mut self, args: &[&str]) -> anyhow::Result<Output> {
        match args {
            ["-4", "-j", "route", "show"] => {
                let mut all = self.routes.clone();
                all.extend(
                    self.default
                        .map(|via| json!({"dst": "default", "gateway": via, "dev": "eth0"})),
                );
                says(&Value::from(all).to_string())
            }
            ["-6", "route", "show", "default"] => says(if self.ipv6_default {
                "default via fc00::1\n"
            } else {
                ""
            }),
            ["-6", "route", verb, "default", ..] => {
                self.ipv6_default = *verb != "del";
                says("")
            }
            ["-4", "route", "replace", "default", "via", via] => {
                self.default = Some(if *via == "172.17.0.1" {
                    "172.17.0.1"
                } else {
                    "172.18.0.1"
                });
                says("")
            }
            ["-4", "route", "replace", "unreachable", to, "proto", proto] => {
                self.routes
                    .push(json!({"dst": to, "type": "unreachable", "protocol": proto}));
                says("")
            }
            ["-4", "route", "replace", to, "via", via, "proto", proto] => {
                self.routes.retain(|route| route["dst"] != *to);
                self.routes
                    .push(json!({"dst": to, "gateway": via, "dev": "eth1", "protocol": proto}));
                says("")
            }
            ["-4", "route", "del", to, "proto", _] => {
                self.routes.retain(|route| route["dst"] != *to);
                says("")
            }
            ["-4", "route", "flush", "proto", "201"] => {
                self.routes.clear();
                says("")
            }
            other => panic!("no such ip command in this world: {other:?}"),
        }
    }

    fn docker(&mut self, args: &[&str]) -> anyhow::Result<Output> {
        if !self.docker_is_there {
            return fails(1, "Cannot connect to the Docker daemon");
        }
        match args {
            ["container", "inspect", id] if *id == ID => says(&self.inspect().to_string()),
            ["network", "connect", "kind", id] if *id == ID => {
                self.join(true);
                says("")
            }
            ["network", "disconnect", "kind", id] if *id == ID => {
                // As the real one: it trips over a default route that is not its own.
                assert_eq!(
                    (self.default, self.ipv6_default),
                    (Some("172.18.0.1"), true)
                );
                self.join(false);
                says("")
            }
            [
                "exec",
                "-i",
                "it-control-plane",
                "kubectl",
                "--kubeconfig=/etc/kubernetes/admin.conf",
                rest @ ..,
            ] => {
                if !self.cluster_is_there {
                    return fails(1, "Error: No such container: it-control-plane");
                }
                match rest {
                    ["get", "nodes", ..] => says(&self.nodes.to_string()),
                    ["-n", "kube-system", "get", ..] => says(&system().to_string()),
                    ["-n", "default", "get", "pods", ..] => says(&self.pods().to_string()),
                    _ => says(""),
                }
            }
            other => panic!("no such docker command in this world: {other:?}"),
        }
    }

    fn pods(&self) -> Value {
        let pod = |(number, node): (usize, &Value)| {
            json!({
                "metadata": {}, "spec": {"nodeName": node["metadata"]["name"]},
                "status": {"podIP": format!("10.244.{number}.7"), "conditions": [{"type": "Ready", "status": "True"}]},
            })
        };
        json!({"items": self.nodes["items"].as_array().unwrap().iter().enumerate().map(pod).collect::<Vec<_>>()})
    }

    fn run(&mut self, command: &Command) -> anyhow::Result<Output> {
        if self
            .broken
            .is_some_and(|broken| command.line().contains(broken))
        {
            return fails(7, "broken on purpose");
        }
        let args: Vec<_> = command.args.iter().map(String::as_str).collect();
        match command.program.as_str() {
            "ip" => self.ip(&args),
            "docker" => self.docker(&args),
            "tee" => {
                fs::write(args[0], command.stdin.as_ref().unwrap()).unwrap();
                says("")
            }
            "fireworks" => {
                assert_eq!(args.last(), Some(&"--detach"));
                fs::create_dir_all(self.file("proc/42")).unwrap();
                let words = command.args[..args.len() - 1].join("\0");
                fs::write(
                    self.file("proc/42/cmdline"),
                    format!("fireworks\0{words}\0"),
                )
                .unwrap();
                fs::create_dir_all(self.file("var/lib/fireworks/net")).unwrap();
                fs::write(self.file("var/lib/fireworks/net/resolver.pid"), "42").unwrap();
                says("")
            }
            "sh" => {
                assert_eq!(args, ["-c", "kill 42"]);
                fs::remove_dir_all(self.file("proc/42")).unwrap();
                says("")
            }
            other => panic!("no such program in this world: {other}"),
        }
    }

    /// The node whose pods have this address.
    fn node_of(&self, address: Ipv4Addr) -> String {
        let number = usize::from(address.octets()[2]);
        self.nodes["items"][number]["metadata"]["name"]
            .as_str()
            .unwrap_or("somebody")
            .to_owned()
    }
}

/// The network of the fakes.
struct Cable(Arc<Mutex<State>>);

impl Wire for Cable {
    fn ask<'a>(&'a self, server: SocketAddr, _: Transport, query: &'a [u8]) -> Asking<'a, Vec<u8>> {
        let state = self.0.lock().unwrap();
        let question = question(query).unwrap();
        let mut answer = refusal(query, &question, Code::NoSuchName);
        answer[3] = 0x80;
        answer[7] = 1;
        let SocketAddr::V4(to) = server else {
            panic!("no IPv6 in this world")
        };
        let node = match server.port() {
            53 => None,
            // The address of the service: any of its pods.
            _ if to.ip().octets()[1] == 96 => Some(state.node_of("10.244.0.1".parse().unwrap())),
            _ => Some(state.node_of(*to.ip())),
        };
        let is_silent = node
            .as_deref()
            .is_some_and(|node| state.silent.contains(&node));
        answer.extend(node.unwrap_or_default().bytes());
        Box::pin(async move {
            if is_silent {
                Err(Fault::Silent)
            } else {
                Ok(answer)
            }
        })
    }

    fn look_up<'a>(&'a self, name: &'a str) -> Asking<'a, Vec<Ipv4Addr>> {
        let state = self.0.lock().unwrap();
        let pods = state.pods();
        let addresses = pods["items"].as_array().unwrap().iter();
        let mut found: Vec<Ipv4Addr> = match name.contains("headless") {
            true => addresses
                .map(|pod| pod["status"]["podIP"].as_str().unwrap().parse().unwrap())
                .collect(),
            false => vec!["10.96.7.7".parse().unwrap()],
        };
        found.sort_unstable();
        Box::pin(async move { Ok(found) })
    }
}

/// What was said.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Show for Heard {
    fn command(&self, _: &Command) {}

    fn line(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

struct World {
    state: Arc<Mutex<State>>,
    recorder: Recorder,
    cable: Cable,
    heard: Heard,
    settings: Settings,
    root: tempfile::TempDir,
}

impl World {
    /// A container on docker's own bridge, a cluster of three nodes beside it, and no bridge yet.
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("etc/resolv.conf", BEFORE);
        write(
            "proc/self/mountinfo",
            &format!("1 1 1:1 /docker/containers/{ID}/hosts /etc/hosts rw - ext4 /dev/x rw\n"),
        );
        write(
            "proc/self/status",
            "CapEff:\t00000000a80435fb\nCapBnd:\t00000000a80435fb\n",
        );
        let mut nodes = nodes();
        // The one that has no address yet.
        nodes["items"].as_array_mut().unwrap().pop();
        let state = Arc::new(Mutex::new(State {
            root: root.path().into(),
            is_joined: false,
            default: Some("172.17.0.1"),
            ipv6_default: false,
            routes: Vec::new(),
            nodes,
            cluster_is_there: true,
            docker_is_there: true,
            broken: None,
            silent: Vec::new(),
        }));
        let answering = Arc::clone(&state);
        World {
            recorder: Recorder::new(move |command| answering.lock().unwrap().run(command)),
            cable: Cable(Arc::clone(&state)),
            heard: Heard::default(),
            settings: Settings {
                cluster: "it".into(),
                namespace: "etl".into(),
                flags: " --name it --namespace etl".into(),
                network: "kind".into(),
                program: "fireworks".into(),
                on_host: false,
                dry_run: false,
                settling: Duration::ZERO,
            },
            state,
            root,
        }
    }

    fn bridge(&self) -> Bridge<'_> {
        Bridge {
            runner: &self.recorder as &dyn Runner,
            wire: &self.cable,
            show: &self.heard,
            place: Place::new(self.root.path()),
            settings: self.settings.clone(),
        }
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn resolv_conf(&self) -> String {
        fs::read_to_string(self.path("etc/resolv.conf")).unwrap()
    }

    /// The commands since the last call that change something.
    fn changes(&self, since: &mut usize) -> Vec<String> {
        let seen = self.recorder.lines();
        let new = seen[*since..]
            .iter()
            .filter(|line| !is_question(line))
            .cloned()
            .collect();
        *since = seen.len();
        new
    }

    /// All that `down` has to give back.
    fn snapshot(&self) -> (String, bool, Option<&'static str>, bool, Vec<Value>, bool) {
        let state = self.state.lock().unwrap();
        (
            fs::read_to_string(state.file("etc/resolv.conf")).unwrap(),
            state.is_joined,
            state.default,
            state.ipv6_default,
            state.routes.clone(),
            state.file("var/lib/fireworks").exists() || state.file("proc/42").exists(),
        )
    }
}

fn is_question(line: &str) -> bool {
    ["inspect", " get ", " show", "rollout status"]
        .iter()
        .any(|word| line.contains(word))
}

fn in_root(world: &World, text: &str) -> String {
    text.replace(&world.root.path().display().to_string(), "")
}

#[tokio::test]
async fn up_joins_routes_and_splits_names_with_resolv_conf_last() {
    let world = World::new();
    world.bridge().up().await.unwrap();
    let changes: Vec<_> = world
        .changes(&mut 0)
        .iter()
        .map(|line| in_root(&world, line))
        .collect();
    insta::assert_snapshot!(changes.join("\n"), @r"
    docker network connect kind bd3182d8dfbe00bf02f467a98488ced2d50e817f4b8a1c01a34ec9ff0d9bf933
    ip -4 route replace default via 172.17.0.1
    ip -6 route del default
    ip -4 route replace 10.244.0.0/24 via 172.18.0.4 proto 201
    ip -4 route replace 10.244.1.0/24 via 172.18.0.2 proto 201
    ip -4 route replace 10.244.2.0/24 via 172.18.0.3 proto 201
    ip -4 route replace 10.96.0.0/16 via 172.18.0.4 proto 201
    ip -4 route replace unreachable 10.244.0.0/16 proto 201
    fireworks net resolver --listen=127.0.0.201:53 --cluster-dns=10.96.0.10:53 --cluster-domain=cluster.local --cluster-network=10.244.0.0/16 --cluster-network=10.96.0.0/16 --upstream=127.0.0.11:53 --upstream=10.255.255.53:53 --folder=/var/lib/fireworks/net --detach
    tee /etc/resolv.conf
    docker exec -i it-control-plane kubectl --kubeconfig=/etc/kubernetes/admin.conf apply -f -
    ");
    assert!(world.resolv_conf().contains(
        "nameserver 127.0.0.201\nsearch etl.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
    ));
    insta::assert_snapshot!(world.heard.0.lock().unwrap().join("\n"), @r"
    ✓ on the docker network kind
    ✓ the default route as before
    ✓ routes to pods on 3 nodes and to services
    ✓ names: *.cluster.local at 10.96.0.10, all others at 127.0.0.11, 10.255.255.53
    ✓ bytes there and back, 12 ways
    ");
}

#[tokio::test]
async fn join_alone_keeps_the_default_route_and_is_undone_too() {
    let world = World::new();
    let before = world.snapshot();
    world.with(|state| state.cluster_is_there = false);
    world.bridge().join_only().await.unwrap();
    assert_eq!(
        world.changes(&mut 0)[1..],
        [
            "ip -4 route replace default via 172.17.0.1",
            "ip -6 route del default"
        ]
    );
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn up_after_a_join_still_knows_the_beginning() {
    let world = World::new();
    let before = world.snapshot();
    world.bridge().join_only().await.unwrap();
    world.bridge().up().await.unwrap();
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn second_up_changes_nothing() {
    let world = World::new();
    world.bridge().up().await.unwrap();
    let mut since = 0;
    world.changes(&mut since);
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    let changes = world.changes(&mut since);
    assert!(
        matches!(&changes[..], [only] if only.ends_with("apply -f -")),
        "{changes:?}"
    );
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn down_leaves_nothing_different() {
    let world = World::new();
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.resolv_conf(), BEFORE);
    let mut since = 0;
    world.changes(&mut since);
    world.bridge().down().await.unwrap();
    assert_eq!(world.changes(&mut since), Vec::<String>::new());
}

#[tokio::test]
async fn down_works_with_the_cluster_gone() {
    let world = World::new();
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    world.with(|state| state.cluster_is_there = false);
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn network_that_was_joined_by_somebody_else_is_not_left() {
    let world = World::new();
    world.with(|state| {
        state.join(true);
        state.default = Some("172.17.0.1");
    });
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
    assert!(
        !world
            .recorder
            .lines()
            .iter()
            .any(|line| line.starts_with("docker network"))
    );
}

/// A restart of the container: its routes, its processes and its resolv.conf are docker's again.
fn restart(world: &World) {
    world.with(|state| {
        state.routes.clear();
        state.join(true);
        fs::remove_dir_all(state.file("proc/42")).unwrap();
    });
}

#[tokio::test]
async fn up_after_a_restart_mends_everything_and_down_still_knows_the_beginning() {
    let world = World::new();
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    let up = world.snapshot();
    restart(&world);
    world.bridge().up().await.unwrap();
    assert_eq!(world.snapshot(), up);
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn down_right_after_a_restart_gives_back_the_beginning_too() {
    let world = World::new();
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    restart(&world);
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn nodes_that_have_moved_are_followed() {
    let world = World::new();
    world.bridge().up().await.unwrap();
    let mut since = 0;
    world.changes(&mut since);
    world.with(|state| {
        state.nodes["items"][0] = node("it-worker2", "172.18.0.7", "10.244.2.0/24", "True");
        state.nodes["items"].as_array_mut().unwrap().remove(2);
    });
    world.bridge().up().await.unwrap();
    assert_eq!(
        world.changes(&mut since)[..2],
        [
            "ip -4 route del 10.244.1.0/24 proto 201",
            "ip -4 route replace 10.244.2.0/24 via 172.18.0.7 proto 201"
        ]
    );
}

#[tokio::test]
async fn edited_resolv_conf_is_left_and_said() {
    let world = World::new();
    world.bridge().up().await.unwrap();
    let edited = world.resolv_conf() + "nameserver 1.1.1.1\n";
    fs::write(world.path("etc/resolv.conf"), &edited).unwrap();
    for outcome in [world.bridge().up().await, world.bridge().down().await] {
        let error = in_root(&world, &report(&outcome.unwrap_err()));
        assert_eq!(
            error,
            "error: `/etc/resolv.conf` has been edited since `net up` wrote it: it is left as it is\n\
             help: put it back as it was, then run this again: cat /var/lib/fireworks/net/resolv.conf.before >/etc/resolv.conf"
        );
    }
    assert_eq!(world.resolv_conf(), edited);
    assert!(
        world.path("proc/42").exists(),
        "the resolver that the file names was stopped"
    );
    fs::write(world.path("etc/resolv.conf"), BEFORE).unwrap();
    world.bridge().down().await.unwrap();
    assert!(!world.path("proc/42").exists() && !world.path("var/lib/fireworks").exists());
}

#[tokio::test]
async fn resolv_conf_that_somebody_else_has_written_is_left_and_the_rest_undone() {
    let world = World::new();
    world.bridge().up().await.unwrap();
    fs::write(world.path("etc/resolv.conf"), "nameserver 9.9.9.9\n").unwrap();
    world.bridge().down().await.unwrap();
    assert_eq!(world.resolv_conf(), "nameserver 9.9.9.9\n");
    assert!(!world.path("proc/42").exists());
    let heard = world.heard.0.lock().unwrap().join("\n");
    assert!(heard.contains("changed by somebody else"), "{heard}");
}

#[tokio::test]
async fn down_undoes_what_it_can_without_docker_and_the_rest_later() {
    let world = World::new();
    let before = world.snapshot();
    world.bridge().up().await.unwrap();
    world.with(|state| state.docker_is_there = false);
    let error = report(&world.bridge().down().await.unwrap_err());
    assert!(
        error.contains("Cannot connect to the Docker daemon"),
        "{error}"
    );
    assert_eq!(world.resolv_conf(), BEFORE);
    assert!(!world.path("proc/42").exists());
    world.with(|state| state.docker_is_there = true);
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn failure_at_any_command_leaves_names_as_they_were_and_down_clears_up() {
    for broken in [
        "network connect",
        "route replace 10.244.1",
        "resolver",
        "tee",
    ] {
        let world = World::new();
        let before = world.snapshot();
        world.with(|state| state.broken = Some(broken));
        let error = report(&world.bridge().up().await.unwrap_err());
        assert!(error.contains("broken on purpose"), "{error}");
        assert!(
            [BEFORE, JOINED].contains(&world.resolv_conf().as_str()),
            "{broken}: {}",
            world.resolv_conf()
        );
        world.with(|state| state.broken = None);
        world.bridge().down().await.unwrap();
        assert_eq!(world.snapshot(), before, "{broken}");
    }
}

#[tokio::test]
async fn failed_hop_is_named_with_the_command_that_mends_it() {
    let world = World::new();
    world.with(|state| state.silent = vec!["it-worker2"]);
    assert_eq!(
        report(&world.bridge().up().await.unwrap_err()),
        "error: it-worker2: the pod at 10.244.0.7: it connects, and then nothing comes through\n\
         help: docker restart it-worker2"
    );
}

#[tokio::test]
async fn missing_cluster_is_told_before_anything_is_changed() {
    let world = World::new();
    world.with(|state| state.cluster_is_there = false);
    let error = world.bridge().up().await.unwrap_err();
    assert!(error.is::<super::cluster::Absent>());
    assert!(report(&error).contains("fireworks up --name it"));
    assert_eq!(world.changes(&mut 0), Vec::<String>::new());
}

#[tokio::test]
async fn plain_host_is_refused_and_a_container_without_the_capability_too() {
    let world = World::new();
    fs::write(
        world.path("proc/self/status"),
        "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n",
    )
    .unwrap();
    let error = report(&world.bridge().up().await.unwrap_err());
    assert!(
        error.contains("NET_ADMIN") && error.contains("port-forward"),
        "{error}"
    );
    fs::write(world.path("proc/self/mountinfo"), "").unwrap();
    for outcome in [world.bridge().up().await, world.bridge().down().await] {
        let error = report(&outcome.unwrap_err());
        assert!(
            error.contains("no container") && error.contains("--on-host"),
            "{error}"
        );
    }
    assert_eq!(world.recorder.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn bridge_to_another_cluster_is_left_alone() {
    let mut world = World::new();
    world.bridge().up().await.unwrap();
    let before = world.snapshot();
    world.settings.cluster = "other".into();
    world.bridge().down().await.unwrap();
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn dry_run_changes_nothing() {
    let mut world = World::new();
    let before = world.snapshot();
    world.settings.dry_run = true;
    world.bridge().up().await.unwrap();
    assert_eq!(world.changes(&mut 0), Vec::<String>::new());
    assert_eq!(world.snapshot(), before);
}

#[tokio::test]
async fn status_tells_what_is_there_and_what_is_not() {
    let world = World::new();
    let rows = world.bridge().status().await.unwrap();
    assert!(
        rows.iter().filter(|row| !row.is_ok).count() == 3,
        "{rows:?}"
    );
    world.bridge().up().await.unwrap();
    let rows = world.bridge().status().await.unwrap();
    assert!(rows.iter().all(|row| row.is_ok), "{rows:?}");
    world.with(|state| state.routes.truncate(4));
    let rows = world.bridge().status().await.unwrap();
    insta::assert_snapshot!(screen(&rows), @r"
    ✓ network   on kind as 172.18.0.9
    ✗ routes    4 of 5; missing: 10.244.0.0/16 (pods of no node)
                fireworks net up --name it --namespace etl
    ✓ names     split at 127.0.0.201:53, process 42
    ");
}
