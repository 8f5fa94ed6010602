//! The Plik client against recorded answers of a real server: one test for each of the contract's ten rules, and more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::time::{Duration, Instant};

use natsbridge_core::{Digest, Link, LinkLifetime, Object, PayloadType, Source};
use natsbridge_fileserver::{
    BreakerPolicy, Downloader, ExpiryRule, FetchErrorKind, OneShotRule, StoreErrorKind as Kind, Stored, Target,
    Uploader,
};
use natsbridge_testkit::fault_proxy::{Fault, FaultProxy};
use natsbridge_testkit::scripted_http::{Reply, Request, ScriptedHttp};
use support::*;

/// Recorded: exchange 0
const CONFIG: &str = r#"{"maxFileSize":2000000,"maxUserSize":-1,"maxFilePerUpload":1000,"defaultTTL":2592000,"maxTTL":2592000,"downloadDomain":"","downloadDomainAlias":null,"abuseContact":"","feature_authentication":"disabled","feature_one_shot":"enabled","feature_removable":"enabled","feature_stream":"enabled","feature_password":"enabled","feature_comments":"enabled","feature_set_ttl":"enabled","feature_extend_ttl":"disabled","feature_clients":"enabled","feature_github":"enabled","feature_text":"enabled","authentication":false,"noAnonymousUploads":false,"oneShot":true,"removable":true,"stream":true,"protectedByPassword":true,"googleAuthentication":false,"ovhAuthentication":false,"ovhApiEndpoint":"https://eu.api.ovh.com/1.0"}"#;
/// Recorded: exchange 1
const CREATED: &str = r#"{"id":"fx42p6dwO4x3MKWX","ttl":3600,"extend_ttl":false,"downloadDomain":"","comments":"","files":null,"uploadToken":"jx0Qb1dkPEQAsle3plR4BAqwYcFr81hB","admin":true,"stream":false,"oneShot":true,"removable":false,"protectedByPassword":false,"createdAt":"2026-11-22T07:41:16.06587635Z","expireAt":"2026-11-22T08:41:16.06587644Z"}"#;
/// Recorded: exchange 6
const CONSUMED: &str = "file payload.bin (2LNrp1EGZY8zV4Hb) is not available : deleted\n";
/// Recorded: exchange 7
const REDIRECT: &str = "HTTP/1.1 301 Moved Permanently\r\nContent-Type: text/html; charset=utf-8\r\nLocation: /#/?err=file payload.bin (2LNrp1EGZY8zV4Hb) is not available : deleted&errcode=404&uri=/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin\r\nDate: Sun, 22 Nov 2026 07:41:17 GMT\r\nContent-Length: 4\r\n\r\nbody";
/// Recorded: exchange 11
const NOT_ALLOWED: &str = "you are not allowed to add file to this upload\n";
/// Recorded: exchange 13
const TOO_BIG: &str = "file too big (limit is set to 2.0 MB)\n";

/// Plik's JSON comes as plain text
fn json(body: impl AsRef<[u8]>) -> Reply {
    Reply::new(200, &[("Content-Type", "text/plain; charset=utf-8")], body)
}

fn error(status: u16, body: &str) -> Reply {
    Reply::new(status, &[("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")], body)
}

/// What a Plik answers for these bytes (exchange 2)
fn kept(payload: &[u8]) -> String {
    kept_with(payload.len(), &md5(payload), "uploaded")
}

fn kept_with(size: usize, md5: &str, status: &str) -> String {
    format!(
        r#"{{"id":"2LNrp1EGZY8zV4Hb","fileName":"payload.bin","status":"{status}","fileMd5":"{md5}","fileType":"application/octet-stream","fileSize":{size},"reference":"","createdAt":"2026-11-22T07:41:16.672798815Z"}}"#
    )
}

