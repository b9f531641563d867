//! The processes of a run: one `generate`, instances of `brownian`, and what each of them has logged.
//!
//! Nothing is decided here about when something dies; but whatever ends is held against how it may end.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::support::{
    DEADLINE, Extents, Outcome, Process, Signal, kafka, partitions, start, unique,
};

/// A process that is stopped for longer than this may have lost its session or its transaction (10 s each).
const SURELY_NOTICED: Duration = Duration::from_secs(8);

/// How long a process may take to begin: it looks for its topics once, and ends where Kafka doesn't answer.
const BIRTH: Duration = Duration::from_secs(15);

/// How many devices `generate` has.
pub const DEVICES: usize = 20;

/// The topics of a run.
#[derive(Debug)]
pub struct Topics {
    pub readings: String,
    pub markov: String,
}

/// One process, from its start to its end.
pub struct Actor {
    /// `generate`, or the name of the instance.
    pub name: String,
    pub process: Process,
    begun: Instant,
    stopped: Option<Instant>,
    thawed: Option<Instant>,
    /// It has been stopped for so long, or been replaced, that to be fenced is right.
    may_be_fenced: bool,
    is_replaced: bool,
}

impl Actor {
    /// Whether another process has its name now.
    pub fn is_replaced(&self) -> bool {
        self.is_replaced
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    pub fn freeze(&mut self) {
        self.process.signal(Signal::STOP);
        self.stopped = Some(Instant::now());
    }

    pub fn thaw(&mut self) {
        if let Some(since) = self.stopped.take() {
            self.process.signal(Signal::CONT);
            self.may_be_fenced |= since.elapsed() > SURELY_NOTICED;
            self.thawed = Some(Instant::now());
        }
    }

    /// A stop and an outage may together be longer than a transaction may take, though neither is alone.
    fn kafka_is_away(&mut self) {
        let was_stopped = |thawed: Instant| thawed.elapsed() < 2 * SURELY_NOTICED;
        self.may_be_fenced |= self.is_stopped() || self.thawed.is_some_and(was_stopped);
    }

    /// Another process has its name now.
    pub fn replaced(&mut self) {
        self.may_be_fenced = true;
        self.is_replaced = true;
    }
}

/// All processes, and the logs of those that have ended.
pub struct Cast {
    pub topics: Topics,
    begun: Instant,
    /// When a broker was away last.
    away: Option<Instant>,
    pub source: Option<Actor>,
    pub instances: Vec<Actor>,
    /// Name, how it ended, log.
    ended: Vec<(String, String, String)>,
    pub fenced: usize,
    /// Those that couldn't begin while a broker was away, to be started again.
    pub unborn: Vec<String>,
}

impl Cast {
    pub fn new() -> Cast {
        let readings = unique("chaos");
        Cast {
            topics: Topics {
                markov: format!("{readings}.markov"),
                readings,
            },
            begun: Instant::now(),
            // One that has only just begun may be slow to show its topics.
            away: Some(Instant::now()),
            source: None,
            instances: Vec::new(),
            ended: Vec::new(),
            fenced: 0,
            unborn: Vec::new(),
        }
    }

