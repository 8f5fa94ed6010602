# smartsend: from values to one envelope, and what is too large for it to the file server.

"A message as it goes into JSON; remembers what was uploaded for it"
struct Envelope <: AbstractDict{String,Any}
    fields::JSONObject
    deletes::Vector{Any}
end
Base.length(envelope::Envelope) = length(envelope.fields)
Base.haskey(envelope::Envelope, name) = haskey(envelope.fields, name)
Base.get(envelope::Envelope, name, default) = get(envelope.fields, name, default)
Base.getindex(envelope::Envelope, name) = envelope.fields[name]
Base.iterate(envelope::Envelope, at=1) = iterate(envelope.fields, at)
Base.setindex!(envelope::Envelope, item, name) = setindex!(envelope.fields, item, name)

"Deletes the uploads of a message that could not be published"
function discard(envelope::Envelope)
    for delete in envelope.deletes
        try
            delete()
        catch error
            error isa InterruptException && rethrow()
            @warn "an upload could not be deleted: $(harmless(sprint(showerror, error), 200))"
        end
    end
    empty!(envelope.deletes)
end

"A payload on its way: its fields, its bytes, and how it travels"
mutable struct Draft
    payload::JSONObject
    body::Body
    direct::Bool
end

"""
    smartsend(subject, data; keywords...) -> (envelope, json)

Serialises `data`, a list of `(dataname, value, payload_type)`, into one message, and uploads what is too large for NATS.
The caller publishes `json` on `subject`.

`broker_url`, `fileserver_url`, `fileserver_token` and `size_threshold` come from the variables `NATS_URL`, `FILESERVER_URL`,
`FILESERVER_TOKEN` and `SIZE_THRESHOLD` if they are not given. `receiver` is `"desktop"`, `"browser"` or `"micropython"`. Say
`awaits_ack` when you repeat the message until it is acknowledged. A link is one-shot when `receiver_id` names one receiver
who is asked for no acknowledgement and no answer (`reply_to`); `one_shot=false` makes it expire instead, and `one_shot=true`
in any other case is an error. Sizes are bytes, `ttl` is seconds. `on_log` is called with the fields of a log (README),
`on_progress(bytes_done, bytes_in_all)` while a payload is uploaded. Every error is a [`NATSBridgeError`](@ref).
"""
function smartsend(
    subject,
    data;
    broker_url=default_broker_url(),
    fileserver_url=default_fileserver_url(),
    fileserver_upload_handler=plik_upload,
    fileserver_token=default_fileserver_token(),
    size_threshold=default_size_threshold(),
    max_message_size=DEFAULT_MAX_MESSAGE_SIZE,
    receiver="desktop",
    links=true,
    convert_tables=false,
    digest_direct=false,
    correlation_id="",
    msg_purpose="chat",
    sender_name="NATSBridge",
    receiver_name="",
    receiver_id="",
    reply_to="",
    reply_to_msg_id="",
    msg_id="",
    sender_id="",
    metadata=JSONObject(),
    awaits_ack=false,
    one_shot=nothing,
    ttl=LINK_TTL,
    timestamp=timestamp_of(now(UTC)),
    new_id=() -> string(uuid4()),
    on_log=nothing,
    on_progress=nothing,
)
    deletes = Any[]
    fields = JSONObject("correlation_id" => correlation_id, "msg_id" => msg_id)
    of_message(fields) do
        fenced("wrong_value", "the message can't be sent") do
            texts = (
                "broker_url" => broker_url, "fileserver_url" => fileserver_url, "fileserver_token" => fileserver_token,
                "correlation_id" => correlation_id, "msg_purpose" => msg_purpose, "sender_name" => sender_name,
                "receiver_name" => receiver_name, "receiver_id" => receiver_id, "reply_to_msg_id" => reply_to_msg_id,
                "msg_id" => msg_id, "sender_id" => sender_id, "timestamp" => timestamp,
            )
            for (name, value) in texts
                check_text(name, value)
            end
            occursin(r"[\r\n]", fileserver_token) && throw(wrong_value("`fileserver_token` has a line break"))
            check_subject("subject", subject)
            reply_to == "" || check_subject("reply_to", reply_to)
            for (name, number) in ("size_threshold" => size_threshold, "max_message_size" => max_message_size, "ttl" => ttl)
                number isa Integer && !(number isa Bool) || throw(wrong_value("`$name` is not a whole number"))
            end
            receiver in ("desktop", "browser", "micropython") ||
                throw(wrong_value("`receiver` is not desktop, browser or micropython"))
            metadata isa Union{AbstractDict,NamedTuple} || throw(wrong_value("`metadata` is not a dictionary"))
            data isa Union{AbstractString,Number,AbstractDict,Nothing,Missing} &&
                throw(wrong_value("the payloads are not a list of (dataname, value, payload_type)"))
            once = is_one_shot(one_shot, receiver_id, awaits_ack === true || !isempty(reply_to))

            given_or_new(id) = isempty(id) ? new_id() : id
            fields["correlation_id"] = given_or_new(correlation_id)
            fields["msg_id"] = given_or_new(msg_id)
            fields["timestamp"] = timestamp
            fields["send_to"] = subject
            fields["msg_purpose"] = msg_purpose
            fields["sender_name"] = sender_name
            fields["sender_id"] = given_or_new(sender_id)
            fields["receiver_name"] = receiver_name
            fields["receiver_id"] = receiver_id
            fields["reply_to"] = reply_to
            fields["reply_to_msg_id"] = reply_to_msg_id
            fields["broker_url"] = join(map(url -> without_secrets(strip(url)), split(broker_url, ",")), ",")
            fields["metadata"] = metadata
            fields["payloads"] = Any[]

            may_link = links === true && receiver != "micropython"
            threshold = may_link ? Int(min(size_threshold, typemax(Int))) : typemax(Int)
            drafts = Draft[]
            try
                for (at, item) in enumerate(data)
                    push!(drafts, draft(at - 1, item, receiver, convert_tables, new_id, threshold))
                end
                plan(fields, drafts, threshold, max_message_size, may_link, digest_direct === true)
                for draft in drafts
                    transported!(draft, (fileserver_url, once, ttl, fileserver_token, on_progress), fileserver_upload_handler, deletes)
                    push!(fields["payloads"], draft.payload)
                end
                text = json(fields)
                log_message(on_log, "sent", fields, [(payload["payload_type"], payload["transport"]) for payload in fields["payloads"]])
                return Envelope(fields, deletes), text
            catch
                discard(Envelope(fields, deletes))
                rethrow()
            finally
                for draft in drafts
                    draft.body isa FromFile && draft.body.is_temporary && rm(draft.body.path; force=true)
                end
            end
        end
    end
