//! What members ask and what they are told, apart from the wire.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

/// What a member costs beside what it says, and each protocol beside its name and metadata.
pub const MEMBER_OVERHEAD: usize = 512;
const PROTOCOL_OVERHEAD: usize = 64;

/// What a member occupies, its assignment left out.
pub fn member_bytes(
    instance_id: Option<&str>,
    client_id: &str,
    protocols: &[(String, Bytes)],
) -> usize {
    let said = protocols.iter();
    let said: usize = said
        .map(|(name, metadata)| PROTOCOL_OVERHEAD + name.len() + metadata.len())
        .sum();
    // The member's id begins with one of the other two.
    MEMBER_OVERHEAD + 2 * instance_id.map_or(0, str::len) + 2 * client_id.len() + said
}

/// A member as it identifies itself in a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Empty before it has been given an id.
    pub member_id: &'a str,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<&'a str>,
}

/// A JoinGroup request.
#[derive(Clone, Debug)]
pub struct Join {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    /// Assignment strategies and what the member says under each, best liked first.
    pub protocols: Vec<(String, Bytes)>,
    /// The client knows MEMBER_ID_REQUIRED: it is given an id first and joins with it.
    pub takes_id_first: bool,
    /// The client knows the field `skip_assignment`.
    pub may_skip_assignment: bool,
}

impl Join {
    /// What a member that says this occupies.
    pub fn bytes(&self) -> usize {
        member_bytes(
            self.instance_id.as_deref(),
            &self.client_id,
            &self.protocols,
        )
    }
}

/// A SyncGroup request.
#[derive(Clone, Debug)]
pub struct Sync {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// From the leader: what each member is to do.
    pub assignments: Vec<(String, Bytes)>,
}

impl Sync {
    /// What the assignments occupy.
    pub fn bytes(&self) -> usize {
        self.assignments.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// The answer to a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub member_id: String,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub skip_assignment: bool,
    /// For the leader: id, instance id and metadata of every member.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// A join that was refused, and the member id that the answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotJoined {
    pub error: ResponseError,
    pub member_id: String,
}

/// The answer to a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

pub type JoinAnswer = Result<Joined, NotJoined>;
pub type SyncAnswer = Result<Synced, ResponseError>;
