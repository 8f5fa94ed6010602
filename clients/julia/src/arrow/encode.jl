# From Julia vectors to an Arrow IPC stream: a schema, the dictionaries, one batch.

mutable struct Encoder
    body::Vector{UInt8}
    "rows and nulls of each column, as the format has them"
    nodes::Vector{Int64}
    "place and size of each buffer"
    spans::Vector{Int64}
    variadic::Vector{Int64}
    "messages of dictionaries, which go ahead of the batch"
    dictionaries::Vector{Vector{UInt8}}
    next_id::Base.RefValue{Int64}
    "column, for errors"
    path::String
end
Encoder(dictionaries, next_id, path="") = Encoder(UInt8[], Int64[], Int64[], Int64[], dictionaries, next_id, path)

absent(item) = item === missing || item === nothing

unfit(enc, item, type) =
    unconvertible(enc.path, "holds $(item isa Union{Number,Dates.TimeType} ? shown(item) : "a $(typeof(item))"), which is no $type")

node!(enc, rows, nulls) = push!(enc.nodes, rows, nulls)

function span!(enc, bytes)
    push!(enc.spans, length(enc.body), length(bytes))
    append!(enc.body, bytes)
    pad!(enc.body, 8)
end

function bits_of(flags)
    out = zeros(UInt8, cld(length(flags), 8))
    for (at, flag) in enumerate(flags)
        flag && (out[(at-1)>>3+1] |= 0x01 << ((at - 1) & 7))
    end
    out
end

"Rows, nulls and validity of a column; says how many are null"
function begin_column!(enc, @nospecialize values)
    nulls = values isa Vector{Any} ? count(absent, values) : 0
    node!(enc, length(values), nulls)
    span!(enc, nulls == 0 ? UInt8[] : bits_of(Bool[!absent(item) for item in values]))
    nulls
end

"The bytes of numbers, each made by `f`; null is 0"
function stored(f, ::Type{T}, values) where {T}
    out = zeros(T, length(values))
    for (at, item) in enumerate(values)
        absent(item) || (out[at] = f(item))
    end
    reinterpret(UInt8, out)
end
stored(::typeof(identity), ::Type{T}, values::Vector{T}) where {T<:Number} = reinterpret(UInt8, values)

"The type with an identifier for each dictionary"
function numbered(type::ArrowType, next_id)
    inner = Any[ArrowField(field.name, numbered(field.type, next_id), field.nullable, field.metadata) for field in type.inner]
    id = type.name === :dictionary ? (next_id[] += 1) : 0
    ArrowType(type.name, type.size, type.scale, type.unit, type.zone, inner, id)
end

"""
    write_arrow(table) -> bytes

The Arrow IPC stream of a table. Values that do not suit their column are `unconvertible`.
"""
function write_arrow(table::Table)
    dictionaries, next_id = Vector{UInt8}[], Ref(Int64(0))
    enc = Encoder(dictionaries, next_id)
    fields = ArrowField[]
    for (field, name, column) in zip(arrow_fields(table), names_of(table), columns_of(table))
        enc.path = name
        isvalid(name) || throw(unconvertible(name, "has a name that is not UTF-8"))
        field = written_field(field, name, column)
        type = numbered(field.type, next_id)
        # A column that got a null since it arrived may have it.
        nullable = field.nullable || any(absent, is_fast(column) ? () : any_vector(column))
        push!(fields, ArrowField(name, type, nullable, field.metadata))
        encode!(enc, fields[end].type, is_fast(column) ? column : any_vector(column))
    end
    out = message_bytes(1, schema_written(fields, metadata_of(table)), UInt8[])
    foreach(message -> append!(out, message), dictionaries)
    append!(out, message_bytes(3, batch_written(enc, length(table)), enc.body))
    append!(out, reinterpret(UInt8, [Int32(-1), Int32(0)]))
end

"Columns of numbers alone, which are copied as they are"
is_fast(@nospecialize column) = column isa Vector && haskey(NATURAL, eltype(column))

"The field as it is written: a column that took in other values since it arrived is looked at again"
function written_field(field, name, @nospecialize column)
    field.type.name === :null && !all(absent, any_vector(column)) ? guessed(name, column) : field
end

function message_bytes(kind, header, body)
    metadata = flat_bytes(FlatNew(0 => Int16(4), 1 => UInt8(kind), 2 => header, 3 => Int64(length(body))))
    out = Vector{UInt8}(reinterpret(UInt8, [Int32(-1), Int32(length(metadata))]))
    append!(append!(out, metadata), body)
