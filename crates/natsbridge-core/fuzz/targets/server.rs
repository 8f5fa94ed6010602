//! Any bytes to the embedded file server: it answers or closes, keeps running, and leaves its folder by no way.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use natsbridge_fuzz::Served;

static SERVED: LazyLock<Served> = LazyLock::new(Served::start);

fuzz_target!(|data: &[u8]| {
    // What is no whole request gets no answer.
    SERVED.talk(data, Duration::from_millis(5));
});
