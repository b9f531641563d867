//! Metadata, coordinators, versions, topics and their settings.

use super::*;

#[tokio::test]
async fn metadata_answers_by_name_and_id() {
    use metadata_request::MetadataRequestTopic;
    let core = with_topic().await;
    for version in versions::<MetadataRequest>() {
        let by_name = |of| MetadataRequestTopic::default().with_name(Some(name(of)));
        let request = MetadataRequest::default().with_topics(Some(vec![
            by_name("t"),
            by_name("u"),
            by_name("?"),
        ]));
        let answer = ask(&core, version, request.with_allow_auto_topic_creation(true)).await;
        let errors: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(errors, [0, 3, 17]);
        assert_eq!(
            (answer.brokers[0].port, answer.topics[0].partitions.len()),
            (9092, 1)
        );
        let everything = if version == 0 { Some(vec![]) } else { None };
        let all = MetadataRequest::default()
            .with_topics(everything)
            .with_allow_auto_topic_creation(true);
        assert_eq!(ask(&core, version, all).await.topics.len(), 1);
    }
    let id = core.state().topics.get("t").expect("it exists").id;
    let by_id = |id| {
        MetadataRequestTopic::default()
            .with_name(None)
            .with_topic_id(id)
    };
    let request =
        MetadataRequest::default().with_topics(Some(vec![by_id(id), by_id(uuid::Uuid::new_v4())]));
    let answer = ask(&core, 12, request).await;
    assert_eq!(
        (answer.topics[0].error_code, answer.topics[1].error_code),
        (0, 100)
    );
    for version in versions::<DescribeClusterRequest>() {
        assert_eq!(
            ask(&core, version, DescribeClusterRequest::default())
                .await
                .brokers
                .len(),
            1
        );
    }
    for version in versions::<FindCoordinatorRequest>() {
        let request = FindCoordinatorRequest::default();
        let one = if version < 4 {
            request.with_key(text("g"))
        } else {
            request.with_coordinator_keys(vec![text("g")])
        };
        let answer = ask(&core, version, one).await;
        let port = if version < 4 {
            answer.port
        } else {
            answer.coordinators[0].port
        };
        assert_eq!(port, 9092);
    }
    for version in versions::<ApiVersionsRequest>() {
        assert!(
            ask(&core, version, ApiVersionsRequest::default())
                .await
                .api_keys
                .len()
                > 30
        );
    }
}

#[tokio::test]
async fn newer_api_versions_is_told_what_there_is() {
    let core = core();
    let mut frame = BytesMut::new();
    for part in [18_i16, 99] {
        frame.put_i16(part);
    }
    frame.put_i32(77);
    frame.put_slice(&[0xff; 9]);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let Answer::Reply(pieces) = answer(&core, frame.freeze(), peer).await else {
        panic!("no answer")
    };
    let mut bytes = Bytes::from(pieces.concat()).slice(8..);
    let response = ApiVersionsResponse::decode(&mut bytes, 0).expect("version 0");
    assert_eq!((response.error_code, bytes.len()), (35, 0));
    assert!(response.api_keys.len() > 30);
}

#[tokio::test]
async fn access_control_is_said_to_be_off_in_every_version() {
    const SECURITY_DISABLED: i16 = 54;
    let core = core();
    for version in versions::<DescribeAclsRequest>() {
        let described = ask(&core, version, DescribeAclsRequest::default()).await;
        let create = CreateAclsRequest::default().with_creations(vec![Default::default(); 2]);
        let created = ask(&core, version, create).await;
        let delete = DeleteAclsRequest::default().with_filters(vec![Default::default()]);
        let deleted = ask(&core, version, delete).await;
        let codes = [
            described.error_code,
            created.results[1].error_code,
            deleted.filter_results[0].error_code,
        ];
        assert_eq!(codes, [SECURITY_DISABLED; 3]);
    }
}

#[tokio::test]
async fn topics_are_created_altered_and_deleted_in_every_version() {
    use create_partitions_request::CreatePartitionsTopic;
    use delete_topics_request::DeleteTopicState;
    let core = core();
    for version in versions::<CreateTopicsRequest>() {
        let topic = format!("t-{version}");
        let validated = create(&topic, &[]).with_validate_only(true);
        assert_eq!(ask(&core, version, validated).await.topics[0].error_code, 0);
        let created = ask(
            &core,
            version,
            create(&topic, &[("cleanup.policy", "compact")]),
        )
        .await;
        assert_eq!(created.topics[0].error_code, 0);
        let again = ask(&core, version, create(&topic, &[])).await;
        assert_eq!(again.topics[0].error_code, 36);
        let unknown = ask(&core, version, create("v", &[("no.such.setting", "1")])).await;
        assert_eq!(unknown.topics[0].error_code, 40);
        assert!(
            unknown.topics[0]
                .error_message
                .as_ref()
                .is_some_and(|message| message.contains("no.such.setting"))
        );
    }
    for (count, version) in (2..).zip(versions::<CreatePartitionsRequest>()) {
        let topic = CreatePartitionsTopic::default()
            .with_name(name("t-2"))
            .with_count(count)
            .with_assignments(None);
        let answer = ask(
            &core,
            version,
            CreatePartitionsRequest::default().with_topics(vec![topic]),
        )
        .await;
        assert_eq!(answer.results[0].error_code, 0);
    }
    assert_eq!(
        core.state()
            .topics
            .get("t-2")
            .expect("it exists")
            .partitions
            .len(),
        5
    );
    for version in versions::<DeleteTopicsRequest>() {
        let topic = format!("t-{}", version + 1);
        let by_name = DeleteTopicState::default().with_name(Some(name(&topic)));
        let request = DeleteTopicsRequest::default();
        let request = if version < 6 {
            request.with_topic_names(vec![name(&topic)])
        } else {
            request.with_topics(vec![by_name])
        };
        assert_eq!(
            ask(&core, version, request).await.responses[0].error_code,
            0
        );
    }
    assert_eq!(core.state().topics.iter().count(), 0);
}

#[tokio::test]
async fn settings_are_described_and_altered_in_every_version() {
    let core = with_topic().await;
    for version in versions::<DescribeConfigsRequest>() {
        for (resource, of) in [(2, "t"), (4, "1"), (4, "")] {
            let resource = describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(resource)
                .with_resource_name(text(of))
                .with_configuration_keys(None);
            let request = DescribeConfigsRequest::default()
                .with_resources(vec![resource])
                .with_include_synonyms(true);
            let answer = ask(
                &core,
                version,
                request.with_include_documentation(version >= 3),
            )
            .await;
            assert_eq!(answer.results[0].error_code, 0);
            assert_eq!(answer.results[0].configs.is_empty(), of.is_empty());
        }
    }
    let retention = |core: &Core| {
        core.state()
            .topics
            .get("t")
            .expect("it exists")
            .config
            .retention(0)
            .age_ms
    };
    for (value, version) in (5..).zip(versions::<IncrementalAlterConfigsRequest>()) {
        let config = incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text(&value.to_string())));
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        assert_eq!(
            ask(&core, version, request).await.responses[0].error_code,
            0
        );
        assert_eq!(retention(&core), Some(value));
    }
    for version in versions::<AlterConfigsRequest>() {
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"));
        let answer = ask(
            &core,
            version,
            AlterConfigsRequest::default().with_resources(vec![resource]),
        )
        .await;
        assert_eq!(answer.responses[0].error_code, 0);
        assert_eq!(retention(&core), Some(604_800_000));
    }
}
