# Which Arrow type a column of Julia values gets.

unconvertible(name, why) = NATSBridgeError("unconvertible", "column $(shown(name)) $why")

const NATURAL = Dict{Any,Symbol}(T => name for (name, T) in merge(INTEGERS, FLOATS))
const PERIODS = Dict{Any,Symbol}(
    Dates.Nanosecond => :ns, Dates.Microsecond => :us, Dates.Millisecond => :ms, Dates.Second => :s,
    Dates.Minute => :s, Dates.Hour => :s, Dates.Day => :s, Dates.Week => :s,
)

"What is known of a column's values so far"
mutable struct Guess
    kind::Symbol
    types::Set{Any}
    low::BigInt
    high::BigInt
    scale::Int
    digits::Int
end

"The field of a column; values of mixed kinds have no Arrow type"
function guessed(name, @nospecialize(column), path=name)
    T = nonmissingtype(eltype(column))
    haskey(NATURAL, T) && return ArrowField(name, ArrowType(NATURAL[T]))
    T === Bool && return ArrowField(name, ArrowType(:bool))
    T !== Union{} && T <: Union{AbstractString,Symbol} && return ArrowField(name, ArrowType(text_type(any_vector(column))))
    guess = Guess(:null, Set{Any}(), 0, 0, 0, 1)
    column = any_vector(column)
    for item in column
        item === missing || item === nothing || take_in!(guess, item, path)
    end
    field_guessed(name, guess, column, path)
end

"Texts beyond what 32-bit offsets reach need the large type"
text_type(column) = length(column) > 1_000 && sum(text_bytes, column) > typemax(Int32) ? :large_utf8 : :utf8
text_bytes(item) = item isa AbstractString ? ncodeunits(item) : 0

kind_of(::Bool) = :bool
kind_of(::Integer) = :integer
kind_of(::AbstractFloat) = :float
kind_of(::Decimal) = :decimal
kind_of(::Union{AbstractString,Symbol}) = :text
kind_of(::Date) = :date
kind_of(::DateTime) = :datetime
kind_of(::Timestamp{U}) where {U} = Symbol("timestamp_", U)
kind_of(::Dates.Time) = :time
kind_of(::Dates.Period) = :period
kind_of(::Interval) = :interval
kind_of(::UUID) = :uuid
kind_of(::AbstractVector{UInt8}) = :bytes
kind_of(::AbstractVector{<:Pair}) = :map
kind_of(::Union{AbstractVector,Tuple}) = :list
kind_of(::Union{AbstractDict,NamedTuple}) = :struct
kind_of(_) = :other

"Kinds that one column may hold together, and what it is then"
const TOGETHER = Dict((:integer, :float) => :float, (:date, :datetime) => :datetime)

function take_in!(guess, @nospecialize(item), path)
    kind = kind_of(item)
    kind === :other && throw(unconvertible(path, "holds a $(typeof(item)), for which Arrow has no type"))
    if guess.kind !== kind && guess.kind !== :null
        both = get(TOGETHER, (guess.kind, kind), get(TOGETHER, (kind, guess.kind), nothing))
        both === nothing && throw(unconvertible(path, "holds values of different kinds: $(guess.kind) and $kind"))
        kind = both
    end
    guess.kind = kind
    push!(guess.types, typeof(item))
    if item isa Integer
        item < guess.low && (guess.low = item)
        item > guess.high && (guess.high = item)
    elseif item isa Decimal
        guess.scale = max(guess.scale, item.scale)
        guess.digits = max(guess.digits, ndigits(item.value) - item.scale)
    end
end

function field_guessed(name, guess, column, path)
    kind = guess.kind
    simple = get(Dict(:null => :null, :bool => :bool, :text => :utf8, :date => :date32, :bytes => :binary), kind, nothing)
    simple === :utf8 && (simple = text_type(column))
    simple === nothing || return ArrowField(name, ArrowType(simple))
    if kind === :integer
        return ArrowField(name, ArrowType(integer_type(guess, path)))
    elseif kind === :float
        if any(T -> T <: Integer, guess.types)
            max(-guess.low, guess.high) <= big(2)^53 ||
                throw(unconvertible(path, "holds floats and an integer beyond 2^53, which a float can't hold"))
            return ArrowField(name, ArrowType(:float64))
        end
        return ArrowField(name, ArrowType(length(guess.types) == 1 ? get(NATURAL, first(guess.types), :float64) : :float64))
    elseif kind === :decimal
        digits = guess.digits + guess.scale
        digits <= 76 || throw(unconvertible(path, "holds decimals of more than 76 digits"))
        return ArrowField(name, ArrowType(digits <= 38 ? :decimal128 : :decimal256; size=digits <= 38 ? 38 : 76, scale=guess.scale))
    elseif kind === :time
        return ArrowField(name, ArrowType(:time64; unit=:ns))
    elseif kind === :datetime
        return ArrowField(name, ArrowType(:timestamp; unit=:ms))
    elseif startswith(String(kind), "timestamp_")
        return ArrowField(name, ArrowType(:timestamp; unit=Symbol(String(kind)[11:end])))
    elseif kind === :period
        all(T -> haskey(PERIODS, T), guess.types) || throw(unconvertible(path, "holds months or years, which are no durations"))
        units = [PERIODS[T] for T in guess.types]
        return ArrowField(name, ArrowType(:duration; unit=UNITS[maximum(findfirst(isequal(unit), UNITS) for unit in units)]))
    elseif kind === :interval
        return ArrowField(name, ArrowType(:interval; unit=:month_day_nano))
    elseif kind === :uuid
        return ArrowField(name, ArrowType(:fixed_size_binary; size=16), true, [EXTENSION => "arrow.uuid"])
    elseif kind === :list
        items = Any[item for list in column if list !== missing && list !== nothing for item in list]
        return ArrowField(name, ArrowType(:list; inner=Any[guessed("item", items, path)]))
    elseif kind === :map
        pairs = [pair for list in column if list !== missing && list !== nothing for pair in list]
        inner = Any[guessed("key", Any[first(pair) for pair in pairs], path), guessed("value", Any[last(pair) for pair in pairs], path)]
        return ArrowField(name, ArrowType(:map; inner=inner))
    end
    names, columns = columns_of_rows([row for row in column if row !== missing && row !== nothing])
    inner = Any[guessed(field, column, "$path.$field") for (field, column) in zip(names, columns)]
    ArrowField(name, ArrowType(:struct; inner=inner))
end

function integer_type(guess, path)
    widths = [get(NATURAL, T, :int64) for T in guess.types]
    length(widths) == 1 && haskey(NATURAL, first(guess.types)) && return widths[1]
    guess.low >= typemin(Int64) && guess.high <= typemax(Int64) && return :int64
    guess.low >= 0 && guess.high <= typemax(UInt64) && return :uint64
    throw(unconvertible(path, "holds integers that no 64 bits hold together"))
end
