//! What tools say when something is wrong with the machine, and what to do about it.
//!
//! Texts of other programs change; one that isn't known any more costs the remedy, never the error.

use super::command::{Missing, Stopped};
use super::target::Target;
use crate::error::or_help;

/// What is said in the error, in lower case, and the remedy.
const KNOWN: &[(&str, &str)] = &[
    (
        "no space left on device",
        "make room: docker system prune, docker image prune --all; then fireworks up goes on",
    ),
    (
        "port is already allocated",
        "another program has the port: stop it, or pass --port",
    ),
    (
        "address already in use",
        "another program has the port: stop it, or pass --port",
    ),
    (
        "permission denied while trying to connect to the docker daemon",
        "sudo usermod -aG docker $USER, and log in again",
    ),
    (
        "cannot connect to the docker daemon",
        "start it: sudo systemctl start docker, or Docker Desktop",
    ),
    (
        "too many open files",
        "sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512",
    ),
    (
        "is not running",
        "a node's container has ended, mostly for want of inotify instances: \
         sudo sysctl fs.inotify.max_user_instances=512; or see docker logs NODE",
    ),
    (
        "could not find a log line that matches",
        "the nodes do not start: sudo sysctl fs.inotify.max_user_instances=512, or another --node-image",
    ),
    (
        "pool overlaps with other one",
        "another network has the addresses: docker network ls, docker network prune",
    ),
    (
        "the number of brokers is fixed",
        "their records go with it: fireworks down, then fireworks up with the other --kafka-replicas",
    ),
    (
        "another operation (install/upgrade/rollback) is in progress",
        "somebody else's helm is at work on it: wait for it, then fireworks up",
    ),
    (
        "x509: certificate",
        "the cluster is not the one that the kubeconfig was made for: fireworks down, then fireworks up",
    ),
    (
        "is forbidden: user",
        "this user may not do that in this namespace: ask for it, or pass another --namespace or --context",
    ),
];

/// The error with the best remedy that is known.
pub fn explain(error: anyhow::Error, target: &Target) -> anyhow::Error {
    let flags = target.short_flags();
    if error.is::<Stopped>() {
        return or_help(error, || {
            format!(
                "what was made stays: fireworks up{flags} goes on, fireworks down{flags} removes it"
            )
        });
    }
    if error.is::<Missing>() {
        return or_help(error, || "see what is missing: fireworks doctor".into());
    }
    let said = format!("{error:#}").to_lowercase();
    if let Some((_, remedy)) = KNOWN.iter().find(|(text, _)| said.contains(text)) {
        return or_help(error, || (*remedy).to_owned());
    }
    or_help(error, || {
        format!(
            "fireworks up{flags} goes on where it stopped; for the evidence: fireworks logs{flags} --bundle evidence.tar.gz"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::command::Failed;
    use super::super::target::Cluster;
    use super::*;
    use crate::error::report;

    fn explained(error: anyhow::Error) -> String {
        let cluster = Cluster::Kind {
            name: "a".into(),
            network: "kind".into(),
        };
        let target = Target {
            cluster,
            namespace: "fireworks".into(),
            state: "/nowhere".into(),
        };
        report(&explain(error, &target))
    }

    #[test]
    fn full_disk_is_recognised_in_what_docker_says() {
        let said = "write /var/lib/docker/tmp/x: No space left on device".into();
        let error = Failed {
            line: "docker build .".into(),
            code: 1,
            said,
        };
        assert_eq!(
            explained(error.into()),
            "error: `docker build .` exited with 1\n  write /var/lib/docker/tmp/x: No space left on device\n\
             help: make room: docker system prune, docker image prune --all; then fireworks up goes on"
        );
    }

    #[test]
    fn interruption_says_how_to_go_on() {
        assert_eq!(
            explained(Stopped.into()),
            "error: interrupted\nhelp: what was made stays: fireworks up --name a goes on, fireworks down --name a removes it"
        );
    }

    #[test]
    fn remedy_that_is_known_already_is_kept() {
        let error = or_help(anyhow::anyhow!("no space left on device"), || {
            "ask Ann".into()
        });
        assert_eq!(
            explained(error),
            "error: no space left on device\nhelp: ask Ann"
        );
    }

    #[test]
    fn what_a_user_may_not_do_is_told_from_what_a_policy_forbids() {
        let user = "pods is forbidden: User \"ann\" cannot list resource \"pods\"";
        assert!(explained(anyhow::anyhow!(user)).contains("help: this user may not"));
        let policy = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\"";
        assert!(!explained(anyhow::anyhow!(policy)).contains("this user"));
    }
}
