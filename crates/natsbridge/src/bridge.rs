//! The bridge: a connection to NATS, a file server and this program's name, for people who want the whole job done.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use natsbridge_core::{Limits, OutboundMessage, Purpose, Sender};
use natsbridge_fileserver::{Downloader, Fetcher, Uploader};
use natsbridge_nats::{
    Broker, BrokerError, BrokerErrorKind, EventStream, NatsBroker, Publish, QueueGroup, Subject, SubjectError,
    SubjectFilter,
};

use crate::builder::MessageBuilder;
use crate::config::Config;
use crate::deliver::{self, Answers};
use crate::error::Boxed;
use crate::perform::{Sealed, Sealer};
use crate::sequence::{Counted, Counter};
use crate::subscriber::Subscriber;
use crate::subscriber::message::Message;
use crate::{Error, observe, smart};

/// Sends and receives messages over one connection; clones share it
///
/// # Examples
/// ```
/// use natsbridge::{Bridge, Config, MemoryBroker, PayloadType};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// // `Bridge::connect(Config::from_env()?)` connects to a server; tests need none:
/// let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default())?;
/// let mut inbox = bridge.subscribe("lab.>").await?;
///
/// bridge.message("lab.results").text("note", "run 7").binary("raw", vec![1, 2, 3]).send().await?;
///
/// let message = inbox.next().await.expect("the subscription stands")?;
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
    /// The same, where it is a connection: what every message goes through takes no box there
    nats: Option<Arc<NatsBroker>>,
    config: Config,
    sender: Sender,
    sender_id: String,
    broker_url: String,
    uploader: OnceLock<Arc<dyn Uploader>>,
    downloader: Arc<dyn Downloader>,
    counter: Counter,
    /// Of small messages on their way to the broker
    memory: Mutex<BytesMut>,
    answers: Answers,
}

