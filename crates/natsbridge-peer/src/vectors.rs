//! `peer vectors`: answers each vector of standard input with what the library makes of it.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use natsbridge::store::{Digest, Downloaded, Downloader, FetchError, FetchErrorKind, Link, Source, Target, Uploaded};
use natsbridge::wire::{Header, Limits, Part};
use natsbridge::{Error, PayloadType, Purpose, ReceiveOptions, ReceiverKind, Transport, open};
use natsbridge_core::{Draw, OutboundMessage, Sender, plan};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use uuid::Uuid;

use crate::{Failure, refused, say, value};

pub(crate) async fn run() -> Result<(), Failure> {
    for line in BufReader::new(std::io::stdin()).lines() {
        let vector: Json = serde_json::from_str(&line?)?;
        let answered = if vector["kind"] == "send" { sent(&vector["given"]) } else { received(&vector).await? };
        let mut answer = match answered {
            Ok(answer) => answer,
            Err(Refusal::Library(error)) => refused(&error),
            Err(Refusal::Word { code, dataname }) => json!({"error": code, "dataname": dataname}),
            Err(Refusal::Own(failure)) => json!({"error": format!("crashed: {failure}")}),
        };
        answer["name"] = vector["name"].clone();
        say(&answer);
    }
    Ok(())
}

/// Why there is no answer
enum Refusal {
    Library(Error),
    /// What the library's types rule out before it is called
    Word {
        code: &'static str,
        dataname: String,
    },
    Own(Failure),
}

impl<T: Into<Error>> From<T> for Refusal {
    fn from(error: T) -> Self {
        Self::Library(error.into())
    }
}

/// Answers downloads from the vector
#[derive(Debug)]
struct Links {
    held: HashMap<String, Vec<u8>>,
    max_payload_size: Option<u64>,
}

impl Downloader for Links {
    fn download<'a>(&'a self, link: &'a Link, _: Target) -> BoxFuture<'a, Result<Downloaded, FetchError>> {
        let failed = |kind| FetchError::new(kind, &*link.dataname, &link.url);
        let found = self.held.get(&link.url).ok_or_else(|| failed(FetchErrorKind::NotFound)).and_then(|bytes| {
            // A handler keeps the receiver's limit itself, as the fetcher does.
            let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let fits = self.max_payload_size.is_none_or(|limit| size <= limit);
            if fits { Ok(bytes.clone()) } else { Err(failed(FetchErrorKind::TooLarge)) }
        });
        let found = found.map(|bytes| {
            let sha256 = Digest::of(&bytes);
            Downloaded::new(Source::Bytes(bytes.into()), sha256)
        });
        Box::pin(std::future::ready(found))
    }
}

async fn received(vector: &Json) -> Result<Result<Json, Refusal>, Failure> {
    let message = STANDARD.decode(vector["envelope_base64"].as_str().ok_or("a vector without envelope_base64")?)?;
    let links = vector["links"].as_object().cloned().unwrap_or_default();
    let held = links.into_iter().map(|(url, held)| Ok((url, value::bytes(&held)?)));
    let given = &vector["given"];
    let max_payload_size = given["max_payload_size"].as_u64();
    let links = Links { held: held.collect::<Result<_, Failure>>()?, max_payload_size };
    let mut options = ReceiveOptions::default().fileserver_download_handler(links);
    if let Some(limit) = max_payload_size {
        options = options.max_payload_size(limit);
    }
    Ok(opened(&message, &options.strict(given["strict"] == true)).await)
}

async fn opened(message: &[u8], options: &ReceiveOptions) -> Result<Json, Refusal> {
    let (header, handles) = open(message, options)?;
    let mut parts = Vec::new();
    for handle in handles {
        let mut part = json!({"name": handle.name(), "type": handle.payload_type(), "transport": handle.transport()});
        part["value"] = value::write(&handle.into_value().await?).map_err(Refusal::Own)?;
        parts.push(part);
    }
    Ok(json!({"expect": {"subject": header.send_to(), "fields": fields(&header), "parts": parts}}))
}

fn fields(header: &Header) -> Json {
    json!({
        "correlation_id": header.correlation_id(),
        "msg_id": header.msg_id(),
        "timestamp": header.timestamp(),
        "send_to": header.send_to(),
        "msg_purpose": header.msg_purpose().as_str(),
        "sender_name": header.sender_name(),
        "sender_id": header.sender_id(),
        "receiver_name": header.receiver_name(),
        "receiver_id": header.receiver_id(),
        "reply_to": header.reply_to(),
        "reply_to_msg_id": header.reply_to_msg_id(),
        "broker_url": header.broker_url(),
        "metadata": header.metadata(),
    })
}

