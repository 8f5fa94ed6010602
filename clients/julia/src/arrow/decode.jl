# From the bytes of an Arrow column to a Julia vector: lengths, offsets, validity and indices are checked first.

function next_node!(batch::Batch)
    batch.is_empty && return 0, 0
    batch.node < length(batch.nodes) || throw(undecodable("a batch has fewer columns than its schema"))
    batch.node += 1
    batch.nodes[batch.node]
end

function next_span!(batch::Batch)
    batch.is_empty && return Span(UInt8[], 0, 0)
    batch.span < length(batch.spans) || throw(undecodable("a batch has fewer columns than its schema"))
    batch.span += 1
    batch.spans[batch.span]
end

"The first `n` numbers of some bytes"
function numbers(::Type{T}, span::Span, n::Int) where {T}
    0 <= n && n <= span.count ÷ sizeof(T) || throw(undecodable("a column is shorter than its rows"))
    out = Vector{T}(undef, n)
    n == 0 && return out
    bytes = span.bytes
    checkbounds(bytes, span.first+1:span.first+n*sizeof(T))
    GC.@preserve out bytes unsafe_copyto!(Ptr{UInt8}(pointer(out)), pointer(bytes, span.first + 1), n * sizeof(T))
    out
end

"One bit for each row, lowest first"
function bits(span::Span, n::Int)
    cld(n, 8) <= span.count || throw(undecodable("a column is shorter than its rows"))
    bytes, first = span.bytes, span.first
    Bool[(bytes[first+1+(at>>3)] >> (at & 7)) & 0x01 == 0x01 for at in 0:n-1]
end

"Which rows have a value; `nothing` if all have"
function validity(batch, n, nulls)
    span = next_span!(batch)
    nulls == 0 && return nothing
    charge(batch, n, 1)
    bits(span, n)
end

"Each number as its value, and `missing` where there is none"
mapped(f, ::Type{T}, raw, ::Nothing) where {T} = T[f(item) for item in raw]
function mapped(f, ::Type{T}, raw, mask::Vector{Bool}) where {T}
    out = Vector{Union{Missing,T}}(missing, length(raw))
    for at in eachindex(raw)
        mask[at] && (out[at] = f(raw[at]))
    end
    out
end

"The next column of a batch"
function decode(batch::Batch, type::ArrowType)
    name = type.name
    n, nulls = next_node!(batch)
    if name === :null
        charge(batch, n, 16)
        return fill(missing, n)
    end
    name === :run_end_encoded && return decode_runs(batch, type, n)
    mask = validity(batch, n, nulls)
    if haskey(INTEGERS, name)
        return decode_numbers(batch, INTEGERS[name], n, mask)
    elseif haskey(FLOATS, name)
        return decode_numbers(batch, FLOATS[name], n, mask)
    elseif name === :bool
        charge(batch, n, 1)
        raw = bits(next_span!(batch), n)
        return mask === nothing ? raw : mapped(identity, Bool, raw, mask)
    elseif name in TEXTS || name in (:binary, :large_binary, :binary_view)
        places = name in (:utf8_view, :binary_view) ? view_places(batch, n, mask) :
            offset_places(batch, startswith(String(name), "large") ? Int64 : Int32, n)
        return decode_bytes(batch, name in TEXTS ? String : Vector{UInt8}, places, n, mask)
    elseif name === :fixed_size_binary
        return decode_fixed_bytes(batch, type.size, n, mask)
    elseif name in LISTS
        return decode_list(batch, type, n, mask)
    elseif name === :struct
        return decode_struct(batch, type, n, mask)
    elseif name === :map
        return decode_map(batch, type, n, mask)
    elseif name === :dictionary
        return decode_dictionary(batch, type, n, mask)
    elseif haskey(DECIMALS, name)
        return decode_decimals(batch, Val(DECIMALS[name]), type.scale, n, mask)
    elseif name === :interval
        return decode_intervals(batch, type.unit, n, mask)
    end
    decode_times(batch, type, n, mask)
