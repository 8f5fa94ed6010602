# Arrow types: what a column or a field is, and the names of types as text.

"""
An Arrow type. `name` is the word before any bracket (`int64`, `timestamp`, `list`); the other fields are its parameters,
where it has them. `string(type)` is its text, and [`arrow_type`](@ref) reads it.
"""
struct ArrowType
    name::Symbol
    "bytes of fixed_size_binary, items of fixed_size_list, precision of decimals"
    size::Int
    scale::Int
    "`:s`, `:ms`, `:us`, `:ns`; `:year_month`, `:day_time`, `:month_day_nano`"
    unit::Symbol
    zone::String
    "what is inside: the item of a list, the fields of a struct, key and value of a map, index and value of a dictionary"
    inner::Vector{Any}
    "a dictionary's identifier in the message that it came with"
    id::Int64
end
ArrowType(name; size=0, scale=0, unit=:none, zone="", inner=Any[], id=0) =
    ArrowType(name, size, scale, unit, zone, inner, id)

"A field: its name, its type, whether it may be null, and what its writer notes beside it"
struct ArrowField
    name::String
    type::ArrowType
    nullable::Bool
    metadata::Vector{Pair{String,String}}
end
ArrowField(name, type) = ArrowField(name, type, true, Pair{String,String}[])

const INTEGERS = Dict(
    :int8 => Int8, :int16 => Int16, :int32 => Int32, :int64 => Int64,
    :uint8 => UInt8, :uint16 => UInt16, :uint32 => UInt32, :uint64 => UInt64,
)
const FLOATS = Dict(:float16 => Float16, :float32 => Float32, :float64 => Float64)
const DECIMALS = Dict(:decimal32 => 4, :decimal64 => 8, :decimal128 => 16, :decimal256 => 32)
const DECIMAL_DIGITS = Dict(:decimal32 => 9, :decimal64 => 18, :decimal128 => 38, :decimal256 => 76)
const TEXTS = (:utf8, :large_utf8, :utf8_view)
const BINARIES = (:binary, :large_binary, :binary_view, :fixed_size_binary)
const LISTS = (:list, :large_list, :list_view, :large_list_view, :fixed_size_list)
const PLAIN = (
    :null, :bool, keys(INTEGERS)..., keys(FLOATS)..., TEXTS..., :binary, :large_binary, :binary_view, :date32, :date64,
)
const UNITS = (:s, :ms, :us, :ns)
"Units of a second, and nanoseconds of a unit"
const PER_SECOND = Dict(:s => 1, :ms => 1_000, :us => 1_000_000, :ns => 1_000_000_000)
const EXTENSION = "ARROW:extension:name"

item_of(type::ArrowType) = type.inner[end]::ArrowField
fields_of(type::ArrowType) = type.inner
is_uuid(field::ArrowField) =
    field.type.name === :fixed_size_binary && field.type.size == 16 && (EXTENSION => "arrow.uuid") in field.metadata
is_uuid(_) = false

Base.string(type::ArrowType) = sprint(print, type)
Base.show(io::IO, type::ArrowType) = print(io, type)
function Base.print(io::IO, type::ArrowType)
    name, inner = type.name, type.inner
    text(at) = string(inner[at].type)
    if name === :fixed_size_binary
        print(io, name, "(", type.size, ")")
    elseif haskey(DECIMALS, name)
        print(io, name, "(", type.size, ",", type.scale, ")")
    elseif name === :timestamp
        print(io, name, "[", type.unit, isempty(type.zone) ? "" : ", " * type.zone, "]")
    elseif type.unit !== :none
        print(io, name, "[", type.unit, "]")
    elseif name === :struct
        print(io, name, "<", join(("$(field.name): $(field.type)" for field in inner), ", "), ">")
    elseif name === :fixed_size_list
        print(io, name, "<", text(1), ", ", type.size, ">")
    elseif isempty(inner)
        print(io, name)
    else
        print(io, name, "<", join((text(at) for at in 1:length(inner)), ", "), ">")
    end
