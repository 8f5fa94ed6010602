//! Metadata of messages and payloads: JSON by key.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Map, Value as Json};

/// Metadata of a message or a payload: JSON by key (`docs/specification.md`, section 6)
pub type Metadata = Map<String, Json>;

/// The JSON of metadata
pub(crate) fn json_of(metadata: &Metadata) -> Cow<'static, [u8]> {
    const EMPTY: &[u8] = b"{}";
    if metadata.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    // Writing JSON values with text keys into memory can't fail.
    serde_json::to_vec(metadata).map_or(Cow::Borrowed(EMPTY), Cow::Owned)
}

/// A payload's metadata: one pointer, as most payloads have none
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PayloadMetadata(Option<Box<Metadata>>);

impl PayloadMetadata {
    pub(crate) fn map(&self) -> &Metadata {
        static NONE: LazyLock<Metadata> = LazyLock::new(Metadata::new);
        self.0.as_deref().unwrap_or_else(|| &NONE)
    }

    pub(crate) fn to_json(&self) -> Cow<'static, [u8]> {
        self.0.as_ref().map_or(Cow::Borrowed(b"{}"), |metadata| json_of(metadata))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.0.as_ref()?.get(key)
    }

    pub(crate) fn insert(&mut self, key: &str, value: impl Into<Json>) {
        self.0.get_or_insert_default().insert(key.to_owned(), value.into());
    }

    pub(crate) fn remove(&mut self, keys: &[&str]) {
        if let Some(map) = &mut self.0 {
            for key in keys {
                map.shift_remove(*key);
            }
            if map.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl From<Metadata> for PayloadMetadata {
    fn from(map: Metadata) -> Self {
        if map.is_empty() { Self::default() } else { Self(Some(Box::new(map))) }
    }
}
