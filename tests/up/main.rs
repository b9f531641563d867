//! `up` and `down` as a person meets them, on good days and bad: the real binary, and docker, kind, helm and kubectl
//! that only say what they were asked. No cluster is made; `make e2e` does that.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const TOOLS: [&str; 4] = ["docker", "kind", "helm", "kubectl"];
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine: programs that only pretend, and what they know.
struct World {
    folder: tempfile::TempDir,
    port: u16,
}

impl World {
    fn new() -> World {
        World::with_tools(&TOOLS)
    }

    fn with_tools(tools: &[&str]) -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("path");
        fs::create_dir(&path).unwrap();
        let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/up/fake");
        for tool in tools {
            symlink(&fake, path.join(tool)).unwrap();
        }
        // A port that is free until somebody else takes it; nobody here listens on it.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        World { folder, port }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A command in this world.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let arch = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        command
            .args(arguments)
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("path").display()),
            )
            .env("HOME", self.folder.path())
            .env("WORLD", self.folder.path())
            .env("PORT", self.port.to_string())
            .env("ARCH", arch)
            .env("FIREWORKS_PORT", self.port.to_string())
            .stdin(Stdio::null());
        command
    }

    fn fireworks(&self, arguments: &str) -> Command {
        let words: Vec<_> = arguments.split(' ').collect();
        // Another docker of this machine must not be found where one is missing here.
        let mut command = self.command(env!("CARGO_BIN_EXE_fireworks"), &words);
        if !self.path("path/docker").exists() {
            command.env("PATH", self.path("path"));
        }
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.fireworks(arguments).output().unwrap()
    }

    /// Runs it and fails unless it succeeds; its standard error.
    fn succeed(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments}: {stderr}");
        stderr
    }

    /// Runs it and fails unless it fails with 1; the error and the remedy.
    fn refuse(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {stderr}");
        let at = stderr
            .rfind("error: ")
            .unwrap_or_else(|| panic!("no error: {stderr}"));
        stderr[at..].to_owned()
    }

    /// What the tools were asked since the last time, and told.
    fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        fs::remove_file(self.path("log")).ok();
        log.lines().map(str::to_owned).collect()
    }

    /// Lets a tool do this first, for every question.
    fn trouble(&self, tool: &str, script: &str) {
        fs::write(self.path(&format!("trouble-{tool}")), script).unwrap();
    }

    fn no_trouble(&self, tool: &str) {
        fs::remove_file(self.path(&format!("trouble-{tool}"))).unwrap();
    }

    /// Starts it, and waits until the tools have been asked this.
    fn start_until(&self, arguments: &str, asked: &str) -> Child {
        let mut command = self.fireworks(arguments);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(self.path("log"))
            .unwrap_or_default()
            .contains(asked)
        {
            assert!(Instant::now() < deadline, "nobody asked: {asked}");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }
}

fn interrupt(child: &Child) {
    let id = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
}

/// How often each line is there.
fn counted(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.as_str()).or_default() += 1;
    }
    counts
}

/// Questions that only look.
fn is_question(line: &str) -> bool {
    let words = [
        "version",
        "info",
        "inspect",
        "ps --all",
        "inspecti",
        "status",
        "get ",
        "wait ",
        "get kubeconfig",
    ];
    line.is_empty() || words.iter().any(|word| line.contains(word))
}

