//! Messages that arrived, and their payloads: read, saved, opened and answered from Python.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use natsbridge::{HandlerError, Transport};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyList, PyString};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

use crate::engine::{try_now, try_unless};
use crate::failure::Failure;
use crate::inputs::{direct_bytes, inputs};
use crate::options::Keywords;
use crate::outcome::{self, Outcome, Shared};

/// A message that arrived; `natsbridge.Message` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Message {
    message: Shared,
}

impl Message {
    pub(crate) fn new(message: natsbridge::Message) -> Self {
        Self { message: Arc::new(message) }
    }

    /// Whether something has to be downloaded
    fn has_links(&self) -> bool {
        self.message.payloads().iter().any(is_link)
    }
}

#[pymethods]
impl Message {
    /// The envelope's fields but the payloads
    #[getter]
    fn header<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        outcome::header_dict(py, self.message.header())
    }

    /// The subject that it arrived on
    #[getter]
    fn subject(&self) -> String {
        self.message.subject().as_str().to_owned()
    }

    /// One field of the envelope
    fn field<'py>(&self, py: Python<'py>, name: &str) -> Option<Bound<'py, PyString>> {
        let header = self.message.header();
        let text = match name {
            "correlation_id" => header.correlation_id(),
            "msg_id" => header.msg_id(),
            "timestamp" => header.timestamp(),
            "send_to" => header.send_to(),
            "sender_name" => header.sender_name(),
            "sender_id" => header.sender_id(),
            "receiver_name" => header.receiver_name(),
            "receiver_id" => header.receiver_id(),
            "reply_to" => header.reply_to(),
            "reply_to_msg_id" => header.reply_to_msg_id(),
            "broker_url" => header.broker_url(),
            "msg_purpose" => return Some(PyString::new(py, header.msg_purpose().as_str())),
            _ => return None,
        };
        Some(PyString::new(py, text))
    }

    /// Metadata as the sender wrote it
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        outcome::metadata(py, self.message.header().metadata())
    }

    /// The payloads, in order
    #[getter]
    fn payloads<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all = (0..self.message.payloads().len()).map(|at| Payload { message: Arc::clone(&self.message), at });
        PyList::new(py, all.map(|payload| Bound::new(py, payload)).collect::<PyResult<Vec<_>>>()?)
    }

    /// The first payload of this name
    fn payload(&self, py: Python<'_>, name: &str) -> PyResult<Payload> {
        let payloads = self.message.payloads();
        match payloads.iter().position(|payload| payload.name() == name) {
            Some(at) => Ok(Payload { message: Arc::clone(&self.message), at }),
            None => {
                let error = self.message.payload(name).err().unwrap_or(natsbridge::Error::Stopped);
                Err(Failure::of(error, Some(self.message.header())).raise(py))
            }
        }
    }

    /// Downloads every link into memory
    fn fetch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let message = Arc::clone(&self.message);
        let work = async move { Ok(message.fetch().await.map(|()| Outcome::Nothing)?) };
        try_unless(py, self.has_links(), Box::pin(work))
    }

    /// Saves every payload in a folder
    fn save<'py>(&self, py: Python<'py>, folder: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        let message = Arc::clone(&self.message);
        let work = async move { Ok(Outcome::AllSaved(message.save_to(folder).await?)) };
        try_unless(py, self.has_links(), Box::pin(work))
    }

    /// Says that it was handled
    fn ack<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let message = Arc::clone(&self.message);
        try_now(py, Box::pin(async move { Ok(message.ack().await.map(|()| Outcome::Nothing)?) }))
    }

    /// Says that it could not be handled
    fn nack<'py>(&self, py: Python<'py>, reason: String, code: String, retryable: bool) -> PyResult<Bound<'py, PyAny>> {
        let message = Arc::clone(&self.message);
        let error = HandlerError::new(reason).code(code);
        let error = if retryable { error } else { error.permanent() };
        let nack = async move {
            // A `HandlerError` is no error itself, so it is given as what it is.
            Ok(message.nack(error).await.map(|()| Outcome::Nothing)?)
        };
        try_now(py, Box::pin(nack))
    }

    /// Replies with payloads
    #[pyo3(signature = (data, options=None))]
    fn reply<'py>(
        &self,
        py: Python<'py>,
        data: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let built = inputs(data).and_then(|inputs| {
            let transfers = direct_bytes(&inputs, natsbridge::wire::Limits::SIZE_THRESHOLD).is_none();
            let mut given = Keywords::new(options)?;
            let mut builder = self.message.reply();
            for (name, data, payload_type) in inputs {
                builder = builder.data(name, data, payload_type);
            }
            if let Some(metadata) = given.metadata("metadata")? {
                builder = builder.metadata(metadata);
            }
            given.finish("reply")?;
            Ok((builder, transfers))
        });
        let (builder, transfers) = built.map_err(|failure| failure.raise(py))?;
        let work = async move { Ok(Outcome::Published(Box::new(builder.send().await?))) };
        try_unless(py, transfers, Box::pin(work))
    }
}

/// Whether it has to be downloaded
fn is_link(payload: &natsbridge::Payload) -> bool {
    payload.transport() == Transport::Link && payload.part().is_none()
}

