//! The pure heart of NATSBridge: the envelope, its codecs, and the plan of what travels how.
//!
//! Nothing here opens a file or a socket, reads a clock or draws a random number: time and identifiers come in as
//! arguments, and what has to be uploaded or downloaded goes out as a step for somebody else to perform.

mod codec;
mod digest;
mod error;
mod link;
mod source;
mod value;
mod words;

#[cfg(feature = "arrow")]
pub use codec::{Table, TableLimits};
pub use digest::{Digest, DigestStream, ParseDigestError};
pub use error::CodecError;
pub use link::{Downloaded, Life, Link, Object, Uploaded, redacted};
pub use source::Source;
pub use value::{Rows, Value};
pub use words::{Encoding, PayloadType, Purpose, Transport};