#[test]
fn dry_run_prints_exactly_what_a_run_executes() {
    for flags in [
        "",
        " --kafka-replicas 3 --workers 2 --replicas 5",
        " --bootstrap-servers k:9092 -X a.b=it's",
    ] {
        let arguments = format!("up{flags}");
        // What is printed, given to a shell.
        let dry = World::new();
        let script = dry.run(&format!("{arguments} --dry-run"));
        assert!(
            script.status.success(),
            "{}",
            String::from_utf8_lossy(&script.stderr)
        );
        assert!(!dry.path("cluster").exists() && !dry.path(".local").exists());
        let facts = dry.asked();
        // `up` makes the folder before its lock.
        fs::create_dir_all(dry.path(".local/state/fireworks/fireworks")).unwrap();
        let script = String::from_utf8(script.stdout).unwrap();
        let shell = dry.command("sh", &["-c", &script]).output().unwrap();
        assert!(
            shell.status.success(),
            "{}\n{script}",
            String::from_utf8_lossy(&shell.stderr)
        );
        let by_script = dry.asked();
        // The same for real.
        let real = World {
            port: dry.port,
            ..World::new()
        };
        real.succeed(&arguments);
        let log = real.asked();
        let home = |lines: &[String], world: &World| -> Vec<String> {
            let home = world.folder.path().display().to_string();
            lines.iter().map(|line| line.replace(&home, "~")).collect()
        };
        let expected = [home(&facts, &dry), home(&by_script, &dry)].concat();
        assert_eq!(
            counted(&home(&log, &real)),
            counted(&expected),
            "{arguments}"
        );
        assert!(
            by_script
                .iter()
                .any(|line| line.starts_with("kind create cluster"))
        );
    }
}

#[test]
fn second_up_changes_nothing_and_says_so() {
    let world = World::new();
    let first = world.succeed("up");
    assert!(
        first.contains("✓ kind cluster `fireworks`: 1 control plane, 3 workers ("),
        "{first}"
    );
    world.asked();
    let output = world.run("up");
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(stdout.contains("Fireworks was up already"), "{stdout}");
    for step in [
        "charts",
        "image",
        "kind cluster",
        "nodes have",
        "namespace",
        "Kafka",
        "the pipeline",
    ] {
        let line = stderr
            .lines()
            .find(|line| line.contains(&format!("✓ {step}")));
        assert!(
            line.is_some_and(|line| line.ends_with("(already)")),
            "{step}: {stderr}"
        );
    }
    let done: Vec<_> = world
        .asked()
        .into_iter()
        .filter(|line| !is_question(line))
        .collect();
    let waits = done.iter().all(|line| line.contains("rollout status"));
    assert!(waits, "{done:?}");
}

#[test]
fn last_lines_are_the_address_something_to_try_and_how_to_stop() {
    let world = World::new();
    let stdout = String::from_utf8(world.run("up").stdout).unwrap();
    for words in [
        &format!("http://localhost:{}\n", world.port),
        "delete pod brownian-0",
        "Stop           fireworks down\n",
    ] {
        assert!(stdout.contains(words), "{stdout}");
    }
}

#[test]
fn json_is_one_versioned_event_a_line_and_ends_with_the_outcome() {
    let world = World::new();
    let output = world.run("up --json -X sasl.password=hunter2 --bootstrap-servers k:9092");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(events.iter().all(|event| event["v"] == 1));
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["changed"]),
        (&"done".into(), &true.into())
    );
    assert_eq!(
        last["dashboard"],
        format!("http://localhost:{}", world.port)
    );
    let all = stdout + &String::from_utf8_lossy(&output.stderr);
    assert!(!all.contains("hunter2"));
    assert!(
        world.asked().iter().any(|line| line.contains("hunter2")),
        "helm was told"
    );
}

#[test]
fn tools_that_are_missing_are_named_with_where_to_get_them() {
    let world = World::with_tools(&["docker", "kind", "kubectl"]);
    assert_eq!(
        world.refuse("up"),
        "error: helm: not installed\nhelp: install 3.13 or newer: https://helm.sh/docs/intro/install\n"
    );
    let world = World::with_tools(&[]);
    assert_eq!(
        world.refuse("up"),
        "error: docker: not installed\nhelp: install it: https://docs.docker.com/engine/install\n"
    );
}

