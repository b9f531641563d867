//! Consumer groups of the classic protocol: members, generations, committed offsets.
//!
//! State machines without sockets or clocks. A join or a sync that has to wait leaves the sending half of a
//! channel in its member; the answer goes through it when the group gets that far.

pub mod member;
pub mod membership;
pub mod offsets;
mod rebalance;
pub mod requests;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;

use super::clock::Now;
use super::limits;
use membership::Membership;
use offsets::{Committed, Offsets};
use requests::{Join, Sync};

/// A group: who is in it, and what it has committed.
#[derive(Debug, Default)]
pub struct Group {
    pub membership: Membership,
    pub offsets: Offsets,
    /// When somebody committed last: a group without members is forgotten by it.
    last_commit: Duration,
}

/// All groups, by id.
#[derive(Debug, Default)]
pub struct Groups {
    by_id: BTreeMap<String, Group>,
}

impl Groups {
    pub fn get(&self, id: &str) -> Option<&Group> {
        self.by_id.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.by_id.iter()
    }

    /// The group, created if it isn't there.
    fn get_or_create(&mut self, id: &str) -> Result<&mut Group, ResponseError> {
        if !self.by_id.contains_key(id) && self.by_id.len() >= limits::GROUPS {
            self.make_room()?;
        }
        Ok(self.by_id.entry(id.to_owned()).or_default())
    }

    /// Forgets a group that nobody is in: the one that committed longest ago. Kafka forgets them by age.
    fn make_room(&mut self) -> Result<(), ResponseError> {
        let idle = self
            .by_id
            .iter()
            .filter(|(_, group)| group.membership.is_unused() && group.offsets.is_decided());
        let oldest = idle
            .min_by_key(|(_, group)| group.last_commit)
            .map(|(id, _)| id.clone());
        let oldest = oldest.ok_or(ResponseError::CoordinatorNotAvailable)?;
        tracing::warn!(
            group = oldest,
            "forgetting a group's offsets: there are too many groups"
        );
        self.by_id.remove(&oldest);
        Ok(())
    }

    /// The group that a member may join, created if it isn't there.
    pub fn joined_by(&mut self, id: &str, join: &Join) -> Result<&mut Membership, ResponseError> {
        check_id(id)?;
        let present = self
            .by_id
            .get(id)
            .map_or(0, |group| group.membership.bytes_of(join));
        self.check_growth(join.bytes().saturating_sub(present))
            .map_err(|Full| ResponseError::GroupMaxSizeReached)?;
        Ok(&mut self.get_or_create(id)?.membership)
    }

    /// The group in which a member syncs.
    pub fn synced_by(&mut self, id: &str, sync: &Sync) -> Result<&mut Membership, ResponseError> {
        check_id(id)?;
        let group = self.by_id.get(id).ok_or(ResponseError::UnknownMemberId)?;
        let present = group.membership.assigned_bytes();
        self.check_growth(sync.bytes().saturating_sub(present))
            .map_err(|Full| ResponseError::GroupMaxSizeReached)?;
        let group = self.by_id.get_mut(id).expect("it was just seen");
        Ok(&mut group.membership)
    }

    /// Keeps a position of a group, pending where a producer is named.
    pub fn commit(
        &mut self,
        id: &str,
        producer_id: Option<i64>,
        (topic, partition): (&str, i32),
        position: Committed,
        now: Now,
    ) -> Result<(), ResponseError> {
        let none = Offsets::default();
        let offsets = self.by_id.get(id).map_or(&none, |group| &group.offsets);
        let growth = offsets.growth(producer_id, topic, partition, &position);
        self.check_growth(growth)
            .map_err(|Full| ResponseError::InvalidCommitOffsetSize)?;
        let group = self.get_or_create(id)?;
        group.last_commit = now.elapsed;
        group
            .offsets
            .commit(producer_id, topic, partition, position);
        Ok(())
    }

    /// Whether all groups together may hold so much more. Counting takes a look at every member, so it is only
    /// done for what grows.
    fn check_growth(&self, growth: usize) -> Result<(), Full> {
        let bytes = |group: &Group| group.membership.bytes() + group.offsets.bytes();
        let held = || self.by_id.values().map(bytes).sum::<usize>();
        if growth == 0 || held() + growth <= limits::GROUPS_BYTES {
            Ok(())
        } else {
            Err(Full)
        }
    }

