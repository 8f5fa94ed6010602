//! Services: an async function replies to each message of a subject, several at once, until it is stopped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use natsbridge_core::{Part, PayloadType, Purpose, shown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::bridge::Bridge;
use crate::reply::{HandlerError, Reply};
use crate::setters::setters;
use crate::subscriber::Subscriber;
use crate::subscriber::message::Message;
use crate::{Error, observe};

/// The payload of a typed service's reply
const REPLY: &str = "reply";

/// Settings of a service: queue group, handlers at once, what happens when it stops
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// 0 means the default
    concurrency: usize,
    queue_group: Option<String>,
    lazy: bool,
    stop_when_asked: bool,
    grace: Option<Duration>,
}

impl ServeOptions {
    const CONCURRENCY: usize = 16;
    const GRACE: Duration = Duration::from_secs(10);

    setters! {
        /// Sets how many handlers run at once; default 16
        fn concurrency(self, handlers: usize) { self.concurrency = handlers }

        /// Subscribes as a member of a queue group; each message goes to one member
        fn queue_group(self, name: impl Into<String>) { self.queue_group = Some(name.into()) }

        /// Calls the handler before links are downloaded
        ///
        /// A payload that came as a link is downloaded when the handler asks for it, or saves it. Without this, the message has
        /// all its payloads in memory.
        fn lazy(self) { self.lazy = true }

        /// Stops at a message with the purpose `shutdown`, and acknowledges it
        ///
        /// Every program that may publish to the subject may send one ([`Bridge::shutdown_request`]).
        fn stop_when_asked(self) { self.stop_when_asked = true }

        /// Sets how long messages that have arrived are still handled after a stop; default 10 seconds
        fn grace(self, grace: Duration) { self.grace = Some(grace) }
    }

    const fn limit(&self) -> usize {
        if self.concurrency == 0 { Self::CONCURRENCY } else { self.concurrency }
    }
}

/// A running service, made by `Bridge::serve`; dropping it stops it as [`stop`](Self::stop) does, without waiting for the end
///
/// It is no service of NATS' Services API: it answers no `$SRV` requests.
#[must_use = "a service stops when it is dropped"]
pub struct Service {
    stop: watch::Sender<bool>,
    /// Nothing after its end was reported
    task: Mutex<Option<JoinHandle<Result<(), Error>>>>,
}

impl Service {
    /// Unsubscribes, handles the messages that have arrived, and ends
    ///
    /// The subscription ends at the server first; in a queue group the other members get later messages. Handlers that
    /// still run when [`ServeOptions::grace`] is over are stopped.
    ///
    /// # Errors
    /// [`Error::Unhandled`] with the number of messages that arrived and were not handled. [`Error::Broker`] when the
    /// server ended the subscription before.
    pub async fn stop(self) -> Result<(), Error> {
        // The task may have ended by itself, when the bridge was drained.
        let _ = self.stop.send(true);
        self.ended().await
    }

