//! Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords, DescribeLogDirs.

use super::*;

#[tokio::test]
async fn produced_records_are_fetched_in_every_version() {
    use fetch_request::{FetchPartition, FetchTopic};
    let core = with_topic().await;
    let id = core.state().topics.get("t").expect("it exists").id;
    for (base, version) in (0..).zip(versions::<ProduceRequest>()) {
        let answer = ask(&core, version, produce("t", &Draft::sized(1))).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, base));
        let refused = ask(&core, version, produce("nowhere", &Draft::sized(1))).await;
        assert_eq!(refused.responses[0].partition_responses[0].error_code, 3);
        let too_long = ask(&core, version, produce("t", &Draft::sized(200_000))).await;
        assert_eq!(too_long.responses[0].partition_responses[0].error_code, 10);
    }
    for version in versions::<FetchRequest>() {
        let wanted = |topic: &str, id| {
            let partition = FetchPartition::default().with_partition_max_bytes(1);
            let wanted = FetchTopic::default().with_partitions(vec![partition]);
            let wanted = if version < 13 {
                wanted.with_topic(name(topic))
            } else {
                wanted.with_topic_id(id)
            };
            FetchRequest::default()
                .with_max_bytes(1)
                .with_isolation_level(1)
                .with_topics(vec![wanted])
        };
        let answer = ask(&core, version, wanted("t", id)).await;
        assert!(
            answer.responses[0].partitions[0]
                .records
                .as_ref()
                .is_some_and(|records| !records.is_empty())
        );
        let answer = ask(&core, version, wanted("nowhere", uuid::Uuid::new_v4())).await;
        assert_eq!(
            answer.responses[0].partitions[0].error_code,
            if version < 13 { 3 } else { 100 }
        );
    }
}

#[tokio::test]
async fn fetch_of_nothing_does_not_wait() {
    let core = core();
    let nothing = FetchRequest::default()
        .with_max_wait_ms(60_000)
        .with_min_bytes(1);
    let limit = std::time::Duration::from_secs(5);
    let answer = tokio::time::timeout(limit, ask(&core, 12, nothing)).await;
    assert!(answer.expect("at once").responses.is_empty());
}

#[tokio::test]
async fn fetch_takes_less_when_answers_hold_the_memory() {
    use fetch_request::{FetchPartition, FetchTopic};
    let core = with_topic().await;
    for _ in 0..20 {
        ask(&core, 7, produce("t", &Draft::sized(100))).await;
    }
    let fetched = async |core: &Core| {
        let partition = FetchPartition::default().with_partition_max_bytes(i32::MAX);
        let topic = FetchTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_bytes(i32::MAX)
            .with_topics(vec![topic]);
        let mut answer = ask(core, 12, request).await;
        let partition = answer.responses.remove(0).partitions.remove(0);
        partition.records.map_or(0, |records| records.len())
    };
    let all = fetched(&core).await;
    let others = u32::try_from(crate::broker::limits::ANSWERS_BYTES).expect("it fits");
    let _held = core
        .answers
        .acquire_many(others)
        .await
        .expect("they are free");
    assert_eq!(fetched(&core).await, all / 20);
}

#[tokio::test]
async fn acks_decide_whether_there_is_an_answer() {
    let core = with_topic().await;
    let unacknowledged = produce("t", &Draft::sized(1)).with_acks(0);
    assert!(matches!(
        ask_raw(&core, 7, unacknowledged).await,
        Answer::Nothing
    ));
    let refused = produce("nowhere", &Draft::sized(1)).with_acks(0);
    assert!(matches!(ask_raw(&core, 7, refused).await, Answer::Close(_)));
    let invalid = ask(&core, 7, produce("t", &Draft::sized(1)).with_acks(2)).await;
    assert_eq!(invalid.responses[0].partition_responses[0].error_code, 21);
}

#[tokio::test]
async fn offsets_are_listed_and_records_deleted_in_every_version() {
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let core = with_topic().await;
    ask(&core, 7, produce("t", &Draft::sized(10).timestamp(1000))).await;
    for version in versions::<ListOffsetsRequest>() {
        for (timestamp, expected) in [
            (-1, 10),
            (-2, 0),
            (-3, 9),
            (1004, 4),
            (2000, -1),
            (-4, 0),
            (-5, -1),
        ] {
            let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
            let partition = partition.with_current_leader_epoch(-1);
            let topic = ListOffsetsTopic::default()
                .with_name(name("t"))
                .with_partitions(vec![partition]);
            let answer = ask(
                &core,
                version,
                ListOffsetsRequest::default().with_topics(vec![topic]),
            )
            .await;
            assert_eq!(
                answer.topics[0].partitions[0].offset, expected,
                "{timestamp}"
            );
        }
    }
    for version in versions::<OffsetForLeaderEpochRequest>() {
        let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![partition]);
        let answer = ask(
            &core,
            version,
            OffsetForLeaderEpochRequest::default().with_topics(vec![topic]),
        )
        .await;
        assert_eq!(answer.topics[0].partitions[0].end_offset, 10);
    }
    for (offset, version) in (1..).zip(versions::<DeleteRecordsRequest>()) {
        let partition = DeleteRecordsPartition::default().with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![partition]);
        let answer = ask(
            &core,
            version,
            DeleteRecordsRequest::default().with_topics(vec![topic]),
        )
        .await;
        assert_eq!(answer.topics[0].partitions[0].low_watermark, offset);
    }
    for version in versions::<DescribeLogDirsRequest>() {
        let answer = ask(
            &core,
            version,
            DescribeLogDirsRequest::default().with_topics(None),
        )
        .await;
        assert!(answer.results[0].topics[0].partitions[0].partition_size > 0);
    }
}
