//! Knows the connection itself: where it leads, which one it is by number, and how far the server has come with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::OnceCell;

use crate::address::Address;
use crate::error::{BrokerError, BrokerErrorKind};
use crate::nats::connect::Connected;
use crate::nats::inbox::Inbox;
use crate::nats::signals::Signals;

/// What a broker and its subscriptions share: it lives as long as one of them.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: async_nats::Client,
    pub(crate) signals: Arc<Signals>,
    statistics: Arc<async_nats::Statistics>,
    addresses: Vec<Address>,
    inbox_prefix: String,
    inbox: OnceCell<Inbox>,
    confirm_timeout: Duration,
}

impl Connection {
    pub(crate) fn new(connected: Connected, signals: Arc<Signals>, confirm_timeout: Duration) -> Self {
        let Connected { client, addresses } = connected;
        let inbox_prefix = client.new_inbox();
        signals.own_inbox(inbox_prefix.clone());
        let statistics = client.statistics();
        Self { client, signals, statistics, addresses, inbox_prefix, inbox: OnceCell::new(), confirm_timeout }
    }

    /// The number of the connection on which something handed over now will travel, counted from 1.
    ///
    /// async-nats reads nothing from its queue while it connects, so what is handed over then travels on the next one.
    pub(crate) fn number(&self) -> u64 {
        let made = self.statistics.connects.load(Ordering::Acquire);
        match self.client.connection_state() {
            State::Disconnected => made + 1,
            State::Pending | State::Connected => made,
        }
    }

    /// Where answers to requests arrive.
    pub(crate) async fn inbox(&self) -> Result<&Inbox, BrokerError> {
        let inbox = self.opened_inbox().await?;
        if self.signals.is_inbox_denied() { Err(Inbox::denied()) } else { Ok(inbox) }
    }

    async fn opened_inbox(&self) -> Result<&Inbox, BrokerError> {
        let open = || Inbox::open(&self.client, self.inbox_prefix.clone(), self.signals.clone());
        self.inbox.get_or_try_init(open).await
    }

    /// Returns once the server has processed everything handed over before on connection `sent_on`.
    ///
    /// A message to ourselves goes behind the others and comes back: the server handles one connection's lines in order.
    /// (The client's `flush` only reaches the operating system, and a request without responders gets its 503 only as
    /// long as nobody listens to `>`.)
    pub(crate) async fn barrier(&self, sent_on: u64) -> Result<(), BrokerError> {
        let timeout = self.confirm_timeout;
        match tokio::time::timeout(timeout, self.echo(sent_on)).await {
            Ok(result) => result,
            Err(_) => {
                let message = format!(
                    "the server {} did not confirm within {timeout:?}, so what was published may be lost; publish it again, \
                     or check the connection",
                    self.server_url()
                );
                Err(BrokerError::new(BrokerErrorKind::TimedOut, message))
            }
        }
    }

    async fn echo(&self, sent_on: u64) -> Result<(), BrokerError> {
        let (number, subject) = self.opened_inbox().await?.echo();
        let mut changes = self.signals.changes();
        if !self.signals.is_inbox_denied() {
            self.publish_empty(subject.clone()).await?;
        }
        let mut without_inbox = None;
        loop {
            if self.statistics.connects.load(Ordering::Acquire) > sent_on {
                let message = "the connection was replaced before the server confirmed, so what was published may be \
                               lost; publish it again";
                return Err(BrokerError::new(BrokerErrorKind::ConnectionLost, message));
            }
            if self.signals.echoed() >= number {
                return Ok(());
            }
            if self.signals.is_closed() {
                return Err(BrokerError::closed());
            }
            if self.signals.is_inbox_denied() && without_inbox.is_none() {
                // No message to ourselves can arrive, but the refusal of a subscription does, and names its subject:
                // it proves as much. Should it be allowed in the meantime, the message behind it arrives.
                let subscriber = self.client.subscribe(subject.clone()).await;
                without_inbox = Some(subscriber.map_err(|error| BrokerError::closed().with_source(error))?);
                self.publish_empty(subject.clone()).await?;
            }
            let arrived = async {
                match &mut without_inbox {
                    Some(subscriber) => subscriber.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| BrokerError::closed())?,
                message = arrived => match message {
                    Some(_) => self.signals.echo(number),
                    None => return Err(BrokerError::closed()),
                },
            }
        }
    }

    async fn publish_empty(&self, subject: String) -> Result<(), BrokerError> {
        let published = self.client.publish(subject, Bytes::new()).await;
        published.map_err(|error| BrokerError::closed().with_source(error))
    }

    pub(crate) fn server_url(&self) -> String {
        let info = self.client.server_info();
        let here = self.addresses.iter().find(|address| address.is_at(&info.host, info.port));
        let here = here.or_else(|| self.addresses.iter().find(|address| address.has_port(info.port)));
        here.or_else(|| self.addresses.first()).map_or_else(String::new, |address| address.as_str().to_owned())
    }
}
