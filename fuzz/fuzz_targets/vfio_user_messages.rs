#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    trinic_host::vfio_user::fuzz::messages(data);
});