#[test]
fn tools_that_are_too_old_are_refused() {
    let world = World::new();
    world.trouble(
        "kind",
        "[ \"$1\" != version ] || { echo 'kind v0.20.0 go1.20'; exit 0; }",
    );
    assert_eq!(
        world.refuse("up"),
        "error: kind: 0.20.0 is too old\n\
         help: install v0.33.0: https://kind.sigs.k8s.io/docs/user/quick-start/#installation\n"
    );
    assert!(!world.path("cluster").exists());
}

#[test]
fn socket_that_may_not_be_used_has_its_remedy() {
    let world = World::new();
    world.trouble(
        "docker",
        "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1",
    );
    assert_eq!(
        world.refuse("up"),
        "error: docker: its socket may not be used by this user\nhelp: sudo usermod -aG docker $USER, and log in again\n"
    );
}

#[test]
fn taken_port_is_refused_before_anything_is_made() {
    let world = World::new();
    let taken = TcpListener::bind(("127.0.0.1", world.port)).unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(
        world.refuse("up"),
        format!(
            "error: port: {port} is taken by another program\nhelp: stop that program, or pass --port {}\n",
            port.saturating_add(1)
        )
    );
    assert!(world.asked().iter().all(|line| is_question(line)));
}

#[test]
fn full_disk_has_its_remedy_and_the_next_up_goes_on() {
    let world = World::new();
    world.trouble(
        "kind",
        "[ \"$1\" != load ] || { echo 'ERROR: write /kind: no space left on device' >&2; exit 1; }",
    );
    let error = world.refuse("up");
    assert!(
        error.contains(
            "  ERROR: write /kind: no space left on device\nhelp: make room: docker system prune"
        ),
        "{error}"
    );
    world.no_trouble("kind");
    let second = world.succeed("up");
    assert!(
        second.contains("✓ kind cluster `fireworks`: 1 control plane, 3 workers (already)"),
        "{second}"
    );
}

#[test]
fn nodes_that_docker_stopped_are_started() {
    let world = World::new();
    world.succeed("up");
    fs::write(world.path("stopped"), "0123456789ab\n").unwrap();
    world.asked();
    world.succeed("up");
    let asked = world.asked();
    assert!(
        asked
            .iter()
            .any(|line| line.starts_with("docker start ")
                && line.contains(" fireworks-control-plane")),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|line| line.starts_with("kind create")));
}

#[test]
fn dead_cluster_of_the_same_name_is_told_with_the_way_out() {
    let world = World::new();
    world.succeed("up");
    let refusal = "The connection to the server 127.0.0.1:40883 was refused";
    world.trouble(
        "kubectl",
        &format!("case $line in *readyz*) echo '{refusal}' >&2; exit 1 ;; esac"),
    );
    let error = world.refuse("up --timeout 1s");
    assert!(error.contains(refusal), "{error}");
    assert!(
        error.ends_with("may not come back: fireworks down, then fireworks up\n"),
        "{error}"
    );
}

#[test]
fn release_that_is_stuck_is_freed() {
    for (state, way_out) in [
        ("pending-install", "uninstall"),
        ("pending-upgrade", "rollback"),
    ] {
        let world = World::new();
        fs::write(
            world.path("release-kafka"),
            format!("{{\"info\":{{\"status\":\"{state}\"}}}}"),
        )
        .unwrap();
        // There is nothing to go back to from a first install.
        world.trouble(
            "helm",
            "case $line in *rollback*) grep -q upgrade \"$WORLD/release-kafka\" && rm \"$WORLD/release-kafka\"; exit ;; esac",
        );
        world.succeed("up");
        let asked = world.asked();
        let freed = asked
            .iter()
            .position(|line| line.contains(&format!("{way_out} kafka")))
            .unwrap();
        let installed = asked
            .iter()
            .position(|line| line.contains("--install kafka"))
            .unwrap();
        assert!(freed < installed, "{state}");
    }
}

