//! Where a fetcher goes, to whom it gives credentials, and what its errors keep for themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use natsbridge_core::Link;
use natsbridge_fileserver::{Downloader, FetchError, FetchErrorKind as Kind, Fetcher, Target};
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;

async fn server(replies: impl IntoIterator<Item = Reply>) -> ScriptedHttp {
    ScriptedHttp::start(replies).await.unwrap()
}

fn plik_link(server: &ScriptedHttp, bytes: &[u8]) -> Link {
    link(format!("{}/file/U/F/payload.bin", server.url()), bytes)
}

async fn failure(fetcher: &Fetcher, link: &Link) -> FetchError {
    fetcher.download(link, Target::Memory).await.unwrap_err()
}

#[tokio::test]
async fn credentials_and_downloads_go_to_configured_origins_only() {
    let (ours, other) =
        (server([Reply::ok("payload"), Reply::ok("payload")]).await, server([Reply::ok("payload")]).await);
    let fetcher = fetcher().bearer(origin(&ours.url()), "token").allow(origin(&other.url())).build().unwrap();
    fetcher.download(&plik_link(&ours, b"payload"), Target::Memory).await.unwrap();
    fetcher.download(&plik_link(&other, b"payload"), Target::Memory).await.unwrap();
    assert_eq!(ours.requests()[0].header("authorization"), Some("Bearer token"));
    assert_eq!(other.requests()[0].header("authorization"), None);
    let stranger = server([Reply::ok("payload")]).await;
    let error = failure(&fetcher, &plik_link(&stranger, b"payload")).await;
    assert_eq!((error.kind(), stranger.connections()), (Kind::BlockedOrigin, 0));
    assert!(!format!("{fetcher:?}").contains("token\""));
}

#[tokio::test]
async fn error_of_a_link_holds_no_secret_of_it() {
    let server =
        server([Reply::new(403, &[], "<Error><Message>denied</Message><Signature>secret</Signature></Error>")]).await;
    let link = link(format!("{}/x?X-Amz-Signature=secret", server.url()), b"payload");
    let error = failure(&fetcher().build().unwrap(), &link).await;
    let shown = format!("{error:?} {}", chain(&error));
    assert!(shown.contains("denied") && !shown.contains("secret"), "{shown}");
    let dead = dead();
    let link = self::link(format!("{}/x?sig=secret", dead.url()), b"payload");
    let error = failure(&fetcher().build().unwrap(), &link).await;
    let shown = format!("{error:?} {}", chain(&error));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn user_info_of_the_server_url_is_sent_to_its_origin_alone() {
    let (ours, other) = (server([Reply::ok("payload")]).await, server([Reply::ok("payload")]).await);
    let url = ours.url().replace("http://", "http://bob:secret@");
    let fetcher = fetcher().server(&url).unwrap().allow(origin(&other.url())).build().unwrap();
    fetcher.download(&plik_link(&ours, b"payload"), Target::Memory).await.unwrap();
    fetcher.download(&plik_link(&other, b"payload"), Target::Memory).await.unwrap();
    assert_eq!(ours.requests()[0].header("authorization"), Some("Basic Ym9iOnNlY3JldA=="));
    assert_eq!(other.requests()[0].header("authorization"), None);
    assert!(!format!("{fetcher:?}").contains("secret"));
    for bad in ["http://", "", "files.test", "ftp://files.test", "http://a b"] {
        assert!(Fetcher::builder().server(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn refusal_of_an_origin_names_what_is_allowed() {
    let fetcher = fetcher().allow(origin("http://127.0.0.1:8080")).build().unwrap();
    let error = failure(&fetcher, &Link::new("clip", "http://localhost:9000/x")).await;
    assert_eq!(error.refused_origin().map(ToString::to_string).as_deref(), Some("http://localhost:9000"));
    let text = "this receiver does not download from http://localhost:9000 (allowed: http://127.0.0.1:8080)";
    assert!(error.to_string().ends_with(text), "{error}");
    let error = failure(&fetcher, &Link::new("clip", "file:///etc/passwd")).await;
    assert!(error.refused_origin().is_none());
}

#[tokio::test]
async fn tokens_and_signatures_that_a_server_echoes_are_blotted_out() {
    let body = "no token-planted, no sig%2Fplanted, no sig/planted \u{1b}[2J\u{202e}\u{2028}";
    let server = server([Reply::new(403, &[], body)]).await;
    let fetcher = fetcher().bearer(origin(&server.url()), "token-planted").build().unwrap();
    let error = failure(&fetcher, &Link::new("clip", format!("{}/x?sig=sig%2Fplanted", server.url()))).await;
    let shown = format!("{error:?} {}", chain(&error));
    for never in ["planted", "\u{1b}", "\u{202e}", "\u{2028}"] {
        assert!(!shown.contains(never), "{never:?} in {shown}");
    }
}
