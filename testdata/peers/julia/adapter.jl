# The Julia peer of the conformance suite: `adapter.jl vectors`, or `adapter.jl live --nats URL --files URL --name NAME`.
# JSON lines in and out; logs go to stderr.

using NATSBridge
using NATSBridge: from_json, json, BYTES_TYPES, FIELDS, NatsConnection, flush_raw, publish, subscribe_raw
using Base64, SHA
include(joinpath(@__DIR__, "tables.jl"))
using .Tables

const BLOBS = get(ENV, "NATSBRIDGE_BLOBS", joinpath(@__DIR__, "..", "..", "blobs"))
const LONGEST = 4096

# What surrounds a payload nests too, and some vectors are too deep on purpose.
const DEPTH = 1000
text_of(value) = sprint(io -> NATSBridge.write_json(io, value, DEPTH))
say(answer) = (write(stdout, text_of(answer) * "\n"); flush(stdout))

function bytes_of(tagged)
    haskey(tagged, "text") && return Vector{UInt8}(codeunits(tagged["text"]))
    haskey(tagged, "base64") && return base64decode(tagged["base64"])
    haskey(tagged, "blob") && return read(joinpath(BLOBS, tagged["blob"]))
    fill(UInt8(tagged["repeat"]["byte"]), tagged["repeat"]["count"])
end

function value_of(tagged, payload_type)
    haskey(tagged, "text") && return tagged["text"]
    haskey(tagged, "json") && return tagged["json"]
    haskey(tagged, "table") && return table_of(tagged["table"])
    bytes = bytes_of(tagged)
    payload_type == "arrowtable" && return NATSBridge.read_arrow(bytes)
    payload_type == "text" && return String(bytes)
    payload_type in ("dictionary", "jsontable") ? from_json(bytes; depth=DEPTH) : bytes
end

parts_of(parts) = map(parts) do part
    value = NATSBridge.naming(() -> value_of(part["value"], part["type"]), part["name"])
    (part["name"], value, part["type"])
end

function tagged(value, payload_type)
    payload_type == "text" && return JSONObject("text" => value)
    payload_type == "arrowtable" && return JSONObject("table" => value_of_table(value))
    payload_type in BYTES_TYPES || return JSONObject("json" => value)
    length(value) > LONGEST && return JSONObject("sha256" => bytes2hex(sha256(value)), "size" => length(value))
    JSONObject("base64" => base64encode(value))
end

failed(error) = error.dataname === nothing ? JSONObject("error" => error.code) :
    JSONObject("error" => error.code, "dataname" => error.dataname)

# ------------------------------------------------------------------------------------------------------------ vectors

message_of(vector) =
    if haskey(vector, "envelope")
        text_of(vector["envelope"])
    elseif haskey(vector, "envelope_base64")
        String(base64decode(vector["envelope_base64"]))
    else
        join(piece isa String ? piece : String(bytes_of(piece)) for piece in vector["envelope_pieces"])
    end

keywords_of(given) = (Symbol(name) => value for (name, value) in given)

"A message that may be anything: what is asked is that nothing but the library's error comes of it"
function damaged(vector)
    links = something(get(vector, "links", nothing), JSONObject())
    download(link) = haskey(links, link.url) ? bytes_of(links[link.url]) : fetch_with_backoff(link)
    given = keywords_of(something(get(vector, "given", nothing), JSONObject()))
    got = smartreceive(message_of(vector); fileserver_download_handler=download, max_retries=0, given...)
    length(got["payloads"])
end

function received(vector)
    message = message_of(vector)
    links = get(vector, "links", JSONObject())
    function download(link)
        haskey(links, link.url) || throw(NATSBridgeError("not_found", "the vector has no such link", link.dataname))
        bytes_of(links[link.url])
    end
    transports = String[]
    given = get(vector, "given", JSONObject())
    got = smartreceive(
        message; fileserver_download_handler=download, on_payload=(payload, _) -> push!(transports, payload["transport"]),
        keywords_of(given)...,
    )
    parts = map(zip(got["payloads"], transports)) do ((name, value, type), transport)
        JSONObject("name" => name, "type" => type, "transport" => transport, "value" => tagged(value, type))
    end
    fields = JSONObject((field => got[field] for field in (FIELDS..., "metadata"))...)
    JSONObject("subject" => got["send_to"], "parts" => parts, "fields" => fields)
