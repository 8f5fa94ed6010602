//! The bridge in Python: connections, sending, subscriptions, services and events.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::Stream;
use natsbridge::broker::{Event, EventStream, MemoryBroker};
use natsbridge::{DeliverOptions, HandlerError, MessageBuilder, Reply, ServeOptions, Subscriber};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::engine::{Job, Work, handle, locked, try_now, try_unless, with_python_aside};
use crate::failure::{Failure, Raised};
use crate::handlers::Function;
use crate::inputs::{direct_bytes, inputs};
use crate::message::Message;
use crate::observe;
use crate::options::Keywords;
use crate::outcome::Outcome;
use crate::settings::config;
use crate::smart::subject_of;

/// A broker in memory, for tests
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Broker(MemoryBroker);

#[pymethods]
impl Broker {
    #[new]
    #[pyo3(signature = (seed=0, drop=0.0, duplicate=0.0, reorder=0.0, max_payload=1_048_576))]
    fn new(seed: u64, drop: f64, duplicate: f64, reorder: f64, max_payload: u64) -> Self {
        let builder = MemoryBroker::builder().seed(seed).drop(drop).duplicate(duplicate).reorder(reorder);
        Self(builder.max_payload(max_payload).build())
    }

    /// Messages that it lost and repeated on purpose
    #[getter]
    fn faults(&self) -> (u64, u64) {
        (self.0.faults_dropped(), self.0.faults_duplicated())
    }
}

/// Connects, or uses a broker in memory
#[pyfunction]
#[pyo3(signature = (options=None, event_loop=None))]
pub(crate) fn connect<'py>(
    py: Python<'py>,
    options: Option<&Bound<'py, PyDict>>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    observe::refresh(py);
    let made = Keywords::new(options).and_then(|mut given| {
        let broker = given.take("broker");
        let config = config(given, event_loop)?;
        Ok((broker, config))
    });
    let (broker, config) = made.map_err(|failure| failure.raise(py))?;
    let Some(broker) = broker else {
        let work = async { Ok(Outcome::Bridge(natsbridge::Bridge::connect(config).await?)) };
        return Ok(Bound::new(py, Job::new(work))?.into_any());
    };
    let inner = broker.getattr("_broker").unwrap_or(broker);
    let broker = inner.cast_into::<Broker>()?.get().0.clone();
    try_now(py, Box::pin(async { Ok(Outcome::Bridge(natsbridge::Bridge::with_broker(broker, config)?)) }))
}

/// A connection; `natsbridge.Bridge` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Bridge(natsbridge::Bridge);

impl Bridge {
    pub(crate) const fn of(bridge: natsbridge::Bridge) -> Self {
        Self(bridge)
    }

    /// The message, and whether payloads may have to be uploaded
    fn builder(
        &self,
        subject: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        given: &mut Keywords<'_>,
        event_loop: Option<&Bound<'_, PyAny>>,
        answered: bool,
    ) -> Result<(MessageBuilder, bool), Failure> {
        let mut builder = self.0.message(subject_of(subject, "subject")?);
        let inputs = inputs(data)?;
        let transfers = direct_bytes(&inputs, self.0.limits().threshold()).is_none();
        for (name, data, payload_type) in inputs {
            builder = builder.data(name, data, payload_type);
        }
        macro_rules! texts {
            ($($name:ident),+) => {
                $(if let Some(text) = given.some_text(stringify!($name))? { builder = builder.$name(text); })+
            };
        }
        texts!(receiver_name, reply_to_msg_id, correlation_id);
        let (mut one_reader, mut answered) = (false, answered);
        if let Some(id) = given.some_text("receiver_id")? {
            one_reader = true;
            builder = builder.receiver_id(id);
        }
        if let Some(reply_to) = given.some_text("reply_to")? {
            answered = true;
            builder = builder.reply_to(reply_to);
        }
        if let Some(purpose) = given.purpose()? {
            builder = builder.purpose(purpose);
        }
        if let Some(metadata) = given.metadata("metadata")? {
            builder = builder.metadata(metadata);
        }
        if given.flag("digest_direct")? == Some(true) {
            builder = builder.digest_direct();
        }
        if let Some(receiver) = given.receiver()? {
            builder = builder.receiver(receiver);
        }
        if given.flag("convert_tables")? == Some(true) {
            builder = builder.convert_tables();
        }
        if let Some(lifetime) = given.lifetime(one_reader && !answered)? {
            builder = builder.link_lifetime(lifetime);
        }
        if let Some(hook) = given.take("on_progress") {
            let hook = Function::new(&hook, event_loop);
            builder = builder.on_progress(move |progress| hook.tell(progress));
        }
        Ok((builder, transfers))
    }
}

