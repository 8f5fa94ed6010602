# The Bridge: smartsend and smartreceive over a NATS connection, with acknowledged delivery, requests and handlers.

"Handled messages that are remembered, so that a repeat is acknowledged and not handled again"
const REMEMBERED = 10_000

"""
    Bridge(url; keywords...)

A NATS connection that sends and receives messages. `url` is the variable `NATS_URL` if it is not given. Keywords: `user`,
`password`, `token`, `sender_name`, `sender_id` (give the same one at each start to count as the same receiver),
`fileserver_url`, `fileserver_token`, `allowed_origins`, `allowed_replies` (filters for reply subjects), `receive` (a named tuple
of further keywords of [`smartreceive`](@ref)), `on_log`, `on_event`.
"""
mutable struct Bridge
    connection::NatsConnection
    url::String
    sender_name::String
    sender_id::String
    fileserver_url::String
    fileserver_token::String
    allowed_origins::Any
    allowed_replies::Any
    receive::Any
    on_log::Any
    handled::Set{Tuple{String,String}}
    handled_order::Vector{Tuple{String,String}}
    "tasks of handlers, which drain waits for"
    handlers::Vector{Tuple{Subscription,Task}}
end

function Bridge(
    url=default_broker_url(); user="", password="", token="", sender_name="NATSBridge", sender_id=string(uuid4()),
    fileserver_url=default_fileserver_url(), fileserver_token=default_fileserver_token(), allowed_origins=nothing,
    allowed_replies=nothing, receive=NamedTuple(), on_log=nothing, on_event=nothing,
)
    connection = NatsConnection(url; user=user, password=password, token=token, name=sender_name, on_event=on_event)
    Bridge(
        connection, url, sender_name, sender_id, fileserver_url, fileserver_token, allowed_origins, allowed_replies, receive,
        on_log, Set{Tuple{String,String}}(), Tuple{String,String}[], [],
    )
end

"Connects: the same as [`Bridge`](@ref)"
connect(url=default_broker_url(); keywords...) = Bridge(url; keywords...)

function Base.show(io::IO, bridge::Bridge)
    print(io, "Bridge(", without_secrets(bridge.url), ", ", bridge.connection.state, ")")
end

"""
A message that arrived. `message["note"]` is the value of the payload of that name, `message.payloads` the list of
`(dataname, value, payload_type)`, `message.envelope` every field. Iterating gives the payloads.
"""
struct Message
    envelope::JSONObject
    subject::String
    nats_reply::String
    bridge::Bridge
end
Base.getproperty(message::Message, name::Symbol) =
    name === :payloads ? getfield(message, :envelope)["payloads"] : getfield(message, name)
function Base.getindex(message::Message, dataname::AbstractString)
    for (name, value, _) in message.payloads
        name == dataname && return value
    end
    throw(KeyError(dataname))
end
Base.iterate(message::Message, at=1) = iterate(message.payloads, at)
Base.length(message::Message) = length(message.payloads)
Base.show(io::IO, message::Message) =
    print(io, "Message(", shown(message.subject), ", ", join((shown(part[1]) * " " * part[3] for part in message.payloads), ", "), ")")

"What every message of a bridge has"
sender_keywords(bridge) = (
    broker_url=bridge.url, fileserver_url=bridge.fileserver_url, fileserver_token=bridge.fileserver_token,
    sender_name=bridge.sender_name, sender_id=bridge.sender_id, max_message_size=bridge.connection.max_payload, on_log=bridge.on_log,
)

"""
    send(bridge, subject, data; keywords...) -> envelope

Sends a message; keywords are those of [`smartsend`](@ref). It returns when the server has the message.
"""
function send(bridge::Bridge, subject, data; keywords...)
    envelope, text = smartsend(subject, data; sender_keywords(bridge)..., keywords...)
    publish_or_discard(bridge, envelope, subject, text)
    envelope
end

function publish_or_discard(bridge, envelope, subject, text)
    try
        publish(bridge.connection, subject, text)
        flush_raw(bridge.connection)
    catch error
        discard(envelope)
        error isa NATSBridgeError && (error.msg_id = envelope["msg_id"]; error.correlation_id = envelope["correlation_id"])
        rethrow()
    end
end

