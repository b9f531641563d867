//! Metadata, DescribeCluster, FindCoordinator: who and where the broker is, and which topics it has.
//!
//! Topics are never created by asking for them, whatever the client allows: a mistyped name is an error.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse,
};

use super::{Call, distinct};
use crate::broker::log::LEADER_EPOCH;
use crate::broker::state::{Node, State};
use crate::broker::topics::{Topic, check_name};
use crate::broker::wire::{text, topic_name};

/// There is no authorisation: everybody may do everything. One bit an operation, as Kafka numbers them.
pub const ALL_TOPIC_OPERATIONS: i32 = 0x0df8;
pub const ALL_CLUSTER_OPERATIONS: i32 = 0x1fa0;
pub const ALL_GROUP_OPERATIONS: i32 = 0x0148;

const BROKER: BrokerId = BrokerId(Node::ID);

pub fn metadata(call: &Call<'_>, request: &MetadataRequest) -> MetadataResponse {
    let state = call.core.state();
    let everything = match &request.topics {
        None => true,
        Some(topics) => topics.is_empty() && call.version == 0,
    };
    let mut topics: Vec<MetadataResponseTopic> = if everything {
        state
            .topics
            .iter()
            .map(|(name, topic)| describe(name, topic))
            .collect()
    } else {
        let wanted = request.topics.as_deref().unwrap_or_default();
        distinct(wanted, |wanted| (wanted.name.as_deref(), wanted.topic_id))
            .map(|wanted| look_up(&state, wanted))
            .collect()
    };
    if request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = ALL_TOPIC_OPERATIONS;
        }
    }
    let node = &call.core.node;
    let broker = MetadataResponseBroker::default()
        .with_node_id(BROKER)
        .with_host(text(&node.host))
        .with_port(i32::from(node.port));
    let mut response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&node.cluster_id)))
        .with_controller_id(BROKER)
        .with_topics(topics);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = ALL_CLUSTER_OPERATIONS;
    }
    response
}

/// A topic asked for by name, or by id where it has no name.
fn look_up(state: &State, wanted: &MetadataRequestTopic) -> MetadataResponseTopic {
    let refused = |error: ResponseError| {
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(wanted.name.clone())
            .with_topic_id(wanted.topic_id)
    };
    let Some(name) = &wanted.name else {
        return match state.topics.name_of(wanted.topic_id) {
            Some(name) => describe(name, state.topics.get(name).expect("ids belong to topics")),
            None => refused(ResponseError::UnknownTopicId),
        };
    };
    match state.topics.get(name) {
        Some(topic) => describe(name, topic),
        None if check_name(name).is_err() => refused(ResponseError::InvalidTopicException),
        None => refused(ResponseError::UnknownTopicOrPartition),
    }
}

fn describe(name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BROKER)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BROKER])
            .with_isr_nodes(vec![BROKER])
    };
    let count = i32::try_from(topic.partitions.len()).expect("partitions are bounded");
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(name)))
        .with_topic_id(topic.id)
        .with_partitions((0..count).map(partition).collect())
}

pub fn describe_cluster(
    call: &Call<'_>,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    /// The endpoint type that stands for brokers; the other one stands for controllers.
    const BROKERS: i8 = 1;
    if call.version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(text("this is a broker, not a controller")))
            .with_endpoint_type(BROKERS);
    }
    let node = &call.core.node;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BROKER)
        .with_host(text(&node.host))
        .with_port(i32::from(node.port));
    let mut response = DescribeClusterResponse::default()
        .with_endpoint_type(BROKERS)
        .with_cluster_id(text(&node.cluster_id))
        .with_controller_id(BROKER)
        .with_brokers(vec![broker]);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = ALL_CLUSTER_OPERATIONS;
    }
    response
}

pub fn find_coordinator(
    call: &Call<'_>,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    /// Key types: 0 for groups, 1 for transactional ids.
    const KNOWN_TYPES: std::ops::RangeInclusive<i8> = 0..=1;
    let node = &call.core.node;
    let known = KNOWN_TYPES.contains(&request.key_type);
    let error_code = if known {
        0
    } else {
        ResponseError::InvalidRequest.code()
    };
    let error_message = (!known).then(|| text("there is no coordinator for keys of this type"));
    if call.version >= 4 {
        let coordinators = request.coordinator_keys.iter().map(|key| {
            Coordinator::default()
                .with_key(key.clone())
                .with_error_code(error_code)
                .with_error_message(error_message.clone())
                .with_node_id(if known { BROKER } else { BrokerId(-1) })
                .with_host(text(if known { &node.host } else { "" }))
                .with_port(if known { i32::from(node.port) } else { -1 })
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let response = FindCoordinatorResponse::default()
        .with_error_code(error_code)
        .with_error_message(error_message);
    if known {
        response
            .with_node_id(BROKER)
            .with_host(text(&node.host))
            .with_port(i32::from(node.port))
    } else {
        response.with_node_id(BrokerId(-1)).with_port(-1)
    }
}
