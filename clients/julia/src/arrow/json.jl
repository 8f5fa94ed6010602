# Tables as JSON rows: what each Arrow value is in JSON (specification, section 3).

"The JSON text of a table, as an array of objects; `unconvertible` names the column that has none"
function table_json(table::Table)
    names, fields = names_of(table), arrow_fields(table)
    for (at, name) in enumerate(names)
        name in names[1:at-1] && throw(unconvertible(name, "is there twice; in JSON one of them would be lost"))
    end
    columns = Any[json_column(field, column, name) for (field, column, name) in zip(fields, columns_of(table), names)]
    heads = [(at == 1 ? "{" : ",") * json(name) * ":" for (at, name) in enumerate(names)]
    io = IOBuffer()
    print(io, '[')
    for row in 1:length(table)
        row == 1 || print(io, ',')
        isempty(heads) && print(io, '{')
        for (at, column) in enumerate(columns)
            print(io, heads[at])
            # Rows and the table around them are two levels.
            write_json(io, column[row], MAX_DEPTH - 2)
        end
        print(io, '}')
    end
    print(io, ']')
    take!(io)
end

function json_column(field, @nospecialize(column), path)
    type = written_field(field, path, column).type
    is_json_already(type) && return column
    Any[json_value(type, field, item, path) for item in any_vector(column)]
end

is_json_already(type) = haskey(INTEGERS, type.name) || type.name in (:bool, :null) || type.name in TEXTS

function json_value(type, field, @nospecialize(item), path)
    absent(item) && return nothing
    name = type.name
    if is_json_already(type)
        return item
    elseif haskey(FLOATS, name)
        # Float16 has too few digits for the shortest text to be its number.
        return !isfinite(item) ? nothing : item isa Float16 ? Float32(item) : item
    elseif haskey(DECIMALS, name)
        return string(item isa Decimal ? rescaled(item, type.scale) : item)
    elseif name === :date32
        return date_text(Dates.value(Date(item)) - EPOCH_DAYS)
    elseif name === :date64
        return date_text(fld(milliseconds(item), 86_400_000))
    elseif name === :time32 || name === :time64
        0 <= Dates.value(item) <= 86_400_000_000_000 || throw(unconvertible(path, "has a time beyond the end of its day"))
        return clock_text(Dates.value(item))
    elseif name === :timestamp
        zoned = !isempty(type.zone)
        return item isa Timestamp ? zoned_text(item, zoned) : timestamp_text(milliseconds(item), :ms, zoned)
    elseif name === :duration
        return "PT" * seconds_text(Int128(Dates.tons(typeof(item)(1))) * Dates.value(item), 1_000_000_000) * "S"
    elseif name === :interval
        return interval_text(type.unit, item)
    elseif name in BINARIES
        item isa UUID && return string(item)
        return is_uuid(field) ? string(UUID(reduce((sum, byte) -> sum << 8 | byte, item; init=UInt128(0)))) : bytes2hex(item)
    elseif name in LISTS
        inner = item_of(type)
        return Any[json_value(inner.type, inner, one, path) for one in item]
    elseif name === :struct
        return struct_json(type, item, path)
    elseif name === :map
        return map_json(type, item, path)
    end
    # dictionaries and runs: the value itself
    json_value(item_of(type).type, item_of(type), item, path)
end

zoned_text(item::Timestamp{U}, zoned) where {U} = timestamp_text(item.value, U, zoned)
milliseconds(item::Timestamp) = fld(nanoseconds(item), 1_000_000)
milliseconds(item) = Dates.value(DateTime(item)) - EPOCH_MILLISECONDS
rescaled(item, scale) = scale > item.scale ? Decimal(item.value * big(10)^(scale - item.scale), scale) : item

function struct_json(type, item, path)
    object = JSONObject()
    for (at, field) in enumerate(fields_of(type))
        haskey(object, field.name) && throw(unconvertible(path, "has two fields $(shown(field.name))"))
        value = item isa Record && length(item) == length(fields_of(type)) ? item.items[at] : field_of(item, field.name)
        object[field.name] = json_value(field.type, field, value, "$path.$(field.name)")
    end
    object
end

function map_json(type, item, path)
    names, values = type.inner
    value_of(pair) = json_value(values.type, values, last(pair), path)
    if bare(names.type).name in TEXTS
        object = JSONObject()
        for pair in pairs_in(item)
            name = first(pair)
            absent(name) && throw(unconvertible(path, "has a map with a key that is null"))
            haskey(object, String(name)) && throw(unconvertible(path, "has a map with the key $(shown(name)) twice"))
            object[String(name)] = value_of(pair)
        end
        return object
    end
    Any[JSONObject("key" => json_value(names.type, names, first(pair), path), "value" => value_of(pair)) for pair in pairs_in(item)]
end
bare(type) = type.name in (:dictionary, :run_end_encoded) ? bare(item_of(type).type) : type
