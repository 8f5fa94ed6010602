//! The bridge: a connection to NATS, a file server and this program's name, for people who want the whole job done.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use natsbridge_core::{Envelope, Limits, OutboundMessage, Purpose, Sender};
use natsbridge_fileserver::{Downloader, Uploader};
use natsbridge_nats::{
    Broker, BrokerErrorKind, EventStream, Publish, QueueGroup, RawMessage, Subject, SubjectError, SubjectFilter,
};

use crate::builder::MessageBuilder;
use crate::config::Config;
use crate::deliver::{self, DeliverOptions, Delivered, Replies};
use crate::progress::ProgressHook;
use crate::send::{self, Encoded, Sending, SharedMemory};
use crate::sequence::{SubjectState, Subjects};
use crate::setters::getters;
use crate::stores::{self, LateFetcher};
use crate::subscriber::Subscriber;
use crate::subscriber::message::Message;
use crate::{Error, observe};

/// Sends and receives messages over one NATS connection; payloads too large for NATS go through a file server
///
/// Clones share the connection. It is core NATS: JetStream is not needed.
///
/// # Examples
/// ```
/// use natsbridge::{Bridge, Config, MemoryBroker, PayloadType};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// // `Bridge::connect(Config::from_env()?)` connects to a server; tests need none:
/// let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
/// let mut messages = bridge.subscribe("lab.>").await?;
///
/// bridge.message("lab.results").text("note", "run 7").binary("raw", vec![1, 2, 3]).send().await?;
///
/// let message = messages.next().await.expect("the subscription goes on")?;
/// assert_eq!(message.text("note")?, "run 7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bridge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    broker: Arc<dyn Broker>,
    config: Config,
    sender: Sender,
    sender_id: String,
    broker_url: String,
    uploader: OnceLock<Arc<dyn Uploader>>,
    downloader: Arc<dyn Downloader>,
    subjects: Subjects,
    memory: SharedMemory,
    replies: Replies,
}

