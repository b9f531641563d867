//! The window against the vectors, against sorted input, and against a model that compares everything.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::super::slots::Slots;
use super::*;

fn reading(index: i64, millis: i64) -> Reading<'static> {
    let noise = super::super::noise::Noise::new(7, "d").at(index);
    Reading {
        device_id: "d".into(),
        index,
        event_time: EventTime::from_millis(millis).unwrap(),
        magnitude: noise.0,
        direction: noise.1,
        drift: 0.1,
        volatility: if index % 7 == 0 { 0.0 } else { 1.5 },
    }
}

fn insert(window: &mut Window, reading: &Reading<'_>) -> (Fate, Vec<Step>) {
    let mut steps = Vec::new();
    let fate = window.insert(reading, &mut steps);
    (fate, steps)
}

/// The windows of many devices, fed with lines of the vectors; returns fates and encoded steps.
fn play(readings: impl Iterator<Item = Value>) -> (Vec<Fate>, Vec<Value>) {
    let mut windows: HashMap<String, Window> = HashMap::new();
    let (mut fates, mut out) = (Vec::new(), Vec::new());
    for value in readings {
        let value = value.to_string();
        let reading = Reading::decode_value(value.as_bytes()).unwrap();
        let (fate, steps) = insert(
            windows.entry(reading.device_id.to_string()).or_default(),
            &reading,
        );
        fates.push(fate);
        for step in steps {
            let mut text = Vec::new();
            step.encode(&reading.device_id, &mut text);
            out.push(serde_json::from_slice(&text).unwrap());
        }
    }
    (fates, out)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Exact but for what a logarithm may differ in its last bit: as the vectors' own README allows.
fn assert_same_steps(actual: &[Value], expected: &[Value]) {
    assert_eq!(actual.len(), expected.len());
    let mut travelled: HashMap<String, f64> = HashMap::new();
    for (actual, expected) in actual.iter().zip(expected) {
        let device = expected["device_id"].as_str().unwrap().to_owned();
        let travelled = travelled.entry(device).or_default();
        *travelled += expected["step"].as_f64().unwrap().abs();
        for pointer in ["/position", "/step", "/previous/position"] {
            close(
                actual.pointer(pointer),
                expected.pointer(pointer),
                1e-12 * *travelled,
            );
        }
        for pointer in ["/window/drift", "/window/volatility"] {
            let size = expected
                .pointer(pointer)
                .and_then(Value::as_f64)
                .unwrap_or(0.0)
                .abs();
            close(
                actual.pointer(pointer),
                expected.pointer(pointer),
                1e-9 * size,
            );
        }
        let strip = |step: &Value| {
            let mut step = step.clone();
            for pointer in [
                "/position",
                "/step",
                "/previous/position",
                "/window/drift",
                "/window/volatility",
            ] {
                if let Some(number) = step.pointer_mut(pointer) {
                    *number = Value::Null;
                }
            }
            step
        };
        assert_eq!(strip(actual), strip(expected));
    }
}

fn close(actual: Option<&Value>, expected: Option<&Value>, tolerance: f64) {
    match (
        actual.and_then(Value::as_f64),
        expected.and_then(Value::as_f64),
    ) {
        (Some(actual), Some(expected)) => {
            assert!(
                (actual - expected).abs() <= tolerance,
                "{actual} is not {expected} ± {tolerance}"
            );
        }
        (actual, expected) => assert_eq!(actual, expected),
    }
}

#[test]
fn vectors_in_order_are_reproduced() {
    let readings = lines(include_str!("../../tests/vectors/readings.jsonl"));
    let (fates, steps) = play(readings.into_iter().map(|line| line["value"].clone()));
    assert!(fates.iter().all(|fate| *fate == Fate::Used));
    assert_same_steps(
        &steps,
        &lines(include_str!("../../tests/vectors/steps-in-order.jsonl")),
    );
}

#[test]
fn vectors_out_of_order_are_reproduced() {
    let arrivals = lines(include_str!(
        "../../tests/vectors/arrivals-out-of-order.jsonl"
    ));
    let expected: Vec<_> = arrivals
        .iter()
        .map(|line| line["fate"].as_str().unwrap().to_owned())
        .collect();
    let (fates, steps) = play(arrivals.into_iter().map(|line| line["value"].clone()));
    let fates: Vec<_> = fates
        .iter()
        .map(|fate| match fate {
            Fate::Used => "used",
            Fate::Duplicate => "duplicate",
            Fate::Late { .. } => "late",
        })
        .collect();
    assert_eq!(fates, expected);
    assert_same_steps(
        &steps,
        &lines(include_str!("../../tests/vectors/steps-out-of-order.jsonl")),
    );
}

#[test]
fn the_first_step_stands_at_zero_and_the_second_walks_from_it() {
    let mut window = Window::default();
    let (_, first) = insert(&mut window, &reading(1, 1000));
    assert_eq!(
        (
            first[0].position,
            first[0].step,
            first[0].dt,
            first[0].previous
        ),
        (0.0, 0.0, 0.0, None)
    );
    let (_, second) = insert(&mut window, &reading(2, 3500));
    assert_eq!(second[0].dt, 2.5);
    assert_eq!(second[0].previous.unwrap().index, 1);
    assert_eq!(second[0].position, second[0].step);
}

#[test]
fn readings_of_one_instant_are_ordered_by_index_and_stand_still() {
    let mut window = Window::default();
    insert(&mut window, &reading(5, 1000));
    let (_, steps) = insert(&mut window, &reading(3, 1000));
    assert_eq!(
        steps
            .iter()
            .map(|step| (step.index, step.revision))
            .collect::<Vec<_>>(),
        [(3, 0), (5, 1)]
    );
    assert_eq!(
        (steps[1].dt, steps[1].step, steps[1].window.drift),
        (0.0, 0.0, None)
    );
}

#[test]
fn a_full_window_refuses_what_sorts_before_its_oldest_and_a_repeat_of_what_left_it() {
    let mut window = Window::default();
    for index in 0..=100 {
        insert(&mut window, &reading(index, 1000 * index));
    }
    let oldest = EventTime::from_millis(1000).unwrap();
    assert_eq!(
        insert(&mut window, &reading(0, 0)),
        (Fate::Late { oldest }, vec![])
    );
    assert_eq!(
        insert(&mut window, &reading(0, 1000)).0,
        Fate::Late { oldest }
    );
    assert_eq!(
        insert(&mut window, &reading(1, 1000)),
        (Fate::Duplicate, vec![])
    );
    // The oldest goes out for a reading right behind it, and the path still goes on from where it stood.
    let second = window.held().next().unwrap().position;
    let (fate, steps) = insert(&mut window, &reading(1, 1500));
    assert_eq!((fate, steps.len()), (Fate::Used, 100));
    assert_eq!(steps[0].previous.unwrap().position, second);
    assert_eq!((steps[0].window.n, steps[99].window.n), (1, 100));
}

#[test]
fn memory_per_reading_stays_within_64_bytes() {
    let mut window = Window::default();
    for index in 0..300 {
        insert(&mut window, &reading(index, index));
    }
    assert_eq!(window.points.capacity(), CAPACITY);
    assert_eq!(window.rests.capacity(), CAPACITY);
    assert!(size_of::<Point>() + size_of::<Rest>() <= 56);
}

/// What the contract compares to decide whether a step has changed.
type Content = (u64, u64, u64, Option<(i64, EventTime, u64)>);

/// The contract taken at its word: after every arrival all steps are computed again, and compared.
#[derive(Default)]
struct Model {
    anchor: Option<Previous>,
    held: Vec<(Reading<'static>, Content, u32)>,
}

impl Model {
    fn insert(&mut self, reading: &Reading<'static>) -> Vec<(i64, EventTime, u32, Content)> {
        let order = |reading: &Reading<'_>| (reading.event_time, reading.index);
        if self
            .held
            .iter()
            .any(|(held, ..)| order(held) == order(reading))
        {
            return vec![];
        }
        let full = self.held.len() == CAPACITY;
        if full && order(reading) < order(&self.held[0].0) {
            return vec![];
        }
        let place = self
            .held
            .iter()
            .filter(|(held, ..)| order(held) < order(reading))
            .count();
        self.held
            .insert(place, (reading.clone(), (0, 0, 0, None), u32::MAX));
        let mut news = Vec::new();
        let mut previous = self.anchor;
        let mut second = None;
        for (held, content, revision) in &mut self.held {
            let draw =
                -f64::from(held.direction) * normal::inverse_cdf((1.0 - held.magnitude) / 2.0);
            let dt = previous.map_or(0.0, |previous: Previous| {
                held.event_time.seconds_since(previous.event_time)
            });
            let step = previous.map_or(0.0, |_| {
                held.drift * dt + held.volatility * dt.sqrt() * draw
            });
            let position = previous.map_or(0.0, |previous| previous.position + step);
            let fresh = (
                position.to_bits(),
                step.to_bits(),
                dt.to_bits(),
                previous.map(|previous| {
                    (
                        previous.index,
                        previous.event_time,
                        previous.position.to_bits(),
                    )
                }),
            );
            if *revision == u32::MAX || *content != fresh {
                *revision = revision.wrapping_add(1);
                *content = fresh;
                news.push((held.index, held.event_time, *revision, fresh));
            }
            let now = Previous {
                index: held.index,
                event_time: held.event_time,
                position,
            };
            second = second.or(Some(now));
            previous = Some(now);
        }
        if full {
            self.anchor = second;
            self.held.remove(0);
        }
        news
    }
}

fn contents(steps: &[Step]) -> Vec<(i64, EventTime, u32, Content)> {
    steps
        .iter()
        .map(|step| {
            let previous = step
                .previous
                .map(|p| (p.index, p.event_time, p.position.to_bits()));
            let content = (
                step.position.to_bits(),
                step.step.to_bits(),
                step.dt.to_bits(),
                previous,
            );
            (step.index, step.event_time, step.revision, content)
        })
        .collect()
}

proptest! {
    #[test]
    fn steps_and_revisions_are_those_of_the_contract_taken_at_its_word(
        arrivals in proptest::collection::vec((0_i64..400, 0_i64..40), 1..300),
    ) {
        let mut window = Window::default();
        let mut model = Model::default();
        for (index, jitter) in arrivals {
            let reading = reading(index, 500 * (index / 2) + jitter);
            let (_, steps) = insert(&mut window, &reading);
            prop_assert_eq!(contents(&steps), model.insert(&reading));
        }
    }

    #[test]
    fn any_order_of_arrival_ends_in_the_steps_of_sorted_input(
        order in Just((0..100).collect::<Vec<i64>>()).prop_shuffle(),
        repeats in proptest::collection::vec(any::<Index>(), 0..50),
    ) {
        let at = |index: i64| reading(index, 250 * (index / 3));
        let mut sorted = Vec::new();
        let mut window = Window::default();
        for index in 0..100 {
            sorted.append(&mut contents(&insert(&mut window, &at(index)).1));
        }
        let mut latest = HashMap::new();
        let mut window = Window::default();
        let repeated = repeats.iter().map(|repeat| *repeat.get(&order));
        for index in order.iter().copied().chain(repeated) {
            for (index, time, revision, content) in contents(&insert(&mut window, &at(index)).1) {
                let before = latest.insert(index, (time, revision, content));
                prop_assert_eq!(before.map_or(0, |(_, revision, _)| revision + 1), revision);
            }
        }
        for (index, time, _, content) in sorted {
            let (last_time, _, last) = latest[&index];
            prop_assert_eq!((last_time, last), (time, content));
        }
    }

    #[test]
    fn a_window_restored_from_its_dirty_slots_goes_on_bit_for_bit(
        arrivals in proptest::collection::vec((0_i64..300, 0_i64..40), 1..250),
        cut in any::<Index>(),
    ) {
        let cut = cut.index(arrivals.len());
        let mut window = Window::default();
        let mut store: HashMap<u8, Held> = HashMap::new();
        for (i, (index, jitter)) in arrivals.iter().enumerate() {
            if i == cut {
                window.take_dirty(|block| store.extend(block.iter().map(|held| (held.slot, *held))));
                let mut slots = Slots::default();
                store.values().for_each(|held| slots.put(*held));
                let mut restored = slots.window().unwrap();
                prop_assert!(!restored.is_dirty());
                for (index, jitter) in &arrivals[cut..] {
                    let reading = reading(*index, 500 * (index / 2) + jitter);
                    prop_assert_eq!(insert(&mut restored, &reading), insert(&mut window, &reading));
                }
                return Ok(());
            }
            insert(&mut window, &reading(*index, 500 * (index / 2) + jitter));
            if i % 3 == 0 {
                window.take_dirty(|block| store.extend(block.iter().map(|held| (held.slot, *held))));
            }
        }
    }
}
