//! Which links may be followed: schemes, origins and addresses (`docs/specification.md`, section 8).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::ConfigError;

/// Scheme, host and port of a URL
///
/// `localhost`, `127.0.0.1` and `[::1]` compare as equal. `Display` shows the host as it was written, and no default port.
///
/// ```
/// use natsbridge_fileserver::Origin;
///
/// let origin: Origin = "http://localhost:8080/some/path".parse()?;
/// assert_eq!(origin, "http://127.0.0.1:8080".parse()?);
/// assert_eq!(origin.to_string(), "http://localhost:8080");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Origin {
    scheme: Box<str>,
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// Returns the origin of a URL; `None` if it is not http or https with a host
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let host = url.host_str()?;
        // `files.test.` is the same host as `files.test`.
        let host = host.strip_suffix('.').unwrap_or(host);
        Some(Self { scheme: url.scheme().into(), host: host.into(), port: url.port_or_known_default()? })
    }

    /// The parts by which origins compare
    fn key(&self) -> (&str, &str, u16) {
        let host = match &*self.host {
            // As the URL parser writes them.
            "127.0.0.1" | "[::1]" | "[::ffff:7f00:1]" => "localhost",
            host => host,
        };
        (&self.scheme, host, self.port)
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Origin {}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Origin {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl FromStr for Origin {
    type Err = ConfigError;

    /// Parses an http or https URL; path and query are ignored
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ConfigError::new("an origin", "it has to be an http or https URL with a host");
        let url = Url::parse(text).map_err(|error| refused().with_source(error))?;
        Self::of(&url).ok_or_else(refused)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match (&**scheme, port) {
            ("http", 80) | ("https", 443) => write!(f, "{scheme}://{host}"),
            _ => write!(f, "{scheme}://{host}:{port}"),
        }
    }
}

/// Why a link is not followed
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Blocked {
    #[error("the link is not a URL")]
    NotAUrl,
    #[error("only http and https links are followed, not `{}`", natsbridge_core::shown(.0))]
    Scheme(String),
    #[error("the link carries a user name or password")]
    UserInfo,
    /// The origin of the link, and those that are allowed
    #[error("this receiver does not download from {0} (allowed: {list})", list = list_origins(.1))]
    Origin(Origin, Vec<Origin>),
    #[error("the address {0} is link-local, a metadata service, unspecified, multicast or reserved")]
    Address(IpAddr),
    #[error("the server redirects to another place, and redirects are not followed")]
    Redirect,
}

/// Most bytes of a name in DNS, and a dot at its end
const LONGEST_HOST: usize = 254;

/// Most origins that an error names
const LISTED: usize = 5;

fn list_origins(origins: &[Origin]) -> String {
    let mut names: Vec<_> = origins.iter().take(LISTED).map(ToString::to_string).collect();
    if origins.len() > LISTED {
        names.push(format!("{} more", origins.len() - LISTED));
    }
    names.join(", ")
}

/// The rules: allowed origins, or, when none is named, every address that is not dangerous
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    allowed: BTreeSet<Origin>,
}

impl Policy {
    pub(crate) fn allow(&mut self, origin: Origin) {
        self.allowed.insert(origin);
    }

    /// Whether addresses have to be checked, since no origin was named
    pub(crate) fn is_open(&self) -> bool {
        self.allowed.is_empty()
    }

    /// Parses a link and checks everything that can be known before its name is resolved
    pub(crate) fn check(&self, link: &str) -> Result<(Url, Origin), Blocked> {
        let url = Url::parse(link).map_err(|_| Blocked::NotAUrl)?;
        // An error would name all of it.
        if url.host_str().is_some_and(|host| host.len() > LONGEST_HOST) {
            return Err(Blocked::NotAUrl);
        }
        let origin = Origin::of(&url).ok_or_else(|| Blocked::Scheme(url.scheme().to_owned()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked::UserInfo);
        }
        if !self.is_open() {
            return if self.allowed.contains(&origin) {
                Ok((url, origin))
            } else {
                Err(Blocked::Origin(origin, self.allowed.iter().cloned().collect()))
            };
        }
        // The URL parser has already turned decimal, octal and hexadecimal hosts into addresses.
        let address = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) | None => None,
        };
        match address.filter(|ip| is_dangerous(*ip)) {
            Some(ip) => Err(Blocked::Address(ip)),
            None => Ok((url, origin)),
        }
    }
}

