//! The PUT store against scripted servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use natsbridge_core::Digest;
use natsbridge_fileserver::{HttpStore, StoreErrorKind as Kind, Uploader};
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;

#[tokio::test]
async fn payload_is_put_under_a_new_url_with_the_token_and_deleted() {
    let replies =
        [Reply::new(503, &[], ""), Reply::new(201, &[], ""), Reply::new(204, &[], ""), Reply::new(404, &[], "")];
    let server = ScriptedHttp::start(replies).await.unwrap();
    let store =
        HttpStore::builder(&format!("{}/dav/{{id}}", server.url())).bearer("secret").retry(quick()).build().unwrap();
    let payload = bytes(300_000);
    let stored = store.upload(&object(&payload), &source(&payload)).await.unwrap();
    assert_eq!(stored.uploaded.sha256, Digest::of(&payload));
    store.delete(&stored.receipt).await.unwrap();
    store.delete(&stored.receipt).await.unwrap();
    let requests = server.requests();
    let methods: Vec<_> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["PUT", "PUT", "DELETE", "DELETE"]);
    for request in &requests {
        assert_eq!(format!("{}{}", server.url(), request.target), stored.uploaded.url);
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
    }
    assert_eq!((requests[1].header("content-length"), requests[1].body_len), (Some("300000"), 300_000));
    assert_eq!(store.origins(), [origin(&server.url())]);
    assert!(!format!("{store:?}").contains("secret"));
}

#[tokio::test]
async fn what_is_stored_without_an_answer_is_deleted_or_named() {
    for (answer, named) in [(204, false), (404, false), (405, true)] {
        let server = ScriptedHttp::routed(move |request| {
            let lost = request.method == "PUT";
            Some(if lost { Reply::raw("").cut_after(0) } else { Reply::new(answer, &[], "") })
        });
        let server = server.await.unwrap();
        let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).retry(quick()).build().unwrap();
        let error = store.upload(&object(b"a"), &source(b"a")).await.unwrap_err();
        let requests = server.requests();
        let (last, before) = requests.split_last().unwrap();
        assert_eq!((&*last.method, &last.target), ("DELETE", &before[0].target));
        assert!(before.iter().all(|request| request.method == "PUT"));
        assert_eq!(error.to_string().contains(&last.target), named, "{error}");
    }
}

#[tokio::test]
async fn nothing_is_deleted_where_the_server_refused_or_was_never_reached() {
    let server = ScriptedHttp::start([Reply::new(403, &[], "")]).await.unwrap();
    let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).retry(quick()).build().unwrap();
    store.upload(&object(b"a"), &source(b"a")).await.unwrap_err();
    assert_eq!(server.requests().len(), 1);
    let dead = dead();
    let store = HttpStore::builder(&format!("{}/{{id}}", dead.url())).retry(quick()).build().unwrap();
    let error = store.upload(&object(b"a"), &source(b"a")).await.unwrap_err();
    assert!(!error.to_string().contains("may hold"), "{error}");
}

#[tokio::test]
async fn uploads_never_share_a_url() {
    let server = ScriptedHttp::start([Reply::ok(""), Reply::ok("")]).await.unwrap();
    let store = HttpStore::builder(&format!("{}/{{id}}.bin", server.url())).build().unwrap();
    let first = store.upload(&object(b"a"), &source(b"a")).await.unwrap();
    let second = store.upload(&object(b"a"), &source(b"a")).await.unwrap();
    assert_ne!(first.uploaded.url, second.uploaded.url);
}

#[tokio::test]
async fn link_is_the_url_that_was_put() {
    for path in ["a b/{id}", "ü/{id}", "x/../{id}", "{ID}/{id}?k=a b", "\\{id}"] {
        let server = ScriptedHttp::start([Reply::ok("")]).await.unwrap();
        let store = HttpStore::builder(&format!("{}/{path}", server.url())).build().unwrap();
        let stored = store.upload(&object(b"a"), &source(b"a")).await.unwrap();
        assert_eq!(stored.uploaded.url, format!("{}{}", server.url(), server.requests()[0].target), "{path}");
    }
}

#[tokio::test]
async fn refusals_are_told_apart_by_status() {
    for (status, kind) in [
        (401, Kind::Refused),
        (403, Kind::Refused),
        (413, Kind::TooLarge),
        (400, Kind::Rejected),
        (301, Kind::Rejected),
    ] {
        let server = ScriptedHttp::start([Reply::new(status, &[], "")]).await.unwrap();
        let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).retry(quick()).build().unwrap();
        let error = store.upload(&object(b"a"), &source(b"a")).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (kind, 1));
    }
}

#[test]
fn template_that_cannot_work_is_refused() {
    let without_a_name = ["https://h/x", "https://h", "https://h/x?n={id}", "https://h/x#{id}", "https://h/{id}/.."];
    let elsewhere_too = ["https://{id}/x", "https://{id}.h/{id}", "https://u:{id}@h/{id}", "https://h/{id}?n={id}"];
    for template in without_a_name.iter().chain(&elsewhere_too).chain(&["ftp://h/{id}", "h/{id}", "https://h/{id}#x"]) {
        let built = HttpStore::builder(template).build();
        assert!(built.is_err(), "{template}: {built:?}");
    }
    assert!(HttpStore::builder("https://h/{id}").bearer("a\nb").build().is_err());
}
