# Arrow schemas in a message: what each column is, read with every number checked, and written.

"Where Arrow's own code for a type leads; the name of the type for what has no parameters"
const TYPE_CODES = Dict(
    1 => :null, 4 => :binary, 5 => :utf8, 6 => :bool, 12 => :list, 13 => :struct, 17 => :map, 19 => :large_binary,
    20 => :large_utf8, 21 => :large_list, 22 => :run_end_encoded, 23 => :binary_view, 24 => :utf8_view, 25 => :list_view,
    26 => :large_list_view,
)
const CODES_OF = Dict(name => code for (code, name) in TYPE_CODES)
const MAX_NESTING = 64
const MAX_SCALE = 128

struct Schema
    fields::Vector{ArrowField}
    metadata::Vector{Pair{String,String}}
    "values of dictionaries by their identifier"
    dictionaries::Dict{Int64,ArrowField}
end

function read_schema(table::FlatTable)
    number(table, 0, Int16(0)) == 0 || throw(undecodable("its numbers are big-endian"))
    dictionaries = Dict{Int64,ArrowField}()
    fields = ArrowField[read_field(field, dictionaries, MAX_NESTING) for field in inner_tables(table, 1)]
    Schema(fields, key_values(table, 2), dictionaries)
end

function read_field(table::FlatTable, dictionaries, depth)
    depth > 0 || throw(undecodable("its types are nested too deep"))
    children = Any[read_field(child, dictionaries, depth - 1) for child in inner_tables(table, 5)]
    name, nullable, metadata = flat_text(table, 0), is_set(table, 1), key_values(table, 6)
    type = read_type(Int(number(table, 2, 0x00)), inner_table(table, 3), children)
    encoding = inner_table(table, 4)
    if encoding !== nothing
        id = number(encoding, 0, Int64(0))
        index = inner_table(encoding, 1)
        index = ArrowField("", index === nothing ? ArrowType(:int32) : read_integer(index))
        known = get!(dictionaries, id, ArrowField("values", type))
        known.type == type || throw(undecodable("one dictionary has two types"))
        type = ArrowType(:dictionary; inner=Any[index, ArrowField("values", type)], id=id)
    end
    ArrowField(name, type, nullable, metadata)
end

function read_integer(table)
    bits = Int(number(table, 0, Int32(0)))
    bits in (8, 16, 32, 64) || throw(undecodable("integers of $bits bits"))
    ArrowType(Symbol(is_set(table, 1) ? "int" : "uint", bits))
end

one_of(words, code) = 0 <= code < length(words) ? words[code+1] : throw(undecodable("an unknown unit"))

function read_type(code, table, children)
    few(count) = length(children) == count || throw(undecodable("a type with $(length(children)) children, not $count"))
    if haskey(TYPE_CODES, code)
        name = TYPE_CODES[code]
        if name === :map
            few(1)
            entries = children[1].type
            entries.name === :struct && length(entries.inner) == 2 || throw(undecodable("a map without keys and values"))
            return ArrowType(:map; inner=entries.inner)
        elseif name === :run_end_encoded
            few(2)
            children[1].type.name in (:int16, :int32, :int64) || throw(undecodable("runs whose ends are no integers"))
        elseif name in LISTS
            few(1)
        elseif name !== :struct
            few(0)
        end
        return ArrowType(name; inner=children)
    end
    code == 0 && throw(undecodable("a column of no type"))
    code == 14 && throw(NATSBridgeError("unsupported", "it has a union, which this package does not read; use a struct"))
    table === nothing && throw(undecodable("a type without its parameters"))
    code == 16 || few(0)
    if code == 2
        return read_integer(table)
    elseif code == 3
        return ArrowType(one_of((:float16, :float32, :float64), number(table, 0, Int16(0))))
    elseif code == 7
        precision, scale, bits = number(table, 0, Int32(0)), number(table, 1, Int32(0)), number(table, 2, Int32(128))
        name = get(Dict(32 => :decimal32, 64 => :decimal64, 128 => :decimal128, 256 => :decimal256), bits, nothing)
        name !== nothing && 0 < precision <= DECIMAL_DIGITS[name] && -MAX_SCALE <= scale <= MAX_SCALE ||
            throw(undecodable("a decimal of $bits bits, $precision digits and scale $scale"))
        return ArrowType(name; size=Int(precision), scale=Int(scale))
    elseif code == 8
        return ArrowType(one_of((:date32, :date64), number(table, 0, Int16(1))))
    elseif code == 9
        unit, bits = one_of(UNITS, number(table, 0, Int16(1))), number(table, 1, Int32(32))
        bits == (unit in (:s, :ms) ? 32 : 64) || throw(undecodable("times of $bits bits"))
        return ArrowType(Symbol("time", bits); unit=unit)
    elseif code == 10
        return ArrowType(:timestamp; unit=one_of(UNITS, number(table, 0, Int16(0))), zone=flat_text(table, 1))
    elseif code == 11
        return ArrowType(:interval; unit=one_of((:year_month, :day_time, :month_day_nano), number(table, 0, Int16(0))))
    elseif code == 15 || code == 16
        code == 16 && few(1)
        size = Int(number(table, 0, Int32(0)))
        size >= 0 || throw(undecodable("a negative size"))
        return ArrowType(code == 15 ? :fixed_size_binary : :fixed_size_list; size=size, inner=children)
    elseif code == 18
        return ArrowType(:duration; unit=one_of(UNITS, number(table, 0, Int16(1))))
    end
    throw(NATSBridgeError("unsupported", "it has a type (number $code) that this package does not know"))
