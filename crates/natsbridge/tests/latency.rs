//! Time that one message takes: encode, decode, upload, download, and the share of messages that arrive in 200 ms.
//!
//! The limits leave room for a busy machine and an unoptimised build; how fast it is
//! when nothing is in the way is measured by `cargo xtask bench`.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "test code")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use natsbridge::server::{FileServer, ServerConfig, ServerHandle};
use natsbridge::{
    Bridge, Config, Data, PayloadType, ReceiveOptions, SendOptions, Transport, Value, smartreceive, smartsend,
};
use natsbridge_testkit::nats_server::NatsServer;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Mutex;

/// The smallest payload that travels by link
const HALF_A_MEGABYTE: usize = 500_000;
/// Times a step is taken; the median counts, so that one moment of a busy machine doesn't
const ROUNDS: usize = 11;

/// Held by each test: two of them beside each other would measure each other, where nextest does not part them
static ALONE: Mutex<()> = Mutex::const_new(());

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Bytes without a pattern that would make them cheaper than others
fn noise(length: usize) -> Bytes {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn file_server() -> (ServerHandle, TempDir) {
    let folder = TempDir::new().unwrap();
    let config = ServerConfig::new(folder.path()).listen(([127, 0, 0, 1], 0).into());
    (FileServer::bind(config).await.unwrap().start(), folder)
}

#[tokio::test]
async fn payloads_of_10_kb_are_written_and_read_in_50_ms_each() {
    let _alone = ALONE.lock().await;
    const LIMIT: Duration = Duration::from_millis(50);
    let rows: Vec<_> = (0..250).map(|n| json!({"n": n, "word": "ten thousand bytes in all"})).collect();
    let text = "Grüße ".repeat(1_250);
    let kinds: [(PayloadType, Data); 5] = [
        (PayloadType::Text, text.into()),
        (PayloadType::Dictionary, json!({"rows": rows}).into()),
        (PayloadType::JsonTable, json!(rows).into()),
        (PayloadType::Image, noise(10_000).into()),
        (PayloadType::Binary, noise(10_000).into()),
    ];
    for (kind, data) in kinds {
        let (mut writing, mut reading) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let payloads = [("data", data.clone(), kind)];
            let (_envelope, json) = smartsend("lab.latency", payloads, &SendOptions::default()).await.unwrap();
            writing.push(began.elapsed());
            assert!(json.len() > 10_000, "{} bytes", json.len());
            let began = Instant::now();
            let received = smartreceive(&json, &ReceiveOptions::default()).await.unwrap();
            reading.push(began.elapsed());
            assert_eq!(received.payloads()[0].2, kind);
        }
        let (writing, reading) = (median(writing), median(reading));
        eprintln!("10 KB of {kind}: written in {writing:?}, read in {reading:?}");
        assert!(writing < LIMIT, "writing 10 KB of {kind} took {writing:?}; the limit is {LIMIT:?}");
        assert!(reading < LIMIT, "reading 10 KB of {kind} took {reading:?}; the limit is {LIMIT:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_of_half_a_megabyte_goes_up_and_down_in_1_s_each() {
    let _alone = ALONE.lock().await;
    const LIMIT: Duration = Duration::from_secs(1);
    let (server, _folder) = file_server().await;
    let bytes = noise(HALF_A_MEGABYTE);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The whole call, since that is what somebody waits for.
        let send = SendOptions::default().fileserver_url(server.url());
        let began = Instant::now();
        let payloads = [("half", Data::from(bytes.clone()), PayloadType::Binary)];
        let (envelope, json) = smartsend("lab.latency", payloads, &send).await.unwrap();
        up.push(began.elapsed());
        assert_eq!(envelope.payloads()[0].transport(), Transport::Link);
        let began = Instant::now();
        let received = smartreceive(&json, &ReceiveOptions::default()).await.unwrap();
        down.push(began.elapsed());
        assert_eq!(received.payloads()[0].1, Value::from(bytes.clone()));
    }
    let (up, down) = (median(up), median(down));
    eprintln!("0.5 MB: uploaded in {up:?}, downloaded in {down:?}");
    assert!(up < LIMIT, "an upload of 0.5 MB took {up:?}; the limit is {LIMIT:?}");
    assert!(down < LIMIT, "a download of 0.5 MB took {down:?}; the limit is {LIMIT:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_all_sizes_complete_in_200_ms_for_95_percent() {
    let _alone = ALONE.lock().await;
    const MESSAGES: usize = 500;
    const LIMIT: Duration = Duration::from_millis(200);
    let nats = NatsServer::start().expect("a real nats-server");
    let (files, _folder) = file_server().await;
    let config = Config::new(&nats.url()).fileserver_url(files.url().to_owned());
    let (sender, receiver) = (Bridge::connect(config.clone()).await.unwrap(), Bridge::connect(config).await.unwrap());
    let mut inbox = receiver.subscribe("lab.latency").await.unwrap();
    receiver.confirm().await.unwrap();

    let large = noise(HALF_A_MEGABYTE);
    let mut times = Vec::with_capacity(MESSAGES);
    for index in 0..MESSAGES {
        // Half are small, one in twenty travels by link.
        let length = [100, 1_000, 10_000, 100, 100_000, 100, 1_000, 400_000, 100, 100][index % 10];
        let body = if index % 20 == 19 { large.clone() } else { large.slice(..length) };
        let began = Instant::now();
        sender.message("lab.latency").text("n", index.to_string()).binary("body", body.clone()).send().await.unwrap();
        // Complete: every payload is in the receiver's hands, downloaded and checked.
        let message = inbox.next().await.unwrap().unwrap();
        times.push(began.elapsed());
        assert_eq!((message.text("n").unwrap(), message.bytes("body").unwrap()), (index.to_string(), body));
    }
    times.sort_unstable();
    let p95 = times[MESSAGES * 95 / 100 - 1];
    eprintln!("{MESSAGES} messages: median {:?}, 95 % in {p95:?}, slowest {:?}", median(times.clone()), times.last());
    assert!(p95 < LIMIT, "95 % of the messages took up to {p95:?}; requirement 1.3 allows {LIMIT:?}");
    files.shutdown().await;
}
