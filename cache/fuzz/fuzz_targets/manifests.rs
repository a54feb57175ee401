#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cooper_cache_fuzz::manifests(data));
