//! Acknowledged delivery: a message is repeated until the awaited answers are in, or its deadline has passed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use natsbridge_core::{Envelope, Header, Purpose, shown};
use natsbridge_nats::{Broker, Publish, Subject, SubjectFilter};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{self, DeliveryError, DeliveryFault, Refusal};
use crate::send::{self, Deadline, Encoded, PublishedUploads, Sending};
use crate::setters::setters;
use crate::{Error, observe};

/// Settings of an acknowledged delivery: acknowledgements, deadline, pauses (`docs/specification.md`, section 7)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverOptions {
    acks: usize,
    deadline: Duration,
    first_pause: Duration,
    longest_pause: Duration,
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
    setters! {
        /// Sets how many different receivers have to acknowledge; default 1, which is the least
        ///
        /// Receivers are told apart by the identifier in their acknowledgement. One that has an identifier of its own
        /// ([`Config::sender_id`](crate::Config::sender_id)) counts once, also after a restart; one without draws a new one at
        /// each start, so a receiver that is restarted between two repeats counts again.
        fn acks(self, acks: usize) { self.acks = acks.max(1) }

        /// Sets when to give up, uploads included; default 30 seconds
        fn deadline(self, deadline: Duration) { self.deadline = deadline }
    }

    /// Sets the pause before the first repeat and the longest one; default 500 ms and 5 seconds
    ///
    /// Later pauses are doubled up to the longest one, and shortened at random by up to a half.
    #[must_use]
    pub const fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// The deadline of a delivery that begins now
    pub(crate) fn start(&self) -> Deadline {
        let Self { deadline, first_pause, longest_pause, .. } = *self;
        let now = Instant::now();
        // A deadline beyond what a clock can say is none; a century is as good.
        let at = now.checked_add(deadline).unwrap_or(now + CENTURY);
        Deadline { at, first_pause, longest_pause }
    }
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A message that was acknowledged by as many receivers as required
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

/// Replies by the message they belong to: one subscription serves every delivery of a bridge
#[derive(Debug, Default)]
pub(crate) struct Replies {
    waiting: Arc<Mutex<HashMap<Arc<str>, mpsc::UnboundedSender<Header>>>>,
    inbox: tokio::sync::OnceCell<(Subject, JoinHandle<()>)>,
}

impl Drop for Replies {
    fn drop(&mut self) {
        // The task's subscription would keep the connection open.
        if let Some((_, reading)) = self.inbox.get() {
            reading.abort();
        }
    }
}

impl Replies {
    /// The subject where replies are awaited; the first delivery subscribes to it
    pub(crate) async fn inbox(&self, broker: &dyn Broker) -> Result<&Subject, Error> {
        let opened = self
            .inbox
            .get_or_try_init(|| async {
                let inbox = broker.new_inbox();
                let filter = SubjectFilter::new(inbox.as_str())?;
                let mut subscription = broker.subscribe(filter, None).await?;
                let waiting = Arc::clone(&self.waiting);
                let reading = tokio::spawn(async move {
                    while let Some(delivery) = subscription.next().await {
                        // Other bytes are no reply to a message.
                        let Ok(envelope) = Envelope::from_json(&delivery.payload) else { continue };
                        observe::received(&envelope);
                        let header = envelope.open(&natsbridge_core::ReceivePolicy::default()).0;
                        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(waiter) = waiting.get(header.reply_to_msg_id()) {
                            // A delivery that has just ended needs no more replies.
                            let _ = waiter.send(header);
                        }
                    }
                });
                Ok::<_, Error>((inbox, reading))
            })
            .await;
        opened.map(|(inbox, _)| inbox)
    }

    fn wait_for(&self, msg_id: &str) -> Waiter {
        let (sender, replies) = mpsc::unbounded_channel();
        let msg_id: Arc<str> = msg_id.into();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&msg_id), sender);
        Waiter { waiting: Arc::clone(&self.waiting), msg_id, replies }
    }
}

/// One delivery's replies; forgotten when dropped
struct Waiter {
    waiting: Arc<Mutex<HashMap<Arc<str>, mpsc::UnboundedSender<Header>>>>,
    msg_id: Arc<str>,
    replies: mpsc::UnboundedReceiver<Header>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.msg_id);
    }
}

/// What has come in for a delivery
#[derive(Default)]
struct Answered {
    acks: Vec<Header>,
    refusal: Option<Refusal>,
}

impl Answered {
    /// Takes a reply; an error says that sending the message again does not help
    fn take(&mut self, answer: Header) -> Result<(), Error> {
        match answer.msg_purpose() {
            // A reply to the message says as well as an ACK that it was handled. An answer to a repeat comes from a
            // receiver that has answered already.
            Purpose::Ack | Purpose::Chat if self.acks.iter().all(|ack| ack.sender_id() != answer.sender_id()) => {
                self.acks.push(answer);
            }
            Purpose::Nack if !is_retryable(&answer) => return Err(refused(&answer)),
            Purpose::Nack => self.refusal = Some(refusal(&answer)),
            _ => {}
        }
        Ok(())
    }