end

function is_one_shot(one_shot, receiver_id, answered)
    if one_shot === true && (isempty(receiver_id) || answered)
        why = isempty(receiver_id) ? "no receiver_id names the one who reads it" :
            "it may be read again for an acknowledgement or an answer"
        throw(wrong_value("a link of this message can't be one-shot: $why; leave `one_shot` out"))
    end
    one_shot === nothing ? !isempty(receiver_id) && !answered : one_shot === true
end

"Puts the bytes into the payload, or uploads them"
function transported!(draft, (fileserver_url, once, ttl, token, on_progress), handler, deletes)
    payload = draft.payload
    payload["size"] = size_of_body(draft.body)
    if draft.direct
        payload["data"] = base64(bytes_of_body(draft.body))
        return
    end
    fenced("handler", "the upload handler failed", payload["dataname"]) do
        upload = Upload(fileserver_url, payload["dataname"], draft.body, once, ttl, token, on_progress)
        uploaded!(payload, draft.body, handler(upload), deletes)
    end
end

"Makes a link of a payload, of what an upload handler returned"
function uploaded!(payload, body, stored, deletes)
    stored isa AbstractString && (stored = Dict("url" => stored))
    get(stored, "delete", nothing) === nothing || push!(deletes, stored["delete"])
    check_text("url", stored["url"])
    payload["transport"], payload["encoding"], payload["data"] = "link", "none", stored["url"]
    payload["metadata"] = JSONObject("sha256" => digest_of_body(body))
    expires_at = get(stored, "expires_at", nothing)
    expires_at === nothing || (payload["metadata"]["expires_at"] = expires_at)
    get(stored, "one_shot", false) === true && (payload["metadata"]["one_shot"] = true)
