//! Error responses of servers: status, one line of text, and `Retry-After`.

use std::fmt;
use std::time::Duration;

use natsbridge_core::shown;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use time::OffsetDateTime;

use crate::retry::retry_after;
use crate::secrets::Secrets;
use crate::verdict::Verdict;

/// Most bytes of an error's body that are read
const MAX_BODY: usize = 4096;
/// Most characters of an error's text that are kept
const MAX_TEXT: usize = 200;

/// A response other than success
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ErrorResponse {
    /// The status; of a redirect to Plik's web page the one that page would show
    pub(crate) status: StatusCode,
    /// First line of a text body, or code and message of a JSON or XML body, without the request's secrets; it is a
    /// stranger's text, which [`fmt::Display`] escapes
    pub(crate) text: String,
    /// `Retry-After`
    pub(crate) retry_after: Option<Duration>,
}

impl ErrorResponse {
    /// Reads at most a few kilobytes for at most `idle`, and removes the secrets
    pub(crate) async fn read(response: Response, idle: Duration, secrets: &Secrets) -> Self {
        let status = response.status();
        if status.is_redirection() {
            let location = header(response.headers(), LOCATION);
            let (code, text) = location.map(|location| plik_redirect(&location, secrets)).unwrap_or_default();
            return Self { status: code.unwrap_or(status), text, retry_after: asked_to_wait(response.headers()) };
        }
        let retry_after = asked_to_wait(response.headers());
        let body = beginning(response, idle).await;
        Self { status, text: said(&body, secrets), retry_after }
    }

    /// Finds an error in the body of a successful response: S3 sends one if joining the parts of an upload fails
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(crate) fn within(body: &[u8], secrets: &Secrets) -> Option<Self> {
        let start = String::from_utf8_lossy(body.get(..MAX_BODY).unwrap_or(body)).into_owned();
        let start = start.trim_start_matches('\u{feff}').trim_start();
        let root = start.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")).map_or(start, |(_, rest)| rest);
        if !root.trim_start().starts_with("<Error") {
            return None;
        }
        let passing = ["InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout"];
        let passing = passing.iter().any(|code| root.contains(&format!("<Code>{code}</Code>")));
        let status = if passing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        Some(Self { status, text: said(start.as_bytes(), secrets), retry_after: None })
    }

    /// The verdict on this response
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::of_status(self.status, self.retry_after.is_some())
    }

    /// Whether the server says that a link or a signature has expired
    pub(crate) fn says_expired(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        ["expired", "not valid in the specified time frame"].iter().any(|words| text.contains(words))
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, text, .. } = self;
        write!(f, "the server answered {status}{}{}", if text.is_empty() { "" } else { ": " }, shown(text))
    }
}

impl fmt::Debug for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorResponse({self})")
    }
}

impl std::error::Error for ErrorResponse {}

fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    header(headers, RETRY_AFTER).and_then(|value| retry_after(&value, OffsetDateTime::now_utc()))
}

/// A header as text; names in Plik's headers may be raw UTF-8
fn header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The real error that a Plik up to 1.3.8 hides in a redirect: `/#/?err=TEXT&errcode=404&uri=…`
fn plik_redirect(location: &str, secrets: &Secrets) -> (Option<StatusCode>, String) {
    let Some((_, query)) = location.split_once('?') else { return Default::default() };
    let (mut status, mut text) = (None, String::new());
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "errcode" => {
                status = value
                    .parse()
                    .ok()
                    .filter(|code| (400..600).contains(code))
                    .and_then(|code: u16| StatusCode::from_u16(code).ok())
            }
            "err" => text = said(value.as_bytes(), secrets),
            _ => {}
        }
    }
    (status, text)
}

/// The beginning of a body, as much of it as comes in time
async fn beginning(mut response: Response, idle: Duration) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_BODY - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if body.len() == MAX_BODY {
                break;
            }
        }
    };
    // The part before a timeout is useful too.
    let _ = tokio::time::timeout(idle, reading).await;
    body
}

