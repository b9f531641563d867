//! Every shape against the real encoder: a request with something in every array passes to its last byte
//! in every version, and each of its beginnings is refused.

use bytes::BytesMut;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::*;
use crate::broker::wire::apis::APIS;
use crate::broker::wire::text;

fn check<R: Encodable>(api: ApiKey, request: impl Fn(i16) -> R) {
    let (_, first, last) = APIS
        .iter()
        .find(|(key, ..)| *key == api)
        .expect("it is offered");
    for version in *first..=*last {
        let mut body = BytesMut::new();
        request(version)
            .encode(&mut body, version)
            .expect("it encodes");
        let shape = of(api).expect("it has a shape");
        assert_eq!(
            shape.check(&body, version),
            Ok(0),
            "{api:?} {version}: {body:?}"
        );
        for length in 0..body.len() {
            assert!(
                shape.check(&body[..length], version).is_err(),
                "{api:?} {version} cut to {length}"
            );
        }
    }
}

fn name() -> StrBytes {
    text("name")
}

fn topic() -> TopicName {
    TopicName(name())
}

fn id() -> uuid::Uuid {
    uuid::Uuid::from_u128(7)
}

#[test]
fn produce_and_fetch() {
    use fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
    use produce_request::{PartitionProduceData, TopicProduceData};
    check(ApiKey::Produce, |_| {
        let partition = PartitionProduceData::default()
            .with_records(Some(bytes::Bytes::from_static(b"records")));
        let data = TopicProduceData::default()
            .with_name(topic())
            .with_partition_data(vec![partition]);
        ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(name())))
            .with_topic_data(vec![data.clone(), data])
    });
    check(ApiKey::Fetch, |version| {
        let mut wanted = FetchTopic::default().with_partitions(vec![FetchPartition::default(); 2]);
        let mut forgotten = ForgottenTopic::default().with_partitions(vec![1, 2]);
        if version < 13 {
            (wanted.topic, forgotten.topic) = (topic(), topic());
        } else {
            (wanted.topic_id, forgotten.topic_id) = (id(), id());
        }
        let mut request = FetchRequest::default().with_topics(vec![wanted.clone(), wanted]);
        if version >= 7 {
            request.forgotten_topics_data = vec![forgotten];
        }
        if version >= 11 {
            request.rack_id = name();
        }
        if version >= 12 {
            request.cluster_id = Some(name());
        }
        if version >= 15 {
            request.replica_state.replica_epoch = 5;
        }
        request
    });
}

#[test]
fn offsets() {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    check(ApiKey::ListOffsets, |_| {
        let wanted = ListOffsetsTopic::default()
            .with_name(topic())
            .with_partitions(vec![ListOffsetsPartition::default(); 2]);
        ListOffsetsRequest::default().with_topics(vec![wanted])
    });
    check(ApiKey::OffsetForLeaderEpoch, |_| {
        let partitions = vec![OffsetForLeaderPartition::default(); 2];
        let wanted = OffsetForLeaderTopic::default()
            .with_topic(topic())
            .with_partitions(partitions);
        OffsetForLeaderEpochRequest::default().with_topics(vec![wanted])
    });
    check(ApiKey::OffsetCommit, |version| {
        let partition =
            OffsetCommitRequestPartition::default().with_committed_metadata(Some(name()));
        let committed = OffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition; 2]);
        OffsetCommitRequest::default()
            .with_group_id(GroupId(name()))
            .with_member_id(name())
            .with_group_instance_id((version >= 7).then(name))
            .with_topics(vec![committed])
    });
    check(ApiKey::OffsetFetch, |version| {
        let request = OffsetFetchRequest::default();
        if version < 8 {
            let wanted = OffsetFetchRequestTopic::default()
                .with_name(topic())
                .with_partition_indexes(vec![1, 2]);
            return request
                .with_group_id(GroupId(name()))
                .with_topics(Some(vec![wanted]));
        }
        let wanted = OffsetFetchRequestTopics::default()
            .with_name(topic())
            .with_partition_indexes(vec![1, 2]);
        let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(name()));
        request.with_groups(vec![
            group.clone().with_topics(Some(vec![wanted])),
            group.with_topics(None),
        ])
    });
}

