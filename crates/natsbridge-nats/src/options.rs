//! Collects how to connect: servers, who we are, TLS, time-outs and bounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::error::BrokerError;
use crate::nats::NatsBroker;
use crate::subject::Subject;
use crate::subscription::SubscriptionLimits;

/// How to connect to NATS; every setting has a default
///
/// ```no_run
/// use natsbridge_nats::ConnectOptions;
///
/// # async fn connect() -> Result<(), natsbridge_nats::BrokerError> {
/// let broker = ConnectOptions::new("tls://nats.example.org:4222")
///     .name("results")
///     .credentials_file("/etc/natsbridge/results.creds")
///     .root_certificates("/etc/natsbridge/ca.pem")
///     .connect()
///     .await?;
/// # let _ = broker;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) servers: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) auth: Option<Auth>,
    pub(crate) root_certificates: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) tls: TlsMode,
    pub(crate) connect_timeout: Duration,
    pub(crate) confirm_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) reconnect_delay: (Duration, Duration),
    pub(crate) client_capacity: usize,
    pub(crate) subscription: SubscriptionLimits,
    pub(crate) inbox_prefix: Option<Subject>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    WhenOffered,
    Required,
    First,
}

impl ConnectOptions {
    /// Options for a server, `nats://`, `tls://`, `ws://` or `wss://`; several may be given with commas between them
    ///
    /// `nats://user:password@host` and `nats://token@host` carry credentials. They are taken out of the URL and used
    /// unless credentials are set here as well; all URLs of one connection must carry the same.
    #[must_use]
    pub fn new(servers: impl AsRef<str>) -> Self {
        Self {
            servers: servers.as_ref().split(',').map(str::to_owned).collect(),
            name: None,
            auth: None,
            root_certificates: None,
            client_certificate: None,
            tls: TlsMode::WhenOffered,
            connect_timeout: Duration::from_secs(5),
            confirm_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(3),
            reconnect_delay: (Duration::from_millis(100), Duration::from_secs(5)),
            client_capacity: 2_048,
            subscription: SubscriptionLimits::default(),
            inbox_prefix: None,
        }
    }

