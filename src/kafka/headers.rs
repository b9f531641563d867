//! The headers of a record as bytes: the wrapper panics at a name that is not UTF-8, and anybody can write
//! one.

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

const OK: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Name and value, which may be null, of each header, in their order.
#[expect(unsafe_code, reason = "the wrapper panics at names that are not UTF-8")]
pub(super) fn of<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
    let mut list = Vec::new();
    let mut headers = ptr::null_mut();
    // SAFETY: the message lives for 'a, and the headers that the client hands out are its own.
    if unsafe { bindings::rd_kafka_message_headers(message.ptr(), &mut headers) } != OK {
        return list;
    }
    loop {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers are those of the message; the call writes three values, or answers that there
        // are no more headers.
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
        // SAFETY: a name ends in a zero byte, a value has `length` bytes, and both live as long as the message.
        list.push(unsafe {
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length));
            (CStr::from_ptr(name).to_bytes(), value)
        });
    }
}
