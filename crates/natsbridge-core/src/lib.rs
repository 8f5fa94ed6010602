//! The pure heart of NATSBridge: the envelope, its codecs, and the plan of what travels how.
//!
//! Nothing here opens a file or a socket, reads a clock or draws a random number: time and identifiers come in as
//! arguments, and what has to be uploaded or downloaded goes out as a step for somebody else to perform. A payload
//! passes each room once: value → [`encode`] → [`Part`] → [`plan`] → (upload) → [`Header::seal`] →
//! [`Envelope::to_json`], and back by [`Envelope::from_json`] → [`Envelope::open`] → (download) → [`decode`].
//!
//! ```
//! use natsbridge_core::{
//!     Arrival, ReceivePolicy, Envelope, Limits, OutboundMessage, Part, PayloadType, Sender, Stamp, Value, plan,
//! };
//!
//! let message = OutboundMessage::new("chat.room").part(Part::new("greeting", PayloadType::Text, "hello")?);
//! let mut new_id = || uuid::Uuid::nil(); // a program draws random ones
//! let sender = Sender::default().name("greeter");
//! let mut stamp = Stamp::new(&sender, time::OffsetDateTime::UNIX_EPOCH, &mut new_id);
//! let planned = plan(message, &Limits::default(), &mut stamp)?;
//! assert!(planned.rest.is_empty(), "five bytes are below the threshold: there is nothing to upload");
//! let json = planned.header.seal(planned.ready).to_json();
//!
//! let (header, mut arrivals) = Envelope::from_json(&json)?.open(&ReceivePolicy::default());
//! assert_eq!(header.send_to(), "chat.room");
//! let Some(Arrival::Ready(part)) = arrivals.pop() else { unreachable!("it came direct") };
//! assert_eq!(part.into_value()?, Value::from("hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod base64;
mod codec;
mod digest;
mod envelope;
mod error;
mod harmless;
mod inbound;
mod json_text;
mod letterhead;
mod limits;
mod link;
mod message;
mod notes;
mod numbers;
mod outbound;
mod rows;
mod source;
#[cfg(feature = "arrow")]
mod table;
mod timestamp;
mod value;
mod view;
mod wire;
mod words;

pub use codec::{decode, encode};
pub use digest::{Digest, DigestStream, ParseDigestError};
pub use envelope::{Envelope, Header, Metadata, Payload};
pub use error::{CodecError, EnvelopeError, PayloadError, PayloadErrorKind, PayloadFault, PlanError};
pub use harmless::{harmless, shown};
pub use inbound::{Arrival, Download, ReceivePolicy};
pub use letterhead::Letterhead;
pub use limits::{Limits, ReceiverKind};
pub use link::{Downloaded, Link, LinkLifetime, Object, Uploaded, redacted};
pub use message::{OutboundMessage, Part, Sender};
pub use numbers::Epoch;
pub use outbound::{Plan, Stamp, Step, Upload, plan};
pub use rows::Rows;
pub use source::Source;
#[cfg(feature = "arrow")]
pub use table::{Table, TableLimits};
pub use value::{JsonText, Value};
pub use view::JsonView;
pub use words::{Encoding, ParsePayloadTypeError, PayloadType, Purpose, Transport};

/// The README's example compiles
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
