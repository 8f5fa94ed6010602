//! `smartsend` and `smartreceive`: what needs no link is done at once, on the caller's thread.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge::wire::{Header, Part};
use natsbridge::{Config, Payload, ReceiveOptions, SendOptions, Subject, Transport, open};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString};

use crate::encode::named;
use crate::engine::{Job, Work, locked};
use crate::failure::Failure;
use crate::handlers::{Function, NoLinks, UploadFunction, downloader};
use crate::inputs::{Input, direct_bytes, inputs};
use crate::observe;
use crate::options::{Keywords, environment};
use crate::outcome::Outcome;
use crate::stores::{Store, plik};

/// Downloads at once for one message
const TRANSFERS: usize = 4;
/// Bytes from which the interpreter's lock is given up while a message is made or read
const LARGE: u64 = 64 * 1024;
/// Most settings of receivers that are kept with their connections
const KEPT: usize = 64;

/// A message's JSON, or a job where payloads have to be uploaded
#[pyfunction]
#[pyo3(signature = (subject, data, options=None, event_loop=None))]
pub(crate) fn smartsend<'py>(
    py: Python<'py>,
    subject: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    observe::refresh(py);
    let sent = send(py, subject, data, options, event_loop);
    observe::deliver(py);
    sent.map_err(|failure| failure.raise(py))
}

fn send<'py>(
    py: Python<'py>,
    subject: &Bound<'py, PyAny>,
    data: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>, Failure> {
    let subject = subject_of(subject, "subject")?;
    let (options, server, threshold, limit) = send_options(Keywords::new(options)?, event_loop)?;
    let inputs = inputs(data)?;
    let direct = direct_bytes(&inputs, threshold).filter(|bytes| bytes + 8192 < limit);
    let mut work: Work = Box::pin(sent(subject, inputs, options, server.filter(|_| direct.is_none())));
    if let Some(bytes) = direct {
        let poll = |work: &mut Work| work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let polled = if bytes > LARGE { py.detach(|| poll(&mut work)) } else { poll(&mut work) };
        if let Poll::Ready(done) = polled {
            return done?.into_python(py).map_err(Failure::Python);
        }
    }
    Bound::new(py, Job::boxed(work)).map(Bound::into_any).map_err(Failure::Python)
}

/// URL and token of a Plik server
type Server = (String, String);

async fn sent(
    subject: String,
    inputs: Vec<Input>,
    mut options: SendOptions,
    server: Option<Server>,
) -> Result<Outcome, Failure> {
    // Kept from call to call, with its connections; a URL that can't be used is reported when a link needs it. It is made here
    // and not on the caller's thread, which would wait while the system's certificates are read.
    if let Some(store) = server.and_then(|(url, token)| plik(&url, &token)) {
        options = options.fileserver_upload_handler(store);
    }
    let (envelope, json) = natsbridge::smartsend(subject, inputs, &options).await?;
    Ok(Outcome::Sent(Box::new(envelope), json))
}

/// A subject to publish to
pub(crate) fn subject_of(value: &Bound<'_, PyAny>, what: &str) -> Result<String, Failure> {
    let text = crate::inputs::text(value, what)?;
    match Subject::new(&*text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::own("InvalidSubject", "wrong_value", error.to_string())),
    }
}

