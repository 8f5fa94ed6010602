//! The checks of the file server: upload, a look at the link, download, deletion, and its clock.

use std::time::{Duration, SystemTime};

use natsbridge::store::{
    Digest, Downloader as _, Link, Object, RetryPolicy, Source, StoreError, Stored, Target, Uploader,
};
use natsbridge::{Config, LinkLifetime, PayloadType};
use tokio::time::Instant;

use super::{Check, ReceivePolicy, State};
use crate::failure::Failure;
use crate::units;

/// Bytes of the probe where a large one failed
const SMALL: u64 = 64 * 1024;

/// How long a link lives unless its sender says otherwise (docs/specification.md, section 8)
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How far two clocks may be apart before links expire noticeably early or late
const SKEW: Duration = Duration::from_secs(5);

pub(super) async fn check(config: Config, size: u64, checks: &mut ReceivePolicy) -> Result<(), Failure> {
    // What works at the third try only is a finding.
    let config = config.retry(RetryPolicy::never());
    let uploader = match config.to_uploader() {
        Ok(uploader) => uploader,
        Err(error) => return checks.add(Check::failed("upload", &error.into())),
    };
    let sha256 = Digest::of(&content(size));
    let shown = units::shown(size);
    let start = Instant::now();
    let stored = match upload(uploader.as_ref(), size).await {
        Ok(stored) => stored,
        Err(error) => {
            let mut failed = Check::failed("upload", &natsbridge::Error::from(error).into());
            if size > SMALL
                && let Ok(small) = upload(uploader.as_ref(), SMALL).await
            {
                failed.found = format!("{} are taken, {shown} are not: {}", units::shown(SMALL), failed.found);
                let fix = "raise the limit of the file server (--max-size), or of a proxy before it (nginx: \
                           client_max_body_size)";
                failed.fix = Some(fix.to_owned());
                if let Err(error) = uploader.delete(&small.receipt).await {
                    tracing::debug!(%error, "the small file stays until it expires");
                }
            }
            return checks.add(failed);
        }
    };
    checks.add(Check::ok("upload", format!("{shown} to {} in {} ms", uploader.name(), start.elapsed().as_millis())))?;
    checks.add(lifetime(uploader.as_ref()))?;

    let fetcher = config.to_fetcher()?;
    let mut link = Link::new("natsbridge doctor", &*stored.uploaded.url);
    (link.size, link.sha256) = (Some(size), Some(sha256));
    let start = Instant::now();
    let check = match fetcher.download(&link, Target::Memory).await {
        Ok(_) => Check::ok("download", format!("{shown} in {} ms, digest right", start.elapsed().as_millis())),
        Err(error) => Check::failed("download", &natsbridge::Error::from(error).into()),
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
        Err(error) => Check { state: State::Warn, ..Check::failed("delete", &natsbridge::Error::from(error).into()) },
    };
    checks.add(check)
}

fn content(size: u64) -> Vec<u8> {
    vec![b'.'; usize::try_from(size).unwrap_or(0)]
}

async fn upload(uploader: &dyn Uploader, size: u64) -> Result<Stored, StoreError> {
    let object = Object::new("natsbridge doctor", PayloadType::Binary, size);
    let object = object.link_lifetime(LinkLifetime::expiring(Duration::from_secs(300)));
    uploader.upload(&object, &Source::Bytes(content(size).into())).await
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
