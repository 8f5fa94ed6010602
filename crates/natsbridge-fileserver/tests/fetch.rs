//! The fetcher against servers that answer wrongly, break off, redirect, lie or are gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use natsbridge_core::{Digest, Link, Source};
use natsbridge_fileserver::{BreakerPolicy, Downloader, FetchErrorKind as Kind, Fetcher, RetryPolicy, Target};
use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn server(replies: impl IntoIterator<Item = Reply>) -> ScriptedHttp {
    ScriptedHttp::start(replies).await.unwrap()
}

fn plik_link(server: &ScriptedHttp, bytes: &[u8]) -> Link {
    link(format!("{}/file/U/F/payload.bin", server.url()), bytes)
}

fn one_shot(server: &ScriptedHttp, bytes: &[u8]) -> Link {
    let mut link = plik_link(server, bytes);
    link.one_shot = true;
    link
}

async fn failure(fetcher: &Fetcher, link: &Link) -> natsbridge_fileserver::FetchError {
    fetcher.download(link, Target::Memory).await.unwrap_err()
}

/// Downloads with a fresh fetcher and expects this kind after this many requests
async fn refused(
    replies: impl IntoIterator<Item = Reply>,
    change: impl FnOnce(&mut Link),
    kind: Kind,
    requests: usize,
) {
    let server = server(replies).await;
    let mut link = plik_link(&server, b"payload");
    change(&mut link);
    let error = failure(&fetcher().build().unwrap(), &link).await;
    assert_eq!((error.kind(), server.requests().len()), (kind, requests), "{}", chain(&error));
    assert_eq!(error.dataname(), "clip");
}

#[tokio::test]
async fn download_names_its_client_and_asks_for_plain_bytes() {
    let server = server([Reply::ok("payload")]).await;
    let downloaded =
        fetcher().build().unwrap().download(&plik_link(&server, b"payload"), Target::Memory).await.unwrap();
    assert_eq!(downloaded.source, Source::from("payload"));
    assert_eq!(downloaded.sha256, Digest::of(b"payload"));
    let request = &server.requests()[0];
    assert!(request.header("user-agent").unwrap().starts_with("plik_client/natsbridge-"));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn download_cut_five_times_arrives_intact() {
    let payload = bytes(300_000);
    let cuts = (1..=5).map(|n| Reply::ok(&payload).cut_after(n * 50_000));
    let server = server(cuts.chain([Reply::ok(&payload)])).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    let downloaded =
        fetcher().build().unwrap().download(&plik_link(&server, &payload), Target::File(path.clone())).await.unwrap();
    assert_eq!(downloaded.source, Source::File { path: path.clone(), len: 300_000 });
    assert_eq!(std::fs::read(&path).unwrap(), payload);
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn download_through_a_breaking_network_arrives_intact() {
    let payload = bytes(500_000);
    let served = payload.clone();
    let server = ScriptedHttp::routed(move |_| Some(Reply::ok(&served))).await.unwrap();
    let faults = [
        Fault::Refuse,
        Fault::ResetAfter(100_000),
        Fault::CutAfter(0),
        Fault::CutAfter(499_999),
        Fault::ResetAfter(10),
    ];
    let proxy = FaultProxy::start(server.address(), faults).await.unwrap();
    let link = link(format!("{}/x", proxy.url()), &payload);
    let downloaded = fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap();
    assert_eq!(downloaded.source, source(&payload));
    assert_eq!(proxy.connections(), 6);
}

#[tokio::test]
async fn download_cut_a_sixth_time_fails() {
    let payload = bytes(1000);
    let server = server((0..7).map(|_| Reply::ok(&payload).cut_after(500))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    let result = fetcher().build().unwrap().download(&plik_link(&server, &payload), Target::File(path.clone())).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.last(), error.attempts()), (Kind::DownloadRetryExceeded, Kind::Unreachable, 6));
    assert_eq!(error.code(), "download_retry_exceeded");
    assert!(error.is_retryable());
    assert!(!path.exists(), "what is incomplete is removed");
    assert_eq!(server.left(), 1, "five retries and no sixth");
}

#[tokio::test]
async fn body_without_length_that_ends_early_is_a_cut() {
    let payload = bytes(5000);
    let server = server([Reply::until_close(&payload[..4999]), Reply::until_close(&payload)]).await;
    let downloaded = fetcher().build().unwrap().download(&plik_link(&server, &payload), Target::Memory).await.unwrap();
    assert_eq!(downloaded.source, source(&payload));
}

#[tokio::test]
async fn cut_download_resumes_where_the_server_has_a_strong_etag() {
    let payload = bytes(100_000);
    let tagged = [("ETag", "\"v1\""), ("Accept-Ranges", "bytes")];
    let rest = [("ETag", "\"v1\""), ("Content-Range", "bytes 40000-99999/100000")];
    let server =
        server([Reply::new(200, &tagged, &payload).cut_after(40_000), Reply::new(206, &rest, &payload[40_000..])])
            .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    fetcher().build().unwrap().download(&plik_link(&server, &payload), Target::File(path.clone())).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), payload);
    let again = &server.requests()[1];
    assert_eq!((again.header("range"), again.header("if-range")), (Some("bytes=40000-"), Some("\"v1\"")));
}

