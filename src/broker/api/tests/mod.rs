//! Every request in every version that is offered, against a broker without sockets: the answer decodes to
//! its last byte and says what it should. That an answer can be encoded at all depends on the version.

mod groups;
mod hostile;
mod records;
mod topics;
mod transactions;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use bytes::BytesMut;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};

use super::*;
use crate::broker::Settings;
use crate::broker::batch::testing::Draft;
use crate::broker::state::Node;
use crate::broker::wire::text;

fn core() -> Core {
    let node = Node {
        cluster_id: "cluster".to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 9092,
    };
    Core::new(&Settings::on_free_port(), node)
}

fn versions<R: Request>() -> RangeInclusive<i16> {
    let (_, first, last) = apis::APIS
        .iter()
        .find(|(api, ..)| *api as i16 == R::KEY)
        .expect("it is offered");
    *first..=*last
}

async fn ask_raw<R: Request>(core: &Core, version: i16, request: R) -> Answer {
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    header
        .encode(&mut frame, R::header_version(version))
        .expect("it encodes");
    request.encode(&mut frame, version).expect("it encodes");
    answer(
        core,
        frame.freeze(),
        SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    )
    .await
}

async fn ask<R: Request>(core: &Core, version: i16, request: R) -> R::Response {
    let pieces = match ask_raw(core, version, request).await {
        Answer::Reply(pieces) => pieces,
        other => panic!("{} {version}: {other:?}", R::KEY),
    };
    let mut bytes = Bytes::from(pieces.concat());
    assert_eq!(bytes.get_u32() as usize, bytes.len());
    let header =
        ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).expect("a header");
    assert_eq!(header.correlation_id, 77);
    let response = R::Response::decode(&mut bytes, version).expect("it decodes");
    assert!(
        bytes.is_empty(),
        "{} {version} has {} bytes more",
        R::KEY,
        bytes.len()
    );
    response
}

fn name(of: &str) -> TopicName {
    TopicName(text(of))
}

fn group(of: &str) -> GroupId {
    GroupId(text(of))
}

fn create(topic: &str, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    use create_topics_request::{CreatableTopic, CreatableTopicConfig};
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic])
}

fn produce(topic: &str, batch: &Draft) -> ProduceRequest {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let partition = PartitionProduceData::default().with_records(Some(batch.build().into()));
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic])
}

async fn with_topic() -> Core {
    let core = core();
    let created = ask(&core, 7, create("t", &[])).await;
    assert_eq!(created.topics[0].error_code, 0);
    core
}

async fn committed(core: &Core, version: i16, require_stable: bool) -> (i64, i16) {
    use offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    let request = OffsetFetchRequest::default().with_require_stable(require_stable);
    if version < 8 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(name("t"))
            .with_partition_indexes(vec![0]);
        let answer = ask(
            core,
            version,
            request
                .with_group_id(group("g"))
                .with_topics(Some(vec![topic])),
        )
        .await;
        let partition = &answer.topics[0].partitions[0];
        return (partition.committed_offset, partition.error_code);
    }
    let topic = OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(group("g"))
        .with_topics(Some(vec![topic]));
    let answer = ask(core, version, request.with_groups(vec![wanted])).await;
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}
