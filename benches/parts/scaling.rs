//! How `brownian`'s cost changes with workers, devices and readings out of order, and what memory it takes.

use super::processor::{Cost, System, run};
use crate::Scope;
use crate::kafka::Kafka;
use crate::load::Load;
use crate::report::{Part, Row, Target};

/// A reading held may cost so much, and the process so much beside.
const READING_BYTES: usize = 64;
const BESIDE: usize = 64 << 20;
const REASON: &str = "it is the largest resident set under full load, with what the client has fetched and what it has \
    not yet sent. A reading held takes 56 bytes.";
const UNIT: &str = "µs of processor time a message";

pub fn measure(scope: &Scope) -> Part {
    let kafka = Kafka::apache();
    let messages = scope.messages / 3;
    let mut rows = Vec::new();
    let whole = |load: &Load, workers| -> Vec<Cost> {
        let once = |_| run(&kafka, System::Brownian, load, workers, None);
        (0..scope.runs).map(once).collect()
    };
    let micros = |costs: &[Cost]| {
        costs
            .iter()
            .map(|cost| cost.steady * 1e6)
            .collect::<Vec<_>>()
    };

    let load = Load::fill(&kafka, 1000, messages / 1000, 0.0);
    let one = whole(&load, 1);
    for workers in [2, 4] {
        let costs = micros(&whole(&load, workers));
        let what = format!("{workers} workers");
        rows.push(Row::new(
            &what,
            UNIT,
            costs,
            "1 worker",
            micros(&one),
            Target::AtMost(1.15),
        ));
    }
    let steps_in_order = one[0].steps;
    kafka.delete(&[&load.topic]);

    let load = Load::fill(&kafka, 1000, messages / 1000, 0.1);
    let late = whole(&load, 1);
    // Beside the steps of the readings, those that they change are computed and written again.
    let factor = late[0].steps as f64 / steps_in_order as f64;
    let a_step: Vec<_> = micros(&late).iter().map(|cost| cost / factor).collect();
    let what = format!("10 % out of order: {factor:.2} steps a reading");
    rows.push(Row::new(
        &what,
        "µs of processor time a step",
        a_step,
        "in order",
        micros(&one),
        Target::AtMost(1.0),
    ));
    kafka.delete(&[&load.topic]);

    let few = Load::fill(&kafka, 10, messages / 10, 0.0);
    let many = Load::fill(&kafka, 100_000, messages / 100_000, 0.0);
    let (few_costs, many_costs) = (whole(&few, 1), whole(&many, 1));
    let (ours, theirs) = (micros(&many_costs), micros(&few_costs));
    rows.push(Row::new(
        "100,000 devices",
        UNIT,
        ours,
        "10 devices",
        theirs,
        Target::AtMost(2.0),
    ));
    kafka.delete(&[&few.topic, &many.topic]);

    for devices in [1_000, 100_000] {
        let load = Load::fill(&kafka, devices, 120, 0.0);
        let cost = run(&kafka, System::Brownian, &load, 1, None);
        let limit = READING_BYTES * devices * fireworks::model::window::CAPACITY + BESIDE;
        let row = Row::new(
            &format!("memory with the full windows of {devices} devices"),
            "MiB",
            vec![(cost.peak_memory >> 20) as f64],
            "64 bytes a reading held, and 64 MiB",
            vec![(limit >> 20) as f64],
            Target::AtMost(1.0),
        );
        rows.push(row.or_because(REASON));
        kafka.delete(&[&load.topic]);
    }
    let about = format!(
        "`brownian` with {messages} readings from an Apache Kafka, in order and of 1,000 devices unless it says otherwise,\n\
         with one worker, after the first third. Late readings come up to 20 readings late. Memory is the largest\n\
         resident set while it processes 120 readings of each device."
    );
    Part::new("Scaling", &about, rows)
}
