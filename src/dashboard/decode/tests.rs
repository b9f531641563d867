//! Records of all kinds, and the reasons of those that can't be drawn.

use super::*;

fn record<'a>(key: Option<&'a [u8]>, value: &'a [u8]) -> Record<'a> {
    Record {
        partition: 0,
        offset: 0,
        timestamp: Some(1_000),
        appended: false,
        history: false,
        key,
        value: Some(value),
    }
}

fn decode(value: &str) -> Result<(String, f64), Bad> {
    let point = Decoder::default().decode(&record(Some(b"key"), value.as_bytes()))?;
    Ok((point.device.into_owned(), point.value))
}

#[test]
fn step_is_understood_in_full() {
    let step = br#"{"device_id":"sensor-3","index":41,"event_time":"2026-11-22T12:00:41.000Z","revision":0,
        "position":12.7041,"step":-0.3127,"dt":1.0,
        "previous":{"index":40,"event_time":"2026-11-22T12:00:40.000Z","position":13.0168},
        "window":{"n":100,"drift":0.0021,"volatility":null,"up_up":24,"up_down":26,"down_up":25,"down_down":23}}"#;
    let mut decoder = Decoder::default();
    let point = decoder
        .decode(&record(Some(b"sensor-3"), step))
        .expect("a step");
    assert_eq!(
        (point.device.as_ref(), point.index, point.value),
        ("sensor-3", 41, 12.7041)
    );
    let estimates = point.estimates.expect("a window");
    assert_eq!(
        (estimates.n, estimates.drift, estimates.volatility),
        (100, Some(0.0021), None)
    );
    assert_eq!((estimates.up_up, estimates.down_down), (24, 23));
    assert_eq!(decoder.field(), Some("position"));
}

