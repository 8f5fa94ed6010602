//! Makes the first connection: translates the options for async-nats, checks files, classifies errors.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::address::Address;
use crate::auth::Auth;
use crate::error::{BrokerError, BrokerErrorKind};
use crate::nats::failure::{connect_error, connect_timed_out, tls_first};
use crate::nats::greeting::one_begins_with_tls;
use crate::nats::signals::Signals;
use crate::options::{ConnectOptions, TlsMode};
use crate::random::Random;

/// An open connection
pub(crate) struct Connected {
    pub(crate) client: async_nats::Client,
    pub(crate) addresses: Vec<Address>,
}

/// Connects within the options' time; the client reconnects as long as somebody holds `alive`
pub(crate) async fn connect(
    options: &ConnectOptions,
    signals: &Arc<Signals>,
    alive: Weak<()>,
) -> Result<Connected, BrokerError> {
    let (addresses, auth) = addresses(options)?;
    if cfg!(not(feature = "websockets")) && addresses.iter().any(Address::is_websocket) {
        return Err(absent("connections over WebSockets", "websockets"));
    }
    let names = addresses.iter().map(Address::as_str).collect::<Vec<_>>().join(", ");
    let servers = addresses.iter().map(|address| address.as_str().parse::<async_nats::ServerAddr>());
    let servers = servers.collect::<Result<Vec<_>, _>>().map_err(|error| {
        BrokerError::new(BrokerErrorKind::InvalidOptions, format!("async-nats does not take {names}"))
            .with_source(error)
    })?;

    let inner = with_tls(options, with_auth(auth, base(options, signals, alive, servers.len())).await?).await?;
    // Only matters where a program brings two: rustls then asks for a choice and panics without one.
    if CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was quicker, which is as good.
        let _ = ring::default_provider().install_default();
    }

    // A server that does not greet is asked while the attempt still waits, so that both end in time.
    let until = tokio::time::Instant::now() + options.connect_timeout;
    let silence = options.connect_timeout / 5;
    let mut attempt = pin!(tokio::time::timeout_at(until, inner.connect(servers)));
    let mut question = pin!(async {
        tokio::time::sleep(silence).await;
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        options.tls != TlsMode::First && one_begins_with_tls(&addresses, left).await
    });
    let mut begins_with_tls = None;
    let started = Instant::now();
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut attempt => break ended,
            begins = &mut question, if begins_with_tls.is_none() => begins_with_tls = Some(begins),
        }
    };
    let error = match ended {
        Ok(Ok(client)) => return Ok(Connected { client, addresses: addresses.clone() }),
        Ok(Err(error)) => connect_error(&error, &names, addresses.iter().all(Address::is_websocket)),
        Err(_) => connect_timed_out(&names, options.connect_timeout),
    };
    // A server that refuses or closes at once was not silent.
    let was_silent = matches!(error.kind(), BrokerErrorKind::TimedOut | BrokerErrorKind::Unreachable);
    if was_silent && started.elapsed() >= silence {
        let begins = match begins_with_tls {
            Some(begins) => begins,
            None => question.await,
        };
        if begins {
            return Err(tls_first(&names));
        }
    }
    Err(error)
}

/// The servers, and the credentials to use: those of the options, else those in the URLs
fn addresses(options: &ConnectOptions) -> Result<(Vec<Address>, Option<Auth>), BrokerError> {
    let mut addresses = Vec::new();
    let mut in_urls = Vec::new();
    for url in &options.servers {
        let (address, auth) = Address::parse(&url.0)?;
        addresses.push(address);
        in_urls.push(auth);
    }
    if options.auth.is_some() {
        return Ok((addresses, options.auth.clone()));
    }
    if in_urls.windows(2).any(|pair| pair[0] != pair[1]) {
        let message = "the server URLs carry different credentials, but a connection has one set; set them once in the \
                       options, or put the same ones into each URL";
        return Err(BrokerError::new(BrokerErrorKind::InvalidOptions, message));
    }
    Ok((addresses, in_urls.into_iter().next().flatten()))
}

