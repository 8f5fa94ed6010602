//! Typed handlers: an async function answers each message of a subject, several at once, until it is stopped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natsbridge_core::{Purpose, shown};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::bridge::Bridge;
use crate::message::Message;
use crate::subscriber::Subscriber;
use crate::{Error, observe};

/// Why a handler could not do its work; told to the sender as a NACK
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerError {
    /// A stable word for programs; default `handler`
    pub code: String,
    /// What happened, for people
    pub reason: String,
    /// Whether the same message may succeed later; default true
    pub retryable: bool,
}

impl HandlerError {
    /// A failure that may pass: the sender tries again
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { code: "handler".to_owned(), reason: reason.into(), retryable: true }
    }

    /// Sets the word for programs
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Says that the same message will never succeed
    #[must_use]
    pub const fn permanent(mut self) -> Self {
        self.retryable = false;
        self
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// How a service works
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Handlers at once; 0 means the default, 16
    pub concurrency: usize,
    /// The queue group to share the subject with; default none
    pub queue: Option<String>,
    /// Whether a message with the purpose `shutdown` ends the service; default false
    pub stop_when_asked: bool,
    /// How long what has arrived is handled after the service was asked to stop; 10 seconds where `None`
    pub grace: Option<Duration>,
}

impl ServeOptions {
    const CONCURRENCY: usize = 16;
    const GRACE: Duration = Duration::from_secs(10);

    /// Sets how many handlers run at once; default 16
    #[must_use]
    pub const fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// Shares the subject with the other members of a queue group
    #[must_use]
    pub fn queue(mut self, group: impl Into<String>) -> Self {
        self.queue = Some(group.into());
        self
    }

    /// Ends in order at a message with the purpose `shutdown`, and acknowledges it; whoever may publish to the subject may
    /// send one
    #[must_use]
    pub const fn stop_when_asked(mut self) -> Self {
        self.stop_when_asked = true;
        self
    }

    /// Sets how long what has arrived is handled after the service was asked to stop; default 10 seconds
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    const fn limit(&self) -> usize {
        if self.concurrency == 0 { Self::CONCURRENCY } else { self.concurrency }
    }
}

/// A running service; stops, at the latest, when dropped
#[must_use = "a service ends when it is dropped"]
pub struct Service {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    unhandled: Arc<AtomicU64>,
}

impl Service {
    /// Stops listening, handles what has arrived within [`ServeOptions::grace`], and ends
    ///
    /// The subscription ends at the server first; in a queue group the other members get what comes from then on. Returns
    /// how many messages arrived and were not handled when the grace was over: handlers that still run are stopped, and
    /// counted too.
    pub async fn stop(mut self) -> u64 {
        // The task may have ended by itself, when the bridge was drained.
        let _ = self.stop.send(true);
        self.ended().await;
        self.unhandled()
    }

    /// Waits until it has ended: because it was asked to, or because the bridge was drained
    pub async fn ended(&mut self) {
        // A task that has ended must not be asked again.
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }

    /// How many messages arrived and were not handled; 0 before the service has ended
    #[must_use]
    pub fn unhandled(&self) -> u64 {
        self.unhandled.load(Ordering::Acquire)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("ended", &self.task.is_finished()).finish_non_exhaustive()
    }
}

impl Bridge {
    /// Answers each message of a subject with what an async function makes of its first payload
    ///
    /// The first payload is read as `In`: a dictionary, rows, an Arrow table's rows, or text. The result goes back as a
    /// dictionary named `reply`, where the message names a subject for answers. A result that serialises to nothing,
    /// `()`, is an ACK; a [`HandlerError`], and a payload that is no `In`, a NACK.
    ///
    /// # Errors
    /// As [`Bridge::subscribe`].
    ///
    /// # Examples
    /// ```
    /// # use natsbridge::{Bridge, Config, HandlerError, MemoryBroker, ServeOptions};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
    /// let service = bridge
    ///     .serve("math.double", ServeOptions::default(), async |number: u64| Ok::<_, HandlerError>(number * 2))
    ///     .await?;
    /// let answer = bridge.message("math.double").dictionary("number", 21).request(std::time::Duration::from_secs(5)).await?;
    /// assert_eq!(answer.get::<u64>("reply")?, 42);
    /// service.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn serve<In, Out, F, R>(&self, subject: &str, options: ServeOptions, handler: F) -> Result<Service, Error>
    where
        In: DeserializeOwned + Send + 'static,
        Out: Serialize + Send + 'static,
        F: Fn(In) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Out, HandlerError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        self.serve_messages(subject, options, move |message| {
            let handler = Arc::clone(&handler);
            async move {
                let first = message.payloads().first().map(|handle| handle.name().to_owned());
                let first = first
                    .ok_or_else(|| HandlerError::new("the message has no payload").code("missing_field").permanent())?;
                let input = message.get::<In>(&first).map_err(|error| undecodable(&error))?;
                let output = handler(input).await?;
                let output = serde_json::to_value(output).map_err(|error| HandlerError::new(error.to_string()))?;
                Ok((message, output))
            }
        })
        .await
    }

    async fn serve_messages<F, R>(&self, subject: &str, options: ServeOptions, handler: F) -> Result<Service, Error>
    where
        F: Fn(Arc<Message>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(Arc<Message>, serde_json::Value), HandlerError>> + Send + 'static,
    {
        let inbox = match &options.queue {
            Some(group) => self.queue_subscribe(subject, group).await?,
            None => self.subscribe(subject).await?,
        };
        let (stop, stopped) = watch::channel(false);
        let unhandled = Arc::new(AtomicU64::new(0));
        let running = run(self.clone(), inbox.unordered(), options, stopped, Arc::clone(&unhandled), handler);
        Ok(Service { stop, task: tokio::spawn(running), unhandled })
    }
}

