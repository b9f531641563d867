//! Fetch: read, or wait for something to read.
//!
//! A fetch that found too little is registered with its partitions under the same lock under which it
//! looked, and woken by whatever changes them: an append, a commit, an abort, a deletion. Sessions are
//! declined with session id 0, so every request names all it wants.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::HeaderVersion;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::list_offsets::check_epoch;
use super::{Answer, Call};
use crate::broker::limits;
use crate::broker::log::Isolation;
use crate::broker::state::State;
use crate::broker::wire::fetch_response::{self, PartitionAnswer, TOPIC_IDS, TopicAnswer};

/// What was found at one look.
struct Found {
    topics: Vec<TopicAnswer>,
    bytes: usize,
    /// Something is wrong with a partition: the client should know at once.
    failed: bool,
}

pub async fn fetch(call: &Call<'_>, request: &FetchRequest) -> Answer {
    // Epoch 0 asks for a session and -1 for none; anything else means one that we have never given.
    if request.session_id != 0 || request.session_epoch > 0 {
        return reply(
            call,
            Some(ResponseError::FetchSessionIdNotFound),
            Vec::new(),
        );
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait.min(limits::FETCH_WAIT);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    let waiter = Arc::new(Notify::new());
    let is_empty = request
        .topics
        .iter()
        .all(|topic| topic.partitions.is_empty());
    loop {
        // A part of what there is, so that many who read slowly get less each and nobody gets nothing.
        let room = call.core.answers.available_permits() / 4;
        let min_bytes = min_bytes.min(room.max(1));
        let found = look(
            &mut call.core.state(),
            call.version,
            request,
            min_bytes,
            room,
            &waiter,
        );
        let enough = found.failed || is_empty || found.bytes >= min_bytes;
        if enough || Instant::now() >= deadline {
            return reply(call, None, found.topics);
        }
        // Late or woken, there is another look: what has come in the meantime is worth having.
        timeout_at(deadline, waiter.notified()).await.ok();
    }
}

fn reply(call: &Call<'_>, error: Option<ResponseError>, topics: Vec<TopicAnswer>) -> Answer {
    let mut pieces = call.pieces(FetchResponse::header_version(call.version));
    fetch_response::encode(&mut pieces, call.version, error, topics);
    pieces
        .framed()
        .map_or(Answer::Close(super::TOO_LONG), Answer::Reply)
}

/// Reads what is there. Where it is too little, the waiter is registered.
fn look(
    state: &mut State,
    version: i16,
    request: &FetchRequest,
    min_bytes: usize,
    room: usize,
    waiter: &Arc<Notify>,
) -> Found {
    let mut left = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(limits::FETCH_BYTES)
        .min(room);
    let mut found = Found {
        topics: Vec::new(),
        bytes: 0,
        failed: false,
    };
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for topic in &request.topics {
        let (name, missing) = if version >= TOPIC_IDS {
            (
                state.topics.name_of(topic.topic_id),
                ResponseError::UnknownTopicId,
            )
        } else {
            (
                Some(topic.topic.as_str()),
                ResponseError::UnknownTopicOrPartition,
            )
        };
        let name = name.map(str::to_owned);
        let mut answers = Vec::new();
        for wanted in &topic.partitions {
            if !seen.insert((topic.topic.as_str(), topic.topic_id, wanted.partition)) {
                continue;
            }
            let answer = match &name {
                None => PartitionAnswer::refused(wanted.partition, missing),
                Some(name) => read(
                    state,
                    name,
                    wanted,
                    request.isolation_level,
                    left,
                    found.bytes == 0,
                ),
            };
            let bytes = answer.batches.iter().map(bytes::Bytes::len).sum::<usize>();
            left = left.saturating_sub(bytes);
            found.bytes += bytes;
            found.failed |= answer.error.is_some();
            answers.push(answer);
        }
        found.topics.push(TopicAnswer {
            name: topic.topic.to_string(),
            id: topic.topic_id,
            partitions: answers,
        });
        names.push(name);
    }
    if found.bytes < min_bytes && !found.failed {
        for (topic, name) in request.topics.iter().zip(names) {
            for wanted in &topic.partitions {
                let name = name.as_deref().unwrap_or_default();
                if let Ok(partition) = state.topics.partition_mut(name, wanted.partition) {
                    partition.waiters.register(waiter);
                }
            }
        }
    }
    found
}

/// Reads one partition: a batch that is larger than what was asked for comes whole, if it is the first of
/// all, so that every reader gets on.
fn read(
    state: &State,
    name: &str,
    wanted: &FetchPartition,
    isolation_level: i8,
    left: usize,
    is_first: bool,
) -> PartitionAnswer {
    let refused = |error| PartitionAnswer::refused(wanted.partition, error);
    let log = match state.topics.partition(name, wanted.partition) {
        Ok(partition) => &partition.log,
        Err(error) => return refused(error),
    };
    if let Err(error) = check_epoch(wanted.current_leader_epoch) {
        return refused(error);
    }
    let isolation = Isolation::of(isolation_level);
    let limit = usize::try_from(wanted.partition_max_bytes)
        .unwrap_or(0)
        .min(left);
    match log.read(wanted.fetch_offset, isolation, limit, is_first) {
        Err(error) => refused(error),
        Ok(slice) => {
            let mut answer = PartitionAnswer {
                index: wanted.partition,
                error: None,
                high_watermark: log.end(),
                last_stable_offset: log.last_stable(),
                log_start_offset: log.start(),
                aborted: None,
                batches: Vec::new(),
            };
            answer.take(slice, isolation == Isolation::ReadCommitted);
            answer
        }
    }
}
