//! Record batches of magic 2 as bytes: the header, the records in it, codecs and markers.
//!
//! A batch stays the bytes that its producer sent. Only the fields that a broker owns are ever written:
//! base offset and leader epoch (outside the checksum), and with `LogAppendTime` the timestamp.

pub mod codec;
pub mod control;
pub mod header;
pub mod records;
pub mod validate;

#[cfg(test)]
pub mod testing;

pub use header::Header;
