//! Messages as they arrive: a subscription that downloads links ahead, in order, and what one message can be asked.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered, FuturesUnordered, TryStreamExt as _};
use natsbridge_core::{Envelope, Header, Part, PayloadType, Purpose, Value, shown};
use natsbridge_nats::{BrokerError, Delivery, Subject, Subscription};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::bridge::Bridge;
use crate::draft::Draft;
use crate::handle::{Handle, Saved};
use crate::sequence::{Detector, Losses};
use crate::window::{Claim, Seen, Window};
use crate::{Error, ReceiveError, observe};

/// Messages waiting for their downloads at once; more wait in the subscription
const MESSAGES_AHEAD: usize = 16;

/// Handled messages that are remembered, so that a repeat is not handled twice
const REMEMBERED: usize = 65_536;

/// A subscription as a stream of messages, in the order in which they came
///
/// A message that can't be read is an item with an error, and the next one follows. Links of several messages are
/// downloaded at once, within [`Config::links_ahead`](crate::Config::links_ahead), so that a slow link does not hold up
/// the subscription. A message that was acknowledged and comes again is answered and not handed out twice, as long as this
/// inbox lives and for its last 65,536 messages: after a restart, or in another member of a queue group, a message may be
/// handled a second time. Where that matters, keep the `msg_id` with what the handler does.
pub struct Inbox {
    bridge: Bridge,
    subscription: Subscription,
    lazy: bool,
    unordered: bool,
    ahead: Ahead,
    /// Bytes of links in `ahead`
    bytes_ahead: u64,
    /// The next message to download, for whose links there is no room yet
    waiting: Option<Incoming>,
    window: Window,
    detector: Option<Detector>,
}

/// A message on its way, and the bytes of its links
type Fetching = BoxFuture<'static, (u64, Result<Incoming, ReceiveError>)>;

/// Messages whose links are being downloaded
enum Ahead {
    Ordered(FuturesOrdered<Fetching>),
    Unordered(FuturesUnordered<Fetching>),
}

impl Ahead {
    fn len(&self) -> usize {
        match self {
            Self::Ordered(messages) => messages.len(),
            Self::Unordered(messages) => messages.len(),
        }
    }

    fn push(&mut self, message: Fetching) {
        match self {
            Self::Ordered(messages) => messages.push_back(message),
            Self::Unordered(messages) => messages.push(message),
        }
    }

    async fn next(&mut self) -> Option<(u64, Result<Incoming, ReceiveError>)> {
        match self {
            Self::Ordered(messages) => messages.next().await,
            Self::Unordered(messages) => messages.next().await,
        }
    }
}

impl Inbox {
    /// `alone`: every message for the filter comes here, so that gaps in a sender's numbers are losses
    pub(crate) fn new(bridge: Bridge, subscription: Subscription, alone: bool) -> Self {
        Self {
            bridge,
            subscription,
            lazy: false,
            unordered: false,
            ahead: Ahead::Ordered(FuturesOrdered::new()),
            bytes_ahead: 0,
            waiting: None,
            window: Window::new(REMEMBERED),
            detector: alone.then(Detector::default),
        }
    }