fn md5(bytes: &[u8]) -> String {
    use md5::Digest as _;
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn server(replies: impl IntoIterator<Item = Reply>) -> ScriptedHttp {
    ScriptedHttp::start(replies).await.unwrap()
}

/// A server that answers one upload of `payload`
async fn accepting(created: &str, payload: &[u8]) -> ScriptedHttp {
    server([json(CONFIG), json(created), json(kept(payload))]).await
}

async fn upload(server: &ScriptedHttp, payload: &[u8]) -> Result<Stored, natsbridge_fileserver::StoreError> {
    plik(&server.url()).build().unwrap().upload(&object(payload), &source(payload)).await
}

fn lines(server: &ScriptedHttp) -> Vec<String> {
    server.requests().iter().map(|request| format!("{} {}", request.method, request.target)).collect()
}

fn body(request: &Request) -> serde_json::Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn upload_reads_the_configuration_creates_sends_and_describes() {
    let payload = bytes(600_000);
    let server = accepting(CREATED, &payload).await;
    let store = plik(&server.url()).build().unwrap();
    let wanted = object(&payload).link_lifetime(LinkLifetime::one_shot(Duration::from_secs(3600)));
    let Stored { uploaded, receipt } = store.upload(&wanted, &source(&payload)).await.unwrap();
    assert_eq!(lines(&server), ["GET /config", "POST /upload", "POST /file/fx42p6dwO4x3MKWX"]);
    assert_eq!(uploaded.url, format!("{}/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin", server.url()));
    assert_eq!((uploaded.size, uploaded.sha256, uploaded.one_shot), (600_000, Digest::of(&payload), true));
    assert_eq!(uploaded.expires_at.unwrap().unix_timestamp(), 1_795_336_876);
    let requests = server.requests();
    assert_eq!(body(&requests[1]), serde_json::json!({"oneShot": true, "ttl": 3600, "crc64nvme": true}));
    assert_eq!(requests[2].header("x-uploadtoken"), Some("jx0Qb1dkPEQAsle3plR4BAqwYcFr81hB"));
    assert_eq!(
        requests[2].header("content-length").unwrap(),
        requests[2].body_len.to_string(),
        "the length is known, so nothing is chunked"
    );
    assert!(!format!("{receipt:?}").contains("jx0Qb1"), "a receipt is a secret");

    server.push(json(kept(b"")));
    server.push(Reply::new(599, &[], ""));
    assert_eq!(store.name(), format!("plik at {}", server.url()));
}

#[tokio::test]
async fn trap_1_gone_file_is_an_error_even_as_a_redirect_to_a_page() {
    let server = server([Reply::raw(REDIRECT), error(404, CONSUMED)]).await;
    for _ in 0..2 {
        let mut link =
            Link::new("clip", format!("{}/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin", server.url()));
        link.one_shot = true;
        let error = fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap_err();
        assert_eq!(error.kind(), FetchErrorKind::Consumed, "{}", chain(&error));
    }
    assert_eq!(server.requests().len(), 2, "the redirect was not followed");
    for request in server.requests() {
        assert!(request.header("user-agent").unwrap().starts_with("plik_client/"));
        assert_eq!(request.header("x-clientapp"), None);
    }
}

#[tokio::test]
async fn trap_2_one_shot_that_broke_off_is_not_asked_for_again() {
    let payload = bytes(1_900_000);
    let metadata = r#"{"id":"U","oneShot":true,"files":[{"id":"2LNrp1EGZY8zV4Hb","status":"deleted"}]}"#;
    let server = server([Reply::ok(&payload).cut_after(4096), json(metadata)]).await;
    let mut link = link(format!("{}/file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin", server.url()), &payload);
    link.one_shot = true;
    let error = fetcher().build().unwrap().download(&link, Target::Memory).await.unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Consumed);
    assert_eq!(lines(&server)[1..], ["GET /upload/fx42p6dwO4x3MKWX"]);
    assert_eq!(
        Object::new("x", PayloadType::Binary, 1).link_lifetime,
        LinkLifetime::expiring(LinkLifetime::DEFAULT_TTL),
        "the default is no one-shot"
    );
}

