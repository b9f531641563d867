//! `brownian` beside other systems that do the same job, and beside the client library alone.
//!
//! All have one worker and commit every 100 ms. They are watched from outside: how far their group has come, and
//! what they and the broker have used until then. Cost is processor time, so that a busy machine doesn't blur it;
//! the wall clock only says how fast it was here.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Scope;
use crate::kafka::{Kafka, Progress};
use crate::load::{Alone, Load};
use crate::process::{self, Running, fireworks, peer};
use crate::report::{Part, Row, Target, median, median_of};
use crate::support::unique;

const PATIENCE: Duration = Duration::from_secs(1200);
const DEVICES: usize = 1000;
/// The readings for a system that is many times slower: enough to fill every window, and twice as much again.
const FEW: usize = 300_000;
/// What comes before is warm-up: windows fill, code is compiled.
const WARM_UP: f64 = 1.0 / 3.0;
/// How often the two whose broker is compared come before anything is measured: its code has to be compiled as well.
const WARM_UP_RUNS: usize = 2;
const UNIT: &str = "messages per core-second";

/// What can be put to the job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum System {
    Brownian,
    Streams,
    Confluent,
    Quix,
    /// No processing: the client library moves as many bytes. Its records are those of a topic and its state, so many
    /// of the latter for each of the former.
    Limit {
        sample: &'static str,
        state_share: f64,
        pace: Pace,
    },
}

/// How the client library is used where there is no processing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it goes.
    Unlimited,
    /// So many messages a second at most.
    Rate(f64),
    /// As fast as it goes with each record copied, as one must be that has only just been made.
    Copied,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Brownian => "brownian",
            System::Streams => "streams",
            System::Confluent => "confluent",
            System::Quix => "quix",
            System::Limit { pace, .. } => match pace {
                Pace::Unlimited => "limit",
                Pace::Rate(_) => "paced",
                Pace::Copied => "copied",
            },
        }
    }

    pub fn command(
        self,
        kafka: &Kafka,
        input: &str,
        output: &str,
        group: &str,
        workers: usize,
    ) -> Command {
        let names = [
            "--bootstrap-servers",
            &kafka.address,
            "--input",
            input,
            "--output",
            output,
            "--group",
            group,
        ];
        let workers = workers.to_string();
        match self {
            System::Brownian => {
                fireworks(&[&["brownian", "--workers", &workers], &names[..]].concat())
            }
            System::Limit {
                sample,
                state_share,
                pace,
            } => {
                let state = format!("{sample}.state");
                let samples = ["--sample-output", sample, "--sample-state", &state];
                let share = ["--state-share", &state_share.to_string()];
                let mut command = peer("limit", &[&names[..], &samples, &share].concat());
                match pace {
                    Pace::Unlimited => &mut command,
                    Pace::Rate(rate) => command.args(["--rate", &rate.to_string()]),
                    Pace::Copied => command.args(["--copy", "1"]),
                };
                command
            }
            _ => peer(self.name(), &names),
        }
    }
}

/// What it took.
#[derive(Debug)]
pub struct Cost {
    /// Processor time for a message, in seconds, of all messages and of those after the warm-up.
    pub whole: f64,
    pub steady: f64,
    /// The broker's processor time for a message, after the warm-up, but for compiling its own code.
    pub broker: f64,
    /// Messages in a second on the clock, after the warm-up.
    pub rate: f64,
    /// The most that it has held in memory, in bytes.
    pub peak_memory: u64,
    /// How many steps it has written, and how many records of state for each.
    pub steps: usize,
    state_share: f64,
}

/// Where a run is.
struct Sample {
    time: Instant,
    messages: usize,
    processor: Duration,
    broker: Duration,
}