    /// Leaves links where they are: each payload is downloaded when it is asked for
    #[must_use]
    pub const fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Lets a message overtake an earlier one that still waits for its links
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.unordered = true;
        self.ahead = Ahead::Unordered(FuturesUnordered::new());
        self
    }

    /// Waits for the next message; `None` after the subscription or the bridge was drained
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The item is [`ReceiveError`] for a message that can't be read; call again for the next one. One with
    /// [`Error::Broker`] is the last: the server no longer lets this program listen.
    pub async fn next(&mut self) -> Option<Result<Incoming, ReceiveError>> {
        loop {
            if let Some(incoming) = self.waiting.take() {
                let bytes = self.link_bytes(&incoming);
                if self.ahead.len() > 0 && self.bytes_ahead.saturating_add(bytes) > self.bridge.config().links_ahead {
                    self.waiting = Some(incoming);
                    let fetched = self.ahead.next().await;
                    return self.handed_out(fetched);
                }
                self.bytes_ahead = self.bytes_ahead.saturating_add(bytes);
                self.ahead.push(fetched(incoming, bytes));
            }
            let delivery = if self.ahead.len() == 0 {
                match self.subscription.next().await {
                    Some(delivery) => delivery,
                    None => return self.subscription.take_error().map(|error| self.ended(error)),
                }
            } else if self.ahead.len() >= MESSAGES_AHEAD {
                let fetched = self.ahead.next().await;
                return self.handed_out(fetched);
            } else {
                tokio::select! {
                    biased;
                    fetched = self.ahead.next() => return self.handed_out(fetched),
                    delivery = self.subscription.next() => match delivery {
                        Some(delivery) => delivery,
                        None => {
                            let fetched = self.ahead.next().await;
                            return self.handed_out(fetched);
                        }
                    },
                }
            };
            let Some(opened) = self.opened(delivery) else { continue };
            match opened {
                Ok(incoming) if incoming.has_links() && !self.lazy => self.waiting = Some(incoming),
                opened if self.ahead.len() == 0 || self.unordered => return Some(opened),
                opened => self.ahead.push(Box::pin(std::future::ready((0, opened)))),
            }
        }
    }

    /// What the links of a message will take in memory; one whose sender did not say fills all the room there is
    fn link_bytes(&self, incoming: &Incoming) -> u64 {
        let unknown = self.bridge.config().links_ahead;
        let links = incoming.payloads.iter().filter(|handle| handle.part().is_none());
        links.fold(0, |sum: u64, handle| sum.saturating_add(handle.size().unwrap_or(unknown)))
    }

    /// Makes room for the next downloads
    fn handed_out(
        &mut self,
        fetched: Option<(u64, Result<Incoming, ReceiveError>)>,
    ) -> Option<Result<Incoming, ReceiveError>> {
        let (bytes, message) = fetched?;
        self.bytes_ahead = self.bytes_ahead.saturating_sub(bytes);
        Some(message)
    }

    /// The message, unless it is a repeat of one that was or is being handled
    fn opened(&mut self, delivery: Delivery) -> Option<Result<Incoming, ReceiveError>> {
        if self.is_nats_own(&delivery) {
            return None;
        }
        let mut incoming = match Incoming::open(&self.bridge, delivery) {
            Ok(incoming) => incoming,
            Err(error) => return Some(Err(error)),
        };
        if let Some(detector) = &mut self.detector {
            detector.note(incoming.header());
        }
        if incoming.wants_answer() {
            let (seen, claim) = self.window.begin(incoming.header().sender_id(), incoming.header().msg_id());
            match seen {
                Seen::New => incoming.claim = claim,
                Seen::Handling => return None,
                Seen::Handled => {
                    // The first acknowledgement may have been lost; it is not worth holding up the next message.
                    tokio::spawn(async move {
                        if let Err(error) = incoming.ack().await {
                            tracing::warn!(error = observe::cause(&error), "a repeat could not be acknowledged");
                        }
                    });
                    return None;
                }
            }
        }
        Some(Ok(incoming))
    }

    /// Whether `>` let us overhear what NATS clients tell each other, such as a confirmation: no message that is broken
    fn is_nats_own(&self, delivery: &Delivery) -> bool {
        const INBOX: &str = "_INBOX.";
        delivery.subject.as_str().starts_with(INBOX)
            && !Subscription::filter(&self.subscription).as_str().starts_with(INBOX)
            && Envelope::from_json(&delivery.payload).is_err()
    }

    fn ended(&self, error: BrokerError) -> Result<Incoming, ReceiveError> {
        Err(ReceiveError::new(error, Subscription::filter(&self.subscription).as_str()))
    }

    /// How many messages were dropped because this inbox was read too slowly
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.subscription.dropped()
    }

    /// What is missing, repeated or overtaken by the senders' own numbers; nothing is known in a queue group
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.detector.as_ref().map(Detector::losses).unwrap_or_default()
    }

    /// Stops listening; what has arrived can still be read, then the stream ends
    pub fn drain(&self) {
        self.subscription.drain();
    }
}

/// Downloads in a task of its own, so that it goes on while the reader is busy with another message
fn fetched(mut incoming: Incoming, bytes: u64) -> Fetching {
    let (subject, reply) = (incoming.subject.clone(), incoming.reply.clone());
    let mut task = AbortOnDrop(tokio::spawn(async move {
        incoming.fetch().await?;
        Ok(incoming)
    }));
    Box::pin(async move {
        let fetched = match (&mut task.0).await {
            Ok(fetched) => fetched,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime stops it.
                Err(_) => Err(ReceiveError::new(Error::Stopped, subject.as_str()).answerable(None, reply)),
            },
        };
        (bytes, fetched)
    })
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("subscription", &self.subscription)
            .field("lazy", &self.lazy)
            .finish_non_exhaustive()
    }
}

/// A message that arrived: the envelope's fields, its payloads by name, and the means to answer it
#[derive(Debug)]
pub struct Incoming {
    bridge: Bridge,
    subject: Subject,
    reply: Option<Subject>,
    header: Header,
    payloads: Vec<Handle>,
    claim: Option<Claim>,
}

