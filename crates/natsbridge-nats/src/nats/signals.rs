//! Turns what async-nats reports into events, metrics and the facts that confirmations need.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::event::{Event, EventHub};
use crate::observe;

/// How many refusals of the server are remembered for the calls that look for theirs.
const REFUSALS: usize = 64;

/// What the connection has told so far.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) hub: Arc<EventHub>,
    /// Set after the first connect; the reconnect pauses need it, too.
    connected_once: AtomicBool,
    /// Whether the connection stands, as far as events tell.
    standing: AtomicBool,
    closed: AtomicBool,
    /// Counts everything that a waiting confirmation has to look at again.
    changes: watch::Sender<u64>,
    inbox: OnceLock<String>,
    inbox_denied: AtomicBool,
    echoed: AtomicU64,
    refusals: Mutex<Refusals>,
    subscriptions: Mutex<Vec<Listener>>,
}

/// A standing subscription that wants to know when the server ends it.
#[derive(Debug)]
struct Listener {
    filter: String,
    queue: Option<String>,
    refused: oneshot::Sender<String>,
}

impl Listener {
    /// Whether the server's refusal is about this subscription; a permission taken away is told without the group.
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

impl Default for Signals {
    fn default() -> Self {
        Self {
            hub: Arc::default(),
            connected_once: AtomicBool::new(false),
            standing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            changes: watch::Sender::new(0),
            inbox: OnceLock::new(),
            inbox_denied: AtomicBool::new(false),
            echoed: AtomicU64::new(0),
            refusals: Mutex::default(),
            subscriptions: Mutex::default(),
        }
    }
}

impl Signals {
    pub(crate) fn take(&self, event: async_nats::Event) {
        match event {
            async_nats::Event::Connected => {
                if self.connected_once.swap(true, Ordering::Relaxed) {
                    observe::reconnected();
                }
                // The inbox is asked for again; the permission may have come in the meantime.
                self.inbox_denied.store(false, Ordering::Release);
                if !self.standing.swap(true, Ordering::Relaxed) {
                    observe::connected();
                }
                self.hub.send(&Event::Connected);
            }
            async_nats::Event::Disconnected => {
                self.fell();
                self.hub.send(&Event::Disconnected);
            }
            async_nats::Event::LameDuckMode => self.hub.send(&Event::LameDuck),
            async_nats::Event::Closed => {
                self.fell();
                self.close();
                self.hub.send(&Event::Closed);
            }
            async_nats::Event::ClientError(error) => self.hub.send(&Event::ReconnectFailed(error.to_string())),
            async_nats::Event::ServerError(error) => self.server_error(error.to_string()),
            // A drain is our own doing. Slow consumers cannot happen: our queues are behind unbounded ones.
            async_nats::Event::Draining | async_nats::Event::SlowConsumer(_) => {}
        }
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn fell(&self) {
        if self.standing.swap(false, Ordering::Relaxed) {
            observe::disconnected();
        }
    }

    fn server_error(&self, text: String) {
        observe::server_error();
        tracing::warn!(error = %text, "the NATS server reported an error");
        if !text.to_ascii_lowercase().contains("permissions violation") {
            self.hub.send(&Event::ServerError(text));
            return;
        }
        if let Some(inbox) = self.inbox.get()
            && let Some((_, ours)) = text.split_once(inbox.as_str())
        {
            // The refusal of a message to ourselves proves as much as its arrival: the server has come this far.
            match echo_number(ours.split('"').next().unwrap_or_default()) {
                Some(number) => self.echo(number),
                None => self.inbox_denied.store(true, Ordering::Release),
            }
            if self.is_inbox_denied() {
                self.hub.send(&Event::PermissionDenied(text));
            }
            return;
        }
        {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            refusals.count += 1;
            let number = refusals.count;
            if refusals.recent.len() == REFUSALS {
                refusals.recent.pop_front();
            }
            refusals.recent.push_back((number, text.clone()));
        }
        self.end_subscriptions(&text);
        self.hub.send(&Event::PermissionDenied(text));
    }

    /// Tells when the server refuses a subscription, at its beginning or when a permission is taken away later.
    pub(crate) fn refusal_of(&self, filter: &str, queue: Option<&str>) -> oneshot::Receiver<String> {
        let (refused, refusal) = oneshot::channel();
        let listener = Listener { filter: filter.to_owned(), queue: queue.map(str::to_owned), refused };
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|listener| !listener.refused.is_closed());
        subscriptions.push(listener);
        refusal
    }

