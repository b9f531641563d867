//! Where a tail begins, how far it is, and how far behind: offsets as values.
//!
//! Pure: what Kafka said comes in as maps from partition to offset.

use std::collections::{BTreeMap, BTreeSet};

use super::Phase;

/// What is read at most before the first picture, over all partitions: a second or two of reading.
const HISTORY_RECORDS: i64 = 500_000;
/// What is read at least, over all partitions: a topic's own window isn't known where its times are not the clock's.
const REPLAY_RECORDS: i64 = 100_000;
/// How far from the ends a tail goes on that can't keep up, over all partitions: half of what it may be behind,
/// so that it doesn't skip again at once.
const FRESH_RECORDS: i64 = 25_000;

/// By partition.
pub type Offsets = BTreeMap<i32, i64>;

/// Where reading a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub low: i64,
    pub from: i64,
    pub end: i64,
}

/// How far reading a partition is.
#[derive(Debug)]
pub struct Position {
    begun: i64,
    next: i64,
    /// The end when reading began: before it is history.
    history_end: i64,
    /// The end, and the offset at which it was met, as last heard of.
    end: i64,
    met: i64,
}

impl Position {
    /// Everything before this has been read, or is no record.
    fn reached(&self) -> i64 {
        self.next.max(self.met)
    }
}

/// The partitions that are read.
#[derive(Debug, Default)]
pub struct Positions {
    by_partition: BTreeMap<i32, Position>,
    /// Partitions that can't be read now, whether they are among the above or not.
    leaderless: BTreeSet<i32>,
}

impl Positions {
    pub fn clear(&mut self) {
        self.by_partition.clear();
        self.leaderless.clear();
    }

    /// Which partitions can't be read now; whether that is news.
    pub fn lead(&mut self, leaderless: BTreeSet<i32>) -> bool {
        let is_new = self.leaderless != leaderless;
        self.leaderless = leaderless;
        is_new
    }

    pub fn leaderless(&self) -> &BTreeSet<i32> {
        &self.leaderless
    }

    pub fn len(&self) -> usize {
        self.by_partition.len()
    }

    pub fn contains(&self, number: i32) -> bool {
        self.by_partition.contains_key(&number)
    }

    pub fn begin(&mut self, number: i32, start: Start) {
        let Start { from, end, .. } = start;
        let position = Position {
            begun: from,
            next: from,
            history_end: end,
            end,
            met: from,
        };
        self.by_partition.insert(number, position);
    }

    /// Takes the record at `offset`. Returns whether it was there before reading began; `None` where the
    /// partition isn't read any more.
    pub fn take(&mut self, number: i32, offset: i64) -> Option<bool> {
        let position = self.by_partition.get_mut(&number)?;
        position.next = offset + 1;
        Some(offset < position.history_end)
    }

    /// The end of a partition was met: what was there at the beginning has been read.
    pub fn meet_end(&mut self, number: i32) {
        if let Some(position) = self.by_partition.get_mut(&number) {
            position.next = position.next.max(position.history_end);
        }
    }

    /// Hears where a partition ends, and at which offset its end was last met. The markers of transactions
    /// take offsets but are no records, so the position of the last record alone never reaches the end. What was
    /// heard before is forgotten: right after a topic was made anew it may be of the log that is gone.
    pub fn hear(&mut self, number: i32, end: i64, met: i64) {
        if let Some(position) = self.by_partition.get_mut(&number) {
            // A negative one says that nothing is known yet.
            if end >= 0 {
                position.end = end;
            }
            position.met = met;
        }
    }

    /// Whether the log ends before the point where reading began: then it is another log.
    pub fn are_beyond(&self, ends: &Offsets) -> bool {
        let mut all = self.by_partition.iter();
        all.any(|(number, position)| ends.get(number).is_some_and(|end| *end < position.begun))
    }

    /// Which of these places are ahead.
    pub fn ahead(&self, places: &Offsets) -> Offsets {
        let ahead = self.by_partition.iter().filter_map(|(number, position)| {
            let place = *places.get(number)?;
            (place > position.reached()).then_some((*number, place))
        });
        ahead.collect()
    }

    /// Where to go on near the ends.
    pub fn fresh(&self, low: &Offsets, end: &Offsets) -> Offsets {
        let share = i64::try_from(end.len().max(1)).unwrap_or(i64::MAX);
        let near = |(number, end): (&i32, &i64)| {
            let low = low.get(number).copied().unwrap_or(0);
            (*number, (end - FRESH_RECORDS / share).max(low))
        };
        self.ahead(&end.iter().map(near).collect())
    }

