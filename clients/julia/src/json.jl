# JSON, read strictly and written exactly: no number becomes another one.

const MAX_DEPTH = 127

"""
A JSON object: a dictionary whose keys keep their order. `object["name"]` and `object.name` are a value.
"""
mutable struct JSONObject <: AbstractDict{String,Any}
    _names::Vector{String}
    _items::Vector{Any}
    "made when there are many names: small objects are searched faster without"
    _places::Union{Nothing,Dict{String,Int}}
end
JSONObject() = JSONObject(String[], Any[], nothing)
function JSONObject(pairs::Pair...)
    object = JSONObject()
    for (name, item) in pairs
        object[name] = item
    end
    object
end
JSONObject(other::AbstractDict) = JSONObject((String(name) => item for (name, item) in other)...)

const FEW_NAMES = 8
names_of(object::JSONObject) = getfield(object, :_names)
items_of(object::JSONObject) = getfield(object, :_items)

"Where a name is; 0 if it is not there"
function place_of(object::JSONObject, name::AbstractString)
    places = getfield(object, :_places)
    places === nothing || return get(places, name, 0)
    names = names_of(object)
    for at in eachindex(names)
        names[at] == name && return at
    end
    0
end
place_of(object::JSONObject, name) = name isa Symbol ? place_of(object, String(name)) : 0

Base.length(object::JSONObject) = length(names_of(object))
Base.haskey(object::JSONObject, name) = place_of(object, name) != 0
Base.get(object::JSONObject, name, default) =
    (place = place_of(object, name); place == 0 ? default : items_of(object)[place])
function Base.getindex(object::JSONObject, name)
    place = place_of(object, name)
    place == 0 ? throw(KeyError(name)) : items_of(object)[place]
end
Base.iterate(object::JSONObject, at=1) =
    at > length(object) ? nothing : (names_of(object)[at] => items_of(object)[at], at + 1)
function Base.setindex!(object::JSONObject, item, name)
    place = place_of(object, name)
    if place != 0
        items_of(object)[place] = item
        return object
    end
    push!(names_of(object), String(name))
    push!(items_of(object), item)
    count = length(object)
    places = getfield(object, :_places)
    if places !== nothing
        places[String(name)] = count
    elseif count > FEW_NAMES
        setfield!(object, :_places, Dict{String,Int}(name => at for (at, name) in enumerate(names_of(object))))
    end
    object
end
Base.propertynames(object::JSONObject, private::Bool=false) = Tuple(Symbol.(names_of(object)))
Base.getproperty(object::JSONObject, name::Symbol) = object[name]

# ------------------------------------------------------------------------------------------------------------ reading

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
            kind in (:envelope, :payload, :metadata) && haskey(object, name) && not_json(reader, "duplicate key $(shown(name))")
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

is_digit(byte) = UInt8('0') <= byte <= UInt8('9')

function skip_digits(reader)
    start = reader.at
    while is_digit(peek_byte(reader))
        reader.at += 1
    end
    reader.at > start || not_json(reader, "expected a value")
end

function read_number(reader)
    from = reader.at
    negative = peek_byte(reader) == UInt8('-')
    negative && (reader.at += 1)
    first = reader.at
    skip_digits(reader)
    reader.at - first > 1 && reader.bytes[first] == UInt8('0') && not_json(reader, "a number that begins with 0")
    whole = true
    if peek_byte(reader) == UInt8('.')
        whole = false
        reader.at += 1
        skip_digits(reader)
    end
    if peek_byte(reader) in (UInt8('e'), UInt8('E'))
        whole = false
        reader.at += 1
        peek_byte(reader) in (UInt8('+'), UInt8('-')) && (reader.at += 1)
        skip_digits(reader)
    end
    if whole && reader.at - first < 19
        value = Int64(0)
        for at in first:reader.at-1
            value = 10 * value + Int64(reader.bytes[at] - UInt8('0'))
        end
        negative && value == 0 || return negative ? -value : value
    end
    number_of(reader, String(reader.bytes[from:reader.at-1]), whole)
end

function number_of(reader, text, whole)
    if whole && text != "-0"
        small = tryparse(Int64, text)
        # Longer ones are beyond every receiver, and reading them takes a time that grows with their square.
        small === nothing && sizeof(text) > 400 && not_json(reader, "a number out of range")
        return small === nothing ? parse(BigInt, text) : small
    end
    value = tryparse(Float64, text)
    value === nothing && (value = Float64(parse(BigFloat, text))) # out of range, or smaller than the smallest
    lost = iszero(value) && occursin(r"[1-9]", first(split(text, ['e', 'E'])))
    isfinite(value) && !lost || not_json(reader, "a number out of range")
    value
end

# ------------------------------------------------------------------------------------------------------------ writing

"""
    json(value)

The JSON of a value. `nothing` and `missing` are `null`; dictionaries, named tuples, vectors and tuples are what they look like.
"""
json(value) = (io = IOBuffer(); write_json(io, value, MAX_DEPTH); String(take!(io)))

write_json(io, ::Union{Nothing,Missing}, _) = print(io, "null")
write_json(io, value::Bool, _) = print(io, value ? "true" : "false")
write_json(io, value::Union{Int64,Int32,Int16,Int8,UInt64,UInt32,UInt16,UInt8}, _) = print(io, string(value; base=10))
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
    depth > 0 || throw(NATSBridgeError("too_deep", "nested deeper than $MAX_DEPTH levels"))
    # What is a JSONObject, or has names for fields, holds no name twice.
    known = value isa Union{JSONObject,NamedTuple} ? nothing : Set{String}()
    write(io, '{')
    is_first = true
    for (name, item) in pairs(value)
        name isa Union{AbstractString,Symbol} || throw(NATSBridgeError("wrong_value", "the key $(shown(name)) is not a string"))
        text = String(name)
        if known !== nothing
            text in known && throw(NATSBridgeError("wrong_value", "two keys are $(shown(text)) in JSON, of which one would be lost"))
            push!(known, text)
        end
        is_first || write(io, ',')
        is_first = false
        write_json(io, text, depth)
        write(io, ':')
        write_json(io, item, depth - 1)
    end
    write(io, '}')
end
function write_json(io, value::Union{AbstractVector,Tuple}, depth)
    depth > 0 || throw(NATSBridgeError("too_deep", "nested deeper than $MAX_DEPTH levels"))
    write(io, '[')
    is_first = true
    for item in value
        is_first || write(io, ',')
        is_first = false
        write_json(io, item, depth - 1)
    end
    write(io, ']')
end
write_json(io, value, _) = throw(NATSBridgeError("wrong_value", "JSON has no $(typeof(value))"))

function write_json(io, text::AbstractString, _)
    isvalid(text) || throw(NATSBridgeError("wrong_value", "a string that is not UTF-8"))
    text isa String || (text = String(text))
    write(io, '"')
    bytes = codeunits(text)
    if all(is_plain_byte, bytes)
        write(io, text)
    else
        from = 1
        for (at, byte) in enumerate(bytes)
            is_plain_byte(byte) && continue
            write(io, view(bytes, from:at-1))
            from = at + 1
            short = findfirst(isequal(byte), codeunits("\"\\\b\f\n\r\t"))
            short === nothing ? print(io, "\\u", string(byte; base=16, pad=4)) : print(io, '\\', "\"\\bfnrt"[short])
        end
        write(io, view(bytes, from:length(bytes)))
    end
    write(io, '"')
end
is_plain_byte(byte) = byte >= 0x20 && byte != UInt8('"') && byte != UInt8('\\')
