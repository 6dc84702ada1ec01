#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sphinx::fuzzing::batches_agree(bytes));