#[pymethods]
impl Bridge {
    /// Sends: `send`, `confirmed`, `deliver` or `request`
    #[pyo3(signature = (way, subject, data, options=None, event_loop=None))]
    fn send<'py>(
        &self,
        py: Python<'py>,
        way: &str,
        subject: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
        event_loop: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        observe::refresh(py);
        let work = || -> Result<(Work, bool), Failure> {
            let mut given = Keywords::new(options)?;
            let answered = matches!(way, "deliver" | "request");
            let (builder, transfers) = self.builder(subject, data, &mut given, event_loop, answered)?;
            let work: Work = match way {
                "deliver" => {
                    let mut how = DeliverOptions::default();
                    if let Some(acks) = given.number("acks")? {
                        how = how.acks(usize::try_from(acks).unwrap_or(usize::MAX));
                    }
                    if let Some(timeout) = given.seconds("timeout")? {
                        how = how.deadline(timeout);
                    }
                    let (first, longest) = (given.seconds("first_pause")?, given.seconds("longest_pause")?);
                    how = how
                        .pauses(first.unwrap_or(Duration::from_millis(500)), longest.unwrap_or(Duration::from_secs(5)));
                    given.finish(way)?;
                    Box::pin(async move { Ok(Outcome::Delivered(Box::new(builder.deliver(&how).await?))) })
                }
                "request" => {
                    let timeout = given.seconds("timeout")?.unwrap_or(Duration::from_secs(10));
                    given.finish(way)?;
                    Box::pin(async move { Ok(Outcome::Message(Box::new(builder.request(timeout).await?))) })
                }
                "confirmed" => {
                    given.finish("send_confirmed")?;
                    Box::pin(async move { Ok(Outcome::Published(Box::new(builder.send_confirmed().await?))) })
                }
                _ => {
                    given.finish(way)?;
                    Box::pin(async move { Ok(Outcome::Published(Box::new(builder.send().await?))) })
                }
            };
            Ok((work, transfers))
        };
        let (work, transfers) = work().map_err(|failure| failure.raise(py))?;
        try_unless(py, transfers, work)
    }

    /// Subscribes to a filter
    fn subscribe<'py>(
        &self,
        py: Python<'py>,
        filter: String,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let work = || -> Result<Work, Failure> {
            let mut given = Keywords::new(Some(options))?;
            let group = given.maybe_text("queue")?;
            let (lazy, order) = (given.flag("lazy")?.unwrap_or(false), given.flag("ordered")?);
            given.finish("subscribe")?;
            let bridge = self.0.clone();
            Ok(Box::pin(async move {
                let mut subscriber = match group {
                    Some(group) => bridge.queue_subscribe(&filter, &group).await?,
                    None => bridge.subscribe(&filter).await?,
                };
                if lazy {
                    subscriber = subscriber.lazy();
                }
                subscriber = match order {
                    Some(true) => subscriber.ordered(),
                    Some(false) => subscriber.unordered(),
                    None => subscriber,
                };
                Ok(Outcome::Subscription(Subscription(Taken::new(subscriber))))
            }))
        };
        try_now(py, work().map_err(|failure| failure.raise(py))?)
    }

    /// Answers the messages of a subject by a function
    fn serve<'py>(
        &self,
        py: Python<'py>,
        subject: String,
        handler: &Bound<'py, PyAny>,
        options: &Bound<'py, PyDict>,
        event_loop: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let work = || -> Result<Work, Failure> {
            let mut given = Keywords::new(Some(options))?;
            let mut how = ServeOptions::default();
            if let Some(handlers) = given.number("concurrency")? {
                how = how.concurrency(usize::try_from(handlers).unwrap_or(usize::MAX));
            }
            if let Some(group) = given.maybe_text("queue")? {
                how = how.queue_group(group);
            }
            if given.flag("lazy")? == Some(true) {
                how = how.lazy();
            }
            if given.flag("stop_when_asked")? == Some(true) {
                how = how.stop_when_asked();
            }
            if let Some(grace) = given.seconds("grace")? {
                how = how.grace(grace);
            }
            given.finish("serve")?;
            let function = Function::new(handler, event_loop);
            let bridge = self.0.clone();
            let answer = move |message| answered(Arc::clone(&function), message);
            Ok(Box::pin(async move {
                let service = bridge.serve(&subject, how, answer).await?;
                Ok(Outcome::Service(Service(Arc::new(tokio::sync::RwLock::new(Some(service))))))
            }))
        };
        try_now(py, work().map_err(|failure| failure.raise(py))?)
    }

    /// Waits until the server has processed what was published
    fn confirm<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let bridge = self.0.clone();
        try_now(py, Box::pin(async move { Ok(bridge.confirm().await.map(|()| Outcome::Nothing)?) }))
    }

    /// Drains the connection
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let bridge = self.0.clone();
        try_now(py, Box::pin(async move { Ok(bridge.drain().await.map(|()| Outcome::Nothing)?) }))
    }

    /// What happens to the connection from now on
    fn events(&self) -> Events {
        Events(Taken::new(self.0.events()))
    }

    /// This program's identifier
    #[getter]
    fn sender_id(&self) -> &str {
        self.0.sender_id()
    }

    /// The server's URL, without secrets
    #[getter]
    fn broker_url(&self) -> &str {
        self.0.broker_url()
    }

    /// The most bytes of one message
    #[getter]
    fn max_message_size(&self) -> u64 {
        self.0.limits().message_limit()
    }
}

