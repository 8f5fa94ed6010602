//! The messages whose encoding and decoding is measured: each payload type at three sizes, and a mixed one.

use bytes::Bytes;
use natsbridge_core::{PayloadType, Value};

use crate::report::size;
use crate::{Failure, bridge, workload};

/// Payload sizes in bytes
pub const SIZES: [usize; 3] = [100, 10_000, 400_000];

const TYPES: [PayloadType; 8] = [
    PayloadType::Binary,
    PayloadType::Text,
    PayloadType::Dictionary,
    PayloadType::JsonTable,
    PayloadType::ArrowTable,
    PayloadType::Image,
    PayloadType::Audio,
    PayloadType::Video,
];

/// One message
#[derive(Debug)]
pub struct Case {
    /// Size and type, such as `10 KB text`
    pub name: String,
    /// Its payloads
    pub values: Vec<(&'static str, PayloadType, Value)>,
}

impl Case {
    /// Every payload type at every size, then a mixed message
    ///
    /// # Errors
    /// What Arrow says.
    pub fn all() -> Result<Vec<Self>, Failure> {
        let mut cases = Vec::new();
        for bytes in SIZES {
            for payload_type in TYPES {
                let values = vec![("payload", payload_type, workload::value(payload_type, bytes)?)];
                cases.push(Self { name: format!("{} {}", size(bytes), payload_type.as_str()), values });
            }
        }
        cases.push(Self { name: "mixed message".to_owned(), values: workload::mixed()? });
        Ok(cases)
    }

    /// Its JSON
    ///
    /// # Errors
    /// What core says.
    pub fn json(&self) -> Result<Bytes, Failure> {
        Ok(bridge::sealed(self.values.clone())?.to_json())
    }

    /// Whether its payloads are bytes already, so that only the envelope is encoded
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        self.values.iter().all(|(.., value)| matches!(value, Value::Bytes(_)))
    }
}