/// One payload of a message; `natsbridge.Payload` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Payload {
    message: Shared,
    at: usize,
}

impl Payload {
    fn payload(&self) -> Result<&natsbridge::Payload, Failure> {
        let missing = || Failure::own("Other", "no_such_payload", "the payload is not there");
        self.message.payloads().get(self.at).ok_or_else(missing)
    }

    fn get(&self, py: Python<'_>) -> PyResult<&natsbridge::Payload> {
        self.payload().map_err(|failure| failure.raise(py))
    }

    /// Works on the payload, as long as that takes
    fn work<'py, F>(&self, py: Python<'py>, work: F) -> PyResult<Bound<'py, PyAny>>
    where
        F: for<'a> FnOnce(&'a natsbridge::Payload) -> BoxFuture<'a, Result<Outcome, natsbridge::Error>>
            + Send
            + 'static,
    {
        let (message, at) = (Arc::clone(&self.message), self.at);
        let transfers = is_link(self.get(py)?);
        let work = async move {
            let this = Self { message, at };
            let done = work(this.payload()?).await;
            done.map_err(|error| Failure::of(error, Some(this.message.header())))
        };
        try_unless(py, transfers, Box::pin(work))
    }
}

#[pymethods]
impl Payload {
    /// The sender's name for it
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.get(py)?.name().to_owned())
    }

    /// Its payload type
    #[getter]
    fn r#type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        Ok(outcome::type_word(py, self.get(py)?.payload_type()))
    }

    /// `direct` or `link`
    #[getter]
    fn transport(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.get(py)?.transport().as_str())
    }

    /// Bytes, where they are known
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.get(py)?.size())
    }

    /// SHA-256 in hexadecimal
    #[getter]
    fn sha256(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(outcome::hex(self.get(py)?.sha256()))
    }

    /// Metadata as the sender wrote it
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.get(py)?.metadata() {
            Some(metadata) => outcome::metadata(py, metadata),
            None => Ok(PyDict::new(py).into_any()),
        }
    }

    /// Whether it is in memory
    #[getter]
    fn ready(&self, py: Python<'_>) -> PyResult<bool> {
        let payload = self.get(py)?;
        Ok(payload.part().is_some() || payload.transport() == Transport::Direct)
    }

    /// The value; a link is downloaded first
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(part) = self.get(py)?.part() {
            let header = self.message.header();
            return outcome::value(py, part.clone()).map_err(|failure| match failure {
                Failure::Library(error, None) => Failure::Library(error, Some(Box::new(header.clone()))).raise(py),
                other => other.raise(py),
            });
        }
        self.work(py, |payload| Box::pin(async { Ok(Outcome::Value(payload.fetch().await?.clone())) }))
    }

    /// The serialised bytes; a link is downloaded first
    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(bytes) = self.get(py)?.part().and_then(natsbridge::wire::Part::bytes) {
            return Ok(PyBytes::new(py, bytes).into_any());
        }
        self.work(py, |payload| Box::pin(async { Ok(Outcome::Bytes(payload.bytes().await?)) }))
    }

    /// Where the bytes are in memory, for a view without a copy; nothing for a link that was not downloaded
    ///
    /// The payload keeps them there as long as it lives.
    fn address(&self, py: Python<'_>) -> PyResult<Option<(usize, usize)>> {
        let bytes = self.get(py)?.part().and_then(natsbridge::wire::Part::bytes);
        Ok(bytes.map(|bytes| (bytes.as_ptr().addr(), bytes.len())))
    }

    /// Downloads a link into memory
    fn fetch<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |payload| Box::pin(async { payload.fetch().await.map(|_| Outcome::Nothing) }))
    }

    /// Saves it in a folder
    fn save<'py>(&self, py: Python<'py>, folder: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |payload| Box::pin(async move { Ok(Outcome::Saved(payload.save(folder).await?)) }))
    }

    /// Saves it as a file
    fn save_as<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |payload| Box::pin(async move { Ok(Outcome::Saved(payload.save_as(path).await?)) }))
    }

    /// Opens it for reading
    fn open<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.work(py, |payload| {
            Box::pin(async {
                let file = payload.open().await?;
                Ok(Outcome::Reader(Reader(Arc::new(Mutex::new(file)))))
            })
        })
    }
}

/// A payload that is read piece by piece
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Reader(Arc<Mutex<tokio::fs::File>>);

#[pymethods]
impl Reader {
    /// At most so many bytes; none at the end
    fn read<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyAny>> {
        let file = Arc::clone(&self.0);
        let read = async move {
            let mut piece = Vec::with_capacity(most.min(1 << 20));
            let limit = u64::try_from(most.min(1 << 20)).unwrap_or(0);
            let read = (&mut *file.lock().await).take(limit).read_to_end(&mut piece).await;
            match read {
                Ok(_) => Ok(Outcome::Bytes(piece.into())),
                Err(error) => {
                    Err(Failure::own("LocalFile", "local_file", format!("the payload can't be read: {error}")))
                }
            }
        };
        try_now(py, Box::pin(read))
    }
}
