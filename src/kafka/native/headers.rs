//! The headers of a record as bytes: the wrapper panics at a name that is not UTF-8, and anybody can write one.

use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};

use rdkafka::bindings;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::{RDKafkaHeaders, RDKafkaMessage, RDKafkaRespErr};

const OK: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Name and value, which may be null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The headers of a message, in their order.
pub(in crate::kafka) fn of<'a>(message: &'a BorrowedMessage<'_>) -> Vec<Header<'a>> {
    let mut headers = ptr::null_mut();
    // SAFETY: the message lives for 'a, and the headers that the client hands out are its own.
    unsafe {
        match bindings::rd_kafka_message_headers(message.ptr(), &mut headers) {
            OK => list(headers),
            _ => Vec::new(),
        }
    }
}

/// # Safety
///
/// The headers must live, unchanged, as long as the result.
unsafe fn list<'a>(headers: *const RDKafkaHeaders) -> Vec<Header<'a>> {
    let mut list = Vec::new();
    loop {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live; the call writes three values, or answers that there are no more headers.
        let answer = unsafe {
            bindings::rd_kafka_header_get_all(
                headers,
                list.len(),
                &mut name,
                &mut value,
                &mut length,
            )
        };
        if answer != OK {
            return list;
        }
        // SAFETY: a name ends in a zero byte, a value has `length` bytes, and both live as long as the headers.
        list.push(unsafe {
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length));
            (CStr::from_ptr(name).to_bytes(), value)
        });
    }
}

/// Headers to write, in their order.
#[derive(Debug)]
pub struct Headers(NonNull<RDKafkaHeaders>);

impl Headers {
    /// Those of a message, byte for byte.
    ///
    /// # Safety
    ///
    /// The message must live.
    pub(super) unsafe fn copy(message: NonNull<RDKafkaMessage>) -> Headers {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives, as the caller has promised, and its headers are only read.
        unsafe {
            match bindings::rd_kafka_message_headers(message.as_ptr(), &mut headers) {
                OK => Headers::owned(bindings::rd_kafka_headers_copy(headers)),
                _ => Headers::default(),
            }
        }
    }

    fn owned(list: *mut RDKafkaHeaders) -> Headers {
        Headers(NonNull::new(list).expect("the client ends the process where there is no memory"))
    }

    /// For a call that takes them over, if it succeeds.
    pub(super) fn as_ptr(&self) -> *mut RDKafkaHeaders {
        self.0.as_ptr()
    }
}

impl Default for Headers {
    fn default() -> Headers {
        // SAFETY: it only takes memory.
        Headers::owned(unsafe { bindings::rd_kafka_headers_new(8) })
    }
}

impl<'a> Extend<Header<'a>> for Headers {
    fn extend<I: IntoIterator<Item = Header<'a>>>(&mut self, headers: I) {
        for (name, value) in headers {
            let (value, length) = super::pointer(value);
            // SAFETY: the list is ours; the call copies as many bytes of name and value as it is told.
            let answer = unsafe {
                bindings::rd_kafka_header_add(
                    self.as_ptr(),
                    name.as_ptr().cast::<c_char>(),
                    name.len() as isize,
                    value,
                    length as isize,
                )
            };
            assert_eq!(answer, OK, "only a list that is read-only refuses a header");
        }
    }
}

impl<'a> FromIterator<Header<'a>> for Headers {
    fn from_iter<I: IntoIterator<Item = Header<'a>>>(headers: I) -> Headers {
        let mut list = Headers::default();
        list.extend(headers);
        list
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: the list is ours, for who takes it over forgets it.
        unsafe { bindings::rd_kafka_headers_destroy(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_byte_for_byte() {
        let written: [Header<'_>; 4] = [
            (b"name", Some(b"value")),
            (b"\xff\xfe", Some(b"\0\xff")),
            (b"name", None),
            (b"", Some(b"")),
        ];
        let mut headers: Headers = written[..2].iter().copied().collect();
        headers.extend(written[2..].iter().copied());
        // SAFETY: the headers live until the end of the test.
        assert_eq!(unsafe { list(headers.as_ptr()) }, written);
    }
}
