//! The pure heart of NATSBridge: the envelope, its codecs, and the plan of what travels how.
//!
//! Nothing here opens a file or a socket, reads a clock or draws a random number: [`Draw`] gives the time and identifiers,
//! and the caller performs uploads and downloads. A payload passes each step once: value → [`Part`] → [`plan()`] → (upload)
//! → [`Plan::finish`] → [`Envelope::to_json`], and back by [`Envelope::from_json`] → [`Envelope::open`] → (download) →
//! [`Part::into_value`].
//!
//! ```
//! use natsbridge_core::{
//!     Arrival, Draw, Envelope, Limits, OutboundMessage, Part, PayloadType, ReceivePolicy, Sender, Value, plan,
//! };
//!
//! /// A program takes the real time, and random identifiers
//! struct Fixed;
//!
//! impl Draw for Fixed {
//!     fn now(&mut self) -> time::OffsetDateTime {
//!         time::OffsetDateTime::UNIX_EPOCH
//!     }
//!
//!     fn new_id(&mut self) -> uuid::Uuid {
//!         uuid::Uuid::nil()
//!     }
//! }
//!
//! let message = OutboundMessage::new("chat.room").part(Part::new("greeting", PayloadType::Text, "hello")?);
//! let plan = plan(message, &Sender::default().name("greeter"), &Limits::default(), &mut Fixed)?;
//! assert_eq!(plan.uploads().count(), 0, "five bytes are below the threshold");
//! let json = plan.finish([])?.to_json();
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
mod escape;
mod fields;
mod harmless;
mod header;
mod id;
mod json_text;
mod limits;
mod link;
mod message;
mod metadata;
mod open;
mod plan;
mod rows;
mod sequence;
mod setters;
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
pub use envelope::{Envelope, Payload};
pub use error::{CodecError, EnvelopeError, PayloadError, PlanError};
pub use harmless::{harmless, shown};
pub use header::Header;
pub use limits::{Limits, ReceiverKind};
pub use link::{Downloaded, Link, LinkLifetime, Object, Uploaded, redacted};
pub use message::{OutboundMessage, Part, Sender};
pub use metadata::Metadata;
pub use open::{Arrival, Download, ReceivePolicy};
pub use plan::{Draw, Plan, Upload, plan};
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
