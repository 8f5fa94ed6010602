//! Credentials for NATS, which no log or error may show.

use std::fmt;
use std::path::PathBuf;

/// Credentials to log in with
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    Token(String),
    UserPassword { user: String, password: String },
    Nkey(String),
    NkeyFile(PathBuf),
    Credentials(String),
    CredentialsFile(PathBuf),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(…)")
    }
}