/// Whether nothing honest serves files there: link-local, metadata services, unspecified, multicast, reserved
///
/// Loopback and private addresses are not dangerous by this rule: the default file server is `http://localhost:8080`.
pub(crate) fn is_dangerous(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_dangerous_v4(ip),
        IpAddr::V6(ip) => is_dangerous_v6(ip),
    }
}

/// Networks that no link may lead to: the list of docs/specification.md, section 8, with the number of bits that count
const FORBIDDEN_V4: [(Ipv4Addr, u32); 7] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(192, 0, 0, 192), 32),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same list's networks of IPv6
const FORBIDDEN_V6: [(Ipv6Addr, u32); 10] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    // NAT64 with the site's own layout: where the IPv4 address is depends on the site.
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

fn is_dangerous_v4(ip: Ipv4Addr) -> bool {
    FORBIDDEN_V4.iter().any(|(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
}

fn is_dangerous_v6(ip: Ipv6Addr) -> bool {
    FORBIDDEN_V6.iter().any(|(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (128 - bits) == 0)
        || embedded_ipv4(ip).is_some_and(is_dangerous_v4)
}

/// The IPv4 address that an IPv6 address holds
fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    if ip.is_loopback() {
        return None;
    }
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match ip.segments() {
        // mapped (::ffff:a.b.c.d), compatible (::a.b.c.d), translated (::ffff:0:a.b.c.d)
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            v4(high, low)
        }
        // NAT64, well-known prefix
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the client's address, inverted
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

/// Resolves a name once and hands out only addresses that may be connected to, so that no second answer can differ
#[derive(Debug)]
pub(crate) struct Guard {
    /// What to answer instead of the system, and how often it was asked
    #[cfg(test)]
    answers: Option<(Answers, std::sync::atomic::AtomicUsize)>,
}

/// What a name server says, one after another, the last again and again
#[cfg(test)]
type Answers = &'static [&'static [[u8; 4]]];

impl Guard {
    pub(crate) fn shared() -> Arc<Self> {
        Arc::new(Self {
            #[cfg(test)]
            answers: None,
        })
    }

    /// A guard before a name server that answers every name with these addresses
    #[cfg(test)]
    pub(crate) fn answering(answers: Answers) -> Arc<Self> {
        Arc::new(Self { answers: Some((answers, std::sync::atomic::AtomicUsize::new(0))) })
    }

    fn look_up(&self, host: String) -> impl Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + use<> {
        #[cfg(test)]
        let fixed = self.answers.as_ref().map(|(answers, asked)| {
            let asked = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            answers[asked.min(answers.len() - 1)]
        });
        async move {
            #[cfg(test)]
            if let Some(addresses) = fixed {
                return Ok(addresses.iter().map(|ip| SocketAddr::from((*ip, 0))).collect());
            }
            Ok(tokio::net::lookup_host((host.as_str(), 0)).await?.collect())
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let looked_up = self.look_up(name.as_str().to_owned());
        Box::pin(async move {
            let (dangerous, safe): (Vec<_>, Vec<_>) =
                looked_up.await?.into_iter().partition(|at| is_dangerous(at.ip()));
            match (safe.is_empty(), dangerous.first()) {
                (true, Some(at)) => Err(Blocked::Address(at.ip()).into()),
                _ => {
                    let addresses: Addrs = Box::new(safe.into_iter());
                    Ok(addresses)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(link: &str) -> Result<(Url, Origin), Blocked> {
        Policy::default().check(link)
    }

    #[test]
    fn links_are_followed_over_http_or_https_without_user_info_only() {
        assert!(open("http://files.test/file/a").is_ok());
        assert!(open("https://files.test/file/a").is_ok());
        for link in
            ["file:///etc/passwd", "ftp://files.test/a", "gopher://files.test/", "data:text/plain,x", "memory://x"]
        {
            assert!(matches!(open(link), Err(Blocked::Scheme(_))), "{link}");
        }
        for link in ["", "files.test/a", "//files.test/a", "http://", "http://a b/"] {
            assert_eq!(open(link).map(|_| ()), Err(Blocked::NotAUrl), "{link}");
        }
        for link in ["http://u@files.test/", "http://u:p@files.test/", "http://:p@files.test/"] {
            assert_eq!(open(link).map(|_| ()), Err(Blocked::UserInfo), "{link}");
        }
    }

    /// The list that every client shares: forbidden networks, hosts in many spellings, pairs of origins
    fn shared_list() -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/addresses.json");
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    fn text<'a>(of: &'a serde_json::Value, field: &str) -> &'a str {
        of[field].as_str().unwrap_or_default()
    }

    #[test]
    fn dangerous_addresses_are_refused_in_every_spelling() -> Result<(), Box<dyn std::error::Error>> {
        let list = shared_list()?;
        let hosts = list["hosts"].as_array().ok_or("no hosts")?;
        assert!(hosts.len() > 100);
        for host in hosts {
            let link = format!("http://{}/x", text(host, "host"));
            let judged = match open(&link) {
                Ok(_) => "open",
                Err(Blocked::Address(_)) => "forbidden",
                Err(_) => "invalid",
            };
            assert_eq!(judged, text(host, "judgement"), "{link}");
        }
        Ok(())
    }

    #[test]
    fn forbidden_networks_are_those_of_the_shared_list() -> Result<(), Box<dyn std::error::Error>> {
        let ours: BTreeSet<String> = FORBIDDEN_V4
            .iter()
            .map(|(network, bits)| format!("{network}/{bits}"))
            .chain(FORBIDDEN_V6.iter().map(|(network, bits)| format!("{network}/{bits}")))
            .collect();
        let list = shared_list()?;
        let theirs = list["forbidden"].as_array().ok_or("no networks")?;
        assert_eq!(ours, theirs.iter().map(|network| text(network, "network").to_owned()).collect());
        Ok(())
    }

    #[test]
    fn loopback_spellings_of_one_port_are_one_origin() -> Result<(), Box<dyn std::error::Error>> {
        let list = shared_list()?;
        for pair in list["origins"].as_array().ok_or("no origins")? {
            let mut policy = Policy::default();
            policy.allow(text(pair, "configured").parse()?);
            assert_eq!(Some(policy.check(text(pair, "link")).is_ok()), pair["followed"].as_bool(), "{pair}");
        }
        Ok(())
    }

    #[test]
    fn origins_are_named_in_a_refusal_as_they_were_written() -> Result<(), ConfigError> {
        let mut policy = Policy::default();
        policy.allow("http://127.0.0.1:8080".parse()?);
        policy.allow("https://files.test/plik".parse()?);
        let refusal = policy.check("http://localhost:9000/x").map(|_| ()).map_err(|blocked| blocked.to_string());
        let text = "this receiver does not download from http://localhost:9000 (allowed: http://127.0.0.1:8080, https://files.test)";
        assert_eq!(refusal, Err(text.to_owned()));
        Ok(())
    }

    #[test]
    fn host_that_is_longer_than_any_name_is_no_host() -> Result<(), ConfigError> {
        let link = |len: usize| format!("http://{}/x", "a".repeat(len));
        assert!(open(&link(LONGEST_HOST)).is_ok());
        assert_eq!(open(&link(LONGEST_HOST + 1)).map(|_| ()), Err(Blocked::NotAUrl));
        let mut policy = Policy::default();
        policy.allow("https://files.test".parse()?);
        let refusal = policy.check(&link(400_000)).map(|_| ()).map_err(|blocked| blocked.to_string().len() < 100);
        assert_eq!(refusal, Err(true));
        Ok(())
    }

    #[test]
    fn origins_not_named_are_refused_once_one_is_named() -> Result<(), ConfigError> {
        let mut policy = Policy::default();
        policy.allow("https://files.test/plik".parse()?);
        policy.allow("http://127.0.0.1:8080".parse()?);
        for link in
            ["https://files.test/file/a", "https://files.test:443/", "https://FILES.test./x", "http://127.0.0.1:8080/"]
        {
            assert!(policy.check(link).is_ok(), "{link}");
        }
        for link in [
            "http://files.test/",
            "https://files.test:8443/",
            "https://files.test.evil/",
            "https://evil/files.test",
            "http://127.0.0.1/",
        ] {
            assert!(matches!(policy.check(link), Err(Blocked::Origin(..))), "{link}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn name_with_dangerous_addresses_only_is_refused() {
        let name = || "evil.test".parse::<Name>();
        let bad = Guard::answering(&[&[[169, 254, 169, 254]]]);
        let mixed = Guard::answering(&[&[[169, 254, 169, 254], [10, 0, 0, 1]]]);
        let error = bad.resolve(name().expect("a name")).await.map(|_| ()).expect_err("refused");
        assert!(error.downcast_ref::<Blocked>().is_some());
        let left: Vec<_> = mixed.resolve(name().expect("a name")).await.expect("resolved").collect();
        assert_eq!(left, [SocketAddr::from(([10, 0, 0, 1], 0))]);
    }
}