/// What a function of the user's replies to a message
async fn answered(function: Arc<Function>, message: natsbridge::Message) -> Result<Reply, HandlerError> {
    let argument =
        |py: Python<'_>| -> PyResult<Py<PyAny>> { Ok(Bound::new(py, Message::new(message))?.into_any().unbind()) };
    let answer = function.call(argument).await;
    let reply = with_python_aside(move |py| {
        let reply = answer.map_err(|Raised(error)| error).and_then(|answer| reply_of(answer.bind(py)));
        reply.map_err(|error| refusal(py, &error))
    });
    reply.await.unwrap_or_else(|| Err(HandlerError::new("the receiver is shutting down")))
}

fn reply_of(answer: &Bound<'_, PyAny>) -> PyResult<Reply> {
    if answer.is_none() {
        return Ok(Reply::ack());
    }
    let inputs = inputs(answer).map_err(|failure| failure.raise(answer.py()))?;
    Ok(inputs.into_iter().fold(Reply::new(), |reply, (name, data, payload_type)| reply.data(name, data, payload_type)))
}

/// What the sender is told of an exception
fn refusal(py: Python<'_>, error: &PyErr) -> HandlerError {
    let words = || -> PyResult<(String, String, bool)> {
        py.import("natsbridge._handlers")?.getattr("_refusal")?.call1((error.value(py),))?.extract()
    };
    match words() {
        Ok((code, reason, true)) => HandlerError::new(reason).code(code),
        Ok((code, reason, false)) => HandlerError::new(reason).code(code).permanent(),
        Err(_) => HandlerError::new("the handler failed"),
    }
}

/// A stream that several threads read: one waits for the next item, the others for their turn
///
/// A stream wakes only who asked it last.
struct Taken<S> {
    stream: Arc<Mutex<S>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<S: Stream + Unpin> Taken<S> {
    fn new(stream: S) -> Self {
        Self { stream: Arc::new(Mutex::new(stream)), turn: Arc::default() }
    }

    fn next(&self) -> impl Future<Output = Option<S::Item>> + Send + use<S>
    where
        S: Send,
    {
        let (stream, turn) = (Arc::clone(&self.stream), Arc::clone(&self.turn));
        async move {
            let _turn = turn.lock().await;
            let next = poll_fn(|cx| match stream.try_lock() {
                Ok(mut stream) => Pin::new(&mut *stream).poll_next(cx),
                // Another thread drains or counts just now; who holds the interpreter's lock must not wait for it.
                Err(_) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            });
            next.await
        }
    }
}

/// A subscription; `natsbridge.Subscription` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Subscription(Taken<Subscriber>);

#[pymethods]
impl Subscription {
    /// The next message; `None` at the end
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let next = self.0.next();
        let next = async {
            match next.await {
                None => Ok(Outcome::Next(None)),
                Some(Ok(message)) => Ok(Outcome::Next(Some(Box::new(message)))),
                Some(Err(error)) => Err(error.into()),
            }
        };
        try_now(py, Box::pin(next))
    }

