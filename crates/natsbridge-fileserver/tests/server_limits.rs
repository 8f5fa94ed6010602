//! What a client may store, who may ask, and how slowly: the limits of the embedded file server.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod server_support;

use std::time::{Duration, Instant};

use server_support::{BOUNDARY, Connection, PATIENCE, Server, config, form, get, noise, post, with_headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FULL: &str = "no space left in the file server's folder (limit is set to 1.0 MB)\n";

fn host(method: &str, path: &str, host: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\n\r\n")
}

#[tokio::test]
async fn folder_takes_its_limit_and_no_more() {
    let server = Server::with(|config| config.max_total(1_000_000)).await;
    let kept = server.store("{}", "a.bin", &noise(600_000)).await;
    let upload = server.create("{}").await;
    let mut connection = Connection::open(server.address()).await;
    connection.send(upload.form("b.bin", &noise(600_000))).await.refuses(507, FULL);
    assert_eq!(server.content_files(), 1, "what did not fit is gone");
    assert_eq!(server.send(upload.form("c.bin", &noise(300_000))).await.status, 200);
    // What is deleted gives its room back, at once.
    let token = format!("X-UploadToken: {}\r\n", kept.upload.token);
    assert_eq!(server.send(with_headers("DELETE", &kept.path, &token)).await.status, 200);
    assert_eq!(server.send(upload.form("d.bin", &noise(600_000))).await.status, 200);
    // A length that can't fit is refused before it is sent.
    let head = format!("X-UploadToken: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n", upload.token);
    let announced =
        with_headers("POST", &format!("/file/{}", upload.id), &format!("{head}Content-Length: 100000000\r\n"));
    server.send(announced).await.refuses(507, FULL);
}

#[tokio::test]
async fn folder_limit_holds_after_a_restart_and_for_uploads_at_once() {
    let server = Server::with(|config| config.max_total(1_000_000)).await;
    server.store("{}", "a.bin", &noise(600_000)).await;
    let Server { handle, dir } = server;
    handle.shutdown().await;
    let handle = server_support::serve(config(dir.path()).max_total(1_000_000)).await;
    let server = Server { handle, dir };
    let upload = server.create("{}").await;
    let answers = (0..8).map(|_| server.send(upload.form("b.bin", &noise(90_000))));
    let answers = futures_util::future::join_all(answers).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((2..=4).contains(&taken), "{taken} of 90 kB fit");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 507)));
}

#[tokio::test]
async fn comments_and_empty_uploads_count() {
    let server = Server::with(|config| config.max_total(1_000_000)).await;
    for json in [format!("{{\"comments\":\"{}\"}}", "x".repeat(16_000)), "{}".to_owned()] {
        let mut made = Vec::new();
        let refused = loop {
            let answer = server.send(post("/upload", "", &json)).await;
            if answer.status != 200 {
                break answer;
            }
            made.push(answer.json());
            assert!(made.len() < 200, "nothing counts");
        };
        refused.refuses(507, FULL);
        assert!(made.len() >= 30, "{}", made.len());
        let folders = std::fs::read_dir(server.dir.path().join("uploads")).unwrap().count();
        assert_eq!(folders, made.len(), "a refused upload leaves nothing");
        for upload in made {
            let path = format!("/upload/{}", upload["id"].as_str().unwrap());
            let token = format!("X-UploadToken: {}\r\n", upload["uploadToken"].as_str().unwrap());
            assert_eq!(server.send(with_headers("DELETE", &path, &token)).await.status, 200);
        }
    }
}

