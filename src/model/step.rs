//! A step of a Brownian path: the value of a record on `markov`.
//!
//! ```json
//! {"device_id":"sensor-3","index":41,"event_time":"2026-11-22T12:00:41.000Z","revision":0,
//!  "position":12.7041,"step":-0.3127,"dt":1.0,
//!  "previous":{"index":40,"event_time":"2026-11-22T12:00:40.000Z","position":13.0168},
//!  "window":{"n":100,"drift":0.0021,"volatility":0.987,"up_up":24,"up_down":26,"down_up":25,"down_down":23}}
//! ```
//!
//! A step is identified by (device_id, event_time, index, revision).

use super::event_time::EventTime;
use super::json::Json;

/// One step of one device's path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The reading that it belongs to.
    pub index: i64,
    /// When that was read.
    pub event_time: EventTime,
    /// How often a reading that arrived later has changed it.
    pub revision: u32,
    /// X_n.
    pub position: f64,
    /// X_n − X_{n−1}; 0 for a device's first.
    pub step: f64,
    /// Seconds since the reading before; 0 for a device's first.
    pub dt: f64,
    /// The reading before, if there is one.
    pub previous: Option<Previous>,
    /// The readings held, up to and including this one.
    pub window: WindowStatistics,
}

/// The reading before a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Previous {
    /// Its index.
    pub index: i64,
    /// When it was read.
    pub event_time: EventTime,
    /// X_{n−1}.
    pub position: f64,
}

/// What the readings of a window say of the process that made them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowStatistics {
    /// How many readings are described.
    pub n: u32,
    /// The estimate of μ, per second; null without an increment over dt > 0.
    pub drift: Option<f64>,
    /// The estimate of σ, per √second; null with fewer than two increments over dt > 0.
    pub volatility: Option<f64>,
    /// Consecutive increments: up after up.
    pub up_up: u32,
    /// Down after up.
    pub up_down: u32,
    /// Up after down.
    pub down_up: u32,
    /// Down after down.
    pub down_down: u32,
}

impl Step {
    /// Appends the value of its record on `markov` to `out`.
    pub fn encode(&self, device_id: &str, out: &mut Vec<u8>) {
        let mut json = Json(out);
        json.put(r#"{"device_id":"#, device_id)
            .put(r#","index":"#, self.index)
            .put_time(r#","event_time":"#, self.event_time)
            .put(r#","revision":"#, self.revision)
            .put(r#","position":"#, self.position)
            .put(r#","step":"#, self.step)
            .put(r#","dt":"#, self.dt);
        match &self.previous {
            None => json.text(r#","previous":null"#),
            Some(previous) => json
                .put(r#","previous":{"index":"#, previous.index)
                .put_time(r#","event_time":"#, previous.event_time)
                .put(r#","position":"#, previous.position)
                .text("}"),
        };
        let window = &self.window;
        json.put(r#","window":{"n":"#, window.n)
            .put(r#","drift":"#, window.drift)
            .put(r#","volatility":"#, window.volatility)
            .put(r#","up_up":"#, window.up_up)
            .put(r#","up_down":"#, window.up_down)
            .put(r#","down_up":"#, window.down_up)
            .put(r#","down_down":"#, window.down_down)
            .text("}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_the_wire_format_field_for_field() {
        let time = |text| EventTime::parse(text).unwrap();
        let mut step = Step {
            index: 41,
            event_time: time("2026-11-22T12:00:41.000Z"),
            revision: 0,
            position: 12.7041,
            step: -0.3127,
            dt: 1.0,
            previous: Some(Previous {
                index: 40,
                event_time: time("2026-11-22T12:00:40.000Z"),
                position: 13.0168,
            }),
            window: WindowStatistics {
                n: 100,
                drift: Some(0.0021),
                volatility: Some(0.987),
                up_up: 24,
                up_down: 26,
                down_up: 25,
                down_down: 23,
            },
        };
        let mut out = Vec::new();
        step.encode("sensor-3", &mut out);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            concat!(
                r#"{"device_id":"sensor-3","index":41,"event_time":"2026-11-22T12:00:41.000Z","revision":0,"#,
                r#""position":12.7041,"step":-0.3127,"dt":1.0,"#,
                r#""previous":{"index":40,"event_time":"2026-11-22T12:00:40.000Z","position":13.0168},"#,
                r#""window":{"n":100,"drift":0.0021,"volatility":0.987,"up_up":24,"up_down":26,"down_up":25,"down_down":23}}"#,
            )
        );
        step.previous = None;
        step.window = WindowStatistics {
            n: 1,
            ..WindowStatistics::default()
        };
        out.clear();
        step.encode("\"\n", &mut out);
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.starts_with(r#"{"device_id":"\"\n","index":41"#));
        assert!(text.contains(
            r#""previous":null,"window":{"n":1,"drift":null,"volatility":null,"up_up":0"#
        ));
    }
}
