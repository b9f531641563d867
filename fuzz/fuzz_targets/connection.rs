//! What a client writes to the embedded broker's socket: never a panic, never a hang.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fireworks::broker::fuzzing::connection(bytes));
