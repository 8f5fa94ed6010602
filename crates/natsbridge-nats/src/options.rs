//! Collects how to connect: servers, credentials, TLS, time-outs and limits.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::auth::Auth;
use crate::setters::setters;
use crate::subject::Subject;
use crate::subscription::SubscriptionLimits;

/// The longest time that is waited for; a clock can't tell the end of `Duration::MAX`
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How to connect to a NATS server: URL, credentials, TLS, time-outs; every setting has a default
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
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub(crate) servers: Vec<ServerUrl>,
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
    /// Options for a server (`nats://`, `tls://`, `ws://` or `wss://`), or for several servers of a cluster with commas
    /// between them
    ///
    /// `nats://user:password@host` and `nats://token@host` carry credentials, which no log or error shows. Credentials set
    /// by a method below replace them; all URLs of one connection must carry the same.
    #[must_use]
    pub fn new(servers: impl AsRef<str>) -> Self {
        Self {
            servers: servers.as_ref().split(',').map(|url| ServerUrl(url.to_owned())).collect(),
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

    setters! {
        /// Sets the connection's name, shown in the server's monitoring
        fn name(self, name: impl Into<String>) { self.name = Some(name.into()) }

        /// Authenticates with a token
        fn token(self, token: impl Into<String>) { self.auth = Some(Auth::Token(token.into())) }

        /// Authenticates with a user name and a password
        fn user_and_password(self, user: impl Into<String>, password: impl Into<String>) {
            self.auth = Some(Auth::UserPassword { user: user.into(), password: password.into() })
        }

        /// Authenticates with an nkey, given as its seed (`SU…`)
        fn nkey(self, seed: impl Into<String>) { self.auth = Some(Auth::Nkey(seed.into())) }

        /// Authenticates with an nkey whose seed is the only line of a file, read at the first connect
        fn nkey_file(self, path: impl Into<PathBuf>) { self.auth = Some(Auth::NkeyFile(path.into())) }
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
        self.auth = Some(Auth::Credentials(text));
        self
    }

    setters! {
        /// Authenticates with the text of a credentials file: a user JWT and an nkey seed, as `nsc` writes them
        fn credentials(self, text: impl Into<String>) { self.auth = Some(Auth::Credentials(text.into())) }

        /// Authenticates with a credentials file, as `nsc` writes it, read at the first connect
        fn credentials_file(self, path: impl Into<PathBuf>) { self.auth = Some(Auth::CredentialsFile(path.into())) }

        /// Trusts the certificate authorities in this PEM file instead of the system's; read at every connect
        fn root_certificates(self, path: impl Into<PathBuf>) { self.root_certificates = Some(path.into()) }

        /// Shows a client certificate to the server (mutual TLS): PEM files of the chain and its key, read at every connect
        fn client_certificate(self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) {
            self.client_certificate = Some((chain.into(), key.into()))
        }

        /// Refuses a connection without TLS; by default TLS is used when the server or the URL asks for it
        fn require_tls(self) { self.tls = TlsMode::Required }

        /// Starts with the TLS handshake, before the server's greeting (`handshake_first` in its configuration)
        fn tls_first(self) { self.tls = TlsMode::First }
    }

    /// Whether these options refuse a connection without TLS: by a method above or by the URLs' schemes
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        let by_url = |url: &ServerUrl| {
            let scheme = url.0.trim().split("://").next().unwrap_or_default();
            scheme == "tls" || scheme == "wss"
        };
        self.tls != TlsMode::WhenOffered || self.servers.iter().all(by_url)
    }

    setters! {
        /// Sets how long the first connect may take, all servers and addresses together; 5 s by default
        fn connect_timeout(self, timeout: Duration) { self.connect_timeout = timeout.min(LONGEST) }

        /// Sets how long [`confirm`](crate::Broker::confirm) waits for the server; 5 s by default
        fn confirm_timeout(self, timeout: Duration) { self.confirm_timeout = timeout.min(LONGEST) }

        /// Sets how long [`drain`](crate::Broker::drain) may take; 10 s by default
        fn drain_timeout(self, timeout: Duration) { self.drain_timeout = timeout.min(LONGEST) }

        /// Sets how often a silent connection is pinged; 3 s by default
        ///
        /// After three intervals in which nothing came, it counts as broken and the client reconnects. Choose a longer interval
        /// where one message takes longer than that on a slow line: the server's pong waits behind it.
        fn ping_interval(self, interval: Duration) { self.ping_interval = interval.min(LONGEST) }

        /// Sets the pause before each attempt to reconnect: a random part of `first`, doubled at each attempt up to `longest`;
        /// 100 ms and 5 s by default
        ///
        /// The whole pause is random ("full jitter"), so that the clients of a restarted server do not come back all at once.
        /// The first attempt after a connection that was up for 50 ms waits at most 10 ms.
        fn reconnect_delay(self, first: Duration, longest: Duration) { self.reconnect_delay = (first, longest) }

        /// Sets how many messages are kept while the connection is down before a publish waits; 2,048 by default
        fn client_capacity(self, messages: usize) { self.client_capacity = messages.max(1) }

        /// Sets how much may wait in each subscription before messages are dropped and counted
        fn subscription_limits(self, limits: SubscriptionLimits) { self.subscription = limits }

        /// Sets the subject below which replies and confirmations arrive; `_INBOX` by default
        ///
        /// To get replies to its requests, the connection needs permission to publish and subscribe below this prefix.
        /// [`confirm`](crate::Broker::confirm) sends a message to itself there. Without the permission it asks for something
        /// that the server refuses: the refusal proves as much, and leaves a line in the server's log.
        fn inbox_prefix(self, prefix: Subject) { self.inbox_prefix = Some(prefix) }
    }
}

/// A server's URL as it was given, perhaps with credentials
#[derive(Clone)]
pub(crate) struct ServerUrl(pub(crate) String);

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Address::parse(&self.0) {
            Ok((address, _)) => f.write_str(address.as_str()),
            Err(_) => f.write_str("(unreadable)"),
        }
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
