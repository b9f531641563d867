//! A record of the state topic: what is accepted is what would be written for it. The first byte says how long
//! the key is.

#![no_main]

use fireworks::model::state::{Record, decode, encode_held, encode_owner};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let mut block = Vec::new();
    match decode(key, value, &mut block) {
        Ok(Record::Held { device_id }) => {
            let (mut encoded_key, mut encoded_value) = (Vec::new(), Vec::new());
            encode_held(device_id, &block, &mut encoded_key, &mut encoded_value);
            assert_eq!((&*encoded_key, &*encoded_value), (key, value));
        }
        Ok(Record::Owner(owner)) => {
            let (key, value) = encode_owner(&owner);
            assert_eq!(decode(&key, &value, &mut block), Ok(Record::Owner(owner)));
        }
        Err(_) => {}
    }
});
