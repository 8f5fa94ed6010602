//! The connection itself: its server, its number, and how far the server has processed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::error::{BrokerError, BrokerErrorKind};
use crate::nats::connect::Connected;
use crate::nats::failure::deepest;
use crate::nats::inbox::Inbox;
use crate::nats::signals::Signals;
use crate::nats::token::Token;
use crate::options::ConnectOptions;
use crate::subject::Subject;

/// What a broker and its subscriptions share; it lives as long as one of them
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: async_nats::Client,
    pub(crate) signals: Arc<Signals>,
    statistics: Arc<async_nats::Statistics>,
    addresses: Vec<Address>,
    inbox_root: String,
    inbox_prefix: String,
    inbox: OnceCell<Inbox>,
    confirm_timeout: Duration,
    /// Whether a silent connection can be replaced before async-nats does it by itself
    replaceable: bool,
    probing: AtomicBool,
    watching: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Connection {
    pub(crate) fn new(connected: Connected, signals: Arc<Signals>, options: &ConnectOptions) -> Self {
        let Connected { client, addresses } = connected;
        let inbox_root = options.inbox_prefix.as_ref().map_or("_INBOX", Subject::as_str).to_owned();
        let inbox_prefix = new_inbox(&inbox_root);
        signals.own_inbox(inbox_prefix.clone());
        let statistics = client.statistics();
        // async-nats says goodbye first, which TLS and WebSocket write into a connection that may take nothing more.
        let replaceable = !options.requires_tls() && addresses.iter().all(Address::is_plain);
        let watching = tokio::spawn(watch(Arc::clone(&statistics), Arc::clone(&signals), options.ping_interval));
        Self {
            client,
            signals,
            statistics,
            addresses,
            inbox_root,
            inbox_prefix,
            inbox: OnceCell::new(),
            confirm_timeout: options.confirm_timeout,
            replaceable,
            probing: AtomicBool::new(false),
            watching,
        }
    }

    /// A subject that nobody else can guess
    pub(crate) fn new_inbox(&self) -> String {
        new_inbox(&self.inbox_root)
    }

    /// The number of the connection that will carry what is handed over now, counted from 1
    ///
    /// async-nats reads nothing from its queue while it connects, so the next one carries what is handed over then.
    pub(crate) fn number(&self) -> u64 {
        let made = self.statistics.connects.load(Ordering::Acquire);
        match self.client.connection_state() {
            State::Disconnected => made + 1,
            State::Pending | State::Connected => made,
        }
    }

    /// The inbox for the replies to requests
    pub(crate) async fn inbox(&self) -> Result<&Inbox, BrokerError> {
        let inbox = self.opened_inbox().await?;
        if self.signals.is_inbox_denied() { Err(self.inbox_denied()) } else { Ok(inbox) }
    }

    /// Why no reply can arrive where the server refuses the inbox
    pub(crate) fn inbox_denied(&self) -> BrokerError {
        Inbox::denied(&self.inbox_root)
    }

    async fn opened_inbox(&self) -> Result<&Inbox, BrokerError> {
        let open = || Inbox::open(&self.client, self.inbox_prefix.clone(), self.signals.clone());
        self.inbox.get_or_try_init(open).await
    }

    /// Returns once the server has processed everything handed over before on connection `sent_on`
    ///
    /// A message to ourselves goes behind the others and comes back: the server handles one connection's lines in order.
    /// (The client's `flush` only reaches the operating system, and a request without responders gets its 503 only
    /// while nobody subscribes to `>`.)
    ///
    /// When nothing comes back in time, and nothing else came either, the network has forgotten the connection, and the
    /// client reconnects.
    pub(crate) async fn barrier(&self, sent_on: u64) -> Result<(), BrokerError> {
        self.barrier_within(self.confirm_timeout, sent_on).await
    }

    async fn barrier_within(&self, timeout: Duration, sent_on: u64) -> Result<(), BrokerError> {
        let received = self.bytes_received();
        match tokio::time::timeout(timeout, self.echo(sent_on)).await {
            Ok(result) => result,
            Err(_) => {
                if self.number() == sent_on && self.bytes_received() == received {
                    self.replace().await;
                }
                let message = format!(
                    "the server {} did not confirm within {timeout:?}, so what was published may be lost; publish it again, \
                     or check the connection",
                    self.server_url()
                );
                Err(BrokerError::new(BrokerErrorKind::TimedOut, message))
            }
        }
    }

    /// Finds out whether the connection is alive; several calls at once ask once
    pub(crate) async fn probe(&self, patience: Duration) {
        if self.client.connection_state() != State::Connected || self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        // Events tell the result.
        let _ = self.barrier_within(patience.min(self.confirm_timeout), self.number()).await;
        self.probing.store(false, Ordering::Release);
    }

    fn bytes_received(&self) -> u64 {
        self.statistics.in_bytes.load(Ordering::Relaxed)
    }

    async fn replace(&self) {
        if self.replaceable && !self.client.server_info().tls_required {
            self.signals.breaks.given_up_as_silent();
            // Waits where async-nats's queue is full, which it reads only after it has reconnected; the pings find out too.
            let _ = tokio::time::timeout(self.confirm_timeout, self.client.force_reconnect()).await;
        }
    }

    /// Returns once the connection is down
    pub(crate) async fn down(&self) {
        let mut changes = self.signals.changes();
        while self.client.connection_state() == State::Connected
            && self.signals.is_up()
            && changes.changed().await.is_ok()
        {}
    }

    async fn echo(&self, sent_on: u64) -> Result<(), BrokerError> {
        let (number, token, subject) = self.opened_inbox().await?.echo();
        let _awaited = self.signals.await_echo(number, token);
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
                // No message to ourselves can arrive, but the refusal of a subscription does, names its subject, and proves
                // as much. If it is allowed in the meantime, the message behind it arrives.
                let subscriber = self.client.subscribe(subject.clone()).await;
                without_inbox = Some(subscriber.map_err(|error| BrokerError::closed().with_source(deepest(&error)))?);
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
        published.map_err(|error| BrokerError::closed().with_source(deepest(&error)))
    }

    pub(crate) fn server_url(&self) -> String {
        let info = self.client.server_info();
        let here = self.addresses.iter().find(|address| address.is_at(&info.host, info.port));
        let here = here.or_else(|| self.addresses.iter().find(|address| address.has_port(info.port)));
        here.or_else(|| self.addresses.first()).map_or_else(String::new, |address| address.as_str().to_owned())
    }
}

/// Notes at every interval whether something has come, so that the break of a silent connection gets its cause
async fn watch(statistics: Arc<async_nats::Statistics>, signals: Arc<Signals>, interval: Duration) {
    let mut last = 0;
    while !signals.is_closed() {
        let now = statistics.in_bytes.load(Ordering::Relaxed);
        if now != last {
            signals.breaks.received(interval);
            last = now;
        }
        // Twice as often as the client pings, so that no pong is overlooked.
        tokio::time::sleep(interval / 2).await;
    }
}

/// Not by async-nats, whose inboxes can be guessed from one another where a program enables its feature `nuid`
fn new_inbox(root: &str) -> String {
    format!("{root}.{}", Token::draw())
}
