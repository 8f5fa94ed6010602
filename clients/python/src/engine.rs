//! The engine's threads, and the gate between them and an interpreter that may be going away.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};
use tokio::task::AbortHandle;

use crate::failure::Failure;
use crate::observe;
use crate::outcome::Outcome;

/// How often a thread that waits looks whether Ctrl-C was pressed
const SIGNALS: Duration = Duration::from_millis(50);
/// How long the end of the interpreter waits for what calls Python just then
const LEAVING: Duration = Duration::from_secs(3);
/// How long it waits for the deletes of uploads whose send was cancelled
const DELETING: Duration = Duration::from_secs(2);

/// Whether the interpreter goes away: from then on no thread of ours calls it
static CLOSED: AtomicBool = AtomicBool::new(false);
/// Threads of ours that call Python
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);
/// When a job was cancelled last: it may have uploads to delete
static CANCELLED: Mutex<Option<Instant>> = Mutex::new(None);

struct Engine {
    runtime: Runtime,
    process: u32,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls Python from a thread of ours; nothing where the interpreter goes away
pub(crate) fn with_python<R>(call: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let _leave = Leave;
    if CLOSED.load(Ordering::SeqCst) {
        return None;
    }
    Python::try_attach(call)
}

/// As `with_python` on a thread that may block, for what takes long: the engine's own have connections to keep
pub(crate) async fn with_python_aside<R: Send + 'static>(
    call: impl FnOnce(Python<'_>) -> R + Send + 'static,
) -> Option<R> {
    tokio::task::spawn_blocking(|| with_python(call)).await.ok().flatten()
}

/// The engine's threads, started by the first who needs them
///
/// A process that was forked from one with threads has none of them: it is told so.
pub(crate) fn handle() -> Result<Handle, Failure> {
    if CLOSED.load(Ordering::SeqCst) {
        return Err(Failure::own("Stopped", "stopped", "the interpreter is shutting down"));
    }
    let mut engine = locked(&ENGINE);
    if let Some(engine) = &*engine {
        if engine.process != std::process::id() {
            return Err(Failure::own(
                "Forked",
                "forked",
                "this process was forked from one that uses natsbridge, whose connections and threads do not come along; \
                 start processes by `multiprocessing.get_context(\"spawn\")`, or connect after the fork only",
            ));
        }
        return Ok(engine.runtime.handle().clone());
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("natsbridge")
        .enable_all()
        .build()
        .map_err(|error| Failure::own("Stopped", "stopped", format!("no threads can be started: {error}")))?;
    let handle = runtime.handle().clone();
    *engine = Some(Engine { runtime, process: std::process::id() });
    drop(engine);
    handle.spawn(observe::keep_up());
    Ok(handle)
}

/// Whether this thread may end the engine's threads: those of another process are not its own
fn take_engine() -> Option<Runtime> {
    let engine = locked(&ENGINE).take()?;
    if engine.process == std::process::id() {
        return Some(engine.runtime);
    }
    // Its threads are not in this process; there is nothing to wait for.
    std::mem::forget(engine);
    None
}

/// Shuts the gate; called when the interpreter ends
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let cancelled = locked(&CANCELLED).filter(|at| at.elapsed() < LEAVING);
    let handle = locked(&ENGINE)
        .as_ref()
        .filter(|engine| engine.process == std::process::id())
        .map(|engine| engine.runtime.handle().clone());
    py.detach(|| {
        if let (Some(_), Some(handle)) = (cancelled, handle) {
            let end = Instant::now() + DELETING;
            std::thread::sleep(Duration::from_millis(20));
            while Instant::now() < end && handle.metrics().num_alive_tasks() > observe::TASKS {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        CLOSED.store(true, Ordering::SeqCst);
        let end = Instant::now() + LEAVING;
        while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(runtime) = take_engine() {
            runtime.shutdown_timeout(Duration::from_millis(200));
        }
    });
}

/// What a call does, and what it ends with
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send>>;

/// Work that needs the engine's threads; `natsbridge` waits for it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Job {
    work: Mutex<Option<Work>>,
    running: Mutex<Option<AbortHandle>>,
}

impl Job {
    pub(crate) fn new(work: impl Future<Output = Result<Outcome, Failure>> + Send + 'static) -> Self {
        Self::boxed(Box::pin(work))
    }

    pub(crate) fn boxed(work: Work) -> Self {
        Self { work: Mutex::new(Some(work)), running: Mutex::new(None) }
    }

    fn take(&self) -> Result<Work, Failure> {
        locked(&self.work).take().ok_or_else(|| Failure::own("Other", "started_twice", "this call was awaited already"))
    }

    fn wait_until<'py>(&self, py: Python<'py>, end: Option<Instant>) -> PyResult<Bound<'py, PyAny>> {
        let begun = self.take().and_then(|work| Ok((work, handle()?)));
        let (work, handle) = begun.map_err(|failure| failure.raise(py))?;
        let (sender, mut receiver) = sync_channel(1);
        let task = handle.spawn(async move {
            let _ = sender.send(guarded(work).await);
        });
        loop {
            let left = end.map_or(SIGNALS, |end| end.saturating_duration_since(Instant::now()).min(SIGNALS));
            let (done, back) = py.detach(move || (receiver.recv_timeout(left), receiver));
            receiver = back;
            match done {
                Ok(done) => {
                    observe::deliver(py);
                    return finished(py, done);
                }
                Err(RecvTimeoutError::Timeout) => {
                    observe::deliver(py);
                    if let Err(interrupt) = py.check_signals() {
                        task.abort();
                        *locked(&CANCELLED) = Some(Instant::now());
                        return Err(interrupt);
                    }
                    if end.is_some_and(|end| Instant::now() >= end) {
                        task.abort();
                        // What comes in this moment is not lost: the task's end is waited for.
                        let (last, _) = py.detach(move || (receiver.recv(), ()));
                        return match last {
                            Ok(done) => finished(py, done),
                            Err(_) => Err(pyo3::exceptions::PyTimeoutError::new_err("nothing came in time")),
                        };
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::own("Stopped", "stopped", "the engine was stopped").raise(py));
                }
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        dispose(locked(&self.work).take());
    }
}

/// Drops work that nobody waits for on a thread of ours, where its uploads can be deleted
fn dispose(work: Option<Work>) {
    if let Some(work) = work
        && let Ok(handle) = handle()
    {
        handle.spawn(async move { drop(work) });
    }
}

/// Tries work once on this thread: what is ready needs no other
///
/// The result, or a job for the rest.
pub(crate) fn try_now<'py>(py: Python<'py>, mut work: Work) -> PyResult<Bound<'py, PyAny>> {
    let handle = handle().map_err(|failure| failure.raise(py))?;
    // Without the interpreter's lock: a transfer that begins here may call a hook on another thread.
    let (polled, work) = py.detach(move || {
        let _inside = handle.enter();
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        (polled, work)
    });
    match polled {
        Poll::Ready(done) => {
            observe::deliver(py);
            finished(py, done)
        }
        Poll::Pending => Ok(Bound::new(py, Job::boxed(work))?.into_any()),
    }
}