    /// Waits until the service ends by itself: the bridge was drained, or a message asked it to stop
    ///
    /// Dropping the future changes nothing, so that a program can wait for this or for a signal, and then call
    /// [`Service::stop`]. An error is reported once.
    ///
    /// # Errors
    /// As [`Service::stop`].
    pub async fn ended(&self) -> Result<(), Error> {
        let mut task = self.task.lock().await;
        let Some(running) = task.as_mut() else { return Ok(()) };
        // Only the end of the runtime, or a panic of this library, ends the task without a result.
        let outcome = running.await.unwrap_or(Err(Error::Stopped));
        *task = None;
        outcome
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Bridge {
    /// Replies to each message of a subject with what an async function returns
    ///
    /// The handler gets the whole message, with all its payloads in memory unless [`ServeOptions::lazy`] was set. The
    /// [`Reply`] goes to the subject that the message names for replies; without one, nothing is sent. A reply without
    /// payloads is an ACK. A [`HandlerError`], a handler that panics, and a message that can't be read make a NACK, which
    /// tells the sender why (`docs/specification.md`, section 6). ACKs and NACKs that arrive are not handled.
    ///
    /// Several handlers run at once ([`ServeOptions::concurrency`]), so replies may overtake each other. The service runs in
    /// a task of its own until [`Service::stop`], or until the [`Service`] is dropped.
    ///
    /// # Errors
    /// As [`Bridge::subscribe`], and as [`Bridge::queue_subscribe`] for a queue group.
    ///
    /// # Examples
    /// ```
    /// # use natsbridge::{Bridge, Config, HandlerError, MemoryBroker, Message, Reply, ServeOptions};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
    /// async fn measure(message: Message) -> Result<Reply, HandlerError> {
    ///     let sizes = message.payloads().iter().map(|image| image.size());
    ///     Ok(Reply::new().text("note", "measured").dictionary("sizes", sizes.collect::<Vec<_>>()))
    /// }
    /// let service = bridge.serve("vision.measure", ServeOptions::default().concurrency(8), measure).await?;
    ///
    /// let request = bridge.message("vision.measure").image("left", vec![1, 2, 3]).image("right", vec![4]);
    /// let reply = request.request(std::time::Duration::from_secs(5)).await?;
    /// assert_eq!(reply.get::<Vec<u64>>("sizes")?, [3, 1]);
    /// service.stop().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve<F, R>(&self, subject: &str, options: ServeOptions, handler: F) -> Result<Service, Error>
    where
        F: Fn(Message) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
    {
        let subscriber = match &options.queue_group {
            Some(group) => self.queue_subscribe(subject, group).await?,
            None => self.subscribe(subject).await?,
        };
        let subscriber = if options.lazy { subscriber.lazy() } else { subscriber }.unordered();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(self.clone(), subscriber, options, stopped, Arc::new(handler)));
        Ok(Service { stop, task: Mutex::new(Some(task)) })
    }

    /// Replies to each message of a subject with what an async function makes of its first payload
    ///
    /// The typed twin of [`Bridge::serve`]. The first payload is read as `In`: a dictionary, rows, the rows of an Arrow
    /// table, or text. The result goes back as a dictionary named `reply`; a result that is `null` in JSON, such as `()` and
    /// `None`, is sent as an ACK without a payload. A payload that can't be
    /// read as `In` makes a NACK with the code `undecodable`, a message without payloads one with `missing_field`.
    /// [`ServeOptions::lazy`] has no effect.
    ///
    /// # Errors
    /// As [`Bridge::serve`].
    ///
    /// # Examples
    /// ```
    /// # use natsbridge::{Bridge, Config, MemoryBroker, ServeOptions};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
    /// let service =
    ///     bridge.serve_typed("math.parse", ServeOptions::default(), async |text: String| Ok(text.parse::<u64>()?)).await?;
    ///
    /// let request = bridge.message("math.parse").text("number", "42");
    /// let reply = request.request(std::time::Duration::from_secs(5)).await?;
    /// assert_eq!(reply.get::<u64>("reply")?, 42);
    /// service.stop().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve_typed<In, Out, F, R>(
        &self,
        subject: &str,
        options: ServeOptions,
        handler: F,
    ) -> Result<Service, Error>
    where
        In: DeserializeOwned + Send + 'static,
        Out: Serialize + Send + 'static,
        F: Fn(In) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Out, HandlerError>> + Send + 'static,
    {
        let options = ServeOptions { lazy: false, ..options };
        let typed = move |message| {
            let handling = input(&message).map(&handler);
            async move { output(&handling?.await?) }
        };
        self.serve(subject, options, typed).await
    }
}

/// The first payload of a message, as a type of the program's own
fn input<In: DeserializeOwned>(message: &Message) -> Result<In, HandlerError> {
    let first = message.payloads().first();
    let missing = || HandlerError::new("the message has no payload").code("missing_field").permanent();
    let read = message.get(first.ok_or_else(missing)?.name());
    read.map_err(|error| HandlerError::from(error).code("undecodable").permanent())
}

/// A value as a reply; what serialises to nothing is an ACK
fn output(value: &impl Serialize) -> Result<Reply, HandlerError> {
    let part = Part::serialize(REPLY, PayloadType::Dictionary, value).map_err(Error::from)?;
    Ok(if part.bytes().is_some_and(|bytes| bytes == "null") { Reply::ack() } else { Reply::new().part(part) })
}

