//! The limits a message is planned against: the direct threshold, the broker's maximum, and what a receiver can take.

use std::fmt;

use crate::PayloadType;

/// A kind of receiver with less room than others (`docs/specification.md`, section 4)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReceiverKind {
    /// Takes every type, directly and by link
    #[default]
    Desktop,
    /// A page: no `arrowtable`
    Browser,
    /// A device: no links, no `arrowtable`, at most 50,000 bytes in one payload, threshold 100,000 bytes
    MicroPython,
}

impl ReceiverKind {
    /// The most bytes in one payload, where there is such a limit
    #[must_use]
    pub const fn max_payload(self) -> Option<u64> {
        match self {
            Self::MicroPython => Some(50_000),
            Self::Desktop | Self::Browser => None,
        }
    }

    /// Whether it follows links
    #[must_use]
    pub const fn follows_links(self) -> bool {
        !matches!(self, Self::MicroPython)
    }

    /// Whether it reads payloads of this type
    #[must_use]
    pub const fn reads(self, payload_type: PayloadType) -> bool {
        match self {
            Self::Desktop => true,
            Self::Browser | Self::MicroPython => !matches!(payload_type, PayloadType::ArrowTable),
        }
    }
}

impl fmt::Display for ReceiverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Desktop => "a desktop receiver",
            Self::Browser => "a browser",
            Self::MicroPython => "a MicroPython receiver",
        })
    }
}

/// What decides between direct and link (specification, section 4)
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// A payload of this many bytes or more becomes a link; default [`Limits::SIZE_THRESHOLD`]
    pub size_threshold: u64,
    /// The most bytes that the broker takes in one message, headers included; default [`Limits::MAX_MESSAGE_SIZE`]
    pub max_message_size: u64,
    /// Bytes of the envelope that a link's URL and metadata may take, before the URL is known; default [`Limits::LINK_ALLOWANCE`]
    pub link_allowance: u64,
    /// Bytes kept free for what is added to the header's metadata after the plan; default 0
    pub header_allowance: u64,
    /// Who receives it
    pub receiver: ReceiverKind,
    /// Whether payloads may become links at all; default true
    pub links: bool,
    /// Whether an `arrowtable` becomes a `jsontable` for a receiver that can't read Arrow; default false
    pub convert_tables: bool,
}

impl Limits {
    /// 0.5 MB
    pub const SIZE_THRESHOLD: u64 = 500_000;
    /// 100 KB for MicroPython
    pub const MICROPYTHON_THRESHOLD: u64 = 100_000;
    /// NATS's default `max_payload`, for when no server is known (`docs/specification.md`)
    pub const MAX_MESSAGE_SIZE: u64 = 1_048_576;
    /// Room for a presigned URL with a session token
    pub const LINK_ALLOWANCE: u64 = 2_048;

    /// Sets the size in bytes from which a payload becomes a link
    #[must_use]
    pub const fn size_threshold(mut self, bytes: u64) -> Self {
        self.size_threshold = bytes;
        self
    }

    /// Sets the most bytes that the broker takes in one message
    #[must_use]
    pub const fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Sets the room in bytes that is kept for each link
    #[must_use]
    pub const fn link_allowance(mut self, bytes: u64) -> Self {
        self.link_allowance = bytes;
        self
    }

    /// Sets the room in bytes that is kept for later additions to the header's metadata
    #[must_use]
    pub const fn header_allowance(mut self, bytes: u64) -> Self {
        self.header_allowance = bytes;
        self
    }

    /// Sets who receives it
    #[must_use]
    pub const fn receiver(mut self, receiver: ReceiverKind) -> Self {
        self.receiver = receiver;
        self
    }

    /// Sets whether payloads may become links at all
    #[must_use]
    pub const fn links(mut self, allowed: bool) -> Self {
        self.links = allowed;
        self
    }

    /// Sets whether tables are converted for a receiver that can't read Arrow
    #[must_use]
    pub const fn convert_tables(mut self, convert: bool) -> Self {
        self.convert_tables = convert;
        self
    }

    /// The threshold in force for this receiver
    pub(crate) const fn threshold(&self) -> u64 {
        match self.receiver {
            // Without links the threshold has nothing to decide; the limit of one payload does.
            ReceiverKind::MicroPython => Self::MICROPYTHON_THRESHOLD,
            ReceiverKind::Desktop | ReceiverKind::Browser => self.size_threshold,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            size_threshold: Self::SIZE_THRESHOLD,
            max_message_size: Self::MAX_MESSAGE_SIZE,
            link_allowance: Self::LINK_ALLOWANCE,
            header_allowance: 0,
            receiver: ReceiverKind::default(),
            links: true,
            convert_tables: false,
        }
    }
}