end

Base.:(==)(a::ArrowType, b::ArrowType) = string(a) == string(b)
Base.hash(type::ArrowType, h::UInt) = hash(string(type), h)

no_type(text) = wrong_value("no Arrow type is named $(shown(text))")

"""
    arrow_type(text)

The Arrow type of that name: `int32`, `timestamp[us, UTC]`, `decimal128(10,2)`, `list<utf8>`, `struct<a: int64, b: utf8>`,
`dictionary<int32, utf8>`, `map<utf8, int64>`.
"""
arrow_type(type::ArrowType) = type
function arrow_type(text::AbstractString, depth=64)
    depth > 0 || throw(no_type(text))
    symbol = Dict(String(name) => name for name in PLAIN)
    haskey(symbol, text) && return ArrowType(symbol[text])
    found = match(r"^(time32|time64|timestamp|duration|interval)\[(\w+)(?:, (.+))?\]$"s, text)
    if found !== nothing
        unit = Symbol(found[2])
        right = found[1] == "interval" ? (:year_month, :day_time, :month_day_nano) :
            found[1] == "time32" ? (:s, :ms) : found[1] == "time64" ? (:us, :ns) : UNITS
        unit in right && (found[3] === nothing || found[1] == "timestamp") || throw(no_type(text))
        return ArrowType(Symbol(found[1]); unit=unit, zone=String(something(found[3], "")))
    end
    found = match(r"^fixed_size_binary\((\d{1,9})\)$", text)
    found === nothing || return ArrowType(:fixed_size_binary; size=parse(Int, found[1]))
    found = match(r"^(decimal(?:32|64|128|256))\((\d{1,2}), ?(-?\d{1,3})\)$", text)
    if found !== nothing
        name = Symbol(found[1])
        0 < parse(Int, found[2]) <= DECIMAL_DIGITS[name] || throw(no_type(text))
        return ArrowType(name; size=parse(Int, found[2]), scale=parse(Int, found[3]))
    end
    found = match(r"^(\w+)<(.*)>$"s, text)
    found === nothing && throw(no_type(text))
    name, parts = found[1], split_types(found[2])
    inside(at, name="item") = ArrowField(name, arrow_type(parts[at], depth - 1))
    if name == "struct"
        fields = map(parts) do part
            pair = split(part, ": "; limit=2)
            length(pair) == 2 || throw(no_type(text))
            ArrowField(String(pair[1]), arrow_type(pair[2], depth - 1))
        end
        return ArrowType(:struct; inner=Any[fields...])
    elseif name == "fixed_size_list" && length(parts) == 2 && occursin(r"^\d{1,9}$", parts[2])
        return ArrowType(:fixed_size_list; size=parse(Int, parts[2]), inner=Any[inside(1)])
    elseif name in ("list", "large_list", "list_view", "large_list_view") && length(parts) == 1
        return ArrowType(Symbol(name); inner=Any[inside(1)])
    elseif name == "map" && length(parts) == 2
        key = ArrowField("key", arrow_type(parts[1], depth - 1), false, Pair{String,String}[])
        return ArrowType(:map; inner=Any[key, inside(2, "value")])
    elseif name in ("dictionary", "run_end_encoded") && length(parts) == 2
        index = inside(1, "run_ends")
        haskey(INTEGERS, index.type.name) || throw(no_type(text))
        return ArrowType(Symbol(name); inner=Any[index, inside(2, "values")])
    end
    throw(no_type(text))
end

"`a, b<c, d>` as `a` and `b<c, d>`"
function split_types(text)
    parts, depth, from = String[], 0, firstindex(text)
    for at in eachindex(text)
        char = text[at]
        depth += (char in "<([") - (char in ">)]")
        if char == ',' && depth == 0
            push!(parts, strip(text[from:prevind(text, at)]))
            from = nextind(text, at)
        end
    end
    rest = strip(text[from:end])
    isempty(rest) || push!(parts, rest)
    parts
end
