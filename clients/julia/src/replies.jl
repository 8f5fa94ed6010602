# Replies to a message: ACK, NACK and others, as JSON and the subject to publish it on.

"""
    reply(message, data; nats_reply="", allowed=nothing, keywords...) -> (subject, json)

The reply to a message that [`smartreceive`](@ref) read, with payloads as for [`smartsend`](@ref), and the subject to publish
it on: the message's `reply_to`, or `nats_reply`, the reply subject that NATS brought. `allowed` is a list of filters
(`lab.*`, `_INBOX.>`); a subject that none of them matches gets nothing. The error is `no_reply_subject` if the message asks
for no reply, `reply_refused` if it must not be sent.
"""
function reply(message, data; nats_reply="", allowed=nothing, msg_purpose="chat", keywords...)
    subject = reply_subject(message, nats_reply, allowed)
    _, text = smartsend(subject, data; msg_purpose=msg_purpose, reply_fields(message)..., keywords...)
    subject, text
end

reply_fields(message) = (
    correlation_id=message["correlation_id"], reply_to_msg_id=message["msg_id"], receiver_name=message["sender_name"],
    receiver_id=message["sender_id"], one_shot=false,
)

"""
    ack(message; nats_reply="", allowed=nothing, sender_name, sender_id) -> (subject, json)

The acknowledgement of a message. A receiver that restarts and gives the same `sender_id` counts as the same one.
"""
ack(message; keywords...) = reply(message, []; msg_purpose="ACK", keywords...)

"""
    nack(message, code="handler", reason=""; retryable=false, keywords...) -> (subject, json)

Says that a message was not handled, and why: `code` is one of the specification's codes or the receiver's own.
"""
nack(message, code="handler", reason=""; retryable=false, keywords...) = reply(
    message, []; msg_purpose="NACK",
    metadata=JSONObject("code" => String(code), "reason" => String(reason), "retryable" => retryable === true), keywords...,
)

function reply_subject(message, nats_reply, allowed)
    refused(why) = NATSBridgeError("reply_refused", why, nothing, message["msg_id"], message["correlation_id"])
    message["msg_purpose"] in ("ACK", "NACK") && throw(refused("an ACK or a NACK gets no reply"))
    subject = isempty(message["reply_to"]) ? String(nats_reply) : message["reply_to"]
    isempty(subject) && throw(NATSBridgeError(
        "no_reply_subject", "the message asks for no reply", nothing, message["msg_id"], message["correlation_id"],
    ))
    startswith(subject, "\$") && throw(refused("the reply subject $(shown(subject)) belongs to the server"))
    allowed === nothing || any(filter -> subject_matches(filter, subject), allowed isa AbstractString ? (allowed,) : allowed) ||
        throw(refused("the reply subject $(shown(subject)) is not allowed"))
    subject
end

"Whether a filter with `*` (one token) and `>` (all that follow) matches a subject"
function subject_matches(filter, subject)
    wanted, tokens = split(filter, "."), split(subject, ".")
    for (at, token) in enumerate(wanted)
        token == ">" && return length(tokens) >= at
        at <= length(tokens) && token in ("*", tokens[at]) || return false
    end
    length(wanted) == length(tokens)
end
