//! The container that this process runs in: which one, on which networks, and what it may do.
//!
//! Files and answers are read here; nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::error::Help;
use crate::up::command::{Command, Runner};

/// The number of CAP_NET_ADMIN.
const NET_ADMIN: u32 = 12;
/// Letters of a container's id.
const ID_LENGTH: usize = 64;

/// The id of the container that this is; none on a plain host.
///
/// Docker mounts files over these three from a folder named after the container. The host name would do as
/// well only as long as nobody has set it to the name of another container.
pub fn own_id(root: &Path) -> Option<String> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    id_in_mounts(&mounts).or_else(|| {
        let is_container = [".dockerenv", "run/.containerenv"]
            .iter()
            .any(|mark| root.join(mark).exists());
        let name = fs::read_to_string(root.join("etc/hostname")).ok()?;
        is_container.then(|| name.trim().to_owned())
    })
}

fn id_in_mounts(mounts: &str) -> Option<String> {
    let files = ["/etc/hostname", "/etc/resolv.conf", "/etc/hosts"];
    let is_id =
        |part: &&str| part.len() == ID_LENGTH && part.bytes().all(|b| b.is_ascii_hexdigit());
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (source, target) = (fields.next()?, fields.next()?);
        let id = files
            .contains(&target)
            .then(|| source.split('/').rfind(is_id))??;
        Some(id.to_owned())
    })
}

/// What docker says of a container's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// By network name.
    pub networks: BTreeMap<String, Endpoint>,
    /// It has the network of its host.
    pub is_on_host: bool,
}

/// A container's place on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Option<Ipv4Addr>,
    pub gateway: Option<Ipv4Addr>,
    pub ipv6_gateway: Option<Ipv6Addr>,
}