#[test]
fn groups() {
    use join_group_request::JoinGroupRequestProtocol;
    use leave_group_request::MemberIdentity;
    use sync_group_request::SyncGroupRequestAssignment;
    let group = || GroupId(name());
    check(ApiKey::FindCoordinator, |version| {
        let request = FindCoordinatorRequest::default();
        if version < 4 {
            request.with_key(name())
        } else {
            request.with_coordinator_keys(vec![name(); 2])
        }
    });
    check(ApiKey::JoinGroup, |version| {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(name())
            .with_metadata(bytes::Bytes::from_static(b"m"));
        JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(name())
            .with_group_instance_id((version >= 5).then(name))
            .with_protocol_type(name())
            .with_protocols(vec![protocol; 2])
            .with_reason((version >= 8).then(name))
    });
    check(ApiKey::SyncGroup, |version| {
        let given = SyncGroupRequestAssignment::default().with_member_id(name());
        SyncGroupRequest::default()
            .with_group_id(group())
            .with_member_id(name())
            .with_group_instance_id((version >= 3).then(name))
            .with_protocol_type((version >= 5).then(name))
            .with_assignments(vec![given; 2])
    });
    check(ApiKey::Heartbeat, |version| {
        HeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(name())
            .with_group_instance_id((version >= 3).then(name))
    });
    check(ApiKey::LeaveGroup, |version| {
        let request = LeaveGroupRequest::default().with_group_id(group());
        let member = MemberIdentity::default()
            .with_member_id(name())
            .with_group_instance_id(Some(name()));
        if version < 3 {
            request.with_member_id(name())
        } else {
            request.with_members(vec![member; 2])
        }
    });
    check(ApiKey::DescribeGroups, |_| {
        DescribeGroupsRequest::default().with_groups(vec![group(); 2])
    });
    check(ApiKey::DeleteGroups, |_| {
        DeleteGroupsRequest::default().with_groups_names(vec![group(); 2])
    });
    check(ApiKey::ListGroups, |version| {
        let filter = |since| {
            if version >= since {
                vec![name(); 2]
            } else {
                vec![]
            }
        };
        ListGroupsRequest::default()
            .with_states_filter(filter(4))
            .with_types_filter(filter(5))
    });
    check(ApiKey::OffsetDelete, |_| {
        use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
        let partitions = vec![OffsetDeleteRequestPartition::default(); 2];
        let topics = vec![
            OffsetDeleteRequestTopic::default()
                .with_name(topic())
                .with_partitions(partitions),
        ];
        OffsetDeleteRequest::default()
            .with_group_id(group())
            .with_topics(topics)
    });
}

#[test]
fn topics_and_configs() {
    use create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    use create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    use delete_topics_request::DeleteTopicState;
    use describe_log_dirs_request::DescribableLogDirTopic;
    use metadata_request::MetadataRequestTopic;
    check(ApiKey::Metadata, |version| {
        let wanted = MetadataRequestTopic::default().with_name(Some(topic()));
        let by_id = MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(id());
        let topics = if version >= 12 {
            vec![wanted, by_id]
        } else {
            vec![wanted]
        };
        MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(true)
    });
    check(ApiKey::CreateTopics, |_| {
        let assignment =
            CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1); 2]);
        let config = CreatableTopicConfig::default()
            .with_name(name())
            .with_value(None);
        let created = CreatableTopic::default()
            .with_name(topic())
            .with_assignments(vec![assignment; 2])
            .with_configs(vec![config; 2]);
        CreateTopicsRequest::default().with_topics(vec![created; 2])
    });
    check(ApiKey::CreatePartitions, |_| {
        let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
        let wanted = CreatePartitionsTopic::default()
            .with_name(topic())
            .with_assignments(Some(vec![assignment; 2]));
        CreatePartitionsRequest::default().with_topics(vec![wanted; 2])
    });
    check(ApiKey::DeleteTopics, |version| {
        let request = DeleteTopicsRequest::default();
        let state = DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(id());
        if version < 6 {
            request.with_topic_names(vec![topic(); 2])
        } else {
            request.with_topics(vec![state; 2])
        }
    });
    check(ApiKey::DeleteRecords, |_| {
        let partitions = vec![DeleteRecordsPartition::default(); 2];
        let wanted = DeleteRecordsTopic::default()
            .with_name(topic())
            .with_partitions(partitions);
        DeleteRecordsRequest::default().with_topics(vec![wanted])
    });
    check(ApiKey::DescribeLogDirs, |_| {
        let wanted = DescribableLogDirTopic::default()
            .with_topic(topic())
            .with_partitions(vec![1, 2]);
        DescribeLogDirsRequest::default().with_topics(Some(vec![wanted]))
    });
    check(ApiKey::DescribeConfigs, |_| {
        let resource = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_name(name())
            .with_configuration_keys(Some(vec![name(); 2]));
        DescribeConfigsRequest::default().with_resources(vec![resource; 2])
    });
    check(ApiKey::AlterConfigs, |_| {
        let config = alter_configs_request::AlterableConfig::default().with_name(name());
        let resource =
            alter_configs_request::AlterConfigsResource::default().with_configs(vec![config; 2]);
        AlterConfigsRequest::default().with_resources(vec![resource; 2])
    });
    check(ApiKey::IncrementalAlterConfigs, |_| {
        let config =
            incremental_alter_configs_request::AlterableConfig::default().with_name(name());
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_configs(vec![config; 2]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource; 2])
    });
    check(ApiKey::DescribeCluster, |_| {
        DescribeClusterRequest::default()
    });
}