/// Options, the server for links where no other store is given, the threshold for links, and the broker's limit
fn send_options(
    mut given: Keywords<'_>,
    event_loop: Option<&Bound<'_, PyAny>>,
) -> Result<(SendOptions, Option<Server>, u64, u64), Failure> {
    let environment = environment()?;
    let mut options = SendOptions::default();
    let (mut url, mut token) = (Config::FILESERVER_URL.to_owned(), String::new());
    let mut threshold = natsbridge::wire::Limits::SIZE_THRESHOLD;
    if let Some(config) = &environment {
        if let Ok(broker) = std::env::var("NATS_URL") {
            options = options.broker_url(broker);
        }
        threshold = config.message_limits().threshold();
        options = options.size_threshold(threshold).fileserver_ca(config.root_certificates().clone());
        config.upload_url().clone_into(&mut url);
        token = config.upload_token().unwrap_or_default().to_owned();
    }
    macro_rules! texts {
        ($($name:ident),+) => {
            $(if let Some(text) = given.some_text(stringify!($name))? { options = options.$name(text); })+
        };
    }
    texts!(broker_url, correlation_id, sender_name, receiver_name, reply_to_msg_id, msg_id, sender_id);
    let (mut one_reader, mut answered) = (false, false);
    if let Some(id) = given.some_text("receiver_id")? {
        one_reader = true;
        options = options.receiver_id(id);
    }
    if let Some(reply_to) = given.some_text("reply_to")? {
        if let Err(error) = Subject::new(&*reply_to) {
            return Err(Failure::own("InvalidSubject", "wrong_value", format!("reply_to: {error}")));
        }
        answered = true;
        options = options.reply_to(reply_to);
    }
    if let Some(purpose) = given.purpose()? {
        options = options.msg_purpose(purpose);
    }
    if let Some(bytes) = given.number("size_threshold")? {
        threshold = bytes;
        options = options.size_threshold(bytes);
    }
    let mut limit = natsbridge::wire::Limits::MAX_MESSAGE_SIZE;
    if let Some(bytes) = given.number("max_message_size")? {
        limit = bytes;
        options = options.max_message_size(bytes);
    }
    if let Some(receiver) = given.receiver()? {
        options = options.receiver(receiver);
    }
    if let Some(links) = given.flag("links")? {
        options = options.links(links);
    }
    if let Some(convert) = given.flag("convert_tables")? {
        options = options.convert_tables(convert);
    }
    if let Some(digest) = given.flag("digest_direct")? {
        options = options.digest_direct(digest);
    }
    if let Some(fallback) = given.flag("direct_fallback")? {
        options = options.direct_fallback(fallback);
    }
    if given.flag("awaits_ack")? == Some(true) {
        answered = true;
        options = options.awaits_ack(true);
    }
    if let Some(metadata) = given.metadata("metadata")? {
        options = options.metadata(metadata);
    }
    if let Some(lifetime) = given.lifetime(one_reader && !answered)? {
        options = options.link_lifetime(lifetime);
    }
    if let Some(hook) = given.take("on_progress") {
        let hook = Function::new(&hook, event_loop);
        options = options.on_progress(move |progress| hook.tell(progress));
    }
    url = given.some_text("fileserver_url")?.unwrap_or(url);
    token = given.some_text("fileserver_token")?.unwrap_or(token);
    let (handler, store) = (given.take("fileserver_upload_handler"), given.take("store"));
    let mut server = None;
    options = match (handler, store) {
        (Some(handler), _) => {
            let function = UploadFunction::new(Function::new(&handler, event_loop), url, token);
            options.fileserver_upload_handler(function)
        }
        (None, Some(store)) => options.fileserver_upload_handler(Store::uploader_of(&store)?),
        (None, None) => {
            options = options.fileserver_url(&*url);
            if !token.is_empty() {
                options = options.fileserver_token(&*token);
            }
            // One with certificates of its own is made for each call.
            let roots = environment.as_ref().map(Config::root_certificates);
            if roots.is_none_or(|roots| *roots == natsbridge::store::RootCertificates::default()) {
                server = Some((url, token));
            }
            options
        }
    };
    given.finish("smartsend")?;
    Ok((options, server, threshold, limit))
}

/// A message's fields and values, or a job where links have to be downloaded
#[pyfunction]
#[pyo3(signature = (message, options=None, event_loop=None))]
pub(crate) fn smartreceive<'py>(
    py: Python<'py>,
    message: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    observe::refresh(py);
    let received = receive(py, message, options, event_loop);
    observe::deliver(py);
    received.map_err(|failure| failure.raise(py))
}

fn receive<'py>(
    py: Python<'py>,
    message: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> Result<Bound<'py, PyAny>, Failure> {
    let json = json_of(message)?;
    let options = receive_options(Keywords::new(options)?, event_loop)?;
    let read = || open(&json, &options);
    let large = u64::try_from(json.len()).is_ok_and(|len| len > LARGE);
    let (header, payloads) = if large { py.detach(read) } else { read() }?;
    if payloads.iter().any(|payload| payload.transport() == Transport::Link && payload.part().is_none()) {
        return Bound::new(py, Job::new(loaded(header, payloads))).map(Bound::into_any).map_err(Failure::Python);
    }
    let mut work: Work = Box::pin(loaded(header, payloads));
    let done = match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        // Nothing that is in memory has to be waited for.
        Poll::Pending => return Bound::new(py, Job::boxed(work)).map(Bound::into_any).map_err(Failure::Python),
    };
    done.and_then(|outcome| outcome.into_python(py).map_err(Failure::Python))
}

/// The payloads in memory
async fn loaded(header: Header, payloads: Vec<Payload>) -> Result<Outcome, Failure> {
    let parts: Result<Vec<Part>, natsbridge::Error> =
        stream::iter(payloads).map(Payload::into_part).buffered(TRANSFERS).try_collect().await;
    match parts {
        Ok(parts) => Ok(Outcome::Received(Box::new(header), parts)),
        Err(error) => {
            natsbridge::metrics::count_unreadable(&error, Some(&header));
            Err(Failure::of(error, Some(&header)))
        }
    }
}