"""
    deliver(bridge, subject, data; acks=1, timeout=30, keywords...) -> envelope

Sends a message again and again until `acks` receivers have acknowledged it, for at most `timeout` seconds. Then its uploads
are deleted. A NACK that is not retryable ends it with the NACK's code; the error is `unacknowledged` if the time is over.
"""
function deliver(bridge::Bridge, subject, data; acks=1, timeout=30, keywords...)
    until = time() + timeout
    reply_to, replies = new_inbox(bridge.connection)
    envelope = nothing
    try
        envelope, text = smartsend(subject, data; sender_keywords(bridge)..., keywords..., reply_to=reply_to, awaits_ack=true)
        of_message(envelope) do
            wait_for_acks(bridge, subject, text, replies, acks, until)
        end
    finally
        close_inbox(bridge.connection, reply_to)
        envelope === nothing || discard(envelope)
    end
    envelope
end

function wait_for_acks(bridge, subject, text, replies, acks, until)
    known, refusal, pause = Set{String}(), nothing, 0.5
    while length(known) < acks
        now = time()
        now < until || throw(refusal === nothing ?
            NATSBridgeError("unacknowledged", "$(length(known)) of $acks receivers acknowledged in time; is one listening on $(shown(subject))?") : refusal)
        publish(bridge.connection, subject, text)
        repeat_at = min(until, now + pause)
        pause = min(2 * pause, 5.0)
        while length(known) < acks && time() < repeat_at
            message = next_reply(replies, repeat_at - time())
            message === nothing && break
            message.status == 503 && continue
            reply = read_reply(message)
            reply === nothing && continue
            if reply["msg_purpose"] == "ACK"
                push!(known, reply["sender_id"])
            elseif reply["msg_purpose"] == "NACK"
                meta = reply["metadata"]
                refusal = NATSBridgeError(harmless(get(meta, "code", "handler")), "a receiver refuses it: $(harmless(get(meta, "reason", ""), 300))")
                get(meta, "retryable", false) === true || throw(refusal)
            end
        end
    end
end

"The next message of a channel that stays open; `nothing` if none comes in time"
function next_reply(channel, seconds)
    until = time() + seconds
    while !isready(channel)
        left = until - time()
        left > 0 || return nothing
        timedwait(() -> isready(channel), left; pollint=0.001)
    end
    take!(channel)
end

"An ACK or NACK is read without its payloads, which nobody waits for"
function read_reply(message)
    try
        return smartreceive(message.data; allowed_origins=String[], max_retries=0)
    catch error
        error isa NATSBridgeError || rethrow()
        return nothing
    end
end

"""
    request(bridge, subject, data; timeout=10, keywords...) -> Message

Sends a message and waits for its reply. The error is `unreachable` if nobody listens, `timeout` if no reply comes in time.
"""
function request(bridge::Bridge, subject, data; timeout=10, keywords...)
    reply_to, replies = new_inbox(bridge.connection)
    envelope, reply = nothing, nothing
    try
        envelope, text = smartsend(subject, data; sender_keywords(bridge)..., keywords..., reply_to=reply_to)
        until = time() + timeout
        of_message(envelope) do
            publish(bridge.connection, subject, text; reply=reply_to)
            while reply === nothing
                message = next_reply(replies, until - time())
                message === nothing && throw(NATSBridgeError("timeout", "no reply in $timeout s"))
                message.status == 503 && throw(NATSBridgeError("unreachable", "nobody listens on $(shown(subject))"))
                got = received(bridge, message)
                got.envelope["reply_to_msg_id"] == envelope["msg_id"] && (reply = got)
            end
        end
    catch
        envelope === nothing || discard(envelope)
        rethrow()
    finally
        close_inbox(bridge.connection, reply_to)
    end
    reply
end

received(bridge, message) = Message(
    smartreceive(
        message.data; fileserver_url=bridge.fileserver_url, allowed_origins=bridge.allowed_origins, on_log=bridge.on_log,
        bridge.receive...,
    ),
    message.subject, message.reply, bridge,
)

# ---------------------------------------------------------------------------------------------------------- receiving

identity_of(message) = (message.envelope["sender_id"], message.envelope["msg_id"])

function remember!(bridge, message)
    it = identity_of(message)
    it in bridge.handled && return
    push!(bridge.handled, it)
    push!(bridge.handled_order, it)
    length(bridge.handled_order) > REMEMBERED && delete!(bridge.handled, popfirst!(bridge.handled_order))
end

"Acknowledges a message; does nothing if it asks for no reply"
function ack(message::Message)
    answer(message, () -> ack(message.envelope; answer_keywords(message)...))
    remember!(message.bridge, message)
end

"Says that a message was not handled, and why"
nack(message::Message, code="handler", reason=""; retryable=false) =
    answer(message, () -> nack(message.envelope, code, reason; retryable=retryable, answer_keywords(message)...))

"Replies to a message with payloads"
reply(message::Message, data; keywords...) =
    answer(message, () -> reply(message.envelope, data; answer_keywords(message)..., keywords...))

