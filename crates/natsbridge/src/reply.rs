//! What a handler returns: a reply with any payloads, or an error that becomes a NACK.

use std::error::Error as StdError;
use std::path::PathBuf;

use bytes::Bytes;
use natsbridge_core::{Metadata, Part, PayloadError, PayloadType, Value};
use serde::Serialize;

use crate::parts::payload_methods;
use crate::setters::setters;
use crate::{Data, Error};

/// What a handler replies: zero or more payloads, in the order in which they are added
///
/// A reply without payloads and metadata is sent as an ACK. Large payloads travel as links, as in any other message.
///
/// # Examples
/// ```
/// use natsbridge::{HandlerError, Message, Reply};
///
/// async fn measure(message: Message) -> Result<Reply, HandlerError> {
///     let bytes = message.bytes("image")?;
///     if bytes.is_empty() {
///         return Err(HandlerError::new("the image is empty").permanent());
///     }
///     Ok(Reply::new().text("note", "measured").dictionary("bytes", bytes.len()))
/// }
/// # let _ = measure;
/// ```
#[derive(Debug, Default)]
#[must_use = "a reply is sent when the handler returns it"]
pub struct Reply {
    pub(crate) parts: Vec<Part>,
    /// Places of the parts that are files yet to be looked at
    pub(crate) files: Vec<usize>,
    /// The first part that could not be serialised
    pub(crate) failed: Option<PayloadError>,
    pub(crate) metadata: Metadata,
}

impl Reply {
    /// A reply without payloads
    pub fn new() -> Self {
        Self::default()
    }

    /// A reply that only acknowledges: an ACK
    pub fn ack() -> Self {
        Self::default()
    }

    payload_methods!();

    setters! {
        /// Sets message-level metadata; default empty
        fn metadata(self, metadata: Metadata) { self.metadata = metadata }
    }

    /// Whether it is sent as an ACK
    pub(crate) fn is_ack(&self) -> bool {
        self.parts.is_empty() && self.failed.is_none() && self.metadata.is_empty()
    }

    fn add(mut self, part: Result<Part, PayloadError>) -> Self {
        match part {
            Ok(part) => self.parts.push(part),
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
        self
    }

    fn add_file(mut self, part: Part) -> Self {
        self.files.push(self.parts.len());
        self.add(Ok(part))
    }
}

/// The error of a handler; the sender gets its code and reason in a NACK message
///
/// `?` makes one of any error, of a `String` and of a `Box<dyn Error + Send + Sync>`. The sender gets the error's own text
/// and not its causes. Of an [`Error`] it gets the code, whether another try may help, and a text without this machine's
/// paths ([`Error::nack_reason`]).
///
/// # Examples
/// ```
/// use natsbridge::HandlerError;
///
/// fn port(text: &str) -> Result<u16, HandlerError> {
///     if text.is_empty() {
///         return Err(HandlerError::new("no port").code("no_port").permanent());
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(port("x").unwrap_err().code, "handler");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerError {
    /// A stable word for programs; default `handler`
    pub code: String,
    /// What happened, for people
    pub reason: String,
    /// Whether the same message may succeed later; default true
    pub retryable: bool,
}

impl HandlerError {
    /// An error after which the sender may try again
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { code: "handler".to_owned(), reason: reason.into(), retryable: true }
    }

    /// An error of this library, as strangers may see it
    pub(crate) fn of(error: &Error) -> Self {
        Self { code: error.code().to_owned(), reason: error.nack_reason(), retryable: error.is_retryable() }
    }

    /// Sets the word for programs
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Says that the same message will never succeed
    #[must_use]
    pub const fn permanent(mut self) -> Self {
        self.retryable = false;
        self
    }
}

// It is no `Error` itself: only so can it be made of every type that becomes a boxed one.
impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let error = error.into();
        error.downcast_ref::<Error>().map_or_else(|| Self::new(error.to_string()), Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    mod handler_error {
        use super::*;

        fn of<E: Into<HandlerError>>(error: E) -> HandlerError {
            error.into()
        }

        #[test]
        fn std_errors_boxes_and_texts_become_one() {
            let parse = "x".parse::<u8>().unwrap_err();
            let boxed: Box<dyn StdError + Send + Sync> = parse.clone().into();
            for error in [of(parse.clone()), of(boxed), of(parse.to_string()), of("invalid digit found in string")] {
                assert_eq!(error, HandlerError::new("invalid digit found in string"));
            }
        }

        #[test]
        fn own_error_keeps_its_code_and_hides_paths() {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            let file = Error::file("film", "read", "/home/ann/film.mp4", source);
            let boxed: Box<dyn StdError + Send + Sync> = file.into();
            let error = of(boxed);
            assert_eq!((&*error.code, error.retryable), ("local_file", true));
            assert!(error.reason.contains("film") && !error.reason.contains("/home"), "{}", error.reason);
        }
    }
}