end

function decode_numbers(batch, ::Type{T}, n, mask) where {T}
    charge(batch, n, 2 * sizeof(T))
    raw = numbers(T, next_span!(batch), n)
    mask === nothing ? raw : mapped(identity, T, raw, mask)
end

const DURATIONS =
    Dict(:s => Dates.Second, :ms => Dates.Millisecond, :us => Dates.Microsecond, :ns => Dates.Nanosecond)

function decode_times(batch, type, n, mask)
    name, unit = type.name, type.unit
    charge(batch, n, 16)
    narrow = name in (:date32, :time32)
    raw = numbers(narrow ? Int32 : Int64, next_span!(batch), n)
    if name === :date32
        return mapped(days -> Date(Dates.UTD(Int64(days) + EPOCH_DAYS)), Date, raw, mask)
    elseif name === :date64
        return moments(Val(:ms), raw, mask)
    elseif name === :time32 || name === :time64
        return clocks(raw, 1_000_000_000 ÷ PER_SECOND[unit], mask)
    elseif name === :duration
        return periods(DURATIONS[unit], raw, mask)
    end
    moments(Val(unit), raw, mask) # a timestamp
end

periods(::Type{T}, raw, mask) where {T} = mapped(T, T, raw, mask)

"`Time` where every value is one; else nanoseconds since midnight, of which 24:00 is one"
function clocks(raw, factor, mask)
    within(at) = (mask !== nothing && !mask[at]) || 0 <= raw[at] < 86_400_000_000_000 ÷ factor
    if all(within, eachindex(raw))
        return mapped(value -> Dates.Time(Dates.Nanosecond(value * factor)), Dates.Time, raw, mask)
    end
    mapped(Dates.Nanosecond, raw, mask) do value
        nanoseconds, beyond = Base.mul_with_overflow(Int64(value), Int64(factor))
        beyond && throw(undecodable("a time that is no time of a day"))
        Dates.Nanosecond(nanoseconds)
    end
end

"`DateTime` where every moment is one; else exact timestamps"
function moments(::Val{U}, raw, mask) where {U}
    factor = U === :s ? 1_000 : U === :ms ? 1 : 0
    limit = factor == 0 ? 0 : (typemax(Int64) - EPOCH_MILLISECONDS) ÷ factor
    fits(at) = (mask !== nothing && !mask[at]) || -limit <= raw[at] <= limit
    factor != 0 && all(fits, eachindex(raw)) &&
        return mapped(value -> DateTime(Dates.UTM(value * factor + EPOCH_MILLISECONDS)), DateTime, raw, mask)
    mapped(Timestamp{U}, Timestamp{U}, raw, mask)
end

function decode_decimals(batch, ::Val{W}, scale, n, mask) where {W}
    charge(batch, n, 48)
    span = next_span!(batch)
    if W == 32
        words = numbers(UInt64, span, 4 * n)
        wide(at) = (big(words[4at] % Int64) << 192) + (big(words[4at-1]) << 128) + (big(words[4at-2]) << 64) + words[4at-3]
        return mapped(at -> Decimal(wide(at), scale), Decimal, 1:n, mask)
    end
    raw = numbers(W == 4 ? Int32 : W == 8 ? Int64 : Int128, span, n)
    mapped(value -> Decimal(big(value), scale), Decimal, raw, mask)
end

function decode_intervals(batch, unit, n, mask)
    charge(batch, n, 24)
    span = next_span!(batch)
    if unit === :year_month
        return mapped(months -> Interval(months, 0, 0), Interval, numbers(Int32, span, n), mask)
    elseif unit === :day_time
        raw = numbers(Int64, span, n)
        return mapped(Interval, raw, mask) do both
            Interval(0, both % Int32, Int64((both >> 32) % Int32) * 1_000_000)
        end
    end
    raw = numbers(Int128, span, n)
    mapped(all -> Interval(all % Int32, (all >> 32) % Int32, (all >> 64) % Int64), Interval, raw, mask)