#[test]
fn image_is_built_from_source_where_this_executable_does_not_run_on_the_base() {
    let world = World::new();
    world.trouble(
        "docker",
        "case $line in *build*packed*) echo \"version 'GLIBC_2.99' not found\" >&2; exit 1 ;; esac",
    );
    let stderr = world.succeed("up");
    assert!(
        stderr.contains("another way, because: version 'GLIBC_2.99' not found"),
        "{stderr}"
    );
    assert!(
        world
            .asked()
            .iter()
            .any(|line| line.starts_with("docker build") && line.contains("docker/Dockerfile"))
    );
}

#[test]
fn interrupted_up_stops_its_tools_and_the_next_goes_on() {
    let world = World::new();
    world.trouble(
        "kind",
        "[ \"$1\" != create ] || { (sleep 3; touch \"$WORLD/survived\") & wait; }",
    );
    let child = world.start_until("up", "kind create cluster");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.ends_with(
            "error: interrupted\nhelp: what was made stays: fireworks up goes on, fireworks down removes it\n"
        ),
        "{stderr}"
    );
    std::thread::sleep(Duration::from_secs(4));
    assert!(!world.path("survived").exists(), "a child of kind lives on");
    world.no_trouble("kind");
    // Half a cluster may be there.
    fs::write(world.path("cluster"), "").unwrap();
    world.asked();
    world.succeed("up");
    let asked = world.asked();
    let place = |what: &str| {
        asked
            .iter()
            .position(|line| line.starts_with(what))
            .unwrap()
    };
    assert!(place("kind delete cluster") < place("kind create cluster"));
}

#[test]
fn interruption_of_the_first_questions_is_no_silent_engine() {
    for command in ["up", "down", "doctor"] {
        let world = World::new();
        world.trouble("docker", "case $line in *info*) sleep 20 ;; esac");
        let child = world.start_until(command, "docker info");
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("error: interrupted"), "{command}: {stderr}");
    }
}

#[test]
fn down_removes_nothing_where_it_can_not_tell_whose_it_is() {
    let world = World::new();
    world.succeed("up");
    world.asked();
    world.trouble(
        "docker",
        "case $line in 'docker ps'*) echo 'context deadline exceeded' >&2; exit 1 ;; esac",
    );
    assert_eq!(
        world.refuse("down"),
        "error: it can't be told whose cluster `fireworks` is: context deadline exceeded\n\
         help: nothing was removed; see what is wrong: fireworks doctor\n"
    );
    assert!(world.path("cluster").exists());
    assert!(!world.asked().iter().any(|line| line.contains("delete")));
}

#[test]
fn flags_that_would_mean_nothing_together_are_refused() {
    let world = World::new();
    for flags in [
        "--context prod --image a --workers 2",
        "--bootstrap-servers k:9092 --kafka-replicas 3",
    ] {
        let output = world.run(&format!("up {flags}"));
        assert_eq!(output.status.code(), Some(2), "{flags}");
    }
    #[cfg(not(feature = "tls"))]
    {
        let error = world.refuse("up --bootstrap-servers k:9092 -X security.protocol=SASL_SSL");
        assert!(
            error.contains("needs TLS") && error.contains("make install"),
            "{error}"
        );
        world.succeed(
            "up --bootstrap-servers k:9092 -X security.protocol=SASL_SSL --image a:1 --dry-run",
        );
    }
    assert!(!world.path("cluster").exists());
}

