//! The inbox: one subscription for the replies to all requests and for the messages we send to ourselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{BrokerError, BrokerErrorKind};
use crate::nats::failure::deepest;
use crate::nats::signals::{Signals, echo_name, reply_name};
use crate::nats::token::Token;

type Waiting = Arc<Mutex<HashMap<u64, (Token, oneshot::Sender<async_nats::Message>)>>>;

/// The connection's own subjects below the inbox prefix, subscribed to at the first request or confirmation
///
/// A responder knows where the inbox is, so that a message in it proves nothing: each reply and each message to ourselves
/// has a subject with a token of its own.
#[derive(Debug)]
pub(crate) struct Inbox {
    prefix: String,
    waiting: Waiting,
    next: AtomicU64,
    task: JoinHandle<()>,
}

impl Inbox {
    pub(crate) async fn open(
        client: &async_nats::Client,
        prefix: String,
        signals: Arc<Signals>,
    ) -> Result<Self, BrokerError> {
        let mut messages = client
            .subscribe(format!("{prefix}.*"))
            .await
            .map_err(|error| BrokerError::closed().with_source(deepest(&error)))?;
        let waiting = Waiting::default();
        let task = tokio::spawn({
            let (prefix, waiting) = (prefix.clone(), waiting.clone());
            async move {
                while let Some(message) = messages.next().await {
                    let Some(rest) = message.subject.strip_prefix(prefix.as_str()) else { continue };
                    if let Some((number, token)) = echo_name(rest) {
                        // A refusal that the server sent before this message travels through the task of the events,
                        // which is due now: it gets its turn first.
                        tokio::task::yield_now().await;
                        tokio::task::yield_now().await;
                        signals.echo_if_ours(number, token);
                    } else if let Some((number, token)) = reply_name(rest) {
                        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        if waiting.get(&number).is_some_and(|(ours, _)| ours.is(token))
                            && let Some((_, sender)) = waiting.remove(&number)
                        {
                            // The requester may have given up in the meantime.
                            let _ = sender.send(message);
                        }
                    }
                }
            }
        });
        Ok(Self { prefix, waiting, next: AtomicU64::new(1), task })
    }

    /// A number, a token and a subject for a message to ourselves
    pub(crate) fn echo(&self) -> (u64, Token, String) {
        let (number, token) = (self.next.fetch_add(1, Ordering::Relaxed), Token::draw());
        (number, token, format!("{}.e{number}-{token}", self.prefix))
    }

    /// A subject for one reply, given up when it is dropped
    pub(crate) fn reply(&self) -> Reply {
        let (number, token) = (self.next.fetch_add(1, Ordering::Relaxed), Token::draw());
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (token, sender));
        let subject = format!("{}.r{number}-{token}", self.prefix);
        Reply { subject, number, receiver, waiting: self.waiting.clone() }
    }

    pub(crate) fn denied(root: &str) -> BrokerError {
        let message = format!(
            "the server does not let this connection subscribe to its inbox, so no reply can arrive; allow it to publish \
             and subscribe to `{root}.>`, or set an inbox prefix that is allowed"
        );
        BrokerError::new(BrokerErrorKind::PermissionDenied, message)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // The task would keep the connection open.
        self.task.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) subject: String,
    number: u64,
    receiver: oneshot::Receiver<async_nats::Message>,
    waiting: Waiting,
}

impl Reply {
    pub(crate) async fn received(&mut self) -> Result<async_nats::Message, BrokerError> {
        (&mut self.receiver).await.map_err(|_| BrokerError::closed())
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
