//! Progress of transfers that take a while, as bars on a terminal: bytes, speed, and the time that is left.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use natsbridge::{Config, Direction, Progress};

use crate::output;

/// Time between two drawings of a bar
const TICK: Duration = Duration::from_millis(100);

/// Columns of a payload's name before a bar
const NAME: usize = 20;

/// How long a transfer goes on without a bar, which would only flicker
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows the uploads and downloads of a bridge where standard error is a terminal
pub(crate) fn watch(config: Config) -> Config {
    if !io::stderr().is_terminal() {
        return config;
    }
    let running = Bars::default();
    config.on_progress(move |progress| running.show(progress))
}

/// The transfers that run
#[derive(Default)]
struct Bars(Mutex<HashMap<u64, Running>>);

/// A transfer, with its bar once it has taken a while
struct Running {
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Bars {
    fn show(&self, progress: Progress<'_>) {
        let Progress { transfer, dataname, direction, done, total, .. } = progress;
        if progress.ended {
            self.end(transfer);
        } else {
            self.step(transfer, dataname, direction, done, total);
        }
    }

    fn step(&self, transfer: u64, dataname: &str, direction: Direction, done: u64, total: u64) {
        let mut transfers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = transfers.entry(transfer).or_insert_with(|| Running { since: Instant::now(), bar: None });
        let took = running.since.elapsed();
        if took < PATIENCE {
            return;
        }
        let bar = running.bar.get_or_insert_with(|| bar(dataname, direction, total, took));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    fn end(&self, transfer: u64) {
        let mut transfers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Running { bar: Some(bar), .. }) = transfers.remove(&transfer) {
            bar.finish_and_clear();
            output::bars().remove(&bar);
        }
    }
}

/// The bar of one transfer that no bridge makes; it goes when the value does
pub(crate) struct Single(Option<Arc<Bars>>);

impl Single {
    /// Shown where standard error is a terminal
    pub(crate) fn new() -> Self {
        Self(io::stderr().is_terminal().then(Arc::default))
    }

    /// What an upload or a download calls with its bytes so far, and in all
    pub(crate) fn hook(
        &self,
        dataname: &'static str,
        direction: Direction,
    ) -> impl Fn(u64, u64) + Send + Sync + 'static + use<> {
        let bars = self.0.clone();
        move |done, total| {
            if let Some(bars) = &bars {
                bars.step(0, dataname, direction, done, total);
            }
        }
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        if let Some(bars) = &self.0 {
            bars.end(0);
        }
    }
}

fn bar(dataname: &str, direction: Direction, total: u64, took: Duration) -> ProgressBar {
    let arrow = match direction {
        Direction::Upload => '↑',
        Direction::Download => '↓',
    };
    let shown = if total > 0 {
        "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}"
    } else {
        "{spinner} {decimal_bytes} {decimal_bytes_per_sec}, {elapsed}"
    };
    let style = ProgressStyle::with_template(&format!("{arrow} {{prefix}} {shown}"));
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let bar = output::bars().add(bar.with_elapsed(took));
    bar.set_prefix(output::cell(&output::harmless(dataname), NAME));
    bar.enable_steady_tick(TICK);
    bar
}