    /// Says what happens, with the time since the beginning.
    pub fn tell(&self, what: &str) {
        println!("{:8.3} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    pub fn start_source(&mut self) {
        let process = start(&[
            "generate",
            "--topic",
            &self.topics.readings,
            "--devices",
            &DEVICES.to_string(),
            "--interval",
            "20ms",
            "--start-timestamp",
            "1700000000000",
            "--bootstrap-servers",
            kafka(),
        ]);
        self.source = Some(actor("generate", process));
    }

    /// Returns its process id.
    pub fn start_instance(&mut self, name: &str) -> u32 {
        let Topics { readings, markov } = &self.topics;
        let process = start(&[
            "brownian",
            "--input",
            readings,
            "--output",
            markov,
            "--group",
            readings,
            "--instance",
            name,
            "--workers",
            "2",
            "--bootstrap-servers",
            kafka(),
        ]);
        let id = process.id();
        self.instances.push(actor(name, process));
        id
    }

    /// Takes an instance out, to be ended.
    pub fn take(&mut self, index: usize) -> Actor {
        self.instances.remove(index)
    }

    pub fn kill(&mut self, actor: Actor) {
        actor.process.signal(Signal::KILL);
        self.file(&actor.name, "killed", actor.process.wait());
    }

    /// Asks a process to stop, and expects that it does: with success, unless it had to be fenced.
    pub fn terminate(&mut self, mut actor: Actor) {
        actor.thaw();
        if actor.process.is_running() {
            actor.process.signal(Signal::TERM);
        }
        self.bury(actor);
    }

    /// Whatever has ended by itself must have been fenced, and have had a reason to be.
    pub fn look_for_the_dead(&mut self) {
        let (dead, alive): (Vec<_>, Vec<_>) = std::mem::take(&mut self.instances)
            .into_iter()
            .map(|mut actor| (has_ended(&mut actor), actor))
            .partition(|(has_ended, _)| *has_ended);
        self.instances = alive.into_iter().map(|(_, actor)| actor).collect();
        for (_, actor) in dead {
            self.tell(&format!("{} has ended", actor.name));
            if self.is_unborn(&actor) {
                self.unborn.push(actor.name.clone());
                self.file(&actor.name, "unborn", actor.process.wait());
                continue;
            }
            assert!(
                actor.may_be_fenced,
                "{} has ended by itself:\n{}",
                actor.name,
                tail(&actor.process.stderr())
            );
            self.bury(actor);
        }
        if let Some(source) = self.source.take_if(has_ended) {
            assert!(
                self.is_unborn(&source),
                "generate has ended by itself:\n{}",
                tail(&source.process.stderr())
            );
            self.unborn.push(source.name.clone());
            self.file(&source.name, "unborn", source.process.wait());
        }
    }

    /// Lets a stopped process go on; its name, if it is still there. One that was replaced before it had taken its
    /// transactional ids over does so now, and fences whoever has its name meanwhile; so does one whose transaction the
    /// brokers have ended while they were away, for it can't tell who did.
    pub fn thaw(&mut self, id: u32) -> Option<String> {
        let found = |actor: &&mut Actor| actor.process.id() == id;
        let was_away = self
            .away
            .is_some_and(|away| away.elapsed() < 2 * SURELY_NOTICED);
        let actor = self.instances.iter_mut().find(found)?;
        let is_newcomer = actor
            .stopped
            .is_some_and(|stopped| stopped - actor.begun < BIRTH);
        let fences_others = actor.is_replaced && (is_newcomer || was_away);
        actor.thaw();
        let name = actor.name.clone();
        for other in &mut self.instances {
            other.may_be_fenced |= fences_others && other.name == name;
        }
        Some(name)
    }

    /// A broker is away.
    pub fn kafka_is_away(&mut self) {
        self.away = Some(Instant::now());
        self.instances.iter_mut().for_each(Actor::kafka_is_away);
    }

    /// Whether this one found no Kafka when it began: whoever starts it is told, and starts it again.
    fn is_unborn(&self, actor: &Actor) -> bool {
        let log = actor.process.stderr();
        let has_begun =
            log.contains(" processing ") || log.contains("empty topic") || log.contains("going on");
        let was_away = self.away.is_some_and(|away| away + BIRTH > actor.begun);
        !has_begun && was_away
    }

    /// Waits for an end that was asked for, or was right.
    fn bury(&mut self, actor: Actor) {
        let asked = Instant::now();
        let outcome = actor.process.wait();
        let took = asked.elapsed();
        let is_fenced = outcome.stderr.contains("fenced");
        let is_right = match outcome.status.code() {
            Some(0) => true,
            Some(1) => actor.may_be_fenced && is_fenced,
            // The signal came before the program had begun.
            None => outcome.status.signal() == Some(15) && outcome.stderr.is_empty(),
            _ => false,
        };
        assert!(
            is_right,
            "{} has ended with {}:\n{}",
            actor.name,
            outcome.status,
            tail(&outcome.stderr)
        );
        let fenced = outcome.status.code() == Some(1);
        self.fenced += usize::from(fenced);
        let how = if fenced { "fenced" } else { "stopped" };
        self.tell(&format!(
            "{}: {how} within {:.1} s",
            actor.name,
            took.as_secs_f64()
        ));
        assert!(took < DEADLINE / 2, "{} was slow to end", actor.name);
        self.file(&actor.name, how, outcome);
    }

    fn file(&mut self, name: &str, how: &str, outcome: Outcome) {
        if let Ok(directory) = std::env::var("FIREWORKS_CHAOS_LOGS") {
            let file = format!("{directory}/{:03}-{name}-{how}.log", self.ended.len());
            std::fs::write(file, &outcome.stderr).unwrap();
        }
        self.ended
            .push((name.to_owned(), how.to_owned(), outcome.stderr));
    }

    /// Which instances run and aren't stopped.
    pub fn running(&self) -> Vec<usize> {
        (0..self.instances.len())
            .filter(|i| !self.instances[*i].is_stopped())
            .collect()
    }

    /// Whether there is something to kill in its midst.
    pub fn has_output(&self) -> bool {
        let markov = &self.topics.markov;
        partitions(markov) > 0 && Extents::of(markov).stable.iter().any(|end| *end > 0)
    }

    /// How many partitions were restored, with devices in them, by more than one instance.
    pub fn partitions_that_moved(&self) -> usize {
        let ended = self.ended.iter().map(|(name, _, log)| (name, log.clone()));
        let alive = self
            .instances
            .iter()
            .map(|actor| (&actor.name, actor.process.stderr()));
        let mut owners: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
        for (name, log) in ended.chain(alive) {
            for line in log.lines().filter(|line| line.contains(" restored ")) {
                let (Some(partition), Some(devices)) =
                    (field(line, "partition"), field(line, "devices"))
                else {
                    continue;
                };
                if devices > 0 {
                    owners.entry(partition).or_default().insert(name);
                }
            }
        }
        owners.values().filter(|names| names.len() > 1).count()
    }

    /// Every log, for a run that has gone wrong.
    fn print_logs(&self) {
        for (name, how, log) in &self.ended {
            println!("==== {name}, {how}:\n{}", tail(log));
        }
        for actor in self.instances.iter().chain(&self.source) {
            println!(
                "==== {}, running:\n{}",
                actor.name,
                tail(&actor.process.stderr())
            );
        }
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

fn actor(name: &str, process: Process) -> Actor {
    Actor {
        name: name.to_owned(),
        process,
        begun: Instant::now(),
        stopped: None,
        thawed: None,
        may_be_fenced: false,
        is_replaced: false,
    }
}

/// Whether it has ended, without having been stopped.
fn has_ended(actor: &mut Actor) -> bool {
    actor.stopped.is_none() && !actor.process.is_running()
}

/// The number after `name=` in a line of a log.
fn field(line: &str, name: &str) -> Option<i32> {
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    word.parse().ok()
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
