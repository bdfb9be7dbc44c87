#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _counts = trinic_ena::fuzz::queues(data);
});
