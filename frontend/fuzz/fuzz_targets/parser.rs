#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cooper_frontend_fuzz::parser(data));
