//! The file of profiles: JSON that only its user may read, replaced whole, with no secret in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use natsbridge::broker::Subject;
use serde::{Deserialize, Serialize};

use super::{Given, check_store, folder, whole, without_password};
use crate::failure::Failure;
use crate::output;

/// What the file holds
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) in_use: Option<String>,
    #[serde(default)]
    pub(super) profiles: BTreeMap<String, Saved>,
}

// What one profile holds; no comment for rustdoc, which clap would take for the command's own help.
#[derive(Debug, Default, Serialize, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::doc_markdown, reason = "the help shows names as they are typed")]
pub(super) struct Saved {
    /// NATS server, or several with commas
    #[arg(long, value_name = "URL", help_heading = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nats: Option<String>,
    /// Credentials file, as nsc writes it
    #[arg(long, value_name = "FILE", help_heading = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    creds: Option<String>,
    /// File with the nkey seed
    #[arg(long, value_name = "FILE", help_heading = "NATS", conflicts_with = "creds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    /// User name
    #[arg(long, value_name = "NAME", help_heading = "NATS", conflicts_with_all = ["creds", "nkey"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", help_heading = "NATS", requires = "user")]
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<String>,
    /// Variable with the user's password
    #[arg(long, value_name = "VARIABLE", help_heading = "NATS", requires = "user", conflicts_with = "password_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    password_env: Option<String>,
    /// File with the token to log in with
    #[arg(long, value_name = "FILE", help_heading = "NATS", conflicts_with_all = ["creds", "nkey", "user"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<String>,
    /// Variable with the token to log in with
    #[arg(long, value_name = "VARIABLE", help_heading = "NATS")]
    #[arg(conflicts_with_all = ["creds", "nkey", "user", "token_file"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_env: Option<String>,
    /// PEM file of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE", help_heading = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ca: Option<String>,
    /// PEM file of the certificate to show
    #[arg(long, value_name = "FILE", help_heading = "NATS", requires = "tls_key")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<String>,
    /// PEM file of that certificate's key
    #[arg(long, value_name = "FILE", help_heading = "NATS", requires = "tls_cert")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<String>,
    /// Start with TLS, before the server's greeting
    #[arg(long, help_heading = "NATS")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_first: bool,
    /// Subject below which replies arrive, such as _INBOX.ann
    #[arg(long, value_name = "SUBJECT", help_heading = "NATS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    inbox_prefix: Option<String>,
    /// File server for large payloads
    #[arg(long, value_name = "URL", help_heading = "File server")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fileserver: Option<String>,
    /// Bucket for large payloads, s3://BUCKET
    #[arg(long, value_name = "URL", help_heading = "File server", conflicts_with = "fileserver")]
    #[serde(skip_serializing_if = "Option::is_none")]
    s3: Option<String>,
    /// WebDAV or other server that takes HTTP PUT
    #[arg(long, value_name = "URL", help_heading = "File server", conflicts_with_all = ["fileserver", "s3"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// File with the token that the file server asks for
    #[arg(long, value_name = "FILE", help_heading = "File server")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fileserver_token_file: Option<String>,
    /// Variable with the token that the file server asks for
    #[arg(long, value_name = "VARIABLE", help_heading = "File server", conflicts_with = "fileserver_token_file")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fileserver_token_env: Option<String>,
    /// PEM file of additional authorities to trust for file servers
    #[arg(long, value_name = "FILE", help_heading = "File server")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fileserver_ca: Option<String>,
    /// Size from which a payload becomes a link, such as 0.5MB
    #[arg(long, value_name = "SIZE", help_heading = "File server", value_parser = super::threshold)]
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u64>,
}

/// Where profiles are
pub(super) fn path() -> Result<PathBuf, Failure> {
    let nowhere = || Failure::Usage("there is no folder for profiles: HOME and XDG_CONFIG_HOME are not set".to_owned());
    folder().map(|dir| dir.join("natsbridge").join("profiles.json")).ok_or_else(nowhere)
}

/// Lets one program at a time change the file, until what is returned is dropped
pub(super) fn lock(path: &Path) -> Result<fs::File, Failure> {
    let locked = || {
        fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new(".")))?;
        // Not the file itself, which each change replaces.
        let file = fs::File::create(path.with_extension("lock"))?;
        match file.lock() {
            // A network drive may have no locks.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(file),
        }
    };
    locked().map_err(|error| Failure::system(format!("cannot lock {}", path.display()), error))
}

