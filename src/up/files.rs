//! The files that `up` brings along: the charts, the cluster's configuration, the Dockerfiles, the pinned versions.
//!
//! They are those of the source tree's `kind/` and `docker/`, embedded when the binary is built, and so are the sources
//! themselves, for an image where this executable does not fit. Nothing is read from the source tree at run time.

use anyhow::Context;
use include_dir::{Dir, DirEntry, include_dir};
use xxhash_rust::xxh64::Xxh64;

static KIND: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/kind");
/// On the control plane of a cluster that `up` made.
pub const NODE_LABEL: &str = "part-of=fireworks";

/// What `docker/Dockerfile` builds from: folders and files of the source tree.
static SOURCE_FOLDERS: [(&str, Dir<'_>); 6] = [
    ("benches", include_dir!("$CARGO_MANIFEST_DIR/benches")),
    ("docker", include_dir!("$CARGO_MANIFEST_DIR/docker")),
    ("kind", include_dir!("$CARGO_MANIFEST_DIR/kind")),
    ("src", include_dir!("$CARGO_MANIFEST_DIR/src")),
    ("static", include_dir!("$CARGO_MANIFEST_DIR/static")),
    ("templates", include_dir!("$CARGO_MANIFEST_DIR/templates")),
];
static SOURCE_FILES: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../../Cargo.toml")),
    ("Cargo.lock", include_str!("../../Cargo.lock")),
    ("LICENSE", include_str!("../../LICENSE")),
];

static PACKED: &str = include_str!("../../docker/packed.Dockerfile");
const PACKED_NAME: &str = "docker/packed.Dockerfile";

/// Write the charts, the cluster's configuration and the Dockerfile to a folder, for plain helm, kind and docker.
#[derive(Clone, Debug, clap::Args)]
pub struct UnpackArgs {
    /// The folder; it is made where it is missing
    pub folder: std::path::PathBuf,

    /// Write the sources too, for `docker build --file FOLDER/docker/Dockerfile FOLDER`
    #[arg(long, env = "FIREWORKS_SOURCE")]
    pub source: bool,
}

/// Writes the files below a folder.
pub fn unpack(args: &UnpackArgs) -> anyhow::Result<()> {
    let UnpackArgs { folder, source } = args;
    let sources = source.then(sources).unwrap_or_default();
    for (path, content) in all().into_iter().chain(sources) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, content))
            .with_context(|| format!("failed to write `{}`", path.display()))?;
    }
    Ok(())
}

/// A number that changes with any of the files.
pub fn hash() -> u64 {
    let mut hash = Xxh64::new(0);
    for (path, content) in all() {
        hash.update(path.as_bytes());
        hash.update(content);
    }
    hash.digest()
}

/// The Dockerfile that packs an executable.
pub fn packed_dockerfile() -> &'static str {
    PACKED
}

/// A pinned version, image or checksum of `kind/pins.env`.
pub fn pin(name: &str) -> &'static str {
    let pins = KIND
        .get_file("pins.env")
        .and_then(|file| file.contents_utf8());
    let mut lines = pins.unwrap_or_default().lines();
    lines
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_default()
}

/// The cluster's configuration with this number of workers, and the dashboard on this port.
pub fn cluster_config(workers: u8, port: u16) -> String {
    const WORKER: &str = "  - role: worker\n";
    const CONTROL_PLANE: &str = "  - role: control-plane\n";
    let text = KIND
        .get_file("cluster.yaml")
        .and_then(|file| file.contents_utf8());
    let text = text.unwrap_or_default();
    let first = text.find(WORKER).unwrap_or(text.len());
    let (before, after) = (&text[..first], text[first..].trim_start_matches(WORKER));
    // The label says whose cluster it is; it can be read off the node's container when the cluster is dead. A
    // kubelet refuses labels of kubernetes.io.
    let label = format!(
        "{CONTROL_PLANE}    labels:\n      {}\n",
        NODE_LABEL.replace('=', ": ")
    );
    let before = before
        .replace(CONTROL_PLANE, &label)
        .replace("hostPort: 8080\n", &format!("hostPort: {port}\n"));
    // Comments on top are for who reads the file.
    let before = before.lines().skip_while(|line| line.starts_with('#'));
    let before: String = before.map(|line| format!("{line}\n")).collect();
    before + &WORKER.repeat(usize::from(workers)) + after
}

fn all() -> Vec<(String, &'static [u8])> {
    let mut files = vec![(PACKED_NAME.to_owned(), PACKED.as_bytes())];
    collect("kind", &KIND, &mut files);
    files.sort();
    files
}

fn sources() -> Vec<(String, &'static [u8])> {
    let files = SOURCE_FILES.iter();
    let mut files: Vec<_> = files
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes()))
        .collect();
    for (name, folder) in &SOURCE_FOLDERS {
        collect(name, folder, &mut files);
    }
    files
}

fn collect(name: &str, folder: &Dir<'static>, files: &mut Vec<(String, &'static [u8])>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(name, folder, files),
            DirEntry::File(file) => {
                files.push((format!("{name}/{}", file.path().display()), file.contents()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn unpacked_charts_are_those_of_the_source_tree() {
        let folder = tempfile::tempdir().unwrap();
        unpack(&UnpackArgs {
            folder: folder.path().into(),
            source: true,
        })
        .unwrap();
        for name in [
            "Cargo.lock",
            "docker/Dockerfile",
            "benches/main.rs",
            "src/up/net/mod.rs",
            "templates/dashboard.html",
            "kind/charts/kafka/Chart.yaml",
            "kind/charts/fireworks/values.yaml",
            "kind/cluster.yaml",
            PACKED_NAME,
        ] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            assert_eq!(
                std::fs::read(folder.path().join(name)).unwrap(),
                std::fs::read(source).unwrap()
            );
        }
    }

    #[test]
    fn cluster_has_the_workers_and_the_port_that_were_asked_for() {
        let config = cluster_config(5, 9999);
        assert_eq!(config.matches("role: worker").count(), 5);
        assert!(config.contains("hostPort: 9999") && !config.contains("8080"));
        insta::assert_snapshot!(cluster_config(3, 8080));
    }

    #[test]
    fn everything_that_is_pinned_has_a_digest() {
        for name in ["NODE_IMAGE", "NODE_IMAGE_CGROUP_V1", "KAFKA_IMAGE"] {
            assert!(pin(name).contains("@sha256:"), "{name}: {}", pin(name));
        }
        assert!(pin("KIND_VERSION").starts_with('v'));
    }
}
