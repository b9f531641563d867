//! Which cluster is meant, and how every command names it.
//!
//! Nothing here asks the cluster or reads the user's own kubeconfig: `up` makes a private one with a single
//! context, and every `kubectl` and `helm` names both.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::command::Command;
use crate::error::Help;

/// The docker network that kind puts its nodes on, unless this variable names another.
const NETWORK_VARIABLE: &str = "KIND_EXPERIMENTAL_DOCKER_NETWORK";
/// What everything of ours is labelled with.
pub const PART_OF: &str = "app.kubernetes.io/part-of=fireworks";

/// The flags that name a cluster and say how to go about it.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// The kind cluster, which is made where there is none
    #[arg(
        long,
        value_name = "NAME",
        env = "FIREWORKS_NAME",
        default_value = "fireworks",
        global = true
    )]
    pub name: String,

    /// Use the cluster of this kubeconfig context, and make none
    #[arg(
        long,
        value_name = "CONTEXT",
        env = "FIREWORKS_CONTEXT",
        conflicts_with = "name",
        global = true
    )]
    pub context: Option<String>,

    /// The namespace for Kafka and the pipeline
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "FIREWORKS_NAMESPACE",
        default_value = "fireworks",
        global = true
    )]
    pub namespace: String,

    /// Print the commands and run none of them
    #[arg(long, env = "FIREWORKS_DRY_RUN", global = true)]
    pub dry_run: bool,

    /// Print one JSON object a line on standard output
    #[arg(long, env = "FIREWORKS_JSON", global = true)]
    pub json: bool,

    /// Don't ask before changing a cluster that is not on this machine
    #[arg(long, env = "FIREWORKS_YES", global = true)]
    pub yes: bool,
}

/// A cluster, and where what we know of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub cluster: Cluster,
    pub namespace: String,
    /// A folder of this target alone: kubeconfig, lock, unpacked charts, the bridge's backup. It is a cache and
    /// evidence; what is true is asked of docker and Kubernetes.
    pub state: PathBuf,
}

/// Whose cluster it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// One of ours, on the local docker engine.
    Kind { name: String, network: String },
    /// One that is there already, by the context of the user's kubeconfig.
    Existing { context: String },
}

impl TargetArgs {
    /// Validates the flags without asking anybody.
    pub fn target(&self) -> anyhow::Result<Target> {
        check_name("--name", &self.name, 40)?;
        check_name("--namespace", &self.namespace, 63)?;
        let cluster = match &self.context {
            None => Cluster::Kind {
                name: self.name.clone(),
                network: std::env::var(NETWORK_VARIABLE).unwrap_or_else(|_| "kind".into()),
            },
            Some(context) if context.is_empty() => {
                return Err(anyhow!("invalid --context: it is empty"))
                    .help(|| "list them: kubectl config get-contexts".into());
            }
            Some(context) => Cluster::Existing {
                context: context.clone(),
            },
        };
        let state = state_root()?.join(folder(&cluster));
        Ok(Target {
            cluster,
            namespace: self.namespace.clone(),
            state,
        })
    }
}

impl Target {
    /// The private kubeconfig, of one context.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// The context in it.
    pub fn context(&self) -> String {
        match &self.cluster {
            Cluster::Kind { name, .. } => format!("kind-{name}"),
            Cluster::Existing { context } => context.clone(),
        }
    }

    /// `kubectl`, told which cluster.
    pub fn kubectl(&self) -> Command {
        Command::new("kubectl")
            .arg(option("--kubeconfig", &self.kubeconfig()))
            .arg(format!("--context={}", self.context()))
    }

    /// `helm`, told which cluster and namespace.
    pub fn helm(&self) -> Command {
        Command::new("helm")
            .arg(option("--kubeconfig", &self.kubeconfig()))
            .arg(format!("--kube-context={}", self.context()))
            .arg(format!("--namespace={}", self.namespace))
    }

    /// The flags of a `fireworks` command that means the same target.
    pub fn flags(&self) -> Vec<String> {
        let cluster = match &self.cluster {
            Cluster::Kind { name, .. } => format!("--name={name}"),
            Cluster::Existing { context } => format!("--context={context}"),
        };
        vec![cluster, format!("--namespace={}", self.namespace)]
    }

    /// The flags of a `fireworks` command that means the same target, those that have their usual value left out:
    /// for what a person is told to type.
    pub fn short_flags(&self) -> String {
        let mut words = String::new();
        match &self.cluster {
            Cluster::Kind { name, .. } if name == "fireworks" => {}
            Cluster::Kind { name, .. } => words += &format!(" --name {name}"),
            Cluster::Existing { context } => words += &format!(" --context {context}"),
        }
        if self.namespace != "fireworks" {
            words += &format!(" --namespace {}", self.namespace);
        }
        words
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// Names of Kubernetes objects and of containers: DNS labels.
fn check_name(flag: &str, name: &str, longest: usize) -> anyhow::Result<()> {
    let is_legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=longest).contains(&name.len())
        && name.chars().all(is_legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
    {
        return Ok(());
    }
    Err(anyhow!("invalid {flag} `{}`", name.escape_debug())).help(|| {
        format!("it has 1 to {longest} lower-case letters, digits and `-`, and no `-` at its ends")
    })
}

/// Where targets keep their folders, as the XDG base directories have it.
fn state_root() -> anyhow::Result<PathBuf> {
    let from = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .map(|root| root.join("fireworks"))
        .ok_or_else(|| {
            anyhow!("there is no folder to keep state in: neither XDG_STATE_HOME nor HOME is set")
        })
}

/// A folder's name for a cluster; the names of contexts hold about anything.
fn folder(cluster: &Cluster) -> String {
    match cluster {
        Cluster::Kind { name, .. } => name.clone(),
        Cluster::Existing { context } => {
            let safe = |c: char| {
                if c.is_ascii_alphanumeric() || "-_".contains(c) {
                    c
                } else {
                    '_'
                }
            };
            let hash = xxhash_rust::xxh64::xxh64(context.as_bytes(), 0);
            format!(
                "context-{}-{hash:016x}",
                context.chars().map(safe).collect::<String>()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn existing(context: &str) -> Cluster {
        Cluster::Existing {
            context: context.into(),
        }
    }

    #[test]
    fn contexts_that_differ_have_folders_of_their_own() {
        let folders = ["a/b", "a_b", "../a"].map(|context| folder(&existing(context)));
        assert!(folders.iter().all(|folder| !folder.contains(['/', '.'])));
        assert_ne!(folders[0], folders[1]);
    }

    #[test]
    fn every_command_names_kubeconfig_and_context() {
        let target = Target {
            cluster: existing("prod"),
            namespace: "etl".into(),
            state: "/state/x".into(),
        };
        assert_eq!(
            target.kubectl().line(),
            "kubectl --kubeconfig=/state/x/kubeconfig --context=prod"
        );
        assert_eq!(
            target.helm().line(),
            "helm --kubeconfig=/state/x/kubeconfig --kube-context=prod --namespace=etl"
        );
    }

    #[test]
    fn names_that_kubernetes_refuses_are_refused_first() {
        for name in ["", "-a", "a-", "A", "a.b", "a b"] {
            assert!(check_name("--name", name, 40).is_err(), "{name}");
        }
        assert!(check_name("--name", &"a".repeat(41), 40).is_err());
        assert!(check_name("--name", "fireworks-2", 40).is_ok());
    }
}
