//! A message that is being written: parts are added by name, and the whole is sent at the end.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use natsbridge_core::{
    Envelope, Limits, LinkLifetime, Metadata, OutboundMessage, Part, PayloadError, PayloadType, Purpose, ReceiverKind,
    Value,
};
use natsbridge_nats::{BrokerError, BrokerErrorKind};
use serde::Serialize;

use crate::bridge::Bridge;
use crate::error::ConfigError;
use crate::parts::payload_methods;
use crate::progress::{Progress, ProgressHook};
use crate::reply::Reply;
use crate::send::Sending;
use crate::sequence::{self, SubjectState};
use crate::setters::setters;
use crate::subscriber::message::Message;
use crate::{Data, DeliverOptions, Delivered, Error, files};

/// Builds one message: payloads in order, then `send`, `deliver` or `request`; a value that can't be serialised is reported then
///
/// Payloads travel in the order in which they are added; names may repeat.
///
/// # Examples
/// ```
/// # use natsbridge::{Bridge, Config, MemoryBroker, PayloadType, };
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
/// let envelope = bridge
///     .message("lab.results")
///     .text("note", "run 7")
///     .dictionary("settings", [("gain", 0.1)])
///     .binary("raw", vec![1, 2, 3])
///     .correlation_id("0d7a0f6b-6f1f-4c43-9d0e-5f1f0a536a01")
///     .send()
///     .await?;
/// assert_eq!(envelope.payloads().len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a message does nothing until it is sent"]
pub struct MessageBuilder {
    bridge: Bridge,
    /// In a box: a builder moves with every payload that is added
    message: Box<OutboundMessage>,
    /// Nothing for most messages
    special: Option<Box<Special>>,
}

/// What few messages have
#[derive(Default)]
struct Special {
    /// Places of the parts that are files yet to be looked at
    files: Vec<usize>,
    /// Why it can't be sent: the first part that could not be serialised, or a reply that has nowhere to go
    failed: Option<Error>,
    /// Where it is another than the configuration says
    receiver: Option<ReceiverKind>,
    convert_tables: bool,
    progress: Option<ProgressHook>,
    /// Whether it replies to a message, at a subject that a stranger named
    answers: bool,
}

impl MessageBuilder {
    pub(crate) const fn new(bridge: Bridge, message: Box<OutboundMessage>) -> Self {
        Self { bridge, message, special: None }
    }

    /// A message that can't be sent; who sends it is told why
    pub(crate) fn unsendable(bridge: Bridge, error: Error) -> Self {
        let special = Special { failed: Some(error), ..Special::default() };
        Self { bridge, message: Box::new(OutboundMessage::new("")), special: Some(Box::new(special)) }
    }

    fn special(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }

    /// Says that it replies to a message
    pub(crate) fn answering(mut self) -> Self {
        self.special().answers = true;
        self
    }

    payload_methods!();

    fn add(mut self, part: Result<Part, PayloadError>) -> Self {
        match part {
            Ok(part) => self.message.parts.push(part),
            Err(error) => {
                self.special().failed.get_or_insert_with(|| error.into());
            }
        }
        self
    }

    fn add_file(mut self, part: Part) -> Self {
        let place = self.message.parts.len();
        self.special().files.push(place);
        self.add(Ok(part))
    }

    /// Takes the payloads and metadata of a reply
    pub(crate) fn with(mut self, reply: Reply) -> Self {
        let Reply { parts, files, failed, metadata } = reply;
        (self.message.parts, self.message.metadata) = (parts, metadata);
        if failed.is_some() || !files.is_empty() {
            let special = self.special();
            (special.files, special.failed) = (files, failed.map(Error::from));
        }
        self
    }

