//! DescribeProducers, DescribeTransactions, ListTransactions: who writes, and what is open.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse, ProducerId,
    TransactionalId,
};

use super::{Call, distinct};
use crate::broker::refusal::Refusal;
use crate::broker::state::State;
use crate::broker::transactions::{Phase, Transaction};
use crate::broker::wire::{text, topic_name};

const PHASES: [Phase; 4] = [
    Phase::Empty,
    Phase::Ongoing,
    Phase::CompleteCommit,
    Phase::CompleteAbort,
];

pub fn describe_producers(
    call: &Call<'_>,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let state = call.core.state();
    let mut seen = HashSet::new();
    let topics = request.topics.iter().map(|topic| {
        let indexes = topic
            .partition_indexes
            .iter()
            .filter(|index| seen.insert((topic.name.as_str(), **index)));
        let partitions = indexes.map(|index| {
            let answer = PartitionResponse::default().with_partition_index(*index);
            match active_producers(&state, &topic.name, *index) {
                Ok(producers) => answer.with_active_producers(producers),
                Err(error) => answer
                    .with_error_code(error.code())
                    .with_error_message(Refusal::from(error).wire_message()),
            }
        });
        TopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn active_producers(
    state: &State,
    name: &str,
    index: i32,
) -> Result<Vec<ProducerState>, ResponseError> {
    let log = &state.topics.partition(name, index)?.log;
    let describe = |(id, producer): (i64, &crate::broker::log::producers::Producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(producer.epoch))
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp)
            .with_current_txn_start_offset(log.transactions().opened_at(id).unwrap_or(-1))
    };
    Ok(log.producers().iter().map(describe).collect())
}

pub fn describe_transactions(
    call: &Call<'_>,
    request: &DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let state = call.core.state();
    let states = distinct(&request.transactional_ids, |id| id.as_str()).map(|id| {
        let answer = TransactionState::default().with_transactional_id(id.clone());
        match state.transactions.get(id) {
            Some(transaction) => describe(answer, transaction),
            None => answer.with_error_code(ResponseError::TransactionalIdNotFound.code()),
        }
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

fn describe(answer: TransactionState, transaction: &Transaction) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (name, index) in &transaction.partitions {
        topics.entry(name).or_default().push(*index);
    }
    let topics = topics.into_iter().map(|(name, indexes)| {
        TopicData::default()
            .with_topic(topic_name(name))
            .with_partitions(indexes)
    });
    answer
        .with_transaction_state(text(transaction.phase.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.started_ms)
        .with_producer_id(ProducerId(transaction.producer.id))
        .with_producer_epoch(transaction.producer.epoch)
        .with_topics(topics.collect())
}

pub fn list_transactions(
    call: &Call<'_>,
    request: &ListTransactionsRequest,
) -> ListTransactionsResponse {
    let state = call.core.state();
    let unknown = request
        .state_filters
        .iter()
        .filter(|name| PHASES.iter().all(|phase| phase.name() != name.as_str()));
    let is_wanted = |transaction: &Transaction| {
        let phase = transaction.phase.name();
        let age = call.now.unix_ms.saturating_sub(transaction.started_ms);
        let in_phase = request.state_filters.is_empty()
            || request
                .state_filters
                .iter()
                .any(|name| name.as_str() == phase);
        let filters = &request.producer_id_filters;
        let by_producer =
            filters.is_empty() || filters.iter().any(|id| **id == transaction.producer.id);
        let old_enough = request.duration_filter < 0
            || (transaction.phase == Phase::Ongoing && age >= request.duration_filter);
        in_phase && by_producer && old_enough
    };
    let listed = state
        .transactions
        .iter()
        .filter(|(_, transaction)| is_wanted(transaction));
    let listed = listed.map(|(id, transaction)| {
        ListedTransaction::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(ProducerId(transaction.producer.id))
            .with_transaction_state(text(transaction.phase.name()))
    });
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown.cloned().collect())
        .with_transaction_states(listed.collect())
}
