//! Turns an envelope back into parts: what came direct is checked at once, what came as a link is asked for first.

use serde_json::Value as Json;

use crate::envelope::{Body, Envelope, Payload};
use crate::error::{PartFault, PayloadError};
use crate::header::Header;
use crate::metadata::{Metadata, PayloadMetadata};
use crate::setters::{getters, setters};
use crate::{Digest, Downloaded, Link, Part, PayloadType, Source, Transport, timestamp};

/// Checks applied to incoming payloads
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivePolicy {
    /// Refuse a link without a digest, and a direct payload whose stated size is wrong; default false
    pub strict: bool,
    /// The most bytes taken in one payload; default 10,000,000,000, the default maximum of a Plik server
    pub max_payload_size: u64,
}

impl ReceivePolicy {
    setters! {
        /// Sets whether links without digests and wrong sizes are refused
        fn strict(self, strict: bool) { self.strict = strict }

        /// Sets the most bytes taken in one payload
        fn max_payload_size(self, bytes: u64) { self.max_payload_size = bytes }
    }
}

impl Default for ReceivePolicy {
    fn default() -> Self {
        Self { strict: false, max_payload_size: 10_000_000_000 }
    }
}

/// One payload that arrived, in the message's order
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "a new arrival must break the match of whoever performs it")]
pub enum Arrival {
    /// It was inside the envelope and is checked
    Ready(Part),
    /// It has to be downloaded first
    Download(Download),
    /// It can't be handed out
    Failed {
        /// What it would have been
        payload_type: PayloadType,
        /// How it came
        transport: Transport,
        /// What is wrong with it
        error: PayloadError,
    },
}

/// A payload that has to be downloaded before it is a part
#[derive(Debug, Clone, PartialEq)]
pub struct Download {
    link: Link,
    payload_type: PayloadType,
    metadata: PayloadMetadata,
}

impl Download {
    getters! {
        /// Where it is and what the envelope says of it
        const fn link(&self) -> &Link { &self.link }

        /// The sender's name for it
        fn name(&self) -> &str { &self.link.dataname }

        /// What it is
        const fn payload_type(&self) -> PayloadType { self.payload_type }

        /// Metadata as the sender wrote it
        fn metadata(&self) -> &Metadata { self.metadata.map() }
    }

    /// Turns what was downloaded into the part
    ///
    /// # Errors
    /// Another size (`size_mismatch`) or digest (`digest`) than the envelope says.
    pub fn downloaded(self, downloaded: Downloaded) -> Result<Part, PayloadError> {
        let Downloaded { source, sha256 } = downloaded;
        let found = source.len();
        let fault = match (self.link.size, self.link.sha256) {
            (Some(stated), _) if stated != found => Some(PartFault::Size { stated, found }),
            (_, Some(stated)) if stated != sha256 => Some(PartFault::Digest { stated, found: sha256 }),
            _ => None,
        };
        match fault {
            Some(fault) => Err(PayloadError { dataname: self.link.dataname, fault }),
            None => {
                let name = self.link.dataname.into();
                Ok(Part { name, payload_type: self.payload_type, source, metadata: self.metadata })
            }
        }
    }
}

impl Envelope {
    /// Takes the envelope apart, checking what came direct
    ///
    /// A payload that fails its check is an [`Arrival::Failed`], and the others are not touched by it.
    #[must_use]
    pub fn open(self, checks: &ReceivePolicy) -> (Header, Vec<Arrival>) {
        let arrivals = self.payloads.into_iter().map(|payload| arrival(payload, checks)).collect();
        (self.header, arrivals)
    }
}

fn arrival(payload: Payload, checks: &ReceivePolicy) -> Arrival {
    let opened = stated_digest(&payload.metadata).and_then(|stated| match payload.body {
        Body::Direct(ref bytes) => check_direct(bytes, stated, payload.stated_size, checks),
        Body::Link { size, .. } => check_link(size, stated, checks),
    });
    let stated = match opened {
        Ok(stated) => stated,
        Err(fault) => {
            let (payload_type, transport) = (payload.payload_type, payload.transport());
            let error = PayloadError { dataname: payload.dataname.into(), fault };
            return Arrival::Failed { payload_type, transport, error };
        }
    };
    let Payload { dataname, payload_type, metadata, body, .. } = payload;
    match body {
        Body::Direct(bytes) => {
            Arrival::Ready(Part { name: dataname, payload_type, source: Source::Bytes(bytes), metadata })
        }
        Body::Link { url, size } => {
            let mut link = Link::new(dataname, url);
            link.size = (size > 0).then_some(size);
            link.sha256 = stated;
            link.expires_at = metadata.get("expires_at").and_then(Json::as_str).and_then(timestamp::read);
            link.one_shot = metadata.get("one_shot").and_then(Json::as_bool).unwrap_or(false);
            Arrival::Download(Download { link, payload_type, metadata })
        }
    }
}

/// The digest that the sender wrote; what is no digest must not switch the check off
fn stated_digest(metadata: &PayloadMetadata) -> Result<Option<Digest>, PartFault> {
    match metadata.get("sha256") {
        None | Some(Json::Null) => Ok(None),
        Some(stated) => {
            let digest = stated.as_str().and_then(|text| text.parse().ok());
            digest.map(Some).ok_or(PartFault::DigestForm)
        }
    }
}

fn check_direct(
    bytes: &bytes::Bytes,
    stated: Option<Digest>,
    stated_size: Option<u64>,
    checks: &ReceivePolicy,
) -> Result<Option<Digest>, PartFault> {
    let found = crate::source::size_of_bytes(bytes);
    if found > checks.max_payload_size {
        return Err(PartFault::TooLarge { size: found, limit: checks.max_payload_size });
    }
    if let Some(stated) = stated_size.filter(|_| checks.strict) {
        return Err(PartFault::Size { stated, found });
    }
    if let Some(stated) = stated {
        let found = Digest::of(bytes);
        if found != stated {
            return Err(PartFault::Digest { stated, found });
        }
    }
    Ok(stated)
}

const fn check_link(size: u64, stated: Option<Digest>, checks: &ReceivePolicy) -> Result<Option<Digest>, PartFault> {
    if size > checks.max_payload_size {
        return Err(PartFault::TooLarge { size, limit: checks.max_payload_size });
    }
    match stated {
        None if checks.strict => Err(PartFault::DigestMissing),
        stated => Ok(stated),
    }
}
