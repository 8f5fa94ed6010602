//! A thousand connections that do nothing: others are served, and memory stays bounded. Alone in its program, to measure.
#![cfg(all(feature = "server", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod server_support;

use server_support::{Connection, Server, get, noise};
use tokio::io::AsyncWriteExt;

const CROWD: usize = 1000;

/// Bytes that one idle connection may cost, both ends together: they live in this process
const EACH: usize = 96 * 1024;

/// Bytes of memory that this process has in use
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn idle_connections_by_the_thousand_cost_little_and_hinder_none() {
    let server = Server::with(|config| config.max_connections(1100)).await;
    let content = noise(5_000_000);
    server.store("{}", "warm.bin", &content).await;
    let before = memory();
    let mut crowd = Vec::with_capacity(CROWD);
    for n in 0..CROWD {
        let mut connection = Connection::open(server.address()).await;
        match n % 3 {
            0 => {}
            1 => connection.stream.get_mut().write_all(b"POST /upload HTTP/1.1\r\nHost: t").await.unwrap(),
            _ => assert_eq!(connection.send(get("/health")).await.status, 200),
        }
        crowd.push(connection);
    }
    let stored = server.store("{}", "a.bin", &content).await;
    assert!(server.get(&stored.path).await.body == content);
    let each = memory().saturating_sub(before) / CROWD;
    assert!(each < EACH, "{each} bytes for each idle connection");
    // All of them are still welcome.
    assert_eq!(crowd[2].send(get("/health")).await.status, 200);
}
