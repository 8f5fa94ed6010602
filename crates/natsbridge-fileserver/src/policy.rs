//! Which links may be followed: schemes, origins and addresses (design.md, "Safety at the receiver").

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::ConfigError;

/// Scheme, host and port: who is asked, whatever the path
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    scheme: Box<str>,
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// The origin of a URL; `None` unless it is http or https with a host
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
}

impl FromStr for Origin {
    type Err = ConfigError;

    /// Reads the origin from any http or https URL; path and query are ignored
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ConfigError::new("an origin", "it has to be an http or https URL with a host");
        let url = Url::parse(text).map_err(|error| refused().with_source(error))?;
        Self::of(&url).ok_or_else(refused)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// Why a link is not followed
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Blocked {
    #[error("the link is not a URL")]
    NotAUrl,
    #[error("only http and https links are followed, not `{0}`")]
    Scheme(String),
    #[error("the link carries a user name or password")]
    UserInfo,
    #[error("the origin {0} is not among the allowed ones")]
    Origin(Origin),
    #[error("the address {0} is link-local, a metadata service, unspecified, multicast or reserved")]
    Address(IpAddr),
    #[error("the server redirects to another place, and redirects are not followed")]
    Redirect,
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
        let origin = Origin::of(&url).ok_or_else(|| Blocked::Scheme(url.scheme().to_owned()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked::UserInfo);
        }
        if !self.is_open() {
            return if self.allowed.contains(&origin) { Ok((url, origin)) } else { Err(Blocked::Origin(origin)) };
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

/// Metadata services outside 169.254.0.0/16: Azure's wire server, Alibaba, Oracle
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];

/// Metadata services by IPv6: Amazon, Google
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

fn is_dangerous_v4(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    first == 0 || ip.is_link_local() || ip.is_multicast() || first >= 240 || METADATA_V4.contains(&ip)
}

fn is_dangerous_v6(ip: Ipv6Addr) -> bool {
    if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() || METADATA_V6.contains(&ip) {
        return true;
    }
    if ip.is_loopback() {
        return false;
    }
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let inner = match s {
        // mapped (::ffff:a.b.c.d), compatible (::a.b.c.d), translated (::ffff:0:a.b.c.d)
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            v4(high, low)
        }
        // NAT64, well-known prefix
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64, local-use prefix: where the IPv4 address stands depends on the site
        [0x64, 0xff9b, 1, ..] => return true,
        // 6to4
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the client's address, inverted
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // site-local, long withdrawn
        [first, ..] if first & 0xffc0 == 0xfec0 => return true,
        _ => return false,
    };
    is_dangerous_v4(inner)
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
    fn only_http_and_https_links_without_user_info_are_followed() {
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

    #[test]
    fn dangerous_addresses_are_refused_in_every_spelling() {
        for link in [
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[2001:0:1:2:3:4:5601:5601]/",
            "http://[fe80::1]/",
            "http://[fec0::1]/",
            "http://[fd00:ec2::254]/",
            "http://[ff02::1]/",
            "http://[::]/",
            "http://0.0.0.0/",
            "http://0/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://240.0.0.1/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
            "http://①⑥⑨.254.169.254/",
        ] {
            assert!(matches!(open(link), Err(Blocked::Address(_))), "{link}");
        }
        for link in [
            "http://127.0.0.1:8080/",
            "http://[::1]/",
            "http://10.1.2.3/",
            "http://[2606:4700::1]/",
            "http://192.168.0.1/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            assert!(open(link).is_ok(), "{link}");
        }
    }

    #[test]
    fn only_the_named_origins_are_followed_once_one_is_named() -> Result<(), ConfigError> {
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
            assert!(matches!(policy.check(link), Err(Blocked::Origin(_))), "{link}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_dangerous_address_alone_is_refused() {
        let name = || "evil.test".parse::<Name>();
        let bad = Guard::answering(&[&[[169, 254, 169, 254]]]);
        let mixed = Guard::answering(&[&[[169, 254, 169, 254], [10, 0, 0, 1]]]);
        let error = bad.resolve(name().expect("a name")).await.map(|_| ()).expect_err("refused");
        assert!(error.downcast_ref::<Blocked>().is_some());
        let left: Vec<_> = mixed.resolve(name().expect("a name")).await.expect("resolved").collect();
        assert_eq!(left, [SocketAddr::from(([10, 0, 0, 1], 0))]);
    }
}
