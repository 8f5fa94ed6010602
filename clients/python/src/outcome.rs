//! What a call ends with, before it is a Python object: made on any thread, turned into Python where it is handed out.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use natsbridge::store::Digest;
use natsbridge::wire::{Envelope, Header, Part};
use natsbridge::{Delivered, PayloadType, Saved, Value};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice, PyString, PyTuple};

use crate::failure::Failure;
use crate::table::Table;
use crate::{bridge, decode, message};

/// What a call ends with
pub(crate) enum Outcome {
    Nothing,
    Sent(Box<Envelope>, Bytes),
    Published(Box<Envelope>),
    Delivered(Box<Delivered>),
    Received(Box<Header>, Vec<Part>),
    Value(Part),
    Bytes(Bytes),
    Saved(Saved),
    AllSaved(Vec<Saved>),
    Message(Box<natsbridge::Message>),
    Next(Option<Box<natsbridge::Message>>),
    Event(Option<natsbridge::broker::Event>),
    Bridge(natsbridge::Bridge),
    Subscription(bridge::Subscription),
    Service(bridge::Service),
    Reader(message::Reader),
}

impl Outcome {
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Nothing => Ok(py.None().into_bound(py)),
            Self::Sent(envelope, json) => sent(py, *envelope, json),
            Self::Published(envelope) => Ok(envelope_dict(py, &envelope, encoded)?.into_any()),
            Self::Delivered(delivered) => {
                let acks = delivered.acks.iter().map(|ack| header_dict(py, ack)).collect::<PyResult<Vec<_>>>()?;
                let dict = PyDict::new(py);
                dict.set_item("envelope", envelope_dict(py, &delivered.envelope, encoded)?)?;
                dict.set_item("acks", acks)?;
                dict.set_item("repeats", delivered.repeats)?;
                Ok(dict.into_any())
            }
            Self::Received(header, parts) => received(py, &header, parts),
            Self::Value(part) => value(py, part).map_err(|failure| failure.raise(py)),
            Self::Bytes(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
            Self::Saved(saved) => saved_tuple(py, &saved),
            Self::AllSaved(all) => {
                let all = all.iter().map(|saved| saved_tuple(py, saved)).collect::<PyResult<Vec<_>>>()?;
                Ok(PyList::new(py, all)?.into_any())
            }
            Self::Message(message) => message::Message::new(*message).into_bound_py_any(py),
            Self::Next(None) => Ok(py.None().into_bound(py)),
            Self::Next(Some(message)) => message::Message::new(*message).into_bound_py_any(py),
            Self::Event(event) => bridge::event(py, event),
            Self::Bridge(bridge) => bridge::Bridge::of(bridge).into_bound_py_any(py),
            Self::Subscription(subscription) => subscription.into_bound_py_any(py),
            Self::Service(service) => service.into_bound_py_any(py),
            Self::Reader(reader) => reader.into_bound_py_any(py),
        }
    }
}

fn saved_tuple<'py>(py: Python<'py>, saved: &Saved) -> PyResult<Bound<'py, PyAny>> {
    (saved.path.as_os_str(), saved.size, saved.sha256.to_string()).into_bound_py_any(py)
}

/// A message with all its values; what can't be read is counted as the library counts it
fn received<'py>(py: Python<'py>, header: &Header, parts: Vec<Part>) -> PyResult<Bound<'py, PyAny>> {
    let mut payloads = Vec::with_capacity(parts.len());
    for part in parts {
        let name = PyString::new(py, part.name());
        let word = type_word(py, part.payload_type());
        match value(py, part) {
            Ok(value) => payloads.push(PyTuple::new(py, [name.into_any(), value, word.into_any()])?),
            Err(Failure::Library(error, _)) => {
                natsbridge::metrics::count_unreadable(&error, Some(header));
                return Err(Failure::Library(error, Some(Box::new(header.clone()))).raise(py));
            }
            Err(failure) => return Err(failure.raise(py)),
        }
    }
    let dict = header_dict(py, header)?;
    dict.set_item(pyo3::intern!(py, "payloads"), PyList::new(py, payloads)?)?;
    Ok(dict.into_any())
}

