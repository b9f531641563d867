//! Which devices are drawn and coloured, with points made up.

use super::*;

const GRID: Grid = Grid {
    window: 300_000,
    bucket: 500,
};

fn send(devices: &mut Devices, id: &str, time: i64) -> bool {
    let point = Point {
        device: id.into(),
        time,
        index: 0,
        value: 1.0,
        estimates: None,
    };
    devices.take(&point, GRID).is_some()
}

fn is_top(devices: &Devices, id: &str) -> bool {
    devices
        .top()
        .iter()
        .flatten()
        .any(|number| devices.get(*number).is_some_and(|device| &*device.id == id))
}

#[test]
fn grid_is_round_and_fine_enough() {
    assert_eq!(Grid::of(300_000).bucket, 500);
    assert_eq!(Grid::of(1_000).bucket, 2);
    assert_eq!(Grid::of(86_400_000).bucket, 144_000);
    assert_eq!(GRID.bucket_of(-1), -1);
}

#[test]
fn devices_points_and_drawn_lines_are_bounded() {
    let mut devices = Devices::default();
    for n in 0..2 * MAX_DEVICES {
        assert_eq!(send(&mut devices, &format!("d{n}"), 0), n < MAX_DEVICES);
    }
    devices.rank(0, GRID.window, 0);
    assert_eq!(devices.len(), MAX_DEVICES);
    assert!(devices.is_crowd);
    assert_eq!(devices.drawn().count(), MAX_TOP);
    assert_eq!(devices.top().len(), MAX_TOP);
}

#[test]
fn clearly_more_active_device_is_drawn_and_takes_a_colour() {
    let mut devices = Devices::default();
    (0..500).for_each(|n| assert!(send(&mut devices, &format!("d{n}"), 0)));
    devices.rank(0, GRID.window, 0);
    let before = devices.top().to_vec();
    assert!(!is_top(&devices, "d499"));
    (0..10).for_each(|_| assert!(send(&mut devices, "d499", 1)));
    devices.rank(0, GRID.window, 0);
    assert!(is_top(&devices, "d499"));
    let kept = before
        .iter()
        .zip(devices.top())
        .filter(|(before, after)| before == after)
        .count();
    assert_eq!(kept, MAX_TOP - 1, "the others keep their colours");
    assert_eq!(
        (devices.drawn().count(), devices.left.len()),
        (MAX_TOP, MAX_DRAWN - MAX_TOP + 1)
    );
}

#[test]
fn device_that_is_asked_for_is_drawn_in_colour_for_a_while() {
    let mut devices = Devices::default();
    (0..500).for_each(|n| assert!(send(&mut devices, &format!("d{n}"), 0)));
    devices.rank(0, GRID.window, 0);
    assert!(!is_top(&devices, "d499") && !devices.want("nobody", 0));
    assert!(devices.want("d499", 0));
    assert!(is_top(&devices, "d499"));
    assert_eq!(devices.drawn().count(), MAX_TOP);
    assert_eq!(devices.entered.len(), 1);
    let taken = (400..500).filter(|n| devices.want(&format!("d{n}"), 1));
    assert_eq!(
        taken.count(),
        MAX_WANTED,
        "those that are asked for already, among them"
    );
    assert!(
        is_top(&devices, "d499") && is_top(&devices, "d400") && !is_top(&devices, "d420"),
        "those who came first keep what they look at"
    );
    devices.rank(0, GRID.window, WANTED);
    assert!(is_top(&devices, "d499"), "it was asked for again");
    (0..10).for_each(|_| (0..20).for_each(|n| assert!(send(&mut devices, &format!("d{n}"), 0))));
    devices.rank(0, GRID.window, 2 * WANTED);
    assert!(!is_top(&devices, "d499"));
}

#[test]
fn search_finds_any_device_by_a_part_of_its_name() {
    let mut devices = Devices::default();
    (0..300).for_each(|n| assert!(send(&mut devices, &format!("Sensor-{n}"), 7)));
    let (all, first) = devices.search("sensor-2", 3);
    let names: Vec<&str> = first.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(
        (all, names),
        (111, vec!["Sensor-2", "Sensor-20", "Sensor-21"])
    );
    assert_eq!(devices.search("nothing", 3).0, 0);
}