end

"Checks what every receiver reads as text"
function check_text(name, value, dataname=nothing)
    value isa AbstractString || throw(wrong_value("`$name` is not a string but $(typeof(value))", dataname))
    isvalid(value) || throw(wrong_value("`$name` is not UTF-8", dataname))
end

"Checks a subject to publish to: tokens between dots, none of them empty or a wildcard"
function check_subject(name, value)
    check_text(name, value)
    any(token -> token in ("", "*", ">"), split(value, ".")) || sizeof(value) > MAX_SUBJECT ?
        throw(wrong_value("`$name` is no subject to publish to: $(shown(value)); use words with dots between them, such as lab.results")) :
        any(char -> isspace(char) || iscntrl(char), value) &&
        throw(wrong_value("`$name` has white space or control characters: $(shown(value))"))
end

function draft(index, item, receiver, convert_tables, new_id, threshold)
    item isa Union{Tuple,AbstractVector} && length(item) == 3 ||
        throw(wrong_value("it is not (dataname, value, payload_type), such as (\"note\", \"hi\", \"text\"); payloads stand in a list", "#$index"))
    dataname, value, payload_type = item
    check_text("dataname", dataname, "#$index")
    fenced("wrong_value", "it can't be sent", String(dataname)) do
        payload_type isa AbstractString && payload_type in PAYLOAD_TYPES ||
            throw(NATSBridgeError("unknown_payload_type", "unknown payload_type $(shown(payload_type)); the types are $(join(PAYLOAD_TYPES, ", ", " and "))"))
        if payload_type == "arrowtable" && receiver != "desktop"
            convert_tables === true ||
                throw(NATSBridgeError("unsupported", "a $receiver receiver reads no arrowtable; send it as jsontable"))
            payload_type = "jsontable"
        end
        body = serialised(value, payload_type, min(threshold, 10_000_000))
        if receiver == "micropython" && size_of_body(body) > MICROPYTHON_MAX_PAYLOAD
            limit = MICROPYTHON_MAX_PAYLOAD
            throw(NATSBridgeError("too_large", "it has $(size_of_body(body)) bytes, a MicroPython receiver takes $limit"))
        end
        payload = JSONObject(
            "id" => new_id(), "dataname" => String(dataname), "payload_type" => String(payload_type), "transport" => "direct",
            "encoding" => "base64", "size" => 0, "data" => "", "metadata" => JSONObject(),
        )
        Draft(payload, body, true)
    end
end

"Chooses by the threshold, then turns the largest direct payloads into links until the envelope fits"
function plan(fields, drafts, threshold, limit, may_link, digest)
    sizes = [size_of_body(draft.body) for draft in drafts]
    for (draft, size) in zip(drafts, sizes)
        draft.direct = size < threshold
        draft.direct && digest && (draft.payload["metadata"]["sha256"] = digest_of_body(draft.body))
    end
    fixed = [sizeof(json(draft.payload)) for draft in drafts]
    direct = [fixed[at] + ndigits(size) - 1 + cld(size, 3) * 4 for (at, size) in enumerate(sizes)]
    linked = fixed .+ LINK_ALLOWANCE
    total = sizeof(json(fields)) + max(0, length(drafts) - 1)
    for (at, draft) in enumerate(drafts)
        total += draft.direct ? direct[at] : linked[at]
    end
    # A stable sort: of two equal payloads the first becomes the link.
    for at in sort(1:length(drafts); by=at -> -sizes[at], alg=MergeSort)
        draft = drafts[at]
        (may_link && draft.direct && total > limit && direct[at] > linked[at]) || continue
        total -= direct[at] - linked[at]
        draft.direct = false
    end
    if total > limit
        named = join(("$(shown(d.payload["dataname"])): $size" for (d, size) in zip(drafts, sizes) if d.direct), ", ")
        throw(NATSBridgeError("too_large", "the message needs $total bytes, the broker takes $limit (direct: $named)"))
    end
end
