"""
NATSBridge for Julia 1.5 and newer: [`smartsend`](@ref) and [`smartreceive`](@ref), with nothing but the standard library.

The wire is docs/specification.md. Arrow tables are there where Arrow.jl is installed.
"""
module NATSBridge

using Base64: base64encode
using Dates
using SHA: sha256
using Sockets
using Unicode
using UUIDs: UUID, uuid4

export smartsend, smartreceive, discard, plik_upload, fetch_with_backoff, NATSBridgeError, JSONObject, Upload, Link

const DEFAULT_BROKER_URL = get(ENV, "NATS_URL", "nats://localhost:4222")
const DEFAULT_FILESERVER_URL = get(ENV, "FILESERVER_URL", "http://localhost:8080")
const DEFAULT_SIZE_THRESHOLD = parse(Int, get(ENV, "SIZE_THRESHOLD", "500000"))
const DEFAULT_MAX_MESSAGE_SIZE = 1_048_576
const DEFAULT_MAX_PAYLOAD_SIZE = 10_000_000_000
"Bytes of the envelope that a link may take, before its URL is known"
const LINK_ALLOWANCE = 2_048
const LINK_TTL = 24 * 60 * 60
const MAX_SUBJECT = 2_000
const MICROPYTHON_MAX_PAYLOAD = 50_000
"Arrays and objects of JSON within each other"
const MAX_DEPTH = 127

const FIELDS = (
    "correlation_id", "msg_id", "timestamp", "send_to", "msg_purpose", "sender_name", "sender_id",
    "receiver_name", "receiver_id", "reply_to", "reply_to_msg_id", "broker_url",
)
const BYTES_TYPES = ("image", "audio", "video", "binary")
const PAYLOAD_TYPES = ("text", "dictionary", "arrowtable", "jsontable", BYTES_TYPES...)
"A Plik up to 1.3.8 redirects other agents to a web page when it fails"
const USER_AGENT = "plik_client/natsbridge-julia"

"""
What went wrong: `code` is a word of the specification's section 9, `dataname` the payload at fault or `nothing`,
`msg_id` the message's where it could be read.
"""
mutable struct NATSBridgeError <: Exception
    code::String
    message::String
    dataname::Union{Nothing,String}
    msg_id::Union{Nothing,String}
end
NATSBridgeError(code, message, dataname=nothing) = NATSBridgeError(code, message, dataname, nothing)

function Base.showerror(io::IO, error::NATSBridgeError)
    error.dataname === nothing || print(io, "payload `", error.dataname, "`: ")
    print(io, error.message, " (", error.code, ")")
end

"Runs `f`; an error of it gets the payload's name"
function naming(f, dataname)
    try
        f()
    catch error
        error isa NATSBridgeError && error.dataname === nothing && (error.dataname = dataname)
        rethrow()
    end
end

"Runs `f` and lets no error out but the library's own, with the payload's name"
function fenced(f, code, what, dataname=nothing)
    try
        f()
    catch error
        error isa InterruptException && rethrow()
        if error isa NATSBridgeError
            error.dataname === nothing && (error.dataname = dataname)
            rethrow()
        end
        throw(NATSBridgeError(code, "$what: $(first(sprint(showerror, error), 300))", dataname))
    end
end

wrong_value(message, dataname=nothing) = NATSBridgeError("wrong_value", message, dataname)

"Strangers' text for an error: at most 80 characters, escaped"
shown(text) = "`" * escape_string(first(string(text), 80)) * "`"

"A JSON object: a dictionary whose keys keep their order"
struct JSONObject <: AbstractDict{String,Any}
    names::Vector{String}
    items::Vector{Any}
    places::Dict{String,Int}
end
JSONObject() = JSONObject(String[], Any[], Dict{String,Int}())
function JSONObject(pairs::Pair...)
    object = JSONObject()
    for (name, item) in pairs
        object[name] = item
    end
    object
end
Base.length(object::JSONObject) = length(object.names)
Base.haskey(object::JSONObject, name) = haskey(object.places, name)
Base.get(object::JSONObject, name, default) =
    (place = get(object.places, name, 0); place == 0 ? default : object.items[place])
Base.iterate(object::JSONObject, at=1) =
    at > length(object) ? nothing : (object.names[at] => object.items[at], at + 1)
function Base.setindex!(object::JSONObject, item, name)
    place = get!(object.places, name) do
        push!(object.names, name)
        push!(object.items, nothing)
        length(object.names)
    end
    object.items[place] = item
    object
end

"A message as it goes into JSON; remembers what was uploaded for it"
struct Envelope <: AbstractDict{String,Any}
    fields::JSONObject
    deletes::Vector{Any}
end
Base.length(envelope::Envelope) = length(envelope.fields)
Base.haskey(envelope::Envelope, name) = haskey(envelope.fields, name)
Base.get(envelope::Envelope, name, default) = get(envelope.fields, name, default)
Base.iterate(envelope::Envelope, at=1) = iterate(envelope.fields, at)
Base.setindex!(envelope::Envelope, item, name) = setindex!(envelope.fields, item, name)

"Deletes the uploads of a message that could not be published"
function discard(envelope::Envelope)
    for delete in envelope.deletes
        try
            delete()
        catch error
            @warn "an upload could not be deleted" error
        end
    end
    empty!(envelope.deletes)
end

"""
What an upload handler is given. It returns the URL, or a dictionary with `url` and, where known, `expires_at` (text),
`one_shot` and `delete` (a function without arguments).
"""
struct Upload
    fileserver_url::String
    dataname::String
    data::Vector{UInt8}
    one_shot::Bool
    "seconds"
    ttl::Int
    token::String
end

"What a download handler is given; it returns the bytes, which are checked afterwards"
struct Link
    url::String
    dataname::String
    "bytes, as the sender says; 0 if it says nothing"
    size::Int
    "most bytes to read"
    limit::Int
    one_shot::Bool
    expires_at::Union{Nothing,DateTime}
    "the only origins that are asked; nothing: any address that no list forbids"
    allowed_origins::Union{Nothing,Vector{String}}
    max_retries::Int
    "milliseconds"
    base_delay::Int
    max_delay::Int
end

# ------------------------------------------------------------------------------------------------------------ sending

"A payload on its way: its fields, its bytes, and how it travels"
mutable struct Draft
    payload::JSONObject
    body::Vector{UInt8}
    direct::Bool
end

