//! What one message that arrived can be asked: its fields, its payloads by name, and the means to answer it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use natsbridge_core::{Envelope, Header, Part, Purpose, Value, shown};
use natsbridge_nats::{RawMessage, Subject};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::bridge::Bridge;
use crate::builder::MessageBuilder;
use crate::receive::payload::{Payload, Saved};
use crate::receive::read;
use crate::receive::window::Claim;
use crate::reply::HandlerError;
use crate::setters::getters;
use crate::{Error, error, observe};

/// Payloads that an error names
const NAMED: usize = 16;

/// A message that arrived: the envelope's fields, its payloads, and the means to reply
///
/// [`value`](Self::value), [`get`](Self::get), [`text`](Self::text), [`table`](Self::table) and [`bytes`](Self::bytes) read
/// the **first** payload of a name, without waiting: a [`Subscriber`](crate::Subscriber) downloads links before it hands a
/// message out, unless it is [`lazy`](crate::Subscriber::lazy). Names may repeat: loop over [`payloads`](Self::payloads),
/// whose items have the same getters.
#[derive(Debug)]
pub struct Message {
    bridge: Bridge,
    pub(crate) subject: Subject,
    pub(crate) reply: Option<Subject>,
    header: Header,
    payloads: Vec<Payload>,
    pub(crate) claim: Option<Arc<Claim>>,
}

