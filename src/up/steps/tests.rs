//! Plans as values: what is planned for which wish and which facts, read as scripts.

use std::time::Duration;

use super::super::facts::{Docker, NodeContainer, Tool};
use super::super::machine::Machine;
use super::super::settings::Image;
use super::*;

fn settings() -> Settings {
    Settings {
        target: Target {
            cluster: Cluster::Kind {
                name: "fireworks".into(),
                network: "kind".into(),
            },
            namespace: "fireworks".into(),
            state: "/state".into(),
        },
        workers: 3,
        kafka: Kafka::Install {
            replicas: 1,
            image: "apache/kafka:4.3.1".into(),
        },
        properties: Vec::new(),
        replicas: 3,
        image: Image::Made {
            tag: "fireworks:0123456789abcdef".into(),
        },
        spark_image: None,
        node_image: None,
        port: 8080,
        timeout: Duration::from_secs(300),
        executable: "/usr/local/bin/fireworks".into(),
        yes: false,
    }
}

fn facts() -> Facts {
    let docker = Docker {
        api: (1, 48),
        os: std::env::consts::OS.into(),
        arch: "amd64".into(),
        cgroup: 2,
        ..Docker::default()
    };
    Facts {
        docker: Tool::Found(docker),
        ..Facts::default()
    }
}

fn in_container() -> Facts {
    Facts {
        container: Some("c0ffee".into()),
        machine: Machine {
            has_net_admin: true,
            ..Machine::default()
        },
        ..facts()
    }
}

fn node(name: &str, is_control_plane: bool) -> NodeContainer {
    NodeContainer {
        name: name.into(),
        is_running: true,
        is_control_plane,
        port: None,
        image: "kindest/node:v1.34.4".into(),
    }
}

fn existing() -> Settings {
    Settings {
        target: Target {
            cluster: Cluster::Existing {
                context: "prod".into(),
            },
            ..settings().target
        },
        image: Image::Reference("registry.example/fireworks:1".into()),
        kafka: Kafka::Existing {
            addresses: "kafka.example:9093".into(),
        },
        properties: vec!["security.protocol=SSL".into()],
        ..settings()
    }
}

/// A plan as it is printed, without what changes with every edit of a chart.
fn script(settings: &Settings, facts: &Facts) -> String {
    let script = up(settings, facts).script();
    let hash = format!("{:016x}", files::hash());
    let script = script.replace(&hash, "FILES");
    let lines = script
        .lines()
        .map(|line| match line.split_once("fireworks-up-") {
            Some((before, after)) => format!("{before}fireworks-up-VERSION{}", &after[16..]),
            None => line.to_owned(),
        });
    lines.map(|line| line + "\n").collect()
}

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| step.name).collect()
}

#[test]
fn plan_for_a_bare_machine_is_readable() {
    insta::assert_snapshot!(script(&settings(), &facts()));
}

#[test]
fn plan_for_an_existing_cluster_is_readable() {
    insta::assert_snapshot!(script(&existing(), &Facts::default()));
}

#[test]
fn steps_come_after_what_they_need_in_every_plan() {
    for (settings, facts) in [
        (settings(), facts()),
        (settings(), in_container()),
        (existing(), Facts::default()),
    ] {
        let plan = up(&settings, &facts);
        let names = names(&plan);
        for (at, step) in plan.steps.iter().enumerate() {
            for name in &step.after {
                assert!(
                    names[..at].contains(name),
                    "{} after {name}: {names:?}",
                    step.name
                );
            }
        }
        assert_eq!(names.last(), Some(&"data"));
    }
}

#[test]
fn container_joins_the_network_and_builds_the_bridge_and_a_host_does_not() {
    let inside = script(&settings(), &in_container());
    assert!(inside.contains("fireworks net join --name=fireworks"));
    assert!(inside.contains("kind get kubeconfig --name=fireworks --internal >/state/kubeconfig"));
    assert!(inside.contains("fireworks net up --name=fireworks"));
    let plan = up(&settings(), &in_container());
    let bridge = plan
        .steps
        .iter()
        .find(|step| step.name == "bridge")
        .unwrap();
    assert_eq!(bridge.undo[0].args[..2], ["net", "down"]);
    // The step that joins the network is undone by itself too.
    let cluster = plan.steps.iter().find(|step| step.name == "cluster");
    assert_eq!(cluster.unwrap().undo, bridge.undo);
    let outside = script(&settings(), &facts());
    assert!(!outside.contains(" net join") && !outside.contains(" net up"));
}

#[test]
fn existing_cluster_gets_no_node_image_load_or_bridge() {
    let plan = up(&existing(), &in_container());
    assert_eq!(
        names(&plan),
        ["files", "cluster", "namespace", "fireworks", "data"]
    );
}

#[test]
fn image_by_digest_is_pulled_by_the_nodes_and_one_that_is_here_is_loaded() {
    let digest = "apache/kafka:4.3.1@sha256:77e3";
    for (image, is_loaded) in [
        ("apache/kafka:4.3.1", true),
        (digest, false),
        ("absent/kafka:1", false),
    ] {
        let settings = Settings {
            kafka: Kafka::Install {
                replicas: 1,
                image: image.into(),
            },
            ..settings()
        };
        let facts = Facts {
            images: vec!["apache/kafka:4.3.1".into(), digest.into()],
            ..facts()
        };
        assert_eq!(
            names(&up(&settings, &facts)).contains(&"load-kafka"),
            is_loaded,
            "{image}"
        );
    }
}