end

batch_written(enc, rows) = FlatNew(
    0 => Int64(rows), 1 => FlatItems(reinterpret(UInt8, enc.nodes), length(enc.nodes) ÷ 2),
    2 => FlatItems(reinterpret(UInt8, enc.spans), length(enc.spans) ÷ 2),
    4 => isempty(enc.variadic) ? nothing : FlatItems(reinterpret(UInt8, enc.variadic), length(enc.variadic)),
)

function encode!(enc, type::ArrowType, @nospecialize values)
    name = type.name
    if name === :null
        all(absent, values) || throw(unfit(enc, first(Iterators.filter(!absent, values)), type))
        return node!(enc, length(values), length(values))
    end
    name === :run_end_encoded && return encode_runs!(enc, type, values)
    begin_column!(enc, values)
    if haskey(INTEGERS, name)
        span!(enc, stored_integers(enc, INTEGERS[name], type, values))
    elseif haskey(FLOATS, name)
        span!(enc, stored_floats(enc, FLOATS[name], type, values))
    elseif name === :bool
        flags = Bool[absent(item) ? false : item isa Bool ? item : throw(unfit(enc, item, type)) for item in values]
        span!(enc, bits_of(flags))
    elseif name in TEXTS || name in (:binary, :large_binary, :binary_view)
        name in (:utf8_view, :binary_view) ? encode_views!(enc, type, values) : encode_bytes!(enc, type, values)
    elseif name === :fixed_size_binary
        encode_fixed_bytes!(enc, type, values)
    elseif haskey(DECIMALS, name)
        span!(enc, stored_decimals(enc, DECIMALS[name], type, values))
    elseif name === :interval
        span!(enc, stored_intervals(enc, type, values))
    elseif name in LISTS
        encode_list!(enc, type, values)
    elseif name === :struct
        encode_struct!(enc, type, values)
    elseif name === :map
        encode_map!(enc, type, values)
    elseif name === :dictionary
        encode_dictionary!(enc, type, values)
    else
        span!(enc, stored_times(enc, type, values))
    end
end

stored_integers(enc, ::Type{T}, type, values::Vector{T}) where {T} = stored(identity, T, values)
stored_integers(enc, ::Type{T}, type, values) where {T} = stored(T, any_vector(values)) do item
    item isa Integer && !(item isa Bool) && typemin(T) <= item <= typemax(T) ? T(item) : throw(unfit(enc, item, type))
end

stored_floats(enc, ::Type{T}, type, values::Vector{T}) where {T} = stored(identity, T, values)
stored_floats(enc, ::Type{T}, type, values) where {T} = stored(T, any_vector(values)) do item
    item isa Union{AbstractFloat,Integer} && !(item isa Bool) || throw(unfit(enc, item, type))
    number = T(item)
    (item isa Integer && number != item) || (isinf(number) && !isinf(item)) ? throw(unfit(enc, item, type)) : number
end

stored_times(enc, type, values) = stored_times(enc, Val(type.name), type, values)
stored_times(enc, ::Val{:date32}, type, values) = stored(Int32, values) do item
    item isa Date && abs(Dates.value(item) - EPOCH_DAYS) <= typemax(Int32) || throw(unfit(enc, item, type))
    Int32(Dates.value(item) - EPOCH_DAYS)
end
stored_times(enc, ::Val{:date64}, type, values) = stored(Int64, values) do item
    item isa Date ? (Dates.value(item) - EPOCH_DAYS) * 86_400_000 : in_units(enc, :ms, type, item)
end
stored_times(enc, ::Val{:timestamp}, type, values) =
    stored(item -> in_units(enc, type.unit, type, item), Int64, values)
stored_times(enc, ::Val{:time32}, type, values) = stored(item -> Int32(clock_units(enc, type, item)), Int32, values)
stored_times(enc, ::Val{:time64}, type, values) = stored(item -> clock_units(enc, type, item), Int64, values)
stored_times(enc, ::Val{:duration}, type, values) = stored(Int64, values) do item
    haskey(PERIODS, typeof(item)) || throw(unfit(enc, item, type))
    exactly(enc, type, item, Int128(Dates.tons(typeof(item)(1))) * Dates.value(item), 1_000_000_000 ÷ PER_SECOND[type.unit])
end
stored_times(enc, ::Val, type, values) = throw(unconvertible(enc.path, "has the type $type, which can't be written"))

