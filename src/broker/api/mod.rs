//! From a request to its answer: one function for each, between the wire and the state.
//!
//! Nothing is decided here that a state machine could decide.

mod acls;
mod configs;
mod fetch;
mod group_admin;
mod groups;
mod list_offsets;
mod metadata;
mod offsets;
mod partitions;
mod produce;
mod producers;
mod topics;
mod transactions;

use std::collections::HashSet;
use std::hash::Hash;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, DescribeAclsRequest};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::clock::Now;
use super::limits;
use super::state::Core;
use super::wire::fetch_response::Pieces;
use super::wire::{apis, shapes};

/// What becomes of a request.
#[derive(Debug)]
pub enum Answer {
    /// These bytes, one piece after the other.
    Reply(Vec<Bytes>),
    /// Nothing: a producer that asked for no acknowledgement.
    Nothing,
    /// The request can't be understood, or can't be refused in any other way.
    Close(&'static str),
}

/// A request on its way: who asked what, when.
pub struct Call<'a> {
    pub core: &'a Core,
    pub api: ApiKey,
    pub version: i16,
    correlation_id: i32,
    pub client_id: String,
    pub peer: SocketAddr,
    pub now: Now,
}

const TOO_LONG: &str = "the answer is longer than any may be";

/// The bytes are not a request.
struct Malformed;

/// Answers one request.
pub async fn answer(core: &Core, frame: Bytes, peer: SocketAddr) -> Answer {
    let mut body = frame;
    let Some(call) = read_header(core, &mut body, peer) else {
        return Answer::Close("the request has no header of a known kind");
    };
    if !apis::is_supported(call.api, call.version) {
        if call.api == ApiKey::ApiVersions {
            return call.refuse_api_versions();
        }
        return Answer::Close("the request has a version that was not offered");
    }
    let shape = shapes::of(call.api).expect("every request that is understood has a shape");
    if shape.check(&body, call.version).is_err() {
        return Answer::Close("the request is shorter than it says");
    }
    match dispatch(&call, body).await {
        Ok(answer) => answer,
        Err(Malformed) => Answer::Close("the request can't be decoded"),
    }
}

/// Whether the request in this frame may wait for others before it is answered.
pub fn may_wait(frame: &[u8]) -> bool {
    let key = frame.first_chunk().map(|key| i16::from_be_bytes(*key));
    [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup]
        .iter()
        .any(|api| Some(*api as i16) == key)
}

async fn dispatch(call: &Call<'_>, body: Bytes) -> Result<Answer, Malformed> {
    use ApiKey::*;
    Ok(match call.api {
        Produce => produce::produce(call, call.decode(body)?).await,
        Fetch => fetch::fetch(call, &call.decode(body)?).await,
        ListOffsets => call.reply(&list_offsets::list_offsets(call, &call.decode(body)?).await),
        Metadata => call.reply(&metadata::metadata(call, &call.decode(body)?)),
        OffsetCommit => call.reply(&offsets::offset_commit(call, &call.decode(body)?)),
        OffsetFetch => call.reply(&offsets::offset_fetch(call, &call.decode(body)?)),
        FindCoordinator => call.reply(&metadata::find_coordinator(call, &call.decode(body)?)),
        JoinGroup => call.reply(&groups::join_group(call, call.decode(body)?).await),
        Heartbeat => call.reply(&groups::heartbeat(call, &call.decode(body)?)),
        LeaveGroup => call.reply(&groups::leave_group(call, &call.decode(body)?)),
        SyncGroup => call.reply(&groups::sync_group(call, call.decode(body)?).await),
        DescribeGroups => call.reply(&group_admin::describe_groups(call, &call.decode(body)?)),
        ListGroups => call.reply(&group_admin::list_groups(call, &call.decode(body)?)),
        ApiVersions => call.reply(&apis::advertisement()),
        CreateTopics => call.reply(&topics::create_topics(call, &call.decode(body)?)),
        DeleteTopics => call.reply(&topics::delete_topics(call, &call.decode(body)?)),
        DeleteRecords => call.reply(&partitions::delete_records(call, &call.decode(body)?)),
        InitProducerId => call.reply(&transactions::init_producer_id(call, &call.decode(body)?)),
        OffsetForLeaderEpoch => call.reply(&list_offsets::offset_for_leader_epoch(
            call,
            &call.decode(body)?,
        )),
        AddPartitionsToTxn => call.reply(&transactions::add_partitions(call, &call.decode(body)?)),
        AddOffsetsToTxn => call.reply(&transactions::add_offsets(call, &call.decode(body)?)),
        EndTxn => call.reply(&transactions::end(call, &call.decode(body)?)),
        TxnOffsetCommit => call.reply(&transactions::offset_commit(call, &call.decode(body)?)),
        DescribeAcls => {
            let _: DescribeAclsRequest = call.decode(body)?;
            call.reply(&acls::describe_acls())
        }
        CreateAcls => call.reply(&acls::create_acls(&call.decode(body)?)),
        DeleteAcls => call.reply(&acls::delete_acls(&call.decode(body)?)),
        DescribeConfigs => call.reply(&configs::describe_configs(call, &call.decode(body)?)),
        AlterConfigs => call.reply(&configs::alter_configs(call, &call.decode(body)?)),
        DescribeLogDirs => call.reply(&partitions::describe_log_dirs(call, &call.decode(body)?)),
        CreatePartitions => call.reply(&topics::create_partitions(call, &call.decode(body)?)),
        DeleteGroups => call.reply(&group_admin::delete_groups(call, &call.decode(body)?)),
        IncrementalAlterConfigs => call.reply(&configs::incremental_alter_configs(
            call,
            &call.decode(body)?,
        )),
        OffsetDelete => call.reply(&group_admin::offset_delete(call, &call.decode(body)?)),
        DescribeCluster => call.reply(&metadata::describe_cluster(call, &call.decode(body)?)),
        DescribeProducers => call.reply(&producers::describe_producers(call, &call.decode(body)?)),
        DescribeTransactions => {
            call.reply(&producers::describe_transactions(call, &call.decode(body)?))
        }
        ListTransactions => call.reply(&producers::list_transactions(call, &call.decode(body)?)),
        _ => return Err(Malformed),
    })
}

