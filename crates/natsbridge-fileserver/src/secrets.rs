//! Secrets of a request, which are removed from errors when a server echoes the request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use url::Url;

/// Header names of tokens and keys
const HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-amz-security-token",
    "x-amz-server-side-encryption-customer-key",
    "x-pliktoken",
    "x-uploadtoken",
    "x-ms-encryption-key",
];
/// Least length of a secret; shorter texts occur in ordinary words
const SHORTEST: usize = 5;

/// The secrets of one request
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Tokens, passwords and signatures in the headers and the URL of a request
    pub(crate) fn of(headers: &HeaderMap, url: &Url) -> Self {
        let mut all = Self::default();
        let values = HEADERS.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
        for value in values {
            all.add(value);
            let basic = value.strip_prefix("Basic ").and_then(|basic| STANDARD.decode(basic).ok());
            if let Some(login) = basic.and_then(|login| String::from_utf8(login).ok()) {
                all.add(&login);
                all.add(login.split_once(':').map_or("", |(_, password)| password));
            }
            for word in value.split([' ', ',']).filter(|word| !matches!(*word, "Basic" | "Bearer")) {
                all.add(word);
                all.add(word.split_once('=').map_or("", |(_, value)| value));
            }
        }
        for pair in url.query().unwrap_or_default().split('&') {
            all.add(pair.split_once('=').map_or("", |(_, value)| value));
        }
        for (_, value) in url.query_pairs() {
            all.add(&value);
        }
        all
    }

    /// Adds a secret, as it is and percent-encoded
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && !secret.bytes().all(|byte| byte.is_ascii_digit()) {
            self.0.push(secret.to_owned());
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            if encoded != secret {
                self.0.push(encoded);
            }
        }
    }

    /// Adds other secrets
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(crate) fn and(mut self, others: &Self) -> Self {
        self.0.extend_from_slice(&others.0);
        self
    }

    /// Returns the text with `…` in place of each secret
    pub(crate) fn hide(&self, text: &str) -> String {
        // The longest first, since one may be part of another.
        let mut secrets: Vec<_> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn secret_that_was_sent_is_found_in_every_form() -> Result<(), Box<dyn std::error::Error>> {
        let mut headers = HeaderMap::new();
        let signed = "AWS4-HMAC-SHA256 Credential=AKIA/20260513/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0a1b2c3d4e";
        headers.insert(AUTHORIZATION, signed.parse()?);
        headers.insert("x-amz-security-token", "tok/en+in==parts".parse()?);
        let url = Url::parse("http://h/x?X-Amz-Signature=feedbeef&sig=a%2Fb%2Bcdef")?;
        let secrets = Secrets::of(&headers, &url);
        for text in
            ["0a1b2c3d4e", "tok/en+in==parts", "tok%2Fen%2Bin%3D%3Dparts", "feedbeef", "a/b+cdef", "a%2Fb%2Bcdef"]
        {
            assert_eq!(secrets.hide(&format!("bad {text}!")), "bad …!");
        }
        assert_eq!(secrets.hide("host h, 2026"), "host h, 2026");
        Ok(())
    }
}
