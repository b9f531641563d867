//! The reducer, with explicit times.

use super::*;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000_000;
const WINDOW: i64 = 300_000;

fn live() -> Status {
    Status {
        phase: Phase::Live,
        partitions: 1,
        leaderless: Vec::new(),
        lag: Some(0),
        skipped: 0,
    }
}

fn picture() -> Picture {
    let subject = Subject {
        epoch: "epoch".into(),
        topic: "markov".into(),
        kafka: "kafka:9092".into(),
        window: WINDOW,
        field: None,
    };
    Picture::new(subject, NOW)
}

fn record(time: i64, value: &[u8]) -> Record<'_> {
    Record {
        partition: 0,
        offset: 0,
        timestamp: Some(time),
        appended: false,
        history: false,
        key: Some(b"d"),
        value: Some(value),
    }
}

fn send(picture: &mut Picture, time: i64, value: &str, now: i64) {
    picture.apply([record(time, value.as_bytes())].into_iter(), now);
}

fn message(picture: &mut Picture, seq: u64, now: i64) -> Value {
    let json = picture
        .message(seq, now, &live())
        .expect("something to say");
    serde_json::from_slice(&json).expect("json")
}

fn snapshot(picture: &Picture, now: i64) -> Value {
    serde_json::from_slice(&picture.snapshot(9, now, &live())).expect("json")
}

