//! The envelope: a header and its payloads. It exists only complete: every payload is direct with its bytes, or a link.

use std::fmt;

use bytes::Bytes;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::header::Header;
use crate::id::Id;
use crate::link::redacted;
use crate::metadata::{Metadata, PayloadMetadata};
use crate::setters::getters;
use crate::source::size_of_bytes;
use crate::{Digest, Encoding, PayloadType, Transport, timestamp};

/// Where a payload's bytes are
#[derive(Clone, PartialEq)]
pub(crate) enum Body {
    Direct(Bytes),
    Link { url: Box<str>, size: u64 },
}

impl Default for Body {
    fn default() -> Self {
        Self::Direct(Bytes::new())
    }
}

/// One payload as it crosses the wire (`docs/specification.md`, section 1)
#[derive(Clone, PartialEq)]
pub struct Payload {
    pub(crate) id: Id,
    pub(crate) dataname: Box<str>,
    pub(crate) payload_type: PayloadType,
    pub(crate) metadata: PayloadMetadata,
    /// The size that the envelope states, where it is not the size of the direct bytes
    pub(crate) stated_size: Option<u64>,
    pub(crate) body: Body,
}

impl Payload {
    getters! {
        /// Names this payload; UUID text
        fn id(&self) -> &str { self.id.as_str() }

        /// The sender's name for it; any Unicode, may repeat within a message, never a path
        fn dataname(&self) -> &str { &self.dataname }

        /// What it is
        const fn payload_type(&self) -> PayloadType { self.payload_type }
    }

    /// Whether it travels inside the envelope or as a link
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self.body {
            Body::Direct(_) => Transport::Direct,
            Body::Link { .. } => Transport::Link,
        }
    }

    /// The encoding that our writer states for this transport
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        match self.body {
            Body::Direct(_) => Encoding::Base64,
            Body::Link { .. } => Encoding::None,
        }
    }

    /// Size in bytes of the serialised payload, before base64; 0 for a link whose sender did not say
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::Direct(bytes) => size_of_bytes(bytes),
            Body::Link { size, .. } => *size,
        }
    }

    /// The `size` that the envelope states for a direct payload, where that is not the number of its bytes
    /// (`docs/specification.md`, section 5)
    #[must_use]
    pub const fn misstated_size(&self) -> Option<u64> {
        self.stated_size
    }

    /// The serialised bytes of a direct payload
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Direct(bytes) => Some(bytes),
            Body::Link { .. } => None,
        }
    }

    /// The URL of a link; [`redacted`] before it goes to a log
    #[must_use]
    pub const fn url(&self) -> Option<&str> {
        match &self.body {
            Body::Direct(_) => None,
            Body::Link { url, .. } => Some(url),
        }
    }

    getters! {
        /// Payload-level metadata
        fn metadata(&self) -> &Metadata { self.metadata.map() }

        /// The digest that the metadata states, where it states one in the right form
        fn sha256(&self) -> Option<Digest> { self.metadata.get("sha256")?.as_str()?.parse().ok() }

        /// When the link stops working, where the metadata states a time (`expires_at`, `docs/specification.md`, section 6)
        fn expires_at(&self) -> Option<OffsetDateTime> { timestamp::read(self.metadata.get("expires_at")?.as_str()?) }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("id", &self.id())
            .field("dataname", &self.dataname)
            .field("payload_type", &self.payload_type)
            .field("transport", &self.transport())
            .field("size", &self.size())
            .field("url", &self.url().map(redacted))
            .field("metadata", self.metadata())
            .finish_non_exhaustive()
    }
}

/// A complete message as it crosses NATS (`docs/specification.md`, section 1)
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    pub(crate) header: Header,
    pub(crate) payloads: Vec<Payload>,
}

impl Envelope {
    /// Every field but the payloads
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The payloads, in order
    #[must_use]
    pub fn payloads(&self) -> &[Payload] {
        &self.payloads
    }

    /// Writes the sender's counter for the subject into the metadata, as `seq`, and `epoch`, which names the time since
    /// which it counts (`docs/specification.md`, section 6)
    pub fn set_sequence(&mut self, seq: u64, epoch: Uuid) {
        self.header.set_sequence(seq, epoch);
    }
}
