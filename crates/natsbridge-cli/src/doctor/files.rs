//! The checks of the file server: upload, a look at the link, download, deletion, and its clock.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use natsbridge::store::{Downloader as _, Link, Object, RetryPolicy, Source, StoreError, Stored, Target, Uploader};
use natsbridge::{Config, LinkLifetime, PayloadType};
use tokio::time::Instant;

use super::{Check, ReceivePolicy, State};
use crate::certificate;
use crate::failure::Failure;
use crate::{stores, units};

/// The smallest file that is tried
const SMALL: u64 = 64 * 1024;

/// The largest file that is kept in memory
const IN_MEMORY: u64 = 64 * 1024 * 1024;

/// How long a link lives unless its sender says otherwise (docs/specification.md, section 8)
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far two clocks may be apart before links expire noticeably early or late
const SKEW: Duration = Duration::from_secs(5);

pub(super) async fn check(config: Config, size: u64, checks: &mut ReceivePolicy) -> Result<(), Failure> {
    // What works at the third try only is a finding.
    let config = config.retry(RetryPolicy::never());
    if stores::shows_token(&config) {
        checks.add(Check::warn(
            "token",
            format!("it goes to {} in clear text", natsbridge::wire::redacted(config.upload_url())),
            "give the file server a certificate (natsbridge serve --tls-cert, or nginx), and use https://",
        ))?;
    }
    if let Some(found) = certificate::fileserver(&config).await {
        checks.add(super::lifetime(&found))?;
        if found.is_expired() {
            // Nothing else can be tried, and every attempt would tell the same.
            return Ok(());
        }
    }
    let uploader = match config.to_uploader() {
        Ok(uploader) => uploader,
        Err(error) => return checks.add(Check::failed("upload", &error.into())),
    };
    let folder = tempfile::tempdir().map_err(|error| Failure::system("cannot make a temporary folder", error))?;
    let shown = units::shown(size);
    let content = content(folder.path(), size)?;
    let start = Instant::now();
    let stored = match upload(uploader.as_ref(), size, &content).await {
        Ok(stored) => stored,
        Err(error) => {
            let mut failed = Check::failed("upload", &natsbridge::Error::from(error).into()).or_fix(LOG);
            if let Some(passed) = largest_below(uploader.as_ref(), size).await {
                failed.found = format!("{} are taken, {shown} are not: {}", units::shown(passed), failed.found);
                failed.fix = Some(LIMITS.to_owned());
            }
            return checks.add(failed);
        }
    };
    let took = start.elapsed().as_millis();
    checks.add(Check::ok(
        "upload",
        format!("files of {shown} are taken; this one went to {} in {took} ms", uploader.name()),
    ))?;
    checks.add(lifetime(uploader.as_ref()))?;

    let fetcher = config.to_fetcher()?;
    let mut link = Link::new("natsbridge doctor", &*stored.uploaded.url);
    (link.size, link.sha256) = (Some(size), Some(stored.uploaded.sha256));
    let start = Instant::now();
    let check = match fetcher.download(&link, Target::File(folder.path().join("downloaded"))).await {
        Ok(_) => Check::ok("download", format!("{shown} in {} ms, digest right", start.elapsed().as_millis())),
        Err(error) => Check::failed("download", &natsbridge::Error::from(error).into()).or_fix(LOG),
    };
    checks.add(check)?;
    let seen = fetcher.head(&link).await;
    if let Some(check) = seen.as_ref().ok().and_then(|seen| clock(seen.server_time?.into(), seen.took)) {
        checks.add(check)?;
    }
    let check = match uploader.delete(&stored.receipt).await {
        Ok(()) => match fetcher.head(&link).await {
            Ok(seen) if (200..300).contains(&seen.status) => Check::warn(
                "delete",
                "the server said that it deleted the file, and still has it",
                "look for a cache in front of the file server",
            ),
            _ => Check::ok("delete", "the file is gone"),
        },
        Err(error) => {
            let failed = Check::failed("delete", &natsbridge::Error::from(error).into()).or_fix(LOG);
            Check { state: State::Warn, ..failed }
        }
    };
    checks.add(check)
}

/// What to do about a failure that says nothing more itself
const LOG: &str = "look at the file server's log, and at that of a proxy before it";

/// What to do about files that are too large
const LIMITS: &str = "raise the limit of the file server (--max-size, --max-total), or of a proxy before it (nginx: \
                      client_max_body_size), or make room on its disk";

/// A file of this size, small ones in memory
fn content(folder: &Path, size: u64) -> Result<Source, Failure> {
    if size <= IN_MEMORY {
        return Ok(Source::Bytes(vec![b'.'; usize::try_from(size).unwrap_or(0)].into()));
    }
    let path = folder.join("uploaded");
    // Zeros that take no space on most disks.
    let made = File::create(&path).and_then(|file| file.set_len(size));
    made.map_err(|error| Failure::system(format!("cannot make a temporary file of {}", units::shown(size)), error))?;
    Ok(Source::File { path, len: size })
}

/// The largest file below a size that was refused that is taken, found by halving
async fn largest_below(uploader: &dyn Uploader, refused: u64) -> Option<u64> {
    let mut size = refused;
    while size > SMALL {
        size = if size <= IN_MEMORY { (size / 2).max(SMALL) } else { IN_MEMORY };
        let content = Source::Bytes(vec![b'.'; usize::try_from(size).unwrap_or(0)].into());
        if let Ok(stored) = upload(uploader, size, &content).await {
            if let Err(error) = uploader.delete(&stored.receipt).await {
                tracing::debug!(%error, "the smaller file stays until it expires");
            }
            return Some(size);
        }
    }
    None
}

async fn upload(uploader: &dyn Uploader, size: u64, content: &Source) -> Result<Stored, StoreError> {
    let object = Object::new("natsbridge doctor", PayloadType::Binary, size);
    let object = object.link_lifetime(LinkLifetime::expiring(Duration::from_secs(300)));
    uploader.upload(&object, content).await
}

/// What the store makes of the lifetimes that links are mostly wished to have
fn lifetime(uploader: &dyn Uploader) -> Check {
    let rules = uploader.lifetime_rules();
    let changes: Vec<_> = [LinkLifetime::expiring(DAY), LinkLifetime::one_shot(DAY)]
        .into_iter()
        .filter_map(|wish| rules.explain_change(wish))
        .collect();
    if changes.is_empty() {
        return Check::ok("lifetime", "links live as long, and are read as often, as their senders ask");
    }
    Check::warn(
        "lifetime",
        changes.join("; "),
        "change the file server's settings (Plik: OneShot, DefaultTTL, MaxTTL), or ask for what it gives (--link-ttl)",
    )
}

/// Compares the server's clock, which it tells to the second, with ours
fn clock(theirs: SystemTime, took: Duration) -> Option<Check> {
    let ours = SystemTime::now().checked_sub(took / 2)?;
    let apart = ours.duration_since(theirs).unwrap_or_else(|ahead| ahead.duration());
    let seconds = apart.as_secs();
    if apart <= SKEW {
        return Some(Check::ok("clock", "the file server's clock agrees with ours"));
    }
    Some(Check::warn(
        "clock",
        format!("the file server's clock and ours are {seconds} s apart, so links expire early or late"),
        "have both set by NTP",
    ))
}