fn base(
    options: &ConnectOptions,
    signals: &Arc<Signals>,
    alive: Weak<()>,
    servers: usize,
) -> async_nats::ConnectOptions {
    let share = u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    let events = signals.clone();
    let mut inner = async_nats::ConnectOptions::new()
        .connection_timeout(options.connect_timeout / share)
        .ping_interval(options.ping_interval)
        .client_capacity(options.client_capacity)
        // Never full: our own queues behind it are bounded and count (see `pump`). tokio reserves nothing for it.
        .subscription_capacity(usize::MAX >> 4)
        // `Subject` and `SubjectFilter` are checked when they are made.
        .skip_subject_validation(true)
        .max_reconnects(None)
        .event_callback(move |event| {
            events.take(event);
            std::future::ready(())
        })
        .reconnect_delay_callback(reconnect_delay(options.reconnect_delay, signals.clone(), alive));
    if let Some(name) = &options.name {
        inner = inner.name(name);
    }
    if let Some(prefix) = &options.inbox_prefix {
        inner = inner.custom_inbox_prefix(prefix);
    }
    inner
}

/// After a connection that was up this long, the client reconnects almost at once, because messages that others publish
/// meanwhile are lost; a server that is gone refuses that attempt, and the pauses begin
const WAS_UP: Duration = Duration::from_millis(50);

/// The longest pause before such an attempt, so that clients whose connections broke together do not come back together
const AT_ONCE: Duration = Duration::from_millis(10);

fn reconnect_delay(
    (first, longest): (Duration, Duration),
    signals: Arc<Signals>,
    alive: Weak<()>,
) -> impl Fn(usize) -> Duration + Send + Sync + 'static {
    /// async-nats can't be told to give up, so a connection that nobody needs sleeps instead
    const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    let state = Mutex::new((Random::from_system(), None::<Instant>));
    move |attempt| {
        if signals.is_closed() || alive.strong_count() == 0 {
            return FOR_EVER;
        }
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (random, last) = &mut *state;
        let before = last.replace(Instant::now());
        if !signals.has_connected() {
            // The first connect: a caller waits for it, and it tries each server once.
            return Duration::ZERO;
        }
        let was_up = before.is_none_or(|before| before.elapsed() >= WAS_UP);
        let ceiling = if attempt <= 1 && was_up { AT_ONCE.min(first) } else { ceiling(first, longest, attempt) };
        Duration::from_micros(random.below(u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// The longest pause before an attempt, counted from 1
fn ceiling(first: Duration, longest: Duration, attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(30);
    first.saturating_mul(1 << doublings).min(longest)
}

/// What this program was built without
fn absent(what: &str, feature: &str) -> BrokerError {
    let message = format!("this program was built without {what} (cargo feature `{feature}`)");
    BrokerError::new(BrokerErrorKind::InvalidOptions, message)
}

async fn with_auth(
    auth: Option<Auth>,
    inner: async_nats::ConnectOptions,
) -> Result<async_nats::ConnectOptions, BrokerError> {
    #[cfg(feature = "nkeys")]
    let unusable = |what: String| {
        let message = format!("{what} can't be used; it needs a user JWT and an nkey seed, as `nsc` writes them");
        BrokerError::new(BrokerErrorKind::InvalidOptions, message)
    };
    match auth {
        None => Ok(inner),
        Some(Auth::Token(token)) => Ok(inner.token(token)),
        Some(Auth::UserPassword { user, password }) => Ok(inner.user_and_password(user, password)),
        #[cfg(feature = "nkeys")]
        Some(Auth::Nkey(seed)) => Ok(inner.nkey(seed)),
        #[cfg(feature = "nkeys")]
        Some(Auth::NkeyFile(path)) => {
            let bytes = read(&path).await?;
            let seed = std::str::from_utf8(&bytes)
                .map_err(|error| unreadable(&path, "is not an nkey seed").with_source(error))?;
            Ok(inner.nkey(seed.trim().to_owned()))
        }
        #[cfg(feature = "nkeys")]
        Some(Auth::Credentials(text)) => {
            inner.credentials(&text).map_err(|error| unusable("the credentials".to_owned()).with_source(error))
        }
        #[cfg(feature = "nkeys")]
        Some(Auth::CredentialsFile(path)) => {
            let bytes = read(&path).await?;
            let unusable = || unusable(format!("the credentials file {}", path.display()));
            let text = std::str::from_utf8(&bytes).map_err(|error| unusable().with_source(error))?;
            inner.credentials(text).map_err(|error| unusable().with_source(error))
        }
        #[cfg(not(feature = "nkeys"))]
        Some(_) => Err(absent("nkeys and credentials files", "nkeys")),
    }
}

async fn with_tls(
    options: &ConnectOptions,
    mut inner: async_nats::ConnectOptions,
) -> Result<async_nats::ConnectOptions, BrokerError> {
    match options.tls {
        TlsMode::WhenOffered => {}
        TlsMode::Required => inner = inner.require_tls(true),
        TlsMode::First => inner = inner.tls_first(),
    }
    if let Some(path) = &options.root_certificates {
        check_certificates(path).await?;
        inner = inner.add_root_certificates(path.clone());
    }
    if let Some((chain, key)) = &options.client_certificate {
        check_certificates(chain).await?;
        check_key(key).await?;
        inner = inner.add_client_certificate(chain.clone(), key.clone());
    }
    Ok(inner)
}

/// async-nats reads the files at each connect, and takes a file without certificates for an empty list
async fn check_certificates(path: &Path) -> Result<(), BrokerError> {
    let bytes = read(path).await?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        Ok(_) => Err(unreadable(path, "contains no certificate; give a PEM file with `BEGIN CERTIFICATE`")),
        Err(error) => Err(unreadable(path, "is not a PEM file of certificates").with_source(error)),
    }
}

async fn check_key(path: &Path) -> Result<(), BrokerError> {
    let bytes = read(path).await?;
    PrivateKeyDer::from_pem_slice(&bytes).map(|_| ()).map_err(|error| {
        unreadable(path, "contains no private key; give a PEM file with `BEGIN PRIVATE KEY`").with_source(error)
    })
}

async fn read(path: &Path) -> Result<Vec<u8>, BrokerError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(owned)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(unreadable(path, "can't be read; check the path and its permissions").with_source(error)),
        Err(error) => Err(unreadable(path, "can't be read while the runtime shuts down").with_source(error)),
    }
}

