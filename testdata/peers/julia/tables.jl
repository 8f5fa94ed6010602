# Arrow tables as testdata/README.md writes them: a type by name, each value a string or null.

module Tables

using NATSBridge
using NATSBridge: ArrowType, Record, EPOCH_DAYS, PER_SECOND, INTEGERS, FLOATS, DECIMALS, TEXTS, BINARIES, LISTS, DURATIONS
using NATSBridge: absent, arrow_fields, columns_of, fields_of, from_json, item_of, json, names_of, nanoseconds, pairs_in, write_json
using Dates

export table_of, value_of_table

"A table of `{\"columns\": [{\"name\", \"type\", \"values\"}]}`"
function table_of(value)
    names, columns, fields = String[], Any[], NATSBridge.ArrowField[]
    for column in value["columns"]
        type = arrow_type(column["type"])
        nested = is_nested(type)
        push!(names, column["name"])
        push!(fields, NATSBridge.ArrowField(column["name"], type))
        push!(columns, column_of(type, nested ? Any[item === nothing ? nothing : from_json(item) for item in column["values"]] : column["values"]))
    end
    Table(names, columns, isempty(columns) ? 0 : length(columns[1]), fields, Pair{String,String}[])
end

column_of(type, items) = [value(type, item) for item in items]

"The reverse of `table_of`"
function value_of_table(table)
    columns = map(zip(names_of(table), arrow_fields(table), columns_of(table))) do (name, field, column)
        JSONObject("name" => name, "type" => string(field.type), "values" => texts_of(field.type, column))
    end
    JSONObject("columns" => columns)
end

function texts_of(type, column)
    nested = is_nested(type)
    Any[absent(item) ? nothing : nested ? plain_json(inner(type, item)) : text(type, item) for item in column]
end
plain_json(value) = sprint(io -> write_json(io, value, 1000))

is_wrapped(type) = type.name in (:dictionary, :run_end_encoded)
is_nested(type) = is_wrapped(type) ? is_nested(item_of(type).type) : type.name in LISTS || type.name in (:struct, :map)

whole(item) = item isa AbstractString ? parse(Int64, item) : Int64(item)

"A value of its text, or of what is inside JSON text"
function value(type::ArrowType, item)
    item === nothing && return missing
    name = type.name
    if haskey(INTEGERS, name)
        return item isa AbstractString ? parse(INTEGERS[name], item) : INTEGERS[name](item)
    elseif haskey(FLOATS, name)
        return item isa AbstractString ? FLOATS[name](parse(Float64, item)) : FLOATS[name](item)
    elseif name === :bool
        return item === true || item == "true"
    elseif haskey(DECIMALS, name)
        return Decimal(item)
    elseif name === :date32
        return Date(Dates.UTD(whole(item) + EPOCH_DAYS))
    elseif name === :date64
        return Timestamp{:ms}(whole(item))
    elseif name === :time32 || name === :time64
        return Dates.Nanosecond(whole(item) * (1_000_000_000 ÷ PER_SECOND[type.unit]))
    elseif name === :timestamp
        return Timestamp{type.unit}(whole(item))
    elseif name === :duration
        return DURATIONS[type.unit](whole(item))
    elseif name === :interval
        numbers = parse.(Int64, split(item, ","))
        return type.unit === :year_month ? Interval(numbers[1], 0, 0) :
            type.unit === :day_time ? Interval(0, numbers[1], numbers[2] * 1_000_000) : Interval(numbers...)
    elseif name in TEXTS
        return item
    elseif name in BINARIES
        return hex2bytes(item)
    elseif name in LISTS
        return column_of(item_of(type).type, item)
    elseif name === :struct
        fields = fields_of(type)
        return Record([field.name for field in fields], Any[value(field.type, get(item, field.name, nothing)) for field in fields])
    elseif name === :map
        return Pair[value(type.inner[1].type, pair[1]) => value(type.inner[2].type, pair[2]) for pair in item]
    end
    value(item_of(type).type, item)
end

stored(unit, item) = Int64(fld(nanoseconds(item), 1_000_000_000 ÷ PER_SECOND[unit]))
stored(unit, item::DateTime) = stored(unit, Timestamp{:ms}(Dates.value(item) - NATSBridge.EPOCH_MILLISECONDS))

"One value as a string"
function text(type::ArrowType, item)
    name = type.name
    if haskey(FLOATS, name)
        return isnan(item) ? "NaN" : isinf(item) ? (item > 0 ? "inf" : "-inf") : string(item isa Float16 ? Float32(item) : item)
    elseif name === :date32
        return string(Dates.value(item) - EPOCH_DAYS)
    elseif name === :date64
        return string(stored(:ms, item))
    elseif name === :time32 || name === :time64
        return string(Dates.value(item) ÷ (1_000_000_000 ÷ PER_SECOND[type.unit]))
    elseif name === :timestamp
        return string(stored(type.unit, item))
    elseif name === :duration
        return string(Dates.value(item))
    elseif name === :interval
        return type.unit === :year_month ? string(item.months) :
            type.unit === :day_time ? "$(item.days),$(item.nanoseconds ÷ 1_000_000)" : "$(item.months),$(item.days),$(item.nanoseconds)"
    elseif name in BINARIES
        return bytes2hex(item)
    elseif is_wrapped(type)
        return text(item_of(type).type, item)
    end
    string(item)
end

"One value inside JSON text"
function inner(type::ArrowType, item)
    absent(item) && return nothing
    name = type.name
    if name in LISTS
        return Any[inner(item_of(type).type, one) for one in item]
    elseif name === :struct
        return JSONObject((field.name => inner(field.type, one) for (field, one) in zip(fields_of(type), item.items))...)
    elseif name === :map
        return Any[Any[inner(type.inner[1].type, first(pair)), inner(type.inner[2].type, last(pair))] for pair in pairs_in(item)]
    elseif is_wrapped(type)
        return inner(item_of(type).type, item)
    elseif haskey(INTEGERS, name) || name === :bool
        return item
    elseif haskey(FLOATS, name)
        return isfinite(item) && !isequal(item, zero(item) * -1) ? item : text(type, item)
    end
    text(type, item)
end

end
