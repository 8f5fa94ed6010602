//! Which hosts and origins a server answers to that asks for no token: no web page may use it unless it is named.
//!
//! A page in a browser can send requests to servers that only the browser's machine reaches, and a name that its
//! owner points to another address makes them the page's own ("DNS rebinding"). A browser says where a page is from
//! (`Origin`) and which name it asked for (`Host`). Other programs send no `Origin`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Uri, header};
use natsbridge_core::shown;
use url::{Host, Url};

use super::{api::App, config::ServerConfig, error::Refusal};

/// What the settings say about hosts and origins
#[derive(Debug)]
pub(super) struct Known {
    /// A server with a token answers to all: a page does not have the token
    all: bool,
    listen: SocketAddr,
    /// Names, in lower case, without a dot at the end
    names: Vec<String>,
    /// Origins as browsers write them
    origins: Vec<String>,
}

impl Known {
    pub(super) fn new(config: &ServerConfig, listen: SocketAddr) -> Self {
        let urls = [&config.public_url, &config.download_domain];
        let urls: Vec<Url> = urls.into_iter().flatten().filter_map(|url| Url::parse(url).ok()).collect();
        let named = config.hosts.iter().filter_map(|host| host_name(host));
        let names = urls.iter().filter_map(|url| url.host_str().map(plain_name)).chain(named).collect();
        let public = urls.iter().map(|url| url.origin().ascii_serialization());
        let configured = config.cors_origins.iter().filter_map(|origin| normalised_origin(origin).ok());
        Self { all: config.token.is_some(), listen, names, origins: public.chain(configured).collect() }
    }

    /// Whether the server is asked under a name or an address of its own
    fn knows_host(&self, authority: &str) -> bool {
        match authority_url("http", authority).as_ref().and_then(Url::host) {
            Some(Host::Ipv4(ip)) => self.knows_address(ip.into()),
            Some(Host::Ipv6(ip)) => self.knows_address(IpAddr::from(ip).to_canonical()),
            Some(Host::Domain(name)) => {
                let name = plain_name(name);
                name == "localhost" || self.names.contains(&name)
            }
            None => false,
        }
    }

    fn knows_address(&self, ip: IpAddr) -> bool {
        // A name can be pointed elsewhere, an address can't: whoever listens on all has them all.
        let listen = self.listen.ip().to_canonical();
        ip.is_loopback() || ip == listen || listen.is_unspecified() || self.names.contains(&ip.to_string())
    }

    /// Whether a page of this origin may use the server that was asked for as `authority`
    fn knows_origin(&self, origin: &str, authority: &str) -> bool {
        if self.origins.iter().any(|known| known == "*" || known == origin) {
            return true;
        }
        let Some(page) = Url::parse(origin).ok().filter(|page| matches!(page.scheme(), "http" | "https")) else {
            return false;
        };
        authority_url(page.scheme(), authority).is_some_and(|own| {
            let both_loopback = is_loopback(&page) && is_loopback(&own);
            own.origin() == page.origin()
                || (both_loopback && own.port_or_known_default() == page.port_or_known_default())
        })
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.all {
            return Ok(());
        }
        let texts = |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut hosts: Vec<_> = texts(header::HOST).collect();
        hosts.extend(uri.authority().map(|authority| authority.as_str().into()));
        if let Some(host) = hosts.iter().find(|host| !self.knows_host(host)) {
            let host = shown(host);
            return Err(Refusal::foreign(format!(
                "this file server is not {host}; it has to be told its names (--host)"
            )));
        }
        for origin in texts(header::ORIGIN) {
            if !hosts.iter().any(|host| self.knows_origin(&origin, host)) {
                let origin = shown(&origin);
                return Err(Refusal::foreign(format!(
                    "pages of {origin} may not use this file server; it has to be told their origin (--cors)"
                )));
            }
        }
        Ok(())
    }
}

/// Refuses requests of pages that nobody named, and such for a name that is not the server's
pub(super) async fn refuse_strangers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.known.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.closing().into_response(),
    }
}

