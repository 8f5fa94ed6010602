//! What kind of failure an error is, whichever room it comes from.

use natsbridge_fileserver::{FetchErrorKind, StoreErrorKind};
use natsbridge_nats::BrokerErrorKind;

/// The kind of an [`Error`](super::Error), to decide what to do
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, option, argument or credentials file can't be used
    Configuration,
    /// NATS does not accept the name of a subject or queue group
    InvalidSubject,
    /// A value is not what the payload type holds, or a payload is not what was asked for
    WrongType,
    /// The message has no payload of the name asked for
    NoSuchPayload,
    /// A message is not an envelope
    InvalidMessage,
    /// The bytes of a payload are not what its type says
    Undecodable,
    /// The bytes of a payload are not those that were sent: another size or digest
    Corrupted,
    /// A payload or message is larger than its receiver, the broker or the file server takes
    TooLarge,
    /// A payload can only travel as a link, and links are not allowed
    LinksNotAllowed,
    /// The receiver, or this program as it was built, can't read a payload of this type
    Unsupported,
    /// The broker or the file server does not accept the credentials, or does not permit the operation
    PermissionDenied,
    /// TLS failed: a certificate is missing, not trusted or not valid
    Tls,
    /// The broker or the file server can't be reached
    Unreachable,
    /// The connection was lost before the broker confirmed; a message may or may not have arrived
    ConnectionLost,
    /// The connection was closed by this program
    Closed,
    /// Nobody subscribes to the subject of a request
    NoResponders,
    /// No reply, transfer or confirmation came in time
    TimedOut,
    /// A receiver refused the message with a NACK
    Refused,
    /// Too few receivers acknowledged before the deadline
    Unacknowledged,
    /// The message names no subject for replies
    NoReplySubject,
    /// This program does not send to the subject that a message names for replies
    ReplyNotAllowed,
    /// This program does not download from the address that a link names
    BlockedOrigin,
    /// A link holds nothing any more: unknown to the server, expired, or read already
    LinkGone,
    /// The file server has no space left
    StorageFull,
    /// The file server replied with something unexpected
    Rejected,
    /// A store or downloader of the program's own failed
    Handler,
    /// A local file can't be read or written
    LocalFile,
    /// The program's runtime has stopped
    Stopped,
    /// A service was stopped before all messages that had arrived were handled
    Unhandled,
    /// Another failure, of which [`Error::code`](super::Error::code) has the word
    Other,
}

/// The kind of an error of core, by its code
pub(super) fn of_code(code: &str) -> ErrorKind {
    match code {
        "digest" | "digest_missing" | "size_mismatch" => ErrorKind::Corrupted,
        "too_large" => ErrorKind::TooLarge,
        "links_not_allowed" => ErrorKind::LinksNotAllowed,
        "unsupported" => ErrorKind::Unsupported,
        "wrong_value" | "unconvertible" => ErrorKind::WrongType,
        "undecodable" | "too_deep" => ErrorKind::Undecodable,
        "in_file" => ErrorKind::LocalFile,
        _ => ErrorKind::Other,
    }
}

pub(super) fn of_store(kind: StoreErrorKind) -> ErrorKind {
    match kind {
        StoreErrorKind::Unreachable => ErrorKind::Unreachable,
        StoreErrorKind::Untrusted => ErrorKind::Tls,
        StoreErrorKind::Timeout => ErrorKind::TimedOut,
        StoreErrorKind::Refused | StoreErrorKind::Credentials => ErrorKind::PermissionDenied,
        StoreErrorKind::TooLarge => ErrorKind::TooLarge,
        StoreErrorKind::Full => ErrorKind::StorageFull,
        StoreErrorKind::Rejected => ErrorKind::Rejected,
        StoreErrorKind::Digest => ErrorKind::Corrupted,
        StoreErrorKind::LocalFile => ErrorKind::LocalFile,
        StoreErrorKind::Handler => ErrorKind::Handler,
        _ => ErrorKind::Other,
    }
}

pub(super) fn of_fetch(kind: FetchErrorKind) -> ErrorKind {
    match kind {
        FetchErrorKind::BlockedOrigin => ErrorKind::BlockedOrigin,
        FetchErrorKind::NotFound | FetchErrorKind::Expired | FetchErrorKind::Consumed => ErrorKind::LinkGone,
        FetchErrorKind::Refused => ErrorKind::PermissionDenied,
        FetchErrorKind::TooLarge => ErrorKind::TooLarge,
        FetchErrorKind::SizeMismatch | FetchErrorKind::Digest => ErrorKind::Corrupted,
        FetchErrorKind::Rejected => ErrorKind::Rejected,
        FetchErrorKind::Unreachable | FetchErrorKind::DownloadRetryExceeded => ErrorKind::Unreachable,
        FetchErrorKind::Untrusted => ErrorKind::Tls,
        FetchErrorKind::Timeout => ErrorKind::TimedOut,
        FetchErrorKind::LocalFile => ErrorKind::LocalFile,
        FetchErrorKind::Handler => ErrorKind::Handler,
        _ => ErrorKind::Other,
    }
}

pub(super) fn of_broker(kind: BrokerErrorKind) -> ErrorKind {
    match kind {
        BrokerErrorKind::InvalidOptions | BrokerErrorKind::NotWebSocket => ErrorKind::Configuration,
        BrokerErrorKind::InvalidSubject => ErrorKind::InvalidSubject,
        BrokerErrorKind::Unresolved | BrokerErrorKind::Refused | BrokerErrorKind::Unreachable => ErrorKind::Unreachable,
        BrokerErrorKind::Unauthorized | BrokerErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        BrokerErrorKind::TlsUntrusted
        | BrokerErrorKind::TlsClientCertificate
        | BrokerErrorKind::Tls
        | BrokerErrorKind::TlsNotOffered
        | BrokerErrorKind::TlsFirst => ErrorKind::Tls,
        BrokerErrorKind::TimedOut => ErrorKind::TimedOut,
        BrokerErrorKind::NoResponders => ErrorKind::NoResponders,
        BrokerErrorKind::TooLarge => ErrorKind::TooLarge,
        BrokerErrorKind::ConnectionLost => ErrorKind::ConnectionLost,
        BrokerErrorKind::Closed => ErrorKind::Closed,
        _ => ErrorKind::Other,
    }
}
