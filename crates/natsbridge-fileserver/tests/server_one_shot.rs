//! One-shots and broken downloads: what is used up when, and how a download goes on where it stopped.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "test code"
)]

mod server_support;

use std::time::Duration;

use server_support::{Connection, PATIENCE, Server, get, noise, with_headers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More than the system's buffers hold, so that the server notices a client that stops reading
const LARGE: usize = 24 * 1024 * 1024;

const ONE_SHOT: &str = r#"{"oneShot":true}"#;

/// Starts a download, reads `count` bytes of the body and leaves the rest
async fn begin(server: &Server, path: &str, count: usize) -> Connection {
    let mut connection = Connection::open(server.address()).await;
    loop {
        connection.stream.get_mut().write_all(get(path).as_bytes()).await.unwrap();
        let mut head = connection.read_head().await;
        if head.status == 200 {
            break;
        }
        // The download before is not settled to the end.
        assert_eq!(head.status, 409);
        head.body.resize(head.header("content-length").parse().unwrap(), 0);
        connection.stream.read_exact(&mut head.body).await.unwrap();
    }
    let mut start = vec![0; count];
    connection.stream.read_exact(&mut start).await.unwrap();
    connection
}

/// Asks again until the file is given out
async fn get_eventually(server: &Server, path: &str) -> Vec<u8> {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = server.get(path).await;
            if answer.status == 200 {
                return answer.body;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("file was never offered again")
}

#[tokio::test]
async fn one_shot_cut_half_way_can_be_fetched_once_more() {
    let server = Server::start().await;
    let content = noise(LARGE);
    let stored = server.store(ONE_SHOT, "a.bin", &content).await;
    drop(begin(&server, &stored.path, LARGE / 2).await);
    assert!(get_eventually(&server, &stored.path).await == content);
    server.wait_for(&stored.upload, "deleted").await;
    server.get(&stored.path).await.refuses(404, &format!("file a.bin ({}) is not available : deleted\n", stored.file));
    server.wait_for_no_content().await;
}

#[tokio::test]
async fn small_one_shot_never_read_is_offered_again() {
    // All of it fits into the system's buffers, so only the reset tells that nobody read it (step 25 of the exchanges
    // shows Plik losing it).
    let server = Server::start().await;
    let content = noise(100_000);
    let stored = server.store(ONE_SHOT, "a.bin", &content).await;
    for _ in 0..5 {
        let connection = begin(&server, &stored.path, 10).await;
        server.wait_for(&stored.upload, "removed").await;
        drop(connection);
        server.wait_for(&stored.upload, "uploaded").await;
    }
    assert!(get_eventually(&server, &stored.path).await == content);
    server.wait_for(&stored.upload, "deleted").await;
}

#[tokio::test]
async fn second_download_while_one_runs_is_told_to_come_back() {
    let server = Server::start().await;
    let stored = server.store(ONE_SHOT, "a.bin", &noise(LARGE)).await;
    let mut first = begin(&server, &stored.path, 1000).await;
    let second = server.get(&stored.path).await;
    second.refuses(409, &format!("file a.bin ({}) is not available : downloading\n", stored.file));
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!(server.statuses(&stored.upload).await, ["uploaded"]);
    let mut rest = vec![0; LARGE - 1000];
    first.stream.read_exact(&mut rest).await.unwrap();
    // All bytes have left, the connection is open: used up, not erased yet.
    server.wait_for(&stored.upload, "removed").await;
    server.get(&stored.path).await.refuses(404, &format!("file a.bin ({}) is not available : removed\n", stored.file));
    // The next request on the connection shows that the client has them.
    let again = first.send(get(&stored.path)).await;
    again.refuses(404, &format!("file a.bin ({}) is not available : deleted\n", stored.file));
}

#[tokio::test]
async fn one_shot_goes_to_exactly_one_of_many_downloads() {
    let server = Server::start().await;
    for round in 0..10 {
        let content = noise(200_000 + round);
        let stored = server.store(ONE_SHOT, "a.bin", &content).await;
        let answers = futures_util::future::join_all((0..20).map(|_| server.get(&stored.path))).await;
        let got: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert!(got.len() == 1 && got[0].body == content);
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 404 | 409)));
    }
}

