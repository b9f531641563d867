//! What no client would send.

use super::*;

#[tokio::test]
async fn requests_that_make_no_sense_close_the_connection() {
    let core = core();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut unknown_api = BytesMut::new();
    unknown_api.put_i16(999);
    unknown_api.put_slice(&[0; 20]);
    let mut old_version = BytesMut::new();
    old_version.put_i16(ApiKey::Produce as i16);
    old_version.put_slice(&[0; 20]);
    let mut huge_count = BytesMut::new();
    huge_count.put_i16(ApiKey::Metadata as i16);
    huge_count.put_slice(&[0, 1, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    for frame in [
        unknown_api,
        old_version,
        huge_count,
        BytesMut::zeroed(8),
        BytesMut::new(),
    ] {
        assert!(matches!(
            answer(&core, frame.freeze(), peer).await,
            Answer::Close(_)
        ));
    }
}

/// The bytes of the answer, whatever it says.
async fn size<R: Request>(core: &Core, version: i16, request: R) -> usize {
    match ask_raw(core, version, request).await {
        Answer::Reply(pieces) => pieces.iter().map(Bytes::len).sum(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn name_that_is_repeated_is_answered_once() {
    let core = with_topic().await;
    let producer = Draft::sized(1).producer(7, 0, 0);
    ask(&core, 7, produce("t", &producer)).await;
    const TIMES: usize = 1000;
    let groups = DescribeGroupsRequest::default().with_groups(vec![group("g"); TIMES]);
    assert!(size(&core, 5, groups).await < 100);
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configuration_keys(None);
    let configs = DescribeConfigsRequest::default().with_resources(vec![resource; TIMES]);
    assert!(size(&core, 4, configs).await < 10_000);
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name("t")));
    let metadata = MetadataRequest::default().with_topics(Some(vec![topic; TIMES]));
    assert!(size(&core, 12, metadata).await < 200);
    let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0; TIMES]);
    let wanted = offset_fetch_request::OffsetFetchRequestGroup::default()
        .with_group_id(group("g"))
        .with_topics(Some(vec![topic; 2]));
    let offsets = OffsetFetchRequest::default().with_groups(vec![wanted; 2]);
    assert!(size(&core, 8, offsets).await < 200);
    let topic = describe_producers_request::TopicRequest::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0; TIMES]);
    let producers = DescribeProducersRequest::default().with_topics(vec![topic; 2]);
    assert!(size(&core, 0, producers).await < 200);
    let ids = vec![TransactionalId(text("id")); TIMES];
    let transactions = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    assert!(size(&core, 0, transactions).await < 100);
    let topic = describe_log_dirs_request::DescribableLogDirTopic::default()
        .with_topic(name("t"))
        .with_partitions(vec![0; TIMES]);
    let dirs = DescribeLogDirsRequest::default().with_topics(Some(vec![topic; 2]));
    assert!(size(&core, 4, dirs).await < 200);
}

#[tokio::test]
async fn question_about_new_topics_is_told_no_more_than_could_be_created() {
    let core = core();
    let topics = (0..6000)
        .map(|n| create(&format!("t-{n}"), &[]).topics.remove(0))
        .collect();
    let request = CreateTopicsRequest::default()
        .with_validate_only(true)
        .with_topics(topics);
    let answer = ask(&core, 7, request).await;
    let good = answer.topics.iter().filter(|topic| topic.error_code == 0);
    assert_eq!(good.count(), crate::broker::limits::PARTITIONS);
}

proptest::proptest! {
    /// The header is right and the rest is anything: never a panic, never a hang.
    #[test]
    fn any_body_is_answered_or_refused(api in 0..apis::APIS.len(), version in 0..16_i16, body: Vec<u8>) {
        let (api, first, last) = apis::APIS[api];
        let mut frame = BytesMut::new();
        frame.put_i16(api as i16);
        frame.put_i16(first + version % (last - first + 1));
        frame.put_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        frame.put_slice(&body);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let core = core();
            let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let limit = std::time::Duration::from_millis(200);
            // A join may wait for others, which is the group's business.
            tokio::time::timeout(limit, answer(&core, frame.freeze(), peer)).await.ok();
        });
    }
}
