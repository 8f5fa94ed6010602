//! What is found out about a message: what contradicts the wire's rules, wrong digests, links that are gone.

use std::time::SystemTime;

use natsbridge::broker::Subject;
use natsbridge::store::{Digest, FetchErrorKind, Fetcher, Link};
use natsbridge::wire::{Envelope, Header, redacted};
use natsbridge::{Error, Payload, ReceiveOptions, wire};
use serde_json::{Value as Json, json};

use crate::encoding::NotText;
use crate::failure::chain;
use crate::output::{self, Style};
use crate::{listing, session, units};

/// Something that a sender or a file server has to put right
#[derive(Debug)]
pub(super) struct Problem {
    code: &'static str,
    dataname: Option<String>,
    message: String,
}

impl Problem {
    pub(super) fn of(error: &Error) -> Self {
        let dataname = error.dataname().map(str::to_owned);
        Self { code: error.code(), dataname, message: chain(error).join(": ") }
    }

    /// What arrived is text of another encoding
    pub(super) fn encoding(why: &NotText) -> Self {
        Self { code: "not_json", dataname: None, message: format!("the message is not an envelope: {why}") }
    }

    fn field(message: impl Into<String>) -> Self {
        Self { code: "field", dataname: None, message: message.into() }
    }

    fn payload(payload: &wire::Payload, code: &'static str, message: impl Into<String>) -> Self {
        let message = format!("payload `{}`: {}", wire::shown(payload.dataname()), message.into());
        Self { code, dataname: Some(payload.dataname().to_owned()), message }
    }

    pub(super) fn to_json(&self) -> Json {
        json!({ "code": self.code, "dataname": self.dataname, "message": self.message })
    }

    pub(super) fn to_text(&self, style: Style) -> String {
        let text = output::wrapped(&output::harmless(&self.message), listing::COLUMNS - 9).join("\n         ");
        format!("{} {text}", style.red("problem:"))
    }
}

/// What a file server said of a link
#[derive(Debug)]
pub(super) enum Seen {
    There {
        size: Option<u64>,
        ms: u64,
    },
    Gone(u16),
    /// The server does not tell by HEAD, as for a link that is signed for GET
    Untold(u16),
    NotAsked(&'static str),
    Unreachable(String),
}

impl Seen {
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::There { size, ms } => json!({ "state": "there", "size": size, "ms": ms }),
            Self::Gone(status) => json!({ "state": "gone", "status": status }),
            Self::Untold(status) => json!({ "state": "untold", "status": status }),
            Self::NotAsked(why) => json!({ "state": "not_asked", "why": why }),
            Self::Unreachable(why) => json!({ "state": "unreachable", "why": why }),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::There { size, ms } => {
                let size = size.map_or_else(String::new, |size| format!(" with {}", units::shown(size)));
                format!("there{size}, {ms} ms")
            }
            Self::Gone(status) => format!("gone ({status})"),
            Self::Untold(status) => format!("not told by HEAD ({status})"),
            Self::NotAsked(why) => format!("not asked: {why}"),
            Self::Unreachable(_) => "its server can't be reached".to_owned(),
        }
    }
}

/// What was found of one payload
#[derive(Debug)]
pub(super) struct Found {
    /// Computed for what is in the message, stated for a link
    pub(super) digest: Option<Digest>,
    stated: bool,
    right: bool,
    pub(super) link: Option<Seen>,
}

impl Found {
    pub(super) const fn digest_word(&self) -> &'static str {
        match (&self.link, self.stated, self.right) {
            (_, false, _) => "absent",
            (Some(_), true, _) => "not_checked",
            (None, true, true) => "right",
            (None, true, false) => "wrong",
        }
    }

    pub(super) fn to_text(&self) -> String {
        let digest = match self.digest_word() {
            "absent" => "no digest stated",
            "right" => "digest right",
            "wrong" => "digest wrong",
            _ => "digest is checked when it is downloaded",
        };
        match &self.link {
            Some(link) => format!("{}; {digest}", link.to_text()),
            None => digest.to_owned(),
        }
    }
}

/// Everything that was found
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) payloads: Vec<Found>,
    pub(super) problems: Vec<Problem>,
}

impl Findings {
    /// Checks a message; `fetcher` asks about its links, where they are to be asked about
    pub(super) async fn of(json: &[u8], envelope: &Envelope, fetcher: Option<&Fetcher>) -> Self {
        let raw: Json = serde_json::from_slice(json).unwrap_or_default();
        let mut problems = header_problems(&raw, envelope.header());
        let mut payloads = Vec::with_capacity(envelope.payloads().len());
        let opened = natsbridge::open(json, &ReceiveOptions::default());
        let mut handles = opened.map(|(_, handles)| handles).unwrap_or_default().into_iter();
        for (n, payload) in envelope.payloads().iter().enumerate() {
            let fault = match handles.next() {
                Some(handle) => fault(handle).await,
                None => None,
            };
            let wrong = fault.as_ref().is_some_and(|problem| problem.code.starts_with("digest"));
            problems.extend(fault);
            problems.extend(payload_problems(raw.pointer(&format!("/payloads/{n}")), payload));
            let link = match payload.url() {
                Some(url) => Some(seen(payload.dataname(), url, fetcher).await),
                None => None,
            };
            problems.extend(link.as_ref().and_then(|seen| link_problem(payload, seen)));
            payloads.push(Found {
                digest: payload.bytes().map(|bytes| Digest::of(bytes)).or_else(|| payload.sha256()),
                stated: payload.metadata().get("sha256").is_some_and(|stated| !stated.is_null()),
                right: !wrong,
                link,
            });
        }
        Self { payloads, problems }
    }
}

