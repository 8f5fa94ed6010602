//! Text payloads: UTF-8, checked when read.

use bytes::Bytes;

use crate::error::{CodecError, CodecFault};

/// Reads a string; without copying where these bytes are not shared
pub(super) fn decode(bytes: Bytes) -> Result<String, CodecError> {
    String::from_utf8(bytes.into())
        .map_err(|error| CodecError(CodecFault::Utf8 { at: error.utf8_error().valid_up_to() }))
}
