//! CreateTopics, CreatePartitions, DeleteTopics.

use std::collections::HashMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};

use super::configs::source_of;
use super::{Call, distinct};
use crate::broker::refusal::Refusal;
use crate::broker::state::{Node, State};
use crate::broker::topics::config::{DEFINITIONS, Definition, TopicConfig};
use crate::broker::wire::text;

/// What a topic gets that says -1 (`num.partitions`).
const DEFAULT_PARTITIONS: i32 = 1;
/// Stands for "the broker decides".
const UNSET: i32 = -1;

pub fn create_topics(call: &Call<'_>, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let mut state = call.core.state();
    let mut count: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *count.entry(&topic.name).or_default() += 1;
    }
    // What this request would create if it weren't only asking: it is told no more than it could have.
    let mut planned = 0;
    let topics = distinct(&request.topics, |topic| topic.name.as_str()).map(|topic| {
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_num_partitions(-1)
            .with_replication_factor(-1);
        let outcome = if count[topic.name.as_str()] > 1 {
            let message = "the topic is in the request more than once";
            Err(Refusal::new(ResponseError::InvalidRequest, message))
        } else {
            check_new(&state, topic, planned)
        };
        match outcome {
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.wire_message()),
            Ok((partitions, config)) => {
                let result = result
                    .with_num_partitions(i32::try_from(partitions).expect("partitions are bounded"))
                    .with_replication_factor(1)
                    .with_configs(Some(describe(&config)));
                if request.validate_only {
                    planned += partitions;
                    return result;
                }
                result.with_topic_id(state.topics.create(&topic.name, partitions, config))
            }
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

/// Partitions and settings of a new topic, if it can be created.
fn check_new(
    state: &State,
    topic: &CreatableTopic,
    planned: usize,
) -> Result<(usize, TopicConfig), Refusal> {
    let wanted = if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, -1 | 1) {
            let message = format!(
                "replication factor {}: there is one broker",
                topic.replication_factor
            );
            return Err(Refusal::new(
                ResponseError::InvalidReplicationFactor,
                message,
            ));
        }
        if topic.num_partitions == UNSET {
            DEFAULT_PARTITIONS
        } else {
            topic.num_partitions
        }
    } else {
        assigned_partitions(topic)?
    };
    let partitions = state.topics.check_new(&topic.name, wanted)?;
    state.topics.check_room(planned + partitions)?;
    let mut config = TopicConfig::default();
    for setting in &topic.configs {
        config.set(&setting.name, setting.value.as_deref())?;
    }
    Ok((partitions, config))
}

/// How many partitions a manual assignment has, if it assigns each to this broker.
fn assigned_partitions(topic: &CreatableTopic) -> Result<i32, Refusal> {
    let mut indexes: Vec<i32> = topic
        .assignments
        .iter()
        .map(|partition| partition.partition_index)
        .collect();
    indexes.sort_unstable();
    let consecutive = indexes.iter().copied().eq((0..).take(indexes.len()));
    let here = topic
        .assignments
        .iter()
        .all(|partition| is_here(&partition.broker_ids));
    if (topic.num_partitions, topic.replication_factor) != (-1, -1) {
        let message = "with an assignment, partitions and replication factor must be left out";
        return Err(Refusal::new(ResponseError::InvalidRequest, message));
    }
    if !consecutive || !here {
        return Err(unassignable());
    }
    Ok(i32::try_from(indexes.len()).unwrap_or(i32::MAX))
}

fn is_here(brokers: &[BrokerId]) -> bool {
    matches!(brokers, [BrokerId(Node::ID)])
}

fn unassignable() -> Refusal {
    let message = format!(
        "each partition must have exactly one replica, on broker {}",
        Node::ID
    );
    Refusal::new(ResponseError::InvalidReplicaAssignment, message)
}

fn describe(config: &TopicConfig) -> Vec<CreatableTopicConfigs> {
    let describe = |definition: &Definition| {
        CreatableTopicConfigs::default()
            .with_name(text(definition.name))
            .with_value(Some(text(config.value(definition))))
            .with_config_source(source_of(config, definition))
    };
    DEFINITIONS.iter().map(describe).collect()
}

pub fn create_partitions(
    call: &Call<'_>,
    request: &CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut state = call.core.state();
    let results = request.topics.iter().map(|topic| {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        match add_partitions(&mut state, topic, request.validate_only) {
            Ok(()) => result,
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.wire_message()),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn add_partitions(
    state: &mut State,
    wanted: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let topic = state
        .topics
        .get(&wanted.name)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let present = topic.partitions.len();
    let count = state.topics.check_count(present, wanted.count)?;
    if let Some(assignments) = &wanted.assignments {
        let here = assignments
            .iter()
            .all(|assignment| is_here(&assignment.broker_ids));
        if !here || assignments.len() != count - present {
            return Err(unassignable());
        }
    }
    if let Some(topic) = state
        .topics
        .get_mut(&wanted.name)
        .filter(|_| !validate_only)
    {
        topic.partitions.resize_with(count, Default::default);
    }
    Ok(())
}

pub fn delete_topics(call: &Call<'_>, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut state = call.core.state();
    let by_name = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name.clone())));
    let responses = request
        .topics
        .iter()
        .cloned()
        .chain(by_name)
        .map(|wanted| delete(&mut state, &wanted));
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn delete(state: &mut State, wanted: &DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default()
        .with_name(wanted.name.clone())
        .with_topic_id(wanted.topic_id);
    let refused = |error: ResponseError| {
        let refusal = Refusal::from(error);
        result
            .clone()
            .with_error_code(refusal.code())
            .with_error_message(refusal.wire_message())
    };
    let name: Option<String> = match &wanted.name {
        Some(_) if !wanted.topic_id.is_nil() => return refused(ResponseError::InvalidRequest),
        Some(name) => Some(name.to_string()),
        None => state.topics.name_of(wanted.topic_id).map(str::to_owned),
    };
    let Some(name) = name else {
        return refused(ResponseError::UnknownTopicId);
    };
    let Some(id) = state.topics.get(&name).map(|topic| topic.id) else {
        return refused(ResponseError::UnknownTopicOrPartition);
    };
    state.delete_topic(&name);
    result
        .with_name(Some(TopicName(text(&name))))
        .with_topic_id(id)
}