impl Bridge {
    /// Connects to NATS; the file server is spoken to when the first large payload needs it
    ///
    /// # Errors
    /// [`Error::Broker`] when no server answers in time, naming the URL without its secrets; [`Error::Config`] when a
    /// setting can't be used.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let nats = Arc::new(config.nats.clone().connect().await?);
        let broker: Arc<dyn Broker> = Arc::<NatsBroker>::clone(&nats);
        Self::new(broker, Some(nats), config)
    }

    /// Uses a connection of the program's own, or a [`MemoryBroker`](crate::MemoryBroker) in tests
    ///
    /// # Errors
    /// [`Error::Config`] when a setting can't be used.
    pub fn with_broker<B: Broker + 'static>(broker: B, config: Config) -> Result<Self, Error> {
        Self::new(Arc::new(broker), None, config)
    }

    fn new(broker: Arc<dyn Broker>, nats: Option<Arc<NatsBroker>>, config: Config) -> Result<Self, Error> {
        let downloader = match &config.downloader {
            Some(downloader) => Arc::clone(downloader),
            None => smart::fetcher(
                Fetcher::builder()
                    .retry(config.retry)
                    .max_payload_size(config.checks.max_payload_size)
                    .root_certificates(config.fileserver_ca.clone()),
                config.uploader.as_deref(),
                config.uploader.is_none().then_some(&config.fileserver_url),
                &config.allowed_origins,
            )?,
        };
        let downloader = match &config.progress {
            Some(hook) => hook.downloader(downloader),
            None => downloader,
        };
        let broker_url = broker.server_url();
        let sender_id = config.identity()?;
        let sender = Sender::default().name(config.sender_name.clone()).id(sender_id.as_str()).broker_url(&broker_url);
        Ok(Self(Arc::new(Inner {
            broker,
            nats,
            sender,
            sender_id,
            broker_url,
            uploader: config.uploader.clone().map_or_else(OnceLock::new, OnceLock::from),
            downloader,
            counter: Counter::new(),
            memory: Mutex::default(),
            answers: Answers::default(),
            config,
        })))
    }

    /// Begins a message to a subject
    pub fn message(&self, subject: impl Into<String>) -> MessageBuilder {
        // Written where it stays: a copy would wait for what was written just before.
        MessageBuilder::new(self.clone(), Box::write(Box::new_uninit(), OutboundMessage::new(subject.into())))
    }

    /// Begins news about this program's state, for whoever watches the subject (purpose `updateStatus`)
    pub fn status_update(&self, subject: impl Into<String>) -> MessageBuilder {
        self.message(subject).purpose(Purpose::UpdateStatus)
    }

    /// Begins a message that asks the programs at a subject to stop (purpose `shutdown`)
    ///
    /// A [`Service`](crate::Service) does so where [`ServeOptions::stop_when_asked`](crate::ServeOptions::stop_when_asked)
    /// was set, and acknowledges; other programs read [`Message::purpose`].
    pub fn shutdown_request(&self, subject: impl Into<String>) -> MessageBuilder {
        self.message(subject).purpose(Purpose::Shutdown)
    }

    /// Listens to a subject; `*` and `>` stand for one and for all further words
    ///
    /// # Errors
    /// [`Error::Subject`] for a subject that NATS would refuse, [`Error::Broker`] when it can't be listened to.
    pub async fn subscribe(&self, filter: &str) -> Result<Subscriber, Error> {
        self.listen(filter, None).await
    }

    /// Listens to a subject as one of a group, of which each message reaches one member
    ///
    /// # Errors
    /// As [`Bridge::subscribe`], and [`Error::Subject`] for a group that NATS would refuse.
    pub async fn queue_subscribe(&self, filter: &str, group: &str) -> Result<Subscriber, Error> {
        self.listen(filter, Some(QueueGroup::new(group)?)).await
    }

    async fn listen(&self, filter: &str, group: Option<QueueGroup>) -> Result<Subscriber, Error> {
        let filter = SubjectFilter::new(filter)?;
        let alone = group.is_none();
        let subscription = self.0.broker.subscribe(filter, group).await?;
        Ok(Subscriber::new(self.clone(), subscription, alone))
    }

    /// Waits until the server has processed everything published before
    ///
    /// # Errors
    /// [`Error::Broker`] when the server does not answer in time, or the connection was lost in between.
    pub async fn confirm(&self) -> Result<(), Error> {
        Ok(self.0.broker.confirm().await?)
    }

    /// Ends in order: stops listening, lets what has arrived be read, publishes what was sent, closes
    ///
    /// # Errors
    /// [`Error::Broker`] when the last publishes could not be confirmed; it is closed all the same.
    pub async fn drain(&self) -> Result<(), Error> {
        Ok(self.0.broker.drain().await?)
    }

    /// What happens to the connection from now on
    #[must_use]
    pub fn events(&self) -> EventStream {
        self.0.broker.events()
    }

    /// This program's identifier, which is in every message it sends
    #[must_use]
    pub fn sender_id(&self) -> &str {
        &self.0.sender_id
    }

    /// The server's URL, without secrets
    #[must_use]
    pub fn broker_url(&self) -> &str {
        &self.0.broker_url
    }

    /// The limits in force: the configured ones, with what the connected server takes
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = self.0.config.limits.clone();
        limits.max_message_size = self.0.broker.max_payload();
        limits
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn downloader(&self) -> &Arc<dyn Downloader> {
        &self.0.downloader
    }

    /// The subject that a message goes to, with its count
    pub(crate) fn counted(&self, message: &OutboundMessage, answers: bool) -> Result<Arc<Counted>, SubjectError> {
        self.0.counter.counted(message, answers)
    }

    /// What seals messages within these limits
    pub(crate) fn sealer<'a>(&'a self, limits: &'a Limits, counted: Option<&'a Counted>) -> Sealer<'a> {
        let Inner { sender, config, uploader, memory, .. } = &*self.0;
        Sealer { sender, config, limits, uploader, progress: None, counted, memory: Some(memory), patience: None }
    }

    pub(crate) fn broker(&self) -> &dyn Broker {
        self.0.broker.as_ref()
    }

    pub(crate) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// Publishes a sealed message, of which the envelope stays; when that fails, what it uploaded is deleted, or stays with
    /// it where it may be planned again
    pub(crate) async fn publish(&self, subject: &Subject, sealed: &mut Sealed, confirmed: bool) -> Boxed<()> {
        let (subject, json) = (subject.clone(), std::mem::take(&mut sealed.json));
        let (published, left) = if confirmed {
            // From here on a receiver may be reading the links, also when this future is dropped.
            let left = sealed.uploads.detach();
            (self.0.broker.publish_confirmed(Publish::new(subject, json)).await, left)
        } else {
            // The loss of an answer is noticed by whoever awaits it.
            let answers = !sealed.envelope.header().reply_to_msg_id().is_empty();
            let published = match &self.0.nats {
                Some(nats) if answers => nats.publish_acknowledged_unboxed(subject, json).await,
                Some(nats) => nats.publish_unboxed(subject, json).await,
                None => self.0.broker.publish(Publish::new(subject, json)).await,
            };
            (published, sealed.uploads.detach())
        };
        if let Err(error) = published {
            if is_too_large(&error) {
                sealed.uploads = left.attach();
            } else {
                left.end(may_have_left(&error)).await;
            }
            return Err(error.into());
        }
        observe::sent(&sealed.envelope);
        Ok(())
    }

    /// The subject where this bridge awaits acknowledgements
    pub(crate) async fn answers_inbox(&self) -> Result<&Subject, Error> {
        self.0.answers.inbox(self.0.broker.as_ref()).await
    }

    /// Publishes a sealed message and reads the answer to it
    pub(crate) async fn request(
        &self,
        subject: &Subject,
        sealed: &mut Sealed,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let outgoing = Publish::new(subject.clone(), std::mem::take(&mut sealed.json));
        // From here on a receiver may be reading the links, also when this future is dropped.
        let left = sealed.uploads.detach();
        match self.0.broker.request(outgoing, timeout).await {
            Ok(answer) => {
                observe::sent(&sealed.envelope);
                let incoming = Message::open(self, answer)?;
                if incoming.header().msg_purpose() == Purpose::Nack {
                    let refused = deliver::refused(incoming.header());
                    return Err(refused.unreadable(subject.as_str(), Some(incoming.header()), None));
                }
                incoming.fetch().await?;
                Ok(incoming)
            }
            Err(error) => {
                if matches!(error.kind(), BrokerErrorKind::NoResponders | BrokerErrorKind::TimedOut) {
                    // It was sent, and nobody answered.
                    observe::sent(&sealed.envelope);
                }
                if is_too_large(&error) {
                    sealed.uploads = left.attach();
                } else {
                    left.end(may_have_left(&error)).await;
                }
                Err(error.into())
            }
        }
    }
}

/// Whether the broker takes less than the message has: it may take less than it did when the message was planned
pub(crate) fn is_too_large(error: &BrokerError) -> bool {
    matches!(error.kind(), BrokerErrorKind::TooLarge)
}

/// Whether a message may be on its way in spite of this error, so that its links have to stay
fn may_have_left(error: &BrokerError) -> bool {
    matches!(error.kind(), BrokerErrorKind::TimedOut | BrokerErrorKind::ConnectionLost)
}

#[cfg(test)]
mod tests {
    use natsbridge_nats::MemoryBroker;

    use super::*;

    #[tokio::test]
    async fn messages_to_a_subject_share_a_letterhead() {
        let bridge = Bridge::with_broker(MemoryBroker::new(), Config::default()).unwrap();
        let letterhead =
            || format!("{:?}", bridge.counted(&OutboundMessage::new("lab.results"), false).unwrap().letterhead);
        assert!(!letterhead().contains("lab.results"));
        bridge.message("lab.results").text("note", "run 7").send().await.unwrap();
        assert!(letterhead().contains("lab.results"), "{}", letterhead());
    }
}
