//! What doctor says of facts.

use super::super::facts::NodeContainer;
use super::*;

fn wish() -> Wish {
    Wish {
        is_kind: true,
        nodes: 4,
        brokers: 1,
        has_spark: false,
        port: 8080,
        node_image: None,
    }
}

fn cluster(port: Option<u16>) -> Facts {
    let node = |number: usize| NodeContainer {
        name: format!("a-{number}"),
        is_running: true,
        is_control_plane: number == 0,
        port: port.filter(|_| number == 0),
        image: "kindest/node:v1.34.4@sha256:00".into(),
    };
    Facts {
        kubectl: Tool::Found((1, 34, 1)),
        nodes: (0..4).map(node).collect(),
        ..Facts::default()
    }
}

fn row(facts: &Facts, wish: &Wish, name: &str) -> Option<(Verdict, String)> {
    let mut rows = rows(facts, wish).into_iter();
    let row = rows.rfind(|row| row.name == name)?;
    Some((row.verdict, row.said))
}

#[test]
fn cluster_that_shows_no_port_can_not_be_used() {
    let (verdict, _) = row(&cluster(None), &wish(), "port").unwrap();
    assert_eq!(verdict, Verdict::Fail);
    let (verdict, _) = row(&cluster(Some(8080)), &wish(), "port").unwrap();
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn other_number_of_workers_is_told() {
    let more = Wish { nodes: 6, ..wish() };
    assert_eq!(
        row(&cluster(Some(8080)), &more, "workers"),
        Some((Verdict::Warn, "this cluster has 3, not 5".into()))
    );
    assert_eq!(row(&cluster(Some(8080)), &wish(), "workers"), None);
    assert_eq!(row(&Facts::default(), &more, "workers"), None);
}

#[test]
fn kubectl_that_is_too_far_from_the_nodes_is_told() {
    let there = Facts {
        kubectl: Tool::Found((1, 37, 0)),
        ..cluster(Some(8080))
    };
    let (verdict, said) = row(&there, &wish(), "kubectl").unwrap();
    assert_eq!(
        (verdict, said.as_str()),
        (
            Verdict::Warn,
            "1.37.0 with a cluster of v1.34.4: more than one minor version apart"
        )
    );
    let chosen = Wish {
        node_image: Some("kindest/node:v1.36.2".into()),
        ..wish()
    };
    let none = Facts {
        nodes: Vec::new(),
        ..there
    };
    assert_eq!(row(&none, &chosen, "kubectl").unwrap().0, Verdict::Pass);
}
