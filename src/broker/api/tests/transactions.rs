//! Transactions and the producers behind them.

use super::*;

#[tokio::test]
async fn transaction_moves_records_and_offsets_together_in_every_version() {
    use add_partitions_to_txn_request::AddPartitionsToTxnTopic;
    use txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
    let core = with_topic().await;
    let id = || TransactionalId(text("id"));
    for version in versions::<InitProducerIdRequest>() {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id()))
            .with_transaction_timeout_ms(10_000);
        let producer = ask(&core, version, request).await;
        assert_eq!((producer.error_code, producer.producer_epoch), (0, version));
        let (pid, epoch) = (producer.producer_id, producer.producer_epoch);
        let version = version.min(3);
        let draft = Draft::sized(1).producer(*pid, epoch, 0).transactional();
        let batch = || produce("t", &draft).with_transactional_id(Some(id()));
        let refused = ask(&core, 7, batch()).await;
        assert_eq!(refused.responses[0].partition_responses[0].error_code, 48);

        let topic = |of| {
            AddPartitionsToTxnTopic::default()
                .with_name(name(of))
                .with_partitions(vec![0])
        };
        let add = |topics| {
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(id())
                .with_v3_and_below_producer_id(pid)
                .with_v3_and_below_producer_epoch(epoch)
                .with_v3_and_below_topics(topics)
        };
        let answer = ask(&core, version, add(vec![topic("t"), topic("nowhere")])).await;
        let error = |n: usize| {
            answer.results_by_topic_v3_and_below[n].results_by_partition[0].partition_error_code
        };
        assert_eq!((error(0), error(1)), (55, 3));
        let answer = ask(&core, version, add(vec![topic("t")])).await;
        assert_eq!(
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code,
            0
        );
        let answer = ask(&core, 7, batch()).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);

        let partition = TxnOffsetCommitRequestPartition::default()
            .with_committed_offset(100 + i64::from(epoch));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![partition]);
        let commit = TxnOffsetCommitRequest::default()
            .with_transactional_id(id())
            .with_group_id(group("g"))
            .with_producer_id(pid)
            .with_producer_epoch(epoch)
            .with_topics(vec![topic]);
        let answer = ask(&core, version, commit.clone()).await;
        assert_eq!(
            answer.topics[0].partitions[0].error_code, 48,
            "the group has not been added"
        );
        let offsets = AddOffsetsToTxnRequest::default()
            .with_transactional_id(id())
            .with_producer_id(pid)
            .with_producer_epoch(epoch)
            .with_group_id(group("g"));
        assert_eq!(ask(&core, version, offsets).await.error_code, 0);
        assert_eq!(
            ask(&core, version, commit.clone()).await.topics[0].partitions[0].error_code,
            0
        );
        assert_eq!(committed(&core, 7, true).await, (-1, 88));
        if version >= 3 {
            let stale = commit.with_generation_id(5).with_member_id(text("gone"));
            assert_eq!(
                ask(&core, version, stale).await.topics[0].partitions[0].error_code,
                25
            );
        }
        let end = EndTxnRequest::default()
            .with_transactional_id(id())
            .with_producer_id(pid)
            .with_producer_epoch(epoch)
            .with_committed(true);
        assert_eq!(ask(&core, version, end.clone()).await.error_code, 0);
        assert_eq!(committed(&core, 7, true).await, (100 + i64::from(epoch), 0));
        let stranger = end.with_producer_epoch(epoch + 1);
        assert_eq!(
            ask(&core, version, stranger).await.error_code,
            if version < 2 { 47 } else { 90 }
        );
    }
    for version in versions::<ListTransactionsRequest>() {
        let listed = ask(&core, version, ListTransactionsRequest::default()).await;
        assert_eq!(
            listed.transaction_states[0].transaction_state,
            StrBytes::from_static_str("CompleteCommit")
        );
    }
    let describe = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![id(), TransactionalId(text("other"))]);
    let described = ask(&core, 0, describe).await;
    let errors: Vec<i16> = described
        .transaction_states
        .iter()
        .map(|state| state.error_code)
        .collect();
    assert_eq!(errors, [0, 105]);
    let topic = describe_producers_request::TopicRequest::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let producers = ask(
        &core,
        0,
        DescribeProducersRequest::default().with_topics(vec![topic]),
    )
    .await;
    assert_eq!(producers.topics[0].partitions[0].active_producers.len(), 1);
}
