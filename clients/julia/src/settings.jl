# Names of the wire, limits, and the variables, which are read when a call is made.

const DEFAULT_MAX_MESSAGE_SIZE = 1_048_576
const DEFAULT_MAX_PAYLOAD_SIZE = 10_000_000_000
"Bytes of the envelope that a link may take, before its URL is known"
const LINK_ALLOWANCE = 2_048
const LINK_TTL = 24 * 60 * 60
const MAX_SUBJECT = 2_000
const MICROPYTHON_MAX_PAYLOAD = 50_000

const FIELDS = (
    "correlation_id", "msg_id", "timestamp", "send_to", "msg_purpose", "sender_name", "sender_id",
    "receiver_name", "receiver_id", "reply_to", "reply_to_msg_id", "broker_url",
)
const BYTES_TYPES = ("image", "audio", "video", "binary")
const PAYLOAD_TYPES = ("text", "dictionary", "arrowtable", "jsontable", BYTES_TYPES...)

default_broker_url() = get(ENV, "NATS_URL", "nats://localhost:4222")
default_fileserver_token() = get(ENV, "FILESERVER_TOKEN", "")

function default_fileserver_url()
    url = get(ENV, "FILESERVER_URL", "http://localhost:8080")
    isempty(url) || origin_of(url) !== nothing ||
        throw(wrong_value("the variable FILESERVER_URL is no http or https URL: $(shown(without_secrets(url)))"))
    url
end

function default_size_threshold()
    text = get(ENV, "SIZE_THRESHOLD", "500000")
    number = tryparse(Int, text)
    number !== nothing && number >= 0 ||
        throw(wrong_value("the variable SIZE_THRESHOLD is not a number of bytes, such as 500000: $(shown(text))"))
    number
end

"""
Calls a log hook once for each payload, or once for a message without: the seven fields that every log has, and `event`,
which is `"sent"` or `"received"`.
"""
function log_message(on_log, event, fields, payloads)
    text(name) = string(get(fields, name, ""))
    note(payload_type, transport) = begin
        entry = (
            event=event, correlation_id=text("correlation_id"), msg_id=text("msg_id"), timestamp=text("timestamp"),
            sender_name=harmless(text("sender_name"), 200), receiver_name=harmless(text("receiver_name"), 200),
            payload_type=payload_type, transport=transport,
        )
        on_log === nothing ? (@debug "natsbridge: $event" entry...) : on_log(entry)
    end
    isempty(payloads) ? note("", "") : foreach(payload -> note(payload...), payloads)
    nothing
end
