//! Routes to pods and services: which there are to be, and the commands that make it so.
//!
//! Pure. Every node's pods are reached by way of that node. One route for all pods by way of any node looks the
//! same to ping and to DNS and even to `connect`, and then hangs: answers come straight from the pod's own node,
//! the node that was sent through sees one direction only, and kube-proxy drops what conntrack calls invalid.
//!
//! All of ours carry a protocol number of their own, so that what is ours can be told, changed and removed
//! without a memory of it, also after a crash.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, anyhow};
use ipnet::Ipv4Net;
use serde_json::Value;

use super::cluster::{Cluster, list};
use crate::error::Help;
use crate::up::command::Command;

/// Marks our routes: a number that /etc/iproute2/rt_protos gives to nobody.
pub const PROTOCOL: &str = "201";

/// A route that there is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Ipv4Net,
    /// The next hop: none means that nobody is there, and that it is to be said at once.
    pub via: Option<Ipv4Addr>,
    /// Whom it leads to.
    pub what: String,
}

impl Route {
    fn replace(&self) -> Command {
        let command = Command::new("ip").args(["-4", "route", "replace"]);
        let to = self.to.to_string();
        match self.via {
            Some(via) => command.args([&to, "via", &via.to_string(), "proto", PROTOCOL]),
            None => command.args(["unreachable", &to, "proto", PROTOCOL]),
        }
    }
}

/// The routes to a cluster. What is left of the pod network below them belongs to no node, and would leave by
/// the default route for whoever has that address elsewhere.
pub fn wanted(cluster: &Cluster) -> Vec<Route> {
    let mut routes: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| Route {
            to: node.pods,
            via: Some(node.address),
            what: format!("pods on {}", node.name),
        })
        .collect();
    let node = cluster.service_node();
    routes.push(Route {
        to: cluster.services,
        via: Some(node.address),
        what: format!("services, by way of {}", node.name),
    });
    if routes.iter().all(|route| route.to != cluster.pods) {
        routes.push(Route {
            to: cluster.pods,
            via: None,
            what: "pods of no node".into(),
        });
    }
    routes
}

/// A route that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// None is the default route.
    pub to: Option<Ipv4Net>,
    pub via: Option<Ipv4Addr>,
    pub dev: String,
    is_unreachable: bool,
    is_ours: bool,
}

impl Present {
    fn is(&self, route: &Route) -> bool {
        self.is_ours
            && self.to == Some(route.to)
            && self.via == route.via
            && self.is_unreachable == route.via.is_none()
    }
}

/// Prints all routes of the main table.
pub fn show() -> Command {
    Command::new("ip").args(["-4", "-j", "route", "show"])
}

/// Reads what [`show`] prints.
pub fn read(json: &[u8]) -> anyhow::Result<Vec<Present>> {
    if json.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let routes: Value = serde_json::from_slice(json)
        .context("`ip -j route show` did not print JSON")
        .help(|| {
            "the bridge needs iproute2, not the `ip` of busybox: apt-get install iproute2".into()
        })?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |route: &Value| Present {
        to: destination(&text(&route["dst"])),
        via: text(&route["gateway"]).parse().ok(),
        dev: text(&route["dev"]),
        is_unreachable: route["type"] == "unreachable",
        is_ours: route["protocol"] == PROTOCOL,
    };
    Ok(list(&routes).map(read).collect())
}

/// A network as `ip` prints it: without its length where it is one address.
fn destination(text: &str) -> Option<Ipv4Net> {
    let address = |text: &str| Ipv4Net::new(text.parse().ok()?, 32).ok();
    text.parse().ok().or_else(|| address(text))
}

/// The commands from the routes that are there to those that are wanted: none, where all is well.
pub fn changes(present: &[Present], wanted: &[Route]) -> Vec<Command> {
    let stale = present.iter().filter(|present| {
        // `replace` takes the place of a route to the same network.
        present.is_ours && wanted.iter().all(|route| present.to != Some(route.to))
    });
    let removals = stale.filter_map(|present| {
        let to = present.to?;
        Some(Command::new("ip").args(["-4", "route", "del", &to.to_string(), "proto", PROTOCOL]))
    });
    let additions = missing(present, wanted).into_iter().map(Route::replace);
    removals.chain(additions).collect()
}

/// Those that are wanted and not there.
pub fn missing<'a>(present: &[Present], wanted: &'a [Route]) -> Vec<&'a Route> {
    wanted
        .iter()
        .filter(|route| present.iter().all(|present| !present.is(route)))
        .collect()
}

/// Whether any route is ours.
pub fn any_ours(present: &[Present]) -> bool {
    present.iter().any(|present| present.is_ours)
}

/// Removes every route of ours.
pub fn flush() -> Command {
    Command::new("ip").args(["-4", "route", "flush", "proto", PROTOCOL])
}

/// Fails where the cluster's networks are somebody else's already, on this machine's routes or among the
/// resolvers that are to go on answering.
pub fn check_clash(
    cluster: &Cluster,
    present: &[Present],
    nameservers: &[IpAddr],
) -> anyhow::Result<()> {
    let remedy = || {
        "make the cluster with other networks: networking.podSubnet and serviceSubnet of kind"
            .into()
    };
    for network in [cluster.pods, cluster.services] {
        let overlaps = |to: &Ipv4Net| to.contains(&network) || network.contains(to);
        if let Some(other) = present
            .iter()
            .filter(|present| !present.is_ours)
            .filter_map(|present| present.to.filter(|to| overlaps(to)))
            .next()
        {
            return Err(anyhow!(
                "the cluster's network {network} overlaps {other}, which this machine has a route to"
            ))
            .help(remedy);
        }
        let holds =
            |server: &&IpAddr| matches!(server, IpAddr::V4(server) if network.contains(server));
        if let Some(server) = nameservers.iter().find(holds) {
            return Err(anyhow!(
                "the cluster's network {network} holds the nameserver {server} of /etc/resolv.conf"
            ))
            .help(remedy);
        }
    }
    Ok(())
}