/// Lets a system process all of the load, and compares what it wrote; keeps that only under a name.
pub fn run(
    kafka: &Kafka,
    system: System,
    load: &Load,
    workers: usize,
    keep_as: Option<&str>,
) -> Cost {
    let group = unique(system.name());
    let output = keep_as.map_or_else(|| format!("{group}.markov"), str::to_owned);
    let state = format!("{output}.state");
    kafka.create(&output);
    kafka.create_compacted(&state);
    let command = system.command(kafka, &load.topic, &output, &group, workers);
    let process = Running::start(system.name(), command);
    let progress = Progress::of(kafka, &group, &load.topic);
    let sample = || Sample {
        messages: progress.committed(),
        time: Instant::now(),
        processor: process::processor_time(process.id()),
        broker: kafka.processor_time_but_compiling(),
    };
    let began = Instant::now();
    let (mut warm, mut last) = (None, sample());
    while last.messages < load.messages() {
        std::thread::sleep(Duration::from_millis(20));
        process.assert_runs();
        assert!(
            began.elapsed() < PATIENCE,
            "it does not end:\n{}",
            process.log()
        );
        last = sample();
        if warm.is_none() && last.messages as f64 >= load.messages() as f64 * WARM_UP {
            warm = Some(sample());
        }
    }
    let warm = warm.expect("it has come past its warm-up");
    let peak_memory = crate::support::peak_memory(process.id());
    process.stop();
    let steps = match system {
        System::Limit { .. } => 0,
        _ => load.verify(kafka, &output, system == System::Brownian),
    };
    let state_share = kafka.records(&state) as f64 / kafka.records(&output) as f64;
    if keep_as.is_none() {
        kafka.delete(&[&output, &state]);
    }
    let messages = (last.messages - warm.messages) as f64;
    Cost {
        whole: last.processor.as_secs_f64() / last.messages as f64,
        steady: (last.processor - warm.processor).as_secs_f64() / messages,
        broker: (last.broker - warm.broker).as_secs_f64() / messages,
        rate: messages / (last.time - warm.time).as_secs_f64(),
        peak_memory,
        steps,
        state_share,
    }
}

