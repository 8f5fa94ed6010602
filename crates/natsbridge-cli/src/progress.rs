//! Progress of transfers that take a while, as bars on a terminal: bytes, speed, and the time that is left.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
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
        let Progress { transfer, done, total, .. } = progress;
        let mut transfers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.ended {
            if let Some(Running { bar: Some(bar), .. }) = transfers.remove(&transfer) {
                bar.finish_and_clear();
                output::bars().remove(&bar);
            }
            return;
        }
        let running = transfers.entry(transfer).or_insert_with(|| Running { since: Instant::now(), bar: None });
        let took = running.since.elapsed();
        if took < PATIENCE {
            return;
        }
        let bar = running.bar.get_or_insert_with(|| bar(&progress, took));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }
}

fn bar(progress: &Progress<'_>, took: Duration) -> ProgressBar {
    let arrow = match progress.direction {
        Direction::Upload => '↑',
        Direction::Download => '↓',
    };
    let shown = if progress.total > 0 {
        "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}"
    } else {
        "{spinner} {decimal_bytes} {decimal_bytes_per_sec}, {elapsed}"
    };
    let style = ProgressStyle::with_template(&format!("{arrow} {{prefix}} {shown}"));
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let bar = output::bars().add(bar.with_elapsed(took));
    bar.set_prefix(output::cell(&output::harmless(progress.dataname), NAME));
    bar.enable_steady_tick(TICK);
    bar
}
