//! What is done to the processes, and when: all of it drawn from the seed.
//!
//! The pauses here are the run's own timetable. Nothing is judged here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::brokers::Brokers;
use crate::cast::{Actor, Cast};
use crate::random::Random;
use crate::stranger::Stranger;
use crate::support::{Extents, wait_for};

/// The instances that are there at the beginning, and come back when they have gone.
const REGULARS: [&str; 3] = ["a", "b", "c"];
/// Those that come and go.
const GUESTS: [&str; 2] = ["d", "e"];
/// How often the stranger writes.
const WORD_INTERVAL: Duration = Duration::from_millis(40);
/// How long the end of committed data must stand still to be held by a process that is stopped.
const STANDSTILL: Duration = Duration::from_millis(600);

/// Something that happens later.
#[derive(Debug)]
enum Later {
    Start(String),
    Thaw(u32),
    Terminate(u32),
    StartSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strike {
    Kill,
    KillInsideATransaction,
    KillSource,
    StopSource,
    ShortStop,
    LongStop,
    Zombie,
    Add,
    AddBriefly,
    Remove,
    Broker,
}

use Strike::*;

impl Strike {
    /// For the summary.
    pub fn name(self) -> &'static str {
        match self {
            Kill => "kill",
            KillInsideATransaction => "kill inside a transaction",
            KillSource => "kill of generate",
            StopSource => "restart of generate",
            ShortStop => "short stop",
            LongStop => "stop past the session",
            Zombie => "stop and replace",
            Add => "add",
            AddBriefly => "add briefly",
            Remove => "remove",
            Broker => "broker away",
        }
    }
}

/// How often each is drawn.
const URN: [Strike; 21] = [
    Kill,
    Kill,
    Kill,
    KillInsideATransaction,
    KillInsideATransaction,
    KillInsideATransaction,
    KillSource,
    StopSource,
    ShortStop,
    ShortStop,
    LongStop,
    Zombie,
    Add,
    AddBriefly,
    AddBriefly,
    AddBriefly,
    Remove,
    Remove,
    Broker,
    Broker,
    Broker,
];

/// A run's strikes, and what they have hit.
pub struct Strikes {
    random: Random,
    later: Vec<(Instant, Later)>,
    pub brokers: Brokers,
    pub stranger: Stranger,
    next_word: Instant,
    /// How many of each have struck.
    pub counts: BTreeMap<Strike, usize>,
    pub kills_inside_a_transaction: usize,
}

impl Strikes {
    pub fn new(seed: u64, brokers: Brokers, stranger: Stranger) -> Strikes {
        Strikes {
            random: Random::new(seed),
            later: Vec::new(),
            brokers,
            stranger,
            next_word: Instant::now(),
            counts: BTreeMap::new(),
            kills_inside_a_transaction: 0,
        }
    }