"""
    smartsend(subject, data; keywords...) -> (envelope, json)

Serialises `data`, a list of `(dataname, value, payload_type)`, into one message, and uploads what is too large for NATS.
The caller publishes `json` on `subject`.

`receiver` is `"desktop"`, `"browser"` or `"micropython"`. Say `awaits_ack` when you repeat the message until it is
acknowledged. A link is one-shot when `receiver_id` names one receiver who is asked for no acknowledgement and no answer
(`reply_to`); `one_shot=false` makes it expire instead, and `one_shot=true` in any other case is an error. Sizes are bytes,
`ttl` is seconds. Every error is a [`NATSBridgeError`](@ref).
"""
function smartsend(
    subject,
    data;
    broker_url=DEFAULT_BROKER_URL,
    fileserver_url=DEFAULT_FILESERVER_URL,
    fileserver_upload_handler=plik_upload,
    fileserver_token="",
    size_threshold=DEFAULT_SIZE_THRESHOLD,
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
)
    deletes = Any[]
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
        check_subject("subject", subject)
        reply_to == "" || check_subject("reply_to", reply_to)
        for (name, number) in ("size_threshold" => size_threshold, "max_message_size" => max_message_size, "ttl" => ttl)
            number isa Integer && !(number isa Bool) || throw(wrong_value("`$name` is not a whole number"))
        end
        receiver in ("desktop", "browser", "micropython") ||
            throw(wrong_value("`receiver` is not desktop, browser or micropython"))
        metadata isa Union{AbstractDict,NamedTuple} || throw(wrong_value("`metadata` is not a dictionary"))
        data isa AbstractString && throw(wrong_value("the payloads are not a list"))
        answered = awaits_ack === true || !isempty(reply_to)
        if one_shot === true && (isempty(receiver_id) || answered)
            why = isempty(receiver_id) ? "no receiver_id names the one who reads it" :
                "it may be read again for an acknowledgement or an answer"
            throw(wrong_value("a link of this message can't be one-shot: $why; leave `one_shot` out"))
        end
        once = one_shot === nothing ? !isempty(receiver_id) && !answered : one_shot === true

        given_or_new(id) = isempty(id) ? new_id() : id
        fields = JSONObject()
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
        drafts = Draft[draft(at - 1, item, receiver, convert_tables, new_id) for (at, item) in enumerate(data)]
        plan(fields, drafts, may_link ? size_threshold : typemax(Int), max_message_size, may_link, digest_direct === true)
        try
            for draft in drafts
                payload = draft.payload
                payload["size"] = length(draft.body)
                if draft.direct
                    payload["data"] = base64encode(draft.body)
                else
                    fenced("handler", "the upload handler failed", payload["dataname"]) do
                        upload = Upload(fileserver_url, payload["dataname"], draft.body, once, ttl, fileserver_token)
                        uploaded!(payload, draft.body, fileserver_upload_handler(upload), deletes)
                    end
                end
                push!(fields["payloads"], payload)
            end
            return Envelope(fields, deletes), json(fields)
        catch
            discard(Envelope(fields, deletes))
            rethrow()
        end
    end
end

"Makes a link of a payload, of what an upload handler returned"
function uploaded!(payload, body, stored, deletes)
    stored isa AbstractString && (stored = Dict("url" => stored))
    get(stored, "delete", nothing) === nothing || push!(deletes, stored["delete"])
    check_text("url", stored["url"])
    payload["transport"], payload["encoding"], payload["data"] = "link", "none", stored["url"]
    payload["metadata"] = JSONObject("sha256" => bytes2hex(sha256(body)))
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

function draft(index, item, receiver, convert_tables, new_id)
    item isa Union{Tuple,AbstractVector} && length(item) == 3 ||
        throw(wrong_value("it is not (dataname, value, payload_type)", "#$index"))
    dataname, value, payload_type = item
    check_text("dataname", dataname, "#$index")
    fenced("wrong_value", "it can't be sent", String(dataname)) do
        payload_type isa AbstractString && payload_type in PAYLOAD_TYPES ||
            throw(NATSBridgeError("unknown_payload_type", "unknown payload_type $(shown(payload_type))"))
        if payload_type == "arrowtable" && receiver != "desktop"
            convert_tables === true ||
                throw(NATSBridgeError("unsupported", "a $receiver receiver reads no arrowtable; send it as jsontable"))
            payload_type = "jsontable"
        end
        body = serialised(value, payload_type)
        if receiver == "micropython" && length(body) > MICROPYTHON_MAX_PAYLOAD
            limit = MICROPYTHON_MAX_PAYLOAD
            throw(NATSBridgeError("too_large", "it has $(length(body)) bytes, a MicroPython receiver takes $limit"))
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
    for draft in drafts
        draft.direct = length(draft.body) < threshold
        draft.direct && digest && (draft.payload["metadata"]["sha256"] = bytes2hex(sha256(draft.body)))
    end
    fixed = [sizeof(json(draft.payload)) for draft in drafts]
    direct = [fixed[i] + ndigits(length(d.body)) - 1 + cld(length(d.body), 3) * 4 for (i, d) in enumerate(drafts)]
    linked = fixed .+ LINK_ALLOWANCE
    total = sizeof(json(fields)) + max(0, length(drafts) - 1)
    for (at, draft) in enumerate(drafts)
        total += draft.direct ? direct[at] : linked[at]
    end
    # A stable sort: of two equal payloads the first becomes the link.
    for at in sort(1:length(drafts); by=at -> -length(drafts[at].body), alg=MergeSort)
        draft = drafts[at]
        (may_link && draft.direct && total > limit && direct[at] > linked[at]) || continue
        total -= direct[at] - linked[at]
        draft.direct = false
    end
    if total > limit
        sizes = join(("$(d.payload["dataname"]): $(length(d.body))" for d in drafts if d.direct), ", ")
        throw(NATSBridgeError("too_large", "the message needs $total bytes, the broker takes $limit (direct: $sizes)"))
    end
end

"Stores the bytes on a Plik file server"
function plik_upload(upload::Upload)
    base = rstrip(upload.fileserver_url, '/')
    own = isempty(upload.token) ? Pair{String,String}[] : ["X-PlikToken" => upload.token]

    function ask(method, path, headers, body)
        answer = nothing
        try
            answer = http(method, base * path, [own; headers], body; limit=1 << 20)
        catch error
            error isa HTTPFailure || rethrow()
            throw(NATSBridgeError(error.timeout ? "timeout" : "unreachable", "failed to upload: $(error.reason)"))
        end
        text = String(copy(answer.body))
        if answer.status != 200
            code = answer.status in (401, 403) ? "refused" : answer.status == 413 ? "too_large" : "rejected"
            throw(NATSBridgeError(code, "failed to upload: $(answer.status) $(first(strip(text), 200))"))
        end
        method == "POST" ? from_json(text) : nothing
    end

    naming(upload.dataname) do
        wanted = JSONObject("oneShot" => upload.one_shot, "ttl" => upload.ttl)
        created = ask("POST", "/upload", ["Content-Type" => "application/json"], codeunits(json(wanted)))
        secret = "X-UploadToken" => created["uploadToken"]
        delete() = ask("DELETE", "/upload/$(escaped(created["id"]))", [secret], UInt8[])
        try
            boundary = "natsbridge-" * string(uuid4())
            head = "--$boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"payload.bin\"\r\n" *
                "Content-Type: application/octet-stream\r\n\r\n"
            body = [codeunits(head); upload.data; codeunits("\r\n--$boundary--\r\n")]
            form = "Content-Type" => "multipart/form-data; boundary=$boundary"
            kept = ask("POST", "/file/$(escaped(created["id"]))", [secret, form], body)
            kept["status"] == "uploaded" && kept["fileSize"] == length(upload.data) ||
                throw(NATSBridgeError("rejected", "failed to upload: the server stored other bytes"))
            host = first(url for url in (get(created, "downloadURL", ""), get(created, "downloadDomain", ""), base)
                if url !== nothing && !isempty(url))
            url = rstrip(host, '/') * "/file/" * join(map(escaped, (created["id"], kept["id"], kept["fileName"])), "/")
            Dict("url" => url, "expires_at" => expiry(created), "one_shot" => created["oneShot"] === true, "delete" => delete)
        catch error
            try
                delete()
            catch
                # It expires by itself; the first error says more.
            end
            error isa KeyError || rethrow()
            throw(NATSBridgeError("rejected", "failed to upload: the server's answer has no `$(error.key)`"))
        end
    end
