//! Any bytes as the multipart body of an upload: a file with a number for a name, or nothing.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use natsbridge_fuzz::{Served, TOKEN, UPLOAD};

static SERVED: LazyLock<Served> = LazyLock::new(Served::start);

fuzz_target!(|data: &[u8]| {
    let head = format!(
        "POST /file/{UPLOAD} HTTP/1.1\r\nHost: localhost\r\nX-UploadToken: {TOKEN}\r\n\
         Content-Type: multipart/form-data; boundary=BOUNDARY\r\nContent-Length: {}\r\n\r\n",
        data.len()
    );
    let answer = SERVED.talk(&[head.as_bytes(), data].concat(), Duration::from_secs(5));
    let status = answer.get(9..12).unwrap_or_default();
    assert!(matches!(status, b"200" | b"400" | b"500"), "{}", String::from_utf8_lossy(&answer));
});
