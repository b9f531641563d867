//! OffsetCommit and OffsetFetch.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, distinct};
use crate::broker::groups::check_any_id;
use crate::broker::groups::offsets::Committed;
use crate::broker::groups::requests::Caller;
use crate::broker::limits;
use crate::broker::refusal::code;
use crate::broker::state::State;
use crate::broker::wire::{text, topic_name};

/// The first version of OffsetFetch that asks for several groups.
const SEVERAL_GROUPS: i16 = 8;

pub fn offset_commit(call: &Call<'_>, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let mut state = call.core.state();
    let caller = Caller {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
    };
    let allowed = check_commit(
        call,
        &mut state,
        &request.group_id,
        caller,
        request.generation_id_or_member_epoch,
    );
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let outcome = allowed.and_then(|()| {
                let index = partition.partition_index;
                let metadata = partition.committed_metadata.as_ref();
                let position = position(
                    &state,
                    &topic.name,
                    index,
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    metadata,
                )?;
                let place = (topic.name.as_str(), index);
                let groups = &mut state.groups;
                groups.commit(&request.group_id, None, place, position, call.now)
            });
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code::<(), ResponseError>(&outcome))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn check_commit(
    call: &Call<'_>,
    state: &mut State,
    group_id: &str,
    caller: Caller<'_>,
    generation: i32,
) -> Result<(), ResponseError> {
    check_any_id(group_id)?;
    match state.groups.get_mut(group_id) {
        Some(group) => {
            group.membership.check_commit(caller, generation)?;
            group.membership.touch(caller.member_id, call.now);
            Ok(())
        }
        None if generation < 0 => Ok(()),
        None => Err(ResponseError::IllegalGeneration),
    }
}

/// The position to commit, if the partition exists and the metadata is short.
pub fn position(
    state: &State,
    topic: &str,
    index: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&StrBytes>,
) -> Result<Committed, ResponseError> {
    state.topics.partition(topic, index)?;
    let metadata = metadata.map(ToString::to_string).unwrap_or_default();
    if metadata.len() > limits::OFFSET_METADATA_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(Committed {
        offset,
        leader_epoch,
        metadata,
    })
}

/// A fetched position: partition, offset, leader epoch, metadata, error.
type Fetched = (i32, i64, i32, String, i16);

pub fn offset_fetch(call: &Call<'_>, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let state = call.core.state();
    if call.version >= SEVERAL_GROUPS {
        let groups = distinct(&request.groups, |group| group.group_id.as_str()).map(|group| {
            let wanted = group.topics.as_ref();
            let wanted = wanted.map(|topics| {
                topics
                    .iter()
                    .map(|topic| (&topic.name, &topic.partition_indexes))
                    .collect()
            });
            let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            match fetch(&state, &group.group_id, wanted, request.require_stable) {
                Err(error) => answer.with_error_code(error.code()),
                Ok(topics) => answer.with_topics(topics.into_iter().map(in_group).collect()),
            }
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let wanted = request.topics.as_ref();
    let wanted = wanted.map(|topics| {
        topics
            .iter()
            .map(|topic| (&topic.name, &topic.partition_indexes))
            .collect()
    });
    match fetch(&state, &request.group_id, wanted, request.require_stable) {
        Err(error) => OffsetFetchResponse::default().with_error_code(error.code()),
        Ok(topics) => {
            OffsetFetchResponse::default().with_topics(topics.into_iter().map(alone).collect())
        }
    }
}

/// The positions of a group, of all partitions that have one unless some are named.
fn fetch(
    state: &State,
    group_id: &GroupId,
    wanted: Option<Vec<(&TopicName, &Vec<i32>)>>,
    require_stable: bool,
) -> Result<Vec<(TopicName, Vec<Fetched>)>, ResponseError> {
    check_any_id(group_id)?;
    let offsets = state.groups.get(group_id).map(|group| &group.offsets);
    let fetch = |topic: &str, index: i32| -> Fetched {
        if require_stable && offsets.is_some_and(|offsets| offsets.is_unstable(topic, index)) {
            return (
                index,
                -1,
                -1,
                String::new(),
                ResponseError::UnstableOffsetCommit.code(),
            );
        }
        match offsets.and_then(|offsets| offsets.get(topic, index)) {
            Some(found) => (
                index,
                found.offset,
                found.leader_epoch,
                found.metadata.clone(),
                0,
            ),
            None => (index, -1, -1, String::new(), 0),
        }
    };
    if let Some(wanted) = wanted {
        let mut seen = HashSet::new();
        let topics = wanted.into_iter().map(|(name, indexes)| {
            let indexes = indexes
                .iter()
                .filter(|index| seen.insert((name.as_str(), **index)));
            (
                name.clone(),
                indexes.map(|index| fetch(name, *index)).collect(),
            )
        });
        return Ok(topics.collect());
    }
    let mut topics: Vec<(TopicName, Vec<Fetched>)> = Vec::new();
    for (name, index) in offsets.into_iter().flat_map(|offsets| offsets.partitions()) {
        let fetched = fetch(name, *index);
        match topics.last_mut().filter(|(last, _)| **last == **name) {
            Some((_, partitions)) => partitions.push(fetched),
            None => topics.push((topic_name(name), vec![fetched])),
        }
    }
    Ok(topics)
}

fn in_group((name, partitions): (TopicName, Vec<Fetched>)) -> OffsetFetchResponseTopics {
    let partitions =
        partitions
            .into_iter()
            .map(|(index, offset, leader_epoch, metadata, error)| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(leader_epoch)
                    .with_metadata(Some(text(&metadata)))
                    .with_error_code(error)
            });
    OffsetFetchResponseTopics::default()
        .with_name(name)
        .with_partitions(partitions.collect())
}

fn alone((name, partitions): (TopicName, Vec<Fetched>)) -> OffsetFetchResponseTopic {
    let partitions =
        partitions
            .into_iter()
            .map(|(index, offset, leader_epoch, metadata, error)| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(leader_epoch)
                    .with_metadata(Some(text(&metadata)))
                    .with_error_code(error)
            });
    OffsetFetchResponseTopic::default()
        .with_name(name)
        .with_partitions(partitions.collect())
}
