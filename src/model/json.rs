//! Writing JSON objects whose fields are always the same: their names are text that is copied, their values are
//! serde's.
//!
//! A derived `Serialize` looks through every name for what has to be escaped, each time: half of what a step costs.

use serde::Serialize;

/// Appends to JSON text.
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Json<'_> {
    /// Appends this text, and a value after it.
    pub(super) fn put(&mut self, text: &str, value: impl Serialize) -> &mut Self {
        self.text(text);
        serde_json::to_writer(&mut *self.0, &value)
            .expect("it is plain data, and a vector takes it");
        self
    }

    /// Appends this text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }
}