#[test]
fn platform_is_named_only_to_engines_that_take_it() {
    let old = Facts {
        docker: Tool::Found(Docker {
            api: (1, 41),
            cgroup: 2,
            ..facts().docker.found().cloned().unwrap()
        }),
        ..facts()
    };
    assert!(
        script(&settings(), &facts())
            .contains("docker save --output /state/load.tar --platform=linux/amd64")
    );
    assert!(!script(&settings(), &old).contains("--platform"));
}

#[test]
fn nodes_are_of_the_last_version_for_cgroup_1_where_that_is_all_there_is() {
    let old = Facts {
        docker: Tool::Found(Docker {
            cgroup: 1,
            ..facts().docker.found().cloned().unwrap()
        }),
        ..facts()
    };
    assert!(script(&settings(), &old).contains(files::pin("NODE_IMAGE_CGROUP_V1")));
    assert!(script(&settings(), &facts()).contains(files::pin("NODE_IMAGE")));
    let other_kind = Facts {
        kind: Tool::Found((0, 30, 0)),
        ..facts()
    };
    assert!(!script(&settings(), &other_kind).contains("--image="));
    let chosen = Settings {
        node_image: Some("mine:1".into()),
        ..settings()
    };
    assert!(script(&chosen, &old).contains("--image=mine:1"));
}

#[test]
fn images_go_into_the_workers_that_the_cluster_has() {
    let facts = Facts {
        nodes: vec![
            node("fireworks-control-plane", true),
            node("fireworks-worker", false),
        ],
        ..facts()
    };
    assert!(script(&settings(), &facts).contains("--nodes=fireworks-worker\n"));
}

#[test]
fn secrets_reach_helm_by_its_input_alone() {
    let secret = Settings {
        properties: vec!["sasl.password=hunter2".into()],
        ..existing()
    };
    for step in up(&secret, &Facts::default()).steps {
        for act in step.parts.iter().flat_map(|part| &part.acts) {
            assert!(!act.command().line().contains("hunter2"));
        }
    }
}

#[test]
fn programs_of_another_system_are_built_from_source() {
    let other = Facts {
        docker: Tool::Found(Docker {
            arch: "riscv64".into(),
            ..facts().docker.found().cloned().unwrap()
        }),
        ..facts()
    };
    let script = script(&settings(), &other);
    assert!(
        script.contains("--file /state/source/docker/Dockerfile /state/source\n")
            && !script.contains("packed")
    );
}

#[test]
fn helm_that_applies_on_the_server_overrules_whoever_scaled() {
    let with = |helm| Facts {
        helm: Tool::Found(helm),
        ..facts()
    };
    let script_of = |helm| script(&settings(), &with(helm));
    assert_eq!(script_of((4, 3, 1)).matches("--force-conflicts").count(), 2);
    assert!(!script_of((3, 19, 0)).contains("--force-conflicts"));
}

#[test]
fn page_answers_to_the_name_of_the_api_server() {
    let kind = settings().pipeline_values(&facts());
    assert_eq!(
        kind["dashboard"]["allowHosts"],
        serde_json::json!(["fireworks-control-plane"])
    );
    // The same in a container, or a second `up` from there would change the release.
    assert_eq!(kind, settings().pipeline_values(&in_container()));
    for (server, names) in [
        (
            "https://x.eks.example.com",
            serde_json::json!(["x.eks.example.com"]),
        ),
        ("https://127.0.0.1:6443", serde_json::Value::Null),
    ] {
        let context = super::super::facts::Context {
            server: server.into(),
            user: "ann".into(),
        };
        let facts = Facts {
            context: Tool::Found(context),
            ..Facts::default()
        };
        let values = existing().pipeline_values(&facts);
        assert_eq!(values["dashboard"]["allowHosts"], names, "{server}");
    }
}

#[test]
fn title_tells_the_workers_that_the_cluster_has() {
    let facts = Facts {
        nodes: vec![node("a-control-plane", true), node("a-worker", false)],
        ..facts()
    };
    let plan = up(&settings(), &facts);
    let cluster = plan.steps.iter().find(|step| step.name == "cluster");
    assert_eq!(
        cluster.unwrap().title,
        "kind cluster `fireworks`: 1 control plane, 1 worker"
    );
}

#[test]
fn spark_as_the_source_is_loaded_and_is_a_value_of_the_chart() {
    let image = "fireworks-spark:4.1.1";
    let settings = Settings {
        spark_image: Some(image.into()),
        ..settings()
    };
    let facts = Facts {
        images: vec![image.into()],
        ..facts()
    };
    let plan = up(&settings, &facts);
    let names: Vec<_> = plan.steps.iter().map(|step| step.name).collect();
    assert!(names.contains(&"load-spark"), "{names:?}");
    let pipeline = plan.steps.iter().find(|step| step.name == "fireworks");
    assert!(pipeline.unwrap().after.contains(&"load-spark"));
    let generate = &settings.pipeline_values(&facts)["generate"];
    assert_eq!(generate["engine"], "spark");
    assert_eq!(generate["spark"]["image"], image);
}
