//! One member of a group.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::requests::{Join, JoinAnswer, SyncAnswer, member_bytes};
use crate::broker::clock::Now;
use crate::broker::limits;

/// A member, with the answers it waits for.
#[derive(Debug)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    /// Whoever joined first leads.
    pub order: u64,
    /// It has never been in a generation.
    pub is_new: bool,
    deadline: Duration,
    join: Option<oneshot::Sender<JoinAnswer>>,
    sync: Option<oneshot::Sender<SyncAnswer>>,
}

impl Member {
    pub fn new(id: String, join: &Join, order: u64, now: Now) -> Member {
        Member {
            id,
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            order,
            is_new: true,
            deadline: now.elapsed + limits::NEW_MEMBER_JOIN,
            join: None,
            sync: None,
        }
    }

    /// Takes over what a member says when it joins again.
    pub fn update(&mut self, join: &Join) {
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
        self.protocols.clone_from(&join.protocols);
    }

    /// What it occupies, its assignment left out.
    pub fn bytes(&self) -> usize {
        member_bytes(
            self.instance_id.as_deref(),
            &self.client_id,
            &self.protocols,
        )
    }

    pub fn metadata(&self, protocol: &str) -> Bytes {
        let said = self.protocols.iter().find(|(name, _)| name == protocol);
        said.map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    /// It has given a sign of life.
    pub fn touch(&mut self, now: Now) {
        self.deadline = now.elapsed + self.session_timeout;
    }

    /// Whether nothing has been heard of it for too long. A member that waits for us is alive, except that
    /// a new one, which may have gone before its first answer, isn't waited for endlessly.
    pub fn has_expired(&self, now: Now) -> bool {
        let waits = self.join.is_some() || self.sync.is_some();
        now.has_reached(self.deadline) && (self.is_new || !waits)
    }

    pub fn await_join(&mut self, answer: oneshot::Sender<JoinAnswer>) {
        self.join = Some(answer);
    }

    pub fn await_sync(&mut self, answer: oneshot::Sender<SyncAnswer>) {
        self.sync = Some(answer);
    }

    pub fn is_joining(&self) -> bool {
        self.join.is_some()
    }

    /// Answers a join, if one waits. Nobody may be there any more to hear it.
    pub fn answer_join(&mut self, answer: JoinAnswer) {
        if let Some(waiting) = self.join.take() {
            waiting.send(answer).ok();
        }
    }

    /// Answers a sync, if one waits; says whether one did.
    pub fn answer_sync(&mut self, answer: SyncAnswer) -> bool {
        let Some(waiting) = self.sync.take() else {
            return false;
        };
        waiting.send(answer).ok();
        true
    }
}
