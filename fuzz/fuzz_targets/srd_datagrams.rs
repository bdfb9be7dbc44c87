#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _outcome = trinic_srd::fuzz::datagrams(data);
});
