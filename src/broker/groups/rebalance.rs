//! How a group gets from one generation to the next: who is waited for, who is left behind, who leads.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use super::member::Member;
use super::membership::{Membership, Phase};
use super::requests::{JoinAnswer, Joined, NotJoined};
use crate::broker::clock::Now;
use crate::broker::limits;

impl Membership {
    pub(super) fn remove(&mut self, member_id: &str, now: Now) {
        let Some(mut member) = self.members.remove(member_id) else {
            return;
        };
        let unknown = NotJoined {
            error: ResponseError::UnknownMemberId,
            member_id: member_id.to_owned(),
        };
        member.answer_join(Err(unknown));
        member.answer_sync(Err(ResponseError::UnknownMemberId));
        self.unsynced.remove(member_id);
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = None;
        }
        if self.phase == Phase::PreparingRebalance {
            self.complete_join_if_ready(now);
        } else {
            self.rebalance(now);
        }
    }

    /// Asks everyone to join again.
    pub(super) fn rebalance(&mut self, now: Now) {
        if self.phase == Phase::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                member.answer_sync(Err(ResponseError::RebalanceInProgress));
            }
        }
        if self.phase != Phase::PreparingRebalance {
            self.phase = Phase::PreparingRebalance;
            self.unsynced.clear();
            self.deadline = now.elapsed + self.patience();
        }
        self.complete_join_if_ready(now);
    }

    /// How long the slowest member may take to join or to sync.
    fn patience(&self) -> Duration {
        let longest = self
            .members
            .values()
            .map(|member| member.rebalance_timeout)
            .max();
        longest.unwrap_or_default().min(limits::REBALANCE_TIMEOUT)
    }

    pub(super) fn complete_join_if_ready(&mut self, now: Now) {
        let all_joined = self.members.values().all(Member::is_joining) && self.promised.is_empty();
        if self.phase == Phase::PreparingRebalance && all_joined {
            self.complete_join(now);
        }
    }

    /// Begins the next generation with those who have joined.
    fn complete_join(&mut self, now: Now) {
        // Static members may come back within their session, so they keep their place.
        self.members
            .retain(|_, member| member.is_joining() || member.instance_id.is_some());
        let joined = || self.members.values().filter(|member| member.is_joining());
        if !self.members.is_empty() && joined().next().is_none() {
            self.deadline = now.elapsed + self.patience();
            return;
        }
        let leads = |id: &String| self.members.get(id).is_some_and(Member::is_joining);
        if !self.leader.as_ref().is_some_and(leads) {
            self.leader = joined()
                .min_by_key(|member| member.order)
                .map(|member| member.id.clone());
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol.clear();
            return;
        }
        self.protocol = self.choose_protocol();
        self.phase = Phase::CompletingRebalance;
        self.deadline = now.elapsed + self.patience();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        self.unsynced = ids.iter().cloned().collect();
        for id in ids {
            let joined = self.joined(&id, false);
            self.answer_join(&id, Ok(joined), now);
        }
    }

    /// The protocol that all know and most like best; the leader decides a tie.
    pub(super) fn choose_protocol(&self) -> String {
        let known_to_all = |name: &str| {
            self.members
                .values()
                .all(|member| member.protocols.iter().any(|(other, _)| other == name))
        };
        let favourite = |member: &Member| {
            member
                .protocols
                .iter()
                .map(|(name, _)| name.clone())
                .find(|name| known_to_all(name))
        };
        let mut votes: HashMap<String, usize> = HashMap::new();
        for vote in self.members.values().filter_map(favourite) {
            *votes.entry(vote).or_default() += 1;
        }
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let liked = leader
            .map(|leader| leader.protocols.as_slice())
            .unwrap_or_default();
        let rank = |name: &str| liked.iter().position(|(other, _)| other == name);
        let best = votes
            .iter()
            .max_by_key(|(name, count)| (**count, std::cmp::Reverse(rank(name))));
        best.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    pub(super) fn joined(&self, member_id: &str, skip_assignment: bool) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let describe = |member: &Member| {
            (
                member.id.clone(),
                member.instance_id.clone(),
                member.metadata(&self.protocol),
            )
        };
        let members = if leader == member_id {
            self.members.values().map(describe).collect()
        } else {
            Vec::new()
        };
        Joined {
            member_id: member_id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            skip_assignment,
            members,
        }
    }

    pub(super) fn answer_join(&mut self, member_id: &str, answer: JoinAnswer, now: Now) {
        if let Some(member) = self.members.get_mut(member_id) {
            if member.is_joining() {
                member.is_new = false;
                member.touch(now);
            }
            member.answer_join(answer);
        }
    }

    /// Does what time demands: members that are silent go, rebalances don't wait for ever.
    pub fn expire(&mut self, now: Now) {
        let promises = self.promised.len();
        self.promised
            .retain(|_, deadline| !now.has_reached(*deadline));
        if self.promised.len() != promises {
            self.complete_join_if_ready(now);
        }
        let expired: Vec<String> = self
            .members
            .values()
            .filter(|member| member.has_expired(now))
            .map(|member| member.id.clone())
            .collect();
        for id in expired {
            self.remove(&id, now);
        }
        if now.has_reached(self.deadline) {
            match self.phase {
                Phase::PreparingRebalance => self.complete_join(now),
                // In a stable group these are members that joined and never came for their part: nobody else
                // would notice, and their partitions would have no reader.
                Phase::CompletingRebalance | Phase::Stable => {
                    for id in std::mem::take(&mut self.unsynced) {
                        self.remove(&id, now);
                    }
                }
                Phase::Empty => {}
            }
        }
    }
}
