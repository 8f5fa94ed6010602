//! The checks of the file server: upload, a look at the link, download, deletion, and its clock.

use std::time::{Duration, SystemTime};

use natsbridge::{Config, Digest, Downloader as _, Life, Link, Object, PayloadType, Source, Target};
use tokio::time::Instant;

use super::{Check, Checks, State};
use crate::failure::Failure;
use crate::stores;

/// Bytes of the probe
const SIZE: u64 = 64 * 1024;

/// How far two clocks may be apart before links expire noticeably early or late
const SKEW: Duration = Duration::from_secs(5);

pub(super) async fn check(mut config: Config, checks: &mut Checks) -> Result<(), Failure> {
    // What works at the third try only is a finding.
    config.retry = config.retry.max_retries(0);
    let uploader = match stores::uploader(&config) {
        Ok(uploader) => uploader,
        Err(failure) => return checks.add(Check::failed("upload", &failure)),
    };
    let content = vec![b'.'; usize::try_from(SIZE).unwrap_or(0)];
    let sha256 = Digest::of(&content);
    let object = Object::new("natsbridge doctor", PayloadType::Binary, SIZE);
    let object = object.life(Life::expiring(Duration::from_secs(300)));
    let start = Instant::now();
    let stored = match uploader.upload(&object, &Source::Bytes(content.into())).await {
        Ok(stored) => stored,
        Err(error) => return checks.add(Check::failed("upload", &natsbridge::Error::from(error).into())),
    };
    checks.add(Check::ok("upload", format!("64 KiB to {} in {} ms", uploader.name(), start.elapsed().as_millis())))?;

    let fetcher = stores::fetcher(&config)?;
    let mut link = Link::new("natsbridge doctor", &*stored.uploaded.url);
    (link.size, link.sha256) = (Some(SIZE), Some(sha256));
    let start = Instant::now();
    let check = match fetcher.download(&link, Target::Memory).await {
        Ok(_) => Check::ok("download", format!("64 KiB in {} ms, digest right", start.elapsed().as_millis())),
        Err(error) => Check::failed("download", &natsbridge::Error::from(error).into()),
    };
    checks.add(check)?;
    let seen = fetcher.glance(&link).await;
    if let Some(check) = seen.as_ref().ok().and_then(|seen| clock(seen.server_time?.into(), seen.took)) {
        checks.add(check)?;
    }
    let check = match uploader.delete(&stored.receipt).await {
        Ok(()) => match fetcher.glance(&link).await {
            Ok(seen) if (200..300).contains(&seen.status) => Check::warn(
                "delete",
                "the server said that it deleted the file, and still has it",
                "look for a cache in front of the file server",
            ),
            _ => Check::ok("delete", "the file is gone"),
        },
        Err(error) => Check { state: State::Warn, ..Check::failed("delete", &natsbridge::Error::from(error).into()) },
    };
    checks.add(check)
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