    /// Adds another server of the same cluster
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.servers.push(url.into());
        self
    }

    /// The name shown in the server's monitoring
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Authenticates with a token
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.auth = Some(Auth::Token(Secret::new(token.into())));
        self
    }

    /// Authenticates with user name and password
    #[must_use]
    pub fn user_and_password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.auth = Some(Auth::UserPassword { user: user.into(), password: Secret::new(password.into()) });
        self
    }

    /// Authenticates with an nkey, given as its seed (`SU…`)
    #[must_use]
    pub fn nkey(mut self, seed: impl Into<String>) -> Self {
        self.auth = Some(Auth::Nkey(Secret::new(seed.into())));
        self
    }

    /// Authenticates with an nkey whose seed is the only line of a file, read when connecting
    #[must_use]
    pub fn nkey_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.auth = Some(Auth::NkeyFile(path.into()));
        self
    }

    /// Authenticates with a user JWT and the seed of its nkey
    #[must_use]
    pub fn jwt(mut self, jwt: impl AsRef<str>, seed: impl AsRef<str>) -> Self {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt.as_ref().trim(),
            seed.as_ref().trim()
        );
        self.auth = Some(Auth::Credentials(Secret::new(text)));
        self
    }

    /// Authenticates with the text of a credentials file (JWT and seed, as `nsc` writes it)
    #[must_use]
    pub fn credentials(mut self, text: impl Into<String>) -> Self {
        self.auth = Some(Auth::Credentials(Secret::new(text.into())));
        self
    }

    /// Authenticates with a credentials file, read when connecting
    #[must_use]
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.auth = Some(Auth::CredentialsFile(path.into()));
        self
    }

    /// Trusts the certificates of this PEM file instead of the system's; read at every connect
    #[must_use]
    pub fn root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(path.into());
        self
    }

    /// Presents a client certificate (mutual TLS): PEM files of the chain and its key; read at every connect
    #[must_use]
    pub fn client_certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((chain.into(), key.into()));
        self
    }

    /// Refuses to talk without TLS; unless set, TLS is used when the server or the URL asks for it
    #[must_use]
    pub fn require_tls(mut self) -> Self {
        self.tls = TlsMode::Required;
        self
    }

    /// Starts with the TLS handshake, before the server's greeting (`handshake_first` in its configuration)
    #[must_use]
    pub fn tls_first(mut self) -> Self {
        self.tls = TlsMode::First;
        self
    }

    /// Whether these options rule out a connection without TLS
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        let by_url = |url: &String| {
            let scheme = url.trim().split("://").next().unwrap_or_default();
            scheme == "tls" || scheme == "wss"
        };
        self.tls != TlsMode::WhenOffered || self.servers.iter().all(by_url)
    }

    /// How long the first connect may take, all servers and addresses together; 5 s unless set
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long [`confirm`](crate::Broker::confirm) waits for the server; 5 s unless set
    #[must_use]
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.confirm_timeout = timeout;
        self
    }

    /// How long [`drain`](crate::Broker::drain) may take; 10 s unless set
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How often a silent connection is tried; 3 s unless set
    ///
    /// It counts as broken after three intervals in which nothing came, and is made again. A message that takes longer than
    /// that on a slow line needs a longer interval, because the answer to a ping waits behind it.
    #[must_use]
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// The pause before each attempt to connect again: a random part of `first`, doubling up to `longest`; 100 ms and
    /// 5 s unless set
    ///
    /// The whole pause is random ("full jitter"), so that the clients of a restarted server do not come back at once. The
    /// first attempt after a connection that stood waits 10 ms at most.
    #[must_use]
    pub fn reconnect_delay(mut self, first: Duration, longest: Duration) -> Self {
        self.reconnect_delay = (first, longest);
        self
    }

    /// How many publishes are kept while the connection is down before publishing waits; 2,048 unless set
    #[must_use]
    pub fn client_capacity(mut self, messages: usize) -> Self {
        self.client_capacity = messages.max(1);
        self
    }

    /// How much may wait in each subscription before messages are dropped and counted
    #[must_use]
    pub fn subscription_limits(mut self, limits: SubscriptionLimits) -> Self {
        self.subscription = limits;
        self
    }

    /// Where answers and confirmations arrive, `_INBOX` unless set
    ///
    /// Where permissions are narrow, this connection needs to subscribe below it for answers to its requests. A
    /// confirmation is a message to oneself there; where it may not, it asks for something that the server refuses, whose
    /// refusal proves as much and leaves a line in the server's log.
    #[must_use]
    pub fn inbox_prefix(mut self, prefix: Subject) -> Self {
        self.inbox_prefix = Some(prefix);
        self
    }

    /// Connects, within [`connect_timeout`](Self::connect_timeout)
    ///
    /// After this first success the connection repairs itself for ever.
    ///
    /// # Errors
    /// `InvalidOptions`, `Unresolved`, `Refused`, `Unreachable`, `TimedOut`, `Unauthorized`, `NotWebSocket` and the kinds that
    /// begin with `Tls`; the text names the servers without credentials and says what to do.
    pub async fn connect(self) -> Result<NatsBroker, BrokerError> {
        NatsBroker::connect(self).await
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self
            .servers
            .iter()
            .map(|url| {
                Address::parse(url)
                    .map_or_else(|_| "(unreadable)".to_owned(), |(address, _)| address.as_str().to_owned())
            })
            .collect();
        f.debug_struct("ConnectOptions")
            .field("servers", &servers)
            .field("name", &self.name)
            .field("auth", &self.auth)
            .field("root_certificates", &self.root_certificates)
            .field("client_certificate", &self.client_certificate)
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .field("confirm_timeout", &self.confirm_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("ping_interval", &self.ping_interval)
            .field("reconnect_delay", &self.reconnect_delay)
            .field("client_capacity", &self.client_capacity)
            .field("subscription", &self.subscription)
            .field("inbox_prefix", &self.inbox_prefix)
            .finish()
    }
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    Token(Secret),
    UserPassword { user: String, password: Secret },
    Nkey(Secret),
    NkeyFile(PathBuf),
    Credentials(Secret),
    CredentialsFile(PathBuf),
}

/// Text that no log or error may show.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        for options in [
            ConnectOptions::new("nats://ann:hunter2@a,nats://hunter2@b"),
            ConnectOptions::new("nats://a").token("hunter2"),
            ConnectOptions::new("nats://a").user_and_password("ann", "hunter2"),
            ConnectOptions::new("nats://a").nkey("hunter2"),
            ConnectOptions::new("nats://a").jwt("hunter2", "hunter2"),
            ConnectOptions::new("nats://a").credentials("hunter2"),
        ] {
            assert!(!format!("{options:?}").contains("hunter2"), "{options:?}");
        }
    }
}
