//! What the bridge remembers of the container before it, in a folder of its own.
//!
//! Only what can't be asked any more once it has been changed: the resolv.conf, who joined the network, and which
//! way the default route went. It belongs to one container and says nothing in another. Written whole or not at
//! all, and before what it tells about is done, so that a crash leaves nothing that can't be undone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::resolv_conf;
use crate::error::Help;
use crate::up::command::keep;

/// The folder of the bridge: one a container, whatever clusters and users there are.
const FOLDER: &str = "var/lib/fireworks/net";

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The container that all of this is about; empty on a plain host.
    pub container: String,
    /// The kind cluster that the bridge leads to.
    pub cluster: String,
    /// The docker network that we joined, where it was us.
    pub joined: Option<String>,
    /// Which way the default route went before; none before it has been looked at.
    pub default_route: Option<DefaultRoute>,
    /// Docker had moved it when we joined, and we moved it back.
    pub moved_default: bool,
    /// Whether IPv6 had a default route before.
    pub had_ipv6_default: bool,
    /// Docker made one, and we removed it.
    pub removed_ipv6_default: bool,
    /// The resolv.conf before; none while we have not changed it.
    pub resolv_conf: Option<Files>,
}

/// A default route, in words that outlive a restart of the container, which gives it other addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultRoute {
    /// By the gateway of this docker network.
    Network(String),
    /// By a gateway that is none of docker's.
    Gateway(std::net::Ipv4Addr),
    /// There was none.
    None,
}

/// Contents of /etc/resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Before anything was done.
    pub before: Vec<u8>,
    /// What docker made of it when we joined the network.
    pub joined: Vec<u8>,
    /// What we wrote.
    pub ours: Vec<u8>,
}

impl Files {
    /// Whether this content came about by us, so that `before` may take its place. Where a crash left it open what
    /// docker has written, whatever is there counts as that.
    pub fn is_by_us(&self, content: &[u8]) -> bool {
        let is_open = self.joined.is_empty() && self.ours.is_empty();
        is_open || content == self.joined || resolv_conf::is_ours(content, &self.ours)
    }
}

/// Where the memory is.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    pub fn new(root: &Path) -> Place {
        Place { root: root.into() }
    }

    pub fn folder(&self) -> PathBuf {
        self.root.join(FOLDER)
    }

    /// The copy of resolv.conf for people; the memory has one of its own.
    pub fn backup(&self) -> PathBuf {
        self.folder().join("resolv.conf.before")
    }

    fn file(&self) -> PathBuf {
        self.folder().join("memory.json")
    }

    pub fn resolv_conf(&self) -> PathBuf {
        self.root.join("etc/resolv.conf")
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is remembered of this container.
    pub fn load(&self, container: &str) -> anyhow::Result<Option<Memory>> {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read `{}`", path.display()));
            }
        };
        let memory: Memory = serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is damaged", path.display()))
            .help(|| {
                format!(
                    "compare /etc/resolv.conf with `{}`, then remove the folder",
                    self.backup().display()
                )
            })?;
        Ok(Some(memory).filter(|memory| memory.container == container))
    }

    pub fn save(&self, memory: &Memory) -> anyhow::Result<()> {
        let write = || {
            fs::create_dir_all(self.folder())?;
            if let Some(files) = &memory.resolv_conf {
                keep(&self.backup(), &files.before)?;
            }
            keep(&self.file(), &serde_json::to_vec(memory)?)
        };
        write()
            .with_context(|| format!("failed to write into `{}`", self.folder().display()))
            .help(|| "the bridge changes files of root's: run the same command with sudo".into())
    }

    /// Forgets everything, files of the resolver included.
    pub fn clear(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("failed to remove `{}`", self.folder().display())),
            _ => {
                // Our folder for state at large, where nothing else is in it.
                drop(fs::remove_dir(self.root.join("var/lib/fireworks")));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_of_one_container_and_can_be_lost() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path());
        assert_eq!(place.load("a").unwrap(), None);
        let memory = Memory {
            container: "a".into(),
            default_route: Some(DefaultRoute::Gateway("172.17.0.1".parse().unwrap())),
            resolv_conf: Some(Files {
                before: b"\xff no text\n".into(),
                ..Files::default()
            }),
            ..Memory::default()
        };
        place.save(&memory).unwrap();
        assert_eq!(place.load("a").unwrap(), Some(memory));
        assert_eq!(place.load("b").unwrap(), None);
        assert_eq!(fs::read(place.backup()).unwrap(), b"\xff no text\n");
        place.clear().unwrap();
        place.clear().unwrap();
        assert_eq!(place.load("a").unwrap(), None);
        assert_eq!(
            fs::read_dir(root.path().join("var/lib")).unwrap().count(),
            0
        );
    }

    #[test]
    fn empty_file_is_ours_only_where_we_wrote() {
        let mut files = Files {
            before: b"nameserver 1.1.1.1\n".into(),
            joined: b"nameserver 127.0.0.11\n".into(),
            ours: Vec::new(),
        };
        assert!(files.is_by_us(b"nameserver 127.0.0.11\n"));
        assert!(!files.is_by_us(b""));
        files.ours = b"# ours\n".into();
        assert!(files.is_by_us(b"") && !files.is_by_us(b"nameserver 1.1.1.1\n"));
    }
}
