//! Any history of requests to the coordinator, against a model that knows only who holds an id and what is open.
//!
//! Zombies take part: whoever has ever been given an id may ask for anything at any time.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const TIMEOUT_MS: i32 = 10_000;
const ID: &str = "t";

/// Requests; a `who` names one of all incarnations so far.
#[derive(Clone, Debug)]
enum Step {
    Begin,
    Recover { who: usize },
    AddPartition { who: usize, partition: i32 },
    AddGroup { who: usize, group: u8 },
    Write { who: usize, partition: i32 },
    End { who: usize, commit: bool },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly the newest, or little would ever be committed.
    let who = || prop_oneof![3 => Just(0_usize), 1 => 0..4_usize];
    let step = prop_oneof![
        1 => Just(Step::Begin),
        1 => who().prop_map(|who| Step::Recover { who }),
        4 => (who(), 0..3).prop_map(|(who, partition)| Step::AddPartition { who, partition }),
        2 => (who(), 0..2_u8).prop_map(|(who, group)| Step::AddGroup { who, group }),
        4 => (who(), 0..3).prop_map(|(who, partition)| Step::Write { who, partition }),
        4 => (who(), any::<bool>()).prop_map(|(who, commit)| Step::End { who, commit }),
        1 => (0..15_000_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// What is open, and since when.
#[derive(Clone, Debug, Default)]
struct Open {
    partitions: BTreeSet<(String, i32)>,
    groups: BTreeSet<String>,
    since: u64,
}

#[derive(Debug, Default)]
struct Model {
    /// Everybody who was ever given the id, the newest last.
    incarnations: Vec<ProducerId>,
    /// Whether the newest one still holds it: a timeout takes it away.
    is_held: bool,
    /// Who the newest one was before it asked for a new epoch itself: it may ask again.
    recovered: Option<ProducerId>,
    open: Option<Open>,
    last: Option<Outcome>,
    time: u64,
}

impl Model {
    fn who(&self, back: usize) -> Option<ProducerId> {
        self.incarnations.iter().rev().nth(back).copied()
    }

    fn holds(&self, producer: ProducerId) -> bool {
        self.is_held && self.incarnations.last() == Some(&producer)
    }

    fn open(&mut self) -> &mut Open {
        self.recovered = None;
        let since = self.time;
        self.open.get_or_insert_with(|| Open {
            since,
            ..Open::default()
        })
    }

    /// A new incarnation: nobody has been it, and what was open is aborted with an epoch that fences the old.
    fn takes_over(
        &mut self,
        given: ProducerId,
        ended: Option<&Ended>,
        recovered: Option<ProducerId>,
    ) {
        assert!(!self.incarnations.contains(&given), "{given:?} twice");
        self.aborted(ended);
        self.incarnations.push(given);
        (self.is_held, self.recovered, self.last) = (true, recovered, None);
    }

    /// What was open, if anything, and no more, is aborted.
    fn aborted(&mut self, ended: Option<&Ended>) {
        let open = self.open.take();
        assert_eq!(ended.is_some(), open.is_some());
        if let (Some(ended), Some(open)) = (ended, open) {
            assert_eq!(
                (&ended.partitions, &ended.groups),
                (&open.partitions, &open.groups)
            );
            assert_eq!(ended.marker.outcome, Outcome::Abort);
            let epochs = self
                .incarnations
                .iter()
                .filter(|old| old.id == ended.marker.producer_id);
            assert!(epochs.map(|old| old.epoch).max() < Some(ended.marker.producer_epoch));
            self.last = Some(Outcome::Abort);
        }
    }
}

proptest! {
    #[test]
    fn every_history_ends_each_transaction_once_and_only_for_its_owner(steps in steps()) {
        let mut transactions = Transactions::default();
        let mut model = Model::default();
        for step in steps {
            let now = Now::at(model.time);
            match step {
                Step::Begin => {
                    let (given, ended) = transactions.init(ID, TIMEOUT_MS, None, now).expect("anyone may");
                    model.takes_over(given, ended.as_ref(), None);
                }
                Step::Recover { who } => {
                    let Some(known) = model.who(who) else { continue };
                    let answer = transactions.init(ID, TIMEOUT_MS, Some(known), now);
                    if model.holds(known) {
                        let (given, ended) = answer.expect("it holds the id");
                        model.takes_over(given, ended.as_ref(), Some(known));
                    } else if model.is_held && model.recovered == Some(known) {
                        let (given, ended) = answer.expect("its answer may have been lost");
                        prop_assert_eq!((Some(given), ended.is_none()), (model.who(0), true));
                    } else {
                        prop_assert_eq!(answer.map(drop), Err(ResponseError::ProducerFenced));
                    }
                }
                Step::AddPartition { who, partition } => {
                    let Some(producer) = model.who(who) else { continue };
                    let added = transactions.add_partitions(ID, producer, [("topic".to_owned(), partition)], now);
                    prop_assert_eq!(added.is_ok(), model.holds(producer));
                    if added.is_ok() {
                        model.open().partitions.insert(("topic".to_owned(), partition));
                    }
                }
                Step::AddGroup { who, group } => {
                    let Some(producer) = model.who(who) else { continue };
                    let added = transactions.add_group(ID, producer, &group.to_string(), now);
                    prop_assert_eq!(added.is_ok(), model.holds(producer));
                    if added.is_ok() {
                        model.open().groups.insert(group.to_string());
                    }
                }
                Step::Write { who, partition } => {
                    let Some(producer) = model.who(who) else { continue };
                    let covered = model.open.as_ref().is_some_and(|open| {
                        open.partitions.contains(&("topic".to_owned(), partition))
                    });
                    let may = transactions.check_partition(producer, "topic", partition).is_ok();
                    prop_assert_eq!(may, covered && model.holds(producer));
                    let covered = model.open.as_ref().is_some_and(|open| open.groups.contains("0"));
                    let may = transactions.check_group(ID, producer, "0").is_ok();
                    prop_assert_eq!(may, covered && model.holds(producer));
                }
                Step::End { who, commit } => {
                    let Some(producer) = model.who(who) else { continue };
                    let outcome = if commit { Outcome::Commit } else { Outcome::Abort };
                    let answer = transactions.end(ID, producer, outcome, now);
                    if !model.holds(producer) {
                        prop_assert!(answer.is_err());
                    } else if let Some(open) = model.open.take() {
                        let ended = answer.expect("it holds the id").expect("it ends now");
                        prop_assert_eq!((ended.partitions, ended.groups), (open.partitions, open.groups));
                        let marker = (ended.marker.producer_id, ended.marker.producer_epoch, ended.marker.outcome);
                        prop_assert_eq!(marker, (producer.id, producer.epoch, outcome));
                        model.last = Some(outcome);
                    } else if model.last == Some(outcome) {
                        prop_assert!(answer.expect("a repeat").is_none());
                    } else {
                        prop_assert_eq!(answer.map(drop), Err(ResponseError::InvalidTxnState));
                    }
                }
                Step::Wait { ms } => {
                    model.time += ms;
                    let ended = transactions.expire(Now::at(model.time));
                    let is_due = model.open.as_ref()
                        .is_some_and(|open| model.time >= open.since + u64::from(TIMEOUT_MS.unsigned_abs()));
                    prop_assert_eq!(ended.len(), usize::from(is_due));
                    if is_due {
                        model.aborted(ended.first());
                        model.is_held = false;
                    }
                }
            }
        }
    }
}
