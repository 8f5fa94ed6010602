//! Progress of large transfers, as bars on a terminal.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
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
    let bars = Bars::default();
    config.on_progress(move |progress| bars.show(progress))
}

/// One bar for each transfer that runs
#[derive(Default)]
struct Bars {
    drawn: MultiProgress,
    running: Mutex<HashMap<u64, ProgressBar>>,
}

impl Bars {
    fn show(&self, progress: Progress<'_>) {
        let Progress { transfer, done, total, .. } = progress;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.ended {
            running.remove(&transfer).iter().for_each(ProgressBar::finish_and_clear);
            return;
        }
        let bar = running.entry(transfer).or_insert_with(|| self.add(&progress));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    fn add(&self, progress: &Progress<'_>) -> ProgressBar {
        let arrow = match progress.direction {
            Direction::Upload => '↑',
            Direction::Download => '↓',
        };
        let shown = if progress.total > 0 {
            "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {eta}"
        } else {
            "{spinner} {decimal_bytes}, {elapsed}"
        };
        let template = ProgressStyle::with_template(&format!("{arrow} {{prefix}} {shown}"));
        let bar = ProgressBar::no_length().with_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let bar = self.drawn.add(bar);
        bar.set_prefix(output::cell(&output::harmless(progress.dataname), NAME));
        bar.enable_steady_tick(TICK);
        bar
    }
}