#[tokio::test]
async fn one_shot_survives_head_and_a_wrong_name() {
    let server = Server::start().await;
    let stored = server.store(ONE_SHOT, "a.bin", b"once").await;
    for _ in 0..3 {
        assert_eq!(server.send(with_headers("HEAD", &stored.path, "")).await.status, 200);
        server.get(&stored.path.replace("a.bin", "b.bin")).await.refuses(400, "invalid file name\n");
    }
    assert_eq!(server.get(&stored.path).await.text(), "once");
}

#[tokio::test]
async fn empty_one_shot_is_used_up_too() {
    let server = Server::start().await;
    let stored = server.store(ONE_SHOT, "a.bin", b"").await;
    assert_eq!(server.get(&stored.path).await.status, 200);
    server.wait_for(&stored.upload, "deleted").await;
}

#[tokio::test]
async fn restart_offers_a_one_shot_again_unless_it_was_read_whole() {
    let server = Server::with(|config| config.shutdown_grace(Duration::from_millis(50))).await;
    let content = noise(LARGE);
    let cut = server.store(ONE_SHOT, "cut.bin", &content).await;
    let done = server.store(ONE_SHOT, "done.bin", b"done").await;
    let running = begin(&server, &cut.path, 1000).await;
    let mut kept = Connection::open(server.address()).await;
    assert_eq!(kept.send(get(&done.path)).await.text(), "done");
    let server = server.restart().await;
    drop((running, kept));
    assert!(server.get(&cut.path).await.body == content);
    assert_eq!(server.get(&done.path).await.status, 404);
}

#[tokio::test]
async fn broken_download_goes_on_where_it_stopped() {
    let server = Server::start().await;
    let content = noise(1_000_000);
    let stored = server.store("{}", "a.bin", &content).await;
    let whole = server.get(&stored.path).await;
    let tag = whole.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");
    assert_eq!(whole.header("accept-ranges"), "bytes");

    for (range, start, end) in [
        ("bytes=400000-", 400_000, 1_000_000),
        ("bytes=0-0", 0, 1),
        ("bytes=-7", 999_993, 1_000_000),
        ("bytes=262143-262145", 262_143, 262_146),
    ] {
        let answer =
            server.send(with_headers("GET", &stored.path, &format!("Range: {range}\r\nIf-Range: {tag}\r\n"))).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/1000000", end - 1));
        assert_eq!(answer.header("etag"), tag);
        assert!(answer.body == content[start..end], "{range}");
    }
    let other = server.send(with_headers("GET", &stored.path, "Range: bytes=5-\r\nIf-Range: \"other\"\r\n")).await;
    assert!(other.status == 200 && other.body == content);
    let beyond = server.send(with_headers("GET", &stored.path, "Range: bytes=1000000-\r\n")).await;
    beyond.refuses(416, "invalid range: failed to overlap\n");
    assert_eq!(beyond.header("content-range"), "bytes */1000000");
    let same = server.send(with_headers("GET", &stored.path, &format!("If-None-Match: \"x\", {tag}\r\n"))).await;
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, tag.as_str()));
    let head = server.send(with_headers("HEAD", &stored.path, "Range: bytes=0-9\r\n")).await;
    assert_eq!((head.status, head.header("content-length")), (200, "1000000"));
}

#[tokio::test]
async fn deleted_uploads_running_download_ends_well() {
    // Step 32 of the recorded exchanges.
    let server = Server::start().await;
    let content = noise(LARGE);
    let stored = server.store("{}", "a.bin", &content).await;
    let mut running = begin(&server, &stored.path, 1000).await;
    let token = format!("X-UploadToken: {}\r\n", stored.upload.token);
    assert_eq!(server.send(with_headers("DELETE", &format!("/upload/{}", stored.upload.id), &token)).await.status, 200);
    let mut rest = vec![0; LARGE - 1000];
    running.stream.read_exact(&mut rest).await.unwrap();
    assert!(rest == content[1000..]);
}
