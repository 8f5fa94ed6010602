//! Settings of a bridge: from the environment, or by name in the program.

use std::env::VarError;
use std::sync::Arc;
use std::time::Duration;

use natsbridge_core::{Limits, ReceivePolicy, redacted};
use natsbridge_fileserver::{Downloader, Origin, RetryPolicy, RootCertificates, Uploader};
use natsbridge_nats::{ConnectOptions, Subject, SubjectError, SubjectFilter};
use uuid::Uuid;

use crate::Error;
use crate::error::ConfigError;
use crate::progress::{Progress, ProgressHook};
use crate::setters::{getters, setters};

/// Settings of a [`Bridge`](crate::Bridge): servers, identity, limits, retries
#[derive(Clone)]
pub struct Config {
    pub(crate) nats: ConnectOptions,
    pub(crate) fileserver_url: String,
    pub(crate) fileserver_token: Option<String>,
    pub(crate) fileserver_ca: RootCertificates,
    pub(crate) limits: Limits,
    pub(crate) checks: ReceivePolicy,
    pub(crate) retry: RetryPolicy,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) sender_name: String,
    pub(crate) sender_id: Option<String>,
    pub(crate) transfers: usize,
    pub(crate) links_ahead: u64,
    pub(crate) message_timeout: Duration,
    pub(crate) order_timeout: Duration,
    pub(crate) reply_subjects: Vec<SubjectFilter>,
    pub(crate) direct_fallback: bool,
    pub(crate) uploader: Option<Arc<dyn Uploader>>,
    pub(crate) downloader: Option<Arc<dyn Downloader>>,
    pub(crate) progress: Option<ProgressHook>,
}

impl Config {
    /// The default of `NATS_URL`
    pub const NATS_URL: &'static str = "nats://localhost:4222";
    /// The default of `FILESERVER_URL`
    pub const FILESERVER_URL: &'static str = "http://localhost:8080";

    /// Connects to these servers, separated by commas, such as `nats://localhost:4222`; everything else as by default
    #[must_use]
    pub fn new(nats_url: &str) -> Self {
        Self {
            nats: ConnectOptions::new(nats_url),
            fileserver_url: Self::FILESERVER_URL.to_owned(),
            fileserver_token: None,
            fileserver_ca: RootCertificates::default(),
            limits: Limits::default(),
            checks: ReceivePolicy::default(),
            retry: RetryPolicy::default(),
            allowed_origins: Vec::new(),
            sender_name: "NATSBridge".to_owned(),
            sender_id: None,
            transfers: 4,
            links_ahead: 64_000_000,
            message_timeout: Duration::from_secs(60),
            order_timeout: Duration::from_secs(5),
            reply_subjects: Vec::new(),
            direct_fallback: false,
            uploader: None,
            downloader: None,
            progress: None,
        }
    }

