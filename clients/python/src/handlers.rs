//! The user's own functions, sync and async: uploads, downloads, services and progress.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::mem::replace;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use natsbridge::store::{
    BoxError, Downloaded, Downloader, FetchError, Link, Object, Origin, Receipt, Source, StoreError, StoreErrorKind,
    Stored, Target, Uploaded, Uploader, download_handler,
};
use natsbridge::{Direction, Progress};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use time::format_description::well_known::Rfc3339;
use tokio::sync::oneshot;

use crate::engine::{handle, locked, with_python, with_python_aside};
use crate::failure::Raised;

/// What a function answers
type Answered = Result<Py<PyAny>, PyErr>;

/// Uploads of one handler that can still be deleted; the oldest ones belong to messages that were published long ago
const DELETABLE: usize = 4096;

/// What runs on an event loop for a call
#[derive(Default)]
enum Running {
    #[default]
    Nothing,
    Task(Py<PyAny>),
    /// Nobody waits for it any more
    Unwanted,
}

/// Cancels what runs for a call when it is dropped
#[derive(Default)]
struct Stop(Arc<Mutex<Running>>);

impl Drop for Stop {
    fn drop(&mut self) {
        let running = replace(&mut *locked(&self.0), Running::Unwanted);
        if let (Running::Task(task), Ok(handle)) = (running, handle()) {
            handle.spawn_blocking(move || with_python(|py| drop(task.call_method0(py, "cancel"))));
        }
    }
}

/// Where `natsbridge._handlers` says what a function returned or raised
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Answer {
    sender: Mutex<Option<oneshot::Sender<Answered>>>,
    running: Arc<Mutex<Running>>,
}

impl Answer {
    fn end(&self, answered: Answered) {
        *locked(&self.running) = Running::Nothing;
        if let Some(sender) = locked(&self.sender).take() {
            let _ = sender.send(answered);
        }
    }
}

#[pymethods]
impl Answer {
    /// The function runs as this task
    fn runs(&self, py: Python<'_>, task: Py<PyAny>) -> PyResult<()> {
        let mut running = locked(&self.running);
        if matches!(*running, Running::Unwanted) {
            drop(running);
            return task.call_method0(py, "cancel").map(drop);
        }
        *running = Running::Task(task);
        Ok(())
    }

    /// The function returned this
    fn done(&self, value: Py<PyAny>) {
        self.end(Ok(value));
    }

    /// The function raised this
    fn failed(&self, error: Bound<'_, PyAny>) {
        self.end(Err(PyErr::from_value(error)));
    }
}

/// A function of the user's, and the event loop of those that are async
pub(crate) struct Function {
    function: Py<PyAny>,
    event_loop: Option<Py<PyAny>>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function(…)")
    }
}

impl Function {
    pub(crate) fn new(function: &Bound<'_, PyAny>, event_loop: Option<&Bound<'_, PyAny>>) -> Arc<Self> {
        let event_loop = event_loop.filter(|event_loop| !event_loop.is_none()).map(|given| given.clone().unbind());
        Arc::new(Self { function: function.clone().unbind(), event_loop })
    }

    /// Calls it: a sync function on a thread that may block, an async one on its loop
    ///
    /// Where this is dropped, an async function is cancelled.
    pub(crate) async fn call(
        self: Arc<Self>,
        argument: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Result<Py<PyAny>, Raised> {
        let stop = Stop::default();
        self.call_until(argument, &stop).await
    }

    async fn call_until(
        self: Arc<Self>,
        argument: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
        stop: &Stop,
    ) -> Result<Py<PyAny>, Raised> {
        static DISPATCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (sender, answer) = oneshot::channel();
        let running = Arc::clone(&stop.0);
        let called = tokio::task::spawn_blocking(move || {
            let call = |py: Python<'_>| -> PyResult<()> {
                let answer = Bound::new(py, Answer { sender: Mutex::new(Some(sender)), running })?;
                let dispatch = DISPATCH.import(py, "natsbridge._handlers", "dispatch")?;
                dispatch.call1((&self.function, argument(py)?, &self.event_loop, answer))?;
                Ok(())
            };
            with_python(call).unwrap_or_else(|| Err(stopped()))
        });
        match called.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Raised(error)),
            Err(_) => return Err(Raised(stopped())),
        }
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Raised(error)),
            Err(_) => Err(Raised(stopped())),
        }
    }

    /// Tells it of a transfer's progress; it is not waited for
    pub(crate) fn tell(&self, progress: Progress<'_>) {
        let direction = match progress.direction {
            Direction::Upload => "upload",
            Direction::Download => "download",
        };
        with_python(|py| {
            static TELL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            let Progress { dataname, done, total, transfer, ended, .. } = progress;
            let told = TELL.import(py, "natsbridge._handlers", "tell").and_then(|tell| {
                tell.call1((&self.function, &self.event_loop, (dataname, direction, done, total, transfer, ended)))
            });
            if let Err(error) = told {
                error.write_unraisable(py, None);
            }
        });
    }
}

