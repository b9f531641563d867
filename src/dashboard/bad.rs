//! The records that couldn't be drawn: how many, why, and the last few of them.
//!
//! Samples are short, few, and text whatever the bytes were: they go to a browser, which shows them as
//! text and never as markup.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::decode::Bad;
use crate::kafka::tail::Record;

const SAMPLES: usize = 8;
const SAMPLE_BYTES: usize = 120;

#[derive(Debug, Default, Serialize)]
pub struct BadRecords {
    pub total: u64,
    reasons: BTreeMap<Bad, u64>,
    samples: VecDeque<Sample>,
}

#[derive(Debug, Serialize)]
struct Sample {
    reason: Bad,
    partition: i32,
    offset: i64,
    /// The beginning of the value; bytes that are no text as `\xff`.
    text: String,
}

impl BadRecords {
    pub fn add(&mut self, reason: Bad, record: &Record<'_>) {
        self.count(reason);
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        let Record {
            partition, offset, ..
        } = *record;
        self.samples.push_back(Sample {
            reason,
            partition,
            offset,
            text: beginning(record.value),
        });
    }

    pub fn count(&mut self, reason: Bad) {
        self.total += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }
}

fn beginning(value: Option<&[u8]>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    let cut = &value[..value.len().min(SAMPLE_BYTES)];
    let mut text = String::new();
    for chunk in cut.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    if cut.len() < value.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_few_short_and_text() {
        let mut bad = BadRecords::default();
        let value = [b"<b>\xff".as_slice(), &[b'x'; 10_000]].concat();
        for offset in 0..1_000 {
            let record = Record {
                partition: 0,
                offset,
                timestamp: None,
                appended: false,
                history: false,
                key: None,
                value: Some(&value),
            };
            bad.add(Bad::NotUtf8, &record);
        }
        assert_eq!((bad.total, bad.samples.len()), (1_000, SAMPLES));
        let sample = bad.samples.back().expect("a sample");
        assert_eq!(sample.offset, 999);
        assert!(sample.text.starts_with("<b>\\xffxxx") && sample.text.ends_with('…'));
        assert!(sample.text.len() < 2 * SAMPLE_BYTES);
    }
}
