//! Dead letters: why a record could not be used, and the headers behind its own that say so.
//!
//! Headers of the same names that the record had before stay its own: only the last five are ours.

/// What the headers are called, in their order.
pub const HEADERS: [&str; 5] = [
    "fireworks.reason",
    "fireworks.error",
    "fireworks.topic",
    "fireworks.partition",
    "fireworks.offset",
];

/// Why a record can't be used, as `fireworks.reason` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It isn't a reading.
    Malformed,
    /// It sorts before the oldest reading of a full window.
    Late,
}

impl Reason {
    /// All there are.
    pub const ALL: [Reason; 2] = [Reason::Malformed, Reason::Late];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Late => "late",
        }
    }

    /// The reason that a word is for.
    pub fn named(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// What became of a record: where it was found, and why it could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Why not, in one word.
    pub reason: Reason,
    /// Why not, for people.
    pub error: &'a str,
    /// The topic it was found in.
    pub topic: &'a str,
    /// The partition of it.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
}

/// The name of a header and its value, which may be null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Origin<'a> {
    /// What the last five headers of a record say, and the headers before them; `None` where they aren't ours.
    pub fn of<'h>(headers: &'h [Header<'a>]) -> Option<(Origin<'a>, &'h [Header<'a>])> {
        let (own, last) = headers.split_at_checked(headers.len().checked_sub(HEADERS.len())?)?;
        let mut values = [""; HEADERS.len()];
        for ((name, value), (expected, text)) in last.iter().zip(HEADERS.iter().zip(&mut values)) {
            if *name != expected.as_bytes() {
                return None;
            }
            *text = std::str::from_utf8((*value)?).ok()?;
        }
        let [reason, error, topic, partition, offset] = values;
        let origin = Origin {
            reason: Reason::named(reason)?,
            error,
            topic,
            partition: partition.parse().ok().filter(|partition| *partition >= 0)?,
            offset: offset.parse().ok()?,
        };
        Some((origin, own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Header<'static>; 5] = [
        (b"fireworks.reason", Some(b"late")),
        (b"fireworks.error", Some(b"too late")),
        (b"fireworks.topic", Some(b"readings")),
        (b"fireworks.partition", Some(b"3")),
        (b"fireworks.offset", Some(b"41")),
    ];

    #[test]
    fn the_last_five_headers_are_ours_and_those_before_are_not() {
        let own: [Header<'_>; 2] = [(b"fireworks.reason", Some(b"mine")), (b"\xff\x00", None)];
        let headers = [&own[..], &OURS[..]].concat();
        let (origin, before) = Origin::of(&headers).unwrap();
        assert_eq!(before, own);
        let expected = Origin {
            reason: Reason::Late,
            error: "too late",
            topic: "readings",
            partition: 3,
            offset: 41,
        };
        assert_eq!(origin, expected);
    }

    #[test]
    fn headers_that_are_not_exactly_ours_are_nobody_s() {
        assert_eq!(Origin::of(&[]), None);
        assert_eq!(Origin::of(&OURS[1..]), None);
        let other: [(usize, Header<'_>); 6] = [
            (0, (b"fireworks.reason", Some(b"other"))),
            (0, (b"reason", Some(b"late"))),
            (1, (b"fireworks.error", None)),
            (2, (b"fireworks.topic", Some(b"\xff"))),
            (3, (b"fireworks.partition", Some(b"-1"))),
            (4, (b"fireworks.offset", Some(b"x"))),
        ];
        for (place, header) in other {
            let mut headers = OURS;
            headers[place] = header;
            assert_eq!(Origin::of(&headers), None, "{place}");
        }
        let mut turned = OURS;
        turned.swap(0, 1);
        assert_eq!(Origin::of(&turned), None);
    }
}