    /// Unsubscribes; what has arrived can still be read
    #[pyo3(signature = (grace=None))]
    fn drain(&self, py: Python<'_>, grace: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let grace = grace.map(|grace| crate::options::seconds(grace, "grace")).transpose();
        let handle = handle();
        let drained = grace.and_then(|grace| {
            let handle = handle?;
            let subscriber = Arc::clone(&self.0.stream);
            py.detach(move || {
                let _inside = handle.enter();
                let mut subscriber = locked(&subscriber);
                match grace {
                    Some(grace) => subscriber.drain_within(grace),
                    None => subscriber.drain(),
                }
            });
            Ok(())
        });
        drained.map_err(|failure| failure.raise(py))
    }

    /// Missing, repeated and reordered messages; dropped ones; reconnects; messages not handed out
    fn counts(&self, py: Python<'_>) -> (u64, u64, u64, u64, u64, u64) {
        let subscriber = Arc::clone(&self.0.stream);
        py.detach(move || {
            let subscriber = locked(&subscriber);
            let losses = subscriber.losses();
            let (dropped, interruptions) = (subscriber.dropped(), subscriber.interruptions());
            (losses.missing, losses.duplicates, losses.reordered, dropped, interruptions, subscriber.unhandled())
        })
    }
}

/// A running service; `natsbridge.Service` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Service(Arc<tokio::sync::RwLock<Option<natsbridge::Service>>>);

#[pymethods]
impl Service {
    /// Stops in order
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.0);
        let stop = async move {
            let running = service.write().await.take();
            match running {
                Some(running) => Ok(running.stop().await.map(|()| Outcome::Nothing)?),
                None => Ok(Outcome::Nothing),
            }
        };
        try_now(py, Box::pin(stop))
    }

    /// Waits until it ends by itself
    fn ended<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.0);
        let ended = async move {
            loop {
                // Looked at now and then, so that `stop` can be called meanwhile.
                let running = service.read().await;
                let Some(running) = running.as_ref() else { return Ok(Outcome::Nothing) };
                if let Ok(ended) = tokio::time::timeout(Duration::from_millis(100), running.ended()).await {
                    return Ok(ended.map(|()| Outcome::Nothing)?);
                }
            }
        };
        try_now(py, Box::pin(ended))
    }
}

/// What happens to a connection; `natsbridge.Events` is made of it
#[pyclass(frozen, module = "natsbridge._natsbridge")]
pub(crate) struct Events(Taken<EventStream>);

#[pymethods]
impl Events {
    /// The next event; `None` at the end
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let next = self.0.next();
        try_now(py, Box::pin(async { Ok(Outcome::Event(next.await)) }))
    }

    /// Events that were not read in time
    #[getter]
    fn missed(&self) -> u64 {
        locked(&self.0.stream).missed()
    }
}

/// An event as `(kind, fields)`
pub(crate) fn event(py: Python<'_>, event: Option<Event>) -> PyResult<Bound<'_, PyAny>> {
    let Some(event) = event else { return Ok(py.None().into_bound(py)) };
    let fields = PyDict::new(py);
    let kind = match event {
        Event::Connected => "connected",
        Event::Disconnected => "disconnected",
        Event::ReconnectFailed(reason) => {
            fields.set_item("reason", reason)?;
            "reconnect_failed"
        }
        Event::Interrupted { cause, lasted, times, subscriptions } => {
            fields.set_item("reason", cause)?;
            fields.set_item("lasted", lasted.as_secs_f64())?;
            fields.set_item("times", times)?;
            fields.set_item("subscriptions", subscriptions)?;
            "interrupted"
        }
        Event::SlowConsumer { filter, dropped } => {
            fields.set_item("subject", filter)?;
            fields.set_item("dropped", dropped)?;
            "slow_consumer"
        }
        Event::PermissionDenied(reason) => {
            fields.set_item("reason", reason)?;
            "permission_denied"
        }
        Event::LameDuck => "lame_duck",
        Event::ServerError(reason) => {
            fields.set_item("reason", reason)?;
            "server_error"
        }
        Event::Closed => "closed",
        other => {
            fields.set_item("reason", format!("{other:?}"))?;
            "other"
        }
    };
    Ok((kind, fields).into_pyobject(py)?.into_any())
}