end

function expiry(created)
    at = get(created, "expireAt", nothing)
    seconds = get(created, "ttl", 0)
    moment = at isa AbstractString ? parse_timestamp(at) : nothing
    moment === nothing && seconds isa Integer && seconds > 0 && (moment = now(UTC) + Second(seconds))
    moment === nothing ? nothing : timestamp_of(moment)
end

# ---------------------------------------------------------------------------------------------------------- receiving

"""
    smartreceive(msg_json_str; keywords...) -> envelope

Reads a message and downloads what came as a link. The envelope has every field of the wire, and `payloads` as a list of
`(dataname, value, payload_type)`.

Links are followed to the origin of `fileserver_url`, or only to `allowed_origins` where it is given: one origin or several,
such as `"https://files.example.com"`; an empty list allows nothing. Without a file server (`fileserver_url=""`) and without
`allowed_origins`, links are followed to any address that the specification (section 8) does not forbid. Delays are
milliseconds. `on_payload(payload, bytes)` sees each payload's fields and its serialised bytes before they are decoded.
Every error is a [`NATSBridgeError`](@ref).
"""
function smartreceive(
    msg_json_str;
    fileserver_download_handler=fetch_with_backoff,
    max_retries=5,
    base_delay=100,
    max_delay=5000,
    allowed_origins=nothing,
    fileserver_url=DEFAULT_FILESERVER_URL,
    strict=false,
    max_payload_size=DEFAULT_MAX_PAYLOAD_SIZE,
    on_payload=nothing,
)
    allowed = origins(allowed_origins, fileserver_url)
    msg_json_str isa Union{AbstractString,AbstractVector{UInt8}} ||
        throw(wrong_value("a message is a string or bytes, not $(typeof(msg_json_str))"))
    bytes = Vector{UInt8}(msg_json_str isa AbstractString ? codeunits(msg_json_str) : msg_json_str)
    raw = fenced(() -> from_json(bytes, :envelope), "not_json", "the message is not an envelope")
    raw isa JSONObject || throw(NATSBridgeError("wrong_type", "the message is not an envelope: it is JSON, but not an object"))
    envelope = JSONObject()
    try
        for field in FIELDS
            envelope[field] = text_or_empty(raw, field)
        end
        envelope["metadata"] = metadata_of(raw)
        payloads = get(raw, "payloads", nothing)
        payloads === nothing &&
            throw(NATSBridgeError("missing_field", "the message is not an envelope: `payloads` is missing"))
        payloads isa Vector || throw(NATSBridgeError("wrong_type", "the envelope's `payloads` is not an array"))
        checked = fenced("wrong_type", "a payload can't be read") do
            [payload_of(bytes, payload, at - 1) for (at, payload) in enumerate(payloads)]
        end
        envelope["payloads"] = Tuple{String,Any,String}[]
        for (payload, direct) in checked
            fenced("undecodable", "it is not a readable $(payload["payload_type"])", payload["dataname"]) do
                body = direct
                digest = digest_of(payload, strict === true)
                if direct === nothing
                    payload["size"] > max_payload_size && throw(too_large(payload["size"], max_payload_size))
                    body = fenced("handler", "the download failed", payload["dataname"]) do
                        link = Link(
                            payload["data"], payload["dataname"], payload["size"],
                            payload["size"] > 0 ? payload["size"] : max_payload_size,
                            get(payload["metadata"], "one_shot", false) === true, expires_at(payload), allowed,
                            max_retries, base_delay, max_delay,
                        )
                        answer = fileserver_download_handler(link)
                        answer isa AbstractVector{UInt8} ||
                            error("a download handler returns bytes, not $(typeof(answer))")
                        Vector{UInt8}(answer)
                    end
                end
                check_size(payload, body, strict === true || direct === nothing, max_payload_size)
                digest === nothing || bytes2hex(sha256(body)) == digest ||
                    throw(NATSBridgeError("digest", "it holds other bytes than were sent"))
                on_payload === nothing || on_payload(payload, body)
                value = deserialised(body, payload["payload_type"])
                push!(envelope["payloads"], (payload["dataname"], value, payload["payload_type"]))
            end
        end
    catch error
        error isa NATSBridgeError && (error.msg_id = get(envelope, "msg_id", nothing))
        rethrow()
    end
    envelope
end

"The origins that links may lead to; `nothing` where only the list of forbidden addresses decides"
function origins(allowed, fileserver_url)
    if allowed === nothing
        fileserver_url in ("", nothing) && return nothing
        allowed = [fileserver_url]
    end
    allowed isa AbstractString && (allowed = [allowed])
    if !(allowed isa Union{AbstractVector,Tuple}) || any(origin -> origin_of(origin) === nothing, allowed)
        throw(wrong_value("`allowed_origins` and `fileserver_url` are origins such as https://files.example.com"))
    end
    String[allowed...]
end

function text_or_nothing(raw, name)
    value = get(raw, name, nothing)
    value === nothing || value isa String || throw(NATSBridgeError("wrong_type", "`$name` is not a string"))
    value
end
text_or_empty(raw, name) = something(text_or_nothing(raw, name), "")

function metadata_of(raw)
    value = get(raw, "metadata", nothing)
    value === nothing && return JSONObject()
    value isa JSONObject || throw(NATSBridgeError("wrong_type", "`metadata` is not an object"))
    value
end

"The fields of a payload, and its bytes where it came direct"
function payload_of(bytes, raw, index)
    raw isa JSONObject || throw(NATSBridgeError("wrong_type", "item $index of `payloads` is not an object"))
    dataname = naming(() -> text_or_empty(raw, "dataname"), "#$index")
    naming(dataname) do
        payload = JSONObject("id" => text_or_empty(raw, "id"), "dataname" => dataname)
        for (field, words) in ("payload_type" => PAYLOAD_TYPES, "transport" => ("direct", "link"))
            word = text_or_nothing(raw, field)
            word === nothing && throw(NATSBridgeError("missing_field", "`$field` is missing"))
            word in words || throw(NATSBridgeError("unknown_$field", "unknown $field `$word`"))
            payload[field] = word
        end
        payload["encoding"] = text_or_empty(raw, "encoding")
        payload["size"] = size_of(get(raw, "size", nothing))
        payload["metadata"] = metadata_of(raw)
        haskey(raw, "data") || throw(NATSBridgeError("missing_field", "`data` is missing"))
        data = raw["data"]
        direct = payload["transport"] == "direct"
        direct && !(payload["encoding"] in ("", "base64", "json", "arrow-ipc", "none")) &&
            throw(NATSBridgeError("unknown_encoding", "unknown encoding `$(payload["encoding"])`"))
        if !data.is_text
            direct && payload["encoding"] == "json" && return payload, bytes[data.first:data.last]
            bytes[data.first:data.last] == codeunits("null") &&
                throw(NATSBridgeError("missing_field", "`data` is missing"))
            throw(NATSBridgeError("wrong_type", "`data` is not a string"))
        end
        direct && payload["encoding"] != "none" && return payload, unbase64(bytes, data)
        text = text_at(bytes, data.first, data.last)
        direct && return payload, Vector{UInt8}(codeunits(text))
        payload["data"] = text
        payload, nothing
    end