#[test]
fn estimates_are_pooled_and_know_how_long_their_steps_took() {
    let mut devices = Devices::default();
    assert_eq!(devices.pool(), None);
    for (id, volatility) in [("a", 3.0), ("b", 4.0)] {
        for n in 1..=200 {
            let estimates = Estimates {
                n: n.min(100),
                drift: Some(0.5),
                volatility: Some(volatility),
                up_up: 2,
                ..Estimates::default()
            };
            let point = Point {
                device: id.into(),
                time: n as i64 * 1_000,
                index: n,
                value: 1.0,
                estimates: Some(estimates),
            };
            devices.take(&point, GRID);
        }
    }
    let pool = devices.pool().expect("estimates");
    assert_eq!((pool.devices, pool.n, pool.up_up), (2, 200, 4));
    assert_eq!((pool.drift, pool.seconds), (0.5, 2.0 * 99.0));
    assert_eq!(pool.volatility, 3.5);
}

fn estimated(devices: &mut Devices, id: &str, n: u64, volatility: f64) {
    let estimates = Estimates {
        n,
        up_up: n,
        drift: Some(0.0),
        volatility: Some(volatility),
        ..Estimates::default()
    };
    let point = Point {
        device: id.into(),
        time: 1_000,
        index: 0,
        value: 1.0,
        estimates: Some(estimates),
    };
    devices.take(&point, GRID);
}

#[test]
fn one_mad_estimate_neither_overflows_the_pool_nor_moves_it() {
    for mad in [1e100, 1e200, f64::MAX] {
        let mut devices = Devices::default();
        (0..5).for_each(|n| estimated(&mut devices, &format!("d{n}"), 100, 1.0));
        (0..3).for_each(|n| estimated(&mut devices, &format!("mad{n}"), u64::MAX, mad));
        let pool = devices.pool().expect("a pool");
        assert_eq!((pool.volatility, pool.n), (1.0, u64::MAX), "{mad}");
    }
}

#[test]
fn clock_that_is_ahead_of_the_others_is_found() {
    let mut devices = Devices::default();
    for (id, time) in [("a", 1_000), ("b", 2_000), ("c", 3_000), ("wrong", 240_000)] {
        assert!(send(&mut devices, id, time));
    }
    assert_eq!(devices.compare(75_000), (4, Some(3_000)));
    assert_eq!((devices.ahead, devices.pace("wrong")), (1, Some((3, true))));
    assert_eq!(
        (devices.pace("a"), devices.pace("new")),
        (Some((0, false)), None)
    );
    let mut two = Devices::default();
    assert!(send(&mut two, "a", 0) && send(&mut two, "b", 240_000));
    assert_eq!((two.compare(75_000), two.ahead), ((2, Some(240_000)), 0));
}

#[test]
fn device_that_left_the_window_makes_room() {
    let mut devices = Devices::default();
    send(&mut devices, "old", 0);
    send(&mut devices, "new", 400_000);
    devices.rank(400_000, GRID.window, 0);
    assert_eq!(devices.len(), 2, "it has sent just now");
    (0..2).for_each(|_| devices.rank(400_000, GRID.window, 0));
    assert_eq!(
        (devices.len(), devices.left.as_slice()),
        (1, [0].as_slice())
    );
    assert!(!is_top(&devices, "old"));
    send(&mut devices, "newer", 400_000);
    assert!(is_top(&devices, "newer"));
}

#[test]
fn colours_follow_names_as_people_sort_them() {
    let mut devices = Devices::default();
    ["s-10", "s-9", "s-1"]
        .iter()
        .for_each(|id| assert!(send(&mut devices, id, 0)));
    devices.sort_top();
    let names: Vec<&str> = devices
        .top()
        .iter()
        .flatten()
        .map(|n| &*devices.get(*n).expect("known").id)
        .collect();
    assert_eq!(names, ["s-1", "s-9", "s-10"]);
}
