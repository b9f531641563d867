//! InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    self, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::Call;
use super::offsets::position;
use crate::broker::batch::control::Outcome;
use crate::broker::groups::check_id;
use crate::broker::groups::requests::Caller;
use crate::broker::refusal::code;
use crate::broker::state::State;
use crate::broker::transactions::ProducerId;

/// Older versions say INVALID_PRODUCER_EPOCH where newer ones say PRODUCER_FENCED.
const INIT_KNOWS_FENCED: i16 = 4;
const OTHERS_KNOW_FENCED: i16 = 2;

fn in_words_of(version: i16, knows_fenced: i16) -> impl Fn(ResponseError) -> ResponseError {
    move |error| match error {
        ResponseError::ProducerFenced if version < knows_fenced => {
            ResponseError::InvalidProducerEpoch
        }
        error => error,
    }
}

pub fn init_producer_id(
    call: &Call<'_>,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let mut state = call.core.state();
    let outcome =
        init(call, &mut state, request).map_err(in_words_of(call.version, INIT_KNOWS_FENCED));
    let response = InitProducerIdResponse::default().with_error_code(code(&outcome));
    match outcome {
        Ok(producer) => response
            .with_producer_id(messages::ProducerId(producer.id))
            .with_producer_epoch(producer.epoch),
        Err(_) => response
            .with_producer_id(messages::ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

fn init(
    call: &Call<'_>,
    state: &mut State,
    request: &InitProducerIdRequest,
) -> Result<ProducerId, ResponseError> {
    let Some(id) = &request.transactional_id else {
        return Ok(state.transactions.new_producer());
    };
    let known = match (*request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (id, epoch) if id >= 0 && epoch >= 0 => Some(ProducerId { id, epoch }),
        _ => return Err(ResponseError::InvalidRequest),
    };
    let (producer, ended) =
        state
            .transactions
            .init(id, request.transaction_timeout_ms, known, call.now)?;
    if let Some(ended) = ended {
        state.carry_out(&ended, call.now);
    }
    Ok(producer)
}

pub fn add_partitions(
    call: &Call<'_>,
    request: &AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let mut state = call.core.state();
    let id = request.v3_and_below_transactional_id.as_str();
    let producer = ProducerId {
        id: *request.v3_and_below_producer_id,
        epoch: request.v3_and_below_producer_epoch,
    };
    let wanted: Vec<(String, i32)> = request
        .v3_and_below_topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|index| (topic.name.to_string(), *index))
        })
        .collect();
    let exists = |state: &State, name: &str, index| state.topics.partition(name, index).map(|_| ());
    let all_exist = wanted
        .iter()
        .all(|(name, index)| exists(&state, name, *index).is_ok());
    let outcome = state.transactions.check(id, producer).and_then(|()| {
        if all_exist {
            state
                .transactions
                .add_partitions(id, producer, wanted, call.now)?;
        }
        Ok(())
    });
    let outcome = outcome.map_err(in_words_of(call.version, OTHERS_KNOW_FENCED));
    let topics = request.v3_and_below_topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            // All or none: those that could have been added say that they weren't tried.
            let tried = if all_exist {
                Ok(())
            } else {
                Err(ResponseError::OperationNotAttempted)
            };
            let outcome = outcome
                .and_then(|()| exists(&state, &topic.name, *index))
                .and(tried);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(code(&outcome))
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions)
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

pub fn add_offsets(call: &Call<'_>, request: &AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let mut state = call.core.state();
    let producer = ProducerId {
        id: *request.producer_id,
        epoch: request.producer_epoch,
    };
    let outcome = check_id(&request.group_id)
        .and_then(|()| {
            state.transactions.add_group(
                &request.transactional_id,
                producer,
                &request.group_id,
                call.now,
            )
        })
        .map_err(in_words_of(call.version, OTHERS_KNOW_FENCED));
    AddOffsetsToTxnResponse::default().with_error_code(code(&outcome))
}

pub fn offset_commit(call: &Call<'_>, request: &TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let mut state = call.core.state();
    let allowed = check_offset_commit(&mut state, request);
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
                let (place, producer) = ((topic.name.as_str(), index), *request.producer_id);
                let groups = &mut state.groups;
                groups.commit(&request.group_id, Some(producer), place, position, call.now)
            });
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code::<(), ResponseError>(&outcome))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

/// The transaction must cover the group, and the member must be of its present generation: this is what
/// stops a consumer that has lost its partitions and doesn't know.
fn check_offset_commit(
    state: &mut State,
    request: &TxnOffsetCommitRequest,
) -> Result<(), ResponseError> {
    check_id(&request.group_id)?;
    let producer = ProducerId {
        id: *request.producer_id,
        epoch: request.producer_epoch,
    };
    let caller = Caller {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
    };
    match state.groups.get(&request.group_id) {
        Some(group) => group
            .membership
            .check_transactional_commit(caller, request.generation_id)?,
        None if request.generation_id < 0 => {}
        None => return Err(ResponseError::IllegalGeneration),
    }
    state
        .transactions
        .check_group(&request.transactional_id, producer, &request.group_id)
}

pub fn end(call: &Call<'_>, request: &EndTxnRequest) -> EndTxnResponse {
    let mut state = call.core.state();
    let producer = ProducerId {
        id: *request.producer_id,
        epoch: request.producer_epoch,
    };
    let outcome = if request.committed {
        Outcome::Commit
    } else {
        Outcome::Abort
    };
    let ended = state
        .transactions
        .end(&request.transactional_id, producer, outcome, call.now)
        .map_err(in_words_of(call.version, OTHERS_KNOW_FENCED));
    if let Ok(Some(ended)) = &ended {
        state.carry_out(ended, call.now);
    }
    EndTxnResponse::default().with_error_code(code(&ended))
}
