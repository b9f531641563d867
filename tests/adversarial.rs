//! `brownian` and everything that a reading can get wrong: each record ends as a step, a counted duplicate, or a
//! dead letter that is the original byte for byte, and nothing stops.
//!
//! What the decoder says to each is tested beside it; here it is the real binary on a real log that counts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use rdkafka::message::{Header, OwnedHeaders};
use support::*;

const PARTITION: i32 = 2;
const LEVELS: usize = 10_000;
/// The largest value that fits into a batch of Kafka's default `max.message.bytes` with our key and headers.
const LARGE: usize = 1_048_588 - 400;

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Step,
    Duplicate,
    Malformed,
    Late,
}
use Fate::{Duplicate, Late, Malformed, Step};

/// A record, and what is to become of it.
struct Case {
    name: String,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    fate: Fate,
}

/// All cases. Each has a device of its own unless it says otherwise, so that no case depends on another.
#[derive(Default)]
struct Cases(Vec<Case>);

const GOOD: &str = r#"{"device_id":"ID","index":41,"event_time":"2026-11-22T12:00:41.000Z","magnitude":0.5,"direction":-1,"drift":0.25,"volatility":1.5}"#;

const FIELDS: [(&str, &str); 7] = [
    ("device_id", "\"ID\""),
    ("index", "41"),
    ("event_time", "\"2026-11-22T12:00:41.000Z\""),
    ("magnitude", "0.5"),
    ("direction", "-1"),
    ("drift", "0.25"),
    ("volatility", "1.5"),
];

impl Cases {
    fn add(&mut self, name: &str, key: Option<&[u8]>, value: Option<&[u8]>, fate: Fate) {
        self.0.push(Case {
            name: name.to_owned(),
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            fate,
        });
    }

    fn id(&self) -> String {
        format!("device-{}", self.0.len())
    }

    /// A value of which `ID` is the device, under the key that belongs to it.
    fn text(&mut self, name: &str, value: &str, fate: Fate) {
        let id = self.id();
        let value = value.replace("ID", &id);
        self.add(name, Some(id.as_bytes()), Some(value.as_bytes()), fate);
    }

    /// The good reading with one field set to something else.
    fn with(&mut self, field: &str, json: &str, fate: Fate) {
        let (_, old) = FIELDS.iter().find(|(name, _)| *name == field).unwrap();
        let value = GOOD.replace(
            &format!("\"{field}\":{old}"),
            &format!("\"{field}\":{json}"),
        );
        let name = format!("{field}: {}", &json[..json.len().min(40)]);
        self.text(&name, &value, fate);
    }

    fn fields_and_types(&mut self) {
        for (field, json) in FIELDS {
            self.text(
                &format!("no {field}"),
                &GOOD.replace(&format!("\"{field}\""), "\"other\""),
                Malformed,
            );
            let again = format!("{{\"{field}\":{json},{}", &GOOD[1..]);
            self.text(&format!("{field} twice"), &again, Malformed);
            let escaped = GOOD.replace(
                &format!("\"{field}\""),
                &format!("\"\\u{:04x}{}\"", field.as_bytes()[0], &field[1..]),
            );
            self.text(
                &format!("{field} with an escape in its name"),
                &escaped,
                Step,
            );
            for wrong in ["null", "true", "[]", "{}", "[41]", "{\"a\":1}"] {
                self.with(field, wrong, Malformed);
            }
        }
        for field in ["index", "magnitude", "direction", "drift", "volatility"] {
            for wrong in [
                "\"1\"",
                "NaN",
                "Infinity",
                "-Infinity",
                "+1",
                "01",
                ".5",
                "1.",
                "0x1",
                "1e400",
                "-1e400",
                "1_0",
            ] {
                self.with(field, wrong, Malformed);
            }
        }
        for field in ["index", "direction"] {
            for wrong in ["1.0", "1e0", "41.5", "-0", "-0.0"] {
                self.with(field, wrong, Malformed);
            }
        }
        for field in ["device_id", "event_time"] {
            self.with(field, "41", Malformed);
            self.with(field, "\"\"", Malformed);
        }
    }

