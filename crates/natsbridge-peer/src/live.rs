//! `peer live`: one program in the matrix of languages, which obeys the runner's lines and answers the others' messages.

use std::io::BufRead as _;
use std::time::Duration;

use natsbridge::{Bridge, Config, Error, Message, MessageBuilder, PayloadType, Purpose, ReceiverKind};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{Failure, refused, say, value};

/// How long an answer may take
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(nats: &str, files: &str, name: &str) -> Result<(), Failure> {
    let config = Config::new(nats).fileserver_url(files.to_owned()).sender_name(name.to_owned());
    let bridge = Bridge::connect(config).await?;
    let mut inbox = bridge.subscribe(&format!("conform.{name}")).await?;
    bridge.confirm().await?;
    say(&json!({"ready": true}));

    let mut orders = orders();
    loop {
        tokio::select! {
            order = orders.recv() => match order.filter(|order| order["do"] != "quit") {
                Some(order) => {
                    let bridge = bridge.clone();
                    tokio::spawn(async move { obey(&bridge, &order).await });
                }
                None => return Ok(bridge.drain().await?),
            },
            Some(message) = inbox.next() => match message {
                Ok(incoming) => arrived(&incoming).await,
                Err(error) => {
                    let mut line = refused(&error);
                    line["msg_id"] = error.header().map_or(Json::Null, |header| header.msg_id().into());
                    say(&json!({"received": line}));
                }
            },
        }
    }
}

/// The runner's lines, read on a thread of their own: standard input can't be awaited
fn orders() -> mpsc::UnboundedReceiver<Json> {
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str(&line) else { break };
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    orders
}

/// Answers a message that asks for it, and reports it
async fn arrived(incoming: &Message) {
    let header = incoming.header();
    let answered = match incoming.payloads().first() {
        _ if header.reply_to().is_empty() || header.msg_purpose() != Purpose::Chat => Ok(()),
        Some(first) if first.name() == "ask-ack" => incoming.ack().await.map_err(Failure::from),
        _ => echo(incoming).await,
    };
    let line = match answered.and_then(|()| parts(incoming)) {
        Ok(parts) => json!({"msg_id": header.msg_id(), "subject": header.send_to(), "parts": parts}),
        Err(failure) => match failure.downcast_ref::<Error>() {
            Some(error) => {
                let mut line = refused(error);
                line["msg_id"] = header.msg_id().into();
                line
            }
            None => json!({"msg_id": header.msg_id(), "error": format!("crashed: {failure}")}),
        },
    };
    say(&json!({"received": line}));
}

/// The same parts back
async fn echo(incoming: &Message) -> Result<(), Failure> {
    let parts = incoming.payloads().iter().filter_map(natsbridge::Payload::part);
    let draft = parts.fold(incoming.reply(), |draft, part| draft.part(part.clone()));
    draft.send().await?;
    Ok(())
}

fn parts(incoming: &Message) -> Result<Vec<Json>, Failure> {
    let part = |handle: &natsbridge::Payload| {
        let part = handle.part().ok_or("a link that was not downloaded")?;
        let value = part.value().map_err(Error::from)?;
        Ok(json!({
            "name": handle.name(),
            "type": handle.payload_type(),
            "transport": handle.transport(),
            "size": handle.size(),
            "sha256": handle.sha256().map(|digest| digest.to_string()),
            "value": value::write(&value)?,
        }))
    };
    incoming.payloads().iter().map(part).collect()
}

async fn obey(bridge: &Bridge, order: &Json) {
    let outcome = match draft(bridge, order) {
        Ok(draft) if order["do"] == "request" => asked(bridge, draft).await,
        Ok(draft) => sent(draft).await,
        Err(failure) => Err(failure),
    };
    let mut line = outcome.unwrap_or_else(|failure| match failure.downcast_ref::<Error>() {
        Some(error) => refused(error),
        None => json!({"error": format!("crashed: {failure}")}),
    });
    line["done"] = order["id"].clone();
    say(&line);
}

fn draft(bridge: &Bridge, order: &Json) -> Result<MessageBuilder, Failure> {
    let options = &order["options"];
    let mut draft = bridge.message(order["to"].as_str().unwrap_or_default());
    draft = draft.receiver(match options["receiver"].as_str() {
        Some("browser") => ReceiverKind::Browser,
        Some("micropython") => ReceiverKind::MicroPython,
        _ => ReceiverKind::Desktop,
    });
    if options["convert_tables"] == true {
        draft = draft.convert_tables();
    }
    if options["digest_direct"] == true {
        draft = draft.digest_direct();
    }
    for part in order["parts"].as_array().into_iter().flatten() {
        let payload_type = part["type"].as_str().and_then(PayloadType::from_word).ok_or("an unknown payload type")?;
        let name = part["name"].as_str().unwrap_or_default();
        draft = draft.value(name, value::read(payload_type, &part["value"])?, payload_type);
    }
    Ok(draft)
}

async fn sent(draft: MessageBuilder) -> Result<Json, Failure> {
    let envelope = draft.send_confirmed().await?;
    let transports: Vec<_> = envelope.payloads().iter().map(natsbridge::wire::Payload::transport).collect();
    Ok(json!({"msg_id": envelope.header().msg_id(), "transports": transports}))
}

/// Asks with a reply subject of its own, as programs do whose NATS client has no requests
async fn asked(bridge: &Bridge, draft: MessageBuilder) -> Result<Json, Failure> {
    let subject = format!("_INBOX.{}", Uuid::new_v4());
    let mut answers = bridge.subscribe(&subject).await?;
    let envelope = draft.reply_to(&*subject).send_confirmed().await?;
    let answer = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = answers.next().await.ok_or("the connection ended")??;
            if answer.header().reply_to_msg_id() == envelope.header().msg_id() {
                return Ok::<_, Failure>(answer);
            }
        }
    });
    let answer = answer.await.map_err(|_| "no answer within 10 s")??;
    let header = answer.header();
    Ok(json!({"answer": {
        "purpose": header.msg_purpose().as_str(),
        "reply_to_msg_id": header.reply_to_msg_id(),
        "correlation_id": header.correlation_id(),
        "parts": parts(&answer)?,
    }}))
}
