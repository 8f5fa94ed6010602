//! Limits for planning a message: the threshold for links, the broker's maximum payload, and the kind of receiver.

use std::fmt;

use crate::PayloadType;

/// What the receiver of a message can read: any desktop program, a browser, a MicroPython device
///
/// A message that such a receiver can't read is refused before it is sent (`docs/specification.md`, section 4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReceiverKind {
    /// Reads every type, direct and by link
    #[default]
    Desktop,
    /// Runs in a browser: no `arrowtable`
    Browser,
    /// Runs on a microcontroller: no links, no `arrowtable`, at most 50,000 bytes in one payload
    MicroPython,
}

impl ReceiverKind {
    /// Returns the maximum size of one payload in bytes, if there is one
    #[must_use]
    pub const fn max_payload(self) -> Option<u64> {
        match self {
            Self::MicroPython => Some(50_000),
            Self::Desktop | Self::Browser => None,
        }
    }

    /// Returns whether it follows links
    #[must_use]
    pub const fn follows_links(self) -> bool {
        !matches!(self, Self::MicroPython)
    }

    /// Returns whether it reads payloads of this type
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

/// Limits that decide whether a payload travels direct or as a link (`docs/specification.md`, section 4)
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// A payload of this many bytes or more becomes a link; default [`Limits::SIZE_THRESHOLD`]
    pub size_threshold: u64,
    /// Maximum size of a message in bytes, NATS headers included; default [`Limits::MAX_MESSAGE_SIZE`]
    pub max_message_size: u64,
    /// Bytes reserved for a link's URL and metadata before the URL is known; default [`Limits::LINK_ALLOWANCE`]
    pub link_allowance: u64,
    /// Bytes reserved for metadata that is added to the header after planning; default 0
    pub header_allowance: u64,
    /// The kind of receiver; default [`ReceiverKind::Desktop`]
    pub receiver: ReceiverKind,
    /// Whether payloads may become links; default true
    pub links: bool,
    /// Whether an `arrowtable` becomes a `jsontable` for a receiver that can't read Arrow; default false
    pub convert_tables: bool,
}

impl Limits {
    /// 500,000 bytes
    pub const SIZE_THRESHOLD: u64 = 500_000;
    /// 100,000 bytes, the threshold for [`ReceiverKind::MicroPython`]
    pub const MICROPYTHON_THRESHOLD: u64 = 100_000;
    /// 1 MiB, NATS' default `max_payload`, for messages without a known server
    pub const MAX_MESSAGE_SIZE: u64 = 1_048_576;
    /// 2,048 bytes, enough for a presigned URL with a session token
    pub const LINK_ALLOWANCE: u64 = 2_048;

    /// Sets the size in bytes from which a payload becomes a link
    #[must_use]
    pub const fn size_threshold(mut self, bytes: u64) -> Self {
        self.size_threshold = bytes;
        self
    }

    /// Sets the maximum size of a message in bytes, NATS headers included
    #[must_use]
    pub const fn max_message_size(mut self, bytes: u64) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Sets the bytes reserved for each link
    #[must_use]
    pub const fn link_allowance(mut self, bytes: u64) -> Self {
        self.link_allowance = bytes;
        self
    }

    /// Sets the bytes reserved for metadata that is added to the header after planning
    #[must_use]
    pub const fn header_allowance(mut self, bytes: u64) -> Self {
        self.header_allowance = bytes;
        self
    }

    /// Sets the kind of receiver
    #[must_use]
    pub const fn receiver(mut self, receiver: ReceiverKind) -> Self {
        self.receiver = receiver;
        self
    }

    /// Sets whether payloads may become links
    #[must_use]
    pub const fn links(mut self, allowed: bool) -> Self {
        self.links = allowed;
        self
    }

    /// Sets whether an `arrowtable` becomes a `jsontable` for a receiver that can't read Arrow
    #[must_use]
    pub const fn convert_tables(mut self, convert: bool) -> Self {
        self.convert_tables = convert;
        self
    }

    /// The threshold in force for this receiver
    pub(crate) const fn threshold(&self) -> u64 {
        match self.receiver {
            // Without links, only the maximum size of one payload matters.
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
