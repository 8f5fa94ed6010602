//! The settings of the embedded file server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http::HeaderValue;

use super::{
    error::Fault,
    ids::SecretDigest,
    origin::{host_name, normalised_origin},
    tls::TlsFiles,
};

/// The settings of a [`FileServer`](super::FileServer)
///
/// ```
/// use std::time::Duration;
/// use natsbridge_fileserver::server::ServerConfig;
///
/// let config = ServerConfig::new("/var/lib/natsbridge/files")
///     .max_size(2_000_000_000)
///     .default_ttl(Duration::from_secs(24 * 3600))
///     .token("a long random text")
///     .cors_origin("https://app.example.com");
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerConfig {
    pub(super) dir: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) max_size: u64,
    pub(super) max_total: u64,
    pub(super) default_ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) token: Option<SecretDigest>,
    /// Whether clients can send the token in a header
    token_is_sendable: bool,
    pub(super) cors_origins: Vec<String>,
    pub(super) download_domain: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) hosts: Vec<String>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) min_upload_rate: u64,
    pub(super) header_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) sweep_interval: Duration,
    pub(super) shutdown_grace: Duration,
    pub(super) max_connections: u32,
}

impl ServerConfig {
    /// Creates the default settings for a server that keeps its files in `dir`, which is created if it does not exist
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_size: 10_000_000_000,
            max_total: u64::MAX,
            default_ttl: Duration::from_secs(30 * 24 * 3600),
            max_ttl: Duration::from_secs(30 * 24 * 3600),
            token: None,
            token_is_sendable: true,
            cors_origins: Vec::new(),
            download_domain: None,
            public_url: None,
            hosts: Vec::new(),
            tls: None,
            min_upload_rate: 1000,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(10),
            max_connections: 1024,
        }
    }

    /// Sets the address to listen on, default 127.0.0.1:8080, which only this machine can reach; port 0 means any free port
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets the maximum size of a file in bytes, default 10,000,000,000
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// Sets the maximum size of all uploads together in bytes, default no limit
    ///
    /// Content counts, also of unfinished uploads, and so do names, comments, and 4,096 bytes for each file and folder.
    /// An upload that would exceed the limit is refused with 507.
    pub fn max_total(mut self, bytes: u64) -> Self {
        self.max_total = bytes;
        self
    }

    /// Sets the time to live of uploads whose client sets none, in whole seconds, default 30 days
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Sets the maximum time to live of an upload, in whole seconds, default 30 days and at most 100 years
    pub fn max_ttl(mut self, ttl: Duration) -> Self {
        self.max_ttl = ttl;
        self
    }

    /// Sets the token that clients must send as `X-PlikToken` to create an upload, default none
    ///
    /// Only its SHA-256 is kept. Downloads need no token: their URL is the secret.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        let token = token.as_ref();
        self.token = Some(SecretDigest::of(token));
        self.token_is_sendable = token.trim() == token && HeaderValue::from_str(token).is_ok();
        self
    }

    /// Adds an origin for CORS, such as `https://app.example.com`, or `*` for any; default none
    ///
    /// The origin is normalised as browsers do: lower case, without a slash at the end or the scheme's default port.
    pub fn cors_origin(mut self, origin: impl Into<String>) -> Self {
        self.cors_origins.push(origin.into());
        self
    }

    /// Sets the only base URL for downloads, such as `https://files.example.com`; default any
    ///
    /// Responses name it, so that links begin with it. Downloads with another `Host` are refused, as Plik does.
    pub fn download_domain(mut self, url: impl Into<String>) -> Self {
        self.download_domain = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// Sets the base URL that clients use when a proxy is in front of the server, such as `https://files.example.com/here`
    ///
    /// Responses name it, so that links begin with it. By default, links begin with the address of the client's request.
    /// Downloads by any other address work too.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into().trim().trim_end_matches('/').to_owned());
        self
    }

    /// Adds a host name of this server, such as `files.lab`; default none
    ///
    /// A server without a token accepts as `Host` only its own address, `localhost`, the host of
    /// [`public_url`](Self::public_url) and these names. This prevents DNS rebinding.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Sets the certificate (a PEM file, the server's first) and its key (a PEM file), so that the server speaks TLS; default none
    ///
    /// The files are read again when they change, so a renewed certificate needs no restart.
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsFiles { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Sets the minimum average rate of an upload over each idle timeout, in bytes per second, default 1,000
    pub fn min_upload_rate(mut self, bytes: u64) -> Self {
        self.min_upload_rate = bytes;
        self
    }

    /// Sets how long a client may take to send a request's head, or to begin the next request, default 30 s
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// Sets how long a transfer may be idle before it is aborted, default 60 s
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets the interval at which expired uploads are deleted, default 5 min; until then they are refused
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.sweep_interval = interval;
        self
    }

    /// Sets how long running transfers may continue after the server begins to stop, default 10 s
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = grace;
        self
    }

    /// Sets the maximum number of connections that are served at once, default 1,024; further ones wait
    ///
    /// A download needs at most 64 KB of memory.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// Refuses invalid settings
    pub(super) fn check(&self) -> Result<(), Fault> {
        let wrong = |name, problem: &str| Err(Fault::Config { name, problem: problem.to_owned() });
        if self.default_ttl.as_secs() == 0 {
            return wrong("default_ttl", "must be at least one second");
        }
        if self.default_ttl > self.max_ttl {
            return wrong("max_ttl", "must not be less than default_ttl");
        }
        if self.max_ttl > LONGEST_TTL {
            return wrong("max_ttl", "must be at most 100 years");
        }
        if self.max_size == 0 {
            return wrong("max_size", "must be at least one byte");
        }
        if self.max_total == 0 {
            return wrong("max_total", "must be at least one byte");
        }
        if self.max_connections == 0 {
            return wrong("max_connections", "must be at least one");
        }
        if self.token.as_ref().is_some_and(|token| token.matches("")) {
            return wrong("token", "must not be empty");
        }
        if !self.token_is_sendable {
            return wrong("token", "must fit into an HTTP header: one line, without space at its ends");
        }
        for (name, url) in [("download_domain", &self.download_domain), ("public_url", &self.public_url)] {
            let Some(url) = url else { continue };
            let usable = url::Url::parse(url).is_ok_and(|url| {
                let plain = url.query().is_none() && url.fragment().is_none();
                let secret = !url.username().is_empty() || url.password().is_some();
                matches!(url.scheme(), "http" | "https") && url.has_host() && plain && !secret
            });
            if !usable {
                return wrong(name, "must be an address such as https://files.example.com");
            }
        }
        for origin in &self.cors_origins {
            if let Err(problem) = normalised_origin(origin) {
                return wrong("cors_origin", &problem);
            }
        }
        if self.hosts.iter().any(|host| host_name(host).is_none()) {
            return wrong("host", "must be a name such as files.example.com, or an address");
        }
        for (name, value) in [
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("sweep_interval", self.sweep_interval),
        ] {
            if value.is_zero() {
                return wrong(name, "must be more than zero");
            }
        }
        Ok(())
    }

    /// The `Host` header that downloads must have, if it is restricted
    pub(super) fn download_host(&self) -> Option<String> {
        let url = url::Url::parse(self.download_domain.as_deref()?).ok()?;
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }
}