"How many units a moment is since 1970, exactly"
function in_units(enc, unit, type, item)
    item isa Date && (item = DateTime(item))
    item isa DateTime && return exactly(enc, type, item, Int128(Dates.value(item) - EPOCH_MILLISECONDS) * 1_000_000, 1_000_000_000 ÷ PER_SECOND[unit])
    item isa Timestamp || throw(unfit(enc, item, type))
    exactly(enc, type, item, nanoseconds(item), 1_000_000_000 ÷ PER_SECOND[unit])
end

clock_units(enc, type, item) =
    item isa Union{Dates.Time,Dates.Nanosecond} ? exactly(enc, type, item, Int128(Dates.value(item)), 1_000_000_000 ÷ PER_SECOND[type.unit]) :
    throw(unfit(enc, item, type))

function exactly(enc, type, item, nanoseconds, factor)
    value, rest = fldmod(nanoseconds, Int128(factor))
    rest == 0 && typemin(Int64) <= value <= typemax(Int64) || throw(unfit(enc, item, type))
    Int64(value)
end

function stored_decimals(enc, width, type, values)
    out = zeros(UInt8, width * length(values))
    limit = big(10)^type.size
    for (at, item) in enumerate(values)
        absent(item) && continue
        item isa Integer && (item = Decimal(big(item), 0))
        item isa Decimal || throw(unfit(enc, item, type))
        shift = type.scale - item.scale
        value = shift >= 0 ? item.value * big(10)^min(shift, 2 * MAX_SCALE) : item.value
        if shift < 0
            value, rest = divrem(item.value, big(10)^min(-shift, 2 * MAX_SCALE))
            rest == 0 || throw(unfit(enc, item, type))
        end
        abs(value) < limit || throw(unfit(enc, item, type))
        value < 0 && (value += big(1) << (8 * width))
        for byte in 1:width
            out[width*(at-1)+byte] = UInt8(value & 0xff)
            value >>= 8
        end
    end
    out
end

function stored_intervals(enc, type, values)
    right(item) = item isa Interval ? item : throw(unfit(enc, item, type))
    if type.unit === :year_month
        return stored(Int32, values) do item
            right(item).days == 0 && item.nanoseconds == 0 ? item.months : throw(unfit(enc, item, type))
        end
    elseif type.unit === :day_time
        return stored(Int64, values) do item
            milliseconds, rest = divrem(right(item).nanoseconds, 1_000_000)
            item.months == 0 && rest == 0 && abs(milliseconds) <= typemax(Int32) || throw(unfit(enc, item, type))
            Int64(item.days % UInt32) | (milliseconds << 32)
        end
    end
    stored(Int128, values) do item
        Int128(right(item).nanoseconds) << 64 | Int128(item.days % UInt32) << 32 | Int128(item.months % UInt32)
    end
end

# ------------------------------------------------------------------------------------------------------ text and bytes

"The bytes of a text or binary value"
function bytes_in(enc, type, item)
    if type.name in TEXTS
        item isa Symbol && (item = String(item))
        item isa AbstractString || throw(unfit(enc, item, type))
        isvalid(item) || throw(unconvertible(enc.path, "holds a text that is not UTF-8"))
        return codeunits(item isa String ? item : String(item))
    end
    item isa UUID && return hton_bytes(item)
    item isa AbstractVector{UInt8} ? item : throw(unfit(enc, item, type))
end
hton_bytes(id::UUID) = UInt8[(id.value >> shift) % UInt8 for shift in 120:-8:0]

function encode_bytes!(enc, type, values)
    T = startswith(String(type.name), "large") ? Int64 : Int32
    offsets, data = zeros(T, length(values) + 1), UInt8[]
    for (at, item) in enumerate(values)
        absent(item) || append!(data, bytes_in(enc, type, item))
        length(data) <= typemax(T) || throw(unconvertible(enc.path, "is too long for $type; use large_$(type.name)"))
        offsets[at+1] = length(data)
    end
    span!(enc, reinterpret(UInt8, offsets))
    span!(enc, data)
end

function encode_views!(enc, type, values)
    words, data = zeros(UInt8, 16 * length(values)), UInt8[]
    for (at, item) in enumerate(values)
        absent(item) && continue
        bytes, from = bytes_in(enc, type, item), 16 * (at - 1)
        set!(words, from, Int32(length(bytes)))
        if length(bytes) <= 12
            copyto!(words, from + 5, bytes, 1, length(bytes))
        else
            copyto!(words, from + 5, bytes, 1, 4)
            length(data) <= typemax(Int32) - length(bytes) || throw(unconvertible(enc.path, "is too long for $type"))
            set!(words, from + 12, Int32(length(data)))
            append!(data, bytes)
        end
    end
    span!(enc, words)
    push!(enc.variadic, 1)
    span!(enc, data)