/// As `try_now` where nothing is transferred, else a job at once
///
/// The first transfer reads the system's certificates, for which an event loop must not wait.
pub(crate) fn try_unless<'py>(py: Python<'py>, transfers: bool, work: Work) -> PyResult<Bound<'py, PyAny>> {
    if transfers { Ok(Bound::new(py, Job::boxed(work))?.into_any()) } else { try_now(py, work) }
}

fn finished<'py>(py: Python<'py>, done: Result<Outcome, Failure>) -> PyResult<Bound<'py, PyAny>> {
    match done {
        Ok(outcome) => outcome.into_python(py),
        Err(failure) => Err(failure.raise(py)),
    }
}

async fn guarded(work: Work) -> Result<Outcome, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        Err(Failure::own("Other", "panicked", "natsbridge failed inside; please report it with the text above"))
    })
}

#[pymethods]
impl Job {
    /// Begins; at the end, `settle(future, good, value)` is called on the loop's thread
    fn start(&self, py: Python<'_>, event_loop: Py<PyAny>, settle: Py<PyAny>, future: Py<PyAny>) -> PyResult<()> {
        let begun = self.take().and_then(|work| Ok((work, handle()?)));
        let (work, handle) = begun.map_err(|failure| failure.raise(py))?;
        let task = handle.spawn(async move {
            let done = guarded(work).await;
            with_python(|py| {
                observe::deliver(py);
                let (good, value) = match finished(py, done) {
                    Ok(value) => (true, value.unbind()),
                    Err(error) => (false, error.into_value(py).into_any()),
                };
                // A loop that is closed has nobody who waits.
                let _ = event_loop.call_method1(py, "call_soon_threadsafe", (settle, future, good, value));
            });
        });
        *locked(&self.running) = Some(task.abort_handle());
        Ok(())
    }

    /// Does it all while this thread waits; Ctrl-C ends it
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.wait_until(py, None)
    }

    /// As `wait`, for so many seconds; then `TimeoutError`
    fn wait_for<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Bound<'py, PyAny>> {
        let patience = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        self.wait_until(py, Instant::now().checked_add(patience))
    }

    /// Ends it: transfers stop, and what was uploaded is deleted
    fn cancel(&self) {
        dispose(locked(&self.work).take());
        if let Some(running) = locked(&self.running).take() {
            running.abort();
            *locked(&CANCELLED) = Some(Instant::now());
        }
    }
}
