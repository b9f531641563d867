//! Event times: milliseconds since 1970 inside, ISO 8601 with milliseconds and a `Z` on the wire.
//!
//! Only instants of the years 1970 to 9999 exist, so that the text always has 24 characters.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// 9999-12-31T23:59:59.999Z, in milliseconds since 1970.
const LAST_MS: i64 = 253_402_300_799_999;

/// An instant of the years 1970 to 9999, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

/// Why a text or a number is no event time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTimeError {
    /// The text isn't RFC 3339.
    NotRfc3339,
    /// The instant lies outside the years 1970 to 9999.
    OutOfRange,
}

impl fmt::Display for EventTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EventTimeError::NotRfc3339 => "not an RFC 3339 time with an offset",
            EventTimeError::OutOfRange => "outside the years 1970 to 9999",
        })
    }
}

impl std::error::Error for EventTimeError {}

impl EventTime {
    /// The instant that many milliseconds after the start of 1970, UTC.
    pub fn from_millis(millis: i64) -> Result<EventTime, EventTimeError> {
        if (0..=LAST_MS).contains(&millis) {
            Ok(EventTime(millis))
        } else {
            Err(EventTimeError::OutOfRange)
        }
    }

    /// Milliseconds since the start of 1970, UTC.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 with any offset; a fraction beyond milliseconds is cut off.
    pub fn parse(text: &str) -> Result<EventTime, EventTimeError> {
        // The parser takes any separator between date and time, the RFC's grammar only a T.
        if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
            return Err(EventTimeError::NotRfc3339);
        }
        let instant =
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| EventTimeError::NotRfc3339)?;
        EventTime::from_millis(instant.unix_timestamp() * 1000 + i64::from(instant.millisecond()))
    }

    /// The seconds from `earlier` to this instant.
    pub fn seconds_since(self, earlier: EventTime) -> f64 {
        (self.0 - earlier.0) as f64 / 1000.0
    }

    /// The 24 characters of the wire, such as `2026-11-22T12:00:41.000Z`.
    pub(super) fn text(self) -> [u8; 24] {
        let instant = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000))
            .expect("an event time lies in the years 1970 to 9999");
        let (year, month, day) = instant.to_calendar_date();
        let (hour, minute, second) = instant.to_hms();
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (range, number) in [
            (0..4, year as u32),
            (5..7, u32::from(month as u8)),
            (8..10, u32::from(day)),
            (11..13, u32::from(hour)),
            (14..16, u32::from(minute)),
            (17..19, u32::from(second)),
            (20..23, self.0.rem_euclid(1000) as u32),
        ] {
            let mut rest = number;
            for digit in text[range].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        text
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("digits and punctuation are ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> Result<i64, EventTimeError> {
        EventTime::parse(text).map(EventTime::millis)
    }

    #[test]
    fn offsets_are_applied_and_fractions_cut_off() {
        assert_eq!(millis("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(millis("2023-11-14T22:13:20.5Z"), Ok(1_700_000_000_500));
        assert_eq!(
            millis("2023-11-15T03:43:20.500999999999+05:30"),
            Ok(1_700_000_000_500)
        );
        assert_eq!(millis("2023-11-14t22:13:20.000z"), Ok(1_700_000_000_000));
        assert_eq!(millis("9999-12-31T23:59:59.9999Z"), Ok(LAST_MS));
        assert_eq!(millis("1969-12-31T23:30:00-01:00"), Ok(1_800_000));
    }

    #[test]
    fn instants_outside_the_years_are_refused() {
        assert_eq!(
            millis("1969-12-31T23:59:59.999Z"),
            Err(EventTimeError::OutOfRange)
        );
        assert_eq!(
            millis("1970-01-01T00:00:00+00:01"),
            Err(EventTimeError::OutOfRange)
        );
        assert_eq!(
            millis("9999-12-31T23:59:59-00:01"),
            Err(EventTimeError::OutOfRange)
        );
        assert_eq!(EventTime::from_millis(-1), Err(EventTimeError::OutOfRange));
        assert_eq!(
            EventTime::from_millis(LAST_MS + 1),
            Err(EventTimeError::OutOfRange)
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "now",
            "1700000000000",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20Z",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+0530",
            "2023-02-29T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "10000-01-01T00:00:00Z",
            " 2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20Z ",
        ] {
            assert_eq!(millis(text), Err(EventTimeError::NotRfc3339), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_and_instant_are_each_others_inverse(millis in 0..=LAST_MS) {
            let time = EventTime::from_millis(millis).unwrap();
            prop_assert_eq!(time.to_string().len(), 24);
            prop_assert_eq!(EventTime::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ignored = EventTime::parse(&text);
        }
    }
}