end

function sent(given)
    ids, uploads = copy(given["ids"]), copy(given["uploads"])
    keywords = merge(Dict{Symbol,Any}(), (Dict(Symbol(name) => value for (name, value) in given[key]) for key in ("options", "limits"))...)
    envelope, text = smartsend(
        given["subject"], parts_of(given["parts"]);
        timestamp=given["timestamp"], new_id=() -> popfirst!(ids), fileserver_upload_handler=_ -> popfirst!(uploads), keywords...,
    )
    JSONObject("envelope" => from_json(text), "transports" => [payload["transport"] for payload in envelope["payloads"]])
end

function vectors()
    for line in eachline(stdin)
        vector = from_json(line; depth=DEPTH)
        answer = JSONObject("name" => vector["name"])
        try
            if vector["kind"] == "damaged"
                answer["read"] = damaged(vector)
                say(answer)
                continue
            end
            answer["expect"] = vector["kind"] == "send" ? sent(vector["given"]) : received(vector)
        catch error
            error isa NATSBridgeError || rethrow()
            merge!(answer, failed(error))
        end
        say(answer)
    end
end

# --------------------------------------------------------------------------------------------------------------- live

struct Live
    nats::NatsConnection
    url::String
    files::String
    own::String
    answers::String
    waiting::Dict{String,Channel{JSONObject}}
end

function send(live, to, parts, options)
    keywords = Dict{Symbol,Any}(Symbol(name) => value for (name, value) in options)
    envelope, text = smartsend(
        to, parts; broker_url=live.url, fileserver_url=live.files, sender_name="julia",
        max_message_size=live.nats.max_payload, keywords...,
    )
    try
        publish(live.nats, to, text)
        flush_raw(live.nats)
    catch
        discard(envelope)
        rethrow()
    end
    envelope
end

function obey(live, order)
    try
        options = Dict{String,Any}(get(order, "options", JSONObject()))
        order["do"] == "request" && (options["reply_to"] = live.answers)
        parts = parts_of(order["parts"])
        if order["do"] == "send"
            envelope = send(live, order["to"], parts, options)
            transports = [payload["transport"] for payload in envelope["payloads"]]
            return say(JSONObject("done" => order["id"], "msg_id" => envelope["msg_id"], "transports" => transports))
        end
        # The answer may be there before the request is flushed.
        options["msg_id"] = string(NATSBridge.uuid4())
        answered = live.waiting[options["msg_id"]] = Channel{JSONObject}(1)
        timer = Timer(_ -> put!(answered, JSONObject("error" => "timeout")), 10)
        send(live, order["to"], parts, options)
        answer = take!(answered)
        close(timer)
        delete!(live.waiting, options["msg_id"])
        say(merge!(JSONObject("done" => order["id"]), answer))
    catch error
        error isa NATSBridgeError || rethrow()
        say(merge!(JSONObject("done" => order["id"]), failed(error)))
    end
end

