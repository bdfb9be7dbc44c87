#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    trinic_ec2::fuzz::query(data);
});