end

function size_of(value)
    value === nothing && return 0
    if value isa Bool || !(value isa Real) || value < 0 || !isinteger(value) || value > typemax(UInt64)
        throw(NATSBridgeError("wrong_type", "`size` is not a number of bytes"))
    end
    Int(min(value, typemax(Int)))
end

"The digest to check; what is no digest must not switch the check off"
function digest_of(payload, strict)
    stated = get(payload["metadata"], "sha256", nothing)
    if stated === nothing
        strict && payload["transport"] == "link" && throw(NATSBridgeError("digest_missing", "it is a link without sha256"))
        return nothing
    end
    stated isa String && occursin(r"^[0-9a-fA-F]{64}\z", stated) ||
        throw(NATSBridgeError("digest", "its sha256 is no digest"))
    lowercase(stated)
end

function expires_at(payload)
    text = get(payload["metadata"], "expires_at", nothing)
    text isa String ? parse_timestamp(text) : nothing
end

function check_size(payload, body, must_match, limit)
    length(body) > limit && throw(too_large(length(body), limit))
    stated = payload["size"]
    (stated == 0 || stated == length(body)) && return
    text = "it has $(length(body)) bytes, the envelope says $stated"
    must_match && throw(NATSBridgeError("size_mismatch", text))
    @warn "payload `$(payload["dataname"])`: $text"
end

too_large(size, limit) = NATSBridgeError("too_large", "it has $size bytes, the receiver takes $limit")

# ---------------------------------------------------------------------------------------------------------- downloads

"Reads a link: no redirects, a byte limit, `max_retries` retries after pauses that double up to `max_delay`"
function fetch_with_backoff(link::Link)
    failed(code, reason) =
        NATSBridgeError(code, "failed to fetch $(without_secrets(link.url)): $reason", link.dataname)
    parts = url_parts(link.url)
    parts === nothing && throw(failed("blocked_origin", "a link is an http or https URL without user info"))
    guard = link.allowed_origins === nothing
    if !guard && !any(origin_of(allowed) == origin_of(link.url) for allowed in link.allowed_origins)
        places = isempty(link.allowed_origins) ? "nothing is" : join(link.allowed_origins, ", ")
        throw(failed("blocked_origin", "its origin is not allowed (allowed: $places); pass allowed_origins if you trust it"))
    end
    delay, reason = link.base_delay, ""
    for attempt in 0:link.max_retries
        pause = 0.0
        try
            answer = http("GET", link.url, ["Accept-Encoding" => "identity"], UInt8[]; limit=link.limit, guard=guard)
            status, text = answer.status, ""
            if status == 200 && answer.cut === nothing
                return answer.body
            elseif status == 200 && answer.cut === :limit
                code = link.size > 0 ? "size_mismatch" : "too_large"
                throw(failed(code, "it holds more than $(link.limit) bytes"))
            elseif status == 200
                status, text = 500, "the body ended early"
            elseif 300 <= status < 400 # a Plik up to 1.3.8 hides its errors in a redirect
                hidden = match(r"[?&]errcode=(\d{3})", get(answer.headers, "location", ""))
                status = hidden === nothing ? 0 : parse(Int, hidden[1])
                text = hidden === nothing ? "a redirect is not followed" : answer.headers["location"]
            else
                text = String(answer.body[1:min(end, 200)])
            end
            code = refusal(status, text, link)
            code === nothing || throw(failed(code, "$status $(strip(text))"))
            reason = "$status $(strip(text))"
            after = get(answer.headers, "retry-after", "")
            occursin(r"^\d{1,4}$", after) && (pause = min(parse(Float64, after), 60.0))
        catch error
            error isa HTTPFailure || rethrow()
            error.code === nothing || throw(failed(error.code, error.reason))
            link.one_shot && error.sent &&
                throw(failed("consumed", "a link that can be read once broke ($(error.reason))"))
            reason = error.reason
        end
        if attempt < link.max_retries
            sleep(max(pause, delay * (0.5 + rand() / 2) / 1000))
            delay = min(2 * delay, link.max_delay)
        end
    end
    throw(failed("download_retry_exceeded", "gave up after $(link.max_retries) retries: $reason"))
end

"The code of an answer that another try would not change"
function refusal(status, text, link)
    status in (408, 425, 429) && return nothing
    status >= 500 && return link.one_shot ? "consumed" : nothing
    past = link.expires_at !== nothing && link.expires_at < now(UTC)
    status in (401, 403, 404, 410) && (past || occursin("expired", text)) && return "expired"
    status in (404, 410) && return link.one_shot ? "consumed" : "not_found"
    status == 0 && return "blocked_origin"
    status in (401, 403, 407) ? "refused" : "rejected"
end

"Scheme, host, port, target and authority of a URL as it will be asked for; `nothing` where it is none that is followed"
function url_parts(url)
    url isa AbstractString && isvalid(url) || return nothing
    found = match(r"^(https?)://([^/?#\\]+)([^#]*)(?:#.*)?$"is, strip(url))
    (found === nothing || '@' in found[2]) && return nothing
    place = match(r"^(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?\z"s, found[2])
    place === nothing && return nothing
    host = host_of(place[1])
    host === nothing && return nothing
    scheme = lowercase(found[1])
    port = place[2] in (nothing, "") ? (scheme == "https" ? 443 : 80) : parse(Int, place[2])
    port > 65535 && return nothing
    target = startswith(found[3], "/") ? found[3] : "/" * found[3]
    plain = join(0x20 < byte < 0x7f ? string(Char(byte)) : "%" * uppercase(string(byte; base=16, pad=2)) for byte in codeunits(String(target)))
    scheme, host, port, plain, (':' in host ? "[$host]" : host) * ":$port"
end

"Scheme, host and port, the same for every spelling of loopback; `nothing` for what is no http or https URL"
function origin_of(url)
    parts = url_parts(url)
    parts === nothing && return nothing
    host = endswith(parts[2], ".") ? chop(parts[2]) : parts[2]
    parts[1], host in ("localhost", "127.0.0.1", "::1") ? "localhost" : String(host), parts[3]
end

"The host as it is connected to, as the URL standard reads it: an address in its plain form, or a name in ASCII"
function host_of(text)
    if startswith(text, "[")
        occursin(r"^\[[0-9a-f:.]+\]$"i, text) || return nothing
        address = IPAddr[]
        try
            push!(address, parse(IPv6, lowercase(text[2:end-1])))
        catch
            # It is none.
        end
        return isempty(address) ? nothing : string(first(address))
    end
    bytes = UInt8[]
    at = 1
    raw = codeunits(String(text))
    while at <= length(raw)
        code = raw[at] == UInt8('%') && at + 2 <= length(raw) ? tryparse(UInt8, String(raw[at+1:at+2]); base=16) : nothing
        code === nothing && raw[at] == UInt8('%') && return nothing
        push!(bytes, something(code, raw[at]))
        at += code === nothing ? 1 : 3
    end
    name = String(bytes)
    isvalid(name) || return nothing
    # Letters and digits of other widths, full stops of other scripts, and what is not to be seen; other names in ASCII only.
    isascii(name) || (name = Unicode.normalize(filter(!is_ignored, Unicode.normalize(name, :NFKC)); casefold=true, compat=true))
    name = lowercase(replace(name, '\u3002' => '.'))
    isempty(name) || !isascii(name) || occursin(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]", name) ? nothing : address_or_name(name)
