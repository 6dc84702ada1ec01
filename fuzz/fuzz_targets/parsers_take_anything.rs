#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sphinx::fuzzing::parsers_take_anything(bytes));
