//! Acknowledged delivery while servers and receivers are killed: nothing is lost, nothing handled twice.
//!
//! `NATSBRIDGE_CHAOS_MESSAGES` sets how many messages each test sends; 100,000 unless set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "test code")]

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use natsbridge::{Bridge, Config};
use natsbridge_testkit::nats_server::NatsServer;
use support::{Ledger, deliver_all, mixed, read};
use tokio::sync::{mpsc, watch};

/// How often something is killed in each test
const KILLS: u64 = 20;

/// No test may take longer, whatever happens
const PATIENCE: Duration = Duration::from_secs(300);

fn messages() -> u64 {
    match env::var("NATSBRIDGE_CHAOS_MESSAGES") {
        Ok(count) => count.parse().expect("NATSBRIDGE_CHAOS_MESSAGES is a number of messages"),
        Err(_) => 100_000,
    }
}

async fn connect(url: &str) -> Bridge {
    let mut config = Config::new(url);
    let options =
        config.connect_options().clone().reconnect_delay(Duration::from_millis(20), Duration::from_millis(200));
    config = config.nats(options);
    Bridge::connect(config).await.unwrap()
}

/// Says how long it took, for who reads the test's output
fn report(what: &str, count: u64, repeats: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{count} acknowledged messages, {KILLS} times {what} killed: {repeats} repeats, {seconds:.1} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_survive_20_server_kills_and_are_handled_once() {
    let (count, began) = (messages(), Instant::now());
    let mut server = NatsServer::start().expect("a real nats-server");
    let (sender, receiver) = (connect(&server.url()).await, connect(&server.url()).await);
    let mut inbox = receiver.subscribe("chaos.server").await.unwrap();
    let handling = tokio::spawn(async move {
        let mut ledger = Ledger::new(count);
        while let Some(message) = inbox.next().await {
            let message = message.unwrap();
            ledger.enter(read(&message));
            message.ack().await.unwrap();
        }
        ledger
    });

    let (acknowledged, mut progress) = watch::channel(0);
    let killing = tokio::spawn(async move {
        for kill in 1..=KILLS {
            progress.wait_for(|so_far| *so_far >= count * kill / (KILLS + 1)).await.unwrap();
            server = tokio::task::spawn_blocking(move || {
                server.kill();
                server.restart().expect("the server starts again on its port");
                server
            })
            .await
            .unwrap();
        }
        server
    });

    let sending = deliver_all(&sender, "chaos.server", count, &acknowledged);
    let repeats = tokio::time::timeout(PATIENCE, sending).await.expect("all messages are acknowledged in time");
    let _server = killing.await.unwrap();
    // What is still on its way would be a second copy: it has to reach the inbox, and must not come out of it.
    for bridge in [&sender, &receiver] {
        bridge.confirm().await.expect("what was acknowledged, and its acknowledgements, need no confirmation");
    }
    receiver.drain().await.unwrap();
    let ledger = handling.await.unwrap();
    ledger.check_complete();
    ledger.check_once();
    assert!(repeats > 0, "no kill hit a message on its way, so nothing was tested");
    report("the server", count, repeats, began);
}

/// A receiver in a process of its own; killed when dropped
struct Receiver {
    process: Child,
}

const URL: &str = "NATSBRIDGE_CHAOS_URL";
const HANDLED: &str = "NATSBRIDGE_CHAOS_HANDLED";

impl Receiver {
    /// Starts this test program again as a receiver that writes what it has handled to a file
    fn start(url: &str, handled: &Path) -> Self {
        let process = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "receiver_process"])
            .envs([(URL, url.as_ref()), (HANDLED, handled.as_os_str())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { process }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SIGKILL: it can write nothing, answer nothing and close nothing.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
#[ignore = "not a test: the receiver that the test below starts and kills"]
fn receiver_process() {
    let (Ok(url), Ok(handled)) = (env::var(URL), env::var(HANDLED)) else { return };
    thread::spawn(|| {
        // Its end is the end of the test, however that ended.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut handled = File::options().create_new(true).append(true).open(handled).unwrap();
        let bridge = connect(&url).await;
        let mut inbox = bridge.subscribe("chaos.receiver").await.unwrap();
        while let Some(message) = inbox.next().await {
            let message = message.unwrap();
            let (number, checksum) = read(&message);
            // One write: once it returns, the kernel has the line, and a kill takes nothing back.
            handled.write_all(format!("{number} {checksum}\n").as_bytes()).unwrap();
            message.ack().await.unwrap();
        }
    });
}

/// Enters what one receiver process has handled; each of them is a window of its own
fn entered(handled: &Path, count: u64, ledger: &mut Ledger) -> u64 {
    let mut own = Ledger::new(count);
    let mut lines = 0;
    for line in BufReader::new(File::open(handled).unwrap()).lines() {
        let line = line.unwrap();
        let (number, checksum) = line.split_once(' ').unwrap();
        let entry = (number.parse().unwrap(), checksum.parse().unwrap());
        own.enter(entry);
        ledger.enter(entry);
        lines += 1;
    }
    own.check_once();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_receiver_loses_none_and_handles_none_twice_in_a_run() {
    let (count, began) = (messages(), Instant::now());
    let seed = env::var("NATSBRIDGE_CHAOS_SEED").map_or_else(
        |_| SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into(),
        |seed| seed.parse().expect("NATSBRIDGE_CHAOS_SEED is a number"),
    );
    eprintln!("NATSBRIDGE_CHAOS_SEED={seed}");
    let mut kills: Vec<u64> = (0..KILLS).map(|kill| mixed(mixed(seed) ^ kill) % count).collect();
    kills.sort_unstable();

    let server = NatsServer::start().expect("a real nats-server");
    let sender = connect(&server.url()).await;
    let folder = tempfile::tempdir().unwrap();
    let (acknowledged, mut progress) = watch::channel(0);
    let (done, mut stop) = mpsc::channel::<()>(1);
    let (url, path) = (server.url(), folder.path().to_owned());
    let killing = tokio::spawn(async move {
        let mut files = Vec::new();
        for kill in kills.into_iter().map(Some).chain([None]) {
            let file = path.join(format!("{}", files.len()));
            let receiver = Receiver::start(&url, &file);
            files.push(file);
            match kill {
                Some(kill) => {
                    progress.wait_for(|so_far| *so_far >= kill).await.unwrap();
                }
                None => {
                    stop.recv().await;
                }
            }
            tokio::task::spawn_blocking(move || drop(receiver)).await.unwrap();
        }
        files
    });

    let sending = deliver_all(&sender, "chaos.receiver", count, &acknowledged);
    let repeats = tokio::time::timeout(PATIENCE, sending).await.expect("all messages are acknowledged in time");
    drop(done);
    let files = killing.await.unwrap();
    let mut ledger = Ledger::new(count);
    let handled: u64 = files.iter().filter(|file| file.exists()).map(|file| entered(file, count, &mut ledger)).sum();
    ledger.check_complete();
    assert!(handled >= count && repeats > 0, "{handled} handled, {repeats} repeats: no kill hit anything");
    eprintln!("{} handled again by a later process, whose window was new", handled - count);
    report("the receiver", count, repeats, began);
}