    /// Reads `NATS_URL`, `FILESERVER_URL`, `FILESERVER_TOKEN` and `SIZE_THRESHOLD`, and how to log in
    /// to NATS, and whom to trust
    ///
    /// One of `NATS_CREDS` (a credentials file), `NATS_NKEY` (a file with an nkey seed), `NATS_TOKEN`, and `NATS_USER` with
    /// `NATS_PASSWORD` says who we are. `NATS_CA` (PEM file of trusted certificates), `NATS_CERT` and `NATS_KEY` (PEM files
    /// of a client certificate and its key) rule out a connection without TLS; `NATS_TLS_FIRST=true` begins with the
    /// handshake. `NATS_INBOX_PREFIX` is the subject below which replies arrive ([`ConnectOptions::inbox_prefix`]).
    /// `FILESERVER_CA` is a PEM file of further authorities for file servers, which is read here. A variable that is not
    /// set, or empty, keeps its default.
    ///
    /// # Errors
    /// [`Error::Config`] naming the variable whose value can't be used.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(std::env::var)
    }

    /// Reads the same variables from where the program says, such as its own options in front of the environment
    ///
    /// # Errors
    /// As [`Config::from_env`].
    ///
    /// # Examples
    /// ```
    /// use std::env::VarError;
    ///
    /// use natsbridge::Config;
    ///
    /// let config = Config::from_variables(|name| match name {
    ///     "SIZE_THRESHOLD" => Ok("100000".to_owned()),
    ///     _ => Err(VarError::NotPresent),
    /// })?;
    /// assert_eq!(config.message_limits().threshold(), 100_000);
    /// assert_eq!(config.upload_url(), Config::FILESERVER_URL);
    /// # Ok::<(), natsbridge::Error>(())
    /// ```
    pub fn from_variables(read: impl Fn(&'static str) -> Result<String, VarError>) -> Result<Self, Error> {
        Ok(Self::of_variables(read)?)
    }

    fn of_variables(read: impl Fn(&'static str) -> Result<String, VarError>) -> Result<Self, ConfigError> {
        let variable = |name: &'static str| match read(name) {
            Ok(value) if value.trim().is_empty() => Ok(None),
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(ConfigError::new(name, "it is not valid Unicode")),
        };
        let mut config = Self::new(variable("NATS_URL")?.as_deref().unwrap_or(Self::NATS_URL));
        config.nats = with_tls(with_credentials(config.nats, variable)?, variable)?;
        if let Some(prefix) = variable("NATS_INBOX_PREFIX")? {
            let refused = |error: SubjectError| ConfigError::new("NATS_INBOX_PREFIX", error.to_string());
            config.nats = config.nats.inbox_prefix(Subject::new(prefix).map_err(refused)?);
        }
        if let Some(url) = variable("FILESERVER_URL")? {
            let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
            if !matches!(scheme.as_deref(), Some("http" | "https")) {
                return Err(ConfigError::new("FILESERVER_URL", "it has to start with http:// or https://"));
            }
            if url.parse::<Origin>().is_err() {
                let reason = format!("`{}` is not an http or https URL with a host", redacted(&url));
                return Err(ConfigError::new("FILESERVER_URL", reason));
            }
            config.fileserver_url = url;
        }
        config.fileserver_token = variable("FILESERVER_TOKEN")?;
        if config.fileserver_token.as_ref().is_some_and(|token| token.contains(char::is_control)) {
            let reason = "it holds a line break or another control character, which no header may";
            return Err(ConfigError::new("FILESERVER_TOKEN", reason));
        }
        if let Some(path) = variable("FILESERVER_CA")? {
            let refused = |reason: String| ConfigError::new("FILESERVER_CA", reason);
            let pem = std::fs::read(&path).map_err(|error| refused(format!("`{path}` can't be read: {error}")))?;
            config.fileserver_ca =
                RootCertificates::from_pem(pem).map_err(|error| refused(format!("`{path}`: {error}")))?;
        }
        if let Some(text) = variable("SIZE_THRESHOLD")? {
            let reason = || format!("`{text}` is not a number of bytes; write it in digits, such as 500000");
            let bytes = text.parse().map_err(|_| ConfigError::new("SIZE_THRESHOLD", reason()))?;
            config.limits = config.limits.size_threshold(bytes);
        }
        Ok(config)
    }

    setters! {
        /// Sets how to reach NATS: servers, credentials, TLS, reconnects
        fn nats(self, value: ConnectOptions) { self.nats = value }
        /// Sets the Plik-compatible file server for large payloads; default `http://localhost:8080`
        fn fileserver_url(self, value: impl Into<String>) { self.fileserver_url = value.into() }
        /// Sets the access token that the file server asks of uploaders; default none
        fn fileserver_token(self, value: impl Into<String>) { self.fileserver_token = Some(value.into()) }
        /// Sets additional CA certificates to trust for file servers; default none
        fn fileserver_ca(self, value: RootCertificates) { self.fileserver_ca = value }
        /// Sets thresholds and limits of what is sent; a connection's server decides `max_message_size`
        fn limits(self, value: Limits) { self.limits = value }
        /// Sets the size in bytes from which a payload becomes a link; default 500,000
        fn size_threshold(self, value: u64) { self.limits = self.limits.size_threshold(value) }
        /// Sets the checks applied to messages that arrive
        fn checks(self, value: ReceivePolicy) { self.checks = value }
        /// Sets how uploads and downloads are retried
        fn retry(self, value: RetryPolicy) { self.retry = value }
        /// Allows links to one more origin, such as `https://files.example.com`; default only the file server's
        fn allow_origin(self, value: impl Into<String>) { self.allowed_origins.push(value.into()) }
        /// Sets this program's name in every message; default `NATSBridge`
        fn sender_name(self, value: impl Into<String>) { self.sender_name = value.into() }
        /// Sets this program's identifier in every message, 1 to 64 bytes; default a new one for each bridge
        ///
        /// Acknowledgements are told apart by it. A receiver that keeps its identifier over a restart counts once; one
        /// without counts again. Give no two programs the same.
        fn sender_id(self, value: impl Into<String>) { self.sender_id = Some(value.into()) }
        /// Sets how many payloads of one message are uploaded or downloaded at once; default 4
        fn transfers(self, value: usize) { self.transfers = value }
        /// Sets how many bytes of links a subscriber downloads before their messages are asked for; default 64,000,000
        ///
        /// The links of a message with more are downloaded alone.
        fn links_ahead(self, value: u64) { self.links_ahead = value }
        /// Sets how long the downloads of one message may take together, retries included; default 60 seconds
        ///
        /// A message gets one second more for each 1,000,000 bytes that it says its links hold. One that takes longer fails
        /// with the code `timeout`.
        fn message_timeout(self, value: Duration) { self.message_timeout = value }
        /// Sets how long a message whose links still load holds up later ones; default 5 seconds
        ///
        /// With [`Duration::MAX`] no message overtakes another, as with [`Subscriber::ordered`](crate::Subscriber::ordered).
        fn order_timeout(self, value: Duration) { self.order_timeout = value }
        /// Allows replies to the subjects that this filter matches; default any that does not begin with `$`
        ///
        /// The sender of a message names the subject for replies, so without a filter everybody who can send to this program
        /// can make it publish wherever NATS lets it (`docs/security.md`). Add `_INBOX.>` for requests and acknowledged
        /// deliveries.
        fn allow_replies_to(self, value: SubjectFilter) { self.reply_subjects.push(value) }
        /// Sets whether payloads may travel direct when the file server can't be reached and they fit; default false
        fn direct_fallback(self, value: bool) { self.direct_fallback = value }
        /// Sets the store that large payloads are uploaded to, in place of `fileserver_url`: any [`Uploader`], or an `Arc` of
        /// one
        fn uploader(self, value: impl Uploader + 'static) { self.uploader = Some(Arc::new(value)) }
        /// Sets what downloads links, in place of the safe fetcher: any [`Downloader`], or an `Arc` of one
        fn downloader(self, value: impl Downloader + 'static) { self.downloader = Some(Arc::new(value)) }
        /// Calls a function as the bytes of every upload and download go; default none
        ///
        /// [`MessageBuilder::on_progress`](crate::MessageBuilder::on_progress) replaces it for the uploads of one message. The
        /// function must not block: the transfer waits for it.
        fn on_progress(self, hook: impl Fn(Progress<'_>) + Send + Sync + 'static) {
            self.progress = Some(ProgressHook::new(hook))
        }
    }

    getters! {
        /// How to reach NATS, as these settings say
        const fn connect_options(&self) -> &ConnectOptions { &self.nats }

        /// The limits of what is sent, as these settings say
        const fn message_limits(&self) -> Limits { self.limits }

        /// The URL of the file server for large payloads
        fn upload_url(&self) -> &str { &self.fileserver_url }

        /// The access token that the file server asks of uploaders, if there is one
        fn upload_token(&self) -> Option<&str> { self.fileserver_token.as_deref() }

        /// The CA certificates trusted for file servers besides the system's
        const fn root_certificates(&self) -> &RootCertificates { &self.fileserver_ca }
    }

    /// The identifier of a bridge with these settings
    pub(crate) fn identity(&self) -> Result<String, ConfigError> {
        match self.sender_id.as_deref() {
            None => Ok(Uuid::new_v4().to_string()),
            Some(id) if (1..=MAX_ID).contains(&id.len()) && !id.contains(char::is_control) => Ok(id.to_owned()),
            Some(_) => {
                let reason = format!("an identifier has 1 to {MAX_ID} bytes and no control characters; a UUID is best");
                Err(ConfigError::new("sender_id", reason))
            }
        }
    }
}

/// The longest identifier of a sender or message that receivers remember, in bytes; a UUID has 36
pub(crate) const MAX_ID: usize = 64;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("nats", &self.nats)
            .field("fileserver_url", &redacted(&self.fileserver_url))
            .field("fileserver_token", &self.fileserver_token.as_ref().map(|_| "…"))
            .field("fileserver_ca", &self.fileserver_ca)
            .field("limits", &self.limits)
            .field("checks", &self.checks)
            .field("retry", &self.retry)
            .field("allowed_origins", &shown(&self.allowed_origins))
            .field("sender_name", &self.sender_name)
            .field("sender_id", &self.sender_id)
            .field("transfers", &self.transfers)
            .field("links_ahead", &self.links_ahead)
            .field("message_timeout", &self.message_timeout)
            .field("order_timeout", &self.order_timeout)
            .field("reply_subjects", &self.reply_subjects)
            .field("direct_fallback", &self.direct_fallback)
            .field("uploader", &self.uploader)
            .field("downloader", &self.downloader)
            .field("progress", &self.progress)
            .finish()
    }
}

/// URLs from the program, which may carry passwords, for `Debug`
fn shown(urls: &[String]) -> Vec<String> {
    urls.iter().map(|url| redacted(url)).collect()
}

/// Sets who we are at the NATS server
fn with_credentials(
    nats: ConnectOptions,
    variable: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
) -> Result<ConnectOptions, ConfigError> {
    let mut given = Vec::new();
    for name in ["NATS_CREDS", "NATS_NKEY", "NATS_TOKEN", "NATS_USER"] {
        given.extend(variable(name)?.map(|value| (name, value)));
    }
    let password = variable("NATS_PASSWORD")?;
    if let [(first, _), (second, _), ..] = &given[..] {
        return Err(ConfigError::new(
            second,
            format!("{first} is set as well, and one says who we are; unset the other"),
        ));
    }
    match (given.pop(), password) {
        (Some(("NATS_USER", user)), Some(password)) => Ok(nats.user_and_password(user, password)),
        (Some(("NATS_USER", _)), None) => Err(ConfigError::new("NATS_USER", "NATS_PASSWORD has to be set as well")),
        (_, Some(_)) => {
            Err(ConfigError::new("NATS_PASSWORD", "NATS_USER has to be set as well, and no other credentials"))
        }
        (Some(("NATS_CREDS", path)), None) => Ok(nats.credentials_file(path)),
        (Some(("NATS_NKEY", path)), None) => Ok(nats.nkey_file(path)),
        (Some((_, token)), None) => Ok(nats.token(token)),
        (None, None) => Ok(nats),
    }
}

/// Sets whom we trust, and the certificate that we show
fn with_tls(
    mut nats: ConnectOptions,
    variable: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
) -> Result<ConnectOptions, ConfigError> {
    if let Some(path) = variable("NATS_CA")? {
        // Who names an authority wants to be told when the server has no certificate of it.
        nats = nats.root_certificates(path).require_tls();
    }
    nats = match (variable("NATS_CERT")?, variable("NATS_KEY")?) {
        (Some(chain), Some(key)) => nats.client_certificate(chain, key).require_tls(),
        (Some(_), None) => return Err(ConfigError::new("NATS_CERT", "NATS_KEY has to name the certificate's key")),
        (None, Some(_)) => return Err(ConfigError::new("NATS_KEY", "NATS_CERT has to name the key's certificate")),
        (None, None) => nats,
    };
    match variable("NATS_TLS_FIRST")?.as_deref() {
        Some("true" | "1") => Ok(nats.tls_first()),
        None | Some("false" | "0") => Ok(nats),
        Some(_) => Err(ConfigError::new("NATS_TLS_FIRST", "write true or false")),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(Self::NATS_URL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<Config, ConfigError> {
        Config::of_variables(|asked| if asked == name { Ok(value.to_owned()) } else { Err(VarError::NotPresent) })
    }

    #[test]
    fn environment_sets_what_it_names() {
        assert_eq!(with("SIZE_THRESHOLD", " 1000 ").unwrap().limits.threshold(), 1_000);
        assert_eq!(with("SIZE_THRESHOLD", "").unwrap().limits.threshold(), 500_000);
        assert_eq!(with("FILESERVER_URL", "https://f").unwrap().fileserver_url, "https://f");
        assert_eq!(with("X", "").unwrap().fileserver_url, Config::FILESERVER_URL);
        let named = with("FILESERVER_CA", "../natsbridge-fileserver/testdata/authority.pem").unwrap();
        assert_ne!(named.fileserver_ca, RootCertificates::default());
    }

    #[test]
    fn bad_value_names_its_variable() {
        for (name, value) in [
            ("SIZE_THRESHOLD", "0.5MB"),
            ("SIZE_THRESHOLD", "-1"),
            ("FILESERVER_URL", "files.test"),
            ("FILESERVER_CA", "no/such/file.pem"),
            ("FILESERVER_CA", "Cargo.toml"),
            ("FILESERVER_TOKEN", "hunter2\nhunter2"),
        ] {
            let error = with(name, value).unwrap_err();
            assert!(error.variable == name && error.to_string().contains(name), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    fn set(variables: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
        Config::of_variables(|asked| {
            let found = variables.iter().find(|(name, _)| *name == asked);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        })
    }

    #[test]
    fn credentials_of_two_kinds_or_by_half_are_refused_unshown() {
        for (variables, named) in [
            (&[("NATS_TOKEN", "hunter2"), ("NATS_CREDS", "a.creds")][..], "NATS_TOKEN"),
            (&[("NATS_NKEY", "a.nk"), ("NATS_CREDS", "a.creds")], "NATS_NKEY"),
            (&[("NATS_USER", "ann")], "NATS_USER"),
            (&[("NATS_PASSWORD", "hunter2")], "NATS_PASSWORD"),
            (&[("NATS_PASSWORD", "hunter2"), ("NATS_TOKEN", "hunter2")], "NATS_PASSWORD"),
            (&[("NATS_CERT", "a.pem")], "NATS_CERT"),
            (&[("NATS_KEY", "a.key")], "NATS_KEY"),
            (&[("NATS_TLS_FIRST", "yes")], "NATS_TLS_FIRST"),
            (&[("NATS_INBOX_PREFIX", "_INBOX.ann.>")], "NATS_INBOX_PREFIX"),
        ] {
            let error = set(variables).unwrap_err();
            assert_eq!(error.variable, named, "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        for variables in [&[("NATS_TOKEN", "hunter2")][..], &[("NATS_USER", "ann"), ("NATS_PASSWORD", "hunter2")]] {
            assert!(!format!("{:?}", set(variables).unwrap()).contains("hunter2"));
        }
    }

    #[test]
    fn authority_setting_rules_out_a_connection_without_tls() {
        for (variables, required) in [
            (&[][..], false),
            (&[("NATS_URL", "tls://a")], true),
            (&[("NATS_CA", "ca.pem")], true),
            (&[("NATS_CERT", "a.pem"), ("NATS_KEY", "a.key")], true),
            (&[("NATS_TLS_FIRST", "true")], true),
            (&[("NATS_TLS_FIRST", "0")], false),
        ] {
            assert_eq!(set(variables).unwrap().nats.requires_tls(), required, "{variables:?}");
        }
    }

    #[test]
    fn secret_is_never_shown() {
        let config = with("FILESERVER_TOKEN", "hunter2").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
