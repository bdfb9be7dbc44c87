#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    trinic_wire::fuzz::packet(data);
});
