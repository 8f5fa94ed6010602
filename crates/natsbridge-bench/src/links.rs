//! Large payloads by link: against the Object Store of NATS, and against curl on the same file server.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use natsbridge::store::{
    Downloader as _, Fetcher, Link, Object, Origin, PlikStore, Receipt, Source, StoreError, Stored, Target, Uploader,
};
use natsbridge::{Bridge, Config, PayloadType};
use natsbridge_testkit::process::{Output, Process};
use tokio::io::AsyncReadExt as _;

use crate::job::{Job, Side};
use crate::sample::number;
use crate::{Failure, workload};

/// Payload sizes in bytes
pub const SIZES: [usize; 3] = [500_000, 10_000_000, 100_000_000];

/// How long a program may take to be ready
pub(crate) const READY: Duration = Duration::from_secs(30);

/// The embedded file server, as the program `natsbridge serve` runs it; killed when dropped
#[derive(Debug)]
pub struct FileServer {
    process: Process,
    /// Where it listens
    pub url: String,
}

impl FileServer {
    /// Starts it on a folder
    ///
    /// # Errors
    /// When the program can't be started, or does not say where it listens.
    pub fn start(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(folder);
        let process = Process::start(command.env_remove("FILESERVER_TOKEN").stdin(Stdio::null()))?;
        let first = process.line(Output::Out, READY)?;
        let url = first.strip_prefix("listening on ").unwrap_or_default().to_owned();
        let server = Self { process, url };
        if server.url.is_empty() {
            return Err(format!("{} said `{}` instead of where it listens", program.display(), first).into());
        }
        Ok(server)
    }

    /// Its peak resident memory in KiB so far
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        crate::job::peak_kib(&self.process.id().to_string())
    }

    /// Its resident memory in MiB now
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn now_mib(&self) -> Result<f64, Failure> {
        let kib = crate::job::now_kib(&self.process.id().to_string()).ok_or("the system does not tell memory")?;
        Ok(number(kib) / 1024.0)
    }
}

/// The embedded file server, and what to delete there after a message, as the Object Store's side does
///
/// With files that pile up, each round would measure how fast the machine finds memory that was never used before.
#[derive(Debug)]
struct Tidy {
    store: PlikStore,
    receipts: Mutex<Vec<Receipt>>,
}

impl Tidy {
    fn new(files_url: &str) -> Result<Self, Failure> {
        Ok(Self { store: PlikStore::new(files_url)?, receipts: Mutex::default() })
    }

    async fn clear(&self) -> Result<(), Failure> {
        let receipts = std::mem::take(&mut *self.receipts.lock().unwrap_or_else(PoisonError::into_inner));
        for receipt in &receipts {
            self.store.delete(receipt).await?;
        }
        Ok(())
    }
}

impl Uploader for Tidy {
    fn name(&self) -> Cow<'_, str> {
        self.store.name()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        let uploaded = self.store.upload(object, source).map(|stored| {
            let stored = stored?;
            self.receipts.lock().unwrap_or_else(PoisonError::into_inner).push(stored.receipt.clone());
            Ok(stored)
        });
        uploaded.boxed()
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.delete(receipt)
    }

    fn origins(&self) -> Vec<Origin> {
        self.store.origins()
    }
}

/// Seconds of each message with one large payload, from before it is sent to its verified bytes in memory
///
/// What it stored is deleted afterwards, outside the time measured.
pub(crate) async fn message(job: &Job) -> Result<Vec<f64>, Failure> {
    match job.side {
        Side::Natsbridge => by_link(job).await,
        Side::Other => by_object_store(job).await,
    }
}

async fn by_link(job: &Job) -> Result<Vec<f64>, Failure> {
    let store = Arc::new(Tidy::new(&job.files_url)?);
    let config = Config::new(&job.nats_url).uploader(Arc::<Tidy>::clone(&store));
    let bridge = Bridge::connect(config).await?;
    let mut inbox = bridge.subscribe("bench.link").await?;
    let payload = workload::bytes(job.size);
    let small = workload::bytes(500_000);
    let mut seconds = Vec::new();
    // The first message opens the connections and does not count, on either side.
    for number in 0..=job.count {
        let payload = if number == 0 { &small } else { &payload };
        let began = Instant::now();
        bridge.message("bench.link").binary("payload", payload.clone()).send().await?;
        let message = inbox.next().await.ok_or("the subscription ended")??;
        let received = message.bytes("payload")?;
        if number > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
        if received != *payload {
            return Err("other bytes arrived than were sent".into());
        }
        store.clear().await?;
    }
    Ok(seconds)
}

