//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: the life of a member.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use tokio::sync::oneshot;

use super::Call;
use crate::broker::groups::check_id;
use crate::broker::groups::requests::{Caller, Join, JoinAnswer, NotJoined, Sync, SyncAnswer};
use crate::broker::limits;
use crate::broker::refusal::code;
use crate::broker::wire::text;

/// The first versions of JoinGroup that can do what their names say.
const MEMBER_ID_REQUIRED: i16 = 4;
const NULLABLE_PROTOCOL: i16 = 7;
const SKIP_ASSIGNMENT: i16 = 9;

pub async fn join_group(call: &Call<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let member_id = request.member_id.to_string();
    let waiting = begin_join(call, request);
    let answer = match waiting {
        Ok(waiting) => waiting.await.unwrap_or(Err(NotJoined {
            // Nobody will answer: the group was deleted, or the member has asked again.
            error: ResponseError::UnknownMemberId,
            member_id: member_id.clone(),
        })),
        Err(error) => Err(NotJoined { error, member_id }),
    };
    match answer {
        Err(refused) => JoinGroupResponse::default()
            .with_error_code(refused.error.code())
            .with_generation_id(-1)
            .with_member_id(text(&refused.member_id))
            .with_protocol_type(None)
            .with_protocol_name((call.version < NULLABLE_PROTOCOL).then(|| text(""))),
        Ok(joined) => {
            let members = joined.members.into_iter().map(|(id, instance, metadata)| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(&id))
                    .with_group_instance_id(
                        instance.as_deref().filter(|_| call.version >= 5).map(text),
                    )
                    .with_metadata(metadata)
            });
            JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_type(Some(text(&joined.protocol_type)))
                .with_protocol_name(Some(text(&joined.protocol)))
                .with_leader(text(&joined.leader))
                .with_skip_assignment(joined.skip_assignment)
                .with_member_id(text(&joined.member_id))
                .with_members(members.collect())
        }
    }
}

fn begin_join(
    call: &Call<'_>,
    request: JoinGroupRequest,
) -> Result<oneshot::Receiver<JoinAnswer>, ResponseError> {
    check_id(&request.group_id)?;
    if !limits::SESSION_TIMEOUT_MS.contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    if call.client_id.len() > limits::ID_BYTES || request.member_id.len() > 2 * limits::ID_BYTES {
        return Err(ResponseError::InvalidRequest);
    }
    let milliseconds = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let session_timeout = milliseconds(request.session_timeout_ms);
    // Version 0 has one timeout for both.
    let rebalance_timeout = if call.version >= 1 {
        milliseconds(request.rebalance_timeout_ms)
    } else {
        session_timeout
    };
    let copied = |metadata: &Bytes| Bytes::copy_from_slice(metadata);
    let join = Join {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id: call.client_id.clone(),
        client_host: format!("/{}", call.peer.ip()),
        session_timeout,
        rebalance_timeout: rebalance_timeout.min(limits::REBALANCE_TIMEOUT),
        protocol_type: request.protocol_type.to_string(),
        // Copies, so that the request can be let go.
        protocols: request
            .protocols
            .iter()
            .map(|said| (said.name.to_string(), copied(&said.metadata)))
            .collect(),
        takes_id_first: call.version >= MEMBER_ID_REQUIRED,
        may_skip_assignment: call.version >= SKIP_ASSIGNMENT,
    };
    let mut state = call.core.state();
    // Only a member without an id may make a group.
    if !join.member_id.is_empty() && state.groups.get(&request.group_id).is_none() {
        return Err(ResponseError::UnknownMemberId);
    }
    let (answer, waiting) = oneshot::channel();
    state
        .groups
        .joined_by(&request.group_id, &join)?
        .join(&join, answer, call.now);
    Ok(waiting)
}

pub async fn sync_group(call: &Call<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let waiting = begin_sync(call, &request);
    // Its bytes are not held while it waits.
    drop(request);
    let outcome = match waiting {
        Ok(waiting) => waiting.await.unwrap_or(Err(ResponseError::UnknownMemberId)),
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(&synced.protocol_type)))
            .with_protocol_name(Some(text(&synced.protocol)))
            .with_assignment(synced.assignment),
    }
}

fn begin_sync(
    call: &Call<'_>,
    request: &SyncGroupRequest,
) -> Result<oneshot::Receiver<SyncAnswer>, ResponseError> {
    let assignments = request.assignments.iter();
    let sync = Sync {
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments
            .map(|given| (given.member_id.to_string(), given.assignment.clone()))
            .collect(),
    };
    let caller = Caller {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
    };
    let mut state = call.core.state();
    let membership = state.groups.synced_by(&request.group_id, &sync)?;
    let (answer, waiting) = oneshot::channel();
    membership.sync(caller, sync, answer, call.now);
    Ok(waiting)
}

pub fn heartbeat(call: &Call<'_>, request: &HeartbeatRequest) -> HeartbeatResponse {
    let caller = Caller {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
    };
    let outcome = check_id(&request.group_id).and_then(|()| {
        let mut state = call.core.state();
        let group = state
            .groups
            .get_mut(&request.group_id)
            .ok_or(ResponseError::UnknownMemberId)?;
        group
            .membership
            .heartbeat(caller, request.generation_id, call.now)
    });
    HeartbeatResponse::default().with_error_code(code(&outcome))
}

pub fn leave_group(call: &Call<'_>, request: &LeaveGroupRequest) -> LeaveGroupResponse {
    if let Err(error) = check_id(&request.group_id) {
        return LeaveGroupResponse::default().with_error_code(error.code());
    }
    let mut state = call.core.state();
    let mut leave = |member: &MemberIdentity| {
        let caller = Caller {
            member_id: &member.member_id,
            instance_id: member.group_instance_id.as_deref(),
        };
        let group = state
            .groups
            .get_mut(&request.group_id)
            .ok_or(ResponseError::UnknownMemberId)?;
        group.membership.leave(caller, call.now)
    };
    if call.version < 3 {
        let only = MemberIdentity::default().with_member_id(request.member_id.clone());
        return LeaveGroupResponse::default().with_error_code(code(&leave(&only)));
    }
    let members = request.members.iter().map(|member| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code(&leave(member)))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
