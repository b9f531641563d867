//! The records of an uncompressed batch, as borrowed slices of it.
//!
//! Nothing is allocated and no length is trusted: whatever the bytes are, iteration ends.

/// The bytes are not the records that the header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// All of it, its length included: what a copy of the record consists of.
    pub bytes: &'a [u8],
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Iterates over exactly `count` records that fill `bytes`.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    count: i32,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8], count: i32) -> Records<'a> {
        Records { rest: bytes, count }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count <= 0 {
            // Bytes after the last record would be read by some clients and skipped by others.
            let leftover = !self.rest.is_empty();
            self.rest = &[];
            return leftover.then_some(Err(Malformed));
        }
        self.count -= 1;
        let record = next_record(&mut self.rest);
        if record.is_err() {
            self.count = 0;
            self.rest = &[];
        }
        Some(record)
    }
}

fn next_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, Malformed> {
    let start = *rest;
    let size = length(varint(rest)?)?;
    let mut body = take(rest, size)?;
    let bytes = &start[..start.len() - rest.len()];
    let _attributes = take(&mut body, 1)?;
    let timestamp_delta = varint(&mut body)?;
    let offset_delta = i32::try_from(varint(&mut body)?).map_err(|_| Malformed)?;
    let key = nullable(&mut body)?;
    let value = nullable(&mut body)?;
    for _ in 0..length(varint(&mut body)?)? {
        let name = length(varint(&mut body)?)?;
        take(&mut body, name)?;
        nullable(&mut body)?;
    }
    if !body.is_empty() {
        return Err(Malformed);
    }
    Ok(Record {
        bytes,
        timestamp_delta,
        offset_delta,
        key,
        value,
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed)?;
    *rest = left;
    Ok(taken)
}

fn nullable<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    match varint(rest)? {
        -1 => Ok(None),
        size => take(rest, length(size)?).map(Some),
    }
}

fn length(value: i64) -> Result<usize, Malformed> {
    usize::try_from(value).map_err(|_| Malformed)
}

/// A zigzag-coded number of up to 64 bits.
fn varint(rest: &mut &[u8]) -> Result<i64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or(Malformed)?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(Malformed)
}

/// Writes a zigzag-coded number.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Writes a record without headers.
pub fn put_record(
    out: &mut Vec<u8>,
    offset_delta: i32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) {
    let mut body = vec![0];
    put_varint(&mut body, timestamp_delta);
    put_varint(&mut body, i64::from(offset_delta));
    for field in [key, value] {
        match field {
            None => put_varint(&mut body, -1),
            Some(bytes) => {
                put_varint(&mut body, i64::try_from(bytes.len()).expect("a slice fits"));
                body.extend_from_slice(bytes);
            }
        }
    }
    put_varint(&mut body, 0);
    put_varint(out, i64::try_from(body.len()).expect("a record fits"));
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_records_read_back() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 0, -5, Some(b"k"), Some(b"v"));
        put_record(&mut bytes, 1, 1 << 40, None, None);
        let records: Vec<_> = Records::new(&bytes, 2)
            .collect::<Result<_, _>>()
            .expect("well-formed");
        assert_eq!(records[0].key, Some(b"k".as_slice()));
        assert_eq!(records[0].timestamp_delta, -5);
        assert_eq!(records[1].timestamp_delta, 1 << 40);
        assert_eq!((records[1].offset_delta, records[1].value), (1, None));
    }

    #[test]
    fn wrong_count_is_malformed_both_ways() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 0, 0, None, Some(b"v"));
        assert!(Records::new(&bytes, 0).any(|record| record.is_err()));
        assert!(Records::new(&bytes, 2).any(|record| record.is_err()));
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes: Vec<u8>, count in 0..1_000_i32) {
            let read = Records::new(&bytes, count).count();
            prop_assert!(read <= bytes.len() + 1);
        }

        #[test]
        fn varints_read_back(value: i64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(varint(&mut bytes.as_slice()), Ok(value));
        }
    }
}
