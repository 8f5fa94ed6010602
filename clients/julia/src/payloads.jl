# Payloads: from a value to bytes, and back.

const WANTED = Dict("text" => "a string", "jsontable" => "rows or columns", "arrowtable" => "rows or columns")
wrong(value, payload_type) =
    wrong_value("a $(typeof(value)) can't be sent as $payload_type; give $(get(WANTED, payload_type, "bytes or FromFile(path)"))")

"The bytes of a value, in memory or in a file"
function serialised(value, payload_type, threshold)::Body
    if payload_type == "text"
        value isa AbstractString && isvalid(value) || throw(wrong(value, payload_type))
        return Vector{UInt8}(codeunits(String(value)))
    elseif payload_type == "dictionary"
        return Vector{UInt8}(codeunits(json(value)))
    elseif payload_type == "jsontable"
        return json_rows(value)
    elseif payload_type == "arrowtable"
        return write_arrow(table_in(value, "arrowtable"))
    end
    value isa Base.GenericIOBuffer && return read(seekstart(copy(value)))
    value isa FromFile && return value
    value isa LinkedPayload && return read(value)
    value isa IO && return body_of_stream(value, threshold)
    value isa AbstractVector{UInt8} ? Vector{UInt8}(value) : throw(wrong(value, payload_type))
end

"Whether JSON has a value of its own for it, without a table's conversion"
is_json(value) = value isa Union{Nothing,Missing,Number,AbstractString,Symbol} && !(value isa Decimal) ||
    (value isa Union{AbstractVector,Tuple} && !(value isa AbstractVector{UInt8}) && all(is_json, value)) ||
    (value isa Union{AbstractDict,NamedTuple} && !(value isa Record) && all(is_json, values(value)))

function json_rows(value)
    if !(value isa Table) && value isa AbstractVector && all(is_row, value) && all(is_json, value)
        return Vector{UInt8}(codeunits(json(value)))
    end
    table_json(table_in(value, "jsontable"))
end

function table_in(value, payload_type)
    value isa Table && return value
    check_arrow(value)
    found = columns_in(value)
    found === nothing && throw(wrong(value, payload_type))
    Table(value, found, ())
end

function deserialised(body, payload_type)
    if payload_type == "text"
        text = String(copy(body))
        isvalid(text) || throw(NATSBridgeError("undecodable", "it is not UTF-8"))
        return text
    elseif payload_type == "arrowtable"
        return read_arrow(body)
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
