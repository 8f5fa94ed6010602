//! Acknowledged delivery: a message is repeated until the awaited answers are in, or its deadline has passed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use natsbridge_core::{Envelope, Header, Purpose};
use natsbridge_nats::{Broker, Outgoing, Subject, SubjectFilter};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::perform::Sealed;
use crate::{Error, observe};

/// How a message is delivered (specification, section 7)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliverOptions {
    /// Acknowledgements to wait for, from different receivers; default 1
    pub acks: usize,
    /// When to give up; default 30 seconds
    pub deadline: Duration,
    /// Pause before the first repeat, doubled up to `longest_pause`; default 500 ms
    pub first_pause: Duration,
    /// The longest pause between repeats; default 5 seconds
    pub longest_pause: Duration,
}

impl Default for DeliverOptions {
    fn default() -> Self {
        Self {
            acks: 1,
            deadline: Duration::from_secs(30),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl DeliverOptions {
    /// Sets how many receivers have to acknowledge; default 1
    #[must_use]
    pub const fn acks(mut self, acks: usize) -> Self {
        self.acks = acks;
        self
    }

    /// Sets when to give up; default 30 seconds
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the pause before the first repeat and the longest one; default 500 ms and 5 seconds
    #[must_use]
    pub const fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }
}

/// A message that was acknowledged as often as was asked
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Delivered {
    /// The message
    pub envelope: Envelope,
    /// The acknowledgements, in the order in which they came
    pub acks: Vec<Header>,
    /// How often it was sent again
    pub repeats: u32,
}

/// Why a message was not acknowledged
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Too few acknowledgements before the deadline
    #[error("message {msg_id} has {acked} of {awaited} acknowledgements after {repeats} repeats; {advice}")]
    Unacknowledged {
        /// The message
        msg_id: String,
        /// Acknowledgements that came
        acked: usize,
        /// Acknowledgements awaited
        awaited: usize,
        /// How often it was sent again
        repeats: u32,
        /// What may be wrong
        advice: &'static str,
    },
    /// A receiver says that it can't handle the message, and that sending it again does not help
    #[error("message {msg_id} was refused by {receiver}: {code}: {reason}")]
    Refused {
        /// The message
        msg_id: String,
        /// The refusing program's name
        receiver: String,
        /// The receiver's code
        code: String,
        /// The receiver's reason
        reason: String,
    },
}

impl DeliveryError {
    /// The stable word for this error (docs/specification.md, "Error codes")
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unacknowledged { .. } => "unacknowledged",
            Self::Refused { .. } => "nacked",
        }
    }
}

/// Answers by the message they answer: one subscription serves every delivery of a bridge
#[derive(Debug, Default)]
pub(crate) struct Answers {
    waiting: Arc<Mutex<HashMap<Arc<str>, mpsc::UnboundedSender<Header>>>>,
    inbox: tokio::sync::OnceCell<Subject>,
}

impl Answers {
    /// The subject where answers are awaited; listened to from the first delivery on
    pub(crate) async fn inbox(&self, broker: &dyn Broker) -> Result<&Subject, Error> {
        self.inbox
            .get_or_try_init(|| async {
                let inbox = broker.new_inbox();
                let filter = SubjectFilter::new(inbox.as_str())?;
                let mut subscription = broker.subscribe(filter, None).await?;
                let waiting = Arc::downgrade(&self.waiting);
                tokio::spawn(async move {
                    while let Some(delivery) = subscription.next().await {
                        let Some(waiting) = waiting.upgrade() else { return };
                        // What is no envelope answers no message.
                        let Ok(envelope) = Envelope::from_json(&delivery.payload) else { continue };
                        observe::received(&envelope);
                        let header = envelope.open(&natsbridge_core::Checks::default()).0;
                        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(waiter) = waiting.get(header.reply_to_msg_id()) {
                            // A delivery that has just ended needs no more answers.
                            let _ = waiter.send(header);
                        }
                    }
                });
                Ok(inbox)
            })
            .await
    }

    fn wait_for(&self, msg_id: &str) -> Waiter {
        let (sender, answers) = mpsc::unbounded_channel();
        let msg_id: Arc<str> = msg_id.into();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&msg_id), sender);
        Waiter { waiting: Arc::clone(&self.waiting), msg_id, answers }
    }
}

