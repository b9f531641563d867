//! Members and committed offsets.

use super::*;

async fn join(core: &Core, version: i16, of: &str) -> JoinGroupResponse {
    use join_group_request::JoinGroupRequestProtocol;
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(group(of))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version >= 1 { 10_000 } else { -1 })
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let first = ask(core, version, request.clone()).await;
    if first.error_code != 79 {
        return first;
    }
    ask(core, version, request.with_member_id(first.member_id)).await
}

#[tokio::test]
async fn member_lives_and_is_seen_in_every_version() {
    use leave_group_request::MemberIdentity;
    use sync_group_request::SyncGroupRequestAssignment;
    let core = core();
    for version in versions::<JoinGroupRequest>() {
        let of = format!("g-{version}");
        let joined = join(&core, version, &of).await;
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        let member = joined.member_id;
        let given = SyncGroupRequestAssignment::default()
            .with_member_id(member.clone())
            .with_assignment(Bytes::from_static(b"work"));
        let request = SyncGroupRequest::default()
            .with_group_id(group(&of))
            .with_generation_id(1)
            .with_member_id(member.clone())
            .with_assignments(vec![given]);
        let synced = ask(&core, version.min(5), request).await;
        assert_eq!(
            (synced.error_code, synced.assignment),
            (0, Bytes::from_static(b"work"))
        );
        let beat = HeartbeatRequest::default()
            .with_group_id(group(&of))
            .with_generation_id(1)
            .with_member_id(member.clone());
        assert_eq!(ask(&core, version.min(4), beat).await.error_code, 0);
        let describe =
            DescribeGroupsRequest::default().with_groups(vec![group(&of), group("nobody")]);
        let described = ask(&core, version.min(5), describe).await;
        assert_eq!(
            described.groups[0].members[0].member_assignment,
            Bytes::from_static(b"work")
        );
        assert_eq!(
            described.groups[1].group_state,
            StrBytes::from_static_str("Dead")
        );
        let listed = ask(&core, version.min(5), ListGroupsRequest::default()).await;
        assert_eq!(listed.groups.len(), 1);
        let leave = LeaveGroupRequest::default().with_group_id(group(&of));
        let left = match version.min(5) {
            0..3 => ask(&core, version, leave.with_member_id(member)).await,
            newer => {
                let member = MemberIdentity::default().with_member_id(member);
                ask(&core, newer, leave.with_members(vec![member])).await
            }
        };
        assert_eq!(left.error_code, 0);
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(&of)]);
        assert_eq!(
            ask(&core, version.min(2), delete).await.results[0].error_code,
            0
        );
    }
}

fn commit(offset: i64) -> OffsetCommitRequest {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group("g"))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

#[tokio::test]
async fn group_without_a_name_has_offsets_but_no_members() {
    let core = with_topic().await;
    let answer = ask(&core, 8, commit(7).with_group_id(group(""))).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    let fetch = OffsetFetchRequest::default().with_topics(None);
    let answer = ask(&core, 5, fetch).await;
    assert_eq!(answer.topics[0].partitions[0].committed_offset, 7);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group("")]);
    let answer = ask(&core, 5, describe).await;
    assert_eq!(answer.groups[0].group_state.as_str(), "Empty");
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("")]);
    assert_eq!(ask(&core, 2, delete).await.results[0].error_code, 0);
    assert_eq!(join(&core, 9, "").await.error_code, 24);
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_in_every_version() {
    use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let core = with_topic().await;
    for version in versions::<OffsetCommitRequest>() {
        let answer = ask(&core, version, commit(i64::from(version))).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        for fetch_version in versions::<OffsetFetchRequest>() {
            assert_eq!(
                committed(&core, fetch_version, false).await,
                (i64::from(version), 0)
            );
        }
    }
    for version in 2..=8 {
        let everything = OffsetFetchRequest::default();
        let everything = if version < 8 {
            everything.with_group_id(group("g")).with_topics(None)
        } else {
            let wanted =
                offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group("g"));
            everything.with_groups(vec![wanted.with_topics(None)])
        };
        let answer = ask(&core, version, everything).await;
        let count = if version < 8 {
            answer.topics.len()
        } else {
            answer.groups[0].topics.len()
        };
        assert_eq!(count, 1);
    }
    let partition = OffsetDeleteRequestPartition::default();
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default()
        .with_group_id(group("g"))
        .with_topics(vec![topic]);
    assert_eq!(
        ask(&core, 0, request).await.topics[0].partitions[0].error_code,
        0
    );
    assert_eq!(committed(&core, 8, false).await, (-1, 0));
}