#[tokio::test]
async fn text_of_one_upload_is_limited() {
    let server = Server::start().await;
    for json in [
        format!("{{\"comments\":\"{}\"}}", "x".repeat(17_000)),
        format!("{{\"files\":[{{\"fileName\":\"a\",\"reference\":\"{}\"}}]}}", "x".repeat(1_025)),
        format!("{{\"files\":[{{\"fileName\":\"a\",\"fileType\":\"{}\"}}]}}", "x".repeat(1_025)),
    ] {
        let answer = server.send(post("/upload", "", &json)).await;
        assert!(answer.status == 413 && answer.text().contains("too long"), "{answer:?}");
    }
    // Each of these names may be, but not all of them.
    let names = |count: usize| vec![format!("{{\"fileName\":\"{}\"}}", "x".repeat(1_000)); count].join(",");
    let answer = server.send(post("/upload", "", &format!("{{\"files\":[{}]}}", names(950)))).await;
    assert!(answer.status == 413 && answer.text().contains("limit is set to 1.0 MB"), "{}", answer.status);
    assert_eq!(std::fs::read_dir(server.dir.path().join("uploads")).unwrap().count(), 0, "nothing is stored");
    let answer = server.send(post("/upload", "", &format!("{{\"files\":[{}]}}", names(500)))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn pages_and_rebound_names_are_refused_without_a_token() {
    let server = Server::with(|config| config.cors_origin("https://App.example/").host("files.lab")).await;
    let own = server.address().to_string();
    for name in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "lab"] {
        for (method, path) in [("POST", "/upload"), ("GET", "/config"), ("DELETE", "/upload/fx42p6dwO4x3MKWX")] {
            let answer = server.send(host(method, path, name, "")).await;
            assert!(answer.status == 403 && answer.text().contains("--host"), "{name}: {answer:?}");
        }
    }
    let absolute = "POST http://evil.example/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(server.send(absolute).await.status, 403);
    for origin in ["https://evil.example", "null", "http://localhost:1", "https://app.example.evil.example"] {
        let headers = format!("Origin: {origin}\r\n");
        let answer = server.send(host("POST", "/upload", &own, &headers)).await;
        assert!(answer.status == 403 && answer.text().contains("--cors"), "{origin}: {answer:?}");
        let answer = server.send(form("/", &headers, "a", b"stored")).await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    assert_eq!(std::fs::read_dir(server.dir.path().join("uploads")).unwrap().count(), 0, "nothing is stored");
    for (name, headers) in [
        (own.as_str(), String::new()),
        ("localhost:1", String::new()),
        ("files.lab", String::new()),
        ("files.lab", "Origin: http://files.lab\r\n".to_owned()),
        (own.as_str(), format!("Origin: http://{own}\r\n")),
        (own.as_str(), "Origin: https://app.example\r\n".to_owned()),
    ] {
        assert_eq!(server.send(host("POST", "/upload", name, &headers)).await.status, 200, "{name} {headers}");
    }
    let answer = server.send(host("GET", "/config", "e\u{1b}[31m\u{202e}vil", "")).await;
    assert!(!answer.text().contains(['\u{1b}', '\u{202e}']), "{answer:?}");
    // A page does not know the token.
    let server = Server::with(|config| config.token("open sesame")).await;
    assert_eq!(
        server.send(host("GET", "/config", "any.example", "Origin: https://evil.example\r\n")).await.status,
        200
    );
    assert_eq!(server.send(host("POST", "/upload", "any.example", "")).await.status, 400);
}

#[tokio::test]
async fn public_url_begins_the_urls_in_responses() {
    let server = Server::with(|config| config.public_url("https://files.example/here/")).await;
    let url = "https://files.example/here";
    assert_eq!(server.get("/config").await.json()["downloadDomain"], url);
    assert_eq!(server.send(post("/upload", "", "{}")).await.json()["downloadDomain"], url);
    let quick = server.send(form("/", "", "a.bin", b"quick")).await.text();
    let path = quick.trim().strip_prefix(url).unwrap_or_else(|| panic!("{quick}"));
    assert_eq!(server.get(path).await.text(), "quick");
    assert_eq!(server.send(host("GET", path, "files.example", "")).await.text(), "quick");
}

#[tokio::test]
async fn settings_of_origins_and_addresses_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let base = || config(dir.path());
    for (config, setting) in [
        (base().cors_origin("app.example.com"), "cors_origin"),
        (base().cors_origin("https://x/path"), "cors_origin"),
        (base().public_url("files.example.com"), "public_url"),
        (base().public_url("https://u:p@files.example.com"), "public_url"),
        (base().host("a/b"), "host"),
        (base().max_total(0), "max_total"),
    ] {
        match natsbridge_fileserver::server::FileServer::bind(config).await {
            Err(error) => {
                assert_eq!(error.code(), "fileserver_config");
                assert!(error.to_string().contains(&format!("setting {setting} ")), "{error}");
            }
            other => panic!("{setting}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn half_closed_connections_get_a_response() {
    let server = Server::start().await;
    let content = noise(3_000_000);
    let stored = server.store("{}", "a.bin", &content).await;
    let once = server.store(r#"{"oneShot":true}"#, "a.bin", b"once").await;
    let upload = server.create("{}").await;
    let ask = async |request: Vec<u8>| {
        let mut connection = Connection::open(server.address()).await;
        connection.stream.get_mut().write_all(&request).await.unwrap();
        connection.stream.get_mut().shutdown().await.unwrap();
        connection.answer(false).await
    };
    for _ in 0..20 {
        assert!(ask(get(&stored.path).into()).await.body == content);
        assert_eq!(ask(post("/upload", "", "{}").into()).await.status, 200);
        assert_eq!(ask(upload.form("b.bin", &content)).await.status, 200);
    }
    assert_eq!(ask(get(&once.path).into()).await.text(), "once");
    server.wait_for(&once.upload, "deleted").await;
}

#[tokio::test]
async fn one_shot_asked_for_and_left_at_once_is_offered_again() {
    let server = Server::start().await;
    let stored = server.store(r#"{"oneShot":true}"#, "a.bin", b"once").await;
    for _ in 0..10 {
        let mut connection = Connection::open(server.address()).await;
        connection.stream.get_mut().write_all(get(&stored.path).as_bytes()).await.unwrap();
        drop(connection);
    }
    let begun = Instant::now();
    loop {
        let answer = server.get(&stored.path).await;
        if answer.status == 200 {
            break assert_eq!(answer.text(), "once");
        }
        assert!(begun.elapsed() < PATIENCE && answer.text().contains("removed") || answer.status == 409, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn uploads_that_drip_are_ended() {
    let server = Server::with(|config| config.idle_timeout(Duration::from_millis(500)).min_upload_rate(1000)).await;
    let upload = server.create("{}").await;
    let request = upload.form("a.bin", &noise(300_000));
    let mut connection = Connection::open(server.address()).await;
    connection.stream.get_mut().write_all(&request[..1000]).await.unwrap();
    let begun = Instant::now();
    let mut byte = [0];
    let mut at = 1000;
    while tokio::time::timeout(Duration::from_millis(20), connection.stream.get_mut().peek(&mut byte)).await.is_err() {
        connection.stream.get_mut().write_all(&request[at..=at]).await.unwrap();
        at += 1;
        assert!(begun.elapsed() < PATIENCE, "it may drip for ever");
    }
    connection.answer(false).await.refuses(408, "upload is slower than 1.0 kB a second\n");
    let mut rest = Vec::new();
    let _ = connection.stream.read_to_end(&mut rest).await;
    server.wait_for(&upload, "deleted").await;
    server.wait_for_no_content().await;
}