fn stopped() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("the interpreter is shutting down")
}

/// An upload handler of the user's
pub(crate) struct UploadFunction(Arc<Uploads>);

struct Uploads {
    function: Arc<Function>,
    fileserver_url: String,
    fileserver_token: String,
    /// What deletes an upload, with its receipt, the newest last
    deletes: Mutex<VecDeque<(String, Arc<Function>)>>,
}

/// An upload that was made; deleted on drop, unless it is kept
struct Made {
    stored: Option<Stored>,
    uploads: Arc<Uploads>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if let (Some(stored), Ok(handle)) = (self.stored.take(), handle()) {
            let uploads = Arc::clone(&self.uploads);
            handle.spawn(async move { uploads.delete(&stored.receipt).await });
        }
    }
}

impl UploadFunction {
    pub(crate) fn new(function: Arc<Function>, fileserver_url: String, fileserver_token: String) -> Self {
        Self(Arc::new(Uploads { function, fileserver_url, fileserver_token, deletes: Mutex::default() }))
    }

    /// Uploads in a task of its own: a function that can't be stopped may still upload when nobody waits for it any more
    async fn uploaded(&self, object: &Object, source: &Source) -> Result<Stored, BoxError> {
        let (object, source, uploads) = (object.clone(), source.clone(), Arc::clone(&self.0));
        let stop = Stop::default();
        let shared = Stop(Arc::clone(&stop.0));
        let made = tokio::spawn(async move {
            let stored = uploads.upload(object, source, &shared).await?;
            Ok::<_, BoxError>(Made { stored: Some(stored), uploads })
        });
        let mut made = made.await.unwrap_or_else(|_| Err(Raised(stopped()).into()))?;
        made.stored.take().ok_or_else(|| Raised(stopped()).into())
    }
}

