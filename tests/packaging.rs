//! What stands around the binary agrees with itself: pins, charts, and both ways into the dev container. Docker is a
//! stand-in on a private PATH that writes down what it is asked; the charts have tests of their own (tests/charts/run).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A value of `kind/pins.env`.
fn pin(name: &str) -> String {
    let pins = read("kind/pins.env");
    let value = pins
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[test]
fn pinned_images_and_tools_have_digests() {
    for image in ["NODE_IMAGE", "NODE_IMAGE_CGROUP_V1", "KAFKA_IMAGE"] {
        let (name, digest) = pin(image)
            .split_once("@sha256:")
            .map(|(name, digest)| (name.to_owned(), digest.to_owned()))
            .unwrap();
        assert!(name.contains(':'), "{image} has no tag");
        assert!(
            digest.len() == 64 && digest.bytes().all(|c| c.is_ascii_hexdigit()),
            "{image}"
        );
    }
    for tool in ["KIND", "KUBECTL", "HELM"] {
        assert!(pin(&format!("{tool}_VERSION")).starts_with('v'));
        for architecture in ["AMD64", "ARM64"] {
            assert_eq!(pin(&format!("{tool}_SHA256_{architecture}")).len(), 64);
        }
    }
}

#[test]
fn charts_have_the_version_of_the_crate_and_the_pinned_kafka() {
    let image = format!("\nimage: {}\n", pin("KAFKA_IMAGE"));
    assert!(read("kind/charts/kafka/values.yaml").contains(&image));
    let version = format!("\nappVersion: {}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("kind/charts/fireworks/Chart.yaml").contains(&version));
    let kafka = pin("KAFKA_IMAGE");
    let kafka = kafka.split([':', '@']).nth(1).unwrap();
    assert!(read("kind/charts/kafka/Chart.yaml").contains(&format!("\nappVersion: {kafka}\n")));
}

#[test]
fn build_of_the_image_sees_every_target_that_the_manifest_names() {
    let (manifest, ignore) = (read("Cargo.toml"), read(".dockerignore"));
    let mut named = 0;
    for section in manifest.split("\n[[").skip(1) {
        let (kind, rest) = section.split_once("]]").unwrap();
        let rest = rest.split("\n[").next().unwrap();
        let value = |key: &str| {
            let line = rest.lines().find_map(|line| line.strip_prefix(key))?;
            Some(
                line.trim_start_matches([' ', '='])
                    .trim_matches('"')
                    .to_owned(),
            )
        };
        let folder = match kind {
            "bench" => "benches",
            "bin" => "src/bin",
            "example" => "examples",
            "test" => "tests",
            other => panic!("[[{other}]]"),
        };
        let path =
            value("path").unwrap_or_else(|| format!("{folder}/{}.rs", value("name").unwrap()));
        assert!(root().join(&path).exists(), "{path}");
        let top = path.split('/').next().unwrap();
        assert!(
            ignore.lines().any(|line| line == format!("!{top}")),
            ".dockerignore keeps {path} out"
        );
        named += 1;
    }
    assert!(named > 0);
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "static",
        "templates",
        "kind",
        "docker",
    ] {
        assert!(
            ignore.lines().any(|line| line == format!("!{file}")),
            "{file}"
        );
    }
}

#[test]
fn one_version_of_spark_is_pinned_everywhere() {
    let pom = read("kind/spark/pom.xml");
    let (_, version) = pom.split_once("<spark.version>").unwrap();
    let version = version.split('<').next().unwrap();
    assert!(read("kind/spark/requirements.txt").contains(&format!("\npyspark=={version}\n")));
    assert!(
        read("docker/spark.Dockerfile").contains(&format!("\nARG BASE=apache/spark:{version}-"))
    );
    assert!(
        read("kind/charts/fireworks/values.yaml").contains(&format!("\n    version: {version}\n"))
    );
}

#[test]
fn editor_and_make_shell_open_the_same_container() {
    let (editor, shell) = (
        read(".devcontainer/devcontainer.json"),
        read("docker/dev").replace("$name", "fireworks-dev"),
    );
    for (volume, target) in [
        ("fireworks-dev-cargo", "/usr/local/cargo/registry"),
        ("fireworks-dev-target", "/var/cache/fireworks"),
        ("fireworks-dev-home", "/root"),
    ] {
        assert!(editor.contains(&format!("source={volume},target={target},type=volume")));
        assert!(shell.contains(&format!("--volume \"{volume}\":{target}")));
    }
    assert!(
        editor.contains("\"capAdd\": [\"NET_ADMIN\"]") && shell.contains("--cap-add NET_ADMIN")
    );
    for ours in [&editor, &shell] {
        assert!(ours.contains("docker/devcontainer.Dockerfile") && ours.contains("/workspace"));
    }
}

/// A folder that stands in for the sites of kind, kubectl and helm, and the pins that fit it.
fn mirror() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let made = Command::new("bash")
        .args(["-euc", MIRROR, "mirror"])
        .arg(at)
        .status()
        .unwrap();
    assert!(made.success());
    let curl = at.join("bin/curl");
    fs::create_dir(at.join("bin")).unwrap();
    fs::write(&curl, CURL).unwrap();
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
    let pins = at.join("pins.env");
    (folder, pins)
}