end

# ------------------------------------------------------------------------------------------------------ text and bytes

"Where each row's bytes are: bytes that hold them, first (from 0) and count"
struct Places{F}
    find::F
end

function offset_places(batch, ::Type{T}, n) where {T}
    offsets, data = checked_offsets(batch, T, n), next_span!(batch)
    n == 0 || offsets[end] <= data.count || throw(undecodable("a text ends beyond its column"))
    Places(at -> (data.bytes, data.first + Int(offsets[at]), Int(offsets[at+1] - offsets[at])))
end

"Offsets that begin at 0 or later and never go back"
function checked_offsets(batch, ::Type{T}, n) where {T}
    span = next_span!(batch)
    n == 0 && return T[0]
    charge(batch, n, sizeof(T))
    offsets = numbers(T, span, n + 1)
    offsets[1] >= 0 || throw(undecodable("a negative offset"))
    for at in 1:n
        offsets[at+1] >= offsets[at] || throw(undecodable("an item ends before it begins"))
    end
    offsets
end

function view_places(batch, n, mask)
    views = next_span!(batch)
    batch.view += 1
    count = batch.is_empty ? 0 :
        batch.view <= length(batch.variadic) ? batch.variadic[batch.view] : throw(undecodable("a view without its buffers"))
    data = [next_span!(batch) for _ in 1:count]
    charge(batch, n, 16)
    words = numbers(Int32, views, 4 * n)
    function find(at)
        size = Int(words[4at-3])
        size >= 0 || throw(undecodable("a text of negative length"))
        size <= 12 && return views.bytes, views.first + 16 * (at - 1) + 4, size
        buffer, from = Int(words[4at-1]), Int(words[4at])
        0 <= buffer < length(data) || throw(undecodable("a view of a buffer that is not there"))
        span = data[buffer+1]
        0 <= from && size <= span.count - from || throw(undecodable("a view beyond its buffer"))
        head, value = views.first + 16 * (at - 1) + 4, span.first + from
        all(byte -> views.bytes[head+byte] == span.bytes[value+byte], 1:4) ||
            throw(undecodable("a view begins otherwise than its value"))
        span.bytes, span.first + from, size
    end
    Places(find)
end

function decode_bytes(batch, ::Type{T}, places, n, mask) where {T}
    charge(batch, n, 24)
    out = mask === nothing ? Vector{T}(undef, n) : Vector{Union{Missing,T}}(missing, n)
    for at in 1:n
        mask === nothing || mask[at] || continue
        bytes, first, count = places.find(at)
        charge(batch, count, 1)
        out[at] = taken(T, bytes, first, count)
    end
    out
end

function taken(::Type{String}, bytes, first, count)
    checkbounds(bytes, first+1:first+count)
    text = GC.@preserve bytes unsafe_string(pointer(bytes, first + 1), count)
    isvalid(text) || throw(undecodable("a text that is not UTF-8"))
    text
end
taken(::Type{Vector{UInt8}}, bytes, first, count) = bytes[first+1:first+count]

function decode_fixed_bytes(batch, size, n, mask)
    span = next_span!(batch)
    size == 0 || n <= span.count ÷ size || throw(undecodable("a column is shorter than its rows"))
    decode_bytes(batch, Vector{UInt8}, Places(at -> (span.bytes, span.first + (at - 1) * size, size)), n, mask)
end

# ------------------------------------------------------------------------------------------------------- nested values

