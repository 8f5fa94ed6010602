//! Messages as they pass through a broker, outbound and inbound.

use bytes::Bytes;

use crate::subject::Subject;

/// A message to publish
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Publish {
    /// The subject to publish to
    pub subject: Subject,
    /// The subject that replies are to be sent to, if any
    pub reply: Option<Subject>,
    /// The body
    pub payload: Bytes,
}

impl Publish {
    /// A message without a reply subject
    #[must_use]
    pub fn new(subject: Subject, payload: impl Into<Bytes>) -> Self {
        Self { subject, reply: None, payload: payload.into() }
    }

    /// Sets the subject that replies are to be sent to
    #[must_use]
    pub fn with_reply(mut self, reply: Subject) -> Self {
        self.reply = Some(reply);
        self
    }
}

/// A message as it arrived
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RawMessage {
    /// The subject it was published to, as the server sent it: [`Subject::new`] may refuse it
    pub subject: Subject,
    /// The subject that its sender wants replies at; `None` also where the sender gave one that can't be published to
    pub reply: Option<Subject>,
    /// The body
    pub payload: Bytes,
}

impl RawMessage {
    /// A message as it arrived; public for other implementations of [`Broker`](crate::Broker)
    #[must_use]
    pub fn new(subject: Subject, reply: Option<Subject>, payload: Bytes) -> Self {
        Self { subject, reply, payload }
    }
}