    /// The deadline has passed
    fn missing(&self, envelope: &Envelope, how: &DeliverOptions, repeats: u32) -> Error {
        let advice = if self.acks.is_empty() {
            "no receiver acknowledged it: is one subscribed to the subject, and does it acknowledge?"
        } else {
            "some receivers did not reply in time; raise the deadline, or ask for fewer"
        };
        DeliveryError {
            msg_id: envelope.header().msg_id().to_owned(),
            fault: DeliveryFault::Unacknowledged {
                acked: self.acks.len(),
                awaited: how.acks,
                repeats,
                refusal: self.refusal.clone(),
                advice,
            },
        }
        .into()
    }
}

/// A reply may take this long on a slow line or a busy machine: a connection that is only slow is not made again
const SHORTEST_PROBE: Duration = Duration::from_millis(500);

/// How often a message is planned again at most, where the broker takes less each time
const PLANS: u32 = 4;

/// Publishes a message until it is acknowledged
///
/// Its uploads are deleted when all awaited acknowledgements are in, or if it was never published; otherwise a slow receiver
/// may still read them, and they expire. If the broker takes less than it did, the message is planned again.
pub(crate) async fn deliver(
    broker: &dyn Broker,
    replies: &Replies,
    sending: &Sending<'_>,
    subject: &Subject,
    mut encoded: Encoded,
    how: &DeliverOptions,
) -> Result<Delivered, Error> {
    let deadline = sending.deadline.unwrap_or_else(|| how.start());
    let mut waiter = replies.wait_for(encoded.envelope.header().msg_id());
    let mut answered = Answered::default();
    let mut pauses = deadline.pauses();
    let mut published: Vec<PublishedUploads> = Vec::new();
    let (mut plans, mut repeats) = (0, 0);
    let outcome = 'sending: loop {
        let outgoing = Publish::new(subject.clone(), encoded.json.clone());
        match tokio::time::timeout_at(deadline.at, broker.publish_acknowledged(outgoing)).await {
            Ok(Ok(())) => {
                if published.is_empty() {
                    observe::sent(&encoded.envelope);
                }
                // From here on a receiver may read the links, also when this future is dropped.
                if published.is_empty() || !encoded.uploads.is_empty() {
                    published.push(encoded.uploads.publish());
                }
            }
            Ok(Err(error)) if send::is_too_large(&error) && plans < PLANS => {
                plans += 1;
                match sending.encode_again(&mut encoded, broker.max_payload()).await {
                    Ok(()) => continue,
                    Err(error) => break Err(error),
                }
            }
            // The connection may come back before the deadline; what waiting can't mend ends here.
            Ok(Err(error)) if error.is_retryable() => {
                tracing::debug!(error = observe::cause(&error), "a publish is tried again");
            }
            Ok(Err(error)) => break Err(error.into()),
            Err(_) => break Err(answered.missing(&encoded.envelope, how, repeats)),
        }
        let pause = pauses.next().unwrap_or(how.longest_pause);
        let next = Instant::now().checked_add(pause).map_or(deadline.at, |next| next.min(deadline.at));
        while let Ok(Some(reply)) = tokio::time::timeout_at(next, waiter.replies.recv()).await {
            if let Err(error) = answered.take(reply) {
                break 'sending Err(error);
            }
            if answered.acks.len() >= how.acks {
                break 'sending Ok(());
            }
        }
        if Instant::now() >= deadline.at {
            break Err(answered.missing(&encoded.envelope, how, repeats));
        }
        repeats += 1;
        observe::repeated();
        // If the network has forgotten the connection, repeats on it are lost as well.
        broker.probe((how.deadline / 4).max(SHORTEST_PROBE));
    };
    drop(waiter);
    if let Err(error) = &outcome {
        observe::delivery_failed(error);
    }
    encoded.uploads.delete().await;
    if outcome.is_ok() {
        for uploads in published {
            uploads.delete().await;
        }
    }
    outcome.map(|()| Delivered { envelope: encoded.envelope, acks: answered.acks, repeats })
}

fn is_retryable(nack: &Header) -> bool {
    nack.metadata().get("retryable").and_then(Json::as_bool).unwrap_or(false)
}

/// What a NACK says, made harmless to show
fn refusal(nack: &Header) -> Refusal {
    let text = |key, absent| nack.metadata().get(key).and_then(Json::as_str).unwrap_or(absent);
    Refusal {
        receiver: shown(nack.sender_name()).into_owned(),
        code: shown(text("code", "no code")).into_owned(),
        reason: error::reason(text("reason", "no reason given")),
    }
}

/// The error that a NACK is, where sending the message again does not help
pub(crate) fn refused(nack: &Header) -> Error {
    let (msg_id, fault) = (nack.reply_to_msg_id().to_owned(), DeliveryFault::Refused(refusal(nack)));
    DeliveryError { msg_id, fault }.into()
}
