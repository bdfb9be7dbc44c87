#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    trinic_linklocal::fuzz::frame(data);
});