/// Reads what every request begins with. Tagged fields are skipped: none is known.
fn read_header<'a>(core: &'a Core, body: &mut Bytes, peer: SocketAddr) -> Option<Call<'a>> {
    let api = ApiKey::try_from(body.try_get_i16().ok()?).ok()?;
    let version = body.try_get_i16().ok()?;
    let correlation_id = body.try_get_i32().ok()?;
    let mut client_id = String::new();
    // A version that isn't known has an unknown header as well; it is refused before anything else is read.
    if apis::is_supported(api, version) {
        if let Ok(length) = usize::try_from(body.try_get_i16().ok()?) {
            if length > body.len() {
                return None;
            }
            client_id = String::from_utf8_lossy(&body.split_to(length)).into_owned();
        }
        if api.request_header_version(version) >= 2 {
            for _ in 0..varint(body)? {
                varint(body)?;
                let size = varint(body)? as usize;
                if size > body.len() {
                    return None;
                }
                body.advance(size);
            }
        }
    }
    let now = core.clock.now();
    Some(Call {
        core,
        api,
        version,
        correlation_id,
        client_id,
        peer,
        now,
    })
}

/// Each item once. What a client names again is answered once, as Kafka does, which reads such lists as sets:
/// so no answer is longer than what the broker holds.
fn distinct<'a, T, K: Hash + Eq>(
    items: &'a [T],
    key: impl Fn(&'a T) -> K,
) -> impl Iterator<Item = &'a T> {
    let mut seen = HashSet::new();
    items.iter().filter(move |item| seen.insert(key(item)))
}

fn varint(bytes: &mut Bytes) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl Call<'_> {
    fn decode<R: Decodable>(&self, mut body: Bytes) -> Result<R, Malformed> {
        R::decode(&mut body, self.version).map_err(|_| Malformed)
    }

    /// An answer in one piece.
    fn reply<R: Encodable + HeaderVersion>(&self, response: &R) -> Answer {
        self.reply_as(response, self.version)
    }

    fn reply_as<R: Encodable + HeaderVersion>(&self, response: &R, version: i16) -> Answer {
        let mut pieces = self.pieces(R::header_version(version));
        // Measured before it is written: what is too long must not occupy memory even once.
        let size = response.compute_size(version);
        if size.as_ref().is_ok_and(|size| *size > limits::ANSWER_BYTES) {
            return Answer::Close(TOO_LONG);
        }
        match size.and_then(|_| response.encode(pieces.buffer(), version)) {
            Ok(()) => pieces
                .framed()
                .map_or(Answer::Close(TOO_LONG), Answer::Reply),
            Err(error) => {
                tracing::error!(api = ?self.api, version, %error, "an answer could not be encoded");
                Answer::Close("the answer could not be encoded")
            }
        }
    }

    /// The beginning of an answer.
    fn pieces(&self, header_version: i16) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.buffer().put_i32(self.correlation_id);
        if header_version >= 1 {
            pieces.buffer().put_u8(0);
        }
        pieces
    }

    /// A client that is newer than we are learns from version 0 of the answer what it may use.
    fn refuse_api_versions(&self) -> Answer {
        let refusal: ApiVersionsResponse =
            apis::advertisement().with_error_code(ResponseError::UnsupportedVersion.code());
        self.reply_as(&refusal, 0)
    }
}

#[cfg(test)]
mod tests;
