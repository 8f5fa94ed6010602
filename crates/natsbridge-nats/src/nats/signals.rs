//! Turns what async-nats reports into events, metrics and the facts that confirmations need.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::event::{Event, EventHub};
use crate::harmless::harmless;
use crate::nats::breaks::{Break, Breaks, LASTING};
use crate::nats::episodes::Episodes;
use crate::nats::token::Token;
use crate::observe;

/// The target of log lines about the connection itself, so that programs that report it themselves can leave them out
const CONNECTION: &str = "natsbridge_nats::connection";

/// How many refusals of the server are kept for the calls that look for theirs
const REFUSALS: usize = 64;

/// What the connection has reported so far
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) hub: Arc<EventHub>,
    pub(crate) breaks: Arc<Breaks>,
    episodes: Arc<Episodes>,
    /// Set at the first connect; the reconnect delays need it, too
    connected_once: AtomicBool,
    up: AtomicBool,
    closed: AtomicBool,
    /// Notifies waiting confirmations and requests that they have to look again
    changes: watch::Sender<()>,
    inbox: OnceLock<String>,
    inbox_denied: AtomicBool,
    /// The latest message to ourselves that came back
    echoed: AtomicU64,
    /// The messages to ourselves that are on their way
    awaited: Mutex<HashMap<u64, Token>>,
    refusals: Mutex<Refusals>,
    subscriptions: Mutex<Vec<Open>>,
}

/// An open subscription
#[derive(Debug)]
struct Open {
    filter: String,
    queue: Option<String>,
    refused: oneshot::Sender<String>,
    interruptions: Arc<AtomicU64>,
}

impl Open {
    /// Whether the server's refusal is about this subscription; a permission that is withdrawn is told without the group
    fn is_meant_by(&self, text: &str) -> bool {
        let Some((_, rest)) = text.split_once(&format!("Subscription to \"{}\"", self.filter)) else { return false };
        match (&self.queue, rest.split_once("using queue \"")) {
            (_, None) => rest.contains("(sid") || self.queue.is_none(),
            (Some(ours), Some((_, theirs))) => theirs.split('"').next() == Some(ours.as_str()),
            (None, Some(_)) => false,
        }
    }
}

#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    recent: VecDeque<(u64, String)>,
}

impl Signals {
    pub(crate) fn take(&self, event: async_nats::Event) {
        match event {
            async_nats::Event::Connected => self.connected(),
            async_nats::Event::Disconnected => {
                self.down();
                self.begin_break();
                self.hub.send(&Event::Disconnected);
            }
            async_nats::Event::LameDuckMode => self.hub.send(&Event::LameDuck),
            async_nats::Event::Closed => self.close(),
            async_nats::Event::ClientError(error) => {
                self.breaks.attempt_failed();
                self.hub.send(&Event::ReconnectFailed(harmless(&error.to_string())));
            }
            async_nats::Event::ServerError(error) => self.server_error(&error.to_string()),
            // A drain is our own doing. Slow consumers cannot happen: our queues are behind unbounded ones.
            async_nats::Event::Draining | async_nats::Event::SlowConsumer(_) => {}
        }
        self.changes.send_replace(());
    }

    fn connected(&self) {
        if self.connected_once.swap(true, Ordering::Relaxed) {
            observe::reconnected();
        }
        // The inbox is asked for again; the permission may have come in the meantime.
        self.inbox_denied.store(false, Ordering::Release);
        if !self.up.swap(true, Ordering::Relaxed) {
            observe::connected();
        }
        self.hub.send(&Event::Connected);
        if let Some(ended) = self.breaks.end() {
            self.end_break(ended);
        }
    }

    fn down(&self) {
        if self.up.swap(false, Ordering::Relaxed) {
            observe::disconnected();
        }
    }

    /// Logs that the connection broke: at once, or where it breaks again and again, once it lasts
    fn begin_break(&self) {
        let number = self.breaks.begin();
        let log = move |breaks: &Breaks| {
            if breaks.is_to_be_logged(number) {
                tracing::warn!(target: CONNECTION, "the connection to NATS broke; reconnecting");
            }
        };
        let at_its_end = |times| tracing::warn!(times, "the connection to NATS broke again and again");
        if self.episodes.begins("connection", at_its_end) {
            log(&self.breaks);
        } else if let Ok(runtime) = Handle::try_current() {
            let breaks = Arc::clone(&self.breaks);
            runtime.spawn(async move {
                tokio::time::sleep(LASTING).await;
                log(&breaks);
            });
        }
    }