#[tokio::test]
#[cfg(unix)]
async fn file_keeps_no_space_announced_and_not_filled() {
    use std::os::unix::fs::MetadataExt as _;
    let payload = bytes(10_000_000);
    let tagged = [("ETag", "\"v1\"")];
    let rest = [("ETag", "\"v1\""), ("Content-Range", "bytes 1500000-1500099/1500100")];
    let server =
        server([Reply::new(200, &tagged, &payload).cut_after(1_500_000), Reply::new(206, &rest, bytes(100))]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    let link = Link::new("clip", format!("{}/file/u/f/clip", server.url()));
    fetcher().build().unwrap().download(&link, Target::File(path.clone())).await.unwrap();
    let found = std::fs::metadata(path).unwrap();
    assert_eq!(found.len(), 1_500_100);
    assert!(found.blocks() * 512 < 1_600_000, "{} bytes are kept", found.blocks() * 512);
}

#[tokio::test]
async fn resumption_ignored_or_wrong_starts_from_zero() {
    let payload = bytes(10_000);
    let tagged = [("ETag", "\"v1\"")];
    let wrong = [("Content-Range", "bytes 1-9999/10000")];
    for second in [
        vec![Reply::new(200, &[("ETag", "\"v2\"")], &payload)],
        vec![Reply::new(206, &wrong, &payload[1..]), Reply::ok(&payload)],
        vec![Reply::new(416, &[], ""), Reply::ok(&payload)],
    ] {
        let replies = [Reply::new(200, &tagged, &payload).cut_after(4000)].into_iter().chain(second);
        let server = server(replies).await;
        let downloaded =
            fetcher().build().unwrap().download(&plik_link(&server, &payload), Target::Memory).await.unwrap();
        assert_eq!(downloaded.source, source(&payload));
        assert_eq!(server.left(), 0);
    }
    let server =
        server([Reply::new(200, &[("ETag", "W/\"v1\"")], &payload).cut_after(4000), Reply::ok(&payload)]).await;
    fetcher().build().unwrap().download(&plik_link(&server, &payload), Target::Memory).await.unwrap();
    assert_eq!(server.requests()[1].header("range"), None, "a weak tag does not promise the same bytes");
}

#[tokio::test]
async fn flipped_bit_is_never_handed_out() {
    let payload = bytes(50_000);
    let flipped = || Reply::ok(&payload).flip_bit(31_415);
    let mended = server([flipped(), Reply::ok(&payload)]).await;
    let fetcher = fetcher().build().unwrap();
    assert_eq!(fetcher.download(&plik_link(&mended, &payload), Target::Memory).await.unwrap().source, source(&payload));

    let broken = server([flipped(), flipped(), Reply::ok(&payload)]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    let error = fetcher.download(&plik_link(&broken, &payload), Target::File(path.clone())).await.unwrap_err();
    assert_eq!((error.kind(), broken.left()), (Kind::Digest, 1), "read once more, then given up");
    assert!(!path.exists());
}

#[tokio::test]
async fn redirect_is_never_followed() {
    let elsewhere = server([Reply::ok("payload")]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = [("Location", elsewhere.url())];
        let headers = [("Location", location[0].1.as_str())];
        refused([Reply::new(status, &headers, "")], |_| {}, Kind::BlockedOrigin, 1).await;
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn response_without_a_whole_body_is_refused_without_a_retry() {
    for (reply, kind) in [
        (Reply::new(404, &[], "upload U not found\n"), Kind::NotFound),
        (Reply::new(404, &[], "upload U has expired\n"), Kind::Expired),
        (Reply::new(410, &[], ""), Kind::NotFound),
        (Reply::new(401, &[], "please provide valid credentials\n"), Kind::Refused),
        (Reply::new(403, &[], ""), Kind::Refused),
        (Reply::new(400, &[], "invalid file name\n"), Kind::Rejected),
        (Reply::new(204, &[], ""), Kind::Rejected),
        (Reply::new(206, &[("Content-Range", "bytes 0-6/7")], "payload"), Kind::Rejected),
        (Reply::new(200, &[("Content-Encoding", "gzip")], "payload"), Kind::Rejected),
        (Reply::ok("payload and more"), Kind::SizeMismatch),
        (Reply::ok("pay"), Kind::SizeMismatch),
        (Reply::until_close("payload and more"), Kind::SizeMismatch),
    ] {
        refused([reply], |_| {}, kind, 1).await;
    }
}

#[tokio::test]
async fn transient_responses_are_retried() {
    let busy = server([Reply::new(409, &[("Retry-After", "0")], "in use"), Reply::ok("payload")]).await;
    fetcher().build().unwrap().download(&plik_link(&busy, b"payload"), Target::Memory).await.unwrap();
    refused([Reply::new(409, &[], "")], |_| {}, Kind::Rejected, 1).await;
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let server = server([Reply::new(status, &[], "later"), Reply::ok("payload")]).await;
        fetcher().build().unwrap().download(&plik_link(&server, b"payload"), Target::Memory).await.unwrap();
    }
}

#[tokio::test]
async fn body_of_a_failed_response_is_never_the_payload() {
    // The loser of a race for a one-shot gets the error and the whole file behind it.
    let body = ["internal server error\n".as_bytes(), b"payload"].concat();
    refused(
        (0..6).map(|_| Reply::new(500, &[], &body)),
        |link| (link.size, link.sha256) = (None, None),
        Kind::DownloadRetryExceeded,
        6,
    )
    .await;
}

#[tokio::test]
async fn retry_after_is_waited_for_within_the_total_time() {
    let server = server([
        Reply::new(429, &[("Retry-After", "1")], ""),
        Reply::ok("payload"),
        Reply::new(503, &[("Retry-After", "3600")], ""),
    ])
    .await;
    let fetcher = fetcher().build().unwrap();
    let started = Instant::now();
    fetcher.download(&plik_link(&server, b"payload"), Target::Memory).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    let error = failure(&fetcher, &plik_link(&server, b"payload")).await;
    assert_eq!((error.kind(), error.last()), (Kind::DownloadRetryExceeded, Kind::Unreachable));
}

#[tokio::test]
async fn limits_hold_with_and_without_a_content_length() {
    let large = vec![0; 5000];
    for reply in [Reply::ok(&large), Reply::until_close(&large)] {
        let server = server([reply]).await;
        let mut link = Link::new("clip", server.url());
        let fetcher = fetcher().max_payload_size(4999).build().unwrap();
        assert_eq!(failure(&fetcher, &link).await.kind(), Kind::TooLarge);
        link.size = Some(5000);
        assert_eq!(failure(&fetcher, &link).await.kind(), Kind::TooLarge);
        assert_eq!(server.requests().len(), 1, "what is known to be too large is not asked for");
    }
    let server = server([Reply::ok(&large)]).await;
    let small = fetcher().max_memory_size(100).build().unwrap();
    assert_eq!(failure(&small, &plik_link(&server, &large)).await.kind(), Kind::TooLarge);
    let folder = tempfile::tempdir().unwrap();
    small.download(&plik_link(&server, &large), Target::File(folder.path().join("x"))).await.unwrap();
}

#[tokio::test]
async fn web_page_is_not_taken_for_a_payload_of_unknown_content() {
    let page = || Reply::new(200, &[("Content-Type", "text/html; charset=utf-8")], "<!doctype html>");
    refused([page()], |link| (link.size, link.sha256) = (None, None), Kind::Rejected, 1).await;
    let server = server([page()]).await;
    let fetched = fetcher().build().unwrap().download(&plik_link(&server, b"<!doctype html>"), Target::Memory).await;
    assert!(fetched.is_ok(), "a page that was sent as a payload is one");
}

#[tokio::test]
async fn expired_link_is_not_asked_for() {
    let long_ago = Some(OffsetDateTime::now_utc() - time::Duration::hours(1));
    refused([], |link| link.expires_at = long_ago, Kind::Expired, 0).await;
    let just_now = Some(OffsetDateTime::now_utc() - time::Duration::seconds(2));
    refused([Reply::new(404, &[], "")], |link| link.expires_at = just_now, Kind::Expired, 1).await;
    refused([Reply::new(403, &[], "")], |link| link.expires_at = just_now, Kind::Expired, 1).await;
}

fn status(word: &str) -> Reply {
    Reply::ok(format!(
        r#"{{"id":"U","oneShot":true,"files":[{{"id":"F","fileName":"payload.bin","status":"{word}"}}]}}"#
    ))
}

#[tokio::test]
async fn one_shot_is_read_again_only_when_the_server_still_has_it() {
    let payload = b"payload";
    let server = server([Reply::new(503, &[], ""), status("uploaded"), Reply::ok(payload)]).await;
    fetcher().build().unwrap().download(&one_shot(&server, payload), Target::Memory).await.unwrap();
    let targets: Vec<_> = server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/file/U/F/payload.bin", "/upload/U", "/file/U/F/payload.bin"]);
}

#[tokio::test]
async fn one_shot_that_was_cut_is_consumed_and_not_asked_for_again() {
    let payload = bytes(1000);
    for word in ["removed", "deleted"] {
        let server = server([Reply::ok(&payload).cut_after(400), status(word)]).await;
        let error = failure(&fetcher().build().unwrap(), &one_shot(&server, &payload)).await;
        assert_eq!((error.kind(), error.attempts(), server.requests().len()), (Kind::Consumed, 2, 2));
        assert_eq!((error.code(), error.is_retryable()), ("consumed", false));
    }
    // Another kind of server, which can't be asked.
    let server = server([Reply::ok(&payload).cut_after(400)]).await;
    let mut link = link(format!("{}/object", server.url()), &payload);
    link.one_shot = true;
    let error = failure(&fetcher().build().unwrap(), &link).await;
    assert_eq!((error.kind(), server.requests().len()), (Kind::Consumed, 1));
}

#[tokio::test]
async fn one_shot_without_a_connection_needs_no_status_request() {
    let dead = dead();
    let mut link = link(format!("{}/file/U/F/payload.bin", dead.url()), b"payload");
    link.one_shot = true;
    let error = failure(&fetcher().build().unwrap(), &link).await;
    assert_eq!((error.kind(), error.last(), error.attempts()), (Kind::DownloadRetryExceeded, Kind::Unreachable, 6));
}

#[tokio::test]
async fn one_shot_deleted_on_the_server_counts_as_consumed() {
    let gone = || Reply::new(404, &[], "file payload.bin (F) is not available : deleted\n");
    refused([gone()], |link| link.one_shot = true, Kind::Consumed, 1).await;
    refused([gone(), status("deleted")], |_| {}, Kind::Consumed, 2).await;
    refused([gone(), Reply::ok(r#"{"id":"U","oneShot":false,"files":[]}"#)], |_| {}, Kind::NotFound, 2).await;
}

#[tokio::test]
async fn one_shot_with_a_flipped_bit_is_an_error_at_once() {
    refused([Reply::ok("payload").flip_bit(3)], |link| link.one_shot = true, Kind::Digest, 1).await;
}

#[tokio::test]
async fn metadata_service_link_is_never_connected_to() {
    let fetcher = fetcher().build().unwrap();
    for url in [
        "http://169.254.169.254/latest/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0x7f.1@evil/",
        "file:///etc/passwd",
        "http://0.0.0.0:1/",
    ] {
        let started = Instant::now();
        let error = failure(&fetcher, &Link::new("clip", url)).await;
        assert_eq!((error.kind(), error.attempts()), (Kind::BlockedOrigin, 0), "{url}");
        assert!(started.elapsed() < Duration::from_millis(500));
    }
}

#[tokio::test]
async fn dead_server_costs_at_most_the_total_time() {
    let fetcher = Fetcher::builder().total_timeout(Duration::from_millis(400)).build().unwrap();
    let started = Instant::now();
    let dead = dead();
    let error = failure(&fetcher, &link(dead.url(), b"payload")).await;
    assert_eq!((error.kind(), error.last()), (Kind::DownloadRetryExceeded, Kind::Unreachable));
    assert!(started.elapsed() < Duration::from_millis(1000), "{:?}", started.elapsed());
}

#[tokio::test]
async fn silent_server_is_given_up_after_the_idle_and_total_times() {
    let payload = bytes(1000);
    let server =
        server([Reply::ok(&payload).stall_after(10), Reply::ok(&payload).stall_after(10), Reply::ok(&payload)]).await;
    let fetcher = fetcher().idle_timeout(Duration::from_millis(100)).build().unwrap();
    fetcher.download(&plik_link(&server, &payload), Target::Memory).await.unwrap();

    let release = Arc::new(Notify::new());
    let held = server_held(&release).await;
    let total = Fetcher::builder().total_timeout(Duration::from_millis(200)).build().unwrap();
    let error = failure(&total, &plik_link(&held, &payload)).await;
    assert_eq!((error.kind(), error.is_retryable()), (Kind::Timeout, true));
}

#[tokio::test]
async fn dribbling_server_is_given_up_after_the_total_time() {
    let payload = bytes(10_000);
    let server = server([Reply::ok(&payload).dribble(1, Duration::from_millis(20))]).await;
    let fetcher = fetcher().total_timeout(Duration::from_millis(300)).build().unwrap();
    let started = Instant::now();
    let error = failure(&fetcher, &plik_link(&server, &payload)).await;
    assert_eq!((error.kind(), server.requests().len()), (Kind::Timeout, 1), "it is never silent for long");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn body_without_end_is_cut_at_the_limit() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let link = Link::new("clip", format!("http://{}/x", listener.local_addr().unwrap()));
    let endless = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        assert!(client.read(&mut [0; 4096]).await.unwrap() > 0);
        client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        // Ends when the client has had enough.
        while client.write_all(&[b"400\r\n", &[0; 1024][..], b"\r\n"].concat()).await.is_ok() {}
    });
    let fetcher = fetcher().max_payload_size(3_000_000).build().unwrap();
    assert_eq!(failure(&fetcher, &link).await.kind(), Kind::TooLarge);
    endless.await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn connection_that_does_not_open_ends_after_the_connect_time() {
    // Nobody accepts, and a full queue lets no other connection in.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(opened) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        queue.push(opened.unwrap());
    }
    let retry = RetryPolicy::never();
    let fetcher = Fetcher::builder().retry(retry).connect_timeout(Duration::from_millis(100)).build().unwrap();
    let started = Instant::now();
    let error = failure(&fetcher, &link(format!("http://{address}/x"), b"payload")).await;
    assert_eq!((error.kind(), error.attempts()), (Kind::Timeout, 1), "{}", chain(&error));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

async fn server_held(release: &Arc<Notify>) -> ScriptedHttp {
    server([Reply::ok("payload").held_until(Arc::clone(release))]).await
}

#[tokio::test]
async fn dead_server_is_skipped_after_three_downloads_until_back() {
    let up = server([]).await;
    let proxy = FaultProxy::start(up.address(), []).await.unwrap();
    proxy.afterwards(Fault::Refuse);
    let cool_down = Duration::from_secs(600);
    let breaker = BreakerPolicy::default().cool_down(cool_down);
    let fetcher = fetcher().retry(RetryPolicy::never()).breaker(breaker).build().unwrap();
    let link = link(format!("{}/x", proxy.url()), b"payload");
    for _ in 0..3 {
        assert_eq!(failure(&fetcher, &link).await.kind(), Kind::Unreachable);
    }
    let connections = proxy.connections();
    let error = failure(&fetcher, &link).await;
    assert_eq!((error.kind(), error.attempts(), proxy.connections()), (Kind::Unreachable, 0, connections));
    proxy.afterwards(Fault::None);
    up.push(Reply::ok("payload"));
    tokio::time::pause();
    tokio::time::advance(cool_down).await;
    tokio::time::resume();
    fetcher.download(&link, Target::Memory).await.unwrap();
}

#[tokio::test]
async fn server_with_one_broken_file_is_not_called_dead() {
    let server = server((0..5).map(|_| Reply::new(500, &[], ""))).await;
    let fetcher = fetcher().retry(RetryPolicy::never()).build().unwrap();
    for _ in 0..5 {
        assert_eq!(failure(&fetcher, &plik_link(&server, b"payload")).await.kind(), Kind::Unreachable);
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn existing_file_is_kept_and_a_stopped_download_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    std::fs::write(&path, "mine").unwrap();
    let payload = bytes(1_000_000);
    let server = server([Reply::ok(&payload).stall_after(600_000)]).await;
    let fetcher = fetcher().build().unwrap();
    let link = plik_link(&server, &payload);
    let error = fetcher.download(&link, Target::File(path.clone())).await.unwrap_err();
    assert_eq!((error.kind(), server.requests().len()), (Kind::LocalFile, 0));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");

    let path = folder.path().join("other");
    let stopped = tokio::spawn({
        let path = path.clone();
        async move { fetcher.download(&link, Target::File(path)).await }
    });
    server.requested(1).await;
    assert!(path.exists());
    stopped.abort();
    assert!(stopped.await.unwrap_err().is_cancelled());
    assert!(!path.exists());
}

#[tokio::test]
async fn body_too_slow_is_given_up_after_one_idle_time() {
    let payload = bytes(100_000);
    let slow = || Reply::ok(&payload).dribble(1, Duration::from_millis(20));
    let server = server([slow(), slow()]).await;
    let idle = Duration::from_millis(400);
    let fetcher = fetcher().idle_timeout(idle).min_rate(10_000).build().unwrap();
    let started = Instant::now();
    let error = failure(&fetcher, &plik_link(&server, &payload)).await;
    assert_eq!((error.kind(), server.requests().len()), (Kind::Timeout, 1), "{}", chain(&error));
    assert!(chain(&error).contains("less than 10000 a second"), "{}", chain(&error));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn body_fast_enough_is_taken_however_long_it_takes() {
    let payload = bytes(40);
    let server = server([Reply::ok(&payload).dribble(1, Duration::from_millis(20))]).await;
    let fetcher = fetcher().idle_timeout(Duration::from_millis(200)).min_rate(5).build().unwrap();
    fetcher.download(&plik_link(&server, &payload), Target::Memory).await.unwrap();
}

#[tokio::test]
async fn retry_after_beyond_the_cap_is_reported_with_its_time() {
    let busy = || Reply::new(429, &[("Retry-After", "1700")], "");
    let server = server([busy(), busy()]).await;
    let started = Instant::now();
    let error = failure(&fetcher().build().unwrap(), &plik_link(&server, b"payload")).await;
    assert_eq!((error.kind(), error.last()), (Kind::DownloadRetryExceeded, Kind::Unreachable));
    assert!(chain(&error).contains("asks to wait 1700 s, more than the maximum of 30 s"), "{}", chain(&error));
    assert_eq!(chain(&error).matches("failed to fetch").count(), 1, "{}", chain(&error));
    assert!(server.requests().len() == 1 && started.elapsed() < Duration::from_secs(2));
}