const MIRROR: &str = r#"
cd "$1"
case $(uname -m) in x86_64) arch=amd64 ;; *) arch=arm64 ;; esac
mkdir -p v1 "v2/bin/linux/$arch" "linux-$arch"
printf '#!/bin/sh\necho kind\n' >"v1/kind-linux-$arch"
printf '#!/bin/sh\necho kubectl\n' >"v2/bin/linux/$arch/kubectl"
printf '#!/bin/sh\necho helm\n' >"linux-$arch/helm"
tar -czf "helm-v3-linux-$arch.tar.gz" "linux-$arch"
sum() { sha256sum <"$1" | cut -d' ' -f1; }
printf '%s\n' KIND_VERSION=v1 KUBECTL_VERSION=v2 HELM_VERSION=v3 \
    "KIND_SHA256_${arch^^}=$(sum "v1/kind-linux-$arch")" \
    "KUBECTL_SHA256_${arch^^}=$(sum "v2/bin/linux/$arch/kubectl")" \
    "HELM_SHA256_${arch^^}=$(sum "helm-v3-linux-$arch.tar.gz")" >pins.env
"#;

/// What has to do where there is no curl: the dev container has one, a bare machine may not.
const CURL: &str = r#"#!/bin/sh
while [ $# -gt 1 ]; do
    [ "$1" = -o ] && to=$2
    shift
done
exec cp "${1#file://}" "$to"
"#;

fn fetch(mirror: &Path, pins: &Path, into: &Path) -> Output {
    let from = format!("file://{}", mirror.display());
    let path = std::env::var("PATH").unwrap();
    Command::new(root().join("docker/fetch-tools"))
        .args([pins, into])
        .env("PATH", format!("{path}:{}/bin", mirror.display()))
        .envs(["KIND_FROM", "KUBECTL_FROM", "HELM_FROM"].map(|site| (site, &from)))
        .output()
        .unwrap()
}

#[test]
fn tools_are_installed_by_their_checksums_alone() {
    let (mirror, pins) = mirror();
    let into = mirror.path().join("tools");
    let fetched = fetch(mirror.path(), &pins, &into);
    assert!(fetched.status.success(), "{fetched:?}");
    for tool in ["kind", "kubectl", "helm"] {
        let said = Command::new(into.join(tool)).output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap().trim(), tool);
    }

    let elsewhere = mirror.path().join("refused");
    let program = fs::read_dir(mirror.path().join("v2/bin/linux")).unwrap();
    let program = program.into_iter().next().unwrap().unwrap().path();
    fs::write(program.join("kubectl"), "#!/bin/sh\necho another\n").unwrap();
    let refused = fetch(mirror.path(), &pins, &elsewhere);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("is not what kind/pins.env expects"), "{said}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// `docker/dev` with nothing on the PATH but what it needs, and this in docker's place.
fn dev(docker: Option<&str>, args: &[&str]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    fs::write(&log, "").unwrap();
    for tool in ["bash", "dirname", "env", "grep", "sed", "id"] {
        let found = ["/usr/bin", "/bin"].map(|at| Path::new(at).join(tool));
        let found = found.iter().find(|path| path.exists()).unwrap();
        symlink(found, folder.path().join(tool)).unwrap();
    }
    if let Some(docker) = docker {
        let text = format!("#!/bin/sh\necho \"$*\" >>{}\n{docker}\n", log.display());
        // Written by another process: a child that a test beside this one forks could hold it open for writing.
        let written = Command::new("bash")
            .args([
                "-euc",
                "printf %s \"$2\" >\"$1\"; chmod 755 \"$1\"",
                "write",
            ])
            .args([folder.path().join("docker"), text.into()])
            .status()
            .unwrap();
        assert!(written.success());
    }
    let output = Command::new(root().join("docker/dev"))
        .args(args)
        .env_clear()
        .env("PATH", folder.path())
        .env("FIREWORKS_LOG_LEVEL", "debug")
        .env("FIREWORKS_DEV_NAME", "other")
        .output()
        .unwrap();
    (output, fs::read_to_string(log).unwrap())
}

#[test]
fn dev_container_says_what_it_lacks() {
    let (output, _) = dev(None, &["shell"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("error: docker is not installed\nhelp: "),
        "{said}"
    );

    let (output, asked) = dev(
        Some("echo 'permission denied on the socket' >&2; exit 1"),
        &["shell"],
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("does not answer: permission denied on the socket\nhelp: "),
        "{said}"
    );
    assert_eq!(asked.lines().count(), 1);
}

#[test]
fn dev_container_is_made_once_and_replaced_when_its_image_changes() {
    let asked = |running: &str| {
        let docker = format!(
            "case \"$1 $2\" in 'image inspect') echo sha256:new ;; 'container inspect') {running} ;; esac"
        );
        let (output, asked) = dev(Some(&docker), &["run", "echo", "a b"]);
        assert!(output.status.success(), "{output:?}");
        let verbs = asked.lines().map(|line| line.split(' ').next().unwrap());
        (verbs.collect::<Vec<_>>().join(" "), asked)
    };
    let (verbs, first) = asked("exit 1");
    assert_eq!(verbs, "version image build image container run exec");
    assert!(first.contains("--cap-add NET_ADMIN") && first.contains(":/workspace "));
    // A flag of ours by its variable goes in; what is about the container alone doesn't.
    let last = first.lines().last().unwrap();
    assert_eq!(
        last,
        "exec --interactive --env FIREWORKS_LOG_LEVEL other echo a b"
    );

    let (verbs, _) = asked("echo sha256:new true");
    assert_eq!(verbs, "version image build image container exec");
    let (verbs, _) = asked("echo sha256:new false");
    assert_eq!(verbs, "version image build image container start exec");
    let (verbs, _) = asked("echo sha256:old true");
    assert_eq!(verbs, "version image build image container rm run exec");
}

#[test]
fn dev_container_that_is_there_is_used_where_it_cannot_be_built_anew() {
    let docker = |image: &str| {
        format!(
            "case \"$1 $2\" in 'image inspect') {image} ;; 'container inspect') echo sha256:old true ;;
            build*) echo 'no such host' >&2; exit 1 ;; esac"
        )
    };
    let (output, asked) = dev(Some(&docker("echo sha256:old")), &["run", "true"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no such host\nwarning: ") && said.contains("is used"));
    assert_eq!(
        asked.lines().last().unwrap().split(' ').next(),
        Some("exec")
    );

    let (output, asked) = dev(Some(&docker("exit 1")), &["run", "true"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no such host\nerror: ") && said.contains("\nhelp: "));
    assert!(!asked.contains("exec "));
}

#[test]
fn up_from_outside_of_the_dev_container_says_how_to_go_on() {
    let docker = |ends: &str| {
        format!(
            "case \"$1 $2\" in 'image inspect') echo sha256:new ;; 'container inspect') echo sha256:new true ;;
            exec*) {ends} ;; esac"
        )
    };
    let said = |ends: &str, args: &[&str]| {
        let (output, _) = dev(Some(&docker(ends)), args);
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said.contains("make down"))
    };
    assert_eq!(said("exit 0", &["fireworks", "up"]), (Some(0), true));
    assert_eq!(said("exit 3", &["fireworks", "up"]), (Some(3), false));
    assert_eq!(
        said("exit 0", &["fireworks", "up", "--dry-run"]),
        (Some(0), false)
    );
    assert_eq!(said("exit 0", &["fireworks", "status"]), (Some(0), false));
}