impl Attached {
    /// Asks docker.
    pub async fn ask(runner: &dyn Runner, container: &str) -> anyhow::Result<Attached> {
        let command = Command::new("docker").args(["container", "inspect", container]);
        let output = runner.run(&command).await?;
        if !output.is_success()
            && output
                .last_lines()
                .to_lowercase()
                .contains("no such container")
        {
            return Err(anyhow!("docker does not know the container `{container}` that this is")).help(|| {
                "the docker engine in here must be the one that runs this container: mount its socket, \
                 -v /var/run/docker.sock:/var/run/docker.sock"
                    .into()
            });
        }
        let output = output.checked(&command).help(|| {
            "the bridge needs the docker engine that runs this container: fireworks doctor".into()
        })?;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{}` did not print JSON", command.line()))?;
        Ok(Attached::read(&answer[0]))
    }

    fn read(container: &Value) -> Attached {
        let address = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let networks = container["NetworkSettings"]["Networks"].as_object();
        let endpoint = |(name, endpoint): (&String, &Value)| {
            let endpoint = Endpoint {
                address: address(&endpoint["IPAddress"]),
                gateway: address(&endpoint["Gateway"]),
                ipv6_gateway: endpoint["IPv6Gateway"]
                    .as_str()
                    .and_then(|text| text.parse().ok()),
            };
            (name.clone(), endpoint)
        };
        Attached {
            networks: networks.into_iter().flatten().map(endpoint).collect(),
            is_on_host: container["HostConfig"]["NetworkMode"] == "host",
        }
    }

    /// The network that a gateway belongs to.
    pub fn network_of(&self, gateway: Ipv4Addr) -> Option<&str> {
        self.networks
            .iter()
            .find(|(_, endpoint)| endpoint.gateway == Some(gateway))
            .map(|(name, _)| name.as_str())
    }

    pub fn gateway(&self, network: &str) -> Option<Ipv4Addr> {
        self.networks
            .get(network)
            .and_then(|endpoint| endpoint.gateway)
    }
}

/// Fails, with what can be done instead, unless this process may change routes.
pub fn check_net_admin(
    root: &Path,
    container: Option<&str>,
    network: &str,
    again: &str,
) -> anyhow::Result<()> {
    let status = fs::read_to_string(root.join("proc/self/status"))
        .context("failed to read what this process may do")?;
    let may = |set: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(set)?.strip_prefix(':'))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << NET_ADMIN) != 0)
    };
    if may("CapEff") {
        return Ok(());
    }
    if may("CapBnd") {
        return Err(anyhow!("this user may not change routes"))
            .help(|| format!("run the same command as root: sudo {again}"));
    }
    let id = container.unwrap_or("CONTAINER");
    let id = id.get(..12).unwrap_or(id);
    Err(anyhow!("this container may not change its routes: it has no NET_ADMIN")).help(|| {
        format!(
            "one of these:\n\
             \x20 start it anew with the capability: docker run --cap-add NET_ADMIN …, in devcontainer.json \
             \"capAdd\": [\"NET_ADMIN\"]\n\
             \x20 let another container do it, in this one's network: docker run --rm --network container:{id} \
             --pid container:{id} --cap-add NET_ADMIN --volumes-from {id} -v /var/run/docker.sock:/var/run/docker.sock \
             IMAGE-OF-THIS {again}\n\
             \x20 do without the bridge: docker network connect {network} {id}, and use kubectl port-forward, \
             or run the client in the cluster: kubectl run -it --rm …"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;
    use serde_json::json;

    const ID: &str = "bd3182d8dfbe00bf02f467a98488ced2d50e817f4b8a1c01a34ec9ff0d9bf933";

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn container_is_known_by_what_docker_mounts_into_it() {
        let mounts = format!(
            "1071 975 254:0 /var/lib/docker/volumes/x/{} /data rw - ext4 /dev/vda rw\n\
             1072 975 254:0 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda rw\n",
            "0".repeat(64)
        );
        let root = root(&[
            ("proc/self/mountinfo", &mounts),
            ("etc/hostname", "another"),
        ]);
        assert_eq!(own_id(root.path()).unwrap(), ID);
    }

    #[test]
    fn container_without_such_mounts_is_known_by_its_host_name() {
        let root = root(&[("etc/hostname", "box\n"), (".dockerenv", "")]);
        assert_eq!(own_id(root.path()).unwrap(), "box");
    }

    #[test]
    fn plain_host_is_no_container() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n23 22 0:5 /etc/hosts /etc/hosts rw - ext4 /dev/vda rw\n";
        let root = root(&[("etc/hostname", "box\n"), ("proc/self/mountinfo", mounts)]);
        assert_eq!(own_id(root.path()), None);
    }

    #[test]
    fn networks_are_read_from_what_docker_says() {
        let attached = Attached::read(&json!({
            "HostConfig": {"NetworkMode": "default"},
            "NetworkSettings": {"Networks": {
                "bridge": {"Gateway": "172.17.0.1", "IPAddress": "172.17.0.2"},
                "stopped": {"Gateway": "", "IPAddress": ""},
            }},
        }));
        assert_eq!(
            attached.network_of("172.17.0.1".parse().unwrap()),
            Some("bridge")
        );
        assert_eq!(attached.gateway("stopped"), None);
        assert!(attached.networks.contains_key("stopped") && !attached.is_on_host);
        assert!(Attached::read(&json!({"HostConfig": {"NetworkMode": "host"}})).is_on_host);
    }

    #[test]
    fn missing_capability_names_the_alternatives_and_a_mere_user_sudo() {
        let check = |effective: &str, bounding: &str| {
            let status = format!("Name:\tx\nCapEff:\t{effective}\nCapBnd:\t{bounding}\n");
            let root = root(&[("proc/self/status", &status)]);
            check_net_admin(root.path(), Some(ID), "kind", "fireworks net up")
                .map_err(|error| report(&error))
        };
        assert_eq!(check("00000000a80435fb", "00000000a80435fb"), Ok(()));
        let user = check("0000000000000000", "00000000a80435fb").unwrap_err();
        assert!(user.contains("sudo fireworks net up"), "{user}");
        let container = check("00000000a80425fb", "00000000a80425fb").unwrap_err();
        for way in [
            "--cap-add NET_ADMIN",
            "--network container:bd3182d8dfbe",
            "port-forward",
        ] {
            assert!(container.contains(way), "{container}");
        }
    }
}