async fn run<F, R>(
    bridge: Bridge,
    mut subscriber: Subscriber,
    options: ServeOptions,
    mut stopped: watch::Receiver<bool>,
    handler: Arc<F>,
) -> Result<(), Error>
where
    F: Fn(Message) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
{
    let grace = options.grace.unwrap_or(ServeOptions::GRACE);
    let mut running = JoinSet::new();
    let (mut taking, mut end, mut outcome) = (true, None, Ok(()));
    while taking || !running.is_empty() {
        tokio::select! {
            Some(_) = running.join_next() => {}
            message = subscriber.next(), if taking && running.len() < options.limit() => match message {
                // A reply to a reply would go on for ever.
                Some(Ok(message)) if matches!(message.purpose(), Purpose::Ack | Purpose::Nack) => {}
                Some(Ok(message)) if options.stop_when_asked && message.purpose() == Purpose::Shutdown => {
                    reply(&message, Ok(Reply::ack())).await;
                    end.get_or_insert_with(|| drain(&mut subscriber, grace));
                }
                Some(Ok(message)) => {
                    running.spawn(handle(message, Arc::clone(&handler)));
                }
                Some(Err(error @ Error::Broker(_))) => outcome = Err(error),
                Some(Err(error)) => refuse(&bridge, &error).await,
                None => taking = false,
            },
            // What has arrived is still handled: in a queue group nobody else gets it.
            _ = stopped.changed(), if end.is_none() => {
                end = Some(drain(&mut subscriber, grace));
            }
            () = ended(end.flatten()) => break,
        }
    }
    let stopped = u64::try_from(running.len()).unwrap_or(u64::MAX);
    running.shutdown().await;
    if end.is_some() {
        // Past the grace it hands out nothing more, and counts.
        while taking && let Some(next) = subscriber.next().await {
            if let Err(error @ Error::Broker(_)) = next {
                outcome = Err(error);
            }
        }
    }
    match (subscriber.unhandled().saturating_add(stopped), outcome) {
        (0, outcome) => outcome,
        (messages, outcome) => {
            if let Err(error) = outcome {
                tracing::warn!(error = observe::cause(&error), "the server ended the subscription of a service");
            }
            Err(Error::Unhandled { messages })
        }
    }
}

/// Calls the handler for one message, and sends what it returns
async fn handle<F, R>(message: Message, handler: Arc<F>)
where
    F: Fn(Message) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Reply, HandlerError>> + Send + 'static,
{
    let asked = message.without_payloads();
    // A task of its own: a handler that panics ends itself and not the service.
    let mut handling = AbortOnDrop(tokio::spawn(async move { handler(message).await }));
    let returned = (&mut handling.0).await;
    reply(&asked, returned.unwrap_or_else(|_| Err(HandlerError::new("the handler panicked").permanent()))).await;
}

/// Begins the end; says when it has to be over
fn drain(subscriber: &mut Subscriber, grace: Duration) -> Option<Instant> {
    subscriber.drain_within(grace);
    Instant::now().checked_add(grace)
}

async fn ended(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// A task that is stopped when nobody waits for it any more
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn reply(message: &Message, returned: Result<Reply, HandlerError>) {
    let sent = match returned {
        Ok(reply) if reply.is_ack() => message.ack().await,
        Ok(reply) => send(message, reply).await,
        Err(error) => message.nack(error).await,
    };
    match sent {
        // A sender that names no subject for replies does not want one.
        Ok(()) | Err(Error::NoReplySubject { .. }) => {}
        Err(error) => tracing::warn!(
            error = observe::cause(&error),
            msg_id = &*shown(message.header().msg_id()),
            "a message was handled and its reply could not be sent"
        ),
    }
}

/// Sends a reply with payloads; where that is impossible, the sender is told so
async fn send(message: &Message, reply: Reply) -> Result<(), Error> {
    match message.reply().with(reply).send().await {
        // Only what was replied to is not to be handled again.
        Ok(_) => message.mark_handled(),
        Err(error) => {
            // Its own failure is the one to report.
            let _ = message.nack(HandlerError::of(&error)).await;
            return Err(error);
        }
    }
    Ok(())
}

async fn refuse(bridge: &Bridge, error: &Error) {
    match bridge.nack(error).await {
        Ok(()) | Err(Error::NoReplySubject { .. }) => {}
        Err(error) => tracing::warn!(error = observe::cause(&error), "a refusal could not be sent"),
    }
}
