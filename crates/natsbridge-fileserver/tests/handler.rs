//! Async closures as stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use natsbridge_core::{Digest, Link, Object, Source, Uploaded};
use natsbridge_fileserver::{
    BoxError, Downloader, FetchErrorKind, StoreErrorKind, Target, Uploader, download_handler, upload_handler,
};
use support::*;

#[tokio::test]
async fn closures_carry_a_payload_both_ways() {
    let held: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
    let writing = Arc::clone(&held);
    let up = upload_handler(move |object: Object, source: Source| {
        let held = Arc::clone(&writing);
        async move {
            let Source::Bytes(bytes) = source else { return Err("no files".into()) };
            let uploaded = Uploaded::new(format!("custom://{}", object.dataname), object.size, Digest::of(&bytes));
            held.lock().unwrap().insert(uploaded.url.clone(), bytes);
            Ok::<_, BoxError>(uploaded)
        }
    });
    let down = download_handler(move |link: Link| {
        let held = Arc::clone(&held);
        async move { held.lock().unwrap().get(&link.url).cloned().ok_or_else(|| "not here".into()) }
    });
    let (up, down): (Box<dyn Uploader>, Box<dyn Downloader>) = (Box::new(up), Box::new(down));
    let stored = up.upload(&object(b"payload"), &source(b"payload")).await.unwrap();
    up.delete(&stored.receipt).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    down.download(&link(&*stored.uploaded.url, b"payload"), Target::File(path.clone())).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"payload");

    let error = up.upload(&object(b""), &Source::File { path: "/x".into(), len: 1 }).await.unwrap_err();
    assert_eq!((error.kind(), error.dataname()), (StoreErrorKind::Handler, Some("clip")));
    assert!(chain(&error).ends_with(": no files"));
    let error = down.download(&link("custom://none", b""), Target::Memory).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (FetchErrorKind::Handler, "handler"));
}

#[tokio::test]
async fn closure_results_are_checked_like_any_download() {
    let down = download_handler(|_| std::future::ready(Ok(Bytes::from_static(b"payload"))));
    for (other, kind) in [(&b"payloads"[..], FetchErrorKind::SizeMismatch), (b"Payload", FetchErrorKind::Digest)] {
        let error = down.download(&link("custom://x", other), Target::Memory).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    let up = upload_handler(|_, _| std::future::ready(Ok(Uploaded::new("custom://x", 3, Digest::of(b"pay")))));
    let error = up.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Digest, "a closure that stored a part of it");
}