#[test]
fn reading_is_drawn_by_magnitude_and_others_by_their_first_number() {
    let reading = r#"{"device_id":"s","index":1,"magnitude":0.5,"direction":-1,"drift":0.0}"#;
    assert_eq!(decode(reading), Ok(("s".into(), 0.5)));
    assert_eq!(
        decode(r#"{"ts":17,"ok":true,"tags":[1],"celsius":21.5,"rh":40}"#),
        Ok(("key".into(), 21.5))
    );
    assert_eq!(decode("3.5"), Ok(("key".into(), 3.5)));
}

#[test]
fn chosen_field_stays_whatever_the_order_of_fields() {
    let mut decoder = Decoder::default();
    let mut value = |json: &str| {
        decoder
            .decode(&record(Some(b"k"), json.as_bytes()))
            .map(|point| point.value)
    };
    assert_eq!(value(r#"{"a":1,"b":2}"#), Ok(1.0));
    assert_eq!(value(r#"{"b":3,"a":4}"#), Ok(4.0));
    assert_eq!(value(r#"{"b":5}"#), Err(Bad::NoNumber));
    for _ in 0..MISSES {
        value(r#"{"b":5}"#).ok();
    }
    assert_eq!(value(r#"{"b":6}"#), Ok(6.0));
}

#[test]
fn what_cannot_be_drawn_has_a_reason() {
    let long = format!(
        r#"{{"device_id":"{}","position":1}}"#,
        "x".repeat(MAX_ID + 1)
    );
    for (json, reason) in [
        ("{", Bad::NotJson),
        (r#"{"position":1e999}"#, Bad::NotJson),
        (r#"{"position":"1"}"#, Bad::NoNumber),
        ("[1]", Bad::NoNumber),
        (r#"{"device_id":"","position":1}"#, Bad::NoDevice),
        (&long, Bad::LongDevice),
    ] {
        assert_eq!(decode(json), Err(reason), "{json}");
    }
    let mut decoder = Decoder::default();
    let mut fails_by =
        |record: Record<'_>, reason| assert_eq!(decoder.decode(&record), Err(reason));
    fails_by(record(Some(b"k"), b"\xff"), Bad::NotUtf8);
    let null = Record {
        value: None,
        ..record(None, b"")
    };
    fails_by(null, Bad::Null);
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    assert_eq!(decode(&r#"{"a":"#.repeat(50_000)), Err(Bad::NotJson));
    assert_eq!(decode(&"[".repeat(100_000)), Err(Bad::NotJson));
}

#[test]
fn key_that_is_no_text_is_a_name_in_hexadecimal() {
    assert_eq!(name_of(b"\xff\x00"), "0xff00");
}

#[test]
fn record_without_key_is_named_by_itself_or_its_partition() {
    let name = |json: &str| {
        let point = Decoder::default()
            .decode(&record(None, json.as_bytes()))
            .expect("a point");
        point.device.into_owned()
    };
    assert_eq!(name(r#"{"name":"n","sensor":"s","x":1}"#), "s");
    assert_eq!(name(r#"{"x":1}"#), "partition 0");
    assert_eq!(name("1"), "partition 0");
}

#[test]
fn numeric_fields_are_found_and_the_wanted_one_is_drawn() {
    let json = br#"{"ts":1,"ok":true,"air":{"celsius":21.5,"deep":{"rh":40}},"volt":3.3}"#;
    let mut decoder = Decoder::new(Some("volt".into()));
    let value = |decoder: &mut Decoder| decoder.decode(&record(Some(b"k"), json)).map(|p| p.value);
    assert_eq!(value(&mut decoder), Ok(3.3));
    assert_eq!(decoder.fields(), ["air.celsius", "air.deep.rh", "volt"]);
    assert_eq!(value(&mut Decoder::default()), Ok(21.5));
    assert_eq!(
        value(&mut Decoder::new(Some("gone".into()))),
        Err(Bad::NoNumber)
    );
}

#[test]
fn number_of_fields_is_bounded_whatever_is_sent() {
    let mut decoder = Decoder::default();
    for n in 0..1_000 {
        let json = format!(r#"{{"f{n}":1,"{}":2}}"#, "x".repeat(MAX_FIELD + 1));
        decoder.decode(&record(Some(b"k"), json.as_bytes())).ok();
    }
    assert_eq!(decoder.fields().len(), MAX_FIELDS);
}

#[test]
fn known_field_of_a_later_record_never_replaces_the_chosen_one() {
    let mut decoder = Decoder::default();
    let mut value = |json: &str| {
        let point = decoder.decode(&record(Some(b"k"), json.as_bytes()));
        (point.map(|point| point.value), decoder.take_change())
    };
    assert_eq!(value(r#"{"celsius":21.5}"#), (Ok(21.5), false));
    assert_eq!(value(r#"{"position":7,"celsius":22}"#), (Ok(22.0), false));
    for _ in 0..MISSES {
        assert_eq!(value(r#"{"position":7}"#), (Err(Bad::NoNumber), false));
    }
    assert_eq!(value(r#"{"a":1,"position":7}"#), (Ok(7.0), true));
}

#[test]
fn whole_number_that_names_a_device_is_its_name_and_no_measure() {
    let name = |json: &str| {
        let mut decoder = Decoder::default();
        let point = decoder
            .decode(&record(None, json.as_bytes()))
            .expect("a point");
        (point.device.into_owned(), point.value)
    };
    assert_eq!(name(r#"{"sensor_id":7,"celsius":21}"#), ("7".into(), 21.0));
    assert_eq!(name(r#"{"host":-3,"id":7,"x":1}"#), ("7".into(), 1.0));
    for exact in ["9007199254740993", "18446744073709551615"] {
        let json = format!(r#"{{"device_id":{exact},"x":1}}"#);
        assert_eq!(name(&json), (exact.into(), 1.0));
    }
}

#[test]
fn time_outside_the_calendar_is_no_time() {
    for time in [-1, i64::MIN, i64::MAX, 253_402_300_800_000] {
        let mad = Record {
            timestamp: Some(time),
            ..record(Some(b"k"), b"1")
        };
        assert_eq!(
            Decoder::default().decode(&mad),
            Err(Bad::TimeRange),
            "{time}"
        );
    }
}

#[test]
fn mad_counts_of_a_window_are_bounded() {
    let json = br#"{"position":1,"window":{"n":1e300,"up_up":-5,"up_down":1e30}}"#;
    let point = Decoder::default()
        .decode(&record(Some(b"k"), json))
        .expect("a point");
    let estimates = point.estimates.expect("a window");
    assert_eq!(
        (estimates.n, estimates.up_up, estimates.up_down),
        (1_000_000_000, 0, 1_000_000_000)
    );
}
