//! The group's life told as values: requests in, answers out, time as an argument.

use std::collections::BTreeSet;

use super::super::requests::Joined;
use super::*;
use proptest::prelude::*;

fn join(member_id: &str) -> Join {
    Join {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"m"))],
        takes_id_first: false,
        may_skip_assignment: true,
    }
}

fn send(group: &mut Membership, join: &Join, now: Now) -> oneshot::Receiver<JoinAnswer> {
    let (sender, receiver) = oneshot::channel();
    group.join(join, sender, now);
    receiver
}

fn joined(receiver: &mut oneshot::Receiver<JoinAnswer>) -> Joined {
    receiver.try_recv().expect("an answer").expect("joined")
}

fn caller(member_id: &str) -> Caller<'_> {
    Caller {
        member_id,
        instance_id: None,
    }
}

fn sync(group: &mut Membership, joined: &Joined, now: Now) -> oneshot::Receiver<SyncAnswer> {
    let (sender, receiver) = oneshot::channel();
    let assignments = joined
        .members
        .iter()
        .map(|(id, ..)| (id.clone(), Bytes::from(id.clone())))
        .collect();
    let sync = Sync {
        generation: joined.generation,
        protocol_type: None,
        protocol: None,
        assignments,
    };
    group.sync(caller(&joined.member_id), sync, sender, now);
    receiver
}

/// A stable group of one member.
fn stable() -> (Membership, Joined) {
    let mut group = Membership::default();
    let member = joined(&mut send(&mut group, &join(""), Now::at(0)));
    sync(&mut group, &member, Now::at(0))
        .try_recv()
        .expect("an answer")
        .expect("synced");
    assert_eq!(group.phase(), Phase::Stable);
    (group, member)
}

#[test]
fn new_client_is_given_an_id_and_joins_with_it() {
    let mut group = Membership::default();
    let first = Join {
        takes_id_first: true,
        ..join("")
    };
    let refused = send(&mut group, &first, Now::at(0))
        .try_recv()
        .expect("an answer")
        .expect_err("an id first");
    assert_eq!(refused.error, ResponseError::MemberIdRequired);
    let member = joined(&mut send(&mut group, &join(&refused.member_id), Now::at(0)));
    assert_eq!(
        (member.member_id, member.generation),
        (refused.member_id.clone(), 1)
    );
    assert_eq!(member.leader, refused.member_id);
}

#[test]
fn second_member_waits_until_the_first_has_joined_again() {
    let (mut group, first) = stable();
    let mut second = send(&mut group, &join(""), Now::at(0));
    assert!(second.try_recv().is_err());
    assert_eq!(
        group.heartbeat(caller(&first.member_id), 1, Now::at(0)),
        Err(ResponseError::RebalanceInProgress)
    );
    let first = joined(&mut send(&mut group, &join(&first.member_id), Now::at(0)));
    let second = joined(&mut second);
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));

    let mut waiting = sync(&mut group, &second, Now::at(0));
    assert!(waiting.try_recv().is_err());
    sync(&mut group, &first, Now::at(0))
        .try_recv()
        .expect("an answer")
        .expect("synced");
    let synced = waiting.try_recv().expect("an answer").expect("synced");
    assert_eq!(synced.assignment, second.member_id.as_bytes());
}

#[test]
fn member_that_does_not_join_in_time_is_left_behind() {
    let (mut group, first) = stable();
    let mut second = send(&mut group, &join(""), Now::at(0));
    for second_of_time in 1..60 {
        // It beats, but it doesn't join.
        let beat = group.heartbeat(caller(&first.member_id), 1, Now::at(second_of_time * 1000));
        assert_eq!(beat, Err(ResponseError::RebalanceInProgress));
        group.expire(Now::at(second_of_time * 1000));
        assert!(second.try_recv().is_err());
    }
    group.expire(Now::at(60_000));
    assert_eq!(joined(&mut second).members.len(), 1);
    assert_eq!(
        group.heartbeat(caller(&first.member_id), 1, Now::at(60_000)),
        Err(ResponseError::UnknownMemberId)
    );
}

#[test]
fn silent_member_expires_and_an_empty_group_keeps_its_generation() {
    let (mut group, member) = stable();
    group.expire(Now::at(9_999));
    assert_eq!(
        group.heartbeat(caller(&member.member_id), 1, Now::at(9_999)),
        Ok(())
    );
    group.expire(Now::at(10_001));
    assert_eq!(group.phase(), Phase::Stable);
    group.expire(Now::at(20_000));
    assert_eq!(group.phase(), Phase::Empty);
    assert!(group.is_unused());
    assert_eq!(
        joined(&mut send(&mut group, &join(""), Now::at(20_000))).generation,
        3
    );
}