end

function encode_fixed_bytes!(enc, type, values)
    data = UInt8[]
    for item in values
        bytes = absent(item) ? zeros(UInt8, type.size) : bytes_in(enc, type, item)
        length(bytes) == type.size || throw(unfit(enc, item, type))
        append!(data, bytes)
    end
    span!(enc, data)
end

# ------------------------------------------------------------------------------------------------------- nested values

flattened(values) = Any[item for list in values if !absent(list) for item in list]
is_list(item) = item isa Union{AbstractVector,Tuple}

function encode_list!(enc, type, values)
    foreach(item -> absent(item) || is_list(item) || throw(unfit(enc, item, type)), values)
    sizes = Int[absent(item) ? 0 : length(item) for item in values]
    if type.name === :fixed_size_list
        flat = Any[]
        for item in values
            absent(item) || length(item) == type.size || throw(unconvertible(enc.path, "has a list of $(length(item)) items, not $(type.size)"))
            absent(item) ? append!(flat, fill(missing, type.size)) : append!(flat, item)
        end
        return encode!(enc, item_of(type).type, flat)
    end
    T = type.name in (:list, :list_view) ? Int32 : Int64
    ends = cumsum([0; sizes])
    ends[end] <= typemax(T) || throw(unconvertible(enc.path, "is too long for $type"))
    if type.name in (:list, :large_list)
        span!(enc, reinterpret(UInt8, T.(ends)))
    else
        span!(enc, reinterpret(UInt8, T.(ends[1:end-1])))
        span!(enc, reinterpret(UInt8, T.(sizes)))
    end
    encode!(enc, item_of(type).type, flattened(values))
end

function encode_struct!(enc, type, values)
    foreach(item -> absent(item) || item isa Union{AbstractDict,NamedTuple} || throw(unfit(enc, item, type)), values)
    outer = enc.path
    for (at, field) in enumerate(fields_of(type))
        enc.path = "$outer.$(field.name)"
        # Two fields may have one name; a row that came with them has them in their order.
        inside(item) = item isa Record && length(item) == length(fields_of(type)) ? item.items[at] : field_of(item, field.name)
        encode!(enc, field.type, Any[absent(item) ? missing : inside(item) for item in values])
    end
    enc.path = outer
end

function encode_map!(enc, type, values)
    foreach(item -> absent(item) || item isa Union{AbstractDict,AbstractVector{<:Pair}} || throw(unfit(enc, item, type)), values)
    span!(enc, reinterpret(UInt8, Int32.(cumsum([0; Int[absent(item) ? 0 : length(item) for item in values]]))))
    entries = Any[pair for item in values if !absent(item) for pair in pairs_in(item)]
    any(pair -> absent(first(pair)), entries) && throw(unconvertible(enc.path, "has a map with a key that is missing"))
    node!(enc, length(entries), 0)
    span!(enc, UInt8[])
    encode!(enc, type.inner[1].type, Any[first(pair) for pair in entries])
    encode!(enc, type.inner[2].type, Any[last(pair) for pair in entries])
end
pairs_in(item::AbstractDict) = pairs(item)
pairs_in(item) = item

function encode_dictionary!(enc, type, values)
    places, distinct = Dict{Any,Int}(), Any[]
    T = INTEGERS[type.inner[1].type.name]
    indices = stored(Int64, values) do item
        get!(places, item) do
            push!(distinct, item)
            length(distinct) - 1
        end
    end
    length(distinct) - 1 <= typemax(T) ||
        throw(unconvertible(enc.path, "has $(length(distinct)) different values, too many for $type"))
    span!(enc, reinterpret(UInt8, T.(reinterpret(Int64, indices))))
    inner = Encoder(enc.dictionaries, enc.next_id, enc.path)
    encode!(inner, type.inner[2].type, distinct)
    header = FlatNew(0 => type.id, 1 => batch_written(inner, length(distinct)), 2 => false)
    push!(enc.dictionaries, message_bytes(2, header, inner.body))
end

function encode_runs!(enc, type, values)
    ends, runs = Int64[], Any[]
    for (at, item) in enumerate(values)
        if isempty(runs) || !isequal(runs[end], item)
            push!(runs, item)
            push!(ends, at)
        else
            ends[end] = at
        end
    end
    node!(enc, length(values), 0)
    encode!(enc, type.inner[1].type, ends)
    encode!(enc, type.inner[2].type, runs)
end