end

is_ignored(char) = char in ('\u00ad', '\u034f', '\u2060', '\u2064', '\ufeff') ||
    '\u180b' <= char <= '\u180f' || '\u200b' <= char <= '\u200d' || '\ufe00' <= char <= '\ufe0f'

function address_or_name(name)
    labels = split(endswith(name, ".") ? chop(name) : name, ".")
    if !occursin(r"^([0-9]+|0x[0-9a-f]*)$", last(labels))
        fits = length(name) < 255 && all(label -> 0 < length(label) < 64, labels)
        return fits ? name : nothing
    end
    # One to four numbers, each decimal, octal or hexadecimal, of which the last fills what is left.
    numbers = BigInt[]
    for label in labels
        found = match(r"^(?:0x([0-9a-f]*)|(0[0-7]*)|([1-9][0-9]*))$", label)
        found === nothing && return nothing
        hexadecimal, octal, decimal = found.captures
        digits, base = hexadecimal !== nothing ? (hexadecimal, 16) : octal !== nothing ? (octal, 8) : (decimal, 10)
        push!(numbers, isempty(digits) ? 0 : parse(BigInt, digits; base=base))
    end
    length(numbers) <= 4 && all(number -> number < 256, numbers[1:end-1]) || return nothing
    last(numbers) < big(256)^(5 - length(numbers)) || return nothing
    string(IPv4(UInt32(last(numbers) + sum(Int[Int(number) << (8 * (4 - at)) for (at, number) in enumerate(numbers[1:end-1])]))))
end

"Networks that no link may lead to: the specification's list (section 8); testdata/addresses.json has the same"
const FORBIDDEN_NETWORKS = (
    "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "64:ff9b:1::/48", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fd00:c1::a9fe:a9fe/128", "fd00:ec2::/32",
    "fd20:ce::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
)
"Where an IPv6 address holds one of version 4: network, first bit, whether all bits are inverted"
const EMBEDDING_NETWORKS = (
    ("::/96", 96, false), ("::ffff:0:0/96", 96, false), ("::ffff:0:0:0/96", 96, false), ("64:ff9b::/96", 96, false),
    ("2002::/16", 16, false), ("2001::/32", 96, true),
)

function within(address, network)
    start, bits = split(network, "/")
    start = parse(IPAddr, start)
    typeof(address) == typeof(start) && (xor(address.host, start.host) >> (8 * sizeof(address.host) - parse(Int, bits))) == 0
end

"Whether no link may lead to this address"
function is_forbidden(address)
    any(network -> within(address, network), FORBIDDEN_NETWORKS) && return true
    (address isa IPv4 || address.host == 1) && return false
    any(EMBEDDING_NETWORKS) do (network, bit, inverted)
        inner = UInt32((address.host >> (96 - bit)) & 0xffffffff)
        within(address, network) && is_forbidden(IPv4(inverted ? ~inner : inner))
    end
end

# --------------------------------------------------------------------------------------------------------------- HTTP

"An answer; `cut` says why the body is not whole: `:limit`, `:early`, or `nothing` where it is"
struct Answer
    status::Int
    headers::Dict{String,String}
    body::Vector{UInt8}
    cut::Union{Nothing,Symbol}
end

"No answer; `sent` where the server may have seen the request, `code` where another try can't help"
struct HTTPFailure <: Exception
    reason::String
    timeout::Bool
    sent::Bool
    code::Union{Nothing,String}
end

"One request on a connection of its own, without redirects"
function http(method, url, headers, body; limit, guard=false, connect_seconds=5, idle_seconds=60)
    parts = url_parts(url)
    parts === nothing && throw(HTTPFailure("not an http or https URL", false, false, "unreachable"))
    scheme, host, port, target, authority = parts
    url = "$scheme://$authority$target"
    address = resolved(host, guard)
    headers = ["User-Agent" => USER_AGENT; headers]
    scheme == "https" && return https(method, url, headers, body, limit)

    socket = TCPSocket()
    stage = :connecting
    late = false
    watch(f, seconds) = begin
        timer = Timer(_ -> (late = true; close(socket)), seconds)
        try
            f()
        finally
            close(timer)
        end
    end
    try
        watch(() -> connect(socket, address, port), connect_seconds)
        stage = :sent
        head = IOBuffer()
        print(head, method, " ", target, " HTTP/1.1\r\nHost: ", authority, "\r\nConnection: close\r\n")
        for (name, value) in headers
            print(head, name, ": ", value, "\r\n")
        end
        method == "GET" || print(head, "Content-Length: ", length(body), "\r\n")
        print(head, "\r\n")
        try
            watch(() -> (write(socket, take!(head)); isempty(body) || write(socket, body)), 600)
        catch error
            error isa Base.IOError || rethrow()
            # A server that refuses early closes while the body is sent; what it said can still be read.
        end
        return answer_of(socket, f -> watch(f, idle_seconds), limit)
    catch error
        error isa Union{Base.IOError,EOFError,ArgumentError} || rethrow()
        late && throw(HTTPFailure("no answer in time", true, stage == :sent, nothing))
        throw(HTTPFailure(stage == :sent ? "the connection broke" : "no connection", false, stage == :sent, nothing))
    finally
        close(socket)
    end
end

"The address to connect to: resolved once, so that it can't change between check and connection"
function resolved(host, guard)
    addresses = IPAddr[]
    host = String(host)
    try
        append!(addresses, occursin(r"^[\d.]+$|:", host) ? [parse(IPAddr, host)] : getalladdrinfo(host))
    catch
        throw(HTTPFailure("the name can't be resolved", false, false, nothing))
    end
    guard && filter!(address -> !is_forbidden(address), addresses)
    isempty(addresses) &&
        throw(HTTPFailure("it leads to an address that no link may lead to", false, false, "blocked_origin"))
    first(addresses)
end

"What has come and was not read yet"
mutable struct Incoming
    socket::TCPSocket
    watch::Any
    bytes::Vector{UInt8}
    broken::Bool
end

"Waits for more; false at the end, however it came"
function more(incoming)
    got = UInt8[]
    try
        incoming.watch() do
            eof(incoming.socket) || (got = readavailable(incoming.socket))
        end
    catch error
        error isa Base.IOError || rethrow()
        incoming.broken = true
    end
    append!(incoming.bytes, got)
    !isempty(got)
end

function next_line(incoming)
    at = 1
    while true
        found = findnext(isequal(UInt8('\n')), incoming.bytes, at)
        found === nothing || return rstrip(String(splice!(incoming.bytes, 1:found)))
        at = length(incoming.bytes) + 1
        at <= 1 << 16 && more(incoming) || throw(EOFError())
    end
end

