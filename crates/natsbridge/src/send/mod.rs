//! From a message to what is published: plan, upload, number, encode.

mod memory;
mod uploads;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use natsbridge_core::{Draw, Envelope, Limits, LinkLifetime, OutboundMessage, Plan, PlanError, Sender, Uploaded};
use natsbridge_fileserver::{StoreError, Uploader};
use natsbridge_nats::{BrokerError, BrokerErrorKind};
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use self::memory::SharedMemory;
pub(crate) use self::uploads::{Deadline, PublishedUploads, UploadGuard};
use crate::error::ConfigError;
use crate::progress::ProgressHook;
use crate::sequence::SubjectState;
use crate::{Config, Error, files, observe, stores};

/// A message that is ready to be published, and what it has stored at the file server
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) envelope: Envelope,
    pub(crate) json: Bytes,
    pub(crate) uploads: UploadGuard,
    links: LinkRules,
}

/// How the links of a message live
#[derive(Debug, Clone, Copy)]
struct LinkRules {
    lifetime: LinkLifetime,
    /// Only links for one reader may be one-shot
    one_reader: bool,
}

/// Everything that turns a message into what is published
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) sender: &'a Sender,
    pub(crate) config: &'a Config,
    /// The configuration's, as they are for this message
    pub(crate) limits: &'a Limits,
    /// Made when the first payload needs it
    pub(crate) uploader: &'a OnceLock<Arc<dyn Uploader>>,
    /// This message's own; replaces the configuration's
    pub(crate) progress: Option<&'a ProgressHook>,
    /// Gives the message its number; nothing for messages that are not counted
    pub(crate) subject: Option<&'a SubjectState>,
    /// Where small messages are written
    pub(crate) memory: Option<&'a SharedMemory>,
    /// Until when uploads are tried again after the store gave up; not at all for most messages
    pub(crate) deadline: Option<Deadline>,
}

/// The real time, and random identifiers
struct Random;

impl Draw for Random {
    fn now(&mut self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn new_id(&mut self) -> Uuid {
        Uuid::new_v4()
    }
}

impl Sending<'_> {
    /// Plans a message, uploads what has to be uploaded, numbers the message and writes its JSON
    ///
    /// If the future is dropped, uploads stop, and what they have stored is deleted in the background.
    pub(crate) async fn encode(&self, mut message: OutboundMessage) -> Result<Encoded, Error> {
        // Before the plan, which has to know the size of everything.
        #[cfg(feature = "otel")]
        crate::trace::trace(&mut message);
        let links = LinkRules::of(&mut message)?;
        let spare = self.config.direct_fallback.then(|| Box::new(message.clone()));
        let plan = natsbridge_core::plan(message, self.sender, self.limits, &mut Random)?;
        if plan.uploads().next().is_none() {
            return self.finish(plan, Vec::new(), links);
        }
        // In a box: most messages have no uploads, and their future stays small.
        Box::pin(self.upload(plan, links, spare)).await
    }

    /// Makes the envelope, numbers it and writes its JSON; the uploads are done by now, so that a failed one leaves no gap
    fn finish(&self, plan: Plan, uploaded: Vec<Uploaded>, links: LinkRules) -> Result<Encoded, Error> {
        let mut envelope = plan.finish(uploaded)?;
        if let Some(subject) = self.subject {
            subject.number(&mut envelope);
        }
        let json = self.json(&envelope, self.limits.message_limit())?;
        Ok(Encoded { envelope, json, uploads: UploadGuard::default(), links })
    }

    fn json(&self, envelope: &Envelope, limit: u64) -> Result<Bytes, PlanError> {
        let json = self.memory.map_or_else(|| envelope.to_json(), |memory| memory.json(envelope));
        envelope.check_size(&json, limit)?;
        Ok(json)
    }

