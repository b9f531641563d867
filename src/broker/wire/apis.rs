//! The requests that the broker understands, and in which versions.
//!
//! A version is advertised only if everything in it is honoured. So the list stops before topic ids in
//! Produce, before the broker-side consumer protocol and before transaction.version 2.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

use ApiKey::*;

/// Each request with its first and last version.
pub const APIS: &[(ApiKey, i16, i16)] = &[
    (Produce, 3, 11),
    (Fetch, 4, 16),
    (ListOffsets, 1, 9),
    (Metadata, 0, 12),
    (OffsetCommit, 2, 8),
    (OffsetFetch, 1, 8),
    (FindCoordinator, 0, 4),
    (JoinGroup, 0, 9),
    (Heartbeat, 0, 4),
    (LeaveGroup, 0, 5),
    (SyncGroup, 0, 5),
    (DescribeGroups, 0, 5),
    (ListGroups, 0, 5),
    (ApiVersions, 0, 4),
    (CreateTopics, 2, 7),
    (DeleteTopics, 1, 6),
    (DeleteRecords, 0, 2),
    (InitProducerId, 0, 4),
    (OffsetForLeaderEpoch, 2, 4),
    (AddPartitionsToTxn, 0, 3),
    (AddOffsetsToTxn, 0, 3),
    (EndTxn, 0, 3),
    (TxnOffsetCommit, 0, 3),
    (DescribeAcls, 1, 3),
    (CreateAcls, 1, 3),
    (DeleteAcls, 1, 3),
    (DescribeConfigs, 1, 4),
    (AlterConfigs, 0, 2),
    (DescribeLogDirs, 1, 4),
    (CreatePartitions, 0, 3),
    (DeleteGroups, 0, 2),
    (IncrementalAlterConfigs, 0, 1),
    (OffsetDelete, 0, 0),
    (DescribeCluster, 0, 1),
    (DescribeProducers, 0, 0),
    (DescribeTransactions, 0, 0),
    (ListTransactions, 0, 1),
];

/// Whether the broker understands this version of the request.
pub fn is_supported(api: ApiKey, version: i16) -> bool {
    APIS.iter()
        .any(|(key, first, last)| *key == api && (*first..=*last).contains(&version))
}

/// The answer to ApiVersions.
pub fn advertisement() -> ApiVersionsResponse {
    let api_keys = APIS.iter().map(|(key, first, last)| {
        // Old librdkafka takes a broker without Produce 0 for one that can't compress, so Kafka 4 says 0
        // here too (KAFKA-18659) and refuses what nobody sends.
        let first = if *key == Produce { 0 } else { *first };
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_min_version(first)
            .with_max_version(*last)
    });
    ApiVersionsResponse::default().with_api_keys(api_keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::wire::shapes;

    #[test]
    fn every_version_can_be_decoded_and_has_a_shape() {
        for (api, first, last) in APIS {
            let valid = api.valid_versions();
            assert!(valid.min <= *first && *last <= valid.max, "{api:?}");
            assert!(shapes::of(*api).is_some(), "{api:?}");
        }
    }

    #[test]
    fn features_of_later_protocols_are_not_offered() {
        assert!(!is_supported(AddPartitionsToTxn, 4));
        assert!(!is_supported(ConsumerGroupHeartbeat, 0));
        assert!(advertisement().supported_features.is_empty());
    }
}
