//! The life of a group, as in Kafka's `GroupCoordinator` with the classic protocol:
//!
//! ```text
//!         join                    all joined, or time is up             the leader's sync
//! Empty ────────▶ PreparingRebalance ────────▶ CompletingRebalance ────────▶ Stable
//!   ▲                 ▲      │ nobody left            │                         │
//!   └─────────────────┼──────┘                        │                         │
//!                     └───────── a member joins anew, leaves, expires ──────────┘
//! ```
//!
//! Group ids, committed offsets and the wire are no concern of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::member::Member;
use super::requests::{
    Caller, Join, JoinAnswer, MEMBER_OVERHEAD, NotJoined, Sync, SyncAnswer, Synced,
};
use crate::broker::clock::Now;
use crate::broker::limits;

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl Phase {
    /// The name that ListGroups has for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::PreparingRebalance => "PreparingRebalance",
            Phase::CompletingRebalance => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }
}

/// The members of a group and the generation they are in.
#[derive(Debug, Default)]
pub struct Membership {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Instance id to member id.
    pub(super) instances: HashMap<String, String>,
    /// Ids that were given out and not yet used, with the time until which they may be.
    pub(super) promised: HashMap<String, Duration>,
    /// When a rebalance goes on without those who are missing: from the join, later from the sync.
    pub(super) deadline: Duration,
    pub(super) unsynced: HashSet<String>,
    pub(super) joins: u64,
}

impl Membership {
    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Whether nobody is in the group.
    pub fn is_empty(&self) -> bool {
        self.phase == Phase::Empty
    }

    /// Whether nobody is in it or about to be.
    pub fn is_unused(&self) -> bool {
        self.members.is_empty() && self.promised.is_empty()
    }

    /// What the members occupy, and those who have only been given an id.
    pub fn bytes(&self) -> usize {
        let members: usize = self.members.values().map(Member::bytes).sum();
        members + self.assigned_bytes() + self.promised.len() * MEMBER_OVERHEAD
    }

    /// What the assignments occupy.
    pub fn assigned_bytes(&self) -> usize {
        let members = self.members.values();
        members.map(|member| member.assignment.len()).sum()
    }

    /// What the member occupies that joins again; 0 where it is a new one.
    pub fn bytes_of(&self, join: &Join) -> usize {
        let returning = join
            .instance_id
            .as_ref()
            .and_then(|id| self.instances.get(id));
        let member = self.members.get(&join.member_id);
        let member = member.or_else(|| self.members.get(returning?));
        member.map_or(0, Member::bytes)
    }

    /// A member joins, for the first time or again. The answer comes when all have.
    pub fn join(&mut self, join: &Join, answer: oneshot::Sender<JoinAnswer>, now: Now) {
        if let Err(error) = self.try_join(join, now) {
            let member_id = error.member_id.clone();
            answer
                .send(Err(NotJoined {
                    error: error.error,
                    member_id,
                }))
                .ok();
            return;
        }
        self.admit(join, answer, now);
    }

    /// Everything that speaks against a join.
    fn try_join(&mut self, join: &Join, now: Now) -> Result<(), NotJoined> {
        let refuse = |error| NotJoined {
            error,
            member_id: join.member_id.clone(),
        };
        let known = self.promised.contains_key(&join.member_id)
            || self.members.contains_key(&join.member_id);
        let returning = join
            .instance_id
            .as_ref()
            .is_some_and(|id| self.instances.contains_key(id));
        let size: usize = join
            .protocols
            .iter()
            .map(|(name, metadata)| name.len() + metadata.len())
            .sum();
        if size > limits::MEMBER_BYTES {
            return Err(refuse(ResponseError::InvalidRequest));
        }
        if self.members.len() + self.promised.len() >= limits::GROUP_MEMBERS && !known && !returning
        {
            return Err(refuse(ResponseError::GroupMaxSizeReached));
        }
        if !self.supports(join) {
            return Err(refuse(ResponseError::InconsistentGroupProtocol));
        }
        if !join.member_id.is_empty() {
            if self.promised.contains_key(&join.member_id) {
                return Ok(());
            }
            let caller = Caller {
                member_id: &join.member_id,
                instance_id: join.instance_id.as_deref(),
            };
            return self.find(caller).map(|_| ()).map_err(refuse);
        }
        if join.takes_id_first && join.instance_id.is_none() {
            let member_id = new_member_id(&join.client_id);
            self.promised
                .insert(member_id.clone(), now.elapsed + join.session_timeout);
            return Err(NotJoined {
                error: ResponseError::MemberIdRequired,
                member_id,
            });
        }
        Ok(())
    }

