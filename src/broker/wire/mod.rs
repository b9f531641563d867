//! The edge of the protocol: which requests are understood, what a request may look like before it is
//! decoded, and the one answer that is encoded here because its records must not be copied.

pub mod apis;
pub mod fetch_response;
pub mod frame;
pub mod shape;
pub mod shapes;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

/// Text in the form that messages take.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic name in the form that messages take.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