    fn ranges(&mut self) {
        for (json, fate) in [
            ("0", Step),
            ("9223372036854775807", Step),
            ("-1", Malformed),
            ("9223372036854775808", Malformed),
            ("18446744073709551616", Malformed),
        ] {
            self.with("index", json, fate);
        }
        for (json, fate) in [
            ("0", Step),
            ("-0.0", Step),
            ("0.9999999999999999", Step),
            ("5e-324", Step),
            ("1", Malformed),
            ("1.0", Malformed),
            ("-5e-324", Malformed),
            ("0.99999999999999999999", Malformed),
        ] {
            self.with("magnitude", json, fate);
        }
        for (json, fate) in [
            ("1", Step),
            ("0", Malformed),
            ("2", Malformed),
            ("257", Malformed),
            ("-129", Malformed),
        ] {
            self.with("direction", json, fate);
        }
        for (json, fate) in [
            ("1e15", Step),
            ("-1e15", Step),
            ("-0", Step),
            ("1.0000000000000002e15", Malformed),
            ("-1e16", Malformed),
            ("1e308", Malformed),
        ] {
            self.with("drift", json, fate);
        }
        for (json, fate) in [
            ("0", Step),
            ("1e15", Step),
            ("1000000000000001", Malformed),
            ("-1e-300", Malformed),
        ] {
            self.with("volatility", json, fate);
        }
        for (json, fate) in [
            ("1970-01-01T00:00:00.000Z", Step),
            ("1970-01-01T01:00:00+01:00", Step),
            ("9999-12-31T23:59:59.999999999Z", Step),
            ("9999-12-31T22:59:59.999-01:00", Step),
            ("2024-02-29T00:00:00Z", Step),
            ("2026-11-22t12:00:41z", Step),
            ("1969-12-31T23:59:59.999Z", Malformed),
            ("1970-01-01T00:00:00+00:01", Malformed),
            ("9999-12-31T23:59:59-00:01", Malformed),
            ("10000-01-01T00:00:00Z", Malformed),
            ("2025-02-29T00:00:00Z", Malformed),
            ("2026-11-22T24:00:00Z", Malformed),
            ("2026-11-22T12:00:41", Malformed),
            ("2026-11-22 12:00:41Z", Malformed),
            ("2026-11-22", Malformed),
            (" 2026-11-22T12:00:41Z", Malformed),
            ("1700000000000", Malformed),
            ("\\u0032026-11-22T12:00:41Z", Step),
        ] {
            self.with("event_time", &format!("\"{json}\""), fate);
        }
    }

    fn keys_and_ids(&mut self) {
        let good = GOOD.replace("ID", "k");
        let value = Some(good.as_bytes());
        self.add("no key", None, value, Malformed);
        self.add("empty key", Some(b""), value, Malformed);
        self.add("another key", Some(b"K"), value, Malformed);
        self.add("key with a space", Some(b"k "), value, Malformed);
        self.add("key with a NUL", Some(b"k\0"), value, Malformed);
        self.add("key that is not UTF-8", Some(b"\xff\xfe"), value, Malformed);
        self.add("neither key nor value", None, None, Malformed);
        self.add("no value", Some(b"k"), None, Malformed);
        self.add("empty value", Some(b"k"), Some(b""), Malformed);
        self.add("empty key and value", Some(b""), Some(b""), Malformed);
        for (what, id, fate) in [
            ("249 bytes", "x".repeat(249), Step),
            ("250 bytes", "x".repeat(250), Malformed),
            (
                "248 bytes and a letter of two",
                format!("{}é", "x".repeat(248)),
                Malformed,
            ),
            ("one of four bytes", "🎆".into(), Step),
            ("quotes and slashes", "a\"b\\c/d".into(), Step),
            ("a NUL and a tab", "\0\t".into(), Step),
            ("a slot's last byte", "a\u{63}".into(), Step),
        ] {
            let json = serde_json::to_string(&id).unwrap();
            let value = GOOD.replace("\"ID\"", &json);
            self.add(what, Some(id.as_bytes()), Some(value.as_bytes()), fate);
        }
        let escaped = GOOD.replace("ID", "\\u0065\\ud83c\\udf86");
        self.add(
            "id in escapes",
            Some("e🎆".as_bytes()),
            Some(escaped.as_bytes()),
            Step,
        );
        let lone = GOOD.replace("ID", "\\ud83c");
        self.add(
            "id of half a surrogate pair",
            Some(b"\xed\xa0\xbc"),
            Some(lone.as_bytes()),
            Malformed,
        );
    }