    /// Whether the group could still agree on a protocol with this member in it.
    fn supports(&self, join: &Join) -> bool {
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return false;
        }
        let others = || {
            self.members
                .values()
                .filter(|member| member.id != join.member_id)
        };
        let common = |(name, _): &(String, Bytes)| {
            others().all(|member| member.protocols.iter().any(|(other, _)| other == name))
        };
        others().next().is_none()
            || join.protocol_type == self.protocol_type && join.protocols.iter().any(common)
    }

    /// Takes a member in and moves the group along.
    fn admit(&mut self, join: &Join, answer: oneshot::Sender<JoinAnswer>, now: Now) {
        let replaced = match (&join.instance_id, join.member_id.is_empty()) {
            (Some(instance), true) => self.instances.get(instance).cloned(),
            _ => None,
        };
        if let Some(old_id) = replaced {
            return self.replace(&old_id, join, answer, now);
        }
        if let Some(member) = self.members.get_mut(&join.member_id) {
            let says_the_same = member.protocols == join.protocols;
            let leads = self.leader.as_ref() == Some(&member.id);
            let stays = says_the_same
                && (self.phase == Phase::CompletingRebalance
                    || self.phase == Phase::Stable && !leads);
            member.update(join);
            member.await_join(answer);
            if stays {
                // It missed our answer: the generation is what it was.
                let id = member.id.clone();
                let joined = self.joined(&id, false);
                self.answer_join(&id, Ok(joined), now);
            } else {
                self.rebalance(now);
            }
            return;
        }
        let id = if join.member_id.is_empty() {
            new_member_id(join.instance_id.as_deref().unwrap_or(&join.client_id))
        } else {
            join.member_id.clone()
        };
        self.promised.remove(&id);
        if self.members.is_empty() {
            self.protocol_type.clone_from(&join.protocol_type);
        }
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.joins += 1;
        let mut member = Member::new(id.clone(), join, self.joins, now);
        member.await_join(answer);
        self.members.insert(id, member);
        self.rebalance(now);
    }

    /// A static member has come back as a new process: it takes the place of the old one, which is fenced.
    fn replace(
        &mut self,
        old_id: &str,
        join: &Join,
        answer: oneshot::Sender<JoinAnswer>,
        now: Now,
    ) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        let fenced = NotJoined {
            error: ResponseError::FencedInstanceId,
            member_id: old_id.to_owned(),
        };
        member.answer_join(Err(fenced));
        member.answer_sync(Err(ResponseError::FencedInstanceId));
        let id = new_member_id(join.instance_id.as_deref().unwrap_or_default());
        let led = self.leader.as_deref() == Some(old_id);
        member.id.clone_from(&id);
        member.update(join);
        member.await_join(answer);
        member.touch(now);
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.unsynced.remove(old_id) {
            self.unsynced.insert(id.clone());
        }
        self.members.insert(id.clone(), member);
        if led {
            self.leader = Some(id.clone());
        }
        if self.phase == Phase::Stable && self.choose_protocol() == self.protocol {
            // Nothing has changed for the others, whatever it says of itself now: only another protocol would
            // need another assignment, as in Kafka's `updateStaticMemberAndRebalance`. A client that can't be told to skip the assignment must
            // not take itself for the leader, so it is told the old id leads, as in Kafka.
            let mut joined = self.joined(&id, led && join.may_skip_assignment);
            if led && !join.may_skip_assignment {
                old_id.clone_into(&mut joined.leader);
                joined.members.clear();
            }
            self.answer_join(&id, Ok(joined), now);
        } else {
            self.rebalance(now);
        }
    }

    /// The leader of a generation distributes the work; the others wait for their part.
    pub fn sync(
        &mut self,
        caller: Caller<'_>,
        sync: Sync,
        answer: oneshot::Sender<SyncAnswer>,
        now: Now,
    ) {
        let refusal = match self.check_sync(caller, &sync) {
            Err(error) => Some(error),
            Ok(())
                if sync
                    .assignments
                    .iter()
                    .any(|(_, bytes)| bytes.len() > limits::MEMBER_BYTES) =>
            {
                Some(ResponseError::InvalidRequest)
            }
            Ok(()) => None,
        };
        if let Some(error) = refusal {
            answer.send(Err(error)).ok();
            return;
        }
        let Some(member) = self.members.get_mut(caller.member_id) else {
            return;
        };
        member.touch(now);
        member.await_sync(answer);
        self.unsynced.remove(caller.member_id);
        if self.phase == Phase::CompletingRebalance
            && self.leader.as_deref() == Some(caller.member_id)
        {
            let mut assignments: HashMap<String, Bytes> = sync.assignments.into_iter().collect();
            for member in self.members.values_mut() {
                // A copy, so that the leader's request can be let go.
                let assignment = assignments.remove(&member.id).unwrap_or_default();
                member.assignment = Bytes::copy_from_slice(&assignment);
            }
            // Those who have yet to fetch their part are waited for until the deadline, as before.
            self.phase = Phase::Stable;
        }
        if self.phase == Phase::Stable {
            self.answer_syncs(now);
        }
    }

    fn check_sync(&self, caller: Caller<'_>, sync: &Sync) -> Result<(), ResponseError> {
        self.find(caller)?;
        let differs =
            |said: &Option<String>, ours: &str| said.as_ref().is_some_and(|said| said != ours);
        if sync.generation != self.generation {
            Err(ResponseError::IllegalGeneration)
        } else if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            Err(ResponseError::InconsistentGroupProtocol)
        } else if self.phase == Phase::PreparingRebalance {
            Err(ResponseError::RebalanceInProgress)
        } else {
            Ok(())
        }
    }

    fn answer_syncs(&mut self, now: Now) {
        for member in self.members.values_mut() {
            let synced = Synced {
                protocol_type: self.protocol_type.clone(),
                protocol: self.protocol.clone(),
                assignment: member.assignment.clone(),
            };
            if member.answer_sync(Ok(synced)) {
                member.touch(now);
            }
        }
    }

    /// A member says that it is alive, and is told whether to join again.
    pub fn heartbeat(
        &mut self,
        caller: Caller<'_>,
        generation: i32,
        now: Now,
    ) -> Result<(), ResponseError> {
        self.find(caller)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.touch(caller.member_id, now);
        if self.phase == Phase::PreparingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Counts any request of a member as a sign of life.
    pub fn touch(&mut self, member_id: &str, now: Now) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.touch(now);
        }
    }

    /// A member leaves. A static one may be named by its instance id alone.
    pub fn leave(&mut self, caller: Caller<'_>, now: Now) -> Result<(), ResponseError> {
        if self.promised.remove(caller.member_id).is_some() {
            self.complete_join_if_ready(now);
            return Ok(());
        }
        let member_id = match caller {
            Caller {
                member_id: "",
                instance_id: Some(instance),
            } => self
                .instances
                .get(instance)
                .cloned()
                .ok_or(ResponseError::UnknownMemberId)?,
            _ => self.find(caller)?.id.clone(),
        };
        self.remove(&member_id, now);
        Ok(())
    }

    /// Whether the caller may commit offsets outside a transaction.
    pub fn check_commit(&self, caller: Caller<'_>, generation: i32) -> Result<(), ResponseError> {
        if generation < 0 && self.is_empty() {
            // Tools, and consumers that don't use group management.
            return Ok(());
        }
        if generation < 0 && caller.member_id.is_empty() && caller.instance_id.is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.find(caller)?;
        if generation != self.generation {
            Err(ResponseError::IllegalGeneration)
        } else if self.phase == Phase::CompletingRebalance {
            Err(ResponseError::RebalanceInProgress)
        } else {
            Ok(())
        }
    }

    /// Whether the caller may commit offsets in a transaction. Old clients say nothing of the group.
    pub fn check_transactional_commit(
        &self,
        caller: Caller<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && caller.member_id.is_empty() && caller.instance_id.is_none() {
            return Ok(());
        }
        self.find(caller)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(())
    }

    /// The member that the caller is.
    fn find(&self, caller: Caller<'_>) -> Result<&Member, ResponseError> {
        if let Some(instance) = caller.instance_id {
            let member_id = self
                .instances
                .get(instance)
                .ok_or(ResponseError::UnknownMemberId)?;
            if member_id != caller.member_id {
                return Err(ResponseError::FencedInstanceId);
            }
        }
        self.members
            .get(caller.member_id)
            .ok_or(ResponseError::UnknownMemberId)
    }
}

fn new_member_id(prefix: &str) -> String {
    format!("{prefix}-{}", Uuid::new_v4())
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
