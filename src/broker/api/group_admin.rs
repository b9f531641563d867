//! ListGroups, DescribeGroups, DeleteGroups, OffsetDelete: groups seen from outside.

use std::collections::HashSet;

use bytes::{Buf, Bytes};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};

use super::metadata::ALL_GROUP_OPERATIONS;
use super::{Call, distinct};
use crate::broker::groups::Group;
use crate::broker::groups::membership::{Membership, Phase};
use crate::broker::refusal::code;
use crate::broker::wire::text;

/// The only type of group there is here.
const CLASSIC: &str = "classic";
/// The state of a group that isn't there.
const DEAD: &str = "Dead";
/// The protocol type of consumers, who say in their metadata what they subscribe to.
const CONSUMER: &str = "consumer";

pub fn list_groups(call: &Call<'_>, request: &ListGroupsRequest) -> ListGroupsResponse {
    let state = call.core.state();
    let among = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = state.groups.iter().filter_map(|(id, group)| {
        let phase = group.membership.phase().name();
        let wanted = among(&request.states_filter, phase) && among(&request.types_filter, CLASSIC);
        wanted.then(|| {
            ListedGroup::default()
                .with_group_id(GroupId(text(id)))
                .with_protocol_type(text(group.membership.protocol_type()))
                .with_group_state(text(phase))
                .with_group_type(text(CLASSIC))
        })
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub fn describe_groups(call: &Call<'_>, request: &DescribeGroupsRequest) -> DescribeGroupsResponse {
    let state = call.core.state();
    let groups = distinct(&request.groups, |id| id.as_str()).map(|id| {
        let described = match state.groups.get(id) {
            Some(group) => describe(call, group),
            None => DescribedGroup::default().with_group_state(text(DEAD)),
        };
        let operations = if request.include_authorized_operations {
            ALL_GROUP_OPERATIONS
        } else {
            i32::MIN
        };
        described
            .with_group_id(id.clone())
            .with_authorized_operations(operations)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe(call: &Call<'_>, group: &Group) -> DescribedGroup {
    let membership = &group.membership;
    let stable = membership.phase() == Phase::Stable;
    let members = membership.members().map(|member| {
        let instance = member.instance_id.as_deref().filter(|_| call.version >= 4);
        let described = DescribedGroupMember::default()
            .with_member_id(text(&member.id))
            .with_group_instance_id(instance.map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host));
        // Before the group is stable, what members say and do is not settled.
        if stable {
            described
                .with_member_metadata(member.metadata(membership.protocol()))
                .with_member_assignment(member.assignment.clone())
        } else {
            described
        }
    });
    DescribedGroup::default()
        .with_group_state(text(membership.phase().name()))
        .with_protocol_type(text(membership.protocol_type()))
        .with_protocol_data(text(if stable { membership.protocol() } else { "" }))
        .with_members(members.collect())
}

pub fn delete_groups(call: &Call<'_>, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut state = call.core.state();
    let results = distinct(&request.groups_names, |id| id.as_str()).map(|id| {
        let outcome = state.groups.delete(id);
        DeletableGroupResult::default()
            .with_group_id(id.clone())
            .with_error_code(code(&outcome))
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

pub fn offset_delete(call: &Call<'_>, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut state = call.core.state();
    let known = |state: &crate::broker::state::State, name: &str, index| {
        state.topics.partition(name, index).is_ok()
    };
    let refusal = match state.groups.get(&request.group_id) {
        None => Some(ResponseError::GroupIdNotFound),
        Some(group) if group.membership.is_empty() => None,
        Some(group) if group.membership.protocol_type() == CONSUMER => None,
        Some(_) => Some(ResponseError::NonEmptyGroup),
    };
    if let Some(error) = refusal {
        return OffsetDeleteResponse::default().with_error_code(error.code());
    }
    let group = state.groups.get(&request.group_id);
    let subscriptions = group.map(|group| subscriptions(&group.membership));
    let subscriptions = subscriptions.expect("it was just seen");
    let topics = request.topics.iter().map(|topic| {
        let subscribed = subscriptions
            .as_ref()
            .is_none_or(|topics| topics.contains(topic.name.as_str()));
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let answer = OffsetDeleteResponsePartition::default().with_partition_index(index);
            if subscribed {
                return answer.with_error_code(ResponseError::GroupSubscribedToTopic.code());
            }
            if !known(&state, &topic.name, index) {
                return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            }
            if let Some(group) = state.groups.get_mut(&request.group_id) {
                group.offsets.delete(&topic.name, index);
            }
            answer
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}

/// The topics that members subscribe to; `None` if one says so in a way that we can't read.
fn subscriptions(membership: &Membership) -> Option<HashSet<String>> {
    let mut all = HashSet::new();
    for member in membership.members() {
        all.extend(subscription(member.metadata(membership.protocol()))?);
    }
    Some(all)
}

/// The topics in what a consumer says when it joins: a version, then an array of names.
fn subscription(mut metadata: Bytes) -> Option<Vec<String>> {
    metadata.try_get_i16().ok()?;
    let count = metadata.try_get_i32().ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
        if length > metadata.len() {
            return None;
        }
        topics.push(String::from_utf8(metadata.split_to(length).to_vec()).ok()?);
    }
    Some(topics)
}