/// Beyond this the calendar of the expiry date gives out
const LONGEST_TTL: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let base = || ServerConfig::new("unused");
        for (config, name) in [
            (base().default_ttl(Duration::from_secs(2)).max_ttl(Duration::from_secs(1)), "max_ttl"),
            (base().default_ttl(Duration::ZERO), "default_ttl"),
            (base().max_size(0), "max_size"),
            (base().token(""), "token"),
            (base().token("two\nlines"), "token"),
            (base().token(" x"), "token"),
            (base().cors_origin("https://*.example.com"), "cors_origin"),
            (base().host("*"), "host"),
            (base().host("*.example.com"), "host"),
            (base().download_domain("files.example.com"), "download_domain"),
            (base().idle_timeout(Duration::ZERO), "idle_timeout"),
            (base().max_connections(0), "max_connections"),
        ] {
            let Err(Fault::Config { name: found, .. }) = config.check() else { panic!("{name} passed") };
            assert_eq!(found, name);
        }
        assert!(base().check().is_ok());
    }

    #[test]
    fn token_is_not_in_the_debug_output() {
        assert!(!format!("{:?}", ServerConfig::new("unused").token("open sesame")).contains("sesame"));
    }

    #[test]
    fn download_host_has_its_port_only_when_it_is_unusual() {
        let host = |url: &str| ServerConfig::new("unused").download_domain(url).download_host();
        assert_eq!(host("http://localhost:18081/sub/").as_deref(), Some("localhost:18081"));
        assert_eq!(host("https://files.example.com").as_deref(), Some("files.example.com"));
    }
}