    /// Deletes a group that has no members.
    pub fn delete(&mut self, id: &str) -> Result<(), ResponseError> {
        check_any_id(id)?;
        let group = self.by_id.get(id).ok_or(ResponseError::GroupIdNotFound)?;
        if !group.membership.is_empty() {
            return Err(ResponseError::NonEmptyGroup);
        }
        self.by_id.remove(id);
        Ok(())
    }

    /// Lets members expire, rebalances end and groups that hold nothing disappear.
    pub fn expire(&mut self, now: Now) {
        for group in self.by_id.values_mut() {
            group.membership.expire(now);
        }
        self.by_id
            .retain(|_, group| !group.membership.is_unused() || !group.offsets.is_empty());
    }

    /// Forgets the offsets of a topic that was deleted.
    pub fn forget_topic(&mut self, name: &str) {
        for group in self.by_id.values_mut() {
            group.offsets.forget_topic(name);
        }
    }
}

/// All groups together hold as much as they may.
struct Full;

/// Whether a group may have this id.
pub fn check_id(id: &str) -> Result<(), ResponseError> {
    if id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    check_any_id(id)
}

/// Whether a group may have this id where the empty one is allowed: as in Kafka it can't have members, but
/// offsets, and can be described and deleted with them.
pub fn check_any_id(id: &str) -> Result<(), ResponseError> {
    if id.len() > limits::ID_BYTES {
        return Err(ResponseError::InvalidGroupId);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::sync::oneshot;

    fn position(metadata: usize) -> Committed {
        Committed {
            offset: 1,
            leader_epoch: -1,
            metadata: "m".repeat(metadata),
        }
    }

    fn join(metadata: usize) -> Join {
        Join {
            member_id: String::new(),
            instance_id: None,
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(60),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from(vec![7; metadata]))],
            takes_id_first: false,
            may_skip_assignment: true,
        }
    }

    #[test]
    fn too_many_groups_cost_the_one_that_committed_longest_ago() {
        let mut groups = Groups::default();
        let commit = |groups: &mut Groups, n: usize, producer| {
            let now = Now::at(n as u64);
            groups.commit(&n.to_string(), producer, ("t", 0), position(0), now)
        };
        // The first has an open transaction, the second a member, the third has committed again.
        commit(&mut groups, 0, Some(7)).expect("there is room");
        let (answer, _) = oneshot::channel();
        let joining = join(1);
        let membership = groups.joined_by("1", &joining).expect("there is room");
        membership.join(&joining, answer, Now::at(1));
        for n in 2..limits::GROUPS {
            commit(&mut groups, n, None).expect("there is room");
        }
        let now = Now::at(1_000_000);
        groups
            .commit("2", None, ("t", 0), position(0), now)
            .expect("it is known");
        commit(&mut groups, limits::GROUPS, None).expect("room is made");
        let gone: Vec<usize> = (0..=limits::GROUPS)
            .filter(|n| groups.get(&n.to_string()).is_none())
            .collect();
        assert_eq!(gone, [3]);
    }

    #[test]
    fn what_all_groups_hold_has_a_bound() {
        let mut groups = Groups::default();
        let size = limits::MEMBER_BYTES - 1000;
        let mut joined = 0;
        loop {
            let id = format!("g-{joined}");
            let joining = join(size);
            let membership = match groups.joined_by(&id, &joining) {
                Ok(membership) => membership,
                Err(error) => {
                    assert_eq!(error, ResponseError::GroupMaxSizeReached);
                    break;
                }
            };
            membership.join(&joining, oneshot::channel().0, Now::at(0));
            joined += 1;
        }
        assert_eq!(joined, limits::GROUPS_BYTES / size);
        // Whoever is in stays in: a member may join again, and a group commit what it has committed.
        let member_id = groups.get("g-0").expect("it is there").membership.members();
        let again = Join {
            member_id: member_id.map(|member| member.id.clone()).collect(),
            ..join(size)
        };
        assert!(groups.joined_by("g-0", &again).is_ok());
        let mut commit = |partition, metadata| {
            let place = ("t", partition);
            groups.commit("g-0", None, place, position(metadata), Now::at(0))
        };
        let refused = (0..1000).find_map(|partition| commit(partition, 4096).err());
        assert_eq!(refused, Some(ResponseError::InvalidCommitOffsetSize));
        assert_eq!(commit(0, 4096), Ok(()));
    }
}
