//! The value of a reading: what is accepted says the same to a general JSON parser, and survives a round trip.

#![no_main]

use fireworks::model::event_time::EventTime;
use fireworks::model::reading::Reading;
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(reading) = Reading::decode_value(bytes) else {
        return;
    };
    let mut encoded = Vec::new();
    reading.encode(&mut encoded);
    let again = Reading::decode(Some(reading.device_id.as_bytes()), Some(&encoded));
    assert_eq!(again.expect("what was encoded is a reading"), reading);
    // A field of no concern may hold what the general parser can't: 1e400, or a thousand levels.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    assert_eq!(value["device_id"], *reading.device_id);
    assert_eq!(value["index"].as_u64(), u64::try_from(reading.index).ok());
    let time = EventTime::parse(value["event_time"].as_str().expect("a text"));
    assert_eq!(time, Ok(reading.event_time));
    assert_eq!(value["direction"].as_i64(), Some(reading.direction.into()));
    for (name, number) in [
        ("magnitude", reading.magnitude),
        ("drift", reading.drift),
        ("volatility", reading.volatility),
    ] {
        assert_eq!(value[name].as_f64(), Some(number), "{name}");
    }
});
