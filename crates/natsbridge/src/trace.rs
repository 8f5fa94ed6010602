//! The W3C trace context in a message's metadata: what a receiver does joins the sender's trace (specification,
//! section 6).

use natsbridge_core::{Header, OutboundMessage};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use serde_json::Value as Json;

const TRACEPARENT: &str = "traceparent";

/// Puts the current trace context into the message's metadata, where there is one; the caller's own stays
pub(crate) fn trace(message: &mut OutboundMessage) {
    if message.metadata.contains_key(TRACEPARENT) {
        return;
    }
    let current = Context::current();
    let span = current.span();
    let span = span.span_context();
    if span.is_valid() {
        let flags = span.trace_flags() & TraceFlags::SAMPLED;
        let text = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), flags.to_u8());
        message.metadata.insert(TRACEPARENT.to_owned(), text.into());
    }
}

/// The sender's trace context in a message's header, or `None`; feature `otel`
///
/// `None` as well for one that is malformed, as W3C Trace Context asks. [`Message::trace_context`](crate::Message::trace_context)
/// does the same for a message.
///
/// # Examples
/// ```
/// use natsbridge::wire::Envelope;
/// use natsbridge::trace_context;
///
/// let json = br#"{"metadata":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},"payloads":[]}"#;
/// let context = trace_context(Envelope::from_json(json)?.header()).expect("it carries one");
/// assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
/// # Ok::<(), natsbridge::wire::EnvelopeError>(())
/// ```
#[must_use]
pub fn trace_context(header: &Header) -> Option<SpanContext> {
    header.metadata().get(TRACEPARENT).and_then(Json::as_str).and_then(parsed)
}

/// Reads `version-trace_id-parent_id-flags`; a later version may have more behind it
fn parsed(text: &str) -> Option<SpanContext> {
    let mut fields = text.split('-');
    let mut field = |len: usize| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        fields.next().filter(|field| field.len() == len && field.bytes().all(hex))
    };
    let (version, trace_id, span_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace_id, span_id) = (TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(span_id).ok()?);
    let context = SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn trace_context_sent_is_read_again() {
        let sent = parsed(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert!(sent.is_remote() && sent.is_sampled());
        let mut message = OutboundMessage::new("a");
        trace(&mut message);
        assert!(message.metadata.is_empty(), "without a context nothing is sent");
        let _current = Context::new().with_remote_span_context(sent.clone()).attach();
        trace(&mut message);
        let metadata = message.metadata;
        assert_eq!(metadata[TRACEPARENT], format!("00-{TRACE}-{SPAN}-01"));
        assert_eq!(parsed(metadata[TRACEPARENT].as_str().unwrap()), Some(sent));
    }

    #[test]
    fn trace_context_of_the_callers_own_is_kept() {
        let span = parsed(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let _current = Context::new().with_remote_span_context(span).attach();
        let mut message = OutboundMessage::new("a");
        message.metadata.insert(TRACEPARENT.to_owned(), "mine".into());
        trace(&mut message);
        assert_eq!(message.metadata[TRACEPARENT], "mine");
    }

    #[test]
    fn malformed_trace_context_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
        ] {
            assert_eq!(parsed(&text), None, "{text}");
        }
        let later = parsed(&format!("01-{TRACE}-{SPAN}-03-more")).unwrap();
        assert_eq!(later.trace_flags(), TraceFlags::SAMPLED, "flags that nobody defined are not passed on");
    }
}
