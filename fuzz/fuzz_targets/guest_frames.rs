#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _counters = trinic_guest::fuzz::frames(data);
});