impl Incoming {
    /// Reads the envelope and checks what came direct
    pub(crate) fn open(bridge: &Bridge, delivery: Delivery) -> Result<Self, ReceiveError> {
        let Delivery { subject, reply, payload, .. } = delivery;
        let envelope = match Envelope::from_json(&payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                let error = Error::from(error);
                observe::unreadable(&error, subject.as_str(), None);
                return Err(ReceiveError::new(error, subject.as_str()).answerable(None, reply));
            }
        };
        observe::received(&envelope);
        let (header, arrivals) = envelope.open(&bridge.config().checks);
        let payloads = arrivals.into_iter().map(|arrival| Handle::new(arrival, bridge.downloader())).collect();
        Ok(Self { bridge: bridge.clone(), subject, reply, header, payloads, claim: None })
    }

    fn wants_answer(&self) -> bool {
        !self.header.msg_id().is_empty()
            && (self.reply.is_some() || !self.header.reply_to().is_empty())
            && !matches!(self.header.msg_purpose(), Purpose::Ack | Purpose::Nack)
    }

    fn has_links(&self) -> bool {
        self.payloads.iter().any(|handle| handle.part().is_none())
    }

    /// Downloads every link into memory
    ///
    /// # Errors
    /// [`ReceiveError`] with the first payload that can't be handed out.
    pub async fn fetch(&mut self) -> Result<(), ReceiveError> {
        let transfers = self.bridge.config().transfers.max(1);
        let mut fetches: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
        for handle in &mut self.payloads {
            if handle.part().is_none() {
                fetches.push(Box::pin(handle.fetch()));
            }
        }
        let fetched: Result<(), Error> = stream::iter(fetches).buffer_unordered(transfers).try_collect().await;
        fetched.map_err(|error| {
            observe::unreadable(&error, self.subject.as_str(), Some(&self.header));
            ReceiveError::new(error, self.subject.as_str()).answerable(Some(&self.header), self.reply.clone())
        })
    }

    /// The envelope's fields
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Why it was sent: `chat`, or news of a state, a request to stop, an answer
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.header.msg_purpose()
    }

    /// The subject that it came on
    #[must_use]
    pub fn subject(&self) -> &str {
        self.subject.as_str()
    }

    /// The payloads, in the order in which they were sent
    #[must_use]
    pub fn payloads(&self) -> &[Handle] {
        &self.payloads
    }

    /// The payloads, given away
    #[must_use]
    pub fn into_payloads(self) -> Vec<Handle> {
        self.payloads
    }

    /// The first payload of this name
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`] with the names that are there.
    pub fn payload(&self, name: &str) -> Result<&Handle, Error> {
        self.payloads.iter().find(|handle| handle.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.payloads.iter().map(|handle| format!("`{}`", shown(handle.name()))).collect();
            let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::NoSuchPayload { dataname: name.to_owned(), present }
        })
    }

    fn part(&self, name: &str) -> Result<&Part, Error> {
        let handle = self.payload(name)?;
        handle.part().ok_or_else(|| wrong(handle, "a value", "it is a link that was not downloaded; fetch it first"))
    }

    /// The value of the first payload of this name
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::Payload`] when the bytes are not what the type says.
    pub fn value(&self, name: &str) -> Result<Value, Error> {
        Ok(self.part(name)?.value()?)
    }

    /// The value of a dictionary, jsontable, arrowtable or text as a type of the program's own
    ///
    /// A table is read as a list of rows.
    ///
    /// # Errors
    /// As [`Incoming::value`]; [`Error::WrongType`] when the value is of another shape.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        let part = self.part(name)?;
        let handle = self.payload(name)?;
        let read = match (part.payload_type(), part.bytes()) {
            (PayloadType::Dictionary | PayloadType::JsonTable, Some(bytes)) => serde_json::from_slice(bytes),
            _ => match part.value()? {
                Value::Text(text) => serde_json::from_value(text.into()),
                #[cfg(feature = "arrow")]
                Value::Table(table) => {
                    let rows = table.to_rows().map_err(|error| wrong(handle, "rows", &error.to_string()))?;
                    serde_json::from_value(rows.into_vec().into())
                }
                _ => return Err(wrong(handle, "a typed value", "it is bytes; read it with `bytes`")),
            },
        };
        read.map_err(|error| wrong(handle, std::any::type_name::<T>(), &error.to_string()))
    }

    /// The text of the first payload of this name
    ///
    /// # Errors
    /// As [`Incoming::value`]; [`Error::WrongType`] when it is no text.
    pub fn text(&self, name: &str) -> Result<String, Error> {
        match self.value(name)? {
            Value::Text(text) => Ok(text),
            _ => Err(wrong(self.payload(name)?, "text", "its type is another")),
        }
    }

    /// The Arrow table of the first payload of this name
    ///
    /// # Errors
    /// As [`Incoming::value`]; [`Error::WrongType`] when it is no arrowtable.
    #[cfg(feature = "arrow")]
    pub fn table(&self, name: &str) -> Result<natsbridge_core::Table, Error> {
        match self.value(name)? {
            Value::Table(table) => Ok(table),
            _ => Err(wrong(self.payload(name)?, "an Arrow table", "its type is another")),
        }
    }

    /// The serialised bytes of the first payload of this name, whatever its type
    ///
    /// # Errors
    /// [`Error::NoSuchPayload`]; [`Error::WrongType`] for a link that was not downloaded.
    pub fn bytes(&self, name: &str) -> Result<Bytes, Error> {
        let handle = self.payload(name)?;
        let bytes = handle.part().and_then(Part::bytes);
        bytes.cloned().ok_or_else(|| wrong(handle, "bytes", "it is a link that was not downloaded; fetch it first"))
    }

    /// Saves every payload under a safe form of its name in `dir`; links are not held in memory
    ///
    /// # Errors
    /// As [`Handle::save`], for the first payload that can't be saved; the ones before it are there.
    pub async fn save_to(&self, dir: impl AsRef<Path> + Send) -> Result<Vec<Saved>, Error> {
        let mut saved = Vec::with_capacity(self.payloads.len());
        for handle in &self.payloads {
            saved.push(handle.save(dir.as_ref()).await?);
        }
        Ok(saved)
    }

    /// Tells the sender that the message was handled, and remembers that (specification, section 7)
    ///
    /// # Errors
    /// [`Error::NoReplySubject`] when the message names no subject for answers, and what [`Draft::send`] says.
    pub async fn ack(&self) -> Result<(), Error> {
        let ack = self.answer(Purpose::Ack)?;
        self.mark_handled();
        ack.send().await.map(drop)
    }

    /// Tells the sender that the message could not be handled, and why (specification, section 6)
    ///
    /// # Errors
    /// As [`Incoming::ack`].
    pub async fn nack(&self, code: &str, reason: &str, retryable: bool) -> Result<(), Error> {
        refusal(self.answer(Purpose::Nack)?, code, reason, retryable).send().await.map(drop)
    }

    /// Begins an answer to this message
    ///
    /// # Errors
    /// [`Error::NoReplySubject`] when the message names no subject for answers.
    pub fn reply(&self) -> Result<Draft, Error> {
        self.answer(Purpose::Chat)
    }

    /// A repeat of this message is acknowledged from now on, and not handed out again
    pub(crate) fn mark_handled(&self) {
        if let Some(claim) = &self.claim {
            claim.handled();
        }
    }

    fn answer(&self, purpose: Purpose) -> Result<Draft, Error> {
        answer(&self.bridge, &self.header, self.reply.as_ref(), purpose)
    }
}

