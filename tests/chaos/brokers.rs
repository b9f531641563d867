//! The Kafka of a run, and what is done to its brokers: one at a time, and always mended.
//!
//! Without `FIREWORKS_TEST_BOOTSTRAP_SERVERS` it is an embedded broker in a process of its own, which can only be
//! stopped and continued: killed, it forgets everything. The nodes of `tests/kafka/run` are killed, stopped and
//! frozen one by one; one that is alone is frozen only. Any other Kafka is left alone.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::support::{DEADLINE, Process, Signal, broker_process, test_on};

/// A broker that is back catches up for so long before one is struck again.
const CATCHING_UP: Duration = Duration::from_secs(8);

/// The brokers of a run.
pub struct Brokers {
    kind: Kind,
    away: Option<Away>,
    back: Instant,
}

enum Kind {
    Embedded(Process),
    /// The program that controls nodes, and their names.
    Nodes(String, Vec<String>),
    Untouchable,
}

/// What has been done to a broker, and what undoes it.
struct Away {
    node: String,
    remedy: &'static str,
    until: Instant,
    mending: Option<Child>,
}

impl Brokers {
    /// Finds the Kafka to test on, or starts one.
    pub fn find() -> Brokers {
        let kind = if let Ok(control) = std::env::var("FIREWORKS_TEST_KAFKA_CONTROL") {
            let listed = Command::new(&control).arg("list").output().unwrap();
            let nodes = String::from_utf8(listed.stdout).unwrap();
            Kind::Nodes(control, nodes.lines().map(str::to_owned).collect())
        } else if std::env::var("FIREWORKS_TEST_BOOTSTRAP_SERVERS").is_ok() {
            Kind::Untouchable
        } else {
            let limits = ["--listen", "127.0.0.1:0", "--retention-bytes", "512MiB"];
            let (process, address) = broker_process(&limits);
            test_on(&address);
            Kind::Embedded(process)
        };
        Brokers {
            kind,
            away: None,
            back: Instant::now(),
        }
    }

    /// For the summary.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Embedded(_) => "the embedded broker".into(),
            Kind::Nodes(_, nodes) => format!("Apache Kafka, nodes: {}", nodes.len()),
            Kind::Untouchable => "a Kafka that is left alone".into(),
        }
    }

    pub fn can_be_struck(&self) -> bool {
        !matches!(self.kind, Kind::Untouchable)
    }

    /// Whether every broker is there: otherwise nothing may be asked.
    pub fn are_whole(&self) -> bool {
        self.away.is_none()
    }

    /// Whether one may be struck now.
    pub fn are_ready(&self) -> bool {
        self.can_be_struck() && self.are_whole() && self.back.elapsed() > CATCHING_UP
    }

    /// Takes a broker away, for a while; says which, and how.
    pub fn strike(&mut self, random: &mut Random) -> String {
        let pause = random.millis(1000, 14_000);
        let (node, action, remedy) = match &self.kind {
            Kind::Untouchable => return "no broker can be struck".into(),
            Kind::Embedded(process) => {
                process.signal(Signal::STOP);
                (String::new(), "freeze", "thaw")
            }
            Kind::Nodes(_, nodes) => {
                let node = nodes[random.below(nodes.len())].clone();
                // Apache Kafka 4.3.1, restarted as the only node, has been seen to leave partitions behind which readers
                // of committed data wait for longer than any timeout: the only node is frozen, never restarted.
                let actions = [("freeze", "thaw"), ("stop", "start"), ("kill", "start")];
                let possible = if nodes.len() > 1 { 3 } else { 1 };
                let (action, remedy) = actions[random.below(possible)];
                let done = self.control(action, &node).status().unwrap();
                assert!(done.success(), "{action} {node} has failed");
                (node, action, remedy)
            }
        };
        let what = format!("broker {node}: {action}, for {:.1} s", pause.as_secs_f64());
        self.away = Some(Away {
            node,
            remedy,
            until: Instant::now() + pause,
            mending: None,
        });
        what
    }

    /// Brings back what has been away for long enough, or at once; says so when it is back.
    pub fn mend(&mut self, at_once: bool) -> Option<String> {
        let mut away = self.away.take()?;
        if !at_once && Instant::now() < away.until {
            self.away = Some(away);
            return None;
        }
        match &self.kind {
            Kind::Embedded(process) => process.signal(Signal::CONT),
            Kind::Nodes(..) => {
                let mending = match &mut away.mending {
                    Some(mending) => mending,
                    none => none.insert(self.control(away.remedy, &away.node).spawn().unwrap()),
                };
                match mending.try_wait().unwrap() {
                    Some(status) => assert!(status.success(), "node {} stays away", away.node),
                    None => {
                        self.away = Some(away);
                        return None;
                    }
                }
            }
            Kind::Untouchable => {}
        }
        self.back = Instant::now();
        Some(format!("broker {}: back", away.node))
    }

    /// Waits until every broker is back.
    pub fn make_whole(&mut self) {
        let deadline = Instant::now() + 2 * DEADLINE;
        while !self.are_whole() {
            self.mend(true);
            assert!(Instant::now() < deadline, "a broker did not come back");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn control(&self, action: &str, node: &str) -> Command {
        let Kind::Nodes(control, _) = &self.kind else {
            unreachable!("only nodes are controlled by a program");
        };
        let mut command = Command::new(control);
        command.args([action, node]).stdin(Stdio::null());
        command
    }
}