    fn bytes(&mut self) {
        for (what, value) in [
            ("a number", "7"),
            ("null", "null"),
            ("text", "\"reading\""),
            ("an array", "[]"),
            ("no fields", "{}"),
            (
                "the fields as an array",
                r#"["ID",41,"2026-11-22T12:00:41.000Z",0.5,-1,0,1]"#,
            ),
            ("not JSON", "not json"),
            ("spaces", "   "),
            ("single quotes", "{'device_id':'ID'}"),
        ] {
            self.text(what, value, Malformed);
        }
        self.text("a byte order mark", &format!("\u{feff}{GOOD}"), Malformed);
        self.text(
            "a second reading behind it",
            &format!("{GOOD}{GOOD}"),
            Malformed,
        );
        self.text("a comma behind it", &format!("{GOOD},"), Malformed);
        self.text("a NUL behind it", &format!("{GOOD}\0"), Malformed);
        self.text("a comment", &GOOD.replacen('{', "{/**/", 1), Malformed);
        self.text("a trailing comma", &GOOD.replace('}', ",}"), Malformed);
        self.text("cut off", &GOOD[..GOOD.len() - 1], Malformed);
        self.text(
            "a raw line feed in a text",
            &GOOD.replace("ID", "ID\n"),
            Malformed,
        );
        self.text("space around it", &format!(" \t\r\n{GOOD}\n "), Step);
        self.text(
            "other fields, one of them twice",
            &GOOD.replacen('{', r#"{"x":null,"x":[1,{"index":7}],"":1e400,"#, 1),
            Step,
        );
        let id = self.id();
        let bad = GOOD
            .replace("ID", &id)
            .replacen('{', r#"{"note":"?","#, 1)
            .into_bytes();
        let bad: Vec<u8> = bad
            .into_iter()
            .map(|byte| if byte == b'?' { 0xe9 } else { byte })
            .collect();
        self.add(
            "a field that is not UTF-8",
            Some(id.as_bytes()),
            Some(&bad),
            Malformed,
        );
        self.add(
            "bytes",
            Some(b"\x00\x01"),
            Some(&(0..=255).collect::<Vec<u8>>()),
            Malformed,
        );
    }

    fn depths_and_sizes(&mut self) {
        let nest =
            |open: &str, close: &str| format!("{}1{}", open.repeat(LEVELS), close.repeat(LEVELS));
        let (arrays, objects) = (nest("[", "]"), nest("{\"a\":", "}"));
        for deep in [&arrays, &objects] {
            self.text(
                "deep in a field of no concern",
                &GOOD.replacen('{', &format!("{{\"deep\":{deep},"), 1),
                Step,
            );
            self.text("nothing but depth", deep, Malformed);
            self.with("drift", deep, Malformed);
        }
        self.text("depth without an end", &"[".repeat(LEVELS), Malformed);
        self.text(
            "objects without an end",
            &"{\"a\":".repeat(LEVELS),
            Malformed,
        );
        self.text(
            "depth closed by the wrong bracket",
            &format!("{}{}", "[".repeat(LEVELS), "}".repeat(LEVELS)),
            Malformed,
        );
        let padded = GOOD.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(LARGE)), 1);
        let cut = padded.len() - LARGE;
        self.text(
            "as large as it may be",
            &padded.replace(&"x".repeat(LARGE), &"x".repeat(LARGE - cut)),
            Step,
        );
        self.text("large and no reading", &"x".repeat(LARGE), Malformed);
        self.with("index", &"1".repeat(LARGE - 400), Malformed);
        self.with(
            "magnitude",
            &format!("0.{}", "9".repeat(100_000)),
            Malformed,
        );
        self.with("magnitude", &format!("0.5{}", "0".repeat(100_000)), Step);
        self.with(
            "event_time",
            &format!("\"2026-11-22T12:00:41.{}Z\"", "9".repeat(100_000)),
            Step,
        );
    }

