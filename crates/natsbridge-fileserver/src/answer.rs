//! What a server says when it does not do what was asked: status, one line of text, and when to come back.

use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use time::OffsetDateTime;

use crate::retry::retry_after;

/// Most bytes of an error's body that are read
const MAX_BODY: usize = 4096;
/// Most characters of an error's text that are kept
const MAX_TEXT: usize = 200;

/// An answer other than success
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server answered {status}{}{text}", if text.is_empty() { "" } else { ": " })]
pub(crate) struct Answer {
    /// The status; of a redirect to Plik's web page the one that page would show
    pub(crate) status: StatusCode,
    /// The first line of the body where it is text
    pub(crate) text: String,
    /// How long the server asks to wait
    pub(crate) retry_after: Option<Duration>,
}

impl Answer {
    /// Reads what the server says, at most a few kilobytes and for at most `idle`
    pub(crate) async fn read(response: Response, idle: Duration) -> Self {
        let headers = response.headers();
        let retry_after = header(headers, RETRY_AFTER).and_then(|value| retry_after(&value, OffsetDateTime::now_utc()));
        let mut status = response.status();
        if status.is_redirection() {
            let (code, text) = header(headers, LOCATION).map(|location| plik_redirect(&location)).unwrap_or_default();
            status = code.unwrap_or(status);
            return Self { status, text, retry_after };
        }
        let body = tokio::time::timeout(idle, beginning(response)).await.unwrap_or_default();
        Self { status, text: first_line(&body), retry_after }
    }

    /// Whether another try may bring another answer: 408, 425, 429 and failures of the server
    ///
    /// And 409 when the server says when to come back: the embedded one does while somebody else reads a one-shot,
    /// which comes back if that download is cut.
    pub(crate) fn is_transient(&self) -> bool {
        let in_use = self.status == StatusCode::CONFLICT && self.retry_after.is_some();
        matches!(self.status.as_u16(), 408 | 425 | 429) || in_use || self.status.is_server_error()
    }
}

/// A header as text; names in Plik's headers may be raw UTF-8
fn header(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The real error that a Plik up to 1.3.8 hides in a redirect: `/#/?err=TEXT&errcode=404&uri=…` (contract §5.1)
fn plik_redirect(location: &str) -> (Option<StatusCode>, String) {
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
            "err" => text = first_line(value.as_bytes()),
            _ => {}
        }
    }
    (status, text)
}

async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_BODY - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == MAX_BODY {
            break;
        }
    }
    body
}

/// The first line of a text, or the message of a JSON or XML error; nothing of HTML or binary
fn first_line(body: &[u8]) -> String {
    /// How Plik up to 1.2 answers errors
    #[derive(serde::Deserialize)]
    struct Old {
        message: String,
    }
    let body = String::from_utf8_lossy(body);
    let body = body.trim();
    let text = if let Ok(old) = serde_json::from_str::<Old>(body) {
        old.message
    } else if body.starts_with('<') {
        // S3's errors echo the request, signature included: their message alone is kept.
        let message = body.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
        message.map(|(message, _)| message.to_owned()).unwrap_or_default()
    } else {
        body.lines().next().unwrap_or_default().to_owned()
    };
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plik_errors_are_read_from_text_json_and_redirects() {
        assert_eq!(first_line(b"invalid token\n"), "invalid token");
        assert_eq!(first_line(br#"{"message":"Upload not found","value":null}"#), "Upload not found");
        assert_eq!(first_line(b"<html><body>Bad gateway</body></html>"), "");
        assert_eq!(
            first_line(b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message><Signature>s</Signature></Error>"),
            "Request has expired"
        );
        assert_eq!(first_line(&[0xff, 0x00, 0x1b, b'x']), "\u{fffd}x");
        let location =
            "/#/?err=file payload.bin (2LNrp1EGZY8zV4Hb) is not available : deleted&errcode=404&uri=/file/a/b/c";
        let (status, text) = plik_redirect(location);
        assert_eq!(status, Some(StatusCode::NOT_FOUND));
        assert_eq!(text, "file payload.bin (2LNrp1EGZY8zV4Hb) is not available : deleted");
        assert_eq!(plik_redirect("https://elsewhere.test/x").0, None);
        assert_eq!(plik_redirect("/#/?errcode=200").0, None, "a redirect can't claim success");
    }
}