impl Uploads {
    async fn upload(&self, object: Object, source: Source, stop: &Stop) -> Result<Stored, BoxError> {
        let (url, token) = (self.fileserver_url.clone(), self.fileserver_token.clone());
        let size = source.len();
        let argument = move |py: Python<'_>| {
            let data = match source {
                Source::File { path, .. } => path.as_os_str().into_pyobject(py)?.into_any(),
                source => {
                    let bytes = source.into_bytes().unwrap_or_default();
                    PyBytes::new(py, &bytes).into_any()
                }
            };
            let life = object.link_lifetime;
            let make = py.import("natsbridge._handlers")?.getattr("_upload")?;
            let words = (url, token, &*object.dataname, object.payload_type.as_str());
            Ok(make.call1((words, data, size, life.one_shot, life.ttl.as_secs()))?.unbind())
        };
        let answer = Arc::clone(&self.function).call_until(argument, stop).await?;
        let function = Arc::clone(&self.function);
        // A file is read for its digest, which takes a while.
        let stored = move |py: Python<'_>| -> PyResult<_> {
            let read = py.import("natsbridge._handlers")?.getattr("_stored")?.call1((answer,))?;
            let (url, sha256, expires_at, one_shot, delete) =
                read.extract::<(String, String, Option<String>, bool, Option<Py<PyAny>>)>()?;
            let delete = delete.map(|delete| {
                let event_loop = function.event_loop.as_ref().map(|given| given.clone_ref(py));
                Arc::new(Function { function: delete, event_loop })
            });
            Ok((url, sha256, expires_at, one_shot, delete))
        };
        let read = with_python_aside(stored).await.unwrap_or_else(|| Err(stopped()));
        let (url, sha256, expires_at, one_shot, delete) = read.map_err(Raised)?;
        let expires_at = expires_at.map(|text| time::OffsetDateTime::parse(&text, &Rfc3339)).transpose()?;
        let uploaded = Uploaded::new(&*url, size, sha256.parse()?).expires_at(expires_at).one_shot(one_shot);
        if let Some(delete) = delete {
            let mut deletes = locked(&self.deletes);
            if deletes.len() >= DELETABLE {
                deletes.pop_front();
            }
            deletes.push_back((url.clone(), delete));
        }
        Ok(Stored { uploaded, receipt: Receipt::new(url) })
    }

    async fn delete(&self, receipt: &Receipt) -> Result<(), Raised> {
        let delete = {
            let mut deletes = locked(&self.deletes);
            let at = deletes.iter().rposition(|(url, _)| url == receipt.secret());
            at.and_then(|at| deletes.remove(at))
        };
        match delete {
            Some((_, delete)) => delete.call(|py| Ok(py.None())).await.map(drop),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for UploadFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UploadFunction(…)")
    }
}

impl Uploader for UploadFunction {
    fn name(&self) -> Cow<'_, str> {
        "an upload handler".into()
    }

    fn upload<'a>(&'a self, object: &'a Object, source: &'a Source) -> BoxFuture<'a, Result<Stored, StoreError>> {
        Box::pin(async move {
            self.uploaded(object, source).await.map_err(|cause| {
                StoreError::new(StoreErrorKind::Handler, self.name())
                    .with_dataname(object.dataname.as_str())
                    .with_source(cause)
            })
        })
    }

    fn delete<'a>(&'a self, receipt: &'a Receipt) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let failed = |cause| StoreError::new(StoreErrorKind::Handler, self.name()).with_source(cause);
            self.0.delete(receipt).await.map_err(failed)
        })
    }

    fn origins(&self) -> Vec<Origin> {
        Vec::new()
    }
}

/// A download handler of the user's; what it returns is held to size, digest and the receiver's limit
pub(crate) fn downloader(function: Arc<Function>, limit: u64) -> impl Downloader {
    download_handler(move |link: Link| {
        let function = Arc::clone(&function);
        async move {
            let argument = move |py: Python<'_>| {
                let make = py.import("natsbridge._handlers")?.getattr("_link")?;
                let expires_at = link.expires_at.and_then(|at| at.format(&Rfc3339).ok());
                let sha256 = link.sha256.map(|digest| digest.to_string());
                let words = (&*link.url, &*link.dataname, sha256, expires_at);
                Ok(make.call1((words, link.size.unwrap_or(0), limit, link.one_shot))?.unbind())
            };
            let answer = function.call(argument).await?;
            let read = with_python_aside(move |py| -> PyResult<Bytes> {
                let read = py.import("natsbridge._handlers")?.getattr("_loaded")?.call1((answer, limit))?;
                let bytes = read.cast_into::<PyBytes>()?;
                Ok(Bytes::from_owner(pyo3::pybacked::PyBackedBytes::from(bytes)))
            });
            Ok::<_, BoxError>(read.await.unwrap_or_else(|| Err(stopped())).map_err(Raised)?)
        }
    })
}

/// Follows no link at all
#[derive(Debug)]
pub(crate) struct NoLinks;

impl Downloader for NoLinks {
    fn download<'a>(&'a self, link: &'a Link, _: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        let kind = natsbridge::store::FetchErrorKind::BlockedOrigin;
        let error = FetchError::new(kind, &*link.dataname, &link.url)
            .with_source("`allowed_origins` is empty, so no link is followed; name the origins that you trust");
        Box::pin(std::future::ready(Err(error)))
    }
}
