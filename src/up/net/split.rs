//! Which names are the cluster's.
//!
//! Pure, and all that the resolver decides: a name goes one way, whatever is asked about it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Where a name is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At the cluster's DNS.
    Cluster,
    /// Nowhere: there is no such name. The search list completes it, and nobody else is to hear of it.
    Nowhere,
    /// Where it was asked for before.
    Before,
}

/// What tells the cluster's names from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The cluster's domain, such as `cluster.local`.
    domain: String,
    /// What a full name of a service has in it where a search list has added to it.
    completed: String,
    /// The networks of pods and services, whose addresses the cluster can name.
    networks: Vec<Ipv4Net>,
}

impl Split {
    pub fn new(domain: &str, networks: Vec<Ipv4Net>) -> Split {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        Split {
            completed: format!(".svc.{domain}."),
            domain,
            networks,
        }
    }

    /// The way of a name in lower case, without the dot at its end.
    pub fn way(&self, name: &str) -> Way {
        if is_within(name, &self.domain) {
            return Way::Cluster;
        }
        // A search list that goes on behind a cluster that does not answer: nobody has such names, and a
        // wildcard somewhere would answer for the cluster.
        if name.contains(&self.completed) {
            return Way::Nowhere;
        }
        // Brokers may be advertised as `broker-0.brokers.kafka.svc`: no domain of the internet, and `svc` with
        // the search list's `cluster.local` behind it is what is meant.
        if is_within(name, "svc") {
            return Way::Nowhere;
        }
        match reverse(name) {
            Some(address) if self.networks.iter().any(|net| net.contains(&address)) => Way::Cluster,
            _ => Way::Before,
        }
    }
}

fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The address that a name of the reverse tree is for.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let forward: Vec<_> = name.strip_suffix(".in-addr.arpa")?.rsplit('.').collect();
    forward.join(".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(name: &str) -> Way {
        let networks = ["10.244.0.0/16", "10.96.0.0/16"].map(|net| net.parse().unwrap());
        Split::new("Cluster.Local.", networks.into()).way(name)
    }

    #[test]
    fn cluster_names_go_to_the_cluster() {
        for name in [
            "kafka.fireworks.svc.cluster.local",
            "kafka-0.kafka-headless.fireworks.svc.cluster.local",
            "_kafka._tcp.kafka.fireworks.svc.cluster.local",
            "cluster.local",
            "5.1.244.10.in-addr.arpa",
            "10.0.96.10.in-addr.arpa",
        ] {
            assert_eq!(way(name), Way::Cluster, "{name}");
        }
    }

    #[test]
    fn halves_of_service_names_leak_nowhere() {
        for name in [
            "svc",
            "kafka.fireworks.svc",
            "a.b.c.svc",
            "kafka.fireworks.svc.cluster.local.corp.example",
        ] {
            assert_eq!(way(name), Way::Nowhere, "{name}");
        }
    }

    #[test]
    fn all_other_names_go_where_they_went_before() {
        for name in [
            "",
            "local",
            "kafka",
            "example.com",
            "mycluster.local",
            "cluster.local.example.com",
            "notsvc",
            "svc.example.com",
            "1.2.3.4.in-addr.arpa",
            "1.244.10.in-addr.arpa",
            "x.1.244.10.in-addr.arpa",
        ] {
            assert_eq!(way(name), Way::Before, "{name}");
        }
    }
}
