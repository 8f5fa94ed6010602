//! Buckets under faults: what a real S3 server can't be made to do comes from scripted ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![cfg(feature = "s3")]

mod support;

use std::time::{Duration, Instant};

use natsbridge_core::{Digest, LinkLifetime};
use natsbridge_fileserver::{
    BreakerPolicy, BucketStore, BucketStoreBuilder, Downloader, ExpiryRule, FetchErrorKind, OneShotRule, RetryPolicy,
    StoreError, StoreErrorKind as Kind, Target, Uploader,
};
use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
use natsbridge_testkit::nanio::Nanio;
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;

const SECRET: &str = "wJalrXUtnFEMI-planted-secret";

fn bucket(url: &str) -> BucketStoreBuilder {
    BucketStore::s3(Nanio::BUCKET)
        .endpoint(url)
        .region("us-east-1")
        .access_key(Nanio::ACCESS_KEY, Nanio::SECRET_KEY)
        .retry(quick())
}

/// A server that answers every request so
async fn answering(reply: impl Fn() -> Reply + Send + Sync + 'static) -> ScriptedHttp {
    ScriptedHttp::routed(move |_| Some(reply())).await.unwrap()
}

async fn failure(store: &BucketStore) -> StoreError {
    store.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_that_is_away_for_a_second_is_waited_for() {
    let server = Nanio::start().unwrap();
    let address = server.url().trim_start_matches("http://").parse().unwrap();
    let proxy = FaultProxy::start(address, []).await.unwrap();
    proxy.afterwards(Fault::Refuse);
    let store = bucket(&proxy.url()).retry(RetryPolicy::default()).build().unwrap();
    let started = Instant::now();
    let uploading = tokio::spawn(async move { store.upload(&object(b"payload"), &source(b"payload")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.afterwards(Fault::None);
    uploading.await.unwrap().unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_that_is_dead_costs_six_attempts_three_times_only() {
    let dead = dead();
    let store =
        bucket(&dead.url()).breaker(BreakerPolicy::default().cool_down(Duration::from_secs(60))).build().unwrap();
    for attempts in [6, 6, 6, 0] {
        let error = failure(&store).await;
        assert_eq!((error.kind(), error.attempts()), (Kind::Unreachable, attempts), "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn object_that_is_stored_without_an_answer_is_deleted_or_named() {
    for (answer, named) in [(200, false), (403, true)] {
        let server = ScriptedHttp::routed(move |request| {
            let lost = request.method == "PUT";
            let deleted = "<DeleteResult><Deleted><Key>k</Key></Deleted></DeleteResult>";
            Some(if lost { Reply::raw("").cut_after(0) } else { Reply::new(answer, &[], deleted) })
        });
        let server = server.await.unwrap();
        let error = failure(&bucket(&server.url()).build().unwrap()).await;
        let requests = server.requests();
        let (last, before) = requests.split_last().unwrap();
        assert!(last.method == "POST" && last.target.ends_with("?delete"), "{last:?}");
        assert!(before.iter().all(|request| request.method == "PUT"));
        let key = before[0].target.split_once("/natsbridge/").unwrap().1;
        assert_eq!(error.to_string().contains(key), named, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn multipart_upload_that_breaks_is_started_again() {
    let server = Nanio::start().unwrap();
    let address = server.url().trim_start_matches("http://").parse().unwrap();
    let payload = bytes(20_000_000);
    // Without retries of parts: the whole upload is what is tried again.
    for faults in [
        vec![Fault::CutUploadAfter(3_000_000), Fault::CutUploadAfter(9_000_000), Fault::None],
        vec![Fault::CutUploadAfter(100), Fault::Refuse, Fault::Refuse, Fault::CutUploadAfter(12_000_000)],
    ] {
        let proxy = FaultProxy::start(address, faults).await.unwrap();
        let store = bucket(&proxy.url()).build().unwrap();
        let stored = store.upload(&object(&payload), &source(&payload)).await.unwrap();
        assert_eq!(stored.uploaded.sha256, Digest::of(&payload));
        let found = fetcher().build().unwrap();
        let found = found.download(&link(stored.uploaded.url, &payload), Target::Memory).await.unwrap();
        assert_eq!(found.sha256, Digest::of(&payload));
    }
}

#[tokio::test]
async fn multipart_upload_with_failing_parts_is_given_up_in_the_end() {
    let server = ScriptedHttp::routed(|request| {
        Some(match (&*request.method, request.target.contains("uploads")) {
            ("POST", true) => Reply::ok(
                "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
            ),
            ("DELETE", _) => Reply::new(204, &[], ""),
            _ => Reply::new(503, &[], "<Error><Code>SlowDown</Code><Message>later</Message></Error>"),
        })
    })
    .await
    .unwrap();
    let payload = bytes(9_000_000);
    let store = bucket(&server.url()).retry(quick().max_retries(1)).build().unwrap();
    let error = store.upload(&object(&payload), &source(&payload)).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (Kind::Unreachable, 2), "{}", chain(&error));
    assert!(chain(&error).contains("503 Service Unavailable: SlowDown: later"), "{}", chain(&error));
    let begun = server.requests().iter().filter(|request| request.target.contains("uploads")).count();
    let removed = server.requests().iter().filter(|request| request.method == "DELETE").count();
    assert_eq!((begun, removed), (2, 2));
}

#[tokio::test]
async fn refusals_of_a_bucket_leave_its_circuit_closed() {
    for (status, kind) in [
        (400, Kind::Rejected),
        (403, Kind::Refused),
        (404, Kind::Rejected),
        (405, Kind::Rejected),
        (411, Kind::Rejected),
        (413, Kind::TooLarge),
        (422, Kind::Rejected),
        (501, Kind::Rejected),
        (507, Kind::Full),
    ] {
        let server = answering(move || Reply::new(status, &[], "<Error><Code>No</Code></Error>")).await;
        let store = bucket(&server.url()).build().unwrap();
        for asked in 1..=5 {
            let error = failure(&store).await;
            assert_eq!((error.kind(), error.attempts()), (kind, 1), "{status}: {}", chain(&error));
            assert_eq!(server.requests().len(), asked, "{status}");
            assert!(chain(&error).contains(&format!("answered {status} ")), "{}", chain(&error));
        }
    }
}

#[tokio::test]
async fn buckets_failing_or_busy_are_retried_and_failing_ones_paused() {
    for (status, asked) in [(500, 18), (502, 18), (503, 18), (504, 18), (408, 24), (425, 24), (429, 24)] {
        let server = answering(move || Reply::new(status, &[], "")).await;
        let breaker = BreakerPolicy::default().cool_down(Duration::from_secs(60));
        let store = bucket(&server.url()).breaker(breaker).build().unwrap();
        for _ in 0..4 {
            assert_eq!(failure(&store).await.kind(), Kind::Unreachable, "{status}");
        }
        // After a gateway's 502 or 504 what may be stored is deleted, besides.
        let puts = server.requests().iter().filter(|request| request.method == "PUT").count();
        assert_eq!(puts, asked, "{status}");
    }
}

#[tokio::test]
async fn error_bodies_of_a_bucket_show_code_and_message_harmlessly() {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>bad \u{1b}[31m\u{202e}red {SECRET}</Message>\
         <SecurityToken>{SECRET}</SecurityToken><StringToSign>planted-string</StringToSign></Error>{}",
        "x".repeat(50_000_000)
    );
    let server = answering(move || Reply::new(400, &[], &body)).await;
    let store = bucket(&server.url()).access_key("planted-id", SECRET).build().unwrap();
    let started = Instant::now();
    let mut errors = vec![failure(&store).await];
    errors.push(store.delete(&natsbridge_fileserver::Receipt::new("natsbridge/x")).await.unwrap_err());
    for error in errors {
        let shown = format!("{error:?} {error:#?} {}", chain(&error));
        assert!(shown.contains("SignatureDoesNotMatch"), "{shown}");
        for never in [SECRET, "planted-string", "\u{1b}", "\u{202e}", "Signature=", "AWS4-HMAC"] {
            assert!(!shown.contains(never), "{never:?} in {shown}");
        }
        assert!(shown.len() < 4_000, "{} bytes", shown.len());
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn signatures_that_a_bucket_echoes_are_blotted_out() {
    let server = ScriptedHttp::routed(|request| {
        let signature = request.header("authorization").unwrap_or_default();
        Some(Reply::new(
            403,
            &[],
            format!("<Error><Code>AccessDenied</Code><Message>not {signature}</Message></Error>"),
        ))
    })
    .await
    .unwrap();
    let error = failure(&bucket(&server.url()).build().unwrap()).await;
    let sent = server.requests()[0].header("authorization").unwrap().to_owned();
    let signature = sent.rsplit_once('=').unwrap().1;
    let shown = format!("{error:?} {}", chain(&error));
    assert!(signature.len() == 64 && !shown.contains(signature), "{shown}");
}

#[tokio::test]
async fn error_bodies_that_drip_without_end_are_given_up_in_time() {
    let server = answering(|| Reply::new(500, &[], "x".repeat(100_000)).dribble(1, Duration::from_millis(30))).await;
    let store =
        bucket(&server.url()).idle_timeout(Duration::from_millis(200)).retry(RetryPolicy::never()).build().unwrap();
    let started = Instant::now();
    assert_eq!(failure(&store).await.kind(), Kind::Unreachable);
    let deleted = store.delete(&natsbridge_fileserver::Receipt::new("natsbridge/x")).await;
    assert_eq!(deleted.unwrap_err().kind(), Kind::Unreachable);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn silent_bucket_is_given_up_after_the_idle_time() {
    let server = answering(|| Reply::ok("x").held_until(Default::default())).await;
    let store =
        bucket(&server.url()).idle_timeout(Duration::from_millis(150)).retry(RetryPolicy::never()).build().unwrap();
    let error = failure(&store).await;
    assert_eq!(error.kind(), Kind::Timeout, "{}", chain(&error));
    let error = store.delete(&natsbridge_fileserver::Receipt::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{}", chain(&error));
    assert!(error.to_string().starts_with("failed to delete an upload"), "{error}");
}

#[test]
fn keys_that_are_missing_are_named_without_a_request() {
    if std::env::vars().any(|(name, _)| name.starts_with("AWS_")) {
        return;
    }
    let none = BucketStore::s3("payloads").build().map(|_| ()).unwrap_err().to_string();
    assert!(none.contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"), "{none}");
    let half = BucketStore::s3("payloads").access_key("id", "").build().map(|_| ()).unwrap_err().to_string();
    assert!(half.contains("AWS_SECRET_ACCESS_KEY is not set") && !half.contains("delete"), "{half}");
    let half = BucketStore::s3("payloads").access_key("", SECRET).build().map(|_| ()).unwrap_err().to_string();
    assert!(half.contains("AWS_ACCESS_KEY_ID is not set") && !half.contains(SECRET), "{half}");
    assert!(BucketStore::s3("payloads").instance_credentials(true).build().is_ok(), "an explicit wish");
}

#[cfg(feature = "gcs")]
#[tokio::test]
async fn metadata_services_are_not_asked_for_keys_by_default() {
    if std::env::vars().any(|(name, _)| name.starts_with("GOOGLE_")) {
        return;
    }
    let Ok(store) = BucketStore::gcs("payloads").build() else { return };
    let started = Instant::now();
    let error = store.discover().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (Kind::Credentials, 1), "{}", chain(&error));
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
}

#[tokio::test]
async fn bucket_settings_that_cannot_work_are_refused_without_panic() {
    let keyed = |name: &str| BucketStore::s3(name).access_key("id", SECRET);
    for name in [
        "pay loads",
        "",
        "pay/loads",
        "a?b",
        "a#b",
        "a@b",
        "..",
        "ä",
        "a\nb",
        "[::1]",
        "a%20b",
        "\u{202e}x",
        "*",
        "{id}",
    ] {
        let error = keyed(name).build().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("bucket `") && !error.contains('\u{202e}') && !error.contains('\n'), "{name}: {error}");
    }
    for endpoint in
        ["", "h", "http://", "http://a b", "http://h:99999", "ftp://h", "http://u:pw123@h", "http://h?q", "http://h\\x"]
    {
        let error = keyed("payloads").endpoint(endpoint).build().map(|_| ()).map_err(|error| error.to_string());
        assert!(error.as_ref().is_err_and(|error| !error.contains("pw123")), "{endpoint}: {error:?}");
    }
    for region in ["", " ", "us east", "us/east", "us\neast", "ü"] {
        let error = keyed("payloads").region(region).build();
        assert!(error.is_err(), "{region:?}");
    }
    for secret in ["a b", "a\nb", "ü"] {
        let error = BucketStore::s3("payloads").access_key("id", secret).build().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    }
    // What is taken is signed without a panic, whatever the prefix.
    for prefix in ["a b", "ä/", "../x", "//", "%2e%2e", "?q#f", "a\\b", "\u{202e}"] {
        keyed("payloads").prefix(prefix).build().unwrap().discover().await.unwrap();
    }
    assert!(keyed("payloads").prefix("a\nb").build().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_links_into_a_bucket_are_reported_as_expired() {
    for (status, body, query, kind) in [
        (
            403,
            "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
            "",
            FetchErrorKind::Expired,
        ),
        (403, "<Error><Code>RequestExpired</Code></Error>", "", FetchErrorKind::Expired),
        (
            400,
            "<Error><Code>ExpiredToken</Code><Message>The provided token is over</Message></Error>",
            "",
            FetchErrorKind::Expired,
        ),
        (400, "Request has expired", "", FetchErrorKind::Expired),
        (
            403,
            "<Error><Code>AuthenticationFailed</Code><Message>Signature not valid in the specified time frame</Message></Error>",
            "",
            FetchErrorKind::Expired,
        ),
        (400, "", "?X-Amz-Date=20240101T000000Z&X-Amz-Expires=60&X-Amz-Signature=s", FetchErrorKind::Expired),
        (403, "", "?se=2024-01-01T00%3A00%3A00Z&sig=s", FetchErrorKind::Expired),
        (
            400,
            "<Error><Code>InvalidArgument</Code></Error>",
            "?X-Amz-Date=20990101T000000Z&X-Amz-Expires=60",
            FetchErrorKind::Rejected,
        ),
        (403, "<Error><Code>AccessDenied</Code></Error>", "", FetchErrorKind::Refused),
    ] {
        let server = answering(move || Reply::new(status, &[], body)).await;
        let link = natsbridge_core::Link::new("clip", format!("{}/payloads/x{query}", server.url()));
        let error = fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body} {query}: {}", chain(&error));
    }
}

#[tokio::test]
async fn lifetimes_that_a_bucket_changes_are_warned_of_once() {
    let said = Captured::default();
    let _guard = said.capture();
    let server = Nanio::start().unwrap();
    let store = bucket(&server.url()).build().unwrap();
    let rules = store.lifetime_rules();
    assert_eq!(rules.one_shot, OneShotRule::Never);
    assert_eq!(rules.expiry, ExpiryRule::AtMost(Duration::from_secs(7 * 24 * 3600)));
    for life in [
        LinkLifetime::default(),
        LinkLifetime::one_shot(Duration::from_secs(3600)),
        LinkLifetime::one_shot(Duration::from_secs(3600)),
        LinkLifetime::expiring(Duration::from_secs(30 * 24 * 3600)),
        LinkLifetime::expiring(Duration::from_secs(30 * 24 * 3600)),
    ] {
        store.upload(&object(b"payload").link_lifetime(life), &source(b"payload")).await.unwrap();
    }
    let said = said.text();
    assert_eq!(said.matches("WARN").count(), 2, "{said}");
    assert!(
        said.contains(
            "read once and lives for 1 hour was asked for; the store makes one that can be read any number of times"
        ),
        "{said}"
    );
    assert!(said.contains("lives for 30 days was asked for") && said.contains("lives for 7 days"), "{said}");
}