answer_keywords(message) =
    (nats_reply=message.nats_reply, allowed=message.bridge.allowed_replies, sender_keywords(message.bridge)...)

"Publishes a reply; whether there was one to publish"
function answer(message, make)
    try
        subject, text = make()
        publish(message.bridge.connection, subject, text)
        return true
    catch error
        error isa NATSBridgeError && error.code == "no_reply_subject" || rethrow()
        return false
    end
end

"""
    subscribe(bridge, subject; queue="") -> channel

A channel of [`Message`](@ref). A message that can't be read is answered with a NACK and logged; a repeat of one that was
acknowledged is acknowledged again, and not handed out. `subject` may have wildcards. With `queue`, each message goes to one
member of that group.

    subscribe(f, bridge, subject; queue="")

Calls `f(message)` for each, and acknowledges it; an error of `f` is answered with a NACK.
"""
function subscribe(bridge::Bridge, subject; queue="")
    subscription = subscribe_raw(bridge.connection, subject; queue=queue)
    flush_raw(bridge.connection)
    messages = Channel{Message}(64)
    task = background() do
        for raw in subscription
            message = read_or_nack(bridge, raw)
            message === nothing || put!(messages, message)
        end
        close(messages)
    end
    push!(bridge.handlers, (subscription, task))
    messages
end

function subscribe(f, bridge::Bridge, subject; queue="")
    handle(bridge, subject, queue) do message
        f(message)
        ack(message)
    end
end

"""
    serve(f, bridge, subject; queue="")

Calls `f(message)` for each message, and replies with the payloads that it returns; `nothing` acknowledges.
"""
function serve(f, bridge::Bridge, subject; queue="")
    handle(bridge, subject, queue) do message
        data = f(message)
        data === nothing ? ack(message) : reply(message, data)
    end
end

function handle(f, bridge, subject, queue)
    subscription = subscribe_raw(bridge.connection, subject; queue=queue)
    flush_raw(bridge.connection)
    task = background() do
        for raw in subscription
            message = read_or_nack(bridge, raw)
            message === nothing && continue
            try
                f(message)
            catch error
                error isa InterruptException && rethrow()
                why = harmless(error isa NATSBridgeError ? error.message : sprint(showerror, error), 300)
                @warn "a handler failed: $why"
                told(() -> nack(message, "handler", "the handler failed"))
            end
        end
    end
    push!(bridge.handlers, (subscription, task))
    subscription
end

"Tells a sender something, if it can be told"
function told(f)
    try
        f()
    catch error
        error isa NATSBridgeError || rethrow()
        @warn "no reply: $(harmless(error.message, 200))"
    end
end

"A message that is new and can be read; others are answered here"
function read_or_nack(bridge, raw)
    message = nothing
    try
        message = received(bridge, raw)
    catch error
        error isa NATSBridgeError || rethrow()
        @warn sprint(showerror, error)
        told(() -> nack_unread(bridge, raw, error))
        return nothing
    end
    if identity_of(message) in bridge.handled
        told(() -> ack(message))
        return nothing
    end
    message
end

"Only the fields of the envelope are needed to say that its payloads can't be read"
function nack_unread(bridge, raw, error)
    header = nothing
    try
        fields = from_json(raw.data, :envelope)
        fields isa JSONObject || return
        header = JSONObject()
        read_header!(header, fields)
    catch problem
        problem isa NATSBridgeError || rethrow()
        return
    end
    header["msg_purpose"] in ("ACK", "NACK") && return
    message = Message(header, raw.subject, raw.reply, bridge)
    retryable = error.code in ("download_retry_exceeded", "timeout", "unreachable")
    nack(message, error.code, "it can't be read: $(error.code)"; retryable=retryable)
end

"""
    drain(bridge; timeout=10)

Ends in order: unsubscribes, lets handlers finish what has arrived, flushes, closes. Returns how many messages were not handled.
"""
function drain(bridge::Bridge; timeout=10)
    until = time() + timeout
    foreach(((subscription, _),) -> unsubscribe(bridge.connection, subscription), bridge.handlers)
    for (_, task) in bridge.handlers
        timedwait(() -> istaskdone(task), max(0.1, until - time()); pollint=0.01)
    end
    left = sum(Int[length(subscription.arrived.data) for (subscription, _) in bridge.handlers])
    try
        flush_raw(bridge.connection; timeout=max(1, until - time()))
    catch error
        error isa NATSBridgeError || rethrow()
    end
    close(bridge.connection)
    left
end
Base.close(bridge::Bridge) = close(bridge.connection)
