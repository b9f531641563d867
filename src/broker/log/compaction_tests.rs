//! Compaction against what it must leave, and against a map.

use super::*;
use crate::broker::batch::control::{Marker, Outcome};
use crate::broker::batch::testing::Draft;
use crate::broker::log::Isolation;
use proptest::prelude::*;

const SETTINGS: Compaction = Compaction {
    dirty_ratio: 0.5,
    dirty_bytes: 0,
    dirty_age: Duration::ZERO,
    min_lag_ms: 0,
    max_lag_ms: i64::MAX,
    delete_retention_ms: 1000,
};

fn append(log: &mut Log, draft: &Draft) {
    log.append(draft.admitted(), Now::at(0))
        .expect("the append is good");
}

fn run(log: &mut Log, now: Now) {
    if let Some(job) = log.compaction(&SETTINGS, now) {
        log.install(compact(&job), now);
    }
}

/// (offset, key, value) of all records, markers left out.
fn contents(log: &Log) -> Vec<(i64, String, Option<String>)> {
    let slice = log
        .read(log.start(), Isolation::ReadUncommitted, usize::MAX, true)
        .expect("in range");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("tests write text");
    let mut contents = Vec::new();
    for bytes in &slice.batches {
        let header = Header::read(bytes).expect("a header");
        assert_eq!(header.crc, crate::broker::batch::header::checksum(bytes));
        let stored = Stored {
            base: 0,
            last: 0,
            max_timestamp: 0,
            arrived: Duration::ZERO,
            bytes: bytes.clone(),
            delete_horizon: None,
        };
        if !header.is_control() {
            assert!(with_records(&stored, &header, |record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                contents.push((
                    offset,
                    text(record.key.expect("a key")),
                    record.value.map(text),
                ));
            }));
        }
    }
    contents
}

fn marker(log: &mut Log, producer_id: i64, outcome: Outcome) {
    let marker = Marker {
        producer_id,
        producer_epoch: 0,
        outcome,
    };
    log.append_marker(marker, Now::at(0))
        .expect("a marker can be appended");
}

#[test]
fn only_the_newest_record_of_a_key_stays_at_its_offset() {
    for codec in [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ] {
        let mut log = Log::default();
        append(
            &mut log,
            &Draft::keyed(&[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]).codec(codec),
        );
        append(
            &mut log,
            &Draft::keyed(&[("c", Some("1")), ("b", Some("2"))]).codec(codec),
        );
        run(&mut log, Now::at(0));
        let expected = [(2, "a", "2"), (3, "c", "1"), (4, "b", "2")];
        let expected =
            expected.map(|(offset, key, value)| (offset, key.to_owned(), Some(value.to_owned())));
        assert_eq!(contents(&log), expected, "{codec:?}");
        assert_eq!((log.start(), log.end()), (0, 5));
    }
}

#[test]
fn tombstone_outlives_what_it_deletes_by_the_delete_retention() {
    let mut log = Log::default();
    append(&mut log, &Draft::keyed(&[("a", Some("1"))]));
    append(&mut log, &Draft::keyed(&[("a", None)]));
    append(&mut log, &Draft::keyed(&[("b", Some("1"))]));
    run(&mut log, Now::at(0));
    assert_eq!(contents(&log).len(), 2);
    assert!(log.due_compaction(&SETTINGS, Now::at(999)).is_none());
    let job = log
        .due_compaction(&SETTINGS, Now::at(1000))
        .expect("a tombstone may go");
    log.install(compact(&job), Now::at(1000));
    assert_eq!(contents(&log), [(2, "b".to_owned(), Some("1".to_owned()))]);
    assert!(log.due_compaction(&SETTINGS, Now::at(5000)).is_none());
}

