# smartreceive: from an envelope's text to values, each checked before it is handed out.

"""
    smartreceive(msg_json_str; keywords...) -> envelope

Reads a message and downloads what came as a link. The envelope has every field of the wire, and `payloads` as a list of
`(dataname, value, payload_type)`.

Links are followed to the origin of `fileserver_url` (the variable `FILESERVER_URL`), or only to `allowed_origins` if they are
given: one origin or several, such as `"https://files.example.com"`; an empty list allows nothing. Without a file server
(`fileserver_url=""`) and without `allowed_origins`, links are followed to any address that the specification (section 8) does
not forbid. Delays are milliseconds. `deadline` is the time for all links of the message in seconds; `nothing` means 60, and one
more for each 1,000,000 bytes. With `leave_links`, a link of type `image`, `audio`, `video` or `binary` arrives as a
[`LinkedPayload`](@ref), which is read or saved when you want it. `on_payload(payload, bytes)` sees each payload's fields and
its serialised bytes before they are decoded, `on_log` gets the fields of a log (README). Every error is a
[`NATSBridgeError`](@ref).
"""
function smartreceive(
    msg_json_str;
    fileserver_download_handler=fetch_with_backoff,
    max_retries=5,
    base_delay=100,
    max_delay=5000,
    allowed_origins=nothing,
    fileserver_url=default_fileserver_url(),
    strict=false,
    max_payload_size=DEFAULT_MAX_PAYLOAD_SIZE,
    deadline=nothing,
    leave_links=false,
    on_payload=nothing,
    on_log=nothing,
)
    allowed = origins(allowed_origins, fileserver_url)
    for (name, value) in ("max_retries" => max_retries, "base_delay" => base_delay, "max_delay" => max_delay, "max_payload_size" => max_payload_size)
        value isa Integer && !(value isa Bool) && value >= 0 || throw(wrong_value("`$name` is not a whole number of at least 0"))
    end
    deadline === nothing || (deadline isa Real && deadline > 0) || throw(wrong_value("`deadline` is not a number of seconds"))
    msg_json_str isa Union{AbstractString,AbstractVector{UInt8}} ||
        throw(wrong_value("a message is a string or bytes, not $(typeof(msg_json_str))"))
    bytes = Vector{UInt8}(msg_json_str isa AbstractString ? codeunits(msg_json_str) : msg_json_str)
    raw = fenced(() -> from_json(bytes, :envelope), "not_json", "the message is not an envelope")
    raw isa JSONObject || throw(NATSBridgeError("wrong_type", "the message is not an envelope: it is JSON, but not an object"))
    envelope = JSONObject()
    of_message(envelope) do
        read_header!(envelope, raw)
        checked = read_payloads(raw, bytes)
        envelope["payloads"] = Tuple{String,Any,String}[]
        in_all = sum(Float64[payload["size"] for (payload, direct) in checked if direct === nothing])
        until = time() + (deadline === nothing ? 60 + in_all / 1_000_000 : Float64(deadline))
        linked(payload) = Link(
            payload["data"], payload["dataname"], payload["size"], payload["size"] > 0 ? payload["size"] : Int(min(max_payload_size, typemax(Int))),
            get(payload["metadata"], "one_shot", false) === true, expires_at(payload), allowed, Int(min(max_retries, 1_000)),
            Int(min(base_delay, 10^9)), Int(min(max_delay, 10^9)), until,
        )
        for (payload, direct) in checked
            type = payload["payload_type"]
            fenced("undecodable", "it is not a readable $type", payload["dataname"]) do
                digest = digest_of(payload, strict === true)
                direct === nothing && payload["size"] > max_payload_size && throw(too_large(payload["size"], max_payload_size))
                if direct === nothing && leave_links === true && type in BYTES_TYPES
                    value = LinkedPayload(payload["dataname"], type, payload["size"], linked_later(linked(payload)), digest, envelope)
                    push!(envelope["payloads"], (payload["dataname"], value, type))
                    return
                end
                body = direct === nothing ? downloaded(linked(payload), fileserver_download_handler) : direct
                check_size(payload, body, strict === true || direct === nothing, max_payload_size)
                digest === nothing || bytes2hex(sha256(body)) == digest ||
                    throw(NATSBridgeError("digest", "it holds other bytes than were sent"))
                on_payload === nothing || on_payload(payload, body)
                push!(envelope["payloads"], (payload["dataname"], deserialised(body, type), type))
            end
        end
        log_message(on_log, "received", envelope, [(payload["payload_type"], payload["transport"]) for (payload, _) in checked])
    end
    envelope
end

"A link without the message's deadline: the caller says when it is read"
linked_later(link) = Link(
    link.url, link.dataname, link.size, link.limit, link.one_shot, link.expires_at, link.allowed_origins, link.max_retries,
    link.base_delay, link.max_delay, Inf,
)

function downloaded(link, handler)
    fenced("handler", "the download failed", link.dataname) do
        answer = handler(link)
        answer isa AbstractVector{UInt8} || error("a download handler returns bytes, not $(typeof(answer))")
        Vector{UInt8}(answer)
    end
end

function read_header!(envelope, raw)
    # Those that errors carry come first.
    for field in FIELDS
        envelope[field] = text_or_empty(raw, field)
    end
    envelope["metadata"] = metadata_of(raw)
end

function read_payloads(raw, bytes)
    payloads = get(raw, "payloads", nothing)
    payloads === nothing && throw(NATSBridgeError("missing_field", "the message is not an envelope: `payloads` is missing"))
    payloads isa Vector || throw(NATSBridgeError("wrong_type", "the envelope's `payloads` is not an array"))
    fenced("wrong_type", "a payload can't be read") do
        [payload_of(bytes, payload, at - 1) for (at, payload) in enumerate(payloads)]
    end
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
            word in words || throw(NATSBridgeError("unknown_$field", "unknown $field $(shown(word))"))
            payload[field] = word
        end
        payload["encoding"] = text_or_empty(raw, "encoding")
        payload["size"] = size_of(get(raw, "size", nothing))
        payload["metadata"] = metadata_of(raw)
        haskey(raw, "data") || throw(NATSBridgeError("missing_field", "`data` is missing"))
        data = raw["data"]
        direct = payload["transport"] == "direct"
        direct && !(payload["encoding"] in ("", "base64", "json", "arrow-ipc", "none")) &&
            throw(NATSBridgeError("unknown_encoding", "unknown encoding $(shown(payload["encoding"]))"))
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
    @warn "payload $(shown(payload["dataname"])): $text"
end

too_large(size, limit) = NATSBridgeError("too_large", "it has $size bytes, the receiver takes $limit")