    /// Where to go on after the log has said that an offset is out of its range: where it begins now, for what
    /// retention has taken before it was read, else where we are. `None` where the log ends before that: it is
    /// another one.
    pub fn within(&self, low: &Offsets, end: &Offsets) -> Option<Offsets> {
        let mut places = Offsets::new();
        for (number, position) in &self.by_partition {
            if end.get(number).is_some_and(|end| *end < position.next) {
                return None;
            }
            // A partition of which nothing was heard is left out.
            if let Some(low) = low.get(number) {
                places.insert(*number, position.next.max(*low));
            }
        }
        Some(places)
    }

    /// Moves on to places that are ahead. Returns how many records that skips.
    pub fn skip_to(&mut self, places: &Offsets) -> u64 {
        let mut skipped = 0;
        for (number, place) in places {
            if let Some(position) = self.by_partition.get_mut(number) {
                skipped += (place - position.reached()).max(0).unsigned_abs();
                position.next = position.next.max(*place);
            }
        }
        skipped
    }

    /// Records that could be read now and haven't been: none of a partition without a leader.
    pub fn lag(&self) -> u64 {
        self.sum(|position| position.end - position.reached())
    }

    /// Loading, until everything has been read that was there at the beginning; what has no leader isn't waited
    /// for.
    pub fn phase(&self) -> Phase {
        let total = self.sum(|position| position.history_end - position.begun);
        let done =
            self.sum(|position| position.reached().min(position.history_end) - position.begun);
        if done >= total {
            Phase::Live
        } else {
            Phase::Loading { done, total }
        }
    }

    fn sum(&self, part: impl Fn(&Position) -> i64) -> u64 {
        self.by_partition
            .iter()
            .filter(|(number, _)| !self.leaderless.contains(number))
            .map(|(_, position)| part(position).max(0).unsigned_abs())
            .sum()
    }
}

