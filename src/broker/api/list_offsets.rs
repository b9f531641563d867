//! ListOffsets and OffsetForLeaderEpoch: from a time, or an end of the log, to an offset.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::Call;
use crate::broker::log::timestamps::Sought;
use crate::broker::log::{Isolation, LEADER_EPOCH};

/// The first version that names the leader's epoch.
const LEADER_EPOCHS: i16 = 4;
/// Times that stand for something else.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on the broker's own disk, and the last one elsewhere: there is no elsewhere.
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub async fn list_offsets(call: &Call<'_>, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = Isolation::of(request.isolation_level);
    let mut topics = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for wanted in &topic.partitions {
            let outcome = find(call, &topic.name, wanted, isolation).await;
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index);
            partitions.push(match outcome {
                Ok(Some((offset, timestamp))) => answer
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(if call.version >= LEADER_EPOCHS {
                        LEADER_EPOCH
                    } else {
                        -1
                    }),
                Ok(None) => answer.with_offset(-1).with_timestamp(-1),
                Err(error) => answer
                    .with_offset(-1)
                    .with_timestamp(-1)
                    .with_error_code(error.code()),
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Offset and timestamp of what is wanted; `None` if there is no such record.
async fn find(
    call: &Call<'_>,
    name: &str,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<Option<(i64, i64)>, ResponseError> {
    check_epoch(wanted.current_leader_epoch)?;
    let sought = {
        let state = call.core.state();
        let log = &state.topics.partition(name, wanted.partition_index)?.log;
        match wanted.timestamp {
            LATEST => return Ok(Some((log.readable_end(isolation), -1))),
            EARLIEST | EARLIEST_LOCAL => return Ok(Some((log.start(), -1))),
            LATEST_TIERED => return Ok(None),
            MAX_TIMESTAMP => Sought::Latest,
            timestamp if timestamp < 0 => return Err(ResponseError::UnsupportedVersion),
            timestamp => Sought::From(timestamp),
        }
    };
    let mut from = 0;
    loop {
        let found = {
            let state = call.core.state();
            state
                .topics
                .partition(name, wanted.partition_index)?
                .log
                .find(sought, isolation, from)
        };
        let Some(found) = found else { return Ok(None) };
        let _permit = if found.is_compressed() {
            call.core.decompressions.acquire().await.ok()
        } else {
            None
        };
        if let Some(offset) = found.offset() {
            return Ok(Some(offset));
        }
        from = found.next;
    }
}

pub fn offset_for_leader_epoch(
    call: &Call<'_>,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let state = call.core.state();
    let end = |name: &str, wanted: &OffsetForLeaderPartition| {
        check_epoch(wanted.current_leader_epoch)?;
        let end = state.topics.partition(name, wanted.partition)?.log.end();
        Ok(if wanted.leader_epoch == LEADER_EPOCH {
            (LEADER_EPOCH, end)
        } else {
            (-1, -1)
        })
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let answer = EpochEndOffset::default().with_partition(wanted.partition);
            match end(&topic.topic, wanted) {
                Ok((epoch, offset)) => answer.with_leader_epoch(epoch).with_end_offset(offset),
                Err::<_, ResponseError>(error) => answer
                    .with_error_code(error.code())
                    .with_leader_epoch(-1)
                    .with_end_offset(-1),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// Whether the client's idea of the leader's epoch is ours; -1 stands for no idea.
pub fn check_epoch(epoch: i32) -> Result<(), ResponseError> {
    match epoch {
        -1 | LEADER_EPOCH => Ok(()),
        epoch if epoch > LEADER_EPOCH => Err(ResponseError::UnknownLeaderEpoch),
        _ => Err(ResponseError::FencedLeaderEpoch),
    }
}
