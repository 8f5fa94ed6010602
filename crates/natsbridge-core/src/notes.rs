//! A payload's metadata as it is kept: most payloads have none, and moving an empty map takes longer than writing it.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::Metadata;

/// Metadata that takes hardly any room where there is none, as on most payloads
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Notes(Option<Box<Metadata>>);

impl Notes {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn map(&self) -> &Metadata {
        static NONE: LazyLock<Metadata> = LazyLock::new(Metadata::new);
        self.0.as_deref().unwrap_or_else(|| &NONE)
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

impl From<Metadata> for Notes {
    fn from(map: Metadata) -> Self {
        if map.is_empty() { Self::default() } else { Self(Some(Box::new(map))) }
    }
}
