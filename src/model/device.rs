//! The device table that every row of the source is joined to.

use std::collections::HashSet;
use std::fmt;
use std::io::Read;

use serde::Deserialize;

/// The longest device id, in bytes.
pub const MAX_ID_BYTES: usize = 249;
/// The largest |drift| and the largest volatility.
pub const MAX_RATE: f64 = 1e15;

/// A device and the parameters of its Brownian motion.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Non-empty, at most 249 bytes of UTF-8, unique in its table.
    pub id: String,
    /// μ, per second.
    pub drift: f64,
    /// σ ≥ 0, per √second.
    pub volatility: f64,
}

/// What is wrong with a device table.
#[derive(Debug)]
pub enum DeviceTableError {
    /// It isn't CSV, or not with the header `device_id,drift,volatility`.
    Csv(csv::Error),
    /// The header isn't `device_id,drift,volatility`.
    Header(String),
    /// A row breaks a rule.
    Row {
        /// The line in the file, from 1.
        line: u64,
        /// The rule that is broken.
        rule: String,
    },
    /// There is no device in it.
    Empty,
}

impl fmt::Display for DeviceTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceTableError::Csv(error) => error.fmt(f),
            DeviceTableError::Header(header) => write!(f, "the header is `{header}`"),
            DeviceTableError::Row { line, rule } => write!(f, "line {line}: {rule}"),
            DeviceTableError::Empty => f.write_str("there is no device in it"),
        }
    }
}

impl std::error::Error for DeviceTableError {}

#[derive(Deserialize)]
struct Row {
    device_id: String,
    drift: String,
    volatility: String,
}

impl Row {
    /// The device; an empty cell is its default. An id is taken as it stands, spaces and all.
    fn device(self) -> Result<Device, String> {
        Ok(Device {
            drift: number("drift", &self.drift, 0.0)?,
            volatility: number("volatility", &self.volatility, 1.0)?,
            id: self.device_id,
        })
    }
}

fn number(column: &str, cell: &str, default: f64) -> Result<f64, String> {
    match cell.trim() {
        "" => Ok(default),
        cell => cell
            .parse()
            .map_err(|_| format!("{column} `{cell}` is not a number")),
    }
}

/// The devices `sensor-1` … `sensor-n`, with drift 0 and volatility 1.
pub fn numbered(n: u32) -> Vec<Device> {
    let device = |number| Device {
        id: format!("sensor-{number}"),
        drift: 0.0,
        volatility: 1.0,
    };
    (1..=n).map(device).collect()
}

/// Reads a device table: CSV with the header `device_id,drift,volatility`. An empty drift is 0, an empty
/// volatility 1.
pub fn parse_csv(table: impl Read) -> Result<Vec<Device>, DeviceTableError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::Headers)
        .from_reader(table);
    let header = reader.headers().map_err(DeviceTableError::Csv)?.clone();
    if header != vec!["device_id", "drift", "volatility"] {
        let header = header.iter().collect::<Vec<_>>().join(",");
        return Err(DeviceTableError::Header(header));
    }
    let mut devices = Vec::new();
    let mut ids = HashSet::new();
    for record in reader.records() {
        let record = record.map_err(DeviceTableError::Csv)?;
        let line = record.position().map_or(0, csv::Position::line);
        let row: Row = record
            .deserialize(Some(&header))
            .map_err(DeviceTableError::Csv)?;
        let checked = row.device().and_then(|device| {
            match broken_rule(&device.id, device.drift, device.volatility) {
                Some(rule) => Err(rule),
                None if !ids.insert(device.id.clone()) => {
                    Err(format!("device `{}` is there twice", device.id))
                }
                None => Ok(device),
            }
        });
        devices.push(checked.map_err(|rule| DeviceTableError::Row { line, rule })?);
    }
    if devices.is_empty() {
        Err(DeviceTableError::Empty)
    } else {
        Ok(devices)
    }
}

/// The rule that a device's fields break, in words, if they break one.
pub(super) fn broken_rule(id: &str, drift: f64, volatility: f64) -> Option<String> {
    if id.is_empty() {
        Some("device_id is empty".into())
    } else if id.len() > MAX_ID_BYTES {
        Some(format!(
            "device_id has {} bytes, more than {MAX_ID_BYTES}",
            id.len()
        ))
    } else if !(-MAX_RATE..=MAX_RATE).contains(&drift) {
        Some(format!("drift {drift} is not within ±1e15"))
    } else if !(0.0..=MAX_RATE).contains(&volatility) {
        Some(format!("volatility {volatility} is not in 0 … 1e15"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(table: &str) -> String {
        parse_csv(table.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn empty_cells_take_the_defaults() {
        let devices =
            parse_csv("device_id,drift,volatility\na,,\n\" b, c\", 0.5 ,1e-9\n".as_bytes());
        let expected =
            [("a", 0.0, 1.0), (" b, c", 0.5, 1e-9)].map(|(id, drift, volatility)| Device {
                id: id.into(),
                drift,
                volatility,
            });
        assert_eq!(devices.unwrap(), expected);
    }

    #[test]
    fn broken_tables_are_refused_with_the_line_and_the_rule() {
        let table = |rows: &str| format!("device_id,drift,volatility\n{rows}");
        assert_eq!(error(""), "the header is ``");
        assert_eq!(error("id,mu,sigma\na,0,1\n"), "the header is `id,mu,sigma`");
        assert_eq!(error(&table("")), "there is no device in it");
        assert_eq!(
            error(&table("a,0,1\na,0,1\n")),
            "line 3: device `a` is there twice"
        );
        assert_eq!(
            error(&table("a,0,-1\n")),
            "line 2: volatility -1 is not in 0 … 1e15"
        );
        assert_eq!(
            error(&table("a,NaN,1\n")),
            "line 2: drift NaN is not within ±1e15"
        );
        assert_eq!(
            error(&table("a,0,inf\n")),
            "line 2: volatility inf is not in 0 … 1e15"
        );
        assert_eq!(error(&table(",0,1\n")), "line 2: device_id is empty");
        assert_eq!(
            error(&table("a,0,1\nb,x,1")),
            "line 3: drift `x` is not a number"
        );
        assert!(error(&table("a,0\n")).contains("line: 2"));
        assert!(
            error(&table(&format!("{},0,1\n", "x".repeat(250))))
                .contains("250 bytes, more than 249")
        );
    }
}