/// The first line of a text, or the code and message of a JSON or XML error; nothing of anything else
///
/// Errors of buckets echo the request with its signature and session token, so only these two are used, and the request's
/// secrets are removed from them.
fn said(body: &[u8], secrets: &Secrets) -> String {
    let body = String::from_utf8_lossy(body);
    let body = body.trim_start_matches('\u{feff}').trim();
    let text = match body.as_bytes().first() {
        Some(b'{') => json_error(body).unwrap_or_default(),
        Some(b'<') => {
            let element = |name: &str| {
                let (_, rest) = body.split_once(&format!("<{name}>"))?;
                Some(rest.split_once(&format!("</{name}>"))?.0.trim())
            };
            let found: Vec<_> = ["Code", "Message"].into_iter().filter_map(element).collect();
            found.join(": ")
        }
        _ => body.to_owned(),
    };
    let text = secrets.hide(text.lines().next().unwrap_or_default());
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

/// The message of an error in JSON: of Plik up to 1.2, of Google's interfaces, of OAuth
fn json_error(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let error = &body["error"];
    let texts = [&body["message"], &body["error_description"], &error["message"], error];
    texts.into_iter().find_map(|text| text.as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &[u8]) -> String {
        super::said(body, &Secrets::default())
    }

    fn plik_redirect(location: &str) -> (Option<StatusCode>, String) {
        super::plik_redirect(location, &Secrets::default())
    }

    #[test]
    fn bodies_that_echo_the_request_give_code_and_message_alone() {
        let mut secrets = Secrets::default();
        secrets.add("session-token");
        let s3 = "\u{feff}<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>no session-token\r\nRequestId:1</Message><SignatureProvided>s3cr3t</SignatureProvided></Error>";
        assert_eq!(super::said(s3.as_bytes(), &secrets), "SignatureDoesNotMatch: no …");
        for (json, text) in [
            (r#"{"error":{"code":403,"message":"denied"},"token":"s3cr3t"}"#, "denied"),
            (r#"{"error":"invalid_grant","error_description":"Bad grant"}"#, "Bad grant"),
            (r#"{"error":"invalid_grant","assertion":"s3cr3t"}"#, "invalid_grant"),
            (r#"{"request":"s3cr3t"}"#, ""),
            (r#"{"message":"cut o"#, ""),
        ] {
            assert_eq!(said(json.as_bytes()), text);
        }
        let answer = ErrorResponse { status: StatusCode::FORBIDDEN, text: "a\u{202e}b".repeat(80), retry_after: None };
        assert!(answer.to_string().chars().count() < 600 && !format!("{answer} {answer:?}").contains('\u{202e}'));
    }

    #[test]
    fn plik_errors_are_read_from_text_json_and_redirects() {
        assert_eq!(said(b"invalid token\n"), "invalid token");
        assert_eq!(said(br#"{"message":"Upload not found","value":null}"#), "Upload not found");
        assert_eq!(said(b"<html><body>Bad gateway</body></html>"), "");
        assert_eq!(
            said(b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message><Signature>s</Signature></Error>"),
            "AccessDenied: Request has expired"
        );
        assert_eq!(said(&[0xff, 0x00, 0x1b, b'x']), "\u{fffd}x");
        let location =
            "/#/?err=file payload.bin (2LNrp1EGZY8zV4Hb) is not available : deleted&errcode=404&uri=/file/a/b/c";
        let (status, text) = plik_redirect(location);
        assert_eq!(status, Some(StatusCode::NOT_FOUND));
        assert_eq!(text, "file payload.bin (2LNrp1EGZY8zV4Hb) is not available : deleted");
        assert_eq!(plik_redirect("https://elsewhere.test/x").0, None);
        assert_eq!(plik_redirect("/#/?errcode=200").0, None, "a redirect can't claim success");
    }
}
