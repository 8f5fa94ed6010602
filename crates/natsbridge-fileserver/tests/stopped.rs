//! Uploads whose future is dropped half-way leave nothing behind, at any store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod server_support;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use natsbridge_fileserver::{HttpStore, Uploader};
use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
use natsbridge_testkit::scripted_http::{Reply, Request, ScriptedHttp};
use server_support::{PATIENCE, Server};
use support::*;
use tokio::sync::Notify;

/// A server that never answers the request that carries the payload
async fn holding(held: impl Fn(&Request) -> bool + Send + Sync + 'static, created: &'static str) -> ScriptedHttp {
    let server = ScriptedHttp::routed(move |request| {
        let reply = Reply::ok(if request.method == "POST" { created } else { "{}" });
        Some(if held(request) { reply.held_until(Arc::new(Notify::new())) } else { reply })
    });
    server.await.unwrap()
}

/// Uploads, and gives up when the server has had `n` requests
async fn stop_after(n: usize, server: &ScriptedHttp, store: &dyn Uploader, payload: &[u8]) {
    let (object, source) = (object(payload), source(payload));
    tokio::select! {
        done = store.upload(&object, &source) => panic!("not held: {done:?}"),
        () = server.requested(n) => {}
    }
}

async fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never happens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn lines(server: &ScriptedHttp) -> Vec<String> {
    server.requests().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
}

#[tokio::test]
async fn plik_deletes_it_with_the_token_of_the_upload() {
    let created = r#"{"id":"u1","uploadToken":"t1","oneShot":false,"ttl":3600}"#;
    let server = holding(|request| request.target.starts_with("/file/"), created).await;
    let store = plik(&server.url()).build().unwrap();
    stop_after(3, &server, &store, &bytes(100_000)).await;
    tokio::time::timeout(PATIENCE, server.requested(4)).await.expect("no DELETE");
    assert_eq!(lines(&server), ["GET /config", "POST /upload", "POST /file/u1", "DELETE /upload/u1"]);
    assert_eq!(server.requests()[3].header("x-uploadtoken"), Some("t1"));
}

#[tokio::test]
async fn plik_deletes_it_when_the_time_is_over() {
    let created = r#"{"id":"u1","uploadToken":"t1","oneShot":false,"ttl":3600}"#;
    let server = holding(|request| request.target.starts_with("/file/"), created).await;
    let store = plik(&server.url()).total_timeout(Duration::from_millis(300)).build().unwrap();
    let payload = bytes(1000);
    store.upload(&object(&payload), &source(&payload)).await.unwrap_err();
    tokio::time::timeout(PATIENCE, server.requested(4)).await.expect("no DELETE");
    assert_eq!(lines(&server)[3], "DELETE /upload/u1");
}

#[tokio::test]
async fn http_store_deletes_it() {
    let server = holding(|request| request.method == "PUT", "").await;
    let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).build().unwrap();
    stop_after(1, &server, &store, b"abc").await;
    tokio::time::timeout(PATIENCE, server.requested(2)).await.expect("no DELETE");
    let [put, delete] = &server.requests()[..] else { panic!("{:?}", lines(&server)) };
    assert_eq!((&*delete.method, &delete.target), ("DELETE", &put.target));
}

#[cfg(feature = "s3")]
#[tokio::test]
async fn bucket_deletes_the_object_and_the_parts() {
    use natsbridge_fileserver::BucketStore;

    let created = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    for (size, first, aborted) in [(1000, 1, 0), (9_000_000, 3, 1)] {
        let server = holding(|request| request.method == "PUT", created).await;
        let store = BucketStore::s3("b").endpoint(server.url()).region("us-east-1").access_key("id", "key");
        stop_after(first, &server, &store.build().unwrap(), &bytes(size)).await;
        tokio::time::timeout(PATIENCE, server.requested(first + aborted + 1)).await.expect("not deleted");
        let lines = lines(&server);
        let parts = lines.iter().filter(|line| line.starts_with("DELETE ") && line.contains("uploadId=u1")).count();
        let objects = lines.iter().filter(|line| *line == "POST /b?delete").count();
        assert_eq!((parts, objects), (aborted, 1), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_server_holds_nothing_of_it() {
    let server = Server::start().await;
    for _ in 0..10 {
        let proxy = FaultProxy::start(server.address(), [Fault::StallUploadAfter(3_000_000)]).await.unwrap();
        let store = plik(&proxy.url()).build().unwrap();
        let payload = bytes(5_000_000);
        let (object, source) = (object(&payload), source(&payload));
        tokio::select! {
            done = store.upload(&object, &source) => panic!("not held: {done:?}"),
            () = wait_until(|| !server.files_on_disk().is_empty()) => {}
        }
        wait_until(|| server.files_on_disk().is_empty()).await;
    }
}
