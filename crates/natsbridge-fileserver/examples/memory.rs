//! Measures the most memory that transfers take: `memory plik|s3 [MEGABYTES]`, or `memory many [TRANSFERS]`.
//!
//! `cargo run --release -p natsbridge-fileserver --features server,s3 --example memory -- plik 2000` sends a file of 2 GB
//! through an embedded server in this very process and back into a file; `s3` does it through a real S3 server of its
//! own. `many` makes transfers of 10 MB at the same time. Each ends with the peak memory of the process, server included,
//! and fails above its limit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::as_conversions,
    missing_docs,
    reason = "a measurement that ends loudly when anything is not as it should be"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use natsbridge_core::{DigestStream, Link, Object, PayloadType, Source};
use natsbridge_fileserver::server::{FileServer, ServerConfig};
use natsbridge_fileserver::{BucketStore, Downloader, Fetcher, PlikStore, Target, Uploader};
use natsbridge_testkit::nanio::Nanio;

const MEGABYTE: u64 = 1_000_000;
/// The limit for one large file, in kilobytes: 64 MB
const LARGE_LIMIT: u64 = 64_000;
/// What one transfer may add, in kilobytes: buffers of both sides and of the server between them
const EACH_LIMIT: u64 = 4_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "plik".to_owned());
    let count = arguments.next().map(|number| number.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    match &*what {
        "s3" => {
            let server = Nanio::start().unwrap();
            let store = BucketStore::s3(Nanio::BUCKET).endpoint(server.url()).region("us-east-1");
            let store = store.access_key(Nanio::ACCESS_KEY, Nanio::SECRET_KEY).build().unwrap();
            large(&store, folder.path(), count.unwrap_or(2_000)).await;
        }
        "plik" | "many" => {
            let config = ServerConfig::new(folder.path().join("server")).listen(([127, 0, 0, 1], 0).into());
            let server = FileServer::bind(config).await.unwrap().start();
            let store = PlikStore::new(server.url()).unwrap();
            if what == "plik" {
                large(&store, folder.path(), count.unwrap_or(2_000)).await;
            } else {
                many(&store, folder.path(), count.unwrap_or(64)).await;
            }
            server.shutdown().await;
        }
        other => panic!("`{other}` is none of plik, s3 and many"),
    }
}

/// One file of that many megabytes, from a file into a file
async fn large(store: &dyn Uploader, folder: &Path, megabytes: u64) {
    let from = file(folder.join("from"), megabytes);
    let (up, down) = transfer(store, &Fetcher::new().unwrap(), from, folder.join("to"), megabytes).await;
    println!("{megabytes} MB up in {up:.1} s, down and verified in {down:.1} s");
    check(LARGE_LIMIT);
}

/// That many transfers of 10 MB at the same time
async fn many(store: &dyn Uploader, folder: &Path, transfers: u64) {
    let fetcher = Fetcher::new().unwrap();
    let from = file(folder.join("from"), 10);
    let begin = Instant::now();
    let all =
        (0..transfers).map(|number| transfer(store, &fetcher, from.clone(), folder.join(format!("to{number}")), 10));
    futures_util::future::join_all(all).await;
    println!("{transfers} transfers of 10 MB at once, up and down, in {:.1} s", begin.elapsed().as_secs_f64());
    check(LARGE_LIMIT + transfers * EACH_LIMIT);
}

async fn transfer(store: &dyn Uploader, fetcher: &Fetcher, from: PathBuf, to: PathBuf, megabytes: u64) -> (f64, f64) {
    let size = megabytes * MEGABYTE;
    let begin = Instant::now();
    let object = Object::new("clip", PayloadType::Video, size);
    let stored = store.upload(&object, &Source::File { path: from, len: size }).await.unwrap().uploaded;
    let up = begin.elapsed().as_secs_f64();
    let mut link = Link::new("clip", stored.url);
    (link.size, link.sha256) = (Some(size), Some(stored.sha256));
    let begin = Instant::now();
    let found = fetcher.download(&link, Target::File(to)).await.unwrap();
    assert_eq!((found.source.len(), found.sha256), (size, stored.sha256));
    (up, begin.elapsed().as_secs_f64())
}

/// A file whose blocks differ, so that no store can keep one for all
fn file(path: PathBuf, megabytes: u64) -> PathBuf {
    let mut file = std::fs::File::create(&path).unwrap();
    let mut digest = DigestStream::default();
    for _ in 0..megabytes {
        digest.update(b"next");
        let seed = *digest.clone().finish().as_bytes();
        file.write_all(&seed.repeat(31_250)).unwrap();
    }
    path
}

/// Prints the most memory that this process ever had, and fails above the limit; both in kilobytes
fn check(limit: u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("the peak is read from /proc on Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("peak resident memory {:.1} MB, limit {:.1} MB", peak as f64 / 1e3, limit as f64 / 1e3);
    assert!(peak <= limit, "more memory than allowed");
}