function take(live, subject, text)
    seen = []
    note(payload, body) = push!(seen, (payload["transport"], length(body), bytes2hex(sha256(body))))
    report = JSONObject()
    try
        got = smartreceive(text; allowed_origins=[live.files], on_payload=note)
        parts = map(zip(got["payloads"], seen)) do ((name, value, type), (transport, size, digest))
            JSONObject(
                "name" => name, "type" => type, "transport" => transport, "size" => size, "sha256" => digest,
                "value" => tagged(value, type),
            )
        end
        if subject == live.answers
            waiting = get(live.waiting, got["reply_to_msg_id"], nothing)
            answer = JSONObject("purpose" => got["msg_purpose"], "reply_to_msg_id" => got["reply_to_msg_id"],
                "correlation_id" => got["correlation_id"], "parts" => parts)
            waiting === nothing || put!(waiting, JSONObject("answer" => answer))
            return
        end
        isempty(got["reply_to"]) || answer_to(live, got)
        report = JSONObject("msg_id" => got["msg_id"], "subject" => got["send_to"], "parts" => parts)
    catch error
        error isa NATSBridgeError || rethrow()
        @warn sprint(showerror, error)
        report = merge!(JSONObject("msg_id" => error.msg_id), failed(error))
    end
    say(JSONObject("received" => report))
end

function answer_to(live, got)
    options = Dict{String,Any}("correlation_id" => got["correlation_id"], "reply_to_msg_id" => got["msg_id"])
    parts = got["payloads"]
    if got["msg_purpose"] == "chat" && !isempty(parts) && parts[1][1] == "ask-ack"
        options["msg_purpose"], parts = "ACK", []
    end
    try
        send(live, got["reply_to"], parts, options)
    catch error
        error isa Union{NATSBridgeError,ArgumentError} || rethrow()
        @warn "no answer: $(sprint(showerror, error))"
    end
end

"A table of the kinds that the matrix sends"
const WARM = from_json("""{"columns": [
    {"name": "n", "type": "int64", "values": ["1", null]}, {"name": "s", "type": "utf8", "values": ["a", null]},
    {"name": "on", "type": "bool", "values": ["true", null]}, {"name": "f", "type": "float64", "values": ["0.5", null]},
    {"name": "i", "type": "int32", "values": ["1", null]}, {"name": "t", "type": "timestamp[us, UTC]", "values": ["1", null]},
    {"name": "d", "type": "dictionary<int32, utf8>", "values": ["a", null]}, {"name": "l", "type": "list<int64>", "values": ["[1]", null]}
]}""")

"Compiles what a first message would have to wait for"
function warm_up(live)
    parts = [
        ("a", "é", "text"), ("b", JSONObject("a" => Any[1, 1.5, nothing, true]), "dictionary"), ("d", zeros(UInt8, 600_000), "binary"),
        ("c", JSONObject[JSONObject("a" => 1)], "jsontable"), ("e", UInt8[1], "image"), ("f", table_of(WARM), "arrowtable"),
    ]
    envelope, text = smartsend("a.b", parts; fileserver_url=live.files, fileserver_upload_handler=_ -> "http://files.test/x")
    got = smartreceive(text; fileserver_download_handler=_ -> parts[3][2])
    text_of([tagged(value, type) for (_, value, type) in got["payloads"]])
    try
        NATSBridge.plik_upload_once(Upload("http://127.0.0.1:1", "x", UInt8[1], false, 1, ""))
    catch error
        error isa NATSBridge.PassingFailure || rethrow()
    end
end

function live(url, files, name)
    nats = NatsConnection(url; name=name)
    answers = "_INBOX." * NATSBridge.random_token()
    live = Live(nats, url, files, "conform." * name, answers, Dict())
    warm_up(live)
    for subject in (live.own, answers)
        subscription = subscribe_raw(nats, subject)
        @async for message in subscription
            # On its own, so that an answer is read while an order waits for it.
            @async try
                take(live, message.subject, message.data)
            catch error
                showerror(stderr, error, catch_backtrace())
                exit(1)
            end
        end
    end
    flush_raw(nats)
    say(JSONObject("ready" => true))
    for line in eachline(stdin)
        order = from_json(line; depth=DEPTH)
        order["do"] == "quit" && break
        obey(live, order)
    end
end

function main()
    ARGS[1] == "vectors" && return vectors()
    given = Dict(zip(ARGS[2:2:end], ARGS[3:2:end]))
    live(given["--nats"], get(given, "--files", "http://127.0.0.1:1"), given["--name"])
end

main()
