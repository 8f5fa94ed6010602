//! Progress of large transfers, as bars on a terminal.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use natsbridge::{Config, Direction, Progress};

use crate::output;

/// Time between two drawings of a bar
const TICK: Duration = Duration::from_millis(100);

/// Columns of a payload's name before a bar
const NAME: usize = 20;

/// Shows the uploads and downloads of a bridge where standard error is a terminal
pub(crate) fn watch(config: Config) -> Config {
    if !io::stderr().is_terminal() {
        return config;
    }
    let running = Bars::default();
    config.on_progress(move |progress| running.show(progress))
}

/// One bar for each transfer that runs
#[derive(Default)]
struct Bars(Mutex<HashMap<u64, ProgressBar>>);

impl Bars {
    fn show(&self, progress: Progress<'_>) {
        let Progress { transfer, done, total, .. } = progress;
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.ended {
            if let Some(bar) = running.remove(&transfer) {
                bar.finish_and_clear();
                output::bars().remove(&bar);
            }
            return;
        }
        let bar = running.entry(transfer).or_insert_with(|| bar(&progress));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }
}

fn bar(progress: &Progress<'_>) -> ProgressBar {
    let arrow = match progress.direction {
        Direction::Upload => '↑',
        Direction::Download => '↓',
    };
    let shown = if progress.total > 0 {
        "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}"
    } else {
        "{spinner} {decimal_bytes}, {elapsed}"
    };
    let style = ProgressStyle::with_template(&format!("{arrow} {{prefix}} {shown}"));
    let bar = ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let bar = output::bars().add(bar);
    bar.set_prefix(output::cell(&output::harmless(progress.dataname), NAME));
    bar.enable_steady_tick(TICK);
    bar
}
