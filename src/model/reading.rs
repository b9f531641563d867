//! A reading: the value of a record on `readings`, and what of it a consumer accepts.
//!
//! ```json
//! {"device_id":"sensor-3","index":41,"event_time":"2026-11-22T12:00:41.000Z",
//!  "magnitude":0.7312098175,"direction":-1,"drift":0.0,"volatility":1.0}
//! ```
//!
//! These fields, each once, and any others beside them, which are ignored. Anything else is malformed,
//! and an error says why: decoding never panics and never guesses.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

use super::device;
use super::event_time::{EventTime, EventTimeError};
use super::json::Json;

/// One reading of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<'a> {
    /// The device, which is also the key of the record.
    pub device_id: Cow<'a, str>,
    /// The row of the source, 0 … 2⁶³−1.
    pub index: i64,
    /// When it was read.
    pub event_time: EventTime,
    /// Noise in [0, 1).
    pub magnitude: f64,
    /// Noise: −1 or +1.
    pub direction: i8,
    /// μ of the device, per second.
    pub drift: f64,
    /// σ ≥ 0 of the device, per √second.
    pub volatility: f64,
}

/// Why a record is not a reading.
#[derive(Debug)]
pub enum Malformed {
    /// The record has no value.
    NullValue,
    /// The record has no key.
    NullKey,
    /// The value isn't UTF-8.
    NotUtf8(std::str::Utf8Error),
    /// The value isn't a JSON object with the fields and types of a reading.
    NotAReading(String),
    /// `event_time` isn't one.
    EventTime(EventTimeError),
    /// A field is outside its range.
    OutOfRange(String),
    /// The key isn't the device id.
    KeyDiffers,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::NullValue => f.write_str("the value is null"),
            Malformed::NullKey => f.write_str("the key is null"),
            Malformed::NotUtf8(error) => write!(f, "the value is not UTF-8: {error}"),
            Malformed::NotAReading(error) => f.write_str(error),
            Malformed::EventTime(error) => write!(f, "event_time is {error}"),
            Malformed::OutOfRange(rule) => f.write_str(rule),
            Malformed::KeyDiffers => f.write_str("the key is not the device_id"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The fields as JSON types; their ranges are checked after.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    index: i64,
    #[serde(borrow)]
    event_time: Cow<'a, str>,
    magnitude: f64,
    direction: i64,
    drift: f64,
    volatility: f64,
}

impl<'a> Reading<'a> {
    /// Decodes a record. The text is borrowed wherever JSON has no escape in it.
    pub fn decode(key: Option<&[u8]>, value: Option<&'a [u8]>) -> Result<Reading<'a>, Malformed> {
        let value = value.ok_or(Malformed::NullValue)?;
        let key = key.ok_or(Malformed::NullKey)?;
        let reading = Reading::decode_value(value)?;
        if key == reading.device_id.as_bytes() {
            Ok(reading)
        } else {
            Err(Malformed::KeyDiffers)
        }
    }

    /// Decodes the value of a record, whatever its key.
    pub fn decode_value(value: &'a [u8]) -> Result<Reading<'a>, Malformed> {
        // All of the text must be UTF-8, also what the JSON parser would skip unseen.
        let text = std::str::from_utf8(value).map_err(Malformed::NotUtf8)?;
        // serde would take an array of the fields for the struct.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(Malformed::NotAReading(
                "the value is not a JSON object".into(),
            ));
        }
        let fields: Fields<'a> = serde_json::from_str(text)
            .map_err(|error| Malformed::NotAReading(error.to_string()))?;
        let event_time = EventTime::parse(&fields.event_time).map_err(Malformed::EventTime)?;
        if let Some(rule) = broken_rule(&fields) {
            return Err(Malformed::OutOfRange(rule));
        }
        Ok(Reading {
            device_id: fields.device_id,
            index: fields.index,
            event_time,
            magnitude: fields.magnitude,
            direction: if fields.direction == 1 { 1 } else { -1 },
            drift: fields.drift,
            volatility: fields.volatility,
        })
    }