    fn end_subscriptions(&self, text: &str) {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in subscriptions.extract_if(.., |listener| listener.is_meant_by(text)) {
            // Its reader may be gone.
            let _ = listener.refused.send(text.to_owned());
        }
    }

    /// Where our inbox is; known only once the connection stands.
    pub(crate) fn own_inbox(&self, prefix: String) {
        // Set once, by the only caller.
        let _ = self.inbox.set(prefix);
    }

    /// Waits for the first event, so that streams made from now on begin with what follows it.
    pub(crate) async fn connected(&self) {
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

    /// Notes that message `number` to ourselves came back; the earlier ones count as come back, too, since the server
    /// keeps the order.
    pub(crate) fn echo(&self, number: u64) {
        self.echoed.fetch_max(number, Ordering::AcqRel);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    pub(crate) fn echoed(&self) -> u64 {
        self.echoed.load(Ordering::Acquire)
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn refusal_count(&self) -> u64 {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The server's refusal that holds `phrase`, if there was one after the first `since`.
    pub(crate) fn refusal(&self, since: u64, phrase: &str) -> Option<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recent = refusals.recent.iter().filter(|(number, _)| *number > since);
        recent.find(|(_, text)| text.contains(phrase)).map(|(_, text)| text.clone())
    }

    /// From now on no attempt to connect again is made.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The number in what follows our inbox's prefix, when it is a message to ourselves.
pub(crate) fn echo_number(rest: &str) -> Option<u64> {
    rest.strip_prefix(".e")?.parse().ok()
}

/// The number in what follows our inbox's prefix, when it is the answer to a request.
pub(crate) fn reply_number(rest: &str) -> Option<u64> {
    rest.strip_prefix(".r")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn violation(text: &str) -> async_nats::Event {
        async_nats::Event::ServerError(async_nats::ServerError::Other(text.to_owned()))
    }

    #[test]
    fn a_refused_message_to_ourselves_counts_as_come_back() {
        let signals = Signals::default();
        signals.own_inbox("_INBOX.abc".into());
        signals.take(violation("Permissions Violation for Publish to \"_INBOX.abc.e7\""));
        assert_eq!((signals.echoed(), signals.is_inbox_denied(), signals.refusal_count()), (7, false, 0));
    }

    #[test]
    fn a_refused_inbox_is_noticed() {
        let signals = Signals::default();
        let mut events = signals.hub.stream();
        signals.own_inbox("_INBOX.abc".into());
        signals.take(violation("Permissions Violation for Subscription to \"_INBOX.abc.*\""));
        assert!(signals.is_inbox_denied());
        assert!(matches!(events.next().now_or_never(), Some(Some(Event::PermissionDenied(_)))));
    }

    #[test]
    fn a_refused_subscription_to_a_subject_of_our_inbox_counts_as_come_back() {
        let signals = Signals::default();
        signals.own_inbox("_INBOX.abc".into());
        signals.take(violation("Permissions Violation for Subscription to \"_INBOX.abc.e7\""));
        assert_eq!((signals.echoed(), signals.is_inbox_denied()), (7, false));
    }

    #[test]
    fn a_refusal_ends_the_subscriptions_that_it_names() {
        for (text, ended) in [
            ("Permissions Violation for Subscription to \"a.b\"", [true, false, false, false]),
            ("Permissions Violation for Subscription to \"a.b\" (sid \"7\")", [true, true, true, false]),
            ("Permissions Violation for Subscription to \"a.b\" using queue \"g\"", [false, true, false, false]),
            ("Permissions Violation for Subscription to \"a\"", [false, false, false, true]),
            ("Permissions Violation for Publish to \"a.b\"", [false; 4]),
        ] {
            let signals = Signals::default();
            let standing = [("a.b", None), ("a.b", Some("g")), ("a.b", Some("h")), ("a", None)];
            let mut refusals = standing.map(|(filter, queue)| signals.refusal_of(filter, queue));
            signals.take(violation(text));
            assert_eq!(refusals.each_mut().map(|refusal| refusal.try_recv().is_ok()), ended, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_found_by_its_subject_and_only_when_new() {
        let signals = Signals::default();
        signals.take(violation("Permissions Violation for Publish to \"a.b\""));
        assert!(signals.refusal(0, "Publish to \"a.b\"").is_some());
        assert!(signals.refusal(0, "Publish to \"a\"").is_none());
        assert!(signals.refusal(1, "Publish to \"a.b\"").is_none());
    }
}
