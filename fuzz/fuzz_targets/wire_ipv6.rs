#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    trinic_wire::fuzz::ipv6(data);
});