/// What a receiver would say of a payload: a wrong digest, or bytes that are not what their type says
///
/// A link is not asked for: what is wrong with it before is known without.
async fn fault(handle: Payload) -> Option<Problem> {
    let failed = handle.metadata().is_none();
    let error = if failed { handle.into_part().await.err() } else { handle.part()?.value().err().map(Error::from) };
    error.as_ref().map(Problem::of)
}

/// What contradicts the rules for the envelope's fields (specification, section 1)
fn header_problems(raw: &Json, header: &Header) -> Vec<Problem> {
    let mut problems = Vec::new();
    let texts = session::header_fields(header);
    for (name, value) in &texts {
        if raw.get(name).is_none_or(Json::is_null) {
            problems.push(Problem::field(format!("the field `{name}` is missing or null; senders write every field")));
        } else if matches!(&**name, "msg_id" | "send_to" | "timestamp" | "msg_purpose") && value == "" {
            problems.push(Problem::field(format!("the field `{name}` is empty")));
        }
    }
    if !header.timestamp().is_empty() && header.sent_at().is_none() {
        problems.push(Problem::field("the timestamp is no ISO 8601 time"));
    }
    for (name, subject) in [("send_to", header.send_to()), ("reply_to", header.reply_to())] {
        if !subject.is_empty()
            && let Err(error) = Subject::new(subject.to_owned())
        {
            problems.push(Problem::field(format!("{name} is no subject: {error}")));
        }
    }
    if redacted(header.broker_url()) != header.broker_url() {
        problems.push(Problem {
            code: "secret",
            dataname: None,
            message: "broker_url carries a user name, password or query, which every receiver can read".to_owned(),
        });
    }
    problems
}

/// What contradicts the rules for a payload's fields (specification, section 1)
fn payload_problems(raw: Option<&Json>, payload: &wire::Payload) -> Vec<Problem> {
    let mut problems = Vec::new();
    let stated = raw.and_then(|raw| raw.get("size"));
    if let (Some(bytes), Some(size)) = (payload.bytes(), stated.and_then(Json::as_u64))
        && u64::try_from(bytes.len()).ok() != Some(size)
    {
        let message = format!("the message says {size} bytes and holds {}", bytes.len());
        problems.push(Problem::payload(payload, "size_mismatch", message));
    }
    for name in ["id", "dataname", "size", "metadata"] {
        if raw.and_then(|raw| raw.get(name)).is_none_or(Json::is_null) {
            problems.push(Problem::payload(payload, "field", format!("the field `{name}` is missing or null")));
        }
    }
    problems
}

/// Asks the file server about a link, where that is allowed
async fn seen(dataname: &str, url: &str, fetcher: Option<&Fetcher>) -> Seen {
    let Some(fetcher) = fetcher else { return Seen::NotAsked("--no-links") };
    match fetcher.head(&Link::new(dataname, url)).await {
        Ok(glance) => match glance.status {
            200..300 => {
                Seen::There { size: glance.size, ms: u64::try_from(glance.took.as_millis()).unwrap_or(u64::MAX) }
            }
            404 | 410 => Seen::Gone(glance.status),
            status => Seen::Untold(status),
        },
        Err(error) if error.kind() == FetchErrorKind::BlockedOrigin => Seen::NotAsked(match error.refused_origin() {
            Some(_) => "its origin is not the file server's; see --allow-origin",
            None => "no receiver follows a link that leads there",
        }),
        Err(error) => Seen::Unreachable(chain(&error).join(": ")),
    }
}

fn link_problem(payload: &wire::Payload, seen: &Seen) -> Option<Problem> {
    let problem = |code, message: String| Some(Problem::payload(payload, code, message));
    let expired = payload.expires_at().filter(|at| SystemTime::from(*at) < SystemTime::now());
    let stated = payload.metadata().get("expires_at").and_then(Json::as_str).unwrap_or_default();
    match (seen, expired) {
        (Seen::Gone(_), _) => problem("not_found", "its link leads to nothing any more".to_owned()),
        (Seen::Unreachable(why), _) => problem("unreachable", why.clone()),
        (Seen::There { size: Some(size), .. }, _) if payload.size() > 0 && *size != payload.size() => {
            problem("size_mismatch", format!("its link holds {size} bytes, the message says {}", payload.size()))
        }
        (_, Some(_)) => problem("expired", format!("its link was good until {}", wire::shown(stated))),
        _ => None,
    }
}
