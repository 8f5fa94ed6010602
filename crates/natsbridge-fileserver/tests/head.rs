//! Looking at links: what the server says is told, one-shots stay, and the rules for links hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use natsbridge_fileserver::FetchErrorKind as Kind;
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;
use time::OffsetDateTime;

#[tokio::test]
async fn head_uses_the_head_method_and_returns_what_the_server_says() {
    let date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let replies = [Reply::new(200, &[("Content-Length", "7"), date], ""), Reply::new(404, &[], "")];
    let server = ScriptedHttp::start(replies).await.unwrap();
    let fetcher = fetcher().build().unwrap();
    let link = link(format!("{}/file/U/F/payload.bin", server.url()), b"payload");
    let found = fetcher.head(&link).await.unwrap();
    assert_eq!((found.status, found.size), (200, Some(7)));
    assert_eq!(found.server_time, Some(OffsetDateTime::from_unix_timestamp(784_111_777).unwrap()));
    assert_eq!(fetcher.head(&link).await.unwrap().status, 404);
    assert!(server.requests().iter().all(|request| request.method == "HEAD"));
}

#[tokio::test]
async fn head_follows_the_same_policy_as_a_download() {
    let other = ScriptedHttp::start([Reply::ok("")]).await.unwrap();
    let fetcher = fetcher().allow("http://files.test".parse().unwrap()).build().unwrap();
    let error = fetcher.head(&link(format!("{}/x", other.url()), b"")).await.unwrap_err();
    assert_eq!((error.kind(), other.connections()), (Kind::BlockedOrigin, 0));
}
