//! Progress of large transfers, for someone who watches: only where standard error is a terminal.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Debug;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use natsbridge::Config;
use natsbridge::store::{
    Downloader, FetchError, LifetimeRules, Link, Object, Origin, Receipt, Source, StoreError, Stored, Target, Uploader,
};

use crate::failure::Failure;
use crate::{output, stores};

/// How often a bar is drawn anew
const TICK: Duration = Duration::from_millis(100);

/// Columns of a payload's name before a bar
const NAME: usize = 20;

/// Has the uploads and downloads of a bridge shown on a terminal; without one, changes nothing
pub(crate) fn watch(config: &mut Config) -> Result<(), Failure> {
    if !io::stderr().is_terminal() {
        return Ok(());
    }
    let bars = MultiProgress::new();
    let (fetcher, uploader) = (stores::fetcher(config)?, stores::uploader(config)?);
    config.downloader = Some(Arc::new(Watched { inner: fetcher, bars: bars.clone() }));
    config.uploader = Some(Arc::new(Watched { inner: uploader, bars }));
    Ok(())
}

/// A store or fetcher whose transfers are shown
#[derive(Debug)]
struct Watched<T> {
    inner: T,
    bars: MultiProgress,
}

impl<T> Watched<T> {
    fn add(&self, bar: ProgressBar, dataname: &str, template: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(bar.with_style(style));
        bar.set_prefix(output::cell(&output::harmless(dataname), NAME));
        bar.enable_steady_tick(TICK);
        bar
    }
}

/// Removes a bar however its transfer ends
struct Shown(ProgressBar);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl<T: Uploader> Uploader for Watched<T> {
    fn name(&self) -> Cow<'_, str> {
        self.inner.name()
    }

    /// Shows that it goes on and for how long; how far it is, only the store knows
    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            let template = "{spinner} {prefix} uploading {decimal_total_bytes}, {elapsed}";
            let _shown = Shown(self.add(ProgressBar::new(object.size), &object.dataname, template));
            self.inner.upload(object, source).await
        })
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.delete(receipt)
    }

    fn origins(&self) -> Vec<Origin> {
        self.inner.origins()
    }

    fn lifetime_rules(&self) -> LifetimeRules {
        self.inner.lifetime_rules()
    }
}

impl<T: Downloader> Downloader for Watched<T> {
    fn download<'a>(
        &'a self,
        link: &'a Link,
        target: Target,
    ) -> BoxFuture<'a, Result<natsbridge::store::Downloaded, FetchError>> {
        Box::pin(async move {
            let Target::File(path) = &target else { return self.inner.download(link, target).await };
            let path = path.clone();
            let (bar, template) = match link.size {
                Some(size) => {
                    (ProgressBar::new(size), "{prefix} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}")
                }
                None => (ProgressBar::no_length(), "{spinner} {prefix} {decimal_bytes}, {elapsed}"),
            };
            let shown = Shown(self.add(bar, &link.dataname, template));
            tokio::select! {
                result = self.inner.download(link, target) => result,
                never = grow(&path, &shown.0) => match never {},
            }
        })
    }
}

/// Moves a bar along with the file that is being written
async fn grow(path: &Path, bar: &ProgressBar) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        if let Ok(metadata) = tokio::fs::metadata(path).await {
            bar.set_position(metadata.len());
        }
    }
}