impl Message {
    /// Reads the envelope and checks what came direct
    pub(crate) fn open(bridge: &Bridge, delivery: RawMessage) -> Result<Self, Error> {
        let RawMessage { subject, reply, payload, .. } = delivery;
        let envelope = match Envelope::from_json(&payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                let error = Error::from(error);
                observe::unreadable(&error, subject.as_str(), None);
                return Err(error.unreadable(subject.as_str(), None, reply));
            }
        };
        observe::received(&envelope);
        let (header, arrivals) = envelope.open(&bridge.config().checks);
        let payloads = Payload::all(arrivals, bridge.downloader(), bridge.config().message_timeout);
        Ok(Self { bridge: bridge.clone(), subject, reply, header, payloads, claim: None })
    }

    pub(crate) fn wants_answer(&self) -> bool {
        !self.header.msg_id().is_empty()
            && (self.reply.is_some() || !self.header.reply_to().is_empty())
            && !matches!(self.header.msg_purpose(), Purpose::Ack | Purpose::Nack)
    }

    pub(crate) fn has_links(&self) -> bool {
        self.payloads.iter().any(|handle| handle.part().is_none())
    }

    /// Downloads every link into memory, all of them within [`Config::message_timeout`](crate::Config::message_timeout)
    ///
    /// # Errors
    /// [`Error::Unreadable`] with the first payload that can't be handed out.
    pub async fn fetch(&self) -> Result<(), Error> {
        let transfers = self.bridge.config().transfers.max(1);
        let mut fetches: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
        for payload in self.payloads.iter().filter(|payload| payload.part().is_none()) {
            fetches.push(Box::pin(async { payload.fetch().await.map(drop) }));
        }
        let fetched: Result<(), Error> = stream::iter(fetches).buffer_unordered(transfers).try_collect().await;
        fetched.map_err(|error| {
            observe::unreadable(&error, self.subject.as_str(), Some(&self.header));
            error.unreadable(self.subject.as_str(), Some(&self.header), self.reply.clone())
        })
    }

    /// The same message without its payloads, to reply to after this one was given away; both can say that the message was handled
    pub(crate) fn without_payloads(&self) -> Self {
        let Self { bridge, subject, reply, header, claim, .. } = self;
        Self {
            bridge: bridge.clone(),
            subject: subject.clone(),
            reply: reply.clone(),
            header: header.clone(),
            payloads: Vec::new(),
            claim: claim.clone(),
        }
    }

    getters! {
        /// The envelope's fields
        const fn header(&self) -> &Header { &self.header }

        /// Why it was sent: `chat`, a status update, a request to shut down, an ACK or a NACK
        fn purpose(&self) -> Purpose { self.header.msg_purpose() }

        /// The subject that it arrived on
        const fn subject(&self) -> &Subject { &self.subject }

        /// The sending program's name
        fn sender_name(&self) -> &str { self.header.sender_name() }

        /// The payloads, in the order in which they were sent
        fn payloads(&self) -> &[Payload] { &self.payloads }
    }

    /// Consumes the message and returns its payloads
    #[must_use]
    pub fn into_payloads(self) -> Vec<Payload> {
        self.payloads
    }

    /// The first payload of this name
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`] with the names that are there.
    pub fn payload(&self, name: &str) -> Result<&Payload, Error> {
        self.payloads.iter().find(|payload| payload.name() == name).ok_or_else(|| {
            let named = self.payloads.iter().take(NAMED).map(|handle| format!("`{}`", shown(handle.name())));
            let mut present: Vec<_> = named.collect();
            match self.payloads.len() {
                0 => present.push("none".to_owned()),
                all if all > NAMED => present.push(format!("and {} more", all - NAMED)),
                _ => {}
            }
            let present = present.join(", ");
            Error::NoSuchPayload { dataname: name.into(), present: present.into() }
        })
    }

    fn part(&self, name: &str) -> Result<&Part, Error> {
        let payload = self.payload(name)?;
        let reason = "it is a link that was not downloaded; fetch it first";
        let absent = || Error::wrong_type(name, payload.payload_type(), "a value", reason);
        payload.ready()?.ok_or_else(absent)
    }

    /// The value of the first payload of this name, which is in memory
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::WrongType`] for a link that was not downloaded; [`Error::Payload`] when the bytes
    /// are not what the payload's type says.
    pub fn value(&self, name: &str) -> Result<Value, Error> {
        Ok(self.part(name)?.value()?)
    }

    /// The first payload of this name, a dictionary, table or text in memory, as a type of the program's own; a table is a
    /// list of rows
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::WrongType`] for a link that was not downloaded; [`Error::Payload`] for a value that
    /// does not fit `T` (`ErrorKind::WrongType`), and when the bytes are not what the payload's type says.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        Ok(self.part(name)?.deserialize()?)
    }

    /// The text of the first payload of this name, which is in memory
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::WrongType`] for a link that was not downloaded and for another payload type;
    /// [`Error::Payload`] when the bytes are not UTF-8.
    pub fn text(&self, name: &str) -> Result<String, Error> {
        read::text(self.part(name)?)
    }

    /// The Arrow table of the first payload of this name, which is in memory
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::WrongType`] for a link that was not downloaded and for another payload type;
    /// [`Error::Payload`] when the bytes are no readable Arrow table.
    #[cfg(feature = "arrow")]
    pub fn table(&self, name: &str) -> Result<natsbridge_core::Table, Error> {
        read::table(self.part(name)?)
    }

    /// The serialised bytes of the first payload of this name, which is in memory, whatever its type
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::WrongType`] for a link that was not downloaded; [`Error::Payload`] for one that failed
    /// its check.
    pub fn bytes(&self, name: &str) -> Result<Bytes, Error> {
        let part = self.part(name)?;
        let absent = || Error::wrong_type(name, part.payload_type(), "bytes", "they are in a file");
        part.source().clone().into_bytes().ok_or_else(absent)
    }

    /// Saves every payload under a safe form of its name in `dir`; links are not held in memory
    ///
    /// # Errors
    /// As [`Payload::save`], for the first payload that can't be saved; the ones before it are there.
    pub async fn save_to(&self, dir: impl AsRef<Path> + Send) -> Result<Vec<Saved>, Error> {
        let mut saved = Vec::with_capacity(self.payloads.len());
        for handle in &self.payloads {
            saved.push(handle.save(dir.as_ref()).await?);
        }
        Ok(saved)
    }

    /// The sender's trace context, where the message carries one: the parent of a span, or a link from it; feature `otel`
    ///
    /// # Examples
    /// ```
    /// use natsbridge::Message;
    /// use opentelemetry::Context;
    /// use opentelemetry::trace::{TraceContextExt as _, Tracer};
    ///
    /// fn handle(message: &Message, tracer: &impl Tracer) {
    ///     let sender = message.trace_context().map(|span| Context::new().with_remote_span_context(span));
    ///     let span = tracer.start_with_context("handle", &sender.unwrap_or_default());
    ///     // … what happens while `span` lives belongs to the sender's trace
    ///     # let _ = span;
    /// }
    /// ```
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn trace_context(&self) -> Option<opentelemetry::trace::SpanContext> {
        crate::trace::trace_context(&self.header)
    }

    /// Tells the sender that the message was handled, and remembers that (specification, section 7)
    ///
    /// # Errors
    /// [`Error::NoReplySubject`] if the message names no subject for replies, [`Error::ReplyRefused`] if it names one to
    /// which this program does not reply, and the errors of [`MessageBuilder::send`].
    pub async fn ack(&self) -> Result<(), Error> {
        let ack = self.answer(Purpose::Ack)?;
        self.mark_handled();
        ack.send().await.map(drop)
    }

    /// Tells the sender that the message could not be handled, and why (specification, section 6)
    ///
    /// # Errors
    /// As [`Message::ack`].
    pub async fn nack(&self, error: impl Into<HandlerError> + Send) -> Result<(), Error> {
        let HandlerError { code, reason, retryable } = error.into();
        refusal(self.answer(Purpose::Nack)?, &code, &reason, retryable).send().await.map(drop)
    }

    /// Starts a reply to this message
    ///
    /// Sending it fails with [`Error::NoReplySubject`] if the message names no subject for replies, and with
    /// [`Error::ReplyRefused`] if it names one to which this program does not reply.
    ///
    /// # Examples
    /// ```
    /// # async fn handle(message: natsbridge::Message) -> Result<(), natsbridge::Error> {
    /// message.reply().text("answer", "42").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply(&self) -> MessageBuilder {
        self.answer(Purpose::Chat).unwrap_or_else(|error| MessageBuilder::unsendable(self.bridge.clone(), error))
    }

    /// A repeat of this message is acknowledged from now on, and not handed out again
    pub(crate) fn mark_handled(&self) {
        if let Some(claim) = &self.claim {
            claim.handled();
        }
    }

    fn answer(&self, purpose: Purpose) -> Result<MessageBuilder, Error> {
        answer(&self.bridge, &self.header, self.reply.as_ref(), purpose)
    }
}