/// The vector's time and identifiers
struct Given {
    now: OffsetDateTime,
    ids: VecDeque<Uuid>,
}

impl Draw for Given {
    fn now(&mut self) -> OffsetDateTime {
        self.now
    }

    fn new_id(&mut self) -> Uuid {
        self.ids.pop_front().unwrap_or_default()
    }
}

/// Plans and finishes what is given, as `smartsend` does, with the vector's identifiers, time and uploads
fn sent(given: &Json) -> Result<Json, Refusal> {
    let (message, sender) = message(given)?;
    let words = |key: &str| given[key].as_array().into_iter().flatten().filter_map(Json::as_str);
    let ids: VecDeque<Uuid> = words("ids").filter_map(|id| id.parse().ok()).collect();
    let now = given["timestamp"].as_str().unwrap_or_default();
    let now = OffsetDateTime::parse(now, &Iso8601::DEFAULT).map_err(|error| Refusal::Own(error.into()))?;
    let plan = plan(message, &sender, &limits(&given["limits"]), &mut Given { now, ids })?;

    let mut urls = words("uploads");
    let mut uploaded = Vec::new();
    for upload in plan.uploads() {
        let Some(bytes) = upload.source().clone().into_bytes() else {
            return Err(Refusal::Own("a file".into()));
        };
        let url = urls.next().ok_or_else(|| Refusal::Own("more uploads than URLs".into()))?;
        uploaded.push(Uploaded::new(url, upload.object().size, Digest::of(&bytes)));
    }
    let envelope = plan.finish(uploaded)?;
    let transports: Vec<Transport> = envelope.payloads().iter().map(natsbridge::wire::Payload::transport).collect();
    let text = String::from_utf8(envelope.to_json().to_vec()).map_err(|error| Refusal::Own(error.into()))?;
    let envelope: Json = serde_json::from_str(&text).map_err(|error| Refusal::Own(error.into()))?;
    Ok(json!({"expect": {"envelope": envelope, "transports": transports}, "json": text}))
}

fn message(given: &Json) -> Result<(OutboundMessage, Sender), Refusal> {
    let mut message = OutboundMessage::new(given["subject"].as_str().unwrap_or_default().to_owned());
    let mut sender = Sender::default().broker_url("nats://localhost:4222");
    for (key, option) in given["options"].as_object().into_iter().flatten() {
        let text = || option.as_str().unwrap_or_default().to_owned().into();
        let owned = || option.as_str().unwrap_or_default().to_owned();
        match key.as_str() {
            "correlation_id" => message.correlation_id = Some(text()),
            "msg_id" => message.msg_id = Some(text()),
            "sender_id" => sender = sender.id(owned()),
            "msg_purpose" => message.msg_purpose = Purpose::from(option.as_str().unwrap_or_default()),
            "sender_name" => sender = sender.name(owned()),
            "receiver_name" => message.receiver_name = text(),
            "receiver_id" => message.receiver_id = text(),
            "reply_to" => message.reply_to = text(),
            "reply_to_msg_id" => message.reply_to_msg_id = text(),
            "broker_url" => sender = sender.broker_url(&owned()),
            "metadata" => message.metadata = option.as_object().cloned().unwrap_or_default(),
            "digest_direct" => message.digest_direct = option == &json!(true),
            other => return Err(Refusal::Own(format!("no option {other}").into())),
        }
    }
    for part in given["parts"].as_array().into_iter().flatten() {
        let name = part["name"].as_str().unwrap_or_default();
        let Some(payload_type) = part["type"].as_str().and_then(PayloadType::from_word) else {
            return Err(Refusal::Word { code: "unknown_payload_type", dataname: name.to_owned() });
        };
        let value = value::read(payload_type, &part["value"]).map_err(Refusal::Own)?;
        message = message.part(Part::new(name, payload_type, value)?);
    }
    Ok((message, sender))
}

fn limits(given: &Json) -> Limits {
    let mut limits = Limits::default().convert_tables(given["convert_tables"] == true).links(given["links"] != false);
    if let Some(bytes) = given["size_threshold"].as_u64() {
        limits = limits.size_threshold(bytes);
    }
    if let Some(bytes) = given["max_message_size"].as_u64() {
        limits = limits.max_message_size(bytes);
    }
    limits.receiver(match given["receiver"].as_str() {
        Some("browser") => ReceiverKind::Browser,
        Some("micropython") => ReceiverKind::MicroPython,
        _ => ReceiverKind::Desktop,
    })
}
