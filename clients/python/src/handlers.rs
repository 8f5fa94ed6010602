//! The user's own functions, sync and async: uploads, downloads, services and progress.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
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

use crate::engine::{locked, with_python};
use crate::failure::Raised;

/// What a function answers
type Answered = Result<Py<PyAny>, PyErr>;

/// Where `natsbridge._handlers` says what a function returned or raised
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Answer(Mutex<Option<oneshot::Sender<Answered>>>);

#[pymethods]
impl Answer {
    /// The function returned this
    fn done(&self, value: Py<PyAny>) {
        if let Some(sender) = locked(&self.0).take() {
            let _ = sender.send(Ok(value));
        }
    }

    /// The function raised this
    fn failed(&self, error: Bound<'_, PyAny>) {
        if let Some(sender) = locked(&self.0).take() {
            let _ = sender.send(Err(PyErr::from_value(error)));
        }
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
    pub(crate) async fn call(
        self: Arc<Self>,
        argument: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Result<Py<PyAny>, Raised> {
        static DISPATCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (sender, answer) = oneshot::channel();
        let called = tokio::task::spawn_blocking(move || {
            let call = |py: Python<'_>| -> PyResult<()> {
                let answer = Bound::new(py, Answer(Mutex::new(Some(sender))))?;
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
pub(crate) struct UploadFunction {
    function: Arc<Function>,
    fileserver_url: String,
    fileserver_token: String,
    /// What deletes an upload, by its receipt
    deletes: Mutex<HashMap<String, Arc<Function>>>,
}

impl UploadFunction {
    pub(crate) fn new(function: Arc<Function>, fileserver_url: String, fileserver_token: String) -> Self {
        Self { function, fileserver_url, fileserver_token, deletes: Mutex::default() }
    }

    async fn uploaded(&self, object: &Object, source: &Source) -> Result<Stored, BoxError> {
        let (object, source) = (object.clone(), source.clone());
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
        let answer = Arc::clone(&self.function).call(argument).await?;
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
        let read = tokio::task::spawn_blocking(|| with_python(stored)).await.ok().flatten();
        let (url, sha256, expires_at, one_shot, delete) = read.unwrap_or_else(|| Err(stopped())).map_err(Raised)?;
        let expires_at = expires_at.map(|text| time::OffsetDateTime::parse(&text, &Rfc3339)).transpose()?;
        let uploaded = Uploaded::new(&*url, size, sha256.parse()?).expires_at(expires_at).one_shot(one_shot);
        if let Some(delete) = delete {
            locked(&self.deletes).insert(url.clone(), delete);
        }
        Ok(Stored { uploaded, receipt: Receipt::new(url) })
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
        let delete = locked(&self.deletes).remove(receipt.secret());
        Box::pin(async move {
            let Some(delete) = delete else { return Ok(()) };
            match delete.call(|py| Ok(py.None())).await {
                Ok(_) => Ok(()),
                Err(cause) => Err(StoreError::new(StoreErrorKind::Handler, self.name()).with_source(cause)),
            }
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
            let read = with_python(|py| -> PyResult<Bytes> {
                let read = py.import("natsbridge._handlers")?.getattr("_loaded")?.call1((answer, limit))?;
                let bytes = read.cast_into::<PyBytes>()?;
                Ok(Bytes::from_owner(pyo3::pybacked::PyBackedBytes::from(bytes)))
            });
            Ok::<_, BoxError>(read.unwrap_or_else(|| Err(stopped())).map_err(Raised)?)
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