    /// Appends the value of its record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Json(out)
            .put(r#"{"device_id":"#, &self.device_id)
            .put(r#","index":"#, self.index)
            .put_time(r#","event_time":"#, self.event_time)
            .put(r#","magnitude":"#, self.magnitude)
            .put(r#","direction":"#, self.direction)
            .put(r#","drift":"#, self.drift)
            .put(r#","volatility":"#, self.volatility)
            .text("}");
    }
}

fn broken_rule(fields: &Fields<'_>) -> Option<String> {
    if fields.index < 0 {
        Some(format!("index {} is negative", fields.index))
    } else if !(0.0..1.0).contains(&fields.magnitude) {
        Some(format!("magnitude {} is not in [0, 1)", fields.magnitude))
    } else if fields.direction != 1 && fields.direction != -1 {
        Some(format!(
            "direction {} is neither -1 nor 1",
            fields.direction
        ))
    } else {
        device::broken_rule(&fields.device_id, fields.drift, fields.volatility)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"{"device_id":"a","index":41,"event_time":"2026-11-22T12:00:41.000Z","magnitude":0.7312098175,"direction":-1,"drift":0.0,"volatility":1.0}"#;

    fn decode(value: &str) -> Result<Reading<'_>, String> {
        Reading::decode(Some(b"a"), Some(value.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn encoding_is_the_wire_format_field_for_field() {
        let mut out = Vec::new();
        decode(GOOD).unwrap().encode(&mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), GOOD);
    }

    #[test]
    fn decoding_and_encoding_allocate_nothing() {
        let mut out = Vec::with_capacity(GOOD.len());
        let allocated = allocation_counter::measure(|| {
            let reading = Reading::decode(Some(b"a"), Some(GOOD.as_bytes())).unwrap();
            reading.encode(&mut out);
        });
        assert_eq!(
            (out.as_slice(), allocated.count_total),
            (GOOD.as_bytes(), 0)
        );
        let allocated = allocation_counter::measure(|| decode("{}").unwrap_err().clear());
        assert_ne!(allocated.count_total, 0, "nothing is counted");
    }

    #[test]
    fn other_fields_spaces_escapes_and_order_do_not_matter() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let value = format!(
            " {{\"volatility\":1,\"deep\":{deep},\"huge\":1e999,\"drift\":-1e15,\"direction\":1,\
             \"x\":null,\"x\":2,\"magnitude\":0,\"event_time\":\"2026-11-22T13:00:41.0009+01:00\",\
             \"\\u0069ndex\":9223372036854775807,\"device_id\":\"\\u0061\"}}\n"
        );
        let reading = decode(&value).unwrap();
        assert_eq!(reading.index, i64::MAX);
        assert_eq!(reading.event_time.to_string(), "2026-11-22T12:00:41.000Z");
    }

    #[test]
    fn every_field_is_needed_once() {
        for field in [
            "device_id",
            "index",
            "event_time",
            "magnitude",
            "direction",
            "drift",
            "volatility",
        ] {
            let renamed = GOOD.replace(&format!("\"{field}\""), "\"other\"");
            assert!(
                decode(&renamed)
                    .unwrap_err()
                    .starts_with(&format!("missing field `{field}`"))
            );
            let start = GOOD.find(&format!("\"{field}\"")).unwrap();
            let length = GOOD[start..].find([',', '}']).unwrap();
            let twice = format!("{{{},{}", &GOOD[start..start + length], &GOOD[1..]);
            assert!(
                decode(&twice)
                    .unwrap_err()
                    .starts_with(&format!("duplicate field `{field}`"))
            );
            let null = GOOD.replace(&GOOD[start..start + length], &format!("\"{field}\":null"));
            assert!(decode(&null).is_err(), "{null}");
        }
    }

    #[test]
    fn what_is_not_a_reading_is_malformed() {
        for (from, to) in [
            ("41,", "41.0,"),
            ("41,", "-1,"),
            ("41,", "4e1,"),
            ("41,", "\"41\","),
            ("41,", "9223372036854775808,"),
            ("-1,", "0,"),
            ("-1,", "-1.0,"),
            ("-1,", "257,"),
            ("0.7312098175", "1"),
            ("0.7312098175", "1.0"),
            ("0.7312098175", "-1e-9"),
            ("0.7312098175", "NaN"),
            ("0.7312098175", "\"0.5\""),
            ("\"drift\":0.0", "\"drift\":1.1e15"),
            ("\"drift\":0.0", "\"drift\":1e999"),
            ("\"volatility\":1.0", "\"volatility\":-0.1"),
            ("\"volatility\":1.0", "\"volatility\":true"),
            ("2026-11-22T", "1969-11-22T"),
            ("000Z", "000"),
            ("\"a\"", "\"\""),
            ("\"a\"", "7"),
            ("\"a\"", "\"\\ud800\""),
            ("}", "},"),
            ("}", "} {}"),
            ("}", ""),
            ("{", "[{"),
        ] {
            assert_ne!(GOOD.replacen(from, to, 1), GOOD);
            assert!(
                decode(&GOOD.replacen(from, to, 1)).is_err(),
                "{from} → {to}"
            );
        }
        for value in [
            "",
            "{}",
            "null",
            "7",
            "[\"a\",41,\"2026-11-22T12:00:41.000Z\",0.5,-1,0.0,1.0]",
        ] {
            assert!(decode(value).is_err(), "{value}");
        }
    }

    #[test]
    fn key_and_value_must_be_there_and_agree() {
        let value = Some(GOOD.as_bytes());
        let error = |key, value| Reading::decode(key, value).unwrap_err().to_string();
        assert_eq!(error(None, value), "the key is null");
        assert_eq!(error(Some(b"a".as_slice()), None), "the value is null");
        assert_eq!(
            error(Some(b"b".as_slice()), value),
            "the key is not the device_id"
        );
        assert_eq!(
            error(Some(b"\xff".as_slice()), value),
            "the key is not the device_id"
        );
        let latin1 = GOOD
            .replace("drift\"", "drift\",\"x\":\"?\",\"y\"")
            .into_bytes();
        let latin1: Vec<u8> = latin1
            .into_iter()
            .map(|b| if b == b'?' { 0xe9 } else { b })
            .collect();
        assert!(error(Some(b"a".as_slice()), Some(&latin1)).starts_with("the value is not UTF-8"));
    }

    #[test]
    fn ids_may_have_249_bytes_and_no_more() {
        for (length, fits) in [(249, true), (250, false)] {
            let id = "x".repeat(length);
            let value = GOOD.replace("\"a\"", &format!("\"{id}\""));
            assert_eq!(
                Reading::decode(Some(id.as_bytes()), Some(value.as_bytes())).is_ok(),
                fits
            );
        }
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(
            id in "\\PC{1,20}", index in 0..i64::MAX, millis in 0_i64..253_402_300_800_000,
            magnitude in 0.0..1.0_f64, drift in -1e15..1e15_f64, volatility in 0.0..1e15_f64,
        ) {
            let reading = Reading {
                device_id: id.as_str().into(), index, magnitude, drift, volatility, direction: 1,
                event_time: EventTime::from_millis(millis).unwrap(),
            };
            let mut value = Vec::new();
            reading.encode(&mut value);
            prop_assert_eq!(Reading::decode(Some(id.as_bytes()), Some(&value)).unwrap(), reading);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ignored = Reading::decode(Some(b"a"), Some(&value)).is_ok();
        }
    }
}