#[test]
fn aborted_records_and_their_marker_go_and_committed_ones_count() {
    let mut log = Log::default();
    append(&mut log, &Draft::keyed(&[("a", Some("1"))]));
    append(
        &mut log,
        &Draft::keyed(&[("a", Some("2"))])
            .producer(7, 0, 0)
            .transactional(),
    );
    marker(&mut log, 7, Outcome::Abort);
    append(
        &mut log,
        &Draft::keyed(&[("b", Some("1"))])
            .producer(8, 0, 0)
            .transactional(),
    );
    marker(&mut log, 8, Outcome::Commit);
    run(&mut log, Now::at(0));
    let values: Vec<_> = contents(&log)
        .into_iter()
        .map(|(offset, ..)| offset)
        .collect();
    assert_eq!(values, [0, 3]);
    assert!(log.transactions().aborted().is_empty());
    let slice = log
        .read(0, Isolation::ReadUncommitted, usize::MAX, true)
        .expect("in range");
    let controls = slice
        .batches
        .iter()
        .filter(|bytes| Header::read(bytes).expect("a header").is_control());
    assert_eq!(controls.count(), 1);
}

#[test]
fn open_transaction_stops_compaction_in_front_of_it() {
    let mut log = Log::default();
    append(&mut log, &Draft::keyed(&[("a", Some("1"))]));
    append(
        &mut log,
        &Draft::keyed(&[("a", Some("2"))])
            .producer(7, 0, 0)
            .transactional(),
    );
    append(&mut log, &Draft::keyed(&[("a", Some("3"))]));
    run(&mut log, Now::at(0));
    assert_eq!(contents(&log).len(), 3);
    marker(&mut log, 7, Outcome::Commit);
    run(&mut log, Now::at(0));
    assert_eq!(contents(&log), [(2, "a".to_owned(), Some("3".to_owned()))]);
}

#[test]
fn due_tombstone_at_the_end_of_an_idle_log_is_left_in_peace() {
    let mut log = Log::default();
    append(&mut log, &Draft::keyed(&[("a", Some("1"))]));
    append(&mut log, &Draft::keyed(&[("a", None)]));
    run(&mut log, Now::at(0));
    assert!(log.due_compaction(&SETTINGS, Now::at(5000)).is_none());
    // It goes with the next one that has something to do.
    append(&mut log, &Draft::keyed(&[("b", Some("1"))]));
    let job = log
        .due_compaction(&SETTINGS, Now::at(5000))
        .expect("it is not the last any more");
    log.install(compact(&job), Now::at(5000));
    assert_eq!(contents(&log), [(2, "b".to_owned(), Some("1".to_owned()))]);
}

#[test]
fn committed_reader_reaches_the_last_stable_offset_whatever_was_compacted() {
    let mut log = Log::default();
    append(&mut log, &Draft::keyed(&[("a", Some("1"))]));
    append(
        &mut log,
        &Draft::keyed(&[("a", Some("2"))])
            .producer(7, 0, 0)
            .transactional(),
    );
    marker(&mut log, 7, Outcome::Abort);
    append(
        &mut log,
        &Draft::keyed(&[("a", Some("3"))])
            .producer(7, 0, 1)
            .transactional(),
    );
    run(&mut log, Now::at(0));
    assert_eq!(log.last_stable(), 3);
    let slice = log
        .read(1, Isolation::ReadCommitted, usize::MAX, true)
        .expect("in range");
    let last = slice.batches.last().expect("something ends there");
    assert_eq!(Header::read(last).expect("a header").last_offset(), 2);
}

#[test]
fn compaction_of_what_is_compacted_is_not_worthwhile() {
    let mut log = Log::default();
    append(&mut log, &Draft::keyed(&[("a", Some("1"))]));
    append(&mut log, &Draft::keyed(&[("a", Some("2")), ("b", None)]));
    append(&mut log, &Draft::keyed(&[("c", Some("1"))]));
    let worthwhile = |log: &Log, ms| log.worthwhile_compaction(&SETTINGS, Now::at(ms)).is_some();
    assert!(worthwhile(&log, 0));
    run(&mut log, Now::at(0));
    assert!(!worthwhile(&log, 999));
    assert!(worthwhile(&log, 1000));
    run(&mut log, Now::at(1000));
    append(&mut log, &Draft::keyed(&[("c", Some("2"))]));
    assert!(worthwhile(&log, 1000));
}

