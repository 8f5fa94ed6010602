//! Limits for planning a message: the threshold for links, the broker's maximum payload, and the kind of receiver.

use std::fmt;

use crate::PayloadType;
use crate::setters::setters;

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
    /// The maximum size of one payload in bytes, if there is one
    pub(crate) const fn max_payload(self) -> Option<u64> {
        match self {
            Self::MicroPython => Some(50_000),
            Self::Desktop | Self::Browser => None,
        }
    }

    pub(crate) const fn follows_links(self) -> bool {
        !matches!(self, Self::MicroPython)
    }

    pub(crate) const fn reads(self, payload_type: PayloadType) -> bool {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub(crate) size_threshold: u64,
    pub(crate) max_message_size: u64,
    pub(crate) link_allowance: u64,
    pub(crate) header_allowance: u64,
    pub(crate) receiver: ReceiverKind,
    pub(crate) links: bool,
    pub(crate) convert_tables: bool,
}

impl Limits {
    /// The default of [`Limits::size_threshold`]
    pub const SIZE_THRESHOLD: u64 = 500_000;
    const MICROPYTHON_THRESHOLD: u64 = 100_000;
    /// 1 MiB, NATS' default `max_payload`
    pub const MAX_MESSAGE_SIZE: u64 = 1_048_576;
    /// Enough for a presigned URL with a session token
    const LINK_ALLOWANCE: u64 = 2_048;

    setters! {
        /// Sets the size in bytes from which a payload becomes a link; default 500,000, and always 100,000 for
        /// [`ReceiverKind::MicroPython`]
        fn size_threshold(self, bytes: u64) { self.size_threshold = bytes }

        /// Sets the maximum size of a message in bytes, NATS headers included; default 1,048,576
        fn max_message_size(self, bytes: u64) { self.max_message_size = bytes }

        /// Sets the bytes reserved for a link's URL and metadata before the URL is known; default 2,048
        fn link_allowance(self, bytes: u64) { self.link_allowance = bytes }

        /// Sets the bytes reserved for metadata that is added to the header after planning; default 0
        fn header_allowance(self, bytes: u64) { self.header_allowance = bytes }

        /// Sets the kind of receiver; default [`ReceiverKind::Desktop`]
        fn receiver(self, receiver: ReceiverKind) { self.receiver = receiver }

        /// Sets whether payloads may become links; default true
        fn links(self, allowed: bool) { self.links = allowed }

        /// Sets whether an `arrowtable` becomes a `jsontable` for a receiver that can't read Arrow; default false
        fn convert_tables(self, convert: bool) { self.convert_tables = convert }
    }

    /// Returns the size in bytes from which a payload becomes a link for this receiver
    #[must_use]
    pub const fn threshold(&self) -> u64 {
        match self.receiver {
            // Without links, only the maximum size of one payload matters.
            ReceiverKind::MicroPython => Self::MICROPYTHON_THRESHOLD,
            ReceiverKind::Desktop | ReceiverKind::Browser => self.size_threshold,
        }
    }

    /// Returns the maximum size of a message in bytes, NATS headers included
    #[must_use]
    pub const fn message_limit(&self) -> u64 {
        self.max_message_size
    }

    /// Returns whether a payload of this size becomes a link by its size alone
    #[must_use]
    pub const fn is_link(&self, size: u64) -> bool {
        size >= self.threshold() && self.allow_links()
    }

    pub(crate) const fn allow_links(&self) -> bool {
        self.links && self.receiver.follows_links()
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
