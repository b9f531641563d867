//! From a record's bytes to one point of one device's path, or the reason why there is none.
//!
//! Pure and lenient: a step of `markov` is understood in full, a reading by its magnitude, any other
//! JSON by its first numeric field, or the one that was asked for. It trusts nothing: sizes are bounded, and
//! a failure is a value.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::kafka::tail::Record;
use crate::model::event_time::EventTime;

/// A device's name is at most this long, in bytes; the contract's own limit.
const MAX_ID: usize = 249;
/// Values above this are not parsed.
const MAX_VALUE: usize = 256 * 1024;
/// So many records in a row without the topic's field, and another field is looked for.
const MISSES: u32 = 100;
/// Numeric fields that are offered, of so many records at the beginning, and of every one in so many later.
const MAX_FIELDS: usize = 16;
const FIRST: u64 = 256;
const LATER: u64 = 64;
/// A field's name is no longer than this, in bytes.
const MAX_FIELD: usize = 80;
/// Texts and whole numbers that name a device where neither `device_id` nor a key does, the first one first.
const NAMES: &[&str] = &["id", "device", "sensor_id", "sensor", "name", "host"];
/// Numbers that say when or which, not how much.
const NOT_MEASURES: &[&str] = &[
    "index",
    "revision",
    "id",
    "device_id",
    "offset",
    "partition",
    "time",
    "ts",
    "timestamp",
    "event_time",
];

/// One point of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<'a> {
    pub device: Cow<'a, str>,
    /// Event time, milliseconds since 1970: the record's timestamp, or its `event_time` where the timestamp
    /// is the broker's.
    pub time: i64,
    /// Orders points of the same time, as the contract does; 0 where there is none.
    pub index: u64,
    pub value: f64,
    pub estimates: Option<Estimates>,
}

/// What a step of `markov` says about the device's recent path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimates {
    pub n: u64,
    pub drift: Option<f64>,
    pub volatility: Option<f64>,
    pub up_up: u64,
    pub up_down: u64,
    pub down_up: u64,
    pub down_down: u64,
    /// How long the steps took, as far as whoever holds them knows.
    pub seconds: Option<f64>,
}

/// Why a record is no point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Bad {
    #[serde(rename = "null value")]
    Null,
    #[serde(rename = "too large")]
    TooLarge,
    #[serde(rename = "not UTF-8")]
    NotUtf8,
    #[serde(rename = "not JSON")]
    NotJson,
    #[serde(rename = "no device")]
    NoDevice,
    #[serde(rename = "device name too long")]
    LongDevice,
    #[serde(rename = "no number")]
    NoNumber,
    #[serde(rename = "no timestamp")]
    NoTimestamp,
    #[serde(rename = "time outside the years 1970 to 9999")]
    TimeRange,
    #[serde(rename = "time far from the others")]
    StrayTime,
}

/// Decodes records of one topic. Its state is which field is drawn, and which others there are.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The field that was asked for.
    wanted: Option<String>,
    field: Option<String>,
    /// Whether the field is another one than before, since it was last asked.
    has_changed: bool,
    misses: u32,
    records: u64,
    fields: Vec<String>,
}

impl Decoder {
    /// A decoder that draws `field` and nothing else, if it is given.
    pub fn new(field: Option<String>) -> Decoder {
        Decoder {
            field: field.clone(),
            wanted: field,
            ..Decoder::default()
        }
    }

