//! A batch of records with the right checksum: refused, or kept with all its records.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fireworks::broker::fuzzing::batch(bytes));