impl Profiles {
    /// Reads the file; one that is missing holds nothing
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::system(format!("cannot read {}", path.display()), error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            let path = output::harmless(&path.to_string_lossy());
            Failure::Usage(format!("{path} is no file of profiles: {error}; mend it, or remove it"))
        })
    }

    /// Replaces the file
    pub(super) fn store(&self, path: &Path) -> Result<(), Failure> {
        self.write(path).map_err(|error| Failure::system(format!("cannot write {}", path.display()), error))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        // A link, as to a folder of settings that is kept elsewhere, stays one.
        let path = match fs::read_link(path) {
            Ok(target) => &fs::canonicalize(path).unwrap_or_else(|_| path.with_file_name(target)),
            Err(_) => path,
        };
        let dir = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(dir)?;
        // Only its owner may read a temporary file, and it keeps that under its new name.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

impl Saved {
    /// Finds out what is wrong while its author is there
    pub(super) fn checked(mut self) -> Result<Self, Failure> {
        if let Some(url) = &self.nats {
            without_password("--nats", url)?;
        }
        for (option, url) in [("--fileserver", &self.fileserver), ("--s3", &self.s3), ("--store", &self.store)] {
            if let Some(url) = url {
                check_store(option, url)?;
            }
        }
        if let Some(prefix) = &self.inbox_prefix {
            let wrong = |error| Failure::Usage(format!("--inbox-prefix can't be used: {error}"));
            Subject::new(prefix.clone()).map_err(wrong)?;
        }
        if self.user.is_some() && self.password_file.is_none() && self.password_env.is_none() {
            let why = "--user needs a password: give --password-file or --password-env";
            return Err(Failure::Usage(why.to_owned()));
        }
        let files = [
            ("--creds", &mut self.creds),
            ("--nkey", &mut self.nkey),
            ("--password-file", &mut self.password_file),
            ("--token-file", &mut self.token_file),
            ("--tls-ca", &mut self.tls_ca),
            ("--tls-cert", &mut self.tls_cert),
            ("--tls-key", &mut self.tls_key),
            ("--fileserver-token-file", &mut self.fileserver_token_file),
            ("--fileserver-ca", &mut self.fileserver_ca),
        ];
        for (option, file) in files {
            if let Some(path) = file {
                *path = whole(option, path)?;
            }
        }
        Ok(self)
    }

    /// The settings, with secrets read from where they are
    pub(super) fn given(&self, name: &str) -> Result<Given, Failure> {
        let origin = format!("profile `{name}`");
        let from_file = |path: &str| {
            let text = fs::read_to_string(path);
            let text =
                text.map_err(|error| Failure::Usage(format!("{origin}: {}: {error}", output::harmless(path))))?;
            // Without the line end that editors write.
            Ok::<_, Failure>(text.trim_end_matches(['\r', '\n']).to_owned())
        };
        let from_variable = |variable: &str| {
            let set = std::env::var(variable).ok().filter(|value| !value.is_empty());
            set.ok_or_else(|| {
                Failure::Usage(format!("{origin}: the variable {} is not set", output::harmless(variable)))
            })
        };
        let secret = |file: &Option<String>, variable: &Option<String>| match (file, variable) {
            (Some(path), _) => from_file(path).map(Some),
            (None, Some(variable)) => from_variable(variable).map(Some),
            (None, None) => Ok(None),
        };
        let values = [
            ("NATS_URL", self.nats.clone()),
            ("NATS_CREDS", self.creds.clone()),
            ("NATS_NKEY", self.nkey.clone()),
            ("NATS_USER", self.user.clone()),
            ("NATS_PASSWORD", secret(&self.password_file, &self.password_env)?),
            ("NATS_TOKEN", secret(&self.token_file, &self.token_env)?),
            ("NATS_CA", self.tls_ca.clone()),
            ("NATS_CERT", self.tls_cert.clone()),
            ("NATS_KEY", self.tls_key.clone()),
            ("NATS_TLS_FIRST", self.tls_first.then(|| "true".to_owned())),
            ("NATS_INBOX_PREFIX", self.inbox_prefix.clone()),
            ("FILESERVER_URL", self.fileserver.clone()),
            ("S3_URL", self.s3.clone()),
            ("STORE_URL", self.store.clone()),
            ("FILESERVER_TOKEN", secret(&self.fileserver_token_file, &self.fileserver_token_env)?),
            ("FILESERVER_CA", self.fileserver_ca.clone()),
            ("SIZE_THRESHOLD", self.threshold.map(|bytes| bytes.to_string())),
        ];
        let values = values.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        Ok(Given { origin, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("natsbridge/profiles.json");
        assert!(Profiles::load(&path).unwrap().profiles.is_empty());
        let saved = Saved { nats: Some("nats://a".to_owned()), threshold: Some(7), ..Saved::default() };
        let profiles = Profiles { in_use: Some("lab".to_owned()), profiles: [("lab".to_owned(), saved)].into() };
        for _ in 0..2 {
            profiles.store(&path).unwrap();
        }
        let read = Profiles::load(&path).unwrap();
        let given = read.profiles["lab"].given("lab").unwrap();
        assert_eq!(
            (given.get("NATS_URL").as_deref(), given.get("SIZE_THRESHOLD").as_deref()),
            (Some("nats://a"), Some("7"))
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::write(&path, "{\"profiles\":{\"lab\":{\"password\":\"hunter2\"}}}").unwrap();
        assert!(Profiles::load(&path).is_err());
    }
}