#[tokio::test]
async fn trap_3_settings_forced_by_the_server_are_in_the_envelope() {
    // Exchange 40a: everything forced, whatever was asked.
    let server = accepting(CREATED, b"payload").await;
    let wanted = object(b"payload").link_lifetime(LinkLifetime::expiring(Duration::from_secs(60)));
    let stored = plik(&server.url()).build().unwrap().upload(&wanted, &source(b"payload")).await.unwrap();
    assert_eq!(body(&server.requests()[1]), serde_json::json!({"oneShot": false, "ttl": 60, "crc64nvme": true}));
    assert!(stored.uploaded.one_shot);
    assert_eq!(stored.uploaded.expires_at.unwrap().unix_timestamp(), 1_795_336_876);

    let streaming = CREATED.replace(r#""stream":false"#, r#""stream":true"#);
    let server = accepting(&streaming, b"payload").await;
    let error = upload(&server, b"payload").await.unwrap_err();
    assert_eq!((error.kind(), server.left()), (Kind::Rejected, 1), "a stream keeps nothing: no byte is sent");

    for (field, expires) in [(r#""expireAt":null"#, true), (r#""ttl":-1,"expireAt":null"#, false)] {
        let endless = CREATED.replace(r#""expireAt":"2026-11-22T08:41:16.06587644Z""#, field);
        let endless = if expires { endless } else { endless.replace(r#""ttl":3600,"#, "") };
        let server = accepting(&endless, b"payload").await;
        assert_eq!(upload(&server, b"payload").await.unwrap().uploaded.expires_at.is_some(), expires, "{field}");
    }
}

#[tokio::test]
async fn trap_4_link_begins_where_the_server_says() {
    let path = "file/fx42p6dwO4x3MKWX/2LNrp1EGZY8zV4Hb/payload.bin";
    for (answer, base) in [
        (r#""downloadDomain":"https://dl.test/""#, "https://dl.test"),
        (r#""downloadDomain":"https://dl.test/sub""#, "https://dl.test/sub"),
        (r#""downloadDomain":"dl.test""#, "http://dl.test"),
        (r#""downloadDomain":"https://dl.test","downloadURL":"https://new.test/p/""#, "https://new.test/p"),
    ] {
        let created = CREATED.replace(r#""downloadDomain":"""#, answer);
        let server = accepting(&created, b"payload").await;
        assert_eq!(upload(&server, b"payload").await.unwrap().uploaded.url, format!("{base}/{path}"));
    }
    for suffix in ["/sub", "/sub/"] {
        let server = accepting(CREATED, b"payload").await;
        let store = plik(&format!("{}{suffix}", server.url())).build().unwrap();
        let stored = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap();
        assert_eq!(stored.uploaded.url, format!("{}/sub/{path}", server.url()));
        assert_eq!(lines(&server)[1], "POST /sub/upload");
    }
    let server =
        server([json(CONFIG.replace(r#""downloadDomain":"""#, r#""downloadDomain":"https://dl.test""#))]).await;
    let origins = plik(&server.url()).build().unwrap().discover().await.unwrap();
    assert_eq!(origins, [origin(&server.url()), origin("https://dl.test")], "a receiver has to allow both");
}

#[tokio::test]
async fn trap_5_json_is_read_whatever_the_content_type_says() {
    for kind in ["text/plain; charset=utf-8", "application/json", "text/html"] {
        let reply = |body: &str| Reply::new(200, &[("Content-Type", kind)], body);
        let server = server([reply(CONFIG), reply(CREATED), reply(&kept(b"payload"))]).await;
        assert!(upload(&server, b"payload").await.is_ok(), "{kind}");
    }
    let server = server([json(CONFIG), json("<html>sign in</html>")]).await;
    assert_eq!(upload(&server, b"payload").await.unwrap_err().kind(), Kind::Rejected, "a page is no answer");
}

#[tokio::test]
async fn trap_6_error_text_is_kept_old_json_too() {
    for (reply, kind, text) in [
        (error(403, "invalid token\n"), Kind::Refused, "invalid token"),
        (error(400, "unable to create upload : anonymous uploads are disabled\n"), Kind::Refused, "anonymous uploads"),
        (
            error(400, "unable to create upload : one shot uploads are disabled\n"),
            Kind::Rejected,
            "one shot uploads are disabled",
        ),
        (error(400, r#"{"message":"Invalid TTL","value":null}"#), Kind::Rejected, ": Invalid TTL"),
        (Reply::new(302, &[("Location", "https://login.test/")], ""), Kind::Rejected, "302"),
    ] {
        let server = server([json(CONFIG), reply]).await;
        let error = upload(&server, b"payload").await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.dataname()), (kind, 1, Some("clip")), "{}", chain(&error));
        assert!(chain(&error).contains(text), "{}", chain(&error));
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn trap_7_retry_is_a_fresh_upload_and_the_broken_one_is_deleted() {
    let payload = bytes(100_000);
    let second = CREATED.replace("fx42p6dwO4x3MKWX", "second").replace("jx0Qb1dkPEQAsle3plR4BAqwYcFr81hB", "token2");
    let server = server([
        json(CONFIG),
        json(CREATED),
        error(500, "unable to read data from request body : %s\n"),
        json("ok"),
        json(second),
        json(kept(&payload)),
    ])
    .await;
    let stored = upload(&server, &payload).await.unwrap();
    assert!(stored.uploaded.url.contains("/file/second/"));
    assert_eq!(
        lines(&server),
        [
            "GET /config",
            "POST /upload",
            "POST /file/fx42p6dwO4x3MKWX",
            "DELETE /upload/fx42p6dwO4x3MKWX",
            "POST /upload",
            "POST /file/second"
        ]
    );
    let requests = server.requests();
    assert_eq!(requests[3].header("x-uploadtoken"), Some("jx0Qb1dkPEQAsle3plR4BAqwYcFr81hB"));
    assert_eq!(requests[5].header("x-uploadtoken"), Some("token2"));
    assert_eq!(requests[5].body_len, requests[2].body_len, "the source is read again from its start");
}

#[tokio::test]
async fn trap_8_stored_size_digest_and_state_are_compared() {
    let payload = b"payload";
    let wrong = [
        kept_with(6, &md5(payload), "uploaded"),
        kept_with(7, &md5(b"Payload"), "uploaded"),
        kept_with(7, "", "uploaded"),
        kept_with(7, &md5(payload), "uploading"),
    ];
    for answer in wrong {
        let server =
            server([json(CONFIG), json(CREATED), json(&answer), json("ok"), json(CREATED), json(kept(payload))]).await;
        assert!(upload(&server, payload).await.is_ok(), "a second upload mends {answer}");
        assert_eq!(server.left(), 0);
    }
    let answers = (0..6).flat_map(|_| [json(CREATED), json(kept_with(7, "00", "uploaded")), json("ok")]);
    let server = server([json(CONFIG)].into_iter().chain(answers)).await;
    let error = upload(&server, payload).await.unwrap_err();
    assert_eq!((error.kind(), error.code(), error.attempts(), server.left()), (Kind::Digest, "digest", 6, 0));
}

#[tokio::test]
async fn crc_is_checked_where_offered_and_md5_elsewhere() {
    let payload = b"payload";
    let offering = CREATED.replacen('{', r#"{"crc64nvme":true,"#, 1);
    let kept = |crc: &str| kept_with(7, "", "uploaded").replacen('{', &format!(r#"{{"fileCrc64nvme":"{crc}","#), 1);
    let crc = |bytes: &[u8]| format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes));
    let right = kept(&crc(payload));
    let server = server([json(CONFIG), json(&offering), json(&right)]).await;
    assert!(upload(&server, payload).await.is_ok());
    // Other bytes, no checksum, and a checksum from a server that did not offer it.
    let other = kept(&crc(b"Payload"));
    for (created, answer) in [(&*offering, other), (&*offering, kept("")), (CREATED, right.clone())] {
        let server =
            self::server([json(CONFIG), json(created), json(&answer), json("ok"), json(&offering), json(&right)]).await;
        assert!(upload(&server, payload).await.is_ok(), "a second upload mends {answer}");
        assert_eq!(server.left(), 0);
    }
}

#[tokio::test]
async fn trap_9_name_on_the_server_is_never_the_callers() {
    for name in ["../../etc/passwd", "a\"b\r\nX-Evil: 1", "クリップ #1?.bin", ""] {
        let server = accepting(CREATED, b"payload").await;
        let named = Object::new(name, PayloadType::Binary, 7);
        let stored = plik(&server.url()).build().unwrap().upload(&named, &source(b"payload")).await.unwrap();
        let sent = String::from_utf8_lossy(&server.requests()[2].body).into_owned();
        assert!(sent.contains("name=\"file\"; filename=\"payload.bin\"\r\n"), "{sent}");
        assert!(stored.uploaded.url.ends_with("/payload.bin"));
        assert!(server.requests()[2].header("x-evil").is_none());
    }
    let renamed = kept(b"payload").replace("payload.bin", "a b#?%é.bin");
    let server = server([json(CONFIG), json(CREATED), json(renamed)]).await;
    let url = upload(&server, b"payload").await.unwrap().uploaded.url;
    assert!(url.ends_with("/2LNrp1EGZY8zV4Hb/a%20b%23%3F%25%C3%A9.bin"), "the server's own name, escaped: {url}");
}

#[tokio::test]
async fn trap_10_limits_are_known_before_and_too_big_is_a_400() {
    let large = bytes(2_000_001);
    let known = server([json(CONFIG)]).await;
    let error_before = upload(&known, &large).await.unwrap_err();
    assert_eq!(
        (error_before.kind(), lines(&known).len()),
        (Kind::TooLarge, 1),
        "nothing but the configuration was asked for"
    );

    // A server without configuration, and one that refuses while the body is still coming.
    let unknown =
        server([error(404, "404 page not found\n"), json(CREATED), error(400, TOO_BIG).early(), json("ok")]).await;
    let error_late = upload(&unknown, &large).await.unwrap_err();
    assert_eq!((error_late.kind(), error_late.attempts()), (Kind::TooLarge, 1), "{}", chain(&error_late));
    assert!(chain(&error_late).contains("2.0 MB"));
    for (status, text, kind) in [(413, "<html>nginx</html>", Kind::TooLarge), (403, NOT_ALLOWED, Kind::Refused)] {
        let server = server([json(CONFIG), json(CREATED), error(status, text).early(), json("ok")]).await;
        assert_eq!(upload(&server, &bytes(1_500_000)).await.unwrap_err().kind(), kind);
    }
    for (from, to, kind) in [
        (r#""noAnonymousUploads":false"#, r#""noAnonymousUploads":true"#, Kind::Refused),
        (r#""feature_stream":"enabled""#, r#""feature_stream":"forced""#, Kind::Rejected),
        (r#""feature_password":"enabled""#, r#""feature_password":"forced""#, Kind::Rejected),
    ] {
        let server = server([json(CONFIG.replace(from, to))]).await;
        assert_eq!(upload(&server, b"payload").await.unwrap_err().kind(), kind, "{to}");
    }
    let modest = CONFIG
        .replace(r#""maxTTL":2592000"#, r#""maxTTL":60"#)
        .replace(r#""feature_one_shot":"enabled""#, r#""feature_one_shot":"disabled""#);
    let server = server([json(modest), json(CREATED), json(kept(b"payload"))]).await;
    let wanted = object(b"payload").link_lifetime(LinkLifetime::one_shot(Duration::from_secs(3600)));
    plik(&server.url()).build().unwrap().upload(&wanted, &source(b"payload")).await.unwrap();
    assert_eq!(
        body(&server.requests()[1]),
        serde_json::json!({"oneShot": false, "ttl": 60, "crc64nvme": true}),
        "the nearest that is offered"
    );
}

#[tokio::test]
async fn configuration_is_asked_for_once() {
    let server = server([json(CONFIG), json(CREATED), json(kept(b"a")), json(CREATED), json(kept(b"b"))]).await;
    let store = plik(&server.url()).build().unwrap();
    for payload in [b"a", b"b"] {
        store.upload(&object(payload), &source(payload)).await.unwrap();
    }
    assert_eq!(lines(&server).iter().filter(|line| *line == "GET /config").count(), 1);
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let server = accepting(CREATED, b"payload").await;
    let url = server.url().replace("http://", "http://proxy:secret@");
    let store = plik(&url).user_token("0b6e-secret").build().unwrap();
    let stored = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap();
    for request in server.requests() {
        assert_eq!(request.header("x-pliktoken"), Some("0b6e-secret"));
        assert_eq!(request.header("authorization"), Some("Basic cHJveHk6c2VjcmV0"));
    }
    assert!(!stored.uploaded.url.contains("secret"));
    let error = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
    let shown = format!("{store:?} {error:?} {} {stored:?}", chain(&error));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn broken_upload_is_sent_again_whole() {
    let payload = bytes(1_000_000);
    let answer = kept(&payload);
    let server = ScriptedHttp::routed(move |request| {
        Some(match request.target.as_str() {
            "/config" => json(CONFIG),
            "/upload" => json(CREATED),
            target if target.starts_with("/file/") => json(&answer),
            _ => json("ok"),
        })
    })
    .await
    .unwrap();
    let proxy = FaultProxy::start(server.address(), [Fault::CutUploadAfter(300_000), Fault::Refuse, Fault::None])
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    std::fs::write(&path, &payload).unwrap();
    let file = Source::File { path, len: 1_000_000 };
    let stored = plik(&proxy.url()).build().unwrap().upload(&object(&payload), &file).await.unwrap();
    assert_eq!(stored.uploaded.sha256, Digest::of(&payload));
    assert!(proxy.connections() >= 3);
}

#[tokio::test]
async fn file_that_changed_its_length_is_not_retried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip");
    std::fs::write(&path, bytes(1000)).unwrap();
    let server = server([json(CONFIG), json(CREATED), json("ok")]).await;
    let store = plik(&server.url()).build().unwrap();
    for (path, len) in [(path, 999), (folder.path().join("none"), 5)] {
        server.push(json(CREATED));
        server.push(json("ok"));
        let error = store.upload(&object(b""), &Source::File { path, len }).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.attempts(), error.code()),
            (Kind::LocalFile, 1, "local_file"),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn deletion_of_a_gone_upload_is_no_error() {
    let server = accepting(CREATED, b"payload").await;
    let store = plik(&server.url()).build().unwrap();
    let Stored { receipt, .. } = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap();
    for reply in [json("ok"), error(404, "upload fx42p6dwO4x3MKWX not found\n"), error(503, ""), json("ok")] {
        server.push(reply);
    }
    for _ in 0..3 {
        store.delete(&receipt).await.unwrap();
    }
    assert_eq!(server.left(), 0, "the third was tried again");
    server.push(error(403, "you are not allowed to remove this upload\n"));
    assert_eq!(store.delete(&receipt).await.unwrap_err().kind(), Kind::Refused);
    assert_eq!(store.delete(&natsbridge_fileserver::Receipt::new("x")).await.unwrap_err().kind(), Kind::Rejected);
}

#[tokio::test]
async fn dead_plik_costs_its_retries_three_times_and_then_nothing() {
    let dead = dead();
    let store = plik(&dead.url()).breaker(BreakerPolicy::default().cool_down(Duration::from_secs(60))).build().unwrap();
    for _ in 0..3 {
        let error = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.is_retryable()), (Kind::Unreachable, 6, true));
    }
    let error = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (Kind::Unreachable, 0));
}

#[tokio::test]
async fn stalled_plik_is_given_up_after_the_idle_time() {
    let upstream = server([json(CONFIG), json(CREATED)]).await;
    let proxy = FaultProxy::start(upstream.address(), [Fault::StallUploadAfter(50_000), Fault::StallUploadAfter(0)])
        .await
        .unwrap();
    let store = plik(&proxy.url())
        .idle_timeout(Duration::from_millis(150))
        .retry(natsbridge_fileserver::RetryPolicy::never())
        .build()
        .unwrap();
    let started = Instant::now();
    let payload = bytes(1_900_000);
    let error = store.upload(&object(&payload), &source(&payload)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (Kind::Timeout, "timeout"), "{}", chain(&error));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn lifetimes_that_a_plik_forces_are_warned_of_once_and_known() {
    let said = Captured::default();
    let _guard = said.capture();
    let forced = CONFIG
        .replace(r#""feature_one_shot":"enabled""#, r#""feature_one_shot":"forced""#)
        .replace(r#""feature_set_ttl":"enabled""#, r#""feature_set_ttl":"disabled""#);
    // The server answers with its own: one-shot, an hour.
    let server = server([json(forced), json(CREATED), json(kept(b"a")), json(CREATED), json(kept(b"a"))]).await;
    let store = plik(&server.url()).build().unwrap();
    assert_eq!(store.lifetime_rules().one_shot, OneShotRule::Unknown, "not asked yet");
    for _ in 0..2 {
        let wanted = object(b"a").link_lifetime(LinkLifetime::expiring(Duration::from_secs(60)));
        let stored = store.upload(&wanted, &source(b"a")).await.unwrap();
        assert!(stored.uploaded.one_shot);
    }
    let rules = store.lifetime_rules();
    assert_eq!(rules.one_shot, OneShotRule::Always);
    assert_eq!(rules.expiry, ExpiryRule::Always(Duration::from_secs(2_592_000)));
    let said = said.text();
    assert_eq!(said.matches("WARN").count(), 1, "{said}");
    assert!(said.contains("the store makes one that can be read once and lives for 1 hour"), "{said}");
}

#[tokio::test]
async fn server_that_is_no_plik_is_not_called_unreachable() {
    for (reply, text) in [
        (Reply::new(501, &[], "<html>Unsupported method</html>"), "501 Not Implemented"),
        (Reply::ok("<html>\u{1b}[31m</html>"), "not one of this kind of server"),
        (Reply::new(404, &[], "404 page not found"), "404 Not Found"),
    ] {
        let server = server([Reply::new(404, &[], ""), reply]).await;
        let error = upload(&server, b"payload").await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (Kind::Rejected, 1), "{}", chain(&error));
        assert!(chain(&error).contains(text) && !chain(&error).contains('\u{1b}'), "{}", chain(&error));
    }
    let full = server([json(CONFIG), json(CREATED), error(507, "no space left"), json("ok")]).await;
    assert_eq!(upload(&full, b"payload").await.unwrap_err().kind(), Kind::Full);
}

#[tokio::test]
async fn failing_plik_is_left_alone_and_a_refusing_one_is_not() {
    for (status, asked) in [(500, 3), (503, 3), (429, 5), (403, 5), (400, 5)] {
        let server = ScriptedHttp::routed(move |request| {
            Some(if request.target == "/config" { json(CONFIG) } else { error(status, "no") })
        })
        .await
        .unwrap();
        let breaker = BreakerPolicy::default().cool_down(Duration::from_secs(60));
        let never = natsbridge_fileserver::RetryPolicy::never();
        let store = plik(&server.url()).retry(never).breaker(breaker).build().unwrap();
        for _ in 0..5 {
            store.upload(&object(b"a"), &source(b"a")).await.unwrap_err();
        }
        assert_eq!(lines(&server).iter().filter(|line| *line == "POST /upload").count(), asked, "{status}");
    }
}

#[tokio::test]
async fn tokens_that_a_plik_echoes_are_blotted_out() {
    let echo = |request: &Request| {
        let sent = ["x-pliktoken", "x-uploadtoken", "authorization"]
            .map(|name| request.header(name).unwrap_or_default().to_owned());
        error(403, &format!("{}\u{1b}]0;x\u{7}\u{202e}", sent.join(" ").replace("Basic", "bob:hunter2secret")))
    };
    let server = ScriptedHttp::routed(move |request| {
        Some(match (&*request.method, request.target.as_str()) {
            (_, "/config") => json(CONFIG),
            ("POST", "/upload") => json(CREATED),
            _ => echo(request),
        })
    })
    .await
    .unwrap();
    let store =
        plik(&server.url().replace("http://", "http://bob:hunter2secret@")).user_token("0b6e-planted").build().unwrap();
    let error = store.upload(&object(b"a"), &source(b"a")).await.unwrap_err();
    let shown = format!("{error:?} {}", chain(&error));
    for never in [
        "planted",
        "jx0Qb1dkPEQAsle3plR4BAqwYcFr81hB",
        "Ym9iOmh1bnRlcjJzZWNyZXQ",
        "hunter2secret",
        "\u{1b}",
        "\u{202e}",
    ] {
        assert!(!shown.contains(never), "{never:?} in {shown}");
    }
}

#[test]
fn urls_that_no_file_server_has_are_refused() {
    for url in [
        "",
        "h",
        "http://",
        "http:",
        "https://",
        "http://a b",
        "http://h:99999",
        "ftp://h",
        "http://[::1",
        "://",
        "file:///x",
    ] {
        let error = natsbridge_fileserver::PlikStore::new(url).map(|_| ()).map_err(|error| error.to_string());
        assert!(error.is_err(), "{url}");
    }
}