function answer_of(socket, watch, limit)
    incoming = Incoming(socket, watch, UInt8[], false)
    line = match(r"^HTTP/1\.[01] (\d{3})", next_line(incoming))
    line === nothing && throw(EOFError())
    status = parse(Int, line[1])
    headers = Dict{String,String}()
    while true
        text = next_line(incoming)
        isempty(text) && break
        name, value = (split(text, ":"; limit=2)..., "")
        headers[lowercase(strip(name))] = strip(value)
        length(headers) > 200 && throw(EOFError())
    end
    if occursin("chunked", lowercase(get(headers, "transfer-encoding", "")))
        body, cut = chunked_body(incoming, limit)
        return Answer(status, headers, body, cut)
    end
    stated = get(headers, "content-length", "")
    size = isempty(stated) ? -1 : something(tryparse(Int, stated), -2)
    size == -2 && throw(EOFError())
    while (size < 0 || length(incoming.bytes) < size) && length(incoming.bytes) <= limit
        more(incoming) || break
    end
    body = incoming.bytes
    cut = length(body) > limit ? :limit : incoming.broken || (0 <= size != length(body)) ? :early : nothing
    Answer(status, headers, body, cut)
end

function chunked_body(incoming, limit)
    body = UInt8[]
    while true
        incoming.broken && return body, :early
        size = -1
        try
            size = something(tryparse(Int, strip(first(split(next_line(incoming), ";"))); base=16), -1)
        catch error
            error isa EOFError || rethrow()
        end
        size == 0 && return body, nothing
        size < 0 && return body, :early
        length(body) + size > limit && return body, :limit
        while length(incoming.bytes) < size + 2
            more(incoming) || return body, :early
        end
        append!(body, splice!(incoming.bytes, 1:size+2)[1:size])
    end
end

"With the standard library of Julia 1.6 and newer; older ones have no TLS"
function https(method, url, headers, body, limit)
    Downloads = package("Downloads", "f43a241f-c20a-4ad4-852c-f6b1247861c6")
    Downloads === nothing &&
        throw(HTTPFailure("https needs the standard library Downloads, of Julia 1.6 or newer", false, false, "unreachable"))
    output = IOBuffer(; maxsize=limit + 1)
    response = Base.invokelatest() do
        downloader = Downloads.Downloader()
        downloader.easy_hook = (easy, _) -> Downloads.Curl.setopt(easy, Downloads.Curl.CURLOPT_FOLLOWLOCATION, false)
        input = method == "GET" ? nothing : IOBuffer(body)
        Downloads.request(url; method=method, headers=headers, input=input, output=output, timeout=1800, throw=false, downloader=downloader)
    end
    hasproperty(response, :status) || throw(HTTPFailure("the connection failed", false, true, nothing))
    read_body = take!(output)
    cut = length(read_body) > limit ? :limit : nothing
    Answer(response.status, Dict(lowercase(name) => value for (name, value) in response.headers), read_body, cut)
end

"A package that may be there; `nothing` where it is not"
function package(name, id)
    try
        Base.require(Base.PkgId(UUID(id), name))
    catch
        nothing
    end
end

const UNRESERVED = Set(codeunits("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"))
escaped(text) =
    join(byte in UNRESERVED ? string(Char(byte)) : "%" * uppercase(string(byte; base=16, pad=2)) for byte in codeunits(text))

"A URL without user name, password, token, query and fragment"
function without_secrets(url)
    plain = first(split(url, ['?', '#']))
    found = match(r"^([^/]*://)?(.*)$"s, plain)
    scheme, rest = something(found[1], ""), found[2]
    authority, path = match(r"^([^/]*)(.*)$"s, rest).captures
    scheme * last(split(authority, "@")) * path
end

# -------------------------------------------------------------------------------------------------------------- codec

wrong(value, payload_type) =
    NATSBridgeError("wrong_value", "a $(typeof(value)) can't be sent as $payload_type")

function serialised(value, payload_type)
    if payload_type == "text"
        value isa AbstractString && isvalid(value) || throw(wrong(value, payload_type))
        return Vector{UInt8}(codeunits(String(value)))
    elseif payload_type == "dictionary"
        return Vector{UInt8}(codeunits(json(value)))
    elseif payload_type == "jsontable"
        return Vector{UInt8}(codeunits(json(rows_of(value, payload_type))))
    elseif payload_type == "arrowtable"
        return arrow_bytes(value)
    end
    value isa Base.GenericIOBuffer && return read(seekstart(copy(value)))
    value isa AbstractVector{UInt8} ? Vector{UInt8}(value) : throw(wrong(value, payload_type))
end

function deserialised(body, payload_type)
    if payload_type == "text"
        text = String(copy(body))
        isvalid(text) || throw(NATSBridgeError("undecodable", "it is not UTF-8"))
        return text
    elseif payload_type == "arrowtable"
        return arrow_table(body)
    elseif payload_type in BYTES_TYPES
        return body
    end
    value = nothing
    try
        value = from_json(body)
    catch error
        error isa NATSBridgeError || rethrow()
        throw(NATSBridgeError("undecodable", error.message))
    end
    if payload_type == "jsontable"
        value isa Vector && all(row -> row isa JSONObject, value) ||
            throw(NATSBridgeError("undecodable", "a jsontable is an array of objects, one for each row"))
        return JSONObject[value...]
    end
    value
end

"Rows of a list of rows, or of a named tuple of columns"
function rows_of(value, payload_type)
    value isa AbstractVector && all(row -> row isa Union{NamedTuple,AbstractDict}, value) && return value
    if value isa NamedTuple && all(column -> column isa AbstractVector, value) && allequal_lengths(value)
        count = isempty(value) ? 0 : length(first(value))
        return [NamedTuple{keys(value)}(map(column -> column[at], Tuple(value))) for at in 1:count]
    end
    throw(wrong(value, payload_type))
end
allequal_lengths(columns) = length(unique(map(length, collect(Any, columns)))) <= 1

function arrow()
    Arrow = package("Arrow", "69666777-d1a9-59fb-9406-91d4454c9d45")
    Arrow === nothing &&
        throw(NATSBridgeError("unsupported", "arrowtable needs the package Arrow.jl; install it, or use jsontable"))
    Arrow
end

function arrow_bytes(value)
    Arrow = arrow()
    if value isa AbstractVector && all(row -> row isa AbstractDict, value) && !isempty(value)
        names = unique(name for row in value for name in keys(row))
        columns = [[something(get(row, name, nothing), Some(missing)) for row in value] for name in names]
        value = NamedTuple{Tuple(map(Symbol, names))}(Tuple(columns))
    end
    io = IOBuffer()
    try
        Base.invokelatest(Arrow.write, io, value)
    catch error
        throw(NATSBridgeError("unconvertible", "the table can't be written as Arrow: $(sprint(showerror, error))"))
    end
    take!(io)
end

function arrow_table(body)
    Arrow = arrow()
    check_schema(body)
    try
        Base.invokelatest(Arrow.Table, body)
    catch error
        throw(NATSBridgeError("undecodable", "it is not a readable Arrow table: $(sprint(showerror, error))"))
    end
end