    /// Uploads, finishes, and deletes the uploads where that fails; `spare` may travel without links then
    async fn upload(
        &self,
        plan: Plan,
        links: LinkRules,
        spare: Option<Box<OutboundMessage>>,
    ) -> Result<Encoded, Error> {
        let mut uploads = UploadGuard::default();
        // A message that may travel without links need not wait for them.
        let deadline = self.deadline.filter(|_| spare.is_none());
        let uploaded = self.upload_all(&plan, &mut uploads, links, deadline).await;
        let error = match uploaded.and_then(|uploaded| self.finish(plan, uploaded, links)) {
            Ok(encoded) => return Ok(Encoded { uploads, ..encoded }),
            Err(error) => error,
        };
        uploads.delete().await;
        let (Error::Store(store), Some(message)) = (&error, spare) else { return Err(error) };
        if !store.is_retryable() {
            return Err(error);
        }
        let again = self.deadline.map(|_| message.clone());
        match (self.encode_direct(message, links, store).await, again) {
            (Ok(encoded), _) => Ok(encoded),
            // The upload that failed is what the caller has to know.
            (Err(_), None) => Err(error),
            (Err(_), Some(message)) => {
                let plan = natsbridge_core::plan(*message, self.sender, self.limits, &mut Random)?;
                Box::pin(self.upload(plan, links, None)).await
            }
        }
    }

    async fn upload_all(
        &self,
        plan: &Plan,
        uploads: &mut UploadGuard,
        links: LinkRules,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Uploaded>, Error> {
        let stored = uploads.stored(|| self.uploader())?;
        stored.upload_all(plan, self.config.transfers, links.one_reader, deadline).await
    }

    fn uploader(&self) -> Result<Arc<dyn Uploader>, ConfigError> {
        let uploader = stores::made_once(self.uploader, || stores::plik(self.config))?;
        Ok(match self.progress.or(self.config.progress.as_ref()) {
            Some(hook) => hook.uploader(uploader),
            None => uploader,
        })
    }

    /// Encodes a message without links, as the file server can't be reached
    async fn encode_direct(
        &self,
        mut message: Box<OutboundMessage>,
        links: LinkRules,
        error: &StoreError,
    ) -> Result<Encoded, Error> {
        let limits = self.limits.size_threshold(u64::MAX).links(false);
        files::read_all(&mut message.parts, limits.message_limit()).await?;
        tracing::warn!(error = observe::cause(error), "payloads travel direct, as the file server can't be reached");
        self.finish(natsbridge_core::plan(*message, self.sender, &limits, &mut Random)?, Vec::new(), links)
    }

    /// Plans and encodes a message again, for a broker that takes at most `max_message_size` now; links stay links
    ///
    /// On error the message stays as it was, with all its uploads.
    pub(crate) async fn encode_again(&self, encoded: &mut Encoded, max_message_size: u64) -> Result<(), Error> {
        // The number is in the header already.
        let limits = self.limits.max_message_size(max_message_size).header_allowance(0);
        let Encoded { envelope, uploads, links, .. } = &mut *encoded;
        let plan = envelope.plan_again(&limits, links.lifetime)?;
        let uploaded = match plan.uploads().next() {
            Some(_) => self.upload_all(&plan, uploads, *links, self.deadline).await?,
            None => Vec::new(),
        };
        let envelope = plan.finish(uploaded)?;
        encoded.json = self.json(&envelope, max_message_size)?;
        encoded.envelope = envelope;
        Ok(())
    }
}

impl LinkRules {
    /// Refuses a one-shot link that contradicts the message; a message with a `reply_to` awaits an acknowledgement
    fn of(message: &mut OutboundMessage) -> Result<Self, ConfigError> {
        message.awaits_ack |= !message.reply_to.is_empty();
        let rules = Self { lifetime: message.lifetime(), one_reader: message.has_one_reader() };
        if rules.one_reader || !rules.lifetime.one_shot {
            return Ok(rules);
        }
        let reason = if message.awaits_ack {
            "a one-shot link is gone after the first download, and a message that asks for a reply or an acknowledgement \
             may be sent again; let its links expire (LinkLifetime::expiring), or ask for no reply"
        } else {
            "a one-shot link is gone after the first download, and this message is for every receiver; name one \
             (receiver_id), or let its links expire (LinkLifetime::expiring)"
        };
        Err(ConfigError::contradiction("link_lifetime", reason))
    }
}

/// Whether the broker takes less than the message has: it may take less than it did when the message was planned
pub(crate) fn is_too_large(error: &BrokerError) -> bool {
    matches!(error.kind(), BrokerErrorKind::TooLarge)
}

/// Whether a message may be delivered in spite of this error, so that its links have to stay
pub(crate) fn is_maybe_delivered(error: &BrokerError) -> bool {
    matches!(error.kind(), BrokerErrorKind::TimedOut | BrokerErrorKind::ConnectionLost)
}