    fn end_break(&self, Break { cause, lasted, logged }: Break) {
        if logged {
            tracing::info!(target: CONNECTION, ?lasted, %cause, "connected to NATS again");
        }
        let subscriptions = {
            let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            subscriptions.retain(|open| !open.refused.is_closed());
            for open in &*subscriptions {
                open.interruptions.fetch_add(1, Ordering::Relaxed);
            }
            subscriptions.len()
        };
        if subscriptions == 0 {
            return;
        }
        let at_its_end = {
            let (hub, cause) = (Arc::clone(&self.hub), cause.clone());
            move |times| {
                tracing::warn!(
                    target: CONNECTION,
                    times,
                    "subscriptions were interrupted again and again; messages that were published meanwhile are lost"
                );
                hub.send(&Event::Interrupted { cause, lasted, times, subscriptions });
            }
        };
        if self.episodes.begins("subscriptions", at_its_end) {
            let text = "subscriptions were interrupted; messages that were published meanwhile are lost";
            tracing::warn!(target: CONNECTION, subscriptions, ?lasted, %cause, "{text}");
            self.hub.send(&Event::Interrupted { cause, lasted, times: 1, subscriptions });
        }
    }

    fn server_error(&self, text: &str) {
        observe::server_error();
        let shown = harmless(text);
        if !text.to_ascii_lowercase().contains("permissions violation") {
            self.breaks.server_error(&shown);
            return self.report_once(shown, Event::ServerError);
        }
        if let Some(inbox) = self.inbox.get()
            && let Some((_, ours)) = text.split_once(inbox.as_str())
        {
            let ours = ours.split('"').next().unwrap_or_default();
            if let Some((number, token)) = echo_name(ours) {
                // The refusal of a message to ourselves proves as much as its arrival: the server has come this far.
                return self.echo_if_ours(number, token);
            }
            // Any other subject there is one that a stranger gave as the subject for a reply.
            if ours == ".*" && text.contains("for Subscription") {
                self.inbox_denied.store(true, Ordering::Release);
                return self.report_once(shown, Event::PermissionDenied);
            }
        }
        {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.count += 1;
            let number = refusals.count;
            if refusals.recent.len() == REFUSALS {
                refusals.recent.pop_front();
            }
            refusals.recent.push_back((number, text.to_owned()));
        }
        self.end_subscriptions(text);
        self.report_once(shown, Event::PermissionDenied);
    }

    /// Logs an error of the server the first time, and how often it came when it has stopped
    fn report_once(&self, text: String, event: fn(String) -> Event) {
        // The refusal of a permission that is withdrawn names the number of the subscription as well.
        let key = text.split(" (sid ").next().unwrap_or_default();
        let at_its_end = {
            let text = text.clone();
            move |times| tracing::warn!(error = %text, times, "the NATS server reported the same error again and again")
        };
        if self.episodes.begins(key, at_its_end) {
            tracing::warn!(error = %text, "the NATS server reported an error");
            self.hub.send(&event(text));
        }
    }

