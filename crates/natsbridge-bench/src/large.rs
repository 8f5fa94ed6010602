//! Memory of transfers from file to file: one of 2 GB through each kind of store, and many at once.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;
use natsbridge::PayloadType;
use natsbridge::server::{FileServer, ServerConfig};
use natsbridge::store::{
    BucketStore, Digest, Downloader as _, Fetcher, Link, Object, PlikStore, Source, Target, Uploader,
};
use natsbridge_testkit::nanio::Nanio;

use crate::Failure;
use crate::job::{Job, Outcome, Scenario};
use crate::report::{Line, Samples, Target as Bound};
use crate::sample::number;

/// Bytes of one block of a file; blocks differ, so that no store can keep one for all
const BLOCK: usize = 1_000_000;
/// What one transfer may add in MiB: two buffers of 512 KiB each for sender, server and receiver, and what lies in sockets
const EACH: f64 = 4.0;
/// What is allowed for one large file, in MiB
const LARGE: f64 = 64.0;

/// The memory of large files and of many at once; how long they took stands in the samples
///
/// # Errors
/// What a job or a server says.
pub fn all(note: &mut dyn FnMut(String)) -> Result<Vec<Line>, Failure> {
    let folder = tempfile::tempdir()?;
    let job = |scenario, size, count| {
        let mut job = Job::new(scenario, crate::job::Side::Natsbridge, "");
        (job.size, job.count) = (size, count);
        job.file = folder.path().display().to_string();
        job
    };
    let large = job(Scenario::Large, 2_000_000_000, 1);
    let many = job(Scenario::Large, 10_000_000, 64);
    let mut lines = vec![
        line("2 GB through an embedded file server, file to file, server included", &large, LARGE)?,
        line("64 files of 10 MB at once through it, server included", &many, LARGE + 64.0 * EACH)?,
    ];
    match Nanio::start() {
        Ok(bucket) => {
            let large = Job { files_url: bucket.url(), ..large };
            lines.push(line("2 GB through an S3 server, file to file", &large, LARGE)?);
        }
        Err(error) => note(format!("no S3 server, no measure of one: {error}")),
    }
    Ok(lines)
}

fn line(name: &str, job: &Job, limit: f64) -> Result<Line, Failure> {
    let Outcome { values, peak_kib } = job.spawn()?;
    let peak = peak_kib.map_or(f64::NAN, |kib| number(kib) / 1024.0);
    let samples = [Samples::new("natsbridge", "MiB", vec![peak]), Samples::times("up, and down", &values)];
    Ok(Line::new("peak memory", name, peak, "MiB").target(Some(Bound::AtMost(limit))).samples(samples))
}

/// Seconds of all uploads and of all downloads, through the server named in the job or one of its own
pub(crate) async fn transfers(job: &Job) -> Result<Vec<f64>, Failure> {
    let folder = tempfile::tempdir_in(&job.file)?;
    if !job.files_url.is_empty() {
        let store = BucketStore::s3(Nanio::BUCKET).endpoint(&job.files_url).region("us-east-1");
        let store = store.access_key(Nanio::ACCESS_KEY, Nanio::SECRET_KEY).build()?;
        return through(&store, job, folder.path()).await;
    }
    let config = ServerConfig::new(folder.path().join("server")).listen(([127, 0, 0, 1], 0).into());
    let server = FileServer::bind(config).await?.start();
    let seconds = through(&PlikStore::new(server.url())?, job, folder.path()).await?;
    server.shutdown().await;
    Ok(seconds)
}

async fn through(store: &dyn Uploader, job: &Job, folder: &Path) -> Result<Vec<f64>, Failure> {
    let from = written(folder.join("from"), job.size / BLOCK)?;
    let len = std::fs::metadata(&from)?.len();
    let object = Object::new("payload", PayloadType::Binary, len);
    let source = Source::File { path: from, len };
    let began = std::time::Instant::now();
    let stored = try_join_all((0..job.count).map(|_| store.upload(&object, &source))).await?;
    let uploading = began.elapsed().as_secs_f64();
    let fetcher = Fetcher::new()?;
    let links = stored.iter().map(|stored| {
        let mut link = Link::new("payload", &*stored.uploaded.url);
        (link.size, link.sha256) = (Some(len), Some(stored.uploaded.sha256));
        link
    });
    let links: Vec<Link> = links.collect();
    let began = std::time::Instant::now();
    let targets = (0..links.len()).map(|number| Target::File(folder.join(format!("to{number}"))));
    try_join_all(links.iter().zip(targets).map(|(link, target)| fetcher.download(link, target))).await?;
    let downloading = began.elapsed().as_secs_f64();
    for stored in &stored {
        store.delete(&stored.receipt).await?;
    }
    Ok(vec![uploading, downloading])
}

/// A file of that many blocks
fn written(path: PathBuf, blocks: usize) -> Result<PathBuf, Failure> {
    let mut file = File::create(&path)?;
    for block in 0..blocks {
        let digest = Digest::of(&block.to_le_bytes());
        file.write_all(&digest.as_bytes().repeat(BLOCK / digest.as_bytes().len()))?;
    }
    Ok(path)
}