/// A reply to the message with this header: to its `reply_to`, else to the NATS reply subject
fn answer(
    bridge: &Bridge,
    header: &Header,
    reply: Option<&Subject>,
    purpose: Purpose,
) -> Result<MessageBuilder, Error> {
    let to = match (header.reply_to(), reply) {
        ("", None) => return Err(Error::NoReplySubject { msg_id: header.msg_id().into() }),
        ("", Some(reply)) => reply.as_str(),
        (reply_to, _) => reply_to,
    };
    let allowed = &bridge.config().reply_subjects;
    // A stranger's word must not make this program speak to the server's own subjects.
    if to.starts_with('$') || !(allowed.is_empty() || allowed.iter().any(|filter| filter.matches(to))) {
        return Err(Error::ReplyRefused { msg_id: header.msg_id().into(), subject: to.into() });
    }
    let draft = bridge.message(to).answering().purpose(purpose).correlation_id(header.correlation_id());
    let draft = draft.reply_to_msg_id(header.msg_id());
    Ok(draft.receiver_name(header.sender_name()).receiver_id(header.sender_id()))
}

/// A refusal with its reason (specification, section 6)
fn refusal(answer: MessageBuilder, code: &str, reason: &str, retryable: bool) -> MessageBuilder {
    // Long or strange text must not keep a refusal from leaving.
    let (code, reason) = (error::reason(code), error::reason(reason));
    let metadata = [("code", json!(code)), ("reason", json!(reason)), ("retryable", json!(retryable))];
    answer.metadata(metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl Bridge {
    /// Tells the sender of a message that could not be read why, with the error's code (specification, section 6)
    ///
    /// # Errors
    /// [`Error::NoReplySubject`] if the message names no subject for replies, or is no envelope; [`Error::ReplyRefused`]
    /// if it names one to which this program does not reply; and the errors of [`MessageBuilder::send`].
    pub async fn nack(&self, unread: &Error) -> Result<(), Error> {
        let Some(header) = unread.header() else { return Err(Error::NoReplySubject { msg_id: "".into() }) };
        // A reply to a reply would go on for ever.
        if matches!(header.msg_purpose(), Purpose::Ack | Purpose::Nack) {
            return Err(Error::NoReplySubject { msg_id: header.msg_id().into() });
        }
        let answer = answer(self, header, unread.reply_subject(), Purpose::Nack)?;
        refusal(answer, unread.code(), &unread.nack_reason(), unread.is_retryable()).send().await.map(drop)
    }
}
