//! Logs for Python's `logging`, and counters: what the engine tells, kept until a thread may call Python.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::engine::{locked, with_python_aside};

/// Tasks that the engine itself runs: `keep_up`
pub(crate) const TASKS: usize = 1;
/// How often what nobody fetched is given to `logging`
const PUMP: Duration = Duration::from_millis(100);
/// How often the histograms' samples are added up
const UPKEEP: Duration = Duration::from_secs(30);
/// How often Python is asked which level it wants
const FRESH: Duration = Duration::from_millis(200);
/// Events that wait; more are dropped, and that is said
const WAITING: usize = 10_000;

/// Python's level: 10 debug, 20 info, 30 warning, 40 error; more is nothing
static LEVEL: AtomicUsize = AtomicUsize::new(30);
static ANY: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<Told>> = Mutex::new(Vec::new());
static ASKED: Mutex<Option<Instant>> = Mutex::new(None);
static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// One event of the log
struct Told {
    level: usize,
    target: &'static str,
    text: String,
    fields: Vec<(&'static str, String)>,
}

const fn number(level: Level) -> usize {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

struct Logs;

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span()
            && metadata.target().starts_with("natsbridge")
            && number(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut told = Told {
            level: number(*event.metadata().level()),
            target: event.metadata().target(),
            text: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut told);
        let mut events = locked(&EVENTS);
        if events.len() < WAITING {
            events.push(told);
        }
        ANY.store(true, Ordering::Release);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    // What Python wants changes while it runs.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        if metadata.target().starts_with("natsbridge") {
            tracing::subscriber::Interest::sometimes()
        } else {
            tracing::subscriber::Interest::never()
        }
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.text);
        } else {
            self.fields.push((field.name(), value.to_owned()));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.fields.push((field.name(), text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        } else {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }
}

/// Begins to log and to count; where the program has done so already, nothing happens
#[pyfunction]
pub(crate) fn start() {
    let _ = tracing::subscriber::set_global_default(Logs);
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() && METRICS.set(handle).is_ok() {
        natsbridge::metrics::describe_metrics();
    }
}

/// Asks Python which level it wants, if that was long ago
pub(crate) fn refresh(py: Python<'_>) {
    static ASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let mut asked = locked(&ASKED);
    if asked.is_some_and(|at| at.elapsed() < FRESH) {
        return;
    }
    *asked = Some(Instant::now());
    drop(asked);
    let level = ASK.import(py, "natsbridge._logs", "wanted").and_then(|ask: &Bound<'_, PyAny>| ask.call0()?.extract());
    if let Ok(level) = level {
        LEVEL.store(level, Ordering::Relaxed);
    }
}

/// Gives `logging` what waits
pub(crate) fn deliver(py: Python<'_>) {
    static TAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if !ANY.swap(false, Ordering::AcqRel) {
        return;
    }
    let events = std::mem::take(&mut *locked(&EVENTS));
    for Told { level, target, text, fields } in events {
        let told = TAKE.import(py, "natsbridge._logs", "take").and_then(|take: &Bound<'_, PyAny>| {
            let dict = PyDict::new(py);
            for (name, value) in fields {
                dict.set_item(name, value)?;
            }
            take.call1((level, target, text, dict))
        });
        if let Err(error) = told {
            error.write_unraisable(py, None);
        }
    }
}

/// Gives `logging` what waits, and asks it for its level
#[pyfunction]
pub(crate) fn flush(py: Python<'_>) {
    *locked(&ASKED) = None;
    refresh(py);
    deliver(py);
}

/// The counters as Prometheus reads them
#[pyfunction]
pub(crate) fn metrics_text() -> String {
    METRICS.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// What has to be done now and then: events that nobody fetched, and samples
pub(crate) async fn keep_up() {
    let mut added = Instant::now();
    loop {
        tokio::time::sleep(PUMP).await;
        if ANY.load(Ordering::Acquire) && with_python_aside(deliver).await.is_none() {
            return;
        }
        if added.elapsed() > UPKEEP {
            added = Instant::now();
            if let Some(handle) = METRICS.get() {
                handle.run_upkeep();
            }
        }
    }
}