async fn by_object_store(job: &Job) -> Result<Vec<f64>, Failure> {
    let client = async_nats::connect(&job.nats_url).await?;
    let context = jetstream::new(client);
    let bucket = format!("bench-{}", std::process::id());
    let config = jetstream::object_store::Config { bucket: bucket.clone(), ..Default::default() };
    let store = context.create_object_store(config).await?;
    let payload = workload::bytes(job.size);
    let small = workload::bytes(500_000);
    let mut seconds = Vec::new();
    for number in 0..=job.count {
        let payload = if number == 0 { &small } else { &payload };
        let name = format!("payload-{number}");
        let began = Instant::now();
        store.put(name.as_str(), &mut &**payload).await?;
        let mut received = Vec::with_capacity(payload.len());
        store.get(name.as_str()).await?.read_to_end(&mut received).await?;
        if number > 0 {
            seconds.push(began.elapsed().as_secs_f64());
        }
        if received != *payload {
            return Err("other bytes arrived than were sent".into());
        }
        store.delete(&name).await?;
    }
    context.delete_object_store(&bucket).await?;
    Ok(seconds)
}

/// Seconds of an upload from a file, and of the download into one, digest checked
pub(crate) async fn transfer(job: &Job) -> Result<Vec<f64>, Failure> {
    let store = PlikStore::new(&job.files_url)?;
    let fetcher =
        store.origins().into_iter().fold(Fetcher::builder(), |fetcher, origin| fetcher.allow(origin)).build()?;
    let len = fs::metadata(&job.file)?.len();
    let object = Object::new("payload", PayloadType::Binary, len);
    let source = Source::File { path: job.file.clone().into(), len };
    let began = Instant::now();
    let stored = store.upload(&object, &source).await?;
    let uploading = began.elapsed().as_secs_f64();

    let mut link = Link::new("payload", stored.uploaded.url);
    link.size = Some(stored.uploaded.size);
    link.sha256 = Some(stored.uploaded.sha256);
    let target = format!("{}.{}", job.file, std::process::id());
    let began = Instant::now();
    fetcher.download(&link, Target::File(target.clone().into())).await?;
    let downloading = began.elapsed().as_secs_f64();
    fs::remove_file(target)?;
    store.delete(&stored.receipt).await?;
    Ok(vec![uploading, downloading])
}

/// Seconds that curl says it took to upload the file, and to download it again; `stored` is the server's folder
///
/// # Errors
/// When curl is missing or fails.
pub fn curl(file: &Path, files_url: &str, stored: &Path) -> Result<[f64; 2], Failure> {
    let form = format!("file=@{}", file.display());
    let mut url = String::new();
    let uploading = timed_curl(&["-F", &form, "-H", "Expect:", files_url], &mut url)?;
    let target = format!("{}.curl", file.display());
    let downloading = timed_curl(&["-o", &target, "-A", "plik_client/bench", url.trim()], &mut String::new())?;
    if fs::metadata(&target)?.len() != fs::metadata(file)?.len() {
        return Err("curl downloaded another number of bytes".into());
    }
    fs::remove_file(target)?;
    // A quick upload gives no token to delete it with, and ours is deleted, too.
    let upload = url.trim().split('/').nth(4).ok_or("curl was told no link")?;
    fs::remove_dir_all(stored.join("uploads").join(upload))?;
    Ok([uploading, downloading])
}

/// Its own time without that of starting it; what it prints before that goes to `body`
fn timed_curl(args: &[&str], body: &mut String) -> Result<f64, Failure> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--write-out", "\n%{time_total}"])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("curl can't be started: {error}"))?;
    if !output.status.success() {
        return Err("curl failed: see above".into());
    }
    let said = String::from_utf8(output.stdout)?;
    let (before, seconds) = said.rsplit_once('\n').ok_or("curl printed no time")?;
    before.clone_into(body);
    Ok(seconds.trim().parse()?)
}

/// Whether curl can be asked at all
#[must_use]
pub fn has_curl() -> bool {
    Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