fn undecodable(error: &Error) -> HandlerError {
    HandlerError::new(error.to_string()).code("undecodable").permanent()
}

async fn run<F, R>(
    bridge: Bridge,
    mut inbox: Subscriber,
    options: ServeOptions,
    mut stopped: watch::Receiver<bool>,
    unhandled: Arc<AtomicU64>,
    handler: F,
) where
    F: Fn(Arc<Message>) -> R + Send + Sync,
    R: Future<Output = Result<(Arc<Message>, serde_json::Value), HandlerError>> + Send + 'static,
{
    let grace = options.grace.unwrap_or(ServeOptions::GRACE);
    let mut running = JoinSet::new();
    let (mut taking, mut end) = (true, None);
    while taking || !running.is_empty() {
        tokio::select! {
            Some(_) = running.join_next() => {}
            message = inbox.next(), if taking && running.len() < options.limit() => match message {
                Some(Ok(message)) if options.stop_when_asked && message.purpose() == Purpose::Shutdown => {
                    let message = Arc::new(message);
                    answer(&message, Ok((Arc::clone(&message), serde_json::Value::Null))).await;
                    end.get_or_insert_with(|| drain(&mut inbox, grace));
                }
                Some(Ok(message)) => {
                    let message = Arc::new(message);
                    // A task of its own: a handler that panics ends itself and not the service.
                    let mut handled = AbortOnDrop(tokio::spawn(handler(Arc::clone(&message))));
                    running.spawn(async move {
                        let outcome = (&mut handled.0).await;
                        let outcome = outcome.unwrap_or_else(|_| Err(HandlerError::new("the handler panicked").permanent()));
                        answer(&message, outcome).await;
                    });
                }
                Some(Err(error)) => refuse(&bridge, &error).await,
                None => taking = false,
            },
            // What has arrived is still handled: in a queue group nobody else gets it.
            _ = stopped.changed(), if end.is_none() => {
                end = Some(drain(&mut inbox, grace));
            }
            () = ended(end.flatten()) => break,
        }
    }
    let stopped = u64::try_from(running.len()).unwrap_or(u64::MAX);
    running.shutdown().await;
    if end.is_some() {
        // Past the grace it hands out nothing more, and counts.
        while taking && inbox.next().await.is_some() {}
    }
    unhandled.store(inbox.unhandled().saturating_add(stopped), Ordering::Release);
}

/// Begins the end; says when it has to be over
fn drain(inbox: &mut Subscriber, grace: Duration) -> Option<Instant> {
    inbox.drain_within(grace);
    Instant::now().checked_add(grace)
}

async fn ended(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// A task that ends with whoever waits for it
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(message: &Message, outcome: Result<(Arc<Message>, serde_json::Value), HandlerError>) {
    let sent = match outcome {
        Ok((_, serde_json::Value::Null)) => message.ack().await,
        Ok((_, output)) => match message.reply() {
            Ok(reply) => {
                let sent = reply.dictionary("reply", output).send().await;
                // Only what was answered is not to be handled again.
                sent.map(|_| message.mark_handled())
            }
            Err(error) => Err(error),
        },
        Err(HandlerError { code, reason, retryable }) => message.nack(&code, &reason, retryable).await,
    };
    match sent {
        // Whoever names no subject for answers does not want one.
        Ok(()) | Err(Error::NoReplySubject { .. }) => {}
        Err(error) => tracing::warn!(
            error = observe::cause(&error),
            msg_id = &*shown(message.header().msg_id()),
            "a message was handled and its answer could not be sent"
        ),
    }
}

async fn refuse(bridge: &Bridge, error: &Error) {
    match bridge.nack(error).await {
        Ok(()) | Err(Error::NoReplySubject { .. }) => {}
        Err(error) => tracing::warn!(error = observe::cause(&error), "a refusal could not be sent"),
    }
}
