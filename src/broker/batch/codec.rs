//! Compression of the records in a batch.
//!
//! Expansion is bounded: a few kilobytes can hold gigabytes of zeros, so every decoder is cut off at a
//! limit. (That is why decoders are called here and not through `kafka_protocol`, whose own are not.)

use std::borrow::Cow;
use std::io::{self, Read};

use bytes::{BufMut, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};

/// A way to compress records; a batch names it by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Why records could not be read.
#[derive(Debug)]
pub enum CodecError {
    /// Not what the codec writes.
    Corrupt(io::Error),
    /// More than the limit.
    TooLarge,
}

impl Codec {
    pub fn of(id: i16) -> Option<Codec> {
        [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ]
        .into_iter()
        .find(|codec| *codec as i16 == id)
    }

    /// The records behind `compressed`, if they are no more than `limit` bytes.
    pub fn expand<'a>(
        self,
        compressed: &'a [u8],
        limit: usize,
    ) -> Result<Cow<'a, [u8]>, CodecError> {
        let expanded = match self {
            Codec::None => return Ok(Cow::Borrowed(compressed)),
            Codec::Gzip => read_up_to(flate2::read::MultiGzDecoder::new(compressed), limit),
            Codec::Lz4 => read_up_to(
                lz4::Decoder::new(compressed).map_err(CodecError::Corrupt)?,
                limit,
            ),
            Codec::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(compressed);
                read_up_to(decoder.map_err(CodecError::Corrupt)?, limit)
            }
            Codec::Snappy => expand_snappy(compressed, limit),
        };
        expanded.map(Cow::Owned)
    }

    /// Compresses records that are in memory already.
    pub fn compress<'a>(self, records: &'a [u8]) -> anyhow::Result<Cow<'a, [u8]>> {
        fn with<C: Compressor<BytesMut, BufMut = BytesMut>>(
            records: &[u8],
        ) -> anyhow::Result<BytesMut> {
            let mut out = BytesMut::new();
            C::compress(&mut out, |buffer| {
                buffer.put_slice(records);
                Ok(())
            })?;
            Ok(out)
        }
        let compressed = match self {
            Codec::None => return Ok(Cow::Borrowed(records)),
            Codec::Gzip => with::<Gzip>(records),
            Codec::Snappy => with::<Snappy>(records),
            Codec::Lz4 => with::<Lz4>(records),
            Codec::Zstd => with::<Zstd>(records),
        };
        Ok(Cow::Owned(compressed?.to_vec()))
    }
}

fn read_up_to(decoder: impl Read, limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut expanded = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(one_more)
        .read_to_end(&mut expanded)
        .map_err(CodecError::Corrupt)?;
    if expanded.len() > limit {
        return Err(CodecError::TooLarge);
    }
    Ok(expanded)
}

/// In front of what Java's snappy writes: a magic and two version numbers, then blocks with lengths.
/// Other clients (librdkafka) send one bare block.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

fn expand_snappy(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut expanded = Vec::new();
    if !compressed.starts_with(XERIAL_MAGIC) {
        append_block(compressed, &mut expanded, limit)?;
        return Ok(expanded);
    }
    let mut rest = compressed
        .get(XERIAL_HEADER_BYTES..)
        .ok_or_else(truncated)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        append_block(block, &mut expanded, limit)?;
        rest = after;
    }
    Ok(expanded)
}

fn append_block(block: &[u8], expanded: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    let corrupt = |error: snap::Error| CodecError::Corrupt(error.into());
    let claimed = snap::raw::decompress_len(block).map_err(corrupt)?;
    let start = expanded.len();
    if claimed > limit.saturating_sub(start) {
        return Err(CodecError::TooLarge);
    }
    expanded.resize(start + claimed, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut expanded[start..]);
    expanded.truncate(start + written.map_err(corrupt)?);
    Ok(())
}

fn truncated() -> CodecError {
    CodecError::Corrupt(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let records: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        for codec in ALL {
            let compressed = codec.compress(&records).expect("compresses");
            let expanded = codec.expand(&compressed, records.len()).expect("expands");
            assert_eq!(expanded, records, "{codec:?}");
        }
    }

    #[test]
    fn bare_snappy_block_is_understood() {
        let block = snap::raw::Encoder::new()
            .compress_vec(b"records")
            .expect("compresses");
        assert_eq!(
            Codec::Snappy.expand(&block, 100).expect("expands"),
            b"records".as_slice()
        );
    }

    #[test]
    fn expansion_stops_at_the_limit() {
        let zeros = vec![0; 10_000_000];
        for codec in &ALL[1..] {
            let compressed = codec.compress(&zeros).expect("compresses");
            let outcome = codec.expand(&compressed, zeros.len() - 1);
            assert!(matches!(outcome, Err(CodecError::TooLarge)), "{codec:?}");
        }
    }

    #[test]
    fn garbage_is_corrupt_for_every_codec() {
        for codec in &ALL[1..] {
            let outcome = codec.expand(b"no codec writes this, does it", 1000);
            assert!(outcome.is_err(), "{codec:?}");
        }
    }
}
