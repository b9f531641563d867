//! The part of the plan that makes a kind cluster and brings images into its nodes. Pure.

use std::time::Duration;

use super::super::command::Command;
use super::super::plan::{Act, Check, Part, Plan, Step, Watch};
use super::super::settings::{Image, Kafka};
use super::super::target::PART_OF;
use super::super::{doctor, files};
use super::Builder;

/// Building from source, on a slow machine.
const BUILD: Duration = Duration::from_secs(3_600);
/// Pulling a node image and making a cluster.
const CREATE: Duration = Duration::from_secs(900);
/// An image into all nodes.
const LOAD: Duration = Duration::from_secs(600);
/// The answer of an API server that is up.
const API: Duration = Duration::from_secs(120);
/// From here on docker can be told which platform of an image to save, and with its containerd store it must be.
const SAVES_BY_PLATFORM: (u32, u32) = (1, 48);
/// kind's own network has this one, so that it is used as it is.
const SUBNET: &str = "fc00:f853:ccd:e793::/64";

impl Builder<'_> {
    pub fn kind(&self, name: &str, network: &str, plan: &mut Plan) {
        let steps = &mut plan.steps;
        if let Image::Made { tag } = &self.settings.image {
            steps.push(self.image(tag));
        }
        steps.push(self.cluster(name, network));
        steps.push(self.nodes());
        if self.facts.container.is_some() && self.facts.machine.has_net_admin {
            steps.push(self.bridge());
        }
        let image = self.settings.image.reference();
        let is_made = matches!(self.settings.image, Image::Made { .. });
        if is_made || self.can_be_loaded(image) {
            let from = if is_made { "image" } else { "cluster" };
            steps.push(self.load("load", name, image).after(&[from]));
        }
        if let Kafka::Install { image, .. } = &self.settings.kafka
            && self.can_be_loaded(image)
        {
            steps.push(self.load("load-kafka", name, image));
        }
        if let Some(image) = &self.settings.spark_image
            && self.can_be_loaded(image)
        {
            steps.push(self.load("load-spark", name, image));
        }
    }

    /// Whether the engine has an image that the nodes may lack. What it saves has tags only: an image that is named
    /// by digest is pulled by the nodes.
    fn can_be_loaded(&self, image: &str) -> bool {
        !image.contains('@') && self.facts.images.iter().any(|present| present == image)
    }

    /// The image around this executable, or from source where that does not run on the image's base.
    fn image(&self, tag: &str) -> Step {
        let context = self.path("image");
        let dockerfile = self
            .folder()
            .join("docker/packed.Dockerfile")
            .display()
            .to_string();
        let label = format!("--label={PART_OF}");
        let present = Check::succeeds(Command::new("docker").args(["image", "inspect", tag]));
        let executable = self.settings.executable.display().to_string();
        let packed = [
            Command::new("mkdir").args(["-p", &context]),
            Command::new("cp").args([&executable, &format!("{context}/fireworks")]),
            Command::new("docker")
                .args([
                    "build",
                    "--tag",
                    tag,
                    &label,
                    "--file",
                    &dockerfile,
                    &context,
                ])
                .within(LOAD),
            Command::new("rm").args(["-r", &context]),
        ];
        // Its sources are in it: an installed executable has no source tree.
        let source = self.path("source");
        let from_source = [
            self.ourselves().args(["unpack", "--source", &source]),
            Command::new("docker")
                .args(["build", "--tag", tag, &label])
                .args(["--file", &format!("{source}/docker/Dockerfile"), &source])
                .within(BUILD),
            Command::new("rm").args(["-r", &source]),
        ];
        let from_source = from_source.map(Act::Run).into();
        let mut part = Part::unless([present], packed);
        if self.fits() {
            part.otherwise = from_source;
        } else {
            part.acts = from_source;
        }
        Step::new("image", format!("image {tag}"))
            .after(&["files"])
            .part(part)
    }

    /// Whether this executable is of the kind that the engine's containers run.
    fn fits(&self) -> bool {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let engine = self.facts.docker.found();
        engine.is_none_or(|engine| engine.os == std::env::consts::OS && engine.arch == arch)
    }

    fn cluster(&self, name: &str, network: &str) -> Step {
        let workers = self.settings.workers;
        let title = match self.workers(name).len() {
            1 => format!("kind cluster `{name}`: 1 control plane, 1 worker"),
            many => format!("kind cluster `{name}`: 1 control plane, {many} workers"),
        };
        let creating = self.path("creating");
        let kubeconfig = format!("--kubeconfig={}", self.target.kubeconfig().display());
        let name_flag = format!("--name={name}");
        let kind = |verb: &str, noun: &str| Command::new("kind").args([verb, noun, &name_flag]);
        let stopped = Command::new("docker").args([
            "ps",
            "--all",
            "--quiet",
            &format!("--filter=label=io.x-k8s.kind.cluster={name}"),
            "--filter=status=exited",
        ]);
        let mut create = kind("create", "cluster")
            .args([&kubeconfig, "--retain", "--config=-"])
            .stdin(files::cluster_config(workers, self.settings.port))
            .within(CREATE);
        if let Some(image) = doctor::node_image(self.facts, self.settings.node_image.as_deref()) {
            create = create.arg(format!("--image={image}"));
        }
        let internal = self.facts.container.as_ref().map(|_| "--internal");
        let mut step = Step::new("cluster", title)
            .after(&["files"])
            .part(self.network(network))
            // One that was interrupted while it was made is made anew.
            .part(Part::when(
                [Check::succeeds(
                    Command::new("test").args(["-e", &creating]),
                )],
                [
                    kind("delete", "cluster").arg(&kubeconfig).within(CREATE),
                    Command::new("rm").args(["-f", &creating]),
                ],
            ))
            .part(Part::unless(
                [Check::says(
                    Command::new("docker").args(node_names(name)),
                    format!("{name}-control-plane"),
                )],
                [
                    Command::new("touch").arg(&creating),
                    create,
                    Command::new("rm").arg(&creating),
                ],
            ))
            // After a restart of the engine.
            .part(Part {
                unless: vec![Check::is_empty(stopped)],
                ..Part::always([Command::new("docker")
                    .arg("start")
                    .args(self.node_containers(name))
                    .within(API)])
            });
        if let Some(container) = &self.facts.container {
            step = step.part(self.join(network, container));
            step.undo = vec![self.leave()];
        }
        step.part(Part::always([kind("get", "kubeconfig")
            .args(internal)
            .stdout(self.target.kubeconfig())]))
    }

    /// Puts this container on the cluster's network, without which its API server can't be reached. The bridge does
    /// it, because docker moves the default route and writes resolv.conf, and that is to be undone one day.
    fn join(&self, network: &str, container: &str) -> Part {
        let format = "--format={{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
        let networks = Command::new("docker").args(["container", "inspect", format, container]);
        let join = self.ourselves().args(["net", "join"]);
        Part::unless(
            [Check::says(networks, format!("{network} "))],
            [join.args(self.target.flags())],
        )
    }

    /// The docker network as kind would make it, with our label, so that `down` knows it.
    fn network(&self, network: &str) -> Part {
        let create = |ipv6: &[&str]| {
            Act::Run(
                Command::new("docker")
                    .args(["network", "create", "--driver=bridge"])
                    .arg("--opt=com.docker.network.bridge.enable_ip_masquerade=true")
                    .args(ipv6.iter().copied())
                    .args([&format!("--label={PART_OF}"), network]),
            )
        };
        Part {
            unless: vec![Check::succeeds(
                Command::new("docker").args(["network", "inspect", network]),
            )],
            acts: vec![create(&["--ipv6", "--subnet", SUBNET])],
            // Where there is no IPv6.
            otherwise: vec![create(&[])],
            ..Part::default()
        }
    }

    fn node_containers(&self, name: &str) -> Vec<String> {
        let known = self.facts.nodes.iter().map(|node| node.name.clone());
        let mut names: Vec<_> = known.collect();
        if names.is_empty() {
            names.push(format!("{name}-control-plane"));
            names.extend(self.workers(name));
        }
        names
    }

    /// The workers' containers, as kind names them.
    fn workers(&self, name: &str) -> Vec<String> {
        let known = self
            .facts
            .nodes
            .iter()
            .filter(|node| !node.is_control_plane);
        let names: Vec<_> = known.map(|node| node.name.clone()).collect();
        if !names.is_empty() {
            return names;
        }
        let number = |n: u8| if n == 1 { String::new() } else { n.to_string() };
        (1..=self.settings.workers)
            .map(|n| format!("{name}-worker{}", number(n)))
            .collect()
    }

    fn nodes(&self) -> Step {
        let ready = self
            .kubectl()
            .args(["get", "--raw=/readyz"])
            .within(Duration::from_secs(10));
        let wait = self.kubectl().args([
            "wait",
            "--for=condition=Ready",
            "nodes",
            "--all",
            &self.seconds(),
        ]);
        let flags = self.target.short_flags();
        Step::new("nodes", "nodes are ready")
            .after(&["cluster"])
            .help(format!(
                "a cluster whose nodes got other addresses at a restart of docker may not come back: \
                 fireworks down{flags}, then fireworks up{flags}"
            ))
            .part(Part::wait(Act::Until { command: ready, says: "ok".into(), deadline: API.min(self.settings.timeout) }))
            .part(Part::wait(Act::Wait {
                command: wait.within(self.patience()),
                watch: Watch::Nodes { kubectl: self.kubectl() },
            }))
    }

    /// An image from the engine into the workers, as an archive.
    fn load(&self, step: &'static str, cluster: &str, image: &str) -> Step {
        let workers = self.workers(cluster);
        let present = workers.iter().map(|worker| {
            Check::succeeds(Command::new("docker").args([
                "exec",
                worker,
                "crictl",
                "inspecti",
                "-q",
                &qualified(image),
            ]))
        });
        let archive = self.path(&format!("{step}.tar"));
        let mut save = Command::new("docker").args(["save", "--output", &archive]);
        if let Some(docker) = self
            .facts
            .docker
            .found()
            .filter(|docker| docker.api >= SAVES_BY_PLATFORM)
        {
            save = save.arg(format!("--platform={}/{}", docker.os, docker.arch));
        }
        let load = Command::new("kind")
            .args([
                "load",
                "image-archive",
                &archive,
                &format!("--name={cluster}"),
            ])
            .arg(format!("--nodes={}", workers.join(",")));
        Step::new(step, format!("nodes have {image}"))
            .after(&["cluster"])
            .part(Part::unless(
                present,
                [
                    save.arg(image).within(LOAD),
                    load.within(LOAD),
                    Command::new("rm").arg(&archive),
                ],
            ))
    }

    /// Takes this container off the cluster's network, whatever there is of the bridge.
    fn leave(&self) -> Command {
        self.ourselves()
            .args(["net", "down"])
            .args(self.target.flags())
    }

    fn bridge(&self) -> Step {
        let up = self
            .ourselves()
            .args(["net", "up"])
            .args(self.target.flags());
        let mut step = Step::new(
            "bridge",
            "this container uses the cluster's names and addresses",
        )
        .after(&["nodes"])
        .part(Part::always([up.within(API)]));
        step.undo = vec![self.leave()];
        step
    }
}

fn node_names(cluster: &str) -> [String; 4] {
    [
        "ps".into(),
        "--all".into(),
        format!("--filter=label=io.x-k8s.kind.cluster={cluster}"),
        "--format={{.Names}}".into(),
    ]
}

/// An image by its whole name, as the nodes list it.
fn qualified(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    match image.contains('/') {
        true if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        true => format!("docker.io/{image}"),
        false => format!("docker.io/library/{image}"),
    }
}
