//! Credentials for NATS, and text that no log or error may show.

use std::fmt;
use std::path::PathBuf;

/// Credentials to log in with
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    Token(Secret),
    UserPassword { user: String, password: Secret },
    Nkey(Secret),
    NkeyFile(PathBuf),
    Credentials(Secret),
    CredentialsFile(PathBuf),
}

/// Text that no log or error may show
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
