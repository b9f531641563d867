//! What the broker answers instead of doing something: the protocol's own error, and why.

use std::fmt;

use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

/// A protocol error with a sentence for whoever reads the client's log. Many answers have no room for
/// the sentence; those that have carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: ResponseError,
    pub message: String,
}

impl Refusal {
    pub fn new(error: ResponseError, message: impl Into<String>) -> Refusal {
        Refusal {
            error,
            message: message.into(),
        }
    }

    pub fn code(&self) -> i16 {
        self.error.code()
    }

    /// The sentence in the form that answers take; clients have their own for a bare error.
    pub fn wire_message(&self) -> Option<StrBytes> {
        (!self.message.is_empty()).then(|| StrBytes::from_string(self.message.clone()))
    }
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Refusal {
        Refusal::new(error, "")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.message)
    }
}

/// The error code of an outcome: 0 for success.
pub fn code<T, E: Into<Refusal> + Clone>(outcome: &Result<T, E>) -> i16 {
    match outcome {
        Ok(_) => 0,
        Err(error) => error.clone().into().code(),
    }
}