/// The bytes of a message
fn json_of(message: &Bound<'_, PyAny>) -> Result<Bytes, Failure> {
    if let Ok(text) = message.cast::<PyString>() {
        return match text.encode_utf8() {
            Ok(bytes) => Ok(Bytes::from_owner(PyBackedBytes::from(bytes))),
            Err(_) => {
                Err(Failure::own("InvalidMessage", "not_json", "the message is not an envelope: a lone surrogate"))
            }
        };
    }
    if let Ok(bytes) = message.cast::<PyBytes>() {
        return Ok(Bytes::from_owner(PyBackedBytes::from(bytes.clone())));
    }
    if let Ok(bytes) = message.cast::<PyByteArray>() {
        return Ok(bytes.to_vec().into());
    }
    let is_view = message.get_type().name().is_ok_and(|name| name == "memoryview");
    let bytes = is_view.then(|| message.call_method0("tobytes")).transpose().map_err(Failure::Python)?;
    match bytes.and_then(|bytes| bytes.cast_into::<PyBytes>().ok()) {
        Some(bytes) => Ok(Bytes::from_owner(PyBackedBytes::from(bytes))),
        None => {
            let name = named(message);
            let advice = match &*name {
                "coroutine" => format!("; {}", crate::encode::AWAIT),
                _ if message.hasattr("data").unwrap_or(false) => "; give its `.data`".to_owned(),
                _ => String::new(),
            };
            Err(Failure::wrong(format!("a message is str or bytes, not {name}{advice}")))
        }
    }
}

/// Options of receivers that were asked for before, with their connections
static RECEIVERS: LazyLock<Mutex<HashMap<String, Arc<ReceiveOptions>>>> = LazyLock::new(Mutex::default);

fn receive_options(
    mut given: Keywords<'_>,
    event_loop: Option<&Bound<'_, PyAny>>,
) -> Result<Arc<ReceiveOptions>, Failure> {
    let environment = environment()?;
    let (retries, base, longest) =
        (given.number("max_retries")?, given.milliseconds("base_delay")?, given.milliseconds("max_delay")?);
    let origins = given.texts("allowed_origins")?;
    let url = given.maybe_text("fileserver_url")?;
    let strict = given.flag("strict")?.unwrap_or(false);
    let most = given.number("max_payload_size")?;
    let timeout = given.seconds("message_timeout")?;
    let (handler, store, hook) =
        (given.take("fileserver_download_handler"), given.take("store"), given.take("on_progress"));
    given.finish("smartreceive")?;

    let mut configured = None;
    let mut roots = natsbridge::store::RootCertificates::default();
    if let Some(config) = &environment {
        configured = std::env::var_os("FILESERVER_URL").map(|_| config.upload_url().to_owned());
        roots.clone_from(config.root_certificates());
    }
    let default = || configured.clone().unwrap_or_else(|| Config::FILESERVER_URL.to_owned());
    // The origins of `allowed_origins` alone where it is given; else the file server's, or any where there is none.
    let server = match (&origins, url) {
        (_, Some(url)) => Some(url).filter(|url| !url.is_empty()),
        (None, None) => Some(default()),
        (Some(_), None) => None,
    };
    let key =
        format!("{retries:?} {base:?} {longest:?} {origins:?} {server:?} {strict} {most:?} {timeout:?} {roots:?}");
    let own = handler.is_some() || store.is_some() || hook.is_some();
    if !own && let Some(known) = locked(&RECEIVERS).get(&key) {
        return Ok(Arc::clone(known));
    }
    let mut options = ReceiveOptions::default().strict(strict).fileserver_ca(roots);
    if let Some(retries) = retries {
        options = options.max_retries(u32::try_from(retries).unwrap_or(u32::MAX));
    }
    if let Some(base) = base {
        options = options.base_delay(base);
    }
    if let Some(longest) = longest {
        options = options.max_delay(longest);
    }
    if let Some(most) = most {
        options = options.max_payload_size(most);
    }
    if let Some(timeout) = timeout {
        options = options.message_timeout(timeout);
    }
    for origin in [server.as_ref()].into_iter().flatten().chain(origins.iter().flatten()) {
        if let Err(error) = origin.parse::<natsbridge::store::Origin>() {
            return Err(Failure::own(
                "Configuration",
                "wrong_value",
                format!("`allowed_origins` and `fileserver_url`: {error}"),
            ));
        }
    }
    if origins.as_ref().is_some_and(Vec::is_empty) && server.is_none() {
        options = options.fileserver_download_handler(NoLinks);
    }
    if let Some(server) = server {
        options = options.fileserver_url(server);
    }
    for origin in origins.into_iter().flatten() {
        options = options.allow_origin(origin);
    }
    if let Some(store) = store {
        options = options.fileserver_download_handler(Store::downloader_of(&store)?);
    }
    if let Some(handler) = handler {
        let limit = most.unwrap_or(10_000_000_000);
        options = options.fileserver_download_handler(downloader(Function::new(&handler, event_loop), limit));
    }
    if let Some(hook) = hook {
        let hook = Function::new(&hook, event_loop);
        options = options.on_progress(move |progress| hook.tell(progress));
    }
    let options = Arc::new(options);
    if !own {
        let mut known = locked(&RECEIVERS);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, Arc::clone(&options));
    }
    Ok(options)
}
