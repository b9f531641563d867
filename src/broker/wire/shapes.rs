//! The shapes of the requests that are understood, after Kafka's message definitions.
//!
//! Only lengths matter here, so neighbouring fields of a fixed size are written as their sum.

use kafka_protocol::messages::ApiKey;

use super::shape::Field::{self, Bytes, Fixed, Since, Structs, Text, Until, Values};
use super::shape::Shape;

const NEVER: i16 = i16::MAX;

/// Resource type and name, pattern type, principal, host, operation and permission.
const ACL: &[Field] = &[Fixed(1), Text, Fixed(1), Text, Text, Fixed(1 + 1)];

/// The shape of a request, if it is one that is understood.
#[rustfmt::skip]
pub fn of(api: ApiKey) -> Option<Shape> {
    let (flexible_since, fields): (i16, &'static [Field]) = match api {
        ApiKey::Produce => (9, &[
            Text, Fixed(2 + 4),
            Structs(&[Text, Structs(&[Fixed(4), Bytes])]),
        ]),
        ApiKey::Fetch => (12, &[
            Until(14, &Fixed(4)), Fixed(4 + 4 + 4 + 1), Since(7, &Fixed(4 + 4)),
            Structs(&[
                Until(12, &Text), Since(13, &Fixed(16)),
                Structs(&[
                    Fixed(4), Since(9, &Fixed(4)), Fixed(8), Since(12, &Fixed(4)), Since(5, &Fixed(8)), Fixed(4),
                ]),
            ]),
            Since(7, &Structs(&[Until(12, &Text), Since(13, &Fixed(16)), Values(&Fixed(4))])),
            Since(11, &Text),
        ]),
        ApiKey::ListOffsets => (6, &[
            Fixed(4), Since(2, &Fixed(1)),
            Structs(&[Text, Structs(&[Fixed(4), Since(4, &Fixed(4)), Fixed(8)])]),
        ]),
        ApiKey::Metadata => (9, &[
            Structs(&[Since(10, &Fixed(16)), Text]),
            Since(4, &Fixed(1)), Since(8, &Until(10, &Fixed(1))), Since(8, &Fixed(1)),
        ]),
        ApiKey::OffsetCommit => (8, &[
            Text, Fixed(4), Text, Since(7, &Text), Until(4, &Fixed(8)),
            Structs(&[Text, Structs(&[Fixed(4 + 8), Since(6, &Fixed(4)), Text])]),
        ]),
        ApiKey::OffsetFetch => (6, &[
            Until(7, &Text), Until(7, &Structs(&[Text, Values(&Fixed(4))])),
            Since(8, &Structs(&[Text, Structs(&[Text, Values(&Fixed(4))])])),
            Since(7, &Fixed(1)),
        ]),
        ApiKey::FindCoordinator => (3, &[
            Until(3, &Text), Since(1, &Fixed(1)), Since(4, &Values(&Text)),
        ]),
        ApiKey::JoinGroup => (6, &[
            Text, Fixed(4), Since(1, &Fixed(4)), Text, Since(5, &Text), Text,
            Structs(&[Text, Bytes]), Since(8, &Text),
        ]),
        ApiKey::Heartbeat => (4, &[Text, Fixed(4), Text, Since(3, &Text)]),
        ApiKey::LeaveGroup => (4, &[
            Text, Until(2, &Text), Since(3, &Structs(&[Text, Text, Since(5, &Text)])),
        ]),
        ApiKey::SyncGroup => (4, &[
            Text, Fixed(4), Text, Since(3, &Text), Since(5, &Text), Since(5, &Text),
            Structs(&[Text, Bytes]),
        ]),
        ApiKey::DescribeGroups => (5, &[Values(&Text), Since(3, &Fixed(1))]),
        ApiKey::ListGroups => (3, &[Since(4, &Values(&Text)), Since(5, &Values(&Text))]),
        ApiKey::ApiVersions => (3, &[Since(3, &Text), Since(3, &Text)]),
        ApiKey::CreateTopics => (5, &[
            Structs(&[
                Text, Fixed(4 + 2), Structs(&[Fixed(4), Values(&Fixed(4))]), Structs(&[Text, Text]),
            ]),
            Fixed(4 + 1),
        ]),
        ApiKey::DeleteTopics => (4, &[
            Since(6, &Structs(&[Text, Fixed(16)])), Until(5, &Values(&Text)), Fixed(4),
        ]),
        ApiKey::DeleteRecords => (2, &[Structs(&[Text, Structs(&[Fixed(4 + 8)])]), Fixed(4)]),
        ApiKey::InitProducerId => (2, &[Text, Fixed(4), Since(3, &Fixed(8 + 2))]),
        ApiKey::OffsetForLeaderEpoch => (4, &[
            Since(3, &Fixed(4)), Structs(&[Text, Structs(&[Fixed(4 + 4 + 4)])]),
        ]),
        ApiKey::AddPartitionsToTxn => (3, &[Text, Fixed(8 + 2), Structs(&[Text, Values(&Fixed(4))])]),
        ApiKey::AddOffsetsToTxn => (3, &[Text, Fixed(8 + 2), Text]),
        ApiKey::EndTxn => (3, &[Text, Fixed(8 + 2 + 1)]),
        ApiKey::TxnOffsetCommit => (3, &[
            Text, Text, Fixed(8 + 2), Since(3, &Fixed(4)), Since(3, &Text), Since(3, &Text),
            Structs(&[Text, Structs(&[Fixed(4 + 8), Since(2, &Fixed(4)), Text])]),
        ]),
        ApiKey::DescribeAcls => (2, ACL),
        ApiKey::CreateAcls | ApiKey::DeleteAcls => (2, &[Structs(ACL)]),
        ApiKey::DescribeConfigs => (4, &[
            Structs(&[Fixed(1), Text, Values(&Text)]), Fixed(1), Since(3, &Fixed(1)),
        ]),
        ApiKey::AlterConfigs => (2, &[Structs(&[Fixed(1), Text, Structs(&[Text, Text])]), Fixed(1)]),
        ApiKey::DescribeLogDirs => (2, &[Structs(&[Text, Values(&Fixed(4))])]),
        ApiKey::CreatePartitions => (2, &[
            Structs(&[Text, Fixed(4), Structs(&[Values(&Fixed(4))])]), Fixed(4 + 1),
        ]),
        ApiKey::DeleteGroups => (2, &[Values(&Text)]),
        ApiKey::IncrementalAlterConfigs => (1, &[
            Structs(&[Fixed(1), Text, Structs(&[Text, Fixed(1), Text])]), Fixed(1),
        ]),
        ApiKey::OffsetDelete => (NEVER, &[Text, Structs(&[Text, Structs(&[Fixed(4)])])]),
        ApiKey::DescribeCluster => (0, &[Fixed(1), Since(1, &Fixed(1))]),
        ApiKey::DescribeProducers => (0, &[Structs(&[Text, Values(&Fixed(4))])]),
        ApiKey::DescribeTransactions => (0, &[Values(&Text)]),
        ApiKey::ListTransactions => (0, &[Values(&Text), Values(&Fixed(8)), Since(1, &Fixed(8))]),
        _ => return None,
    };
    Some(Shape { flexible_since, fields })
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