    /// What only the readings before it make wrong.
    fn history(&mut self) {
        let reading = |index: i64| {
            GOOD.replace("\"ID\"", "\"old\"")
                .replace("41,", &format!("{index},"))
                .replace("00:41", &format!("{:02}:{:02}", index / 60, index % 60))
        };
        let mut add = |name: &str, index: i64, fate| {
            self.add(name, Some(b"old"), Some(reading(index).as_bytes()), fate);
        };
        (1..=100).for_each(|index| add("one of a hundred", index, Step));
        add("the newest again", 100, Duplicate);
        add("the oldest again", 1, Duplicate);
        add("older than the oldest", 0, Late);
        add("one that pushes the oldest out", 101, Step);
        add("one that has gone, again", 1, Late);
        add("one in the middle, again", 50, Duplicate);
    }

    fn all() -> Vec<Case> {
        let mut cases = Cases::default();
        cases.text("a good reading first", GOOD, Step);
        cases.fields_and_types();
        cases.ranges();
        cases.keys_and_ids();
        cases.bytes();
        cases.depths_and_sizes();
        cases.history();
        cases.text("a good reading last", GOOD, Step);
        cases.0
    }
}

/// Headers of every kind; which ones depends on the number of the record.
fn headers(number: usize) -> Vec<(String, Option<Vec<u8>>)> {
    let all = [
        ("trace", Some(b"1".as_slice())),
        ("trace", Some(b"2")),
        ("trace", None),
        ("empty", Some(b"")),
        ("", Some(b"no name")),
        ("bytes", Some(b"\x00\xff\xfe")),
        ("fireworks.reason", Some(b"mine")),
        ("ключ", Some("значення".as_bytes())),
    ];
    let turned = all.iter().cycle().skip(number % 8).take(number % 9);
    turned
        .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
        .collect()
}

fn owned(headers: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    headers
        .iter()
        .fold(OwnedHeaders::new(), |owned, (key, value)| {
            owned.insert(Header {
                key,
                value: value.as_ref(),
            })
        })
}

/// Timestamps that a producer may well send; −1 says that there is none.
fn timestamp(number: usize) -> i64 {
    let odd = [
        -1,
        1,
        1_600_000_000_000,
        253_402_300_799_999,
        4_102_444_800_000,
    ];
    odd[number % odd.len()]
}

fn input(name: &str, config: &[(&str, &str)]) -> String {
    let topic = unique(name);
    let ours = [
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("retention.ms", "-1"),
    ];
    let config: Vec<_> = ours.iter().chain(config).copied().collect();
    create_topic(&topic, 6, &config);
    topic
}

fn process(input: &str, output: &str) -> Outcome {
    process_with(input, output, &[])
}

fn process_with(input: &str, output: &str, more: &[&str]) -> Outcome {
    let ours = [
        "brownian",
        "--input",
        input,
        "--output",
        output,
        "--group",
        input,
        "--until-end",
    ];
    succeed(&[&ours, more].concat())
}