/// An origin as browsers write it: `https://App.example.com:443/` becomes `https://app.example.com`
pub(super) fn normalised_origin(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{} {why}; write an origin such as https://app.example.com", shown(text)));
    let text = text.trim();
    if text == "*" {
        return Ok(text.to_owned());
    }
    if !text.contains("://") {
        return wrong("has no http:// or https://");
    }
    let Ok(url) = Url::parse(text) else { return wrong("is no address") };
    if !url.has_host() || url.host_str().is_none_or(str::is_empty) {
        return wrong("names no host");
    }
    // Browsers send one host, which would never equal it.
    if text.contains('*') {
        return wrong("has a `*` in it, which stands alone for any origin");
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return wrong("is more than an origin");
    }
    Ok(match url.scheme() {
        "http" | "https" => url.origin().ascii_serialization(),
        // Of a browser's extension, whose origin has no other form.
        _ => text.trim_end_matches('/').to_owned(),
    })
}

/// A host's name or address as it is compared, without a port; nothing where it is none
pub(super) fn host_name(text: &str) -> Option<String> {
    let text = text.trim();
    // An IPv6 address may come without its brackets.
    let text = text.parse::<std::net::Ipv6Addr>().map_or_else(|_| text.to_owned(), |ip| format!("[{ip}]"));
    let url = authority_url("http", &text)?;
    Some(match url.host()? {
        Host::Domain(name) if name.contains('*') => return None,
        Host::Domain(name) => plain_name(name),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => IpAddr::from(ip).to_canonical().to_string(),
    })
}

fn authority_url(scheme: &str, authority: &str) -> Option<Url> {
    let plain = !authority.is_empty() && !authority.contains(['/', '\\', '@', '?', '#', ' ', '\t', '\r', '\n']);
    plain.then(|| Url::parse(&format!("{scheme}://{authority}/")).ok()).flatten()
}

fn plain_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => plain_name(name) == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(listen: &str, change: impl FnOnce(ServerConfig) -> ServerConfig) -> Known {
        Known::new(&change(ServerConfig::new("unused")), listen.parse().unwrap())
    }

    #[test]
    fn hosts_are_known_in_every_spelling_or_refused() {
        let here = known("127.0.0.1:8080", |config| config.host("files.lab").public_url("https://pub.example/x"));
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST.:1", "[::1]:80", "127.1", "files.lab:9", "pub.example"] {
            assert!(here.knows_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:8080",
            "a@localhost",
            "localhost/evil",
            "lab",
            "xfiles.lab",
            "0.0.0.0:8080",
            "[::]",
            "localhost evil",
            "2130706433.evil",
        ] {
            assert!(!here.knows_host(host), "{host}");
        }
        let wide = known("0.0.0.0:8080", |config| config);
        assert!(wide.knows_host("192.0.2.7:8080") && wide.knows_host("[2001:db8::1]") && !wide.knows_host("lab"));
        let six = known("[::1]:8080", |config| config.host("2001:db8::2"));
        assert!(six.knows_host("[2001:db8::2]:8080") && !six.knows_host("[2001:db8::3]"));
    }

    #[test]
    fn origins_are_the_servers_own_or_named() {
        let here = known("127.0.0.1:8080", |config| {
            config.cors_origin("HTTPS://App.example/").public_url("https://pub.example/x")
        });
        for (origin, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("https://app.example", "127.0.0.1:8080"),
            ("https://pub.example", "127.0.0.1:8080"),
            ("https://files.lab", "files.lab"),
        ] {
            assert!(here.knows_origin(origin, host), "{origin} {host}");
        }
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://127.0.0.1:3000",
            "https://app.example.evil.example",
            "https://app.example:8443",
            "http://app.example",
            "file://",
            "http://127.0.0.1:8080.evil.example",
        ] {
            assert!(!here.knows_origin(origin, "127.0.0.1:8080"), "{origin}");
        }
    }

    #[test]
    fn configured_origins_are_normalised_or_explained() {
        for (text, origin) in [
            ("https://x/", "https://x"),
            ("HTTPS://App.Example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            (" http://localhost:3000 ", "http://localhost:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("*", "*"),
            ("chrome-extension://abcdef/", "chrome-extension://abcdef"),
        ] {
            assert_eq!(normalised_origin(text).as_deref(), Ok(origin));
        }
        for text in [
            "",
            "app.example.com",
            "localhost:3000",
            "https://",
            "https://x/path",
            "https://x/?q",
            "https://u@x",
            "https://*.x",
        ] {
            assert!(normalised_origin(text).unwrap_err().contains("https://app.example.com"), "{text}");
        }
    }
}
