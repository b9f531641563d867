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

use kafka_protocol::error::ResponseError;

use super::clock::Now;
use super::limits;
use membership::Membership;
use offsets::Offsets;

/// A group: who is in it, and what it has committed.
#[derive(Debug, Default)]
pub struct Group {
    pub membership: Membership,
    pub offsets: Offsets,
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
    pub fn get_or_create(&mut self, id: &str) -> Result<&mut Group, ResponseError> {
        check_id(id)?;
        if !self.by_id.contains_key(id) && self.by_id.len() >= limits::GROUPS {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        Ok(self.by_id.entry(id.to_owned()).or_default())
    }

    /// Deletes a group that has no members.
    pub fn delete(&mut self, id: &str) -> Result<(), ResponseError> {
        check_id(id)?;
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

/// Whether a group may have this id.
pub fn check_id(id: &str) -> Result<(), ResponseError> {
    if id.is_empty() || id.len() > limits::ID_BYTES {
        return Err(ResponseError::InvalidGroupId);
    }
    Ok(())
}
