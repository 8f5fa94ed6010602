//! Metrics of transfers, under the names that `docs/operations/README.md` lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use natsbridge_fileserver::{Downloader, HttpStore, Target, Uploader};
use natsbridge_testkit::scripted_http::{Reply, ScriptedHttp};
use support::*;

/// Counts what is recorded, by name and labels
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

struct Cell(Counts, String);

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
    fn absolute(&self, _: u64) {
        panic!("counters only count up");
    }
}

impl HistogramFn for Cell {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{seconds} are no seconds");
        self.increment(1);
    }
}

impl Counts {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{} {}", key.name(), labels.join(",")).trim().to_owned()))
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

#[tokio::test]
async fn transfers_and_retries_are_counted_under_the_required_names() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let server = ScriptedHttp::start([Reply::new(503, &[], ""), Reply::ok(""), Reply::ok("payload")]).await.unwrap();
    let store = HttpStore::builder(&format!("{}/{{id}}", server.url())).retry(quick()).build().unwrap();
    let stored = store.upload(&object(b"payload"), &source(b"payload")).await.unwrap();
    let fetcher = fetcher().build().unwrap();
    fetcher.download(&link(stored.uploaded.url, b"payload"), Target::Memory).await.unwrap();
    let dead = dead();
    fetcher.download(&link(dead.url(), b"payload"), Target::Memory).await.unwrap_err();
    let counted: Vec<_> = counts.0.lock().unwrap().iter().map(|(name, count)| format!("{name} {count}")).collect();
    assert_eq!(
        counted,
        [
            "download_retry_exceeded_total 1",
            "file_download_duration_seconds outcome=download_retry_exceeded 1",
            "file_download_duration_seconds outcome=ok 1",
            "file_upload_duration_seconds outcome=ok 1",
            "retry_attempts_total operation=download 5",
            "retry_attempts_total operation=upload 1",
        ]
    );
}
