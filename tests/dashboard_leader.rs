//! The dashboard while a partition has no leader: it is named, the others go on, and it is read when it is back.
//!
//! It needs brokers of which one can be taken away: those of `KAFKA_BROKERS=3 tests/kafka/run`, as `make
//! test-leader` starts them. On any other Kafka there is nothing to see, and it says so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says where it could not be tried")]

mod support;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use support::dashboard::{Dashboard, kind, records, write};
use support::{DEADLINE, kafka, partitions, unique, wait_for};

/// The broker that goes.
const NODE: i32 = 2;
/// A picture is of a second ago at most; what is written to the other partitions is in it so soon.
const STALL: Duration = Duration::from_secs(4);

/// One of three brokers, which is there again in the end, whatever becomes of the test.
struct Node {
    control: String,
    _alone: MutexGuard<'static, ()>,
}

impl Node {
    /// Nothing where no broker can be taken away.
    fn find() -> Option<Node> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let control = std::env::var("FIREWORKS_TEST_KAFKA_CONTROL").ok();
        let nodes = control.as_ref().map_or(0, |control| {
            let listed = Command::new(control).arg("list").output().unwrap();
            String::from_utf8(listed.stdout).unwrap().lines().count()
        });
        match control.filter(|_| nodes >= 3) {
            Some(control) => Some(Node {
                control,
                _alone: alone,
            }),
            None => {
                println!("left out: it takes three brokers, as `make test-leader` has them");
                None
            }
        }
    }

    fn is(&self, action: &str) {
        let node = NODE.to_string();
        let done = Command::new(&self.control).args([action, &node]).status();
        assert!(done.unwrap().success(), "{action} {node} has failed");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for remedy in ["thaw", "start"] {
            let node = NODE.to_string();
            let mended = Command::new(&self.control).args([remedy, &node]).status();
            if !mended.is_ok_and(|status| status.success()) {
                println!("{remedy} {node} has failed");
            }
        }
    }
}

/// Creates a topic with one partition on each of these brokers.
fn create_on(topic: &str, nodes: &[i32]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka())
        .create()
        .unwrap();
    let places: Vec<&[i32]> = nodes.chunks(1).collect();
    let count = i32::try_from(places.len()).unwrap();
    let new = NewTopic::new(topic, count, TopicReplication::Variable(&places))
        .set("min.insync.replicas", "1");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let results = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()));
    results.unwrap().into_iter().for_each(|result| {
        result.unwrap();
    });
    wait_for("the topic to appear", || {
        (partitions(topic) == count).then_some(())
    });
}

fn leaderless(snapshot: &Value) -> Value {
    snapshot["now"]["leaderless"].clone()
}

/// Writes to partitions that have leaders, and follows what the dashboard says until this holds. Meanwhile it
/// never says that there is no Kafka, and what is written is never long in coming.
fn go_on(dashboard: &Dashboard, topic: &str, until: impl Fn(&Value) -> bool) -> (Value, u64) {
    let began = Instant::now();
    let (mut written, mut seen, mut grown) = (0, 0, Instant::now());
    loop {
        write(topic, 0, "first", 1);
        write(topic, 2, "third", 1);
        written += 2;
        let now = dashboard.snapshot().expect("a snapshot");
        assert_eq!(kind(&now), "live", "{}", now["now"]);
        if records(&now) > seen {
            (seen, grown) = (records(&now), Instant::now());
        }
        assert!(
            grown.elapsed() < STALL,
            "the other partitions stall: {}",
            now["now"]
        );
        if until(&now) {
            return (now, written);
        }
        assert!(began.elapsed() < DEADLINE, "it says {}", now["now"]);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A partition loses its leader by `action`, and gets it back by `remedy`.
fn loses_its_leader(action: &str, remedy: &str) {
    let Some(node) = Node::find() else { return };
    let topic = unique("leader");
    create_on(&topic, &[1, NODE, 3]);
    for (partition, device) in [(0, "first"), (1, "second"), (2, "third")] {
        write(&topic, partition, device, 10);
    }
    let dashboard = Dashboard::of(&topic);
    let before = dashboard.wait("three partitions", |now| {
        kind(now) == "live" && records(now) == 30
    });
    assert_eq!(leaderless(&before), Value::Null, "all have leaders");

    node.is(action);
    let (_, written) = go_on(&dashboard, &topic, |now| leaderless(now) == json!([1]));
    let away = Instant::now();
    let (mid, more) = go_on(&dashboard, &topic, |_| away.elapsed() > STALL);
    assert_eq!(
        (leaderless(&mid), &mid["now"]["partitions"]),
        (json!([1]), &json!(3)),
        "it is said for as long as it is so"
    );
    let written = 30 + written + more;
    let now = dashboard.wait("the others' records", |now| records(now) == written);
    assert_eq!(
        (&now["now"]["lag"], leaderless(&now)),
        (&json!(0), json!([1]))
    );

    node.is(remedy);
    dashboard.wait("the leader", |now| leaderless(now) == Value::Null);
    write(&topic, 1, "second", 5);
    let now = dashboard.wait("what came to it since", |now| records(now) == written + 5);
    assert_eq!(
        (kind(&now), &now["now"]["lag"], &now["now"]["skipped"]),
        ("live", &json!(0), &json!(0))
    );
    assert_eq!(now["about"]["epoch"], before["about"]["epoch"]);
}

#[test]
fn partition_whose_leader_dies_is_named_while_the_others_go_on_and_read_when_it_is_back() {
    loses_its_leader("kill", "start");
}

#[test]
fn partition_whose_leader_hangs_is_named_while_the_others_go_on_and_read_when_it_is_back() {
    loses_its_leader("freeze", "thaw");
}

#[test]
fn dashboard_that_starts_without_leaders_names_them_and_reads_what_was_there_when_they_are_back() {
    let Some(node) = Node::find() else { return };
    let (some, none) = (unique("some"), unique("none"));
    create_on(&some, &[1, NODE]);
    create_on(&none, &[NODE]);
    write(&some, 0, "first", 10);
    write(&some, 1, "second", 10);
    write(&none, 0, "only", 10);
    node.is("kill");
    let some = Dashboard::of(&some);
    let none = Dashboard::of(&none);
    let now = some.wait("the partition that is read", |now| {
        leaderless(now) == json!([1]) && records(now) == 10
    });
    assert_eq!((kind(&now), &now["now"]["lag"]), ("live", &json!(0)));
    let now = none.wait("its only partition", |now| leaderless(now) == json!([0]));
    assert_eq!(
        (kind(&now), &now["now"]["lag"]),
        ("empty", &Value::Null),
        "there is a Kafka and a topic, and nothing was read"
    );
    node.is("start");
    for (dashboard, count) in [(some, 20), (none, 10)] {
        let now = dashboard.wait("all of it", |now| records(now) == count);
        assert_eq!((kind(&now), leaderless(&now)), ("live", Value::Null));
    }
}