#[test]
fn result_is_not_installed_over_another_and_keeps_what_was_removed_meanwhile() {
    let mut log = Log::default();
    for value in ["1", "2", "3"] {
        append(
            &mut log,
            &Draft::keyed(&[("a", Some(value)), ("b", Some(value))]),
        );
    }
    let job = log
        .compaction(&SETTINGS, Now::at(0))
        .expect("there is something");
    let (first, second) = (compact(&job), compact(&job));
    append(&mut log, &Draft::keyed(&[("a", Some("4"))]));
    log.delete_before(5).expect("in range");
    log.install(first, Now::at(0));
    let after = contents(&log);
    log.install(second, Now::at(0));
    assert_eq!(contents(&log), after);
    assert_eq!((log.start(), log.end()), (5, 7));
    assert_eq!(
        after.last(),
        Some(&(6, "a".to_owned(), Some("4".to_owned())))
    );
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        keys: Vec<(u8, bool)>,
        codec: u8,
        producer: Option<i64>,
    },
    End {
        producer: i64,
        commit: bool,
    },
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = proptest::collection::vec((0..6_u8, any::<bool>()), 1..5);
    let write = (keys, 0..5_u8, proptest::option::of(0..3_i64));
    let step = prop_oneof![
        4 => write.prop_map(|(keys, codec, producer)| Step::Write { keys, codec, producer }),
        2 => (0..3_i64, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        1 => Just(Step::Compact),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    /// Whenever it runs, a reader of all that is committed ends with the same value for each key.
    #[test]
    fn compacted_log_says_the_same_as_a_map(steps in steps()) {
        let mut log = Log::default();
        // Every write in order: (producer, key, value, fate).
        let mut model: Vec<(Option<i64>, String, Option<String>, bool)> = Vec::new();
        let mut aborted = vec![];
        let mut sequences = [0_i32; 3];
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write { keys, codec, producer } => {
                    let records: Vec<_> = keys.iter()
                        .map(|(key, value)| (key.to_string(), value.then(|| number.to_string())))
                        .collect();
                    let drafted: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
                    let mut draft = Draft::keyed(&drafted).codec(Codec::of(i16::from(codec)).expect("exists"));
                    if let Some(id) = producer {
                        draft = draft.producer(id, 0, sequences[id as usize]).transactional();
                        sequences[id as usize] += keys.len() as i32;
                    }
                    append(&mut log, &draft);
                    model.extend(records.into_iter().map(|(key, value)| (producer, key, value, producer.is_none())));
                }
                Step::End { producer, commit } => {
                    marker(&mut log, producer, if commit { Outcome::Commit } else { Outcome::Abort });
                    for (index, (owner, _, _, decided)) in model.iter_mut().enumerate() {
                        if *owner == Some(producer) && !*decided {
                            *decided = true;
                            if !commit {
                                aborted.push(index);
                            }
                        }
                    }
                }
                Step::Compact => run(&mut log, Now::at(0)),
            }
        }
        for producer in 0..3 {
            marker(&mut log, producer, Outcome::Commit);
        }
        let mut expected = HashMap::new();
        for (index, (_, key, value, _)) in model.into_iter().enumerate() {
            if !aborted.contains(&index) {
                expected.insert(key, value);
            }
        }
        run(&mut log, Now::at(0));
        let contents = contents(&log);
        let offsets: Vec<i64> = contents.iter().map(|(offset, ..)| *offset).collect();
        prop_assert!(offsets.is_sorted());
        prop_assert_eq!(contents.len(), expected.len(), "one record a key");
        let compacted: HashMap<_, _> = contents.into_iter().map(|(_, key, value)| (key, value)).collect();
        prop_assert_eq!(compacted, expected);
    }
}
