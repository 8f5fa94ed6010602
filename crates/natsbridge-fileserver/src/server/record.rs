//! What is kept about an upload, and how it is shown to clients.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::ids::{Id, SecretDigest};

/// Where a file stands; the words are Plik's
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// Declared, no content yet
    Missing,
    /// Content is arriving
    Uploading,
    /// Can be fetched
    Uploaded,
    /// All bytes of a one-shot were handed out, or it is about to be erased
    Removed,
    /// Content erased
    Deleted,
}

impl Status {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Uploading => "uploading",
            Self::Uploaded => "uploaded",
            Self::Removed => "removed",
            Self::Deleted => "deleted",
        }
    }
}

/// One file of an upload: stored and shown in the same form, which is Plik's
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileRecord {
    pub(super) id: String,
    pub(super) file_name: String,
    pub(super) status: Status,
    pub(super) file_md5: String,
    /// In place of the MD5, for an upload whose maker asked for it; Plik has no such key
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) file_crc64nvme: String,
    pub(super) file_type: String,
    pub(super) file_size: u64,
    pub(super) reference: String,
    pub(super) created_at: String,
}

impl FileRecord {
    pub(super) fn new(id: Id, name: String, status: Status) -> Self {
        Self {
            id: id.to_string(),
            file_name: name,
            status,
            file_md5: String::new(),
            file_crc64nvme: String::new(),
            file_type: String::new(),
            file_size: 0,
            reference: String::new(),
            created_at: rfc3339(OffsetDateTime::now_utc()),
        }
    }
}

/// An upload as stored on disk
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The form of this record; only 1 exists
    version: u8,
    pub(super) id: String,
    /// Seconds
    pub(super) ttl: u64,
    pub(super) comments: String,
    pub(super) one_shot: bool,
    pub(super) removable: bool,
    #[serde(default)]
    pub(super) crc64nvme: bool,
    /// SHA-256 of the upload token, hexadecimal; the token itself is not kept
    token_sha256: String,
    created_at: String,
    expire_at: String,
    pub(super) files: Vec<FileRecord>,
}

/// What a client may choose about an upload
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) one_shot: bool,
    pub(super) removable: bool,
    /// CRC-64/NVME of files in place of MD5
    pub(super) crc64nvme: bool,
    /// Seconds
    pub(super) ttl: u64,
    pub(super) comments: String,
    pub(super) files: Vec<FileRecord>,
}

impl Record {
    pub(super) fn new(id: Id, token: &str, wishes: Wishes) -> Self {
        let now = OffsetDateTime::now_utc();
        let ttl = Duration::seconds(i64::try_from(wishes.ttl).unwrap_or(i64::MAX));
        Self {
            version: 1,
            id: id.to_string(),
            ttl: wishes.ttl,
            comments: wishes.comments,
            one_shot: wishes.one_shot,
            removable: wishes.removable,
            crc64nvme: wishes.crc64nvme,
            token_sha256: SecretDigest::of(token).to_hex(),
            created_at: rfc3339(now),
            expire_at: rfc3339(now.saturating_add(ttl)),
            files: wishes.files,
        }
    }

    /// Whether the upload's time is over; a date that can't be read counts as over
    pub(super) fn is_expired(&self) -> bool {
        OffsetDateTime::parse(&self.expire_at, &Rfc3339).map_or(true, |end| end <= OffsetDateTime::now_utc())
    }

    /// When it was made, in seconds since 1970; 0 if that can't be read
    pub(super) fn made_at(&self) -> u64 {
        let made = OffsetDateTime::parse(&self.created_at, &Rfc3339).ok();
        made.and_then(|made| u64::try_from(made.unix_timestamp()).ok()).unwrap_or(0)
    }

    /// Whether `token` is this upload's token, compared in constant time
    pub(super) fn is_owned_by(&self, token: &str) -> bool {
        SecretDigest::from_hex(&self.token_sha256).is_some_and(|digest| digest.matches(token))
    }

    pub(super) fn file(&self, id: Id) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.id == id.as_str())
    }

    pub(super) fn file_mut(&mut self, id: Id) -> Option<&mut FileRecord> {
        self.files.iter_mut().find(|file| file.id == id.as_str())
    }

    /// The upload as clients see it; `token` only for its maker
    pub(super) fn view<'a>(&'a self, domain: &'a str, token: Option<&'a str>, admin: bool) -> View<'a> {
        View {
            id: &self.id,
            ttl: self.ttl,
            extend_ttl: false,
            download_domain: domain,
            comments: &self.comments,
            files: (!self.files.is_empty()).then_some(&self.files),
            upload_token: token,
            admin,
            stream: false,
            one_shot: self.one_shot,
            removable: self.removable,
            protected_by_password: false,
            created_at: &self.created_at,
            expire_at: &self.expire_at,
            crc64nvme: self.crc64nvme,
        }
    }
}

/// An upload in Plik's JSON, in Plik's order of keys
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    id: &'a str,
    ttl: u64,
    #[serde(rename = "extend_ttl")]
    extend_ttl: bool,
    download_domain: &'a str,
    comments: &'a str,
    /// `null` and not `[]` when there are none
    files: Option<&'a Vec<FileRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_token: Option<&'a str>,
    admin: bool,
    stream: bool,
    one_shot: bool,
    removable: bool,
    protected_by_password: bool,
    created_at: &'a str,
    expire_at: &'a str,
    /// A key that Plik does not have, only for who asked for it
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    crc64nvme: bool,
}

fn rfc3339(moment: OffsetDateTime) -> String {
    // Formatting fails for years beyond 9999 only, which `ServerConfig::check` keeps out of reach.
    moment.format(&Rfc3339).unwrap_or_default()
}