/// The value of a payload in memory
pub(crate) fn value(py: Python<'_>, part: Part) -> Result<Bound<'_, PyAny>, Failure> {
    match part.payload_type() {
        PayloadType::Dictionary => decode::dictionary(py, &part),
        PayloadType::JsonTable => decode::rows(py, &part),
        PayloadType::ArrowTable => {
            let table = py.detach(|| part.into_value())?;
            let Value::Table(table) = table else {
                return Err(Failure::own("Other", "undecodable", "an arrowtable that is none"));
            };
            Bound::new(py, Table::of(table)).map(Bound::into_any).map_err(Failure::Python)
        }
        PayloadType::Text => match part.into_value()? {
            Value::Text(text) => Ok(PyString::new(py, &text).into_any()),
            _ => Err(Failure::own("Other", "undecodable", "a text that is none")),
        },
        _ => match part.source().clone().into_bytes() {
            Some(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
            None => Err(Failure::own("LocalFile", "in_file", "the payload is in a file").about(part.name())),
        },
    }
}

/// The word of a payload type, one object for all
pub(crate) fn type_word(py: Python<'_>, payload_type: PayloadType) -> Bound<'_, PyString> {
    PyString::intern(py, payload_type.as_str())
}

/// The envelope's fields but the payloads
pub(crate) fn header_dict<'py>(py: Python<'py>, header: &Header) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    macro_rules! set {
        ($($field:ident),+) => { $(dict.set_item(pyo3::intern!(py, stringify!($field)), header.$field())?;)+ };
    }
    set!(correlation_id, msg_id, timestamp, send_to);
    dict.set_item(pyo3::intern!(py, "msg_purpose"), header.msg_purpose().as_str())?;
    set!(sender_name, sender_id, receiver_name, receiver_id, reply_to, reply_to_msg_id, broker_url);
    dict.set_item(pyo3::intern!(py, "metadata"), metadata(py, header.metadata())?)?;
    Ok(dict)
}

pub(crate) fn metadata<'py>(py: Python<'py>, metadata: &natsbridge::Metadata) -> PyResult<Bound<'py, PyAny>> {
    if metadata.is_empty() {
        return Ok(PyDict::new(py).into_any());
    }
    decode::tree(py, metadata)
}

/// The envelope and its JSON; of a large payload Python gets what both hold and the engine keeps nothing meanwhile
fn sent(py: Python<'_>, envelope: Envelope, json: Bytes) -> PyResult<Bound<'_, PyAny>> {
    let text = String::from_utf8_lossy(&json);
    let Some(places) = places(&text, &envelope) else {
        return (envelope_dict(py, &envelope, encoded)?, &*text).into_bound_py_any(py);
    };
    let dict = envelope_dict(py, &envelope, |py, _| py.None().into_bound(py))?;
    drop(envelope);
    let made = PyString::new(py, &text);
    drop(text);
    drop(json);
    let payloads = dict.get_item(pyo3::intern!(py, "payloads"))?.map(Bound::cast_into::<PyList>).transpose()?;
    for (payload, place) in payloads.iter().flatten().zip(places) {
        if let Some((start, end)) = place {
            let data = made.as_any().get_item(PySlice::new(py, start, end, 1))?;
            payload.set_item(pyo3::intern!(py, "data"), data)?;
        }
    }
    (dict, made).into_bound_py_any(py)
}

/// Where the base64 of each direct payload stands in its message, in characters as Python counts them
fn places(json: &str, envelope: &Envelope) -> Option<Vec<Option<(isize, isize)>>> {
    const DATA: &str = ",\"data\":\"";
    let (mut at, mut characters) = (0, 0);
    let mut place = |id: &str, size: usize| {
        // An identifier was drawn for this message, so nothing before it holds it; between both stands no other `data`.
        let found = at + json.get(at..)?.find(&format!("{{\"id\":\"{id}\""))?;
        let start = found + json.get(found..)?.find(DATA)? + DATA.len();
        let length = size.div_ceil(3) * 4;
        characters += isize::try_from(json.get(at..start)?.chars().count()).ok()?;
        let begin = characters;
        characters += isize::try_from(length).ok()?;
        at = start + length;
        json.get(at..)?.starts_with('"').then_some((begin, characters))
    };
    let payloads = envelope.payloads().iter();
    payloads
        .map(|payload| payload.bytes().map_or(Some(None), |bytes| place(payload.id(), bytes.len()).map(Some)))
        .collect()
}

/// The base64 of a direct payload
fn encoded<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyAny> {
    PyString::new(py, &STANDARD.encode(bytes)).into_any()
}

/// The envelope with its payloads as they are on the wire
pub(crate) fn envelope_dict<'py>(
    py: Python<'py>,
    envelope: &Envelope,
    data: impl Fn(Python<'py>, &[u8]) -> Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = header_dict(py, envelope.header())?;
    let payloads = envelope.payloads().iter().map(|payload| {
        let item = PyDict::new(py);
        item.set_item(pyo3::intern!(py, "id"), payload.id())?;
        item.set_item(pyo3::intern!(py, "dataname"), payload.dataname())?;
        item.set_item(pyo3::intern!(py, "payload_type"), type_word(py, payload.payload_type()))?;
        item.set_item(pyo3::intern!(py, "transport"), PyString::intern(py, payload.transport().as_str()))?;
        item.set_item(pyo3::intern!(py, "encoding"), PyString::intern(py, payload.encoding().as_str()))?;
        item.set_item(pyo3::intern!(py, "size"), payload.size())?;
        match payload.bytes() {
            Some(bytes) => item.set_item(pyo3::intern!(py, "data"), data(py, bytes))?,
            None => item.set_item(pyo3::intern!(py, "data"), payload.url())?,
        }
        item.set_item(pyo3::intern!(py, "metadata"), metadata(py, payload.metadata())?)?;
        Ok(item)
    });
    dict.set_item(pyo3::intern!(py, "payloads"), PyList::new(py, payloads.collect::<PyResult<Vec<_>>>()?)?)?;
    Ok(dict)
}

/// A digest as text
pub(crate) fn hex(digest: Option<Digest>) -> Option<String> {
    digest.map(|digest| digest.to_string())
}

/// Keeps a message alive while one of its payloads is used
pub(crate) type Shared = Arc<natsbridge::Message>;
