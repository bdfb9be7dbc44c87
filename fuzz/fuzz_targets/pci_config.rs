#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    trinic_pci::fuzz::config(data);
});