"Refuses Arrow that begins without a schema, or whose numbers are big-endian"
function check_schema(body)
    number(T, at) = ltoh(reinterpret(T, body[at+1:at+sizeof(T)])[1])
    "Where a table has a field; 0 if it has none"
    function place(table, field)
        vtable = table - number(Int32, table)
        4 + 2 * field < number(UInt16, vtable) || return 0
        offset = number(UInt16, vtable + 4 + 2 * field)
        offset == 0 ? 0 : table + Int(offset)
    end
    fenced("undecodable", "it is not a readable Arrow table") do
        at = length(body) > 8 && body[1:6] == codeunits("ARROW1") ? 8 : 0
        number(Int32, at) == -1 && (at += 4)
        number(Int32, at) > 0 || error("it begins without a schema")
        at += 4
        message = at + Int(number(UInt32, at))
        kind, header = place(message, 1), place(message, 2)
        kind != 0 && header != 0 && number(UInt8, kind) == 1 || error("it begins without a schema")
        order = place(header + Int(number(UInt32, header)), 0)
        order == 0 || number(Int16, order) == 0 || error("its numbers are big-endian, which no receiver has to read")
    end
end

timestamp_of(moment::DateTime) = Dates.format(moment, dateformat"yyyy-mm-dd\THH:MM:SS.sss\Z")

"The moment in UTC; `nothing` for what is no ISO 8601 date and time"
function parse_timestamp(text)
    found = match(
        r"^\s*(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?\s*$", text,
    )
    found === nothing && return nothing
    try
        millisecond = parse(Int, rpad(something(found[7], "0"), 3, "0")[1:3])
        moment = DateTime(parse.(Int, found.captures[1:6])..., millisecond)
        found[8] === nothing && return moment
        offset = Hour(parse(Int, found[9])) + Minute(parse(Int, something(found[10], "0")))
        found[8] == "+" ? moment - offset : moment + offset
    catch error
        error isa ArgumentError || rethrow()
        nothing
    end
end

# ------------------------------------------------------------------------------------------------------------- base64