    /// The field that is drawn; `None` until a record had one.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// Whether what was drawn before was another field: a picture of both would mix two measures.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// The numeric fields that could be drawn, in the order they were found.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    pub fn decode<'a>(&mut self, record: &Record<'a>) -> Result<Point<'a>, Bad> {
        let value = record.value.ok_or(Bad::Null)?;
        if value.len() > MAX_VALUE {
            return Err(Bad::TooLarge);
        }
        let text = std::str::from_utf8(value).map_err(|_| Bad::NotUtf8)?;
        let timestamp = record.timestamp.ok_or(Bad::NoTimestamp)?;
        let fields: Fields<'a> = match serde_json::from_str(text) {
            Ok(Json::Object(fields)) => fields,
            Ok(Json::Number(number)) => Fields::of(number),
            Ok(Json::Whole(number)) => Fields::of(number as f64),
            Ok(_) => return Err(Bad::NoNumber),
            Err(_) => return Err(Bad::NotJson),
        };
        self.look_for_fields(&fields.numbers);
        let own_time = fields.event_time.filter(|_| record.appended);
        let own_time = own_time.and_then(|text| EventTime::parse(&text).ok());
        let time = own_time.map_or_else(|| EventTime::from_millis(timestamp), Ok);
        let time = time.map_err(|_| Bad::TimeRange)?.millis();
        let device = match (fields.device, record.key, fields.name) {
            (Some(device), _, _) => device,
            (None, Some(key), _) => name_of(key),
            (None, None, Some((_, name))) => name,
            // Records without any name are one line for each partition.
            (None, None, None) => format!("partition {}", record.partition).into(),
        };
        match device.len() {
            0 => return Err(Bad::NoDevice),
            1..=MAX_ID => {}
            _ => return Err(Bad::LongDevice),
        }
        let value = self.choose(&fields.numbers).ok_or(Bad::NoNumber)?;
        let is_path = self.field.as_deref() == Some("position");
        Ok(Point {
            device,
            time,
            index: fields.index.unwrap_or(0),
            value,
            estimates: fields.estimates.filter(|_| is_path),
        })
    }

    fn look_for_fields(&mut self, numbers: &[(Cow<'_, str>, f64)]) {
        self.records += 1;
        if self.records > FIRST && !self.records.is_multiple_of(LATER) {
            return;
        }
        for (name, _) in numbers {
            let is_new = !self.fields.iter().any(|known| known == name);
            if is_new && name.len() <= MAX_FIELD && self.fields.len() < MAX_FIELDS {
                self.fields.push(name.to_string());
            }
        }
    }

    /// The field that was asked for; else the one that was chosen at the first record and is drawn from then
    /// on, so that a line never mixes two measures; unless it has been gone for a while. Chosen is a path's
    /// position, a reading's magnitude, or in a stranger's topic the first numeric field.
    fn choose(&mut self, numbers: &[(Cow<'_, str>, f64)]) -> Option<f64> {
        let find = |wanted: &str| {
            let mut all = numbers.iter();
            all.find(|(name, _)| name == wanted)
                .map(|(_, value)| *value)
        };
        if let Some(wanted) = &self.wanted {
            return find(wanted);
        }
        if let Some(field) = self.field.as_deref() {
            if let Some(value) = find(field) {
                self.misses = 0;
                return Some(value);
            }
            self.misses += 1;
            if self.misses <= MISSES {
                return None;
            }
        }
        let known = ["position", "magnitude"].map(|known| Some((known, find(known)?)));
        let first = numbers.first().map(|(name, value)| (name.as_ref(), *value));
        let (name, value) = known.into_iter().flatten().next().or(first)?;
        self.misses = 0;
        self.has_changed = self.field.replace(name.to_owned()).is_some();
        Some(value)
    }
}

/// A record's key as a name: text, or hexadecimal where it isn't.
fn name_of(key: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(key) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = key
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("0x{hex}").into()
        }
    }
}

/// The fields of an object that matter, whatever their types turned out to be.
#[derive(Debug, Default)]
struct Fields<'a> {
    device: Option<Cow<'a, str>>,
    /// A text that could be the device's name, and its rank.
    name: Option<(usize, Cow<'a, str>)>,
    index: Option<u64>,
    event_time: Option<Cow<'a, str>>,
    /// Measures in their order; those of objects in it as `object.field`. Not all of a hostile object's.
    numbers: Vec<(Cow<'a, str>, f64)>,
    estimates: Option<Estimates>,
}

const MAX_NUMBERS: usize = 32;

impl<'a> Fields<'a> {
    /// A record that is a number and nothing else.
    fn of(number: f64) -> Fields<'a> {
        Fields {
            numbers: vec![("value".into(), number)],
            ..Fields::default()
        }
    }

    fn take(&mut self, name: Cow<'a, str>, value: Json<'a>) {
        let value = match value {
            // A number that names something is text: as a measure it would be nonsense, and a float can't
            // tell large ones apart.
            Json::Whole(number) if name == "device_id" || NAMES.contains(&name.as_ref()) => {
                Json::Text(number.to_string().into())
            }
            Json::Whole(number) if name == "index" => {
                self.index = u64::try_from(number).ok();
                return;
            }
            Json::Whole(number) => Json::Number(number as f64),
            other => other,
        };
        match (name.as_ref(), value) {
            ("device_id", Json::Text(text)) => self.device = Some(text),
            ("device_id", Json::Number(number)) => self.device = Some(number.to_string().into()),
            ("event_time", Json::Text(text)) => self.event_time = Some(text),
            ("index", Json::Number(number)) if number >= 0.0 => self.index = Some(number as u64),
            ("window", Json::Object(window)) if window.has("volatility") || window.has("n") => {
                self.estimates = Some(window.into_estimates());
            }
            // What a step comes from is no measure of its own.
            ("previous", _) => {}
            (other, Json::Number(number))
                if !NOT_MEASURES.contains(&other) && self.numbers.len() < MAX_NUMBERS =>
            {
                self.numbers.push((name, number));
            }
            (other, Json::Object(inner)) => {
                let room = MAX_NUMBERS - self.numbers.len();
                // No name grows with the depth of a hostile object.
                let is_short = |name: &str| other.len() + name.len() < MAX_FIELD;
                let numbers = inner.numbers.into_iter().filter(|(name, _)| is_short(name));
                let numbers =
                    numbers.map(|(name, number)| (format!("{other}.{name}").into(), number));
                self.numbers.extend(numbers.take(room));
            }
            (other, Json::Text(text)) => {
                let rank = NAMES.iter().position(|known| *known == other);
                let known = self.name.as_ref().map_or(usize::MAX, |(rank, _)| *rank);
                if let Some(rank) = rank.filter(|rank| *rank < known && !text.is_empty()) {
                    self.name = Some((rank, text));
                }
            }
            _ => {}
        }
    }

    fn has(&self, wanted: &str) -> bool {
        self.numbers.iter().any(|(name, _)| name == wanted)
    }

    fn into_estimates(self) -> Estimates {
        let number = |wanted: &str| {
            let mut all = self.numbers.iter();
            all.find(|(name, _)| name == wanted)
                .map(|(_, number)| *number)
        };
        // No honest window has a billion steps; more would overflow when they are added up.
        let count = |wanted| number(wanted).unwrap_or(0.0).clamp(0.0, 1e9) as u64;
        Estimates {
            n: count("n"),
            drift: number("drift"),
            volatility: number("volatility"),
            up_up: count("up_up"),
            up_down: count("up_down"),
            down_up: count("down_up"),
            down_down: count("down_down"),
            seconds: None,
        }
    }
}

/// Any JSON value, kept as far as it can matter.
enum Json<'a> {
    Object(Fields<'a>),
    Number(f64),
    /// A number that was written without a fraction, exactly.
    Whole(i128),
    Text(Cow<'a, str>),
    Other,
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Whole(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Json::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = map.next_key()? {
            fields.take(name, map.next_value()?);
        }
        Ok(Json::Object(fields))
    }
}

/// A field's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Text(text) => Ok(Name(text)),
            _ => Err(serde::de::Error::custom("a field's name is text")),
        }
    }
}

#[cfg(test)]
mod tests;