end

# ------------------------------------------------------------------------------------------------------------- writing

pairs_written(metadata) =
    isempty(metadata) ? nothing : FlatNew[FlatNew(0 => key, 1 => value) for (key, value) in metadata]

schema_written(fields, metadata) =
    FlatNew(0 => Int16(0), 1 => FlatNew[field_written(field) for field in fields], 2 => pairs_written(metadata))

function field_written(field::ArrowField)
    type, encoding = field.type, nothing
    if type.name === :dictionary
        encoding = FlatNew(0 => type.id, 1 => type_written(type.inner[1].type)[2], 2 => false)
        type = type.inner[2].type
    end
    code, parameters = type_written(type)
    inner = type.inner
    if type.name === :map
        inner = Any[ArrowField("entries", ArrowType(:struct; inner=inner), false, Pair{String,String}[])]
    end
    FlatNew(
        0 => field.name, 1 => field.nullable, 2 => UInt8(code), 3 => parameters, 4 => encoding,
        5 => FlatNew[field_written(child) for child in inner], 6 => pairs_written(field.metadata),
    )
end

place_of(word, words) = Int16(findfirst(isequal(word), words) - 1)

"Arrow's code for a type, and its parameters"
function type_written(type::ArrowType)
    name = type.name
    haskey(CODES_OF, name) && return CODES_OF[name], FlatNew()
    haskey(INTEGERS, name) &&
        return 2, FlatNew(0 => Int32(8 * sizeof(INTEGERS[name])), 1 => INTEGERS[name] <: Signed)
    haskey(FLOATS, name) && return 3, FlatNew(0 => place_of(name, (:float16, :float32, :float64)))
    haskey(DECIMALS, name) &&
        return 7, FlatNew(0 => Int32(type.size), 1 => Int32(type.scale), 2 => Int32(8 * DECIMALS[name]))
    name in (:date32, :date64) && return 8, FlatNew(0 => place_of(name, (:date32, :date64)))
    name in (:time32, :time64) &&
        return 9, FlatNew(0 => place_of(type.unit, UNITS), 1 => Int32(name === :time32 ? 32 : 64))
    name === :timestamp &&
        return 10, FlatNew(0 => place_of(type.unit, UNITS), 1 => isempty(type.zone) ? nothing : type.zone)
    name === :interval && return 11, FlatNew(0 => place_of(type.unit, (:year_month, :day_time, :month_day_nano)))
    name === :fixed_size_binary && return 15, FlatNew(0 => Int32(type.size))
    name === :fixed_size_list && return 16, FlatNew(0 => Int32(type.size))
    name === :duration && return 18, FlatNew(0 => place_of(type.unit, UNITS))
    throw(NATSBridgeError("unconvertible", "Arrow's $name can't be written"))
end