const SEXTETS = let table = fill(0xff, 256)
    for (at, char) in enumerate(codeunits("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
        table[char+1] = at - 1
    end
    table
end

"Decodes strictly first, then without padding, in the URL-safe alphabet, with white space"
function unbase64(bytes, raw)
    decoded = strict_base64(bytes, raw.first, raw.last)
    decoded === nothing || return decoded
    clean = UInt8[]
    for char in codeunits(text_at(bytes, raw.first, raw.last))
        char in (0x20, 0x09, 0x0a, 0x0d) && continue
        push!(clean, char == UInt8('-') ? UInt8('+') : char == UInt8('_') ? UInt8('/') : char)
    end
    padding = 0
    while padding < 2 && !isempty(clean) && clean[end] == UInt8('=')
        pop!(clean)
        padding += 1
    end
    missed = mod(-length(clean), 4)
    if missed < 3 && padding <= missed
        append!(clean, fill(UInt8('='), missed))
        decoded = strict_base64(clean, 1, length(clean))
        decoded === nothing || return decoded
    end
    throw(NATSBridgeError("base64", "it is not base64"))
end

"Decodes the standard, padded form; `nothing` for any other"
function strict_base64(bytes, from, to)
    count = to - from + 1
    count % 4 == 0 || return nothing
    count == 0 && return UInt8[]
    padding = bytes[to] != UInt8('=') ? 0 : bytes[to-1] != UInt8('=') ? 1 : 2
    out = Vector{UInt8}(undef, count ÷ 4 * 3 - padding)
    place = 0
    at = from
    while at <= to - padding
        group, held = UInt32(0), 0
        while held < 4 && at <= to - padding
            sextet = SEXTETS[bytes[at]+1]
            sextet == 0xff && return nothing
            group = group << 6 | sextet
            held += 1
            at += 1
        end
        group <<= 6 * (4 - held)
        for shift in (16, 8, 0)[1:held-1]
            out[place+=1] = (group >> shift) % UInt8
        end
        held < 4 && (group << (8 * (held - 1))) & 0xffffff != 0 && return nothing # bits that belong to no byte
    end
    out
end

# --------------------------------------------------------------------------------------------------------------- JSON

"A value that stays where it is in the text; a string without its quotes"
struct Raw
    first::Int
    last::Int
    is_text::Bool
end

mutable struct Reader
    bytes::Vector{UInt8}
    at::Int
    "how much deeper it may go"
    room::Int
end

"""
    from_json(text_or_bytes)

Reads JSON strictly: objects become [`JSONObject`](@ref), integers stay exact at any size.
"""
from_json(text::AbstractString; depth=MAX_DEPTH) = from_json(Vector{UInt8}(codeunits(text)); depth=depth)
function from_json(bytes::Vector{UInt8}, kind::Symbol=:any; depth=MAX_DEPTH)
    reader = Reader(bytes, 1, depth)
    value = read_value(reader, kind)
    skip_space(reader)
    reader.at > length(bytes) || not_json(reader, "text after the value")
    value
end

function not_json(reader, why)
    before = view(reader.bytes, 1:min(reader.at, length(reader.bytes) + 1)-1)
    line = count(isequal(0x0a), before) + 1
    column = length(before) - something(findlast(isequal(0x0a), before), 0) + 1
    throw(NATSBridgeError("not_json", "not JSON at line $line, column $column: $why"))
end

peek_byte(reader) = reader.at <= length(reader.bytes) ? @inbounds(reader.bytes[reader.at]) : 0x00

function skip_space(reader)
    while peek_byte(reader) in (0x20, 0x09, 0x0a, 0x0d)
        reader.at += 1
    end
end

# `kind` says what a value is in the wire's envelope, for the keys that may stand only once and the data left as it is.
function read_value(reader, kind)
    skip_space(reader)
    byte = peek_byte(reader)
    byte == UInt8('{') && return read_object(reader, kind)
    byte == UInt8('[') && return read_array(reader, kind)
    if byte == UInt8('"')
        from = reader.at + 1
        skip_string(reader)
        return kind === :data ? Raw(from, reader.at - 2, true) : text_at(reader.bytes, from, reader.at - 2)
    end
    from = reader.at
    for (word, value) in ("true" => true, "false" => false, "null" => nothing)
        to = from + sizeof(word) - 1
        if to <= length(reader.bytes) && view(reader.bytes, from:to) == codeunits(word)
            reader.at = to + 1
            return kind === :data ? Raw(from, to, false) : value
        end
    end
    value = read_number(reader)
    kind === :data ? Raw(from, reader.at - 1, false) : value
end

function deeper(f, reader)
    reader.room == 0 && not_json(reader, "nested too deep")
    reader.room -= 1
    reader.at += 1
    value = f()
    reader.room += 1
    value
end

function child(kind, name)
    kind === :envelope && name == "payloads" && return :payloads
    kind in (:envelope, :payload) && name == "metadata" && return :metadata
    kind === :payload && name == "data" ? :data : :any
end

function read_object(reader, kind)
    from = reader.at
    object = JSONObject()
    deeper(reader) do
        skip_space(reader)
        peek_byte(reader) == UInt8('}') && return reader.at += 1
        while true
            skip_space(reader)
            peek_byte(reader) == UInt8('"') || not_json(reader, "expected a key")
            start = reader.at + 1
            skip_string(reader)
            name = text_at(reader.bytes, start, reader.at - 2)
            kind in (:envelope, :payload, :metadata) && haskey(object, name) && not_json(reader, "duplicate key `$name`")
            skip_space(reader)
            peek_byte(reader) == UInt8(':') || not_json(reader, "expected :")
            reader.at += 1
            object[name] = read_value(reader, child(kind, name))
            next_or_end(reader, UInt8('}')) || return
        end
    end
    kind === :data ? Raw(from, reader.at - 1, false) : object
end

function read_array(reader, kind)
    from = reader.at
    items = Any[]
    deeper(reader) do
        skip_space(reader)
        peek_byte(reader) == UInt8(']') && return reader.at += 1
        while true
            push!(items, read_value(reader, kind === :payloads ? :payload : :any))
            next_or_end(reader, UInt8(']')) || return
        end
    end
    kind === :data ? Raw(from, reader.at - 1, false) : items
end

"Whether another one follows"
function next_or_end(reader, closing)
    skip_space(reader)
    byte = peek_byte(reader)
    byte == UInt8(',') || byte == closing || not_json(reader, "expected , or $(Char(closing))")
    reader.at += 1
    byte == UInt8(',')
end

function skip_string(reader)
    reader.at += 1
    while true
        byte = peek_byte(reader)
        byte == UInt8('"') && break
        byte < 0x20 && not_json(reader, reader.at > length(reader.bytes) ? "a string without end" : "a control character in a string")
        reader.at += byte == UInt8('\\') ? 2 : 1
    end
    reader.at += 1
end

"The string between two places, which are inside its quotes"
function text_at(bytes, from, to)
    back = findnext(isequal(UInt8('\\')), view(bytes, 1:to), from)
    if back === nothing
        text = String(bytes[from:to])
        isvalid(text) || not_json(Reader(bytes, from, 0), "not UTF-8")
        return text
    end
    out = IOBuffer()
    while back !== nothing
        write(out, view(bytes, from:back-1))
        from = write_escaped(out, bytes, back + 1, to)
        back = findnext(isequal(UInt8('\\')), view(bytes, 1:to), from)
    end
    write(out, view(bytes, from:to))
    text = String(take!(out))
    isvalid(text) || not_json(Reader(bytes, to, 0), "not UTF-8")
    text
end

const ESCAPES = Dict(zip(codeunits("\"\\/bfnrt"), codeunits("\"\\/\b\f\n\r\t")))

"Writes the character that an escape stands for, and gives where the text goes on"
function write_escaped(out, bytes, at, to)
    function unit(at)
        digits = at + 4 <= to && bytes[at] == UInt8('u') ? String(bytes[at+1:at+4]) : ""
        occursin(r"^[0-9a-fA-F]{4}$", digits) || not_json(Reader(bytes, at, 0), "an unknown escape")
        parse(UInt32, digits; base=16)
    end
    if haskey(ESCAPES, bytes[at])
        write(out, ESCAPES[bytes[at]])
        return at + 1
    end
    code = unit(at)
    at += 5
    if 0xd800 <= code < 0xdc00 && at <= to && bytes[at] == UInt8('\\')
        low = unit(at + 1)
        if 0xdc00 <= low < 0xe000
            print(out, Char(0x10000 + (code - 0xd800) << 10 + low - 0xdc00))
            return at + 6
        end
    end
    0xd800 <= code < 0xe000 && not_json(Reader(bytes, at, 0), "a lone surrogate")
    print(out, Char(code))
    at
end

function read_number(reader)
    from = reader.at
    digits() = begin
        start = reader.at
        while UInt8('0') <= peek_byte(reader) <= UInt8('9')
            reader.at += 1
        end
        reader.at > start || not_json(reader, "expected a value")
    end
    peek_byte(reader) == UInt8('-') && (reader.at += 1)
    first = reader.at
    digits()
    reader.at - first > 1 && reader.bytes[first] == UInt8('0') && not_json(reader, "a number that begins with 0")
    whole = true
    if peek_byte(reader) == UInt8('.')
        whole = false
        reader.at += 1
        digits()
    end
    if peek_byte(reader) in (UInt8('e'), UInt8('E'))
        whole = false
        reader.at += 1
        peek_byte(reader) in (UInt8('+'), UInt8('-')) && (reader.at += 1)
        digits()
    end
    text = String(reader.bytes[from:reader.at-1])
    if whole && text != "-0"
        small = tryparse(Int64, text)
        return small === nothing ? parse(BigInt, text) : small
    end
    value = tryparse(Float64, text)
    value === nothing && (value = Float64(parse(BigFloat, text))) # out of range, or smaller than the smallest
    lost = iszero(value) && occursin(r"[1-9]", Base.first(split(text, ['e', 'E'])))
    isfinite(value) && !lost || not_json(reader, "a number out of range")
    value
end

"""
    json(value)

The JSON of a value. `nothing` and `missing` are `null`; dictionaries, named tuples, vectors and tuples are what they look like.
"""
json(value) = sprint(io -> write_json(io, value, MAX_DEPTH))

write_json(io, ::Union{Nothing,Missing}, _) = print(io, "null")
write_json(io, value::Bool, _) = print(io, value)
function write_json(io, value::Integer, depth)
    # An adapter, which may go deeper, reports what it was given.
    typemin(Int64) <= value <= typemax(UInt64) || depth > MAX_DEPTH ||
        throw(NATSBridgeError("wrong_value", "an integer beyond 64 bits: $(shown(value)); send it as text"))
    print(io, big(value))
end
function write_json(io, value::AbstractFloat, _)
    isfinite(value) && isfinite(Float64(value)) || throw(NATSBridgeError("wrong_value", "JSON has no $value"))
    print(io, value)
end
write_json(io, value::Symbol, depth) = write_json(io, String(value), depth)
function write_json(io, value::Union{AbstractDict,NamedTuple}, depth)
    known = Set{String}()
    write_all(io, '{', '}', pairs(value), depth) do (name, item)
        name isa Union{AbstractString,Symbol} || throw(NATSBridgeError("wrong_value", "the key $(shown(name)) is not a string"))
        text = String(name)
        text in known && throw(NATSBridgeError("wrong_value", "two keys are $(shown(text)) in JSON, of which one would be lost"))
        push!(known, text)
        write_json(io, text, depth)
        print(io, ':')
        write_json(io, item, depth - 1)
    end
end
write_json(io, value::Union{AbstractVector,Tuple}, depth) =
    write_all(item -> write_json(io, item, depth - 1), io, '[', ']', value, depth)
write_json(io, value, _) = throw(NATSBridgeError("wrong_value", "JSON has no $(typeof(value))"))

function write_all(f, io, opening, closing, items, depth)
    depth > 0 || throw(NATSBridgeError("too_deep", "nested deeper than $MAX_DEPTH levels"))
    print(io, opening)
    first = true
    for item in items
        first || print(io, ',')
        first = false
        f(item)
    end
    print(io, closing)
end

function write_json(io, text::AbstractString, _)
    isvalid(text) || throw(NATSBridgeError("wrong_value", "a string that is not UTF-8"))
    print(io, '"')
    bytes = codeunits(String(text))
    from = 1
    for (at, byte) in enumerate(bytes)
        byte >= 0x20 && byte != UInt8('"') && byte != UInt8('\\') && continue
        write(io, view(bytes, from:at-1))
        from = at + 1
        short = findfirst(isequal(byte), codeunits("\"\\\b\f\n\r\t"))
        short === nothing ? print(io, "\\u", string(byte; base=16, pad=4)) : print(io, '\\', "\"\\bfnrt"[short])
    end
    write(io, view(bytes, from:length(bytes)))
    print(io, '"')
end

end