pub fn measure(scope: &Scope) -> Part {
    let kafka = Kafka::apache();
    let load = Load::fill(&kafka, DEVICES, scope.messages / DEVICES, 0.0);
    let few = Load::fill(&kafka, DEVICES, FEW / DEVICES, 0.0);
    let sample: &'static str = unique("sample").leak();
    let tell = |system: System, cost: &Cost| {
        println!(
            "{:10} {:8.0} messages per core-second, {:8.0} steady; {:6.0} a second; broker {:5.2} µs each; {} MiB",
            system.name(),
            1.0 / cost.whole,
            1.0 / cost.steady,
            cost.rate,
            cost.broker * 1e6,
            cost.peak_memory >> 20,
        );
    };
    println!("so that the broker has compiled its code:");
    for run_number in 0..WARM_UP_RUNS {
        let keep_as = (run_number == 0).then_some(sample);
        let ours = run(&kafka, System::Brownian, &load, 1, keep_as);
        tell(System::Brownian, &ours);
        let streams = run(&kafka, System::Streams, &load, 1, None);
        tell(System::Streams, &streams);
    }
    println!("measured:");
    let mut costs: [Vec<Cost>; 7] = Default::default();
    for _ in 0..scope.runs {
        let ours = run(&kafka, System::Brownian, &load, 1, None);
        let limit = |pace| System::Limit {
            sample,
            state_share: ours.state_share,
            pace,
        };
        let peers = [
            (limit(Pace::Unlimited), &load),
            (limit(Pace::Copied), &load),
            (System::Streams, &load),
            (System::Confluent, &load),
            (limit(Pace::Rate(ours.rate)), &load),
            (System::Quix, &few),
        ];
        tell(System::Brownian, &ours);
        costs[0].push(ours);
        for ((system, load), costs) in peers.into_iter().zip(&mut costs[1..]) {
            let cost = run(&kafka, system, load, 1, None);
            tell(system, &cost);
            costs.push(cost);
        }
    }
    let [ours, limit, copied, streams, confluent, paced, quix] = &costs;
    let whole = |costs: &[Cost]| {
        costs
            .iter()
            .map(|cost| 1.0 / cost.whole)
            .collect::<Vec<_>>()
    };
    let steady = |costs: &[Cost]| {
        costs
            .iter()
            .map(|cost| 1.0 / cost.steady)
            .collect::<Vec<_>>()
    };
    let broker = |costs: &[Cost]| {
        costs
            .iter()
            .map(|cost| cost.broker * 1e6)
            .collect::<Vec<_>>()
    };
    let row = |what: &str, ours, beside: &str, theirs, least| {
        Row::new(what, UNIT, ours, beside, theirs, Target::AtLeast(least))
    };
    let (whole_ours, steady_ours) = (whole(ours), steady(ours));
    let alone = Alone::measure(DEVICES).processing;
    let micros = |rates: &[f64]| 1e6 / median(rates);
    let copied_micros = micros(&steady(copied));
    // What nothing that uses the client library and does all that can be faster than.
    let floor = copied_micros + alone * 1e6;
    let parts = format!(
        "the C loop takes {copied_micros:.2} µs a message where it copies each record, as one must be that has only just been made;\n\
         and reading JSON, the window and writing JSON alone, in one thread and without a client, {:.2} µs",
        alone * 1e6
    );
    let beyond = |theirs: &[f64], target: f64| {
        format!(
            "{parts}:\ntogether {:.2} times as much as the peer does, of the {target:.1} that are asked for.",
            micros(theirs) / floor
        )
    };
    let (streams_whole, streams_steady) =
        (beyond(&whole(streams), 2.5), beyond(&steady(streams), 2.5));
    let streams_note = "That peer is at its best when its code is compiled: a serial collector, windows in memory, a record of\n\
         state for each reading only at the commit.";
    let confluent_reason = format!(
        "{} The peer is librdkafka with little Python around it: its JSON, its sums and its normal\n\
         distribution are C, and no delivery is reported to it.",
        beyond(&whole(confluent), 4.0)
    );
    let rate = |costs: &[Cost]| median_of(costs, |cost| cost.rate);
    let broker_reason = format!(
        "the C loop, held to the rate of `brownian`, so that its transactions are as many and as large, costs the broker\n\
         {:.2} µs a message, {:.2} of what Kafka Streams does; without a limit it is {:.1} times as fast, and costs {:.2} µs. A part\n\
         of what the broker does goes by the request and by the clock.",
        median(&broker(paced)),
        median(&broker(paced)) / median(&broker(streams)),
        rate(limit) / rate(ours),
        median(&broker(limit)),
    );
    let limit_reason = format!(
        "{parts}:\nthat leaves {:.2} of the limit, which copies none.",
        micros(&steady(limit)) / floor
    );
    let (streams_name, limit_name) = ("Kafka Streams", "librdkafka alone");
    let confluent_name = "confluent-kafka and orjson";
    let rows = vec![
        row(
            "`brownian`, whole",
            whole_ours.clone(),
            streams_name,
            whole(streams),
            2.5,
        )
        .or_because(&format!("{streams_whole} {streams_note}")),
        row(
            "`brownian`, steady",
            steady_ours.clone(),
            streams_name,
            steady(streams),
            2.5,
        )
        .or_because(&format!("{streams_steady} {streams_note}")),
        row(
            "`brownian`, whole",
            whole_ours,
            confluent_name,
            whole(confluent),
            4.0,
        )
        .or_because(&confluent_reason),
        row(
            "`brownian`, steady",
            steady_ours.clone(),
            "Quix Streams",
            steady(quix),
            20.0,
        ),
        row(
            "`brownian`, steady",
            steady_ours,
            limit_name,
            steady(limit),
            0.45,
        )
        .or_because(&limit_reason),
        Row::new(
            "the broker, while `brownian` runs",
            "µs of processor time a message",
            broker(ours),
            "while Kafka Streams runs",
            broker(streams),
            Target::AtMost(0.5),
        )
        .or_because(&broker_reason),
    ];
    kafka.delete(&[&load.topic, &few.topic, sample, &format!("{sample}.state")]);
    let about = format!(
        "{} readings of {DEVICES} devices in order from an Apache Kafka to the end, exactly once, with the state kept;\n\
         one worker, a commit every 100 ms. Whole: from the start of the process. Steady: after the first third, as is the\n\
         broker, without what its Java takes for compiling, which comes to an end. Quix Streams gets {FEW} readings, and keeps\n\
         its windows in its state, as its tutorials do: kept beside it, in Python, they were four times as fast. The C loop\n\
         consumes the same readings and produces as many records of the same bytes, in transactions, and processes nothing.",
        load.messages()
    );
    Part::new("Processing", &about, rows)
}
