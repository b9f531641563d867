//! DeleteRecords and DescribeLogDirs: what partitions hold.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};

use super::Call;
use crate::broker::state::State;
use crate::broker::wire::{text, topic_name};

pub fn delete_records(call: &Call<'_>, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut state = call.core.state();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let result = DeleteRecordsPartitionResult::default()
                .with_partition_index(wanted.partition_index);
            match delete_before(&mut state, &topic.name, wanted) {
                Ok(start) => result.with_low_watermark(start),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete_before(
    state: &mut State,
    name: &str,
    wanted: &DeleteRecordsPartition,
) -> Result<i64, ResponseError> {
    let topic = state
        .topics
        .get(name)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !topic.config.is_deleted() {
        return Err(ResponseError::PolicyViolation);
    }
    state
        .topics
        .partition_mut(name, wanted.partition_index)?
        .log
        .delete_before(wanted.offset)
}

/// Memory is shown as the one directory there is.
pub fn describe_log_dirs(
    call: &Call<'_>,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let state = call.core.state();
    let wanted: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let named = topics.iter();
        named
            .flat_map(|topic| {
                let name = topic.topic.as_str();
                topic.partitions.iter().map(move |index| (name, *index))
            })
            .collect()
    });
    let is_wanted = |name: &str, index: i32| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&(name, index)))
    };
    let topics = state.topics.iter().filter_map(|(name, topic)| {
        let partitions: Vec<_> = (0..)
            .zip(&topic.partitions)
            .filter(|(index, _)| is_wanted(name, *index))
            .map(|(index, partition)| {
                let size = i64::try_from(partition.log.bytes()).unwrap_or(i64::MAX);
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(size)
            })
            .collect();
        let topic = DescribeLogDirsTopic::default().with_name(topic_name(name));
        (!partitions.is_empty()).then(|| topic.with_partitions(partitions))
    });
    let memory = DescribeLogDirsResult::default()
        .with_log_dir(text("memory"))
        .with_topics(topics.collect())
        .with_total_bytes(-1)
        .with_usable_bytes(-1);
    DescribeLogDirsResponse::default().with_results(vec![memory])
}