    /// Strikes for so long; then mends everything.
    pub fn rain(&mut self, cast: &mut Cast, duration: Duration) {
        for name in REGULARS {
            cast.start_instance(name);
        }
        cast.start_source();
        // The stranger's index 0 would tell a `generate` that has written nothing that row 0 is there.
        wait_for("the first steps", || cast.has_output().then_some(()));
        let end = Instant::now() + duration;
        // Even the shortest run has these.
        let mut opening = [KillInsideATransaction, Add, Remove, Broker];
        self.random.shuffle(&mut opening);
        let mut opening = opening.into_iter();
        let mut next = Instant::now() + self.random.millis(500, 1500);
        while Instant::now() < end {
            let now = Instant::now();
            self.go_on(cast);
            if now >= next {
                let strike = opening
                    .next()
                    .unwrap_or_else(|| URN[self.random.below(URN.len())]);
                if self.is_possible(strike) {
                    self.strike(cast, strike);
                }
                next = Instant::now() + self.random.millis(200, 2500);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // A run that has hit nothing shows nothing: it goes on until it has.
        let too_late = end + duration.max(Duration::from_secs(120));
        self.brokers.make_whole();
        while self.kills_inside_a_transaction == 0 || cast.partitions_that_moved() == 0 {
            assert!(Instant::now() < too_late, "never hit what it was to hit");
            self.go_on(cast);
            if self.kills_inside_a_transaction == 0 {
                self.kill_inside_a_transaction(cast);
            } else if Instant::now() >= next {
                // Then the group is left alone, so that the others take over what it had: a member that goes
                // in the middle of a rebalance is missed only when its session ends.
                self.remove(cast);
                next = Instant::now() + self.random.millis(11_000, 13_000);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.mend(cast);
    }

    /// What goes on between the strikes.
    fn go_on(&mut self, cast: &mut Cast) {
        if Instant::now() >= self.next_word {
            self.stranger.write();
            self.next_word = Instant::now() + WORD_INTERVAL;
        }
        if !self.brokers.are_whole() {
            cast.kafka_is_away();
            if let Some(what) = self.brokers.mend(false) {
                cast.tell(&what);
            }
        }
        self.do_what_is_due(cast, Instant::now());
        cast.look_for_the_dead();
        for name in std::mem::take(&mut cast.unborn) {
            let start = if name == "generate" {
                Later::StartSource
            } else {
                Later::Start(name)
            };
            self.after(Duration::ZERO, start);
        }
    }

    /// Some look at topics, which only brokers that are there can show.
    fn is_possible(&self, strike: Strike) -> bool {
        match strike {
            Broker => self.brokers.are_ready(),
            KillInsideATransaction | Add | AddBriefly => self.brokers.are_whole(),
            _ => true,
        }
    }

    fn after(&mut self, pause: Duration, later: Later) {
        self.later.push((Instant::now() + pause, later));
    }

    fn do_what_is_due(&mut self, cast: &mut Cast, until: Instant) {
        let (due, later) = std::mem::take(&mut self.later)
            .into_iter()
            // Nobody starts anything while a broker is away: it would find no Kafka.
            .partition(|(at, later)| {
                let is_start = matches!(later, Later::Start(_) | Later::StartSource);
                *at <= until && (!is_start || self.brokers.are_whole())
            });
        self.later = later;
        let due: Vec<_> = due;
        for (_, what) in due {
            match what {
                Later::Start(name) => {
                    cast.tell(&format!("{name}: started"));
                    cast.start_instance(&name);
                }
                Later::StartSource => {
                    cast.tell("generate: started");
                    cast.start_source();
                }
                Later::Terminate(id) => {
                    let found =
                        (0..cast.instances.len()).find(|i| cast.instances[*i].process.id() == id);
                    if let Some(i) = found {
                        let actor = cast.take(i);
                        cast.terminate(actor);
                    }
                }
                Later::Thaw(id) => {
                    if let Some(name) = cast.thaw(id) {
                        cast.tell(&format!("{name}: continued"));
                    }
                }
            }
        }
    }

    fn strike(&mut self, cast: &mut Cast, strike: Strike) {
        *self.counts.entry(strike).or_default() += 1;
        match strike {
            Kill => self.kill(cast),
            KillInsideATransaction => self.kill_inside_a_transaction(cast),
            KillSource | StopSource => self.strike_source(cast, strike),
            ShortStop => self.stop(cast, 100, 4000, false),
            LongStop => self.stop(cast, 10_500, 16_000, false),
            Zombie => self.stop(cast, 2_000, 16_000, true),
            Add | AddBriefly => self.add(cast, strike),
            Remove => self.remove(cast),
            Broker => {
                let what = self.brokers.strike(&mut self.random);
                cast.tell(&what);
                cast.kafka_is_away();
            }
        }
    }

    /// One of those that run, taken out.
    fn victim(&mut self, cast: &mut Cast) -> Option<Actor> {
        let running = cast.running();
        (!running.is_empty()).then(|| cast.take(running[self.random.below(running.len())]))
    }

    /// Whoever was killed or has gone comes back, unless its place is taken.
    fn comes_back(&mut self, name: String, is_replaced: bool) {
        let pause = self.random.millis(0, 3000);
        if !is_replaced {
            self.after(pause, Later::Start(name));
        }
    }

    fn kill(&mut self, cast: &mut Cast) {
        let Some(actor) = self.victim(cast) else {
            return;
        };
        cast.tell(&format!("{}: killed", actor.name));
        self.comes_back(actor.name.clone(), actor.is_replaced());
        cast.kill(actor);
    }

    /// Stops one, looks whether the end of committed data now stands still short of the end, and if so
    /// kills what holds it; otherwise lets it go on, and tries again.
    fn kill_inside_a_transaction(&mut self, cast: &mut Cast) {
        for _ in 0..10 {
            let before = Extents::of(&cast.topics.markov);
            std::thread::sleep(self.random.millis(100, 200));
            let Some(mut actor) = self.victim(cast) else {
                return;
            };
            actor.freeze();
            let held = held(&cast.topics.markov, &before);
            if held > 0 {
                self.kills_inside_a_transaction += 1;
                cast.tell(&format!(
                    "{}: killed inside a transaction, {held} offsets open",
                    actor.name
                ));
                self.comes_back(actor.name.clone(), actor.is_replaced());
                cast.kill(actor);
                return;
            }
            actor.thaw();
            cast.instances.push(actor);
        }
        cast.tell("no transaction was open");
    }

    fn strike_source(&mut self, cast: &mut Cast, strike: Strike) {
        let Some(source) = cast.source.take() else {
            return;
        };
        if matches!(strike, KillSource) {
            cast.tell("generate: killed");
            cast.kill(source);
        } else {
            cast.terminate(source);
        }
        let pause = self.random.millis(0, 2000);
        self.after(pause, Later::StartSource);
    }

    fn stop(&mut self, cast: &mut Cast, from: u64, to: u64, is_replaced: bool) {
        let Some(mut actor) = self.victim(cast) else {
            return;
        };
        let pause = self.random.millis(from, to);
        // One that has been replaced before has its successor, or will have.
        let is_replaced = is_replaced && !actor.is_replaced();
        cast.tell(&format!(
            "{}: stopped for {:.1} s{}",
            actor.name,
            pause.as_secs_f64(),
            if is_replaced { ", and replaced" } else { "" }
        ));
        actor.freeze();
        self.after(pause, Later::Thaw(actor.process.id()));
        if is_replaced {
            actor.replaced();
            let early = self.random.millis(0, 2000);
            self.after(early, Later::Start(actor.name.clone()));
        }
        cast.instances.push(actor);
    }

    fn add(&mut self, cast: &mut Cast, strike: Strike) {
        let is_there = |name: &str| {
            let is_to_come =
                |(_, later): &(Instant, Later)| matches!(later, Later::Start(n) if n == name);
            cast.instances.iter().any(|actor| actor.name == name)
                || self.later.iter().any(is_to_come)
        };
        if let Some(name) = GUESTS.into_iter().find(|name| !is_there(name)) {
            cast.tell(&format!("{name}: added"));
            let id = cast.start_instance(name);
            if matches!(strike, AddBriefly) {
                let pause = self.random.millis(20, 1500);
                self.after(pause, Later::Terminate(id));
            }
        }
    }

    fn remove(&mut self, cast: &mut Cast) {
        let Some(actor) = self.victim(cast) else {
            return;
        };
        cast.tell(&format!("{}: asked to stop", actor.name));
        if REGULARS.contains(&actor.name.as_str()) {
            self.comes_back(actor.name.clone(), actor.is_replaced());
        }
        cast.terminate(actor);
    }

    /// Everything that was to come comes now: who is stopped goes on, who is missing is started.
    fn mend(&mut self, cast: &mut Cast) {
        cast.tell("the strikes are over");
        self.brokers.make_whole();
        let last = self.later.iter().map(|(at, _)| *at).max();
        self.do_what_is_due(cast, last.unwrap_or_else(Instant::now));
        cast.look_for_the_dead();
        cast.unborn.clear();
        for name in REGULARS {
            if !cast.instances.iter().any(|actor| actor.name == name) {
                cast.start_instance(name);
            }
        }
    }
}

/// How many offsets a process that has just been stopped holds open: in partitions that have been committed
/// to since `before` and now stand still.
fn held(topic: &str, before: &Extents) -> i64 {
    let open = |extents: &Extents| -> Vec<(usize, i64)> {
        let of_now = (0..).zip(extents.stable.iter().zip(&extents.end));
        of_now
            .filter(|(i, (stable, end))| stable < end && **stable > before.stable[*i])
            .map(|(i, (stable, _))| (i, *stable))
            .collect()
    };
    let mut suspects = open(&Extents::of(topic));
    let since = Instant::now();
    while !suspects.is_empty() && since.elapsed() < STANDSTILL {
        std::thread::sleep(Duration::from_millis(20));
        let now = open(&Extents::of(topic));
        suspects.retain(|suspect| now.contains(suspect));
    }
    let now = Extents::of(topic);
    suspects
        .iter()
        .map(|(i, stable)| now.end[*i] - stable)
        .sum()
}
