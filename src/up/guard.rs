//! Whose cluster is about to be changed: said, and for one that isn't on this machine only with `--yes`.

use anyhow::anyhow;

use super::facts::{Facts, Tool};
use super::report::{Event, Report};
use super::target::{Cluster, Target};
use crate::error::Help;

/// Names that local clusters give their contexts.
const LOCAL: &[&str] = &[
    "kind-",
    "k3d-",
    "minikube",
    "docker-desktop",
    "rancher-desktop",
    "orbstack",
    "colima",
];

/// Refuses an existing cluster that can't be found, or that is elsewhere and was not agreed to.
pub fn allow(target: &Target, facts: &Facts, yes: bool, report: &Report) -> anyhow::Result<()> {
    let Cluster::Existing { context } = &target.cluster else {
        return Ok(());
    };
    let Tool::Found(found) = &facts.context else {
        return Err(anyhow!("there is no context `{context}` in the kubeconfig"))
            .help(|| "list them: kubectl config get-contexts".into());
    };
    report.send(&Event::Note {
        text: format!(
            "cluster {} ({context}), namespace {}, user {}",
            found.server, target.namespace, found.user
        ),
    });
    if yes || is_local(context, &found.server) {
        return Ok(());
    }
    Err(anyhow!(
        "the cluster {} is not on this machine",
        found.server
    ))
    .help(|| format!("to change it, as {}, say so: --yes", found.user))
}

fn is_local(context: &str, server: &str) -> bool {
    let host = server.split("://").last().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let is_loopback = ["127.0.0.1", "localhost", "[::1]"].contains(&host);
    // A name alone proves nothing: production may be called kind-of-blue.
    is_loopback || LOCAL.iter().any(|name| context.starts_with(name)) && !host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::super::facts::Context;
    use super::super::report::Json;
    use super::*;

    fn asked(context: &str, server: &str, yes: bool) -> anyhow::Result<()> {
        let target = Target {
            cluster: Cluster::Existing {
                context: context.into(),
            },
            namespace: "etl".into(),
            state: "/nowhere".into(),
        };
        let found = Context {
            server: server.into(),
            user: "admin".into(),
        };
        let facts = Facts {
            context: Tool::Found(found),
            ..Facts::default()
        };
        allow(&target, &facts, yes, &Report::new(Json(std::io::sink())))
    }

    #[test]
    fn cluster_elsewhere_is_changed_only_when_that_was_said() {
        let error = asked("prod", "https://api.example.com:6443", false).unwrap_err();
        assert_eq!(
            crate::error::report(&error),
            "error: the cluster https://api.example.com:6443 is not on this machine\n\
             help: to change it, as admin, say so: --yes"
        );
        assert!(asked("prod", "https://api.example.com:6443", true).is_ok());
        assert!(asked("kind-of-blue", "https://api.example.com", false).is_err());
    }

    #[test]
    fn cluster_of_this_machine_needs_no_word() {
        for (context, server) in [
            ("k3d-a", "https://0.0.0.0:6550"),
            ("a", "https://127.0.0.1:1"),
            ("kind-a", "https://a-control-plane:6443"),
        ] {
            let outcome = asked(context, server, false);
            assert_eq!(outcome.is_ok(), context != "k3d-a", "{context}");
        }
    }
}