fn unreadable(path: &Path, why: &str) -> BrokerError {
    BrokerError::new(BrokerErrorKind::InvalidOptions, format!("the file {} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let ceilings: Vec<_> = (1..=8).map(|attempt| ceiling(first, longest, attempt).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(ceiling(first, longest, usize::MAX), longest);

        let signals = Arc::new(Signals::default());
        let alive = Arc::new(());
        let delay = reconnect_delay((first, longest), signals.clone(), Arc::downgrade(&alive));
        assert_eq!(delay(1), Duration::ZERO);
        signals.take(async_nats::Event::Connected);
        let pauses: std::collections::HashSet<_> = (0..100).map(|_| delay(7)).collect();
        assert!(pauses.len() > 90 && pauses.iter().all(|pause| *pause < longest));
        std::thread::sleep(WAS_UP);
        assert!(delay(1) < AT_ONCE, "after a connection that was up, the client reconnects almost at once");
        let at_once_again: Vec<_> = (0..100).map(|_| delay(1)).collect();
        assert!(at_once_again.iter().any(|pause| *pause > AT_ONCE), "after one that broke at once, it waits");
        drop(alive);
        assert!(delay(1) > Duration::from_secs(1_000_000));
    }

    /// Runs itself again in two child processes, which print their pauses.
    #[test]
    #[allow(clippy::print_stdout, reason = "what the child process tells its parent")]
    fn pauses_differ_between_processes() {
        const CHILD: &str = "NATSBRIDGE_TEST_PRINTS_PAUSES";
        if std::env::var_os(CHILD).is_some() {
            let signals = Arc::new(Signals::default());
            let alive = Arc::new(());
            signals.take(async_nats::Event::Connected);
            let delay =
                reconnect_delay((Duration::from_millis(100), Duration::from_secs(5)), signals, Arc::downgrade(&alive));
            println!("pauses {:?}", (1..=8).map(delay).collect::<Vec<_>>());
            return;
        }
        let pauses = || {
            let name = std::thread::current().name().unwrap().to_owned();
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            let output = again.args(["--exact", &name, "--nocapture"]).env(CHILD, "1").output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().find_map(|line| line.split_once("pauses ")).expect("the pauses").1.to_owned()
        };
        assert_ne!(pauses(), pauses());
    }

    #[test]
    fn urls_with_different_credentials_are_refused() {
        let error = addresses(&ConnectOptions::new("nats://one@a,nats://two@b")).unwrap_err();
        assert_eq!(error.kind(), BrokerErrorKind::InvalidOptions);
        let (_, auth) = addresses(&ConnectOptions::new("nats://one@a,nats://two@b").token("three")).unwrap();
        assert!(matches!(auth, Some(Auth::Token(token)) if token == "three"));
        let (addresses, auth) = addresses(&ConnectOptions::new("nats://one@a, nats://one@b")).unwrap();
        assert_eq!((addresses.len(), auth.is_some()), (2, true));
    }
}
