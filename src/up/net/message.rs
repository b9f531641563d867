//! The little of a DNS message that a splitter of names needs: whom it asks about, and how it went.
//!
//! Pure. It reads the header and the first question, never a record: what passes through is not changed, so
//! whatever DNS has or will have (EDNS, DNSSEC, new types) passes too.

/// Bytes of the header in front of the question.
const HEADER: usize = 12;
/// The longest name on the wire.
const LONGEST_NAME: usize = 255;
/// The largest message: TCP has two bytes for its length.
pub const LARGEST: usize = 65_535;

/// Types that can be asked for, those that are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A = 1,
    Txt = 16,
}

/// How an answer can go wrong: the codes that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The server could not find out.
    ServerFailure = 2,
    /// There is no such name.
    NoSuchName = 3,
}

/// The first question of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In lower case, without the dot at the end; the root is empty.
    pub name: String,
    /// Where it ends in the message.
    end: usize,
}

/// The question of a query: none, where this is no query of one question. Bytes of a name that are not ASCII are
/// kept apart from all letters, so that no such name is taken for another.
pub fn question(message: &[u8]) -> Option<Question> {
    let is_query = message.get(2)? & 0x80 == 0;
    let questions = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
    if !is_query || questions != 1 {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            break;
        }
        // Longer than 63 means a pointer, which the only name of a message can't be.
        let label = (length <= 63)
            .then(|| message.get(at + 1..at + 1 + length))
            .flatten()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|&byte| match byte {
            b'.' => '\u{fffd}',
            _ => char::from(byte.to_ascii_lowercase()),
        }));
        at += 1 + length;
        if at - HEADER >= LONGEST_NAME {
            return None;
        }
    }
    // The name's last byte, the type and the class.
    let end = at + 5;
    (end <= message.len()).then_some(Question { name, end })
}

/// The answer to `query` that holds nothing but this code.
pub fn refusal(query: &[u8], question: &Question, code: Code) -> Vec<u8> {
    let mut answer = query[..question.end].to_vec();
    // An answer, with the query's own opcode and wish for recursion; recursion is to be had here.
    answer[2] = answer[2] & 0x79 | 0x80;
    answer[3] = 0x80 | code as u8;
    // One question, no records: the query's own EDNS record has been cut off.
    answer[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    answer
}

/// A query with recursion. Labels longer than 63 bytes are not for it.
pub fn query(id: u16, name: &str, kind: Kind) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len().min(63) as u8);
        query.extend(label.bytes().take(63));
    }
    query.extend([0, 0, kind as u8, 0, 1]);
    query
}

/// Whether `message` answers `query`: a response with the same number.
pub fn answers(message: &[u8], query: &[u8]) -> bool {
    message.len() >= HEADER
        && query.len() >= 2
        && message[..2] == query[..2]
        && message[2] & 0x80 != 0
}

/// The code of a response, as a number.
pub fn code(answer: &[u8]) -> u8 {
    answer
        .get(3)
        .map_or(Code::ServerFailure as u8, |byte| byte & 0x0f)
}

/// How many records answer the question.
pub fn count(answer: &[u8]) -> u16 {
    match answer {
        [_, _, _, _, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn question_of_a_query_is_read_back_in_lower_case() {
        let query = query(7, "Kafka-0.Kafka.SVC", Kind::A);
        assert_eq!(question(&query).unwrap().name, "kafka-0.kafka.svc");
        assert_eq!(question(&super::query(7, "", Kind::A)).unwrap().name, "");
    }

    #[test]
    fn what_is_no_query_of_one_question_has_none() {
        let good = query(7, "a.b", Kind::A);
        assert_eq!(question(&good[..good.len() - 1]), None);
        let with = |at: usize, byte: u8| {
            let mut changed = good.clone();
            changed[at] = byte;
            changed
        };
        assert_eq!(question(&with(2, 0x81)), None, "a response");
        assert_eq!(question(&with(5, 2)), None, "two questions");
        assert_eq!(question(&with(HEADER, 0xc0)), None, "a pointer");
        let long = vec!["a".repeat(63); 5].join(".");
        assert_eq!(question(&query(7, &long, Kind::A)), None);
    }

    #[test]
    fn dot_inside_a_label_does_not_make_a_cluster_name() {
        let mut query = query(7, "svc-cluster-local", Kind::A);
        query[HEADER + 4] = b'.';
        assert!(!question(&query).unwrap().name.contains('.'));
    }

    #[test]
    fn refusal_answers_the_query_and_repeats_its_question_only() {
        let mut with_edns = query(0xbeef, "a.svc", Kind::A);
        let plain = with_edns.clone();
        with_edns[11] = 1;
        with_edns.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let question = question(&with_edns).unwrap();
        let answer = refusal(&with_edns, &question, Code::NoSuchName);
        assert!(answers(&answer, &with_edns));
        assert_eq!((code(&answer), count(&answer)), (3, 0));
        assert_eq!(answer[HEADER..], plain[HEADER..]);
        assert_eq!(answer[4..HEADER], [0, 1, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(question) = question(&message) {
                let answer = refusal(&message, &question, Code::ServerFailure);
                prop_assert!(answers(&answer, &message));
            }
        }
    }
}
