//! What commands that hold a connection share: counts, deadlines, an orderly end, and the envelope's fields as JSON.

use std::time::Duration;

use natsbridge::broker::{QueueGroup, Subject, SubjectFilter};
use natsbridge::wire::Header;
use natsbridge::{Bridge, Config, Error, Subscriber};
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use crate::failure::Failure;

/// Closes the connection; what matters was confirmed before, so that it does not end in order harms nothing
pub(crate) async fn end(bridge: &Bridge) {
    if let Err(error) = bridge.drain().await {
        tracing::warn!(%error, "the connection to NATS did not end in order");
    }
}

/// Reads a UUID
pub(crate) fn uuid(text: &str) -> Result<String, String> {
    let sound = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if sound {
        return Ok(text.to_ascii_lowercase());
    }
    Err("write a UUID, such as 3f2b8c1e-6f0a-4c57-9f3e-2d8a51b7c0de; `uuidgen` makes one".to_owned())
}

/// Refuses what no message can be published to, before anything is connected
pub(crate) fn check_subject(subject: &str) -> Result<(), Failure> {
    Ok(Subject::new(subject).map(drop).map_err(Error::from)?)
}

/// Refuses what nobody can subscribe to, before anything is connected
pub(crate) fn check_subscription(filter: &str, group: Option<&String>) -> Result<(), Failure> {
    SubjectFilter::new(filter).map_err(Error::from)?;
    group.map(|group| QueueGroup::new(group.as_str())).transpose().map_err(Error::from)?;
    Ok(())
}

/// The filters of `--reply-to`
pub(crate) fn allow_replies(config: Config, filters: &[String]) -> Result<Config, Failure> {
    filters.iter().try_fold(config, |config, text| {
        Ok(config.allow_replies_to(SubjectFilter::new(text.as_str()).map_err(Error::from)?))
    })
}

/// What came again and what did not come, as far as that is known
pub(crate) fn losses(inbox: &Subscriber, shared: bool) -> String {
    let (losses, dropped) = (inbox.losses(), inbox.dropped());
    if shared {
        // The other members' messages look like gaps.
        let interrupted = interrupted(inbox.interruptions(), "is not known");
        return format!("dropped {dropped}{interrupted}; repeats and losses are not known in a group");
    }
    // What was dropped here is missing to the senders' numbers too, unless it was the last, or has no number.
    let mut text = format!("repeated {}, lost {}", losses.duplicates, losses.missing.max(dropped));
    if dropped > 0 {
        text.push_str(&format!(" ({dropped} dropped: read too slowly)"));
    }
    text + &interrupted(inbox.interruptions(), "is counted where senders number their messages")
}

/// That a subscription was cut off, so that nobody takes what is counted for all there was
pub(crate) fn interrupted(times: u64, meanwhile: &str) -> String {
    match times {
        0 => String::new(),
        1 => format!(" (interrupted once: what was published meanwhile {meanwhile})"),
        _ => format!(" (interrupted {times} times: what was published meanwhile {meanwhile})"),
    }
}

/// Whether it is about the subscription and not about a message: nothing more comes
pub(crate) fn is_last(error: &Error) -> bool {
    matches!(error, Error::Broker(_))
}

/// Ends the subscription at once, and counts the messages that have arrived and that nobody reads any more
pub(crate) async fn left_unread(inbox: &mut Subscriber) -> u64 {
    inbox.drain_within(Duration::ZERO);
    while inbox.next().await.is_some() {}
    inbox.unhandled()
}

/// Returns at this time; never where there is none
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The envelope's fields in wire order, without its payloads
pub(crate) fn header_fields(header: &Header) -> Map<String, Json> {
    let purpose = header.msg_purpose();
    let texts = [
        ("correlation_id", header.correlation_id()),
        ("msg_id", header.msg_id()),
        ("timestamp", header.timestamp()),
        ("send_to", header.send_to()),
        ("msg_purpose", purpose.as_str()),
        ("sender_name", header.sender_name()),
        ("sender_id", header.sender_id()),
        ("receiver_name", header.receiver_name()),
        ("receiver_id", header.receiver_id()),
        ("reply_to", header.reply_to()),
        ("reply_to_msg_id", header.reply_to_msg_id()),
        ("broker_url", header.broker_url()),
    ];
    let mut fields: Map<_, _> = texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    fields.insert("metadata".to_owned(), header.metadata().clone().into());
    fields
}
