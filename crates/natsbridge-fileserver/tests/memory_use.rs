//! Memory does not grow with the payload: a large file passes through store, server and fetcher in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]
#![cfg(all(target_os = "linux", feature = "server"))]

mod support;

use std::io::Write;

use natsbridge_core::{Object, PayloadType, Source};
use natsbridge_fileserver::server::{FileServer, ServerConfig};
use natsbridge_fileserver::{Downloader, Target, Uploader};
use support::*;

/// The most memory this process ever used, in kilobytes
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn file_of_200_mb_takes_less_than_30_mb_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = FileServer::bind(ServerConfig::new(folder.path().join("server")).listen(([127, 0, 0, 1], 0).into()))
        .await
        .unwrap()
        .start();
    let (store, fetcher) = (plik(server.url()).build().unwrap(), fetcher().build().unwrap());
    let from = folder.path().join("from");
    let mut file = std::fs::File::create(&from).unwrap();
    let block = bytes(1_000_000);
    (0..200).for_each(|_| file.write_all(&block).unwrap());
    let before = peak();
    let source = Source::File { path: from, len: 200_000_000 };
    let stored = store.upload(&Object::new("clip", PayloadType::Video, 200_000_000), &source).await.unwrap();
    let mut link = link(stored.uploaded.url, b"");
    (link.size, link.sha256) = (Some(200_000_000), Some(stored.uploaded.sha256));
    fetcher.download(&link, Target::File(folder.path().join("to"))).await.unwrap();
    let grown = peak() - before;
    assert!(grown < 30_000, "memory grew by {grown} kB");
    server.shutdown().await;
}