/// An answer to the message with this header, sent where it asks for one, or to the NATS reply subject
fn answer(bridge: &Bridge, header: &Header, reply: Option<&Subject>, purpose: Purpose) -> Result<Draft, Error> {
    let to = match (header.reply_to(), reply) {
        // A stranger's `reply_to` must not make this program speak to the server's own subjects.
        (reply_to, _) if reply_to.starts_with('$') => {
            return Err(Error::NoReplySubject { msg_id: header.msg_id().to_owned() });
        }
        ("", None) => return Err(Error::NoReplySubject { msg_id: header.msg_id().to_owned() }),
        ("", Some(reply)) => reply.as_str(),
        (reply_to, _) => reply_to,
    };
    let draft = bridge.message(to).answering().purpose(purpose).correlation_id(header.correlation_id());
    let draft = draft.reply_to_msg_id(header.msg_id());
    Ok(draft.receiver_name(header.sender_name()).receiver_id(header.sender_id()))
}

/// A refusal with its reason (specification, section 6)
fn refusal(answer: Draft, code: &str, reason: &str, retryable: bool) -> Draft {
    let metadata = [("code", json!(code)), ("reason", json!(reason)), ("retryable", json!(retryable))];
    answer.metadata(metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

impl Bridge {
    /// Tells the sender of a message that could not be read why, with the error's code (specification, section 6)
    ///
    /// # Errors
    /// [`Error::NoReplySubject`] when the message names no subject for answers, or is no envelope at all; and what
    /// [`Draft::send`] says.
    pub async fn nack(&self, unread: &ReceiveError) -> Result<(), Error> {
        let Some(header) = &unread.header else { return Err(Error::NoReplySubject { msg_id: String::new() }) };
        let answer = answer(self, header, unread.reply.as_ref(), Purpose::Nack)?;
        let error = &unread.error;
        refusal(answer, error.code(), &error.to_string(), error.is_retryable()).send().await.map(drop)
    }
}

fn wrong(handle: &Handle, wanted: &'static str, reason: &str) -> Error {
    Error::WrongType {
        dataname: handle.name().to_owned(),
        payload_type: handle.payload_type(),
        wanted,
        reason: reason.to_owned(),
    }
}