    /// Completes when the server refuses a subscription, at its beginning or when it withdraws a permission later; until
    /// then `interruptions` counts the reconnects
    pub(crate) fn refusal_of(
        &self,
        filter: &str,
        queue: Option<&str>,
        interruptions: Arc<AtomicU64>,
    ) -> oneshot::Receiver<String> {
        let (refused, refusal) = oneshot::channel();
        let open = Open { filter: filter.to_owned(), queue: queue.map(str::to_owned), refused, interruptions };
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|open| !open.refused.is_closed());
        subscriptions.push(open);
        refusal
    }

    fn end_subscriptions(&self, text: &str) {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        for open in subscriptions.extract_if(.., |open| open.is_meant_by(text)) {
            // Its reader may be gone.
            let _ = open.refused.send(harmless(text));
        }
    }

    /// Sets the prefix of our inbox, which is known only once there is a connection
    pub(crate) fn own_inbox(&self, prefix: String) {
        // Set once, by the only caller.
        let _ = self.inbox.set(prefix);
    }

    /// Waits for the first event, so that streams that are made afterwards start with what follows it
    pub(crate) async fn first_connected(&self) {
        let mut changes = self.changes();
        while !self.has_connected() {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    pub(crate) fn has_connected(&self) -> bool {
        self.connected_once.load(Ordering::Relaxed)
    }

    pub(crate) fn is_inbox_denied(&self) -> bool {
        self.inbox_denied.load(Ordering::Acquire)
    }

    /// Remembers a message to ourselves until the guard is dropped
    pub(crate) fn await_echo(self: &Arc<Self>, number: u64, token: Token) -> AwaitedEcho {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(number, token);
        AwaitedEcho { signals: Arc::clone(self), number }
    }

    /// Notes what looks like a message to ourselves; without the token that was drawn for it, a stranger sent it
    pub(crate) fn echo_if_ours(&self, number: u64, token: &str) {
        let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied();
        if awaited.is_some_and(|ours| ours.is(token)) {
            self.echo(number);
        }
    }

    /// Notes that message `number` to ourselves came back, and with it the earlier ones: the server keeps the order
    pub(crate) fn echo(&self, number: u64) {
        self.echoed.fetch_max(number, Ordering::AcqRel);
        self.changes.send_replace(());
    }

    pub(crate) fn echoed(&self) -> u64 {
        self.echoed.load(Ordering::Acquire)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(crate) fn refusal_count(&self) -> u64 {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The server's refusal that contains `phrase`, if there was one after the first `since`
    pub(crate) fn refusal(&self, since: u64, phrase: &str) -> Option<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = refusals.recent.iter().filter(|(number, _)| *number > since);
        recent.find(|(_, text)| text.contains(phrase)).map(|(_, text)| harmless(text))
    }

    /// Makes no attempt to reconnect from now on, and says so: of a connection that is down async-nats never says it
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.down();
        self.episodes.end_all();
        self.hub.send(&Event::Closed);
        self.changes.send_replace(());
    }

    /// Whether the connection is up, as far as events tell
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A message to ourselves that is on its way
#[derive(Debug)]
pub(crate) struct AwaitedEcho {
    signals: Arc<Signals>,
    number: u64,
}

impl Drop for AwaitedEcho {
    fn drop(&mut self) {
        self.signals.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Number and token in what follows our inbox's prefix, when it has the form of a message to ourselves
pub(crate) fn echo_name(rest: &str) -> Option<(u64, &str)> {
    numbered(rest.strip_prefix(".e")?)
}

/// Number and token in what follows our inbox's prefix, when it has the form of a reply to a request
pub(crate) fn reply_name(rest: &str) -> Option<(u64, &str)> {
    numbered(rest.strip_prefix(".r")?)
}

fn numbered(name: &str) -> Option<(u64, &str)> {
    let (number, token) = name.split_once('-')?;
    Some((number.parse().ok()?, token))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn violation(text: &str) -> async_nats::Event {
        async_nats::Event::ServerError(async_nats::ServerError::Other(text.to_owned()))
    }

    fn awaiting(number: u64) -> (Arc<Signals>, Token, AwaitedEcho) {
        let (signals, token) = (Arc::new(Signals::default()), Token::draw());
        signals.own_inbox("_INBOX.abc".into());
        let awaited = signals.await_echo(number, token);
        (signals, token, awaited)
    }

    #[test]
    fn refused_publish_to_our_inbox_counts_as_an_echo() {
        let (signals, token, _awaited) = awaiting(7);
        signals.take(violation(&format!("Permissions Violation for Publish to \"_INBOX.abc.e7-{token}\"")));
        assert_eq!((signals.echoed(), signals.is_inbox_denied(), signals.refusal_count()), (7, false, 0));
    }

    #[test]
    fn echoes_without_their_token_prove_nothing() {
        let (signals, token, awaited) = awaiting(7);
        let other = Token::draw();
        for forged in [format!("e7-{other}"), "e7".into(), "e7-".into(), format!("e8-{token}"), format!("r7-{token}")] {
            for what in ["Publish to", "Subscription to"] {
                signals.take(violation(&format!("Permissions Violation for {what} \"_INBOX.abc.{forged}\"")));
            }
        }
        signals.echo_if_ours(7, &other.to_string());
        assert_eq!((signals.echoed(), signals.is_inbox_denied()), (0, false));
        drop(awaited);
        signals.echo_if_ours(7, &token.to_string());
        assert_eq!(signals.echoed(), 0, "nobody waits for it any more");
    }

    #[test]
    fn refused_inbox_is_noticed() {
        let signals = Signals::default();
        let mut events = signals.hub.stream();
        signals.own_inbox("_INBOX.abc".into());
        signals.take(violation("Permissions Violation for Subscription to \"_INBOX.abc.*\""));
        assert!(signals.is_inbox_denied());
        assert!(matches!(events.next().now_or_never(), Some(Some(Event::PermissionDenied(_)))));
    }

    #[test]
    fn refused_subscription_to_our_inbox_counts_as_an_echo() {
        let (signals, token, _awaited) = awaiting(7);
        signals.take(violation(&format!("Permissions Violation for Subscription to \"_INBOX.abc.e7-{token}\"")));
        assert_eq!((signals.echoed(), signals.is_inbox_denied()), (7, false));
    }

    #[test]
    fn refusal_ends_the_subscriptions_that_it_names() {
        for (text, ended) in [
            ("Permissions Violation for Subscription to \"a.b\"", [true, false, false, false]),
            ("Permissions Violation for Subscription to \"a.b\" (sid \"7\")", [true, true, true, false]),
            ("Permissions Violation for Subscription to \"a.b\" using queue \"g\"", [false, true, false, false]),
            ("Permissions Violation for Subscription to \"a\"", [false, false, false, true]),
            ("Permissions Violation for Publish to \"a.b\"", [false; 4]),
        ] {
            let signals = Signals::default();
            let standing = [("a.b", None), ("a.b", Some("g")), ("a.b", Some("h")), ("a", None)];
            let mut refusals = standing.map(|(filter, queue)| signals.refusal_of(filter, queue, Arc::default()));
            signals.take(violation(text));
            assert_eq!(refusals.each_mut().map(|refusal| refusal.try_recv().is_ok()), ended, "{text}");
        }
    }

    #[test]
    fn refusal_is_found_by_its_subject_and_only_when_new() {
        let signals = Signals::default();
        signals.take(violation("Permissions Violation for Publish to \"a.b\""));
        assert!(signals.refusal(0, "Publish to \"a.b\"").is_some());
        assert!(signals.refusal(0, "Publish to \"a\"").is_none());
        assert!(signals.refusal(1, "Publish to \"a.b\"").is_none());
    }
}