function decode_list(batch, type, n, mask)
    name = type.name
    charge(batch, n, 40)
    if name === :fixed_size_list
        items = decode(batch, item_of(type).type)
        type.size == 0 || n <= length(items) ÷ type.size || throw(undecodable("a list ends beyond its items"))
        return lists(batch, items, at -> ((at - 1) * type.size, type.size), n, mask)
    elseif name === :list || name === :large_list
        offsets = checked_offsets(batch, name === :list ? Int32 : Int64, n)
        items = decode(batch, item_of(type).type)
        offsets[end] <= length(items) || throw(undecodable("a list ends beyond its items"))
        return lists(batch, items, at -> (Int(offsets[at]), Int(offsets[at+1] - offsets[at])), n, mask)
    end
    T = name === :list_view ? Int32 : Int64
    offsets, sizes = numbers(T, next_span!(batch), n), numbers(T, next_span!(batch), n)
    items = decode(batch, item_of(type).type)
    lists(batch, items, at -> (Int(offsets[at]), Int(sizes[at])), n, mask)
end

function lists(batch, items::Vector{T}, find, n, mask) where {T}
    mapped(Vector{T}, 1:n, mask) do at
        first, count = find(at)
        0 <= first && 0 <= count <= length(items) - first || throw(undecodable("a list ends beyond its items"))
        charge(batch, count, 8)
        items[first+1:first+count]
    end
end

function decode_struct(batch, type, n, mask)
    fields = fields_of(type)
    charge(batch, n, 48 + 24 * length(fields))
    columns = Any[decode(batch, field.type) for field in fields]
    all(column -> length(column) >= n, columns) || throw(undecodable("a struct is longer than its fields"))
    names = String[field.name for field in fields]
    mapped(at -> Record(names, Any[column[at] for column in columns]), Record, 1:n, mask)
end

function decode_map(batch, type, n, mask)
    charge(batch, n, 40)
    offsets = checked_offsets(batch, Int32, n)
    count, nulls = next_node!(batch)
    validity(batch, count, nulls) === nothing || throw(undecodable("a map with an entry that is null"))
    names, values = decode(batch, type.inner[1].type), decode(batch, type.inner[2].type)
    min(length(names), length(values)) >= offsets[end] || throw(undecodable("a map ends beyond its entries"))
    entries(batch, names, values, offsets, n, mask)
end

function entries(batch, names::Vector{K}, values::Vector{V}, offsets, n, mask) where {K,V}
    mapped(Vector{Pair{K,V}}, 1:n, mask) do at
        charge(batch, offsets[at+1] - offsets[at], 32)
        Pair{K,V}[Pair{K,V}(names[place], values[place]) for place in offsets[at]+1:offsets[at+1]]
    end
end

function decode_dictionary(batch, type, n, mask)
    charge(batch, n, 16)
    indices = numbers(INTEGERS[type.inner[1].type.name], next_span!(batch), n)
    values = get(batch.dictionaries, type.id, nothing)
    values === nothing && (values = empty_column(type.inner[2].type))
    looked_up(indices, values, mask)
end

function looked_up(indices, values::Vector{T}, mask) where {T}
    count = length(values)
    inside(index) = 0 <= index < count || throw(undecodable("an index beyond its dictionary"))
    if mask === nothing
        return T[(inside(index); values[index+1]) for index in indices]
    end
    out = Vector{Union{Missing,T}}(missing, length(indices))
    for at in eachindex(indices)
        mask[at] || continue
        inside(indices[at])
        out[at] = values[indices[at]+1]
    end
    out
end

function decode_runs(batch, type, n)
    ends, values = decode(batch, type.inner[1].type), decode(batch, type.inner[2].type)
    eltype(ends) <: Integer && length(ends) == length(values) || throw(undecodable("runs without ends"))
    charge(batch, n, 16)
    repeated(ends, values, n)
end

function repeated(ends, values::Vector{T}, n) where {T}
    out = Vector{T}(undef, n)
    from = 0
    for (at, last) in enumerate(ends)
        last > from || throw(undecodable("a run that ends before it begins"))
        for row in from+1:min(Int(last), n)
            out[row] = values[at]
        end
        from = Int(last)
    end
    from >= n || throw(undecodable("runs end before the last row"))
    out
end