/// Where to begin, of the first offsets, the ends, and the first offsets since a window before now.
///
/// What has come since then is only a hint. Records may carry times long past (a replay), while the markers of the
/// transactions that wrote them carry the present: so many records from the end are read in any case.
pub fn choose_starts(low: &Offsets, end: &Offsets, since: &Offsets) -> BTreeMap<i32, Start> {
    let share = i64::try_from(end.len().max(1)).unwrap_or(i64::MAX);
    let start = |(number, end): (&i32, &i64)| {
        let low = low.get(number).copied().unwrap_or(0);
        let from = since
            .get(number)
            .map_or(*end, |since| *since)
            .min(end - REPLAY_RECORDS / share)
            .max(end - HISTORY_RECORDS / share)
            .clamp(low, (*end).max(low));
        (
            *number,
            Start {
                low,
                from,
                end: *end,
            },
        )
    };
    end.iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_partition(offsets: &[i64]) -> Offsets {
        (0..).zip(offsets.iter().copied()).collect()
    }

    #[test]
    fn topic_is_read_from_the_window_on_and_its_last_records_whatever_their_times() {
        let (low, end) = (
            by_partition(&[0, 0, 0]),
            by_partition(&[1_000_000, 1_000_000, 50]),
        );
        let least = REPLAY_RECORDS / 3;
        // In the second, the marker of a transaction is younger than every record.
        let since = by_partition(&[900_000, 999_999]);
        let from: Vec<_> = choose_starts(&low, &end, &since)
            .values()
            .map(|start| start.from)
            .collect();
        assert_eq!(from, [900_000, 1_000_000 - least, 0]);
    }

    #[test]
    fn start_is_bounded_and_never_before_the_log() {
        let (end, since) = (by_partition(&[10_000_000]), by_partition(&[1]));
        assert_eq!(
            choose_starts(&by_partition(&[9_990_000]), &end, &since)[&0].from,
            9_990_000
        );
        let from = choose_starts(&by_partition(&[0]), &end, &since)[&0].from;
        assert_eq!(from, 10_000_000 - HISTORY_RECORDS);
    }

    #[test]
    fn history_ends_where_the_log_ended_and_loading_with_it() {
        let mut positions = Positions::default();
        positions.begin(
            0,
            Start {
                low: 0,
                from: 10,
                end: 13,
            },
        );
        assert_eq!(
            (positions.lag(), positions.phase()),
            (3, Phase::Loading { done: 0, total: 3 })
        );
        assert_eq!(positions.take(0, 11), Some(true));
        assert_eq!(positions.phase(), Phase::Loading { done: 2, total: 3 });
        positions.meet_end(0);
        assert_eq!(
            (positions.lag(), positions.phase()),
            (0, Phase::Live),
            "a marker is no record"
        );
        assert_eq!(positions.take(0, 13), Some(false));
        assert_eq!(positions.take(7, 1), None);
    }

    #[test]
    fn what_has_no_leader_is_neither_waited_for_nor_behind() {
        let mut positions = Positions::default();
        let start = Start {
            low: 0,
            from: 0,
            end: 10,
        };
        (0..2).for_each(|number| positions.begin(number, start));
        positions.take(0, 9);
        assert_eq!(
            positions.phase(),
            Phase::Loading {
                done: 10,
                total: 20
            }
        );
        assert!(positions.lead([1, 2].into()));
        assert!(!positions.lead([1, 2].into()), "that was known");
        assert_eq!((positions.phase(), positions.lag()), (Phase::Live, 0));
        positions.lead(BTreeSet::new());
        assert_eq!(positions.lag(), 10);
    }

    #[test]
    fn lag_counts_no_marker_once_the_end_was_met() {
        let mut positions = Positions::default();
        positions.begin(
            0,
            Start {
                low: 0,
                from: 0,
                end: 0,
            },
        );
        positions.take(0, 0);
        positions.hear(0, 2, -1001);
        assert_eq!(positions.lag(), 1);
        positions.hear(0, 2, 2);
        assert_eq!(positions.lag(), 0);
    }

    #[test]
    fn skipping_moves_forward_only_and_says_by_how_much() {
        let mut positions = Positions::default();
        positions.begin(
            0,
            Start {
                low: 0,
                from: 0,
                end: 1000,
            },
        );
        positions.begin(
            1,
            Start {
                low: 0,
                from: 500,
                end: 1000,
            },
        );
        let ahead = positions.ahead(&by_partition(&[400, 400]));
        assert_eq!(ahead, [(0, 400)].into());
        assert_eq!(
            (positions.skip_to(&ahead), positions.lag()),
            (400, 600 + 500)
        );
    }

    #[test]
    fn tail_that_cannot_keep_up_goes_on_near_the_ends() {
        let mut positions = Positions::default();
        let start = Start {
            low: 0,
            from: 0,
            end: 0,
        };
        (0..2).for_each(|number| positions.begin(number, start));
        let (low, end) = (
            by_partition(&[0, 995_000]),
            by_partition(&[1_000_000, 1_000_000]),
        );
        let fresh = positions.fresh(&low, &end);
        assert_eq!(fresh, by_partition(&[987_500, 995_000]));
    }

    #[test]
    fn what_retention_took_is_skipped_and_only_a_shorter_log_is_another_one() {
        let mut positions = Positions::default();
        let start = Start {
            low: 0,
            from: 100,
            end: 200,
        };
        (0..2).for_each(|number| positions.begin(number, start));
        positions.take(1, 179);
        let end = by_partition(&[500, 500]);
        let places = positions
            .within(&by_partition(&[150, 150]), &end)
            .expect("the same log");
        assert_eq!(places, by_partition(&[150, 180]));
        assert_eq!(positions.skip_to(&places), 50);
        assert_eq!(
            positions.within(&by_partition(&[0, 0]), &by_partition(&[500, 179])),
            None
        );
    }

    #[test]
    fn log_that_ends_before_the_beginning_is_another_one() {
        let mut positions = Positions::default();
        positions.begin(
            0,
            Start {
                low: 0,
                from: 100,
                end: 100,
            },
        );
        assert!(positions.are_beyond(&by_partition(&[99])));
        assert!(!positions.are_beyond(&by_partition(&[100])));
    }

    #[test]
    fn end_of_a_log_that_is_gone_is_forgotten_with_the_next_word_of_it() {
        let mut positions = Positions::default();
        let start = Start {
            low: 0,
            from: 0,
            end: 0,
        };
        positions.begin(0, start);
        positions.hear(0, 4_289, 4_000);
        assert_eq!(positions.lag(), 289);
        positions.take(0, 9);
        positions.hear(0, 12, 0);
        assert_eq!(positions.lag(), 2);
    }
}