/// One delivery's answers; forgotten when dropped
struct Waiter {
    waiting: Arc<Mutex<HashMap<Arc<str>, mpsc::UnboundedSender<Header>>>>,
    msg_id: Arc<str>,
    answers: mpsc::UnboundedReceiver<Header>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.msg_id);
    }
}

/// Publishes a sealed message until it is acknowledged
///
/// Its uploads are deleted when all awaited acknowledgements are in, or when it was never published; otherwise a slow
/// receiver may still read them, and they expire.
pub(crate) async fn deliver(
    broker: &dyn Broker,
    answers: &Answers,
    subject: Subject,
    mut sealed: Sealed,
    how: &DeliverOptions,
) -> Result<Delivered, Error> {
    let deadline = Instant::now() + how.deadline;
    let mut waiter = answers.wait_for(sealed.envelope.header().msg_id());
    let outgoing = Outgoing::new(subject, sealed.json.clone());
    let mut acks: Vec<Header> = Vec::new();
    let mut pause = how.first_pause;
    let mut repeats = 0;
    let mut published = false;
    let mut uploads = None;
    let outcome = 'sending: loop {
        match tokio::time::timeout_at(deadline, broker.publish_acknowledged(outgoing.clone())).await {
            Ok(Ok(())) => {
                if !published {
                    published = true;
                    observe::sent(&sealed.envelope);
                    // From here on a receiver may be reading the links, also when this future is dropped.
                    uploads = Some(sealed.uploads.detach());
                }
            }
            // The connection may come back before the deadline; what can't be mended by waiting ends here.
            Ok(Err(error)) if error.is_retryable() => {
                tracing::debug!(error = observe::cause(&error), "a publish is tried again");
            }
            Ok(Err(error)) => break Err(error.into()),
            Err(_) => break Err(unacknowledged(&sealed.envelope, &acks, how, repeats)),
        }
        let next = (Instant::now() + pause).min(deadline);
        while let Ok(Some(answer)) = tokio::time::timeout_at(next, waiter.answers.recv()).await {
            match answer.msg_purpose() {
                // A reply to the message says as well as an ACK that it was handled.
                Purpose::Ack | Purpose::Chat => {
                    // An answer to a repeat comes from a receiver that has answered already.
                    if acks.iter().all(|ack| ack.sender_id() != answer.sender_id()) {
                        acks.push(answer);
                    }
                    if acks.len() >= how.acks {
                        break 'sending Ok(());
                    }
                }
                Purpose::Nack if !is_retryable(&answer) => break 'sending Err(refused(&answer)),
                _ => {}
            }
        }
        if Instant::now() >= deadline {
            break Err(unacknowledged(&sealed.envelope, &acks, how, repeats));
        }
        repeats += 1;
        observe::repeated();
        // Where the network has forgotten the connection, repeats on it are lost as well.
        broker.probe(how.deadline / 4);
        pause = (pause * 2).min(how.longest_pause);
    };
    drop(waiter);
    if let Err(error) = &outcome {
        observe::delivery_failed(error);
    }
    match uploads {
        None => sealed.uploads.delete().await,
        Some(detached) if outcome.is_ok() => detached.delete().await,
        Some(_) => {}
    }
    outcome.map(|()| Delivered { envelope: sealed.envelope, acks, repeats })
}

fn unacknowledged(envelope: &Envelope, acks: &[Header], how: &DeliverOptions, repeats: u32) -> Error {
    let advice = if acks.is_empty() {
        "no receiver answered: is one listening on the subject, and does it acknowledge?"
    } else {
        "some receivers did not answer in time; raise the deadline, or ask for fewer"
    };
    let msg_id = envelope.header().msg_id().to_owned();
    DeliveryError::Unacknowledged { msg_id, acked: acks.len(), awaited: how.acks, repeats, advice }.into()
}

fn is_retryable(nack: &Header) -> bool {
    nack.metadata().get("retryable").and_then(Json::as_bool).unwrap_or(false)
}

/// What a NACK says
pub(crate) fn refused(nack: &Header) -> Error {
    let text = |key| nack.metadata().get(key).and_then(Json::as_str).unwrap_or("no reason given").to_owned();
    DeliveryError::Refused {
        msg_id: nack.reply_to_msg_id().to_owned(),
        receiver: nack.sender_name().to_owned(),
        code: text("code"),
        reason: text("reason"),
    }
    .into()
}