    setters! {
        /// Sets the receiving program's name; default empty, for all
        fn receiver_name(self, name: impl Into<String>) { self.message.receiver_name = name.into().into() }

        /// Sets the receiving program's identifier; default empty, for all. A link to one receiver that is asked for no reply
        /// is one-shot
        fn receiver_id(self, id: impl Into<String>) { self.message.receiver_id = id.into().into() }

        /// Sets the subject for replies; default none
        fn reply_to(self, subject: impl Into<String>) { self.message.reply_to = subject.into().into() }

        /// Sets the `msg_id` of the message that this one replies to; default none
        fn reply_to_msg_id(self, id: impl Into<String>) { self.message.reply_to_msg_id = id.into().into() }

        /// Sets the flow that the message belongs to; default a new one
        fn correlation_id(self, id: impl Into<String>) { self.message.correlation_id = Some(id.into().into()) }

        /// Sets why it is sent; default `chat`
        fn purpose(self, purpose: Purpose) { self.message.msg_purpose = purpose }

        /// Sets message-level metadata; default empty
        fn metadata(self, metadata: Metadata) { self.message.metadata = metadata }

        /// Sets how long links live and how often they may be read; default as the specification says
        ///
        /// A message that asks for a reply or an acknowledgement, or names no receiver, has no one-shot links: a
        /// [`LinkLifetime::one_shot`] for it is refused when it is sent.
        fn link_lifetime(self, life: LinkLifetime) { self.message.link_lifetime = Some(life) }

        /// Gives direct payloads a digest too
        fn digest_direct(self) { self.message.digest_direct = true }

        /// Sets what kind of receiver it has to suit; default as [`Config::limits`](crate::Config::limits) say, any desktop program
        fn receiver(self, receiver: ReceiverKind) { self.special().receiver = Some(receiver) }

        /// Turns an arrowtable into a jsontable where the receiver can't read Arrow
        fn convert_tables(self) { self.special().convert_tables = true }

        /// Calls a function as the bytes of this message's uploads go; default [`Config::on_progress`](crate::Config::on_progress)
        ///
        /// The function must not block: the transfer waits for it.
        fn on_progress(self, hook: impl Fn(Progress<'_>) + Send + Sync + 'static) {
            self.special().progress = Some(ProgressHook::new(hook))
        }
    }

    /// Publishes the message; core NATS may still lose it
    ///
    /// # Errors
    /// Naming the payload: [`Error::Payload`] for a value that its type can't hold, [`Error::File`] for a file that can't be
    /// read, [`Error::Plan`] for a message that fits nowhere, [`Error::Store`] for an upload that failed. [`Error::Subject`],
    /// [`Error::Config`]; [`Error::Broker`] when it can't be published. Nothing is published then, and what was uploaded is
    /// deleted.
    pub async fn send(self) -> Result<Envelope, Error> {
        self.publish(false).await
    }

    /// Publishes the message and waits until the server has processed it
    ///
    /// # Errors
    /// As [`MessageBuilder::send`], and [`Error::Broker`] when the server does not confirm it in time.
    pub async fn send_confirmed(self) -> Result<Envelope, Error> {
        self.publish(true).await
    }

    /// Publishes the message until it is acknowledged as often as asked (at least once)
    ///
    /// Uploads belong to the delivery: where the file server is away, they are tried again until the deadline. They are
    /// deleted when all acknowledgements are in. Links are never one-shot, as the message may be sent again.
    ///
    /// A receiver that acknowledged and is sent the same message again does not handle it twice, as long as it lives and
    /// remembers the message ([`Subscriber`](crate::Subscriber) says how many). Acknowledgements are told apart by the receivers'
    /// identifiers: see [`DeliverOptions::acks`].
    ///
    /// # Errors
    /// As [`MessageBuilder::send`]; [`Error::Store`] when an upload still fails at the deadline; [`Error::Delivery`] when
    /// acknowledgements are missing at the deadline, with the last refusal if there was one, or a receiver refused the
    /// message for good; [`Error::Config`] when a `reply_to` was set, since the acknowledgements go there, or a one-shot
    /// link was asked for.
    pub async fn deliver(mut self, options: &DeliverOptions) -> Result<Delivered, Error> {
        self.without_reply_to()?;
        let deadline = options.start();
        let inbox = tokio::time::timeout_at(deadline.at, self.bridge.reply_inbox()).await.map_err(|_| {
            let message = "the server did not take the subscription for acknowledgements before the deadline; check the \
                           connection";
            BrokerError::new(BrokerErrorKind::TimedOut, message)
        })?;
        self.message.reply_to = inbox?.as_str().to_owned().into();
        self.message.awaits_ack = true;
        let (Self { bridge, message, special }, state, limits) = self.prepare().await?;
        let sending = bridge.sending(&limits, &state, progress(special.as_deref()));
        let sending = Sending { deadline: Some(deadline), ..sending };
        let encoded = sending.encode(*message).await?;
        bridge.deliver(&sending, &state.subject, encoded, options).await
    }

    /// Publishes the message and waits for one reply
    ///
    /// Links are never one-shot, as a request without a reply may be sent again.
    ///
    /// # Errors
    /// Those of [`MessageBuilder::send`]; [`Error::Broker`] without a subscriber (`ErrorKind::NoResponders`) or a reply in time,
    /// [`Error::Unreadable`] with the NACK's header and [`Error::Delivery`] inside when the reply is a NACK
    /// (`ErrorKind::Refused`), [`Error::Config`] when a `reply_to` was set or a one-shot link was
    /// asked for, and what is wrong with the reply.
    pub async fn request(mut self, timeout: Duration) -> Result<Message, Error> {
        self.without_reply_to()?;
        self.message.awaits_ack = true;
        let (Self { bridge, message, special }, state, limits) = self.prepare().await?;
        let sending = bridge.sending(&limits, &state, progress(special.as_deref()));
        let encoded = sending.encode(*message).await?;
        bridge.request(&sending, &state.subject, encoded, timeout).await
    }

    async fn publish(self, confirmed: bool) -> Result<Envelope, Error> {
        let (Self { bridge, message, special }, state, limits) = self.prepare().await?;
        let sending = bridge.sending(&limits, &state, progress(special.as_deref()));
        let encoded = sending.encode(*message).await?;
        bridge.publish(&sending, &state.subject, encoded, confirmed).await
    }

    fn without_reply_to(&self) -> Result<(), ConfigError> {
        if self.message.reply_to.is_empty() {
            return Ok(());
        }
        let reason = "replies come back on a subject of the bridge; leave reply_to out, or use `send`";
        Err(ConfigError::new("reply_to", reason))
    }

    /// The limits that hold for this message
    fn limits(&self) -> Limits {
        let mut limits = self.bridge.limits().header_allowance(sequence::ROOM);
        if let Some(special) = &self.special {
            if let Some(receiver) = special.receiver {
                limits = limits.receiver(receiver);
            }
            if special.convert_tables {
                limits = limits.convert_tables(true);
            }
        }
        limits
    }

    /// Finds out where it goes and what limits hold, and reads small files; reports what was wrong before
    async fn prepare(mut self) -> Result<(Self, Arc<SubjectState>, Limits), Error> {
        let failed = self.special.as_mut().and_then(|special| special.failed.take());
        let is_reply = self.special.as_ref().is_some_and(|special| special.answers);
        let state = self.bridge.subject(&self.message, is_reply);
        if let Some(error) = failed {
            // A wrong subject is told before a wrong payload, but not of a reply that has no subject at all.
            return Err(match state {
                Err(subject) if error.dataname().is_some() => subject.into(),
                _ => error,
            });
        }
        let (state, limits) = (state?, self.limits());
        if let Some(special) = self.special.as_ref().filter(|special| !special.files.is_empty()) {
            // In a box: most messages have no files, and their future stays small.
            Box::pin(files::read_small(&mut self.message.parts, &special.files, &limits)).await?;
        }
        Ok((self, state, limits))
    }
}

fn progress(special: Option<&Special>) -> Option<&ProgressHook> {
    special?.progress.as_ref()
}

impl fmt::Debug for MessageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageBuilder")
            .field("send_to", &self.message.send_to)
            .field("parts", &self.message.parts.len())
            .finish_non_exhaustive()
    }
}