#[test]
fn second_interruption_ends_it_at_once() {
    let world = World::new();
    world.trouble(
        "kind",
        "[ \"$1\" != create ] || { trap '' TERM; sleep 20; }",
    );
    let child = world.start_until("up", "kind create cluster");
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn two_at_once_are_one_too_many() {
    let world = World::new();
    world.trouble("kind", "[ \"$1\" != create ] || sleep 20");
    let first = world.start_until("up", "kind create cluster");
    let error = world.refuse("up");
    let id = first.id();
    assert_eq!(
        error,
        format!(
            "error: another fireworks is at work on this cluster: process {id}\n\
             help: wait until it is done, or interrupt it: kill -INT {id}\n"
        )
    );
    assert!(
        world
            .refuse("down")
            .starts_with("error: another fireworks is at work")
    );
    interrupt(&first);
    first.wait_with_output().unwrap();
}

#[test]
fn cluster_elsewhere_is_touched_only_with_yes_and_pulls_its_image() {
    let world = World::new();
    let flags = "--context prod --image registry.example/fireworks:1";
    let output = world.run(&format!("up {flags}"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(
            "cluster https://api.example.com:6443 (prod), namespace fireworks, user admin"
        ),
        "{stderr}"
    );
    assert!(stderr.ends_with("error: the cluster https://api.example.com:6443 is not on this machine\nhelp: to change it, as admin, say so: --yes\n"), "{stderr}");
    assert!(
        world
            .asked()
            .iter()
            .all(|line| is_question(line) || line.contains("config view"))
    );
    world.succeed(&format!("up {flags} --yes"));
    let asked = world.asked();
    assert!(
        !asked
            .iter()
            .any(|line| line.starts_with("docker") || line.starts_with("kind")),
        "{asked:?}"
    );
    let named =
        |line: &&String| line.starts_with("kubectl --kube") || line.starts_with("helm --kube");
    assert!(
        asked
            .iter()
            .filter(named)
            .all(|line| line.contains("context=prod"))
    );
    assert_eq!(
        world.refuse("up --context prod --yes"),
        "error: --context needs --image: its nodes pull their images\n\
         help: build and push one: docker build -f docker/Dockerfile -t REGISTRY/fireworks:TAG . && docker push REGISTRY/fireworks:TAG\n"
    );
}

#[test]
fn down_leaves_nothing_and_finds_nothing_the_second_time() {
    let world = World::new();
    world.succeed("up");
    world.trouble(
        "docker",
        "case $line in *'json .Labels'*) [ -e \"$WORLD/network\" ] || exit 1; \
         echo '{\"app.kubernetes.io/part-of\":\"fireworks\"} used by 0'; exit ;; esac",
    );
    world.succeed("down");
    for name in ["cluster", "network", ".local/state/fireworks/fireworks"] {
        assert!(!world.path(name).exists(), "{name}");
    }
    let again = world.run("down");
    assert!(again.status.success());
    assert_eq!(
        String::from_utf8(again.stdout).unwrap(),
        "There is nothing to remove.\n"
    );
}

#[test]
fn down_leaves_a_cluster_alone_that_somebody_else_made() {
    let world = World::new();
    fs::write(world.path("cluster"), "").unwrap();
    world.trouble(
        "docker",
        "case $line in *' cp '*) echo 'node-labels: \"\"'; exit ;; esac",
    );
    assert_eq!(
        world.refuse("down"),
        "error: the kind cluster `fireworks` was not made by fireworks up\n\
         help: remove it yourself: kind delete cluster --name fireworks\n"
    );
    assert!(world.path("cluster").exists());
}

#[test]
fn doctor_says_all_in_a_second_and_fails_where_up_would() {
    let world = World::new();
    let began = Instant::now();
    let output = world.run("doctor");
    assert!(output.status.success());
    assert!(began.elapsed() < PATIENCE);
    let stdout = String::from_utf8(output.stdout).unwrap();
    for name in [
        "docker", "kind", "helm", "kubectl", "memory", "cgroup", "disk", "inotify", "port",
        "subnets",
    ] {
        assert!(
            stdout
                .lines()
                .any(|line| line.contains(&format!(" {name}: "))),
            "{name}: {stdout}"
        );
    }
    let bare = World::with_tools(&[]);
    assert!(
        bare.refuse("doctor")
            .starts_with("error: docker: not installed\n")
    );
}

#[test]
fn status_of_nothing_says_how_to_begin() {
    let world = World::new();
    let output = world.run("status");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Cluster    kind `fireworks`, namespace `fireworks`\n           there is none: fireworks up makes it\n"
    );
}