impl Bridge {
    /// Connects to NATS; the file server is spoken to when the first large payload needs it
    ///
    /// # Errors
    /// [`Error::Broker`] when no server responds in time, naming the URL without its secrets; [`Error::Config`] when a
    /// setting can't be used.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        Self::with_broker(config.nats.clone().connect().await?, config)
    }

    /// Uses a connection of the program's own, or a [`MemoryBroker`](crate::MemoryBroker) in tests
    ///
    /// # Errors
    /// [`Error::Config`] when a setting can't be used.
    pub fn with_broker<B: Broker + 'static>(broker: B, config: Config) -> Result<Self, Error> {
        let downloader = match &config.downloader {
            Some(downloader) => Arc::clone(downloader),
            None => Arc::new(LateFetcher::new(stores::fetcher_of(&config)?)),
        };
        let downloader = match &config.progress {
            Some(hook) => hook.downloader(downloader),
            None => downloader,
        };
        let broker_url = broker.server_url();
        let sender_id = config.identity()?;
        let sender = Sender::default().name(config.sender_name.clone()).id(sender_id.as_str()).broker_url(&broker_url);
        Ok(Self(Arc::new(Inner {
            broker: Arc::new(broker),
            sender,
            sender_id,
            broker_url,
            uploader: config.uploader.clone().map_or_else(OnceLock::new, OnceLock::from),
            downloader,
            subjects: Subjects::new(),
            memory: SharedMemory::default(),
            replies: Replies::default(),
            config,
        })))
    }

    /// Starts a message to one subject
    ///
    /// Add payloads, then end with [`send`](MessageBuilder::send), [`deliver`](MessageBuilder::deliver) or
    /// [`request`](MessageBuilder::request).
    pub fn message(&self, subject: impl Into<String>) -> MessageBuilder {
        MessageBuilder::new(self.clone(), Box::new(OutboundMessage::new(subject.into())))
    }

    /// Starts a message that reports this program's state (purpose `updateStatus`)
    pub fn status_update(&self, subject: impl Into<String>) -> MessageBuilder {
        self.message(subject).purpose(Purpose::UpdateStatus)
    }

    /// Starts a message that asks the subscribers of a subject to stop (purpose `shutdown`)
    ///
    /// A [`Service`](crate::Service) stops and acknowledges if
    /// [`ServeOptions::stop_when_asked`](crate::ServeOptions::stop_when_asked) was set; other programs read
    /// [`Message::purpose`].
    pub fn shutdown_request(&self, subject: impl Into<String>) -> MessageBuilder {
        self.message(subject).purpose(Purpose::Shutdown)
    }

    /// Subscribes to a subject; `*` matches one token, `>` one or more trailing tokens
    ///
    /// # Errors
    /// [`Error::Subject`] for a subject that NATS would refuse, [`Error::Broker`] when the server refuses the subscription.
    pub async fn subscribe(&self, filter: &str) -> Result<Subscriber, Error> {
        self.subscription(filter, None).await
    }

    /// Subscribes as a member of a queue group; each message goes to one member
    ///
    /// # Errors
    /// As [`Bridge::subscribe`], and [`Error::Subject`] for a group that NATS would refuse.
    pub async fn queue_subscribe(&self, filter: &str, group: &str) -> Result<Subscriber, Error> {
        self.subscription(filter, Some(QueueGroup::new(group)?)).await
    }

    async fn subscription(&self, filter: &str, group: Option<QueueGroup>) -> Result<Subscriber, Error> {
        let filter = SubjectFilter::new(filter)?;
        let alone = group.is_none();
        let subscription = self.0.broker.subscribe(filter, group).await?;
        Ok(Subscriber::new(self.clone(), subscription, alone))
    }

    /// Waits until the server has processed everything published before
    ///
    /// # Errors
    /// [`Error::Broker`] when the server does not respond in time, or the connection was lost in between.
    pub async fn confirm(&self) -> Result<(), Error> {
        Ok(self.0.broker.confirm().await?)
    }

    /// Drains the connection: unsubscribes, lets buffered messages be read, flushes, closes
    ///
    /// # Errors
    /// [`Error::Broker`] when the last publishes could not be confirmed; it is closed all the same.
    pub async fn drain(&self) -> Result<(), Error> {
        Ok(self.0.broker.drain().await?)
    }

    getters! {
        /// Returns a stream of connection events, starting now
        fn events(&self) -> EventStream { self.0.broker.events() }

        /// This program's identifier, which is in every message it sends
        fn sender_id(&self) -> &str { &self.0.sender_id }

        /// The server's URL, without secrets
        fn broker_url(&self) -> &str { &self.0.broker_url }

        /// The limits in force: the configured ones, with what the connected server takes
        fn limits(&self) -> Limits { self.0.config.limits.max_message_size(self.0.broker.max_payload()) }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn downloader(&self) -> &Arc<dyn Downloader> {
        &self.0.downloader
    }

    /// The subject that a message goes to
    pub(crate) fn subject(&self, message: &OutboundMessage, is_reply: bool) -> Result<Arc<SubjectState>, SubjectError> {
        self.0.subjects.get_or_insert(message, is_reply)
    }

    /// What turns messages to this subject into what is published
    pub(crate) fn sending<'a>(
        &'a self,
        limits: &'a Limits,
        subject: &'a SubjectState,
        progress: Option<&'a ProgressHook>,
    ) -> Sending<'a> {
        let Inner { sender, config, uploader, memory, .. } = &*self.0;
        let (subject, memory) = (Some(subject), Some(memory));
        Sending { sender, config, limits, uploader, progress, subject, memory, deadline: None }
    }

    /// Publishes a message; when that fails, what it uploaded is deleted
    pub(crate) async fn publish(
        &self,
        sending: &Sending<'_>,
        subject: &Subject,
        mut encoded: Encoded,
        confirmed: bool,
    ) -> Result<Envelope, Error> {
        match self.publish_once(subject, &mut encoded, confirmed).await {
            Ok(()) => Ok(encoded.envelope),
            // In a box: most messages fit, and their future stays small.
            Err(error) => Box::pin(self.publish_again(sending, subject, encoded, confirmed, error)).await,
        }
    }

    /// Hands the message over; when that fails, what it uploaded is deleted, or kept if the message can be planned again
    async fn publish_once(&self, subject: &Subject, encoded: &mut Encoded, confirmed: bool) -> Result<(), Error> {
        let outgoing = Publish::new(subject.clone(), std::mem::take(&mut encoded.json));
        let (published, uploads) = if confirmed {
            // From here on a receiver may read the links, also when this future is dropped.
            let uploads = encoded.uploads.publish();
            (self.0.broker.publish_confirmed(outgoing).await, uploads)
        } else {
            // Whoever awaits a reply notices its loss.
            let is_reply = !encoded.envelope.header().reply_to_msg_id().is_empty();
            let published = if is_reply {
                self.0.broker.publish_acknowledged(outgoing).await
            } else {
                self.0.broker.publish(outgoing).await
            };
            (published, encoded.uploads.publish())
        };
        match published {
            Ok(()) => {
                observe::sent(&encoded.envelope);
                Ok(())
            }
            Err(error) if send::is_too_large(&error) => {
                encoded.uploads = uploads.take_back();
                Err(error.into())
            }
            Err(error) => {
                uploads.publish_failed(send::is_maybe_delivered(&error)).await;
                Err(error.into())
            }
        }
    }

    /// Publishes a message again, as long as the broker takes less than when it was planned
    async fn publish_again(
        &self,
        sending: &Sending<'_>,
        subject: &Subject,
        mut encoded: Encoded,
        confirmed: bool,
        mut error: Error,
    ) -> Result<Envelope, Error> {
        for _ in 1..PLANS {
            if !matches!(&error, Error::Broker(error) if send::is_too_large(error)) {
                break;
            }
            let again = match sending.encode_again(&mut encoded, self.0.broker.max_payload()).await {
                Ok(()) => self.publish_once(subject, &mut encoded, confirmed).await,
                Err(error) => Err(error),
            };
            match again {
                Ok(()) => return Ok(encoded.envelope),
                Err(again) => error = again,
            }
        }
        encoded.uploads.delete().await;
        Err(error)
    }

    /// The subject where this bridge awaits acknowledgements
    pub(crate) async fn reply_inbox(&self) -> Result<&Subject, Error> {
        self.0.replies.inbox(self.0.broker.as_ref()).await
    }

    /// Publishes a message until it is acknowledged
    pub(crate) async fn deliver(
        &self,
        sending: &Sending<'_>,
        subject: &Subject,
        encoded: Encoded,
        options: &DeliverOptions,
    ) -> Result<Delivered, Error> {
        deliver::deliver(self.0.broker.as_ref(), &self.0.replies, sending, subject, encoded, options).await
    }

    /// Publishes a message and reads the reply; when that fails, what it uploaded is deleted, unless it may be delivered
    pub(crate) async fn request(
        &self,
        sending: &Sending<'_>,
        subject: &Subject,
        mut encoded: Encoded,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let mut plans = 1;
        loop {
            let outgoing = Publish::new(subject.clone(), std::mem::take(&mut encoded.json));
            // From here on a receiver may read the links, also when this future is dropped.
            let uploads = encoded.uploads.publish();
            let error = match self.0.broker.request(outgoing, timeout).await {
                Ok(reply) => {
                    observe::sent(&encoded.envelope);
                    return self.read_reply(reply, subject).await;
                }
                Err(error) => error,
            };
            if matches!(error.kind(), BrokerErrorKind::NoResponders | BrokerErrorKind::TimedOut) {
                // It was sent, and nobody replied.
                observe::sent(&encoded.envelope);
            }
            if !send::is_too_large(&error) || plans == PLANS {
                uploads.publish_failed(send::is_maybe_delivered(&error)).await;
                return Err(error.into());
            }
            plans += 1;
            encoded.uploads = uploads.take_back();
            if let Err(error) = sending.encode_again(&mut encoded, self.0.broker.max_payload()).await {
                encoded.uploads.delete().await;
                return Err(error);
            }
        }
    }

    async fn read_reply(&self, reply: RawMessage, subject: &Subject) -> Result<Message, Error> {
        let message = Message::open(self, reply)?;
        if message.header().msg_purpose() == Purpose::Nack {
            let refused = deliver::refused(message.header());
            return Err(refused.unreadable(subject.as_str(), Some(message.header()), None));
        }
        message.fetch().await?;
        Ok(message)
    }
}

/// How often a message is planned at most, where the broker takes less each time
const PLANS: u32 = 4;