/// The default routes' next hops.
pub fn gateways(present: &[Present]) -> Vec<Ipv4Addr> {
    present
        .iter()
        .filter(|present| present.to.is_none() && !present.is_unreachable)
        .filter_map(|present| present.via)
        .collect()
}

/// Makes this the default route, and no other.
pub fn set_default(gateway: Option<Ipv4Addr>) -> Command {
    let command = Command::new("ip").args(["-4", "route"]);
    match gateway {
        Some(gateway) => command.args(["replace", "default", "via", &gateway.to_string()]),
        None => command.args(["del", "default"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        let node = |name: &str, address: &str, pods: &str| super::super::cluster::Node {
            name: name.into(),
            address: address.parse().unwrap(),
            pods: pods.parse().unwrap(),
            is_ready: true,
            is_control_plane: name == "cp",
        };
        Cluster {
            nodes: vec![
                node("cp", "172.18.0.4", "10.244.0.0/24"),
                node("w", "172.18.0.2", "10.244.1.0/24"),
            ],
            pods: "10.244.0.0/16".parse().unwrap(),
            services: "10.96.0.0/16".parse().unwrap(),
            domain: "cluster.local".into(),
            dns: "10.96.0.10".parse().unwrap(),
            dns_image: "coredns".into(),
        }
    }

    fn lines(commands: &[Command]) -> Vec<String> {
        commands.iter().map(Command::line).collect()
    }

    const DOCKER: &str = r#"{"dst":"default","gateway":"172.17.0.1","dev":"eth0","flags":[]},
        {"dst":"172.17.0.0/16","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"172.17.0.2","flags":[]}"#;
    const OURS: &str = r#"{"dst":"10.244.0.0/24","gateway":"172.18.0.4","dev":"eth1","protocol":"201","flags":[]},
        {"dst":"10.244.1.0/24","gateway":"172.18.0.2","dev":"eth1","protocol":"201","flags":[]},
        {"type":"unreachable","dst":"10.244.0.0/16","dev":"lo","protocol":"201","flags":[]},
        {"dst":"10.96.0.0/16","gateway":"172.18.0.4","dev":"eth1","protocol":"201","flags":[]}"#;

    fn present(routes: &[&str]) -> Vec<Present> {
        read(format!("[{}]", routes.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn every_node_has_a_route_and_what_no_node_owns_is_unreachable() {
        assert_eq!(
            lines(&changes(&present(&[DOCKER]), &wanted(&cluster()))),
            [
                "ip -4 route replace 10.244.0.0/24 via 172.18.0.4 proto 201",
                "ip -4 route replace 10.244.1.0/24 via 172.18.0.2 proto 201",
                "ip -4 route replace 10.96.0.0/16 via 172.18.0.4 proto 201",
                "ip -4 route replace unreachable 10.244.0.0/16 proto 201",
            ]
        );
    }

    #[test]
    fn nothing_is_to_do_where_all_routes_are_there() {
        assert_eq!(changes(&present(&[DOCKER, OURS]), &wanted(&cluster())), []);
    }

    #[test]
    fn moved_nodes_are_followed_and_gone_ones_forgotten() {
        let mut cluster = cluster();
        cluster.nodes[1].address = "172.18.0.9".parse().unwrap();
        let gone = r#"{"dst":"10.244.7.0/24","gateway":"172.18.0.7","dev":"eth1","protocol":"201"},
            {"dst":"10.9.9.9","gateway":"172.18.0.7","dev":"eth1","protocol":"201"}"#;
        assert_eq!(
            lines(&changes(&present(&[DOCKER, OURS, gone]), &wanted(&cluster))),
            [
                "ip -4 route del 10.244.7.0/24 proto 201",
                "ip -4 route del 10.9.9.9/32 proto 201",
                "ip -4 route replace 10.244.1.0/24 via 172.18.0.9 proto 201",
            ]
        );
    }

    #[test]
    fn route_of_somebody_else_is_never_taken_for_ours() {
        let other = OURS.replace(r#""201""#, r#""static""#);
        let present = present(&[DOCKER, &other]);
        assert!(!any_ours(&present));
        assert_eq!(changes(&present, &wanted(&cluster())).len(), 4);
        assert!(check_clash(&cluster(), &present, &[]).is_err());
    }

    #[test]
    fn clash_is_found_in_either_direction_and_with_the_resolvers() {
        let cluster = cluster();
        let clashes = |routes: &[&str], servers: &[IpAddr]| {
            check_clash(&cluster, &present(routes), servers).is_err()
        };
        assert!(!clashes(&[DOCKER, OURS], &["10.0.0.2".parse().unwrap()]));
        assert!(clashes(&[r#"{"dst":"10.0.0.0/8","dev":"tun0"}"#], &[]));
        assert!(clashes(&[r#"{"dst":"10.244.3.7","dev":"tun0"}"#], &[]));
        assert!(clashes(&[DOCKER], &["10.96.0.10".parse().unwrap()]));
    }

    #[test]
    fn output_of_another_ip_program_is_refused_with_the_remedy() {
        let error = read(b"default via 172.17.0.1 dev eth0\n").unwrap_err();
        assert!(crate::error::report(&error).contains("iproute2"));
        assert_eq!(read(b"").unwrap(), []);
    }
}