#[test]
fn member_that_joins_but_never_syncs_is_removed() {
    let mut group = Membership::default();
    let leader = joined(&mut send(&mut group, &join(""), Now::at(0)));
    for second in 1..60 {
        group
            .heartbeat(caller(&leader.member_id), 1, Now::at(second * 1000))
            .expect("it is alive");
        group.expire(Now::at(second * 1000));
    }
    group.expire(Now::at(60_000));
    assert_eq!(group.phase(), Phase::Empty);
}

#[test]
fn commits_are_fenced_by_member_and_generation() {
    let (group, member) = stable();
    assert_eq!(group.check_commit(caller(&member.member_id), 1), Ok(()));
    assert_eq!(
        group.check_commit(caller(&member.member_id), 0),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        group.check_commit(caller("stranger"), 1),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(
        group.check_commit(caller(""), -1),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(group.check_transactional_commit(caller(""), -1), Ok(()));
    assert_eq!(
        group.check_transactional_commit(caller(&member.member_id), 0),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        group.check_transactional_commit(caller("stranger"), 1),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(Membership::default().check_commit(caller(""), -1), Ok(()));
}

#[test]
fn static_member_comes_back_without_a_rebalance_and_fences_its_past() {
    let mut group = Membership::default();
    let fixed = || Join {
        instance_id: Some("i".to_owned()),
        ..join("")
    };
    let old = joined(&mut send(&mut group, &fixed(), Now::at(0)));
    sync(&mut group, &old, Now::at(0))
        .try_recv()
        .expect("an answer")
        .expect("synced");
    let new = joined(&mut send(&mut group, &fixed(), Now::at(0)));
    assert_eq!((new.generation, group.phase()), (1, Phase::Stable));
    assert!(new.skip_assignment && new.leader == new.member_id);
    let past = Caller {
        member_id: &old.member_id,
        instance_id: Some("i"),
    };
    assert_eq!(
        group.heartbeat(past, 1, Now::at(0)),
        Err(ResponseError::FencedInstanceId)
    );
    assert_eq!(
        group.check_transactional_commit(past, 1),
        Err(ResponseError::FencedInstanceId)
    );
    assert_eq!(
        group.leave(
            Caller {
                member_id: "",
                instance_id: Some("i")
            },
            Now::at(0)
        ),
        Ok(())
    );
    assert!(group.is_empty());
}

#[test]
fn static_member_that_says_something_else_does_not_disturb_the_others() {
    let mut group = Membership::default();
    let fixed = |protocols: &[(&str, &'static str)]| Join {
        instance_id: Some("i".to_owned()),
        protocols: protocols
            .iter()
            .map(|(name, said)| ((*name).to_owned(), Bytes::from_static(said.as_bytes())))
            .collect(),
        ..join("")
    };
    let first = fixed(&[("range", "a"), ("sticky", "a")]);
    let old = joined(&mut send(&mut group, &first, Now::at(0)));
    sync(&mut group, &old, Now::at(0));
    // A restarted process has another user data, rack or list of partitions in its metadata.
    let other_words = fixed(&[("range", "b"), ("sticky", "b")]);
    let new = joined(&mut send(&mut group, &other_words, Now::at(0)));
    assert_eq!((new.generation, group.phase()), (1, Phase::Stable));
    let other_protocol = fixed(&[("sticky", "b"), ("range", "b")]);
    let newer = joined(&mut send(&mut group, &other_protocol, Now::at(0)));
    assert_eq!((newer.generation, newer.protocol.as_str()), (2, "sticky"));
}

/// A group of two of which only the leader has synced, at `time`.
fn half_synced(time: Now) -> (Membership, Joined, Joined) {
    let (mut group, first) = stable();
    let mut second = send(&mut group, &join(""), Now::at(0));
    let first = joined(&mut send(&mut group, &join(&first.member_id), Now::at(0)));
    let second = joined(&mut second);
    sync(&mut group, &first, time)
        .try_recv()
        .expect("an answer")
        .expect("synced");
    assert_eq!(group.phase(), Phase::Stable);
    (group, first, second)
}

#[test]
fn member_that_never_fetches_its_part_leaves_a_stable_group() {
    let (mut group, first, second) = half_synced(Now::at(0));
    for time in 1..60 {
        for member in [&first, &second] {
            let beat = group.heartbeat(caller(&member.member_id), 2, Now::at(time * 1000));
            assert_eq!(beat, Ok(()));
        }
        group.expire(Now::at(time * 1000));
    }
    group.expire(Now::at(60_000));
    assert_eq!(
        group.heartbeat(caller(&second.member_id), 2, Now::at(60_000)),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(
        group.heartbeat(caller(&first.member_id), 2, Now::at(60_000)),
        Err(ResponseError::RebalanceInProgress)
    );
}

#[test]
fn sync_of_the_leader_is_no_sign_of_life_of_another() {
    let (mut group, _, second) = half_synced(Now::at(9_000));
    group.expire(Now::at(10_000));
    assert_eq!(
        group.heartbeat(caller(&second.member_id), 2, Now::at(10_000)),
        Err(ResponseError::UnknownMemberId)
    );
}

#[test]
fn members_without_a_common_protocol_do_not_meet() {
    let (mut group, _) = stable();
    let other = Join {
        protocols: vec![("sticky".to_owned(), Bytes::new())],
        ..join("")
    };
    let refused = send(&mut group, &other, Now::at(0))
        .try_recv()
        .expect("an answer")
        .expect_err("no common protocol");
    assert_eq!(refused.error, ResponseError::InconsistentGroupProtocol);
    let nothing = Join {
        protocols: vec![],
        ..join("")
    };
    let refused = send(&mut Membership::default(), &nothing, Now::at(0))
        .try_recv()
        .expect("an answer");
    assert_eq!(
        refused.expect_err("no protocol").error,
        ResponseError::InconsistentGroupProtocol
    );
}

#[test]
fn protocol_that_most_like_best_is_chosen() {
    let (mut group, first) = stable();
    let protocols = |names: &[&str]| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), Bytes::new()))
            .collect()
    };
    let second = Join {
        protocols: protocols(&["sticky", "range"]),
        ..join("")
    };
    let mut second = send(&mut group, &second, Now::at(0));
    let again = Join {
        protocols: protocols(&["sticky", "range"]),
        ..join(&first.member_id)
    };
    assert_eq!(
        joined(&mut send(&mut group, &again, Now::at(0))).protocol,
        "sticky"
    );
    assert_eq!(joined(&mut second).protocol, "sticky");
}

#[test]
fn leaving_during_a_sync_sends_the_others_back_to_join() {
    let (mut group, first) = stable();
    let mut second = send(&mut group, &join(""), Now::at(0));
    let first = joined(&mut send(&mut group, &join(&first.member_id), Now::at(0)));
    let second = joined(&mut second);
    let mut waiting = sync(&mut group, &second, Now::at(0));
    group
        .leave(caller(&first.member_id), Now::at(0))
        .expect("it is a member");
    assert_eq!(
        waiting.try_recv().expect("an answer"),
        Err(ResponseError::RebalanceInProgress)
    );
}

#[derive(Clone, Debug)]
enum Step {
    New,
    Rejoin(usize),
    Sync(usize),
    Beat(usize),
    Leave(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::New),
        (0..5_usize).prop_map(Step::Rejoin),
        (0..5_usize).prop_map(Step::Sync),
        (0..5_usize).prop_map(Step::Beat),
        (0..5_usize).prop_map(Step::Leave),
        (1..40_000_u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever members do, the group stays whole: it always has a leader when it has a generation, every
    /// answer of one generation names the same leader, and when all are silent it becomes empty.
    #[test]
    fn any_sequence_of_requests_leaves_a_group_that_can_go_on(steps in steps()) {
        let mut group = Membership::default();
        let mut time = 0;
        let mut waiting = Vec::new();
        let mut known: Vec<Joined> = Vec::new();
        for step in steps {
            let now = Now::at(time);
            let nth = |n: usize, known: &Vec<Joined>| known.get(n % known.len().max(1)).cloned();
            match step {
                Step::New => waiting.push(send(&mut group, &join(""), now)),
                Step::Rejoin(n) => if let Some(member) = nth(n, &known) {
                    waiting.push(send(&mut group, &join(&member.member_id), now));
                },
                Step::Sync(n) => if let Some(member) = nth(n, &known) {
                    sync(&mut group, &member, now);
                },
                Step::Beat(n) => if let Some(member) = nth(n, &known) {
                    group.heartbeat(caller(&member.member_id), member.generation, now).ok();
                },
                Step::Leave(n) => if let Some(member) = nth(n, &known) {
                    group.leave(caller(&member.member_id), now).ok();
                },
                Step::Wait(ms) => {
                    time += ms;
                    group.expire(Now::at(time));
                }
            }
            for receiver in &mut waiting {
                if let Ok(Ok(joined)) = receiver.try_recv() {
                    let peers = known.iter().filter(|other| other.generation == joined.generation);
                    for other in peers {
                        prop_assert_eq!(&other.leader, &joined.leader);
                    }
                    known.retain(|other| other.member_id != joined.member_id);
                    known.push(joined);
                }
            }
            match group.phase() {
                Phase::Empty => prop_assert!(group.members().count() == 0),
                Phase::PreparingRebalance => {}
                Phase::CompletingRebalance => prop_assert!(group.leader.is_some()),
                Phase::Stable => prop_assert!(group.members().count() > 0),
            }
        }
        for _ in 0..10 {
            time += 2_000_000;
            group.expire(Now::at(time));
        }
        prop_assert_eq!(group.phase(), Phase::Empty);
    }
}

/// A generation as its members were told of it.
#[derive(Debug, Default)]
struct Generation {
    leader: String,
    /// Who is in it, as the leader was told.
    members: BTreeSet<String>,
    joined: BTreeSet<String>,
    /// Whether the leader has given out the work.
    is_shared_out: bool,
}

/// All that was ever answered.
#[derive(Debug, Default)]
struct History {
    answers: Vec<Joined>,
    generations: BTreeMap<i32, Generation>,
}

impl History {
    fn current(&self) -> i32 {
        self.generations.keys().next_back().copied().unwrap_or(0)
    }

    /// Members of one generation are told the same, and generations never go back.
    fn joined(&mut self, joined: Joined) {
        assert!(joined.generation >= self.current());
        let generation = self.generations.entry(joined.generation).or_default();
        if generation.joined.is_empty() {
            generation.leader.clone_from(&joined.leader);
        }
        assert_eq!(generation.leader, joined.leader);
        generation.joined.insert(joined.member_id.clone());
        if joined.member_id == joined.leader && !joined.members.is_empty() {
            let members = joined.members.iter().map(|(id, ..)| id.clone()).collect();
            assert!(generation.members.is_empty() || generation.members == members);
            generation.members = members;
        }
        if !generation.members.is_empty() {
            assert!(generation.joined.is_subset(&generation.members));
        }
        self.answers.push(joined);
    }
}

proptest! {
    /// Against a model that keeps what everybody was told: members, those of the past among them, may ask for
    /// anything at any time, and only those of the newest generation get work or may commit.
    #[test]
    fn only_the_newest_generation_works_and_commits(steps in steps()) {
        let mut group = Membership::default();
        let mut history = History::default();
        let (mut joins, mut syncs) = (Vec::new(), Vec::new());
        let mut time = 0;
        for step in steps {
            let now = Now::at(time);
            // Of all answers ever given, so that zombies ask as well; the newest ones most often.
            let nth = |n: usize| history.answers.iter().rev().nth(n * n / 2).cloned();
            match step {
                Step::New => joins.push(send(&mut group, &join(""), now)),
                Step::Rejoin(n) => joins.extend(nth(n).map(|member| send(&mut group, &join(&member.member_id), now))),
                Step::Sync(n) => if let Some(member) = nth(n) {
                    let leads = member.member_id == member.leader && !member.members.is_empty();
                    let receiver = sync(&mut group, &member, now);
                    if leads && member.generation == history.current() && group.phase() == Phase::Stable {
                        history.generations.get_mut(&member.generation).expect("it is known").is_shared_out = true;
                    }
                    syncs.push((member, receiver));
                },
                Step::Beat(n) => if let Some(member) = nth(n) {
                    let lives = group.heartbeat(caller(&member.member_id), member.generation, now).is_ok();
                    prop_assert!(!lives || member.generation == group.generation);
                },
                Step::Leave(n) => if let Some(member) = nth(n) {
                    group.leave(caller(&member.member_id), now).ok();
                    prop_assert!(group.members().all(|other| other.id != member.member_id));
                },
                Step::Wait(ms) => {
                    time += ms;
                    group.expire(Now::at(time));
                }
            }
            for receiver in &mut joins {
                if let Ok(Ok(joined)) = receiver.try_recv() {
                    history.joined(joined);
                }
            }
            for (member, receiver) in &mut syncs {
                if let Ok(Ok(synced)) = receiver.try_recv() {
                    prop_assert_eq!(member.generation, history.current());
                    prop_assert!(synced.assignment.is_empty() || synced.assignment == member.member_id.as_bytes());
                    prop_assert!(synced.assignment.is_empty() || history.generations[&member.generation].is_shared_out);
                }
            }
            let members: BTreeSet<String> = group.members().map(|member| member.id.clone()).collect();
            for member in &history.answers {
                let may = group.check_commit(caller(&member.member_id), member.generation).is_ok();
                let is_of_the_newest = members.contains(&member.member_id) && member.generation == group.generation;
                prop_assert_eq!(may, is_of_the_newest && group.phase() != Phase::CompletingRebalance);
            }
            if group.phase() == Phase::Stable {
                prop_assert_eq!(&history.generations[&group.generation].joined, &members);
            }
        }
    }
}