#[test]
fn every_record_ends_as_a_step_a_duplicate_or_a_dead_letter_that_is_the_original() {
    let topic = input("adversarial", &[]);
    let output = format!("{topic}.markov");
    let cases = Cases::all();
    let producer = producer(&[("enable.idempotence", "true")]);
    for (number, case) in cases.iter().enumerate() {
        let (key, value) = (case.key.as_deref(), case.value.as_deref());
        send_record(
            &producer,
            &topic,
            PARTITION,
            key,
            value,
            timestamp(number),
            owned(&headers(number)),
        );
    }
    flush(&producer);
    let outcome = process(&topic, &output);

    let mut expected: BTreeMap<Fate, usize> = BTreeMap::new();
    cases
        .iter()
        .for_each(|case| *expected.entry(case.fate).or_default() += 1);
    let said = |name: &str| {
        let (_, rest) = outcome.stderr.rsplit_once(&format!(" {name}=")).unwrap();
        rest.split_whitespace()
            .next()
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let dead: BTreeMap<usize, Record> = committed(&format!("{topic}.dlq"))
        .into_iter()
        .map(|record| (record.header("fireworks.offset").parse().unwrap(), record))
        .collect();
    for (number, case) in cases.iter().enumerate() {
        let letter = dead.get(&number);
        let reason = letter.map(|letter| letter.header("fireworks.reason"));
        let expected = match case.fate {
            Step | Duplicate => None,
            Malformed => Some("malformed".to_owned()),
            Late => Some("late".to_owned()),
        };
        assert_eq!(reason, expected, "record {number}, {}", case.name);
        if let Some(letter) = letter {
            assert_is_the_original(letter, case, number, &topic);
        }
    }
    let steps = committed(&output);
    assert_eq!(steps.len(), expected[&Step]);
    assert!(steps.iter().all(|step| step.partition == PARTITION));
    let devices: BTreeMap<_, _> = steps
        .iter()
        .map(|step| (step.key.clone(), step.json()))
        .collect();
    for case in cases.iter().filter(|case| case.fate == Step) {
        let id = String::from_utf8(case.key.clone().unwrap()).unwrap();
        assert_eq!(devices[&case.key]["device_id"], id, "{}", case.name);
    }
    assert_eq!(said("duplicates"), expected[&Duplicate]);
    assert_eq!(said("late"), expected[&Late]);
    assert_eq!(said("malformed"), expected[&Malformed]);
    assert_eq!(said("records"), cases.len());
}

fn assert_is_the_original(letter: &Record, case: &Case, number: usize, topic: &str) {
    let what = format!("record {number}, {}", case.name);
    assert!(
        letter.key == case.key && letter.value == case.value,
        "{what} was changed"
    );
    assert_eq!(letter.timestamp, timestamp(number), "{what}");
    let theirs = headers(number);
    assert_eq!(letter.headers[..theirs.len()], theirs, "{what}");
    let ours: Vec<_> = letter.headers[theirs.len()..]
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let names = [
        "fireworks.reason",
        "fireworks.error",
        "fireworks.topic",
        "fireworks.partition",
        "fireworks.offset",
    ];
    assert_eq!(ours, names, "{what}");
    let error = letter.header("fireworks.error");
    assert!(!error.is_empty() && error.len() <= 1024, "{what}: {error}");
    assert_eq!(letter.header("fireworks.topic"), topic);
    assert_eq!(letter.header("fireworks.partition"), PARTITION.to_string());
}

#[test]
fn dead_letters_keep_the_time_that_the_log_gave_them_and_steps_have_their_own() {
    let topic = input(
        "append-time",
        &[("message.timestamp.type", "LogAppendTime")],
    );
    let output = format!("{topic}.markov");
    let producer = producer(&[]);
    let good = GOOD.replace("ID", "a");
    send(&producer, &topic, 0, Some(b"a"), Some(good.as_bytes()));
    send(&producer, &topic, 0, Some(b"a"), Some(b"bad"));
    flush(&producer);
    process(&topic, &output);
    let given = committed(&topic)[1].timestamp;
    assert!(
        given > 1_700_000_000_000,
        "the log gave no time of its own: {given}"
    );
    assert_eq!(committed(&format!("{topic}.dlq"))[0].timestamp, given);
    assert_eq!(committed(&output)[0].timestamp, 1_795_348_841_000);
}

#[test]
fn a_record_may_be_larger_than_what_is_fetched_at_once() {
    let topic = input("larger", &[("max.message.bytes", "4000000")]);
    let output = format!("{topic}.markov");
    let producer = producer(&[("message.max.bytes", "4000000")]);
    let good = GOOD.replace("ID", "a");
    let padded = good.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(3_000_000)), 1);
    send(&producer, &topic, 0, Some(b"a"), Some(padded.as_bytes()));
    send(&producer, &topic, 0, Some(b"a"), Some(good.as_bytes()));
    flush(&producer);
    let outcome = process_with(&topic, &output, &["-X", "message.max.bytes=4000000"]);
    assert_eq!(committed(&output).len(), 1, "{}", outcome.stderr);
}
