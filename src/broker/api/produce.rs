//! Produce: check what came, then append it.
//!
//! Checking (checksums, decompression, every record) happens outside the lock, appending under it. A batch is
//! appended or refused on its own; other partitions of the request go their own way.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::{Answer, Call};
use crate::broker::batch::Header;
use crate::broker::batch::validate::{self, Admitted, Rejected};
use crate::broker::log::Appended;
use crate::broker::refusal::Refusal;
use crate::broker::wire::{text, topic_name};

/// One partition of a request.
struct Part {
    topic: String,
    index: i32,
    batch: Result<Admitted, Rejected>,
}

pub async fn produce(call: &Call<'_>, request: ProduceRequest) -> Answer {
    let acks = request.acks;
    let parts = check(call, request).await;
    let full: Vec<(String, i32)> = {
        let state = call.core.state();
        let is_full = |part: &&Part| {
            part.batch.as_ref().is_ok_and(|batch| {
                state.needs_compaction(&part.topic, part.index, batch.bytes.len())
            })
        };
        parts
            .iter()
            .filter(is_full)
            .map(|part| (part.topic.clone(), part.index))
            .collect()
    };
    for (topic, index) in full {
        call.core.compact_now(&topic, index).await;
    }
    let mut refused = false;
    let mut responses: Vec<TopicProduceResponse> = Vec::new();
    for part in parts {
        let answer = append(call, &part.topic, part.index, part.batch);
        refused |= answer.error_code != 0;
        match responses
            .last_mut()
            .filter(|topic| *topic.name == *part.topic)
        {
            Some(topic) => topic.partition_responses.push(answer),
            None => responses.push(
                TopicProduceResponse::default()
                    .with_name(topic_name(&part.topic))
                    .with_partition_responses(vec![answer]),
            ),
        }
    }
    match acks {
        // Without acknowledgements a closed connection is the only way to say no, as in Kafka.
        0 if refused => Answer::Close("a batch without acknowledgement was refused"),
        0 => Answer::Nothing,
        _ => call.reply(&ProduceResponse::default().with_responses(responses)),
    }
}

async fn check(call: &Call<'_>, request: ProduceRequest) -> Vec<Part> {
    let mut parts = Vec::new();
    for topic in request.topic_data {
        let name = topic.name.to_string();
        for partition in topic.partition_data {
            let records = partition.records.unwrap_or_default();
            let batch = if matches!(request.acks, -1..=1) {
                check_batch(
                    call,
                    request.transactional_id.is_some(),
                    &name,
                    partition.index,
                    &records,
                )
                .await
            } else {
                let message = format!("acks is {}: it can be -1, 0 or 1", request.acks);
                Err(Refusal::new(ResponseError::InvalidRequiredAcks, message).into())
            };
            parts.push(Part {
                topic: name.clone(),
                index: partition.index,
                batch,
            });
        }
    }
    parts
}

async fn check_batch(
    call: &Call<'_>,
    in_transaction: bool,
    topic: &str,
    index: i32,
    records: &Bytes,
) -> Result<Admitted, Rejected> {
    let rules = {
        let state = call.core.state();
        state
            .topics
            .partition(topic, index)
            .map_err(|error| Rejected::from(Refusal::from(error)))?;
        state.topics.get(topic).map(|topic| topic.config.rules())
    };
    let rules = rules.ok_or_else(|| Refusal::from(ResponseError::UnknownTopicOrPartition))?;
    let header = Header::read(records);
    if header.is_some_and(|header| header.is_transactional()) && !in_transaction {
        let message = "a transactional batch needs the transactional id in the request";
        return Err(
            Refusal::new(ResponseError::TransactionalIdAuthorizationFailed, message).into(),
        );
    }
    let is_compressed = header.is_some_and(|header| header.codec_id() != 0);
    let _permit = if is_compressed {
        call.core.decompressions.acquire().await.ok()
    } else {
        None
    };
    validate::admit(records, &rules, call.version, call.now)
}

fn append(
    call: &Call<'_>,
    topic: &str,
    index: i32,
    batch: Result<Admitted, Rejected>,
) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default().with_index(index);
    let mut state = call.core.state();
    let outcome = batch.and_then(|batch| {
        let stamped = batch.header.is_log_append_time();
        let appended = state.append(topic, index, batch, call.now)?;
        Ok((appended, stamped))
    });
    let log_start = state
        .topics
        .partition(topic, index)
        .map_or(-1, |partition| partition.log.start());
    match outcome {
        Ok((Appended::At { base } | Appended::Duplicate { base }, stamped)) => answer
            .with_base_offset(base)
            .with_log_append_time_ms(if stamped { call.now.unix_ms } else { -1 })
            .with_log_start_offset(log_start),
        Err(Rejected { refusal, record }) => {
            let blamed = record.map(|record| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(record)
                    .with_batch_index_error_message(Some(text(&refusal.message)))
            });
            answer
                .with_error_code(refusal.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1)
                .with_record_errors(if call.version >= 8 {
                    blamed.into_iter().collect()
                } else {
                    Vec::new()
                })
                .with_error_message(if call.version >= 8 {
                    refusal.wire_message()
                } else {
                    None
                })
        }
    }
}