#[test]
fn transactions() {
    use add_partitions_to_txn_request::AddPartitionsToTxnTopic;
    use txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
    let transactional_id = || TransactionalId(name());
    check(ApiKey::InitProducerId, |_| {
        InitProducerIdRequest::default().with_transactional_id(Some(transactional_id()))
    });
    check(ApiKey::AddPartitionsToTxn, |_| {
        let added = AddPartitionsToTxnTopic::default()
            .with_name(topic())
            .with_partitions(vec![1, 2]);
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id())
            .with_v3_and_below_topics(vec![added; 2])
    });
    check(ApiKey::AddOffsetsToTxn, |_| {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_group_id(GroupId(name()))
    });
    check(ApiKey::EndTxn, |_| {
        EndTxnRequest::default().with_transactional_id(transactional_id())
    });
    check(ApiKey::TxnOffsetCommit, |version| {
        let partition =
            TxnOffsetCommitRequestPartition::default().with_committed_metadata(Some(name()));
        let committed = TxnOffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![partition; 2]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(transactional_id())
            .with_group_id(GroupId(name()))
            .with_topics(vec![committed]);
        if version >= 3 {
            request
                .with_member_id(name())
                .with_group_instance_id(Some(name()))
        } else {
            request
        }
    });
    check(ApiKey::ApiVersions, |version| {
        let request = ApiVersionsRequest::default();
        if version >= 3 {
            request
                .with_client_software_name(name())
                .with_client_software_version(name())
        } else {
            request
        }
    });
    check(ApiKey::DescribeProducers, |_| {
        let wanted = describe_producers_request::TopicRequest::default()
            .with_name(topic())
            .with_partition_indexes(vec![1, 2]);
        DescribeProducersRequest::default().with_topics(vec![wanted; 2])
    });
    check(ApiKey::DescribeTransactions, |_| {
        DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional_id(); 2])
    });
    check(ApiKey::DescribeAcls, |_| {
        DescribeAclsRequest::default()
            .with_resource_name_filter(Some(name()))
            .with_principal_filter(Some(name()))
            .with_host_filter(Some(name()))
    });
    check(ApiKey::CreateAcls, |_| {
        let creation = create_acls_request::AclCreation::default()
            .with_resource_name(name())
            .with_principal(name())
            .with_host(name());
        CreateAclsRequest::default().with_creations(vec![creation; 2])
    });
    check(ApiKey::DeleteAcls, |_| {
        let filter = delete_acls_request::DeleteAclsFilter::default()
            .with_resource_name_filter(Some(name()))
            .with_host_filter(Some(name()));
        DeleteAclsRequest::default().with_filters(vec![filter; 2])
    });
    check(ApiKey::ListTransactions, |_| {
        ListTransactionsRequest::default()
            .with_state_filters(vec![name(); 2])
            .with_producer_id_filters(vec![ProducerId(1); 2])
    });
}