/// The path of the first device, as (bucket, value).
fn path(snapshot: &Value) -> Vec<(i64, f64)> {
    let column = |name: &str| {
        snapshot["series"][0][name]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let mut bucket = 0;
    column("b")
        .iter()
        .zip(column("y"))
        .map(|(difference, value)| {
            bucket += difference.as_i64().expect("a number");
            (bucket, value.as_f64().expect("a number"))
        })
        .collect()
}

#[test]
fn new_device_comes_whole_and_then_point_by_point() {
    let mut picture = picture();
    send(&mut picture, NOW, "1", NOW);
    let first = message(&mut picture, 1, NOW);
    assert_eq!(first["series"][0]["id"], "d");
    assert_eq!(first["top"], json!([0]));
    assert_eq!(first["latest"][0]["value"], 1.0);
    send(&mut picture, NOW + 1_000, "2", NOW + 1_000);
    let second = message(&mut picture, 2, NOW + 1_000);
    assert_eq!(
        second["points"],
        json!({"i": [0], "b": [(NOW + 1_000) / 500], "y": [2.0]})
    );
    assert_eq!(
        (&second["series"], &second["top"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn revision_of_an_earlier_step_moves_its_point() {
    let mut picture = picture();
    for (index, position) in [(1, 1.0), (2, 2.0), (3, 3.0), (1, 9.0)] {
        let step = format!(r#"{{"device_id":"d","index":{index},"position":{position}}}"#);
        send(&mut picture, NOW + index * 1_000, &step, NOW);
    }
    let values: Vec<f64> = path(&snapshot(&picture, NOW))
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values, [9.0, 2.0, 3.0]);
    let latest = &snapshot(&picture, NOW)["latest"][0];
    assert_eq!(
        latest["value"], 3.0,
        "an older step is never the newest, whenever it is revised"
    );
}

#[test]
fn backfill_counts_in_no_rate_and_no_latency() {
    let mut picture = picture();
    let old = Record {
        history: true,
        ..record(NOW - 1_000, b"1")
    };
    picture.apply([old].into_iter(), NOW);
    send(&mut picture, NOW - WINDOW, "2", NOW);
    let now = message(&mut picture, 1, NOW)["now"].clone();
    assert_eq!(
        (&now["rate"], &now["p50_ms"], &now["records"]),
        (&json!(0.0), &Value::Null, &json!(2))
    );
    send(&mut picture, NOW + 4_950, "3", NOW + 5_000);
    let now = message(&mut picture, 2, NOW + 5_000)["now"].clone();
    assert_eq!((&now["rate"], &now["p50_ms"]), (&json!(0.2), &json!(50)));
}

#[test]
fn replay_has_a_rate_and_its_own_window_but_no_latency() {
    let (mut picture, then) = (picture(), NOW - 86_400_000_000);
    (0..600).for_each(|second| send(&mut picture, then + second * 1_000, "1", NOW));
    let message = message(&mut picture, 1, NOW + 1_000);
    assert_eq!(message["now"]["current"], false);
    assert_eq!(message["now"]["head"], then + 599_000);
    assert_eq!(message["now"]["rate"], 600.0);
    assert_eq!(message["now"]["p50_ms"], Value::Null);
    assert_eq!(path(&snapshot(&picture, NOW)).len(), 301);
}

#[test]
fn points_that_waited_for_the_axis_are_drawn_once_it_has_moved() {
    let mut picture = picture();
    send(&mut picture, NOW + 3_600_000_000, "0", NOW);
    (0..8).for_each(|second| send(&mut picture, NOW + second * 1_000, "1", NOW));
    let snapshot = snapshot(&picture, NOW);
    assert_eq!(snapshot["now"]["current"], true);
    assert_eq!(path(&snapshot).len(), 8);
}

#[test]
fn bad_records_are_counted_by_reason_and_stop_nothing() {
    let mut picture = picture();
    for value in ["{", "\"x\"", "1"] {
        send(&mut picture, NOW, value, NOW);
    }
    let message = message(&mut picture, 1, NOW);
    assert_eq!(
        message["bad"]["reasons"],
        json!({"not JSON": 1, "no number": 1})
    );
    assert_eq!(
        (&message["now"]["bad"], &message["now"]["devices"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn silence_is_a_heartbeat_a_second() {
    let mut picture = picture();
    let said = (0..50).filter(|tick| {
        picture
            .message(*tick, NOW + 100 * *tick as i64, &live())
            .is_some()
    });
    assert_eq!(said.count(), 5);
    let mut down = live();
    down.phase = Phase::Unreachable("no broker answers".into());
    let json = picture
        .message(50, NOW + 4_910, &down)
        .expect("a state is told at once");
    let state = serde_json::from_slice::<Value>(&json).expect("json")["now"]["state"].clone();
    assert_eq!(state, json!({"kind": "down", "cause": "no broker answers"}));
}

#[test]
fn burst_of_one_device_is_sent_as_a_whole_once() {
    let mut picture = picture();
    send(&mut picture, NOW, "0", NOW);
    message(&mut picture, 1, NOW);
    (0..100_000).for_each(|n| send(&mut picture, NOW + n, &n.to_string(), NOW));
    let message = message(&mut picture, 2, NOW);
    assert_eq!(message["points"], Value::Null);
    assert_eq!(
        message["series"][0]["y"].as_array().map(Vec::len),
        Some(200)
    );
}

/// Steps of a second, of as many devices, for so long: each goes up and down by 1.
fn zigzag(picture: &mut Picture, devices: i64, seconds: i64) {
    for second in 0..seconds {
        for device in 0..devices {
            let position = (device + second) % 2;
            let step = format!(
                r#"{{"device_id":"d{device}","index":{second},"position":{position},
                    "window":{{"n":{},"drift":0.0,"volatility":1.0,"up_up":0,"up_down":5,"down_up":5,"down_down":0}}}}"#,
                (second + 1).min(100)
            );
            send(picture, NOW + second * 1_000, &step, NOW + second * 1_000);
        }
    }
}

#[test]
fn fan_of_theory_has_the_pooled_volatility_and_tells_the_share_inside() {
    let mut picture = picture();
    zigzag(&mut picture, 10, 60);
    let message = message(&mut picture, 1, NOW + 60_000);
    assert_eq!(message["now"]["theory"]["sigma"], 1.0);
    assert_eq!(message["pool"]["devices"], 10);
    assert_eq!(message["pool"]["seconds"], 590.0);
    let columns = message["columns"].as_array().expect("columns");
    assert_eq!(
        columns.last().expect("a column")["inside"],
        json!([10, 10, 10])
    );
    assert!(
        columns.iter().all(|column| column.get("q").is_none()),
        "too few for a crowd"
    );
    assert_eq!(message["latest"][0]["estimates"]["seconds"], 59.0);
}

#[test]
fn crowd_is_told_by_its_spread_and_a_wanted_device_by_all_of_its_past() {
    let mut picture = picture();
    zigzag(&mut picture, 300, 100);
    message(&mut picture, 1, NOW + 100_000);
    assert!(!picture.want("nobody", NOW));
    let wanted = "d299";
    assert!(picture.want(wanted, NOW + 100_100));
    let told = message(&mut picture, 2, NOW + 101_100);
    let path = told["series"].as_array().expect("paths");
    let path = path
        .iter()
        .find(|path| path["id"] == wanted)
        .expect("the wanted one");
    assert!(path["b"].as_array().map(Vec::len) > Some(60), "{path}");
    let whole = snapshot(&picture, NOW + 101_200);
    assert_eq!(whole["now"]["crowd"], true);
    assert_eq!(whole["series"].as_array().map(Vec::len), Some(MAX_TOP));
    let column = &whole["columns"][20];
    assert_eq!(
        (&column["n"], &column["q"][0], &column["q"][22]),
        (&json!(300), &json!(0.0), &json!(1.0))
    );
    assert_eq!(column["r"].as_array().map(Vec::len), Some(23));
    assert_eq!(picture.search("d29", 5).0, 11);
}

#[test]
fn time_of_the_broker_parts_the_latency() {
    let mut picture = picture();
    let event = "2023-11-14T22:13:20.100Z";
    let value = format!(r#"{{"event_time":"{event}","x":1}}"#);
    let taken = Record {
        appended: true,
        ..record(NOW + 130, value.as_bytes())
    };
    picture.apply([taken].into_iter(), NOW + 150);
    let now = message(&mut picture, 1, NOW + 170)["now"].clone();
    assert_eq!(
        (&now["to_broker_ms"], &now["to_server_ms"]),
        (&json!([30, 30]), &json!([40, 40]))
    );
    assert_eq!(
        (&now["p50_ms"], &now["head"]),
        (&json!(70), &json!(NOW + 100))
    );
}

/// A value of one of several devices.
fn send_of(picture: &mut Picture, device: &str, time: i64, now: i64) {
    let value = format!(r#"{{"device_id":"{device}","x":1}}"#);
    send(picture, time, &value, now);
}

#[test]
fn device_whose_clock_is_ahead_neither_empties_the_axis_nor_walks_away_with_it() {
    let mut picture = picture();
    let mut told = Value::Null;
    for second in 0..30 {
        let now = NOW + second * 1_000;
        for device in ["a", "b", "c", "d"] {
            send_of(&mut picture, device, now, now);
        }
        send_of(&mut picture, "wrong", now + 240_000, now);
        send_of(&mut picture, "hostile", NOW + (second + 1) * 299_000, now);
        told = message(&mut picture, second as u64, now);
    }
    assert_eq!(told["now"]["head"], NOW + 29_000);
    assert_eq!(told["now"]["ahead"], 1, "the other one's times are strays");
    assert_eq!(path(&snapshot(&picture, NOW + 30_000)).len(), 30);
}

#[test]
fn event_time_may_run_faster_than_the_clock_where_all_devices_do() {
    let mut picture = picture();
    for batch in 0..20 {
        for device in ["a", "b", "c", "d"] {
            send_of(
                &mut picture,
                device,
                NOW + batch * 100_000,
                NOW + batch * 100,
            );
        }
        message(&mut picture, batch as u64, NOW + batch * 100);
    }
    assert_eq!(
        snapshot(&picture, NOW + 2_000)["now"]["head"],
        NOW + 1_900_000
    );
}

#[test]
fn history_of_before_the_window_is_not_bad_and_whoever_sends_such_times_now_is() {
    let mut picture = picture();
    let value = br#"{"v":1}"#;
    let old = |n: i64| NOW - 4 * WINDOW + n * 1_000;
    let of_a_partition = || {
        (0..1_200).map(move |n| Record {
            history: true,
            ..record(old(n), value)
        })
    };
    // One after the other, as a log is read.
    picture.apply(of_a_partition(), NOW);
    picture.apply(of_a_partition(), NOW);
    let told = snapshot(&picture, NOW);
    assert_eq!(
        (&told["now"]["records"], &told["now"]["bad"]),
        (&json!(2_400), &json!(0))
    );
    assert_eq!(told["now"]["head"], old(1_199));
    picture.apply((0..1_200).map(|n| record(old(n), value)), NOW);
    let told = snapshot(&picture, NOW);
    assert!(told["now"]["bad"].as_u64() > Some(500), "{}", told["now"]);
}

#[test]
fn stray_that_moves_the_axis_is_drawn_only_where_it_belongs() {
    let mut picture = picture();
    send(&mut picture, NOW + 3_600_000_000, "0", NOW);
    (0..7).for_each(|n| send(&mut picture, NOW + n, "1", NOW));
    send(&mut picture, NOW - 3_600_000_000, "7", NOW);
    let snapshot = snapshot(&picture, NOW);
    assert_eq!(snapshot["now"]["head"], NOW + 6);
    assert_eq!(path(&snapshot), [(NOW / 500, 1.0)]);
}

#[test]
fn clock_that_is_set_back_stops_no_heartbeat_and_no_ranking() {
    let mut picture = picture();
    send(&mut picture, NOW, "1", NOW);
    message(&mut picture, 1, NOW);
    let earlier = NOW - 3_600_000;
    assert!(picture.message(2, earlier, &live()).is_some());
    assert!(picture.message(3, earlier + 100, &live()).is_none());
    assert!(picture.message(4, earlier + 1_000, &live()).is_some());
    send(&mut picture, NOW + 1, "2", earlier + 2_000);
    let told = message(&mut picture, 5, earlier + 2_000);
    assert_eq!(told["now"]["arrived"], earlier + 2_000);
}

#[test]
fn pool_that_is_gone_is_said_to_be() {
    let mut picture = picture();
    zigzag(&mut picture, 1, 5);
    assert_eq!(message(&mut picture, 1, NOW + 5_000)["pool"]["devices"], 1);
    send(
        &mut picture,
        NOW + 6_000,
        r#"{"device_id":"d0","index":9,"position":1}"#,
        NOW + 6_000,
    );
    let told = message(&mut picture, 2, NOW + 8_000);
    assert_eq!(told.get("pool"), Some(&Value::Null));
    assert_eq!(message(&mut picture, 3, NOW + 10_000).get("pool"), None);
}

#[test]
fn another_field_begins_another_picture() {
    let mut picture = picture();
    send(&mut picture, NOW, r#"{"a":1}"#, NOW);
    message(&mut picture, 1, NOW);
    (0..=100).for_each(|_| send(&mut picture, NOW, r#"{"b":2}"#, NOW));
    let told = message(&mut picture, 2, NOW);
    assert_eq!(
        (&told["about"]["epoch"], &told["now"]["field"]),
        (&json!("epoch"), &json!("b"))
    );
    assert_eq!(path(&told), [(NOW / 500, 2.0)]);
}
