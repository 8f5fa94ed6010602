# The table that arrives, and how tables of any shape come in.

"""
    Table(data; types=())

A table: columns with names, each an ordinary vector. `data` is anything of Tables.jl's shape: rows (named tuples,
dictionaries), columns (a named tuple or dictionary of vectors), a DataFrame. `types` gives columns an Arrow type, as in
`types=("when" => "timestamp[us, UTC]",)`.

`table.name` and `table["name"]` are a column, `table[2]` a row, `push!(table, row)` adds one, `length(table)` counts rows.
With Tables.jl loaded it is one of its tables: `DataFrame(table)`.
"""
struct Table <: AbstractVector{NamedTuple}
    _names::Vector{String}
    _columns::Vector{Any}
    _fields::Vector{ArrowField}
    _metadata::Vector{Pair{String,String}}
    "rows of a table without columns"
    _rows::Base.RefValue{Int}
end
Table(names::Vector{String}, columns::Vector, rows::Int, fields, metadata) =
    Table(names, columns, fields, metadata, Ref(rows))

names_of(table::Table) = getfield(table, :_names)
columns_of(table::Table) = getfield(table, :_columns)
arrow_fields(table::Table) = getfield(table, :_fields)
metadata_of(table::Table) = getfield(table, :_metadata)
row_count(table::Table) = isempty(columns_of(table)) ? getfield(table, :_rows)[] : length(columns_of(table)[1])

Base.size(table::Table) = (row_count(table),)
Base.IndexStyle(::Type{Table}) = IndexLinear()
function Base.getindex(table::Table, at::Integer)
    @boundscheck checkbounds(table, at)
    names = Tuple(Symbol.(names_of(table)))
    NamedTuple{names}(Tuple(column[at] for column in columns_of(table)))
end
function Base.getindex(table::Table, name::Union{AbstractString,Symbol})
    place = findfirst(isequal(String(name)), names_of(table))
    place === nothing && throw(KeyError(name))
    columns_of(table)[place]
end
Base.propertynames(table::Table, private::Bool=false) = Tuple(Symbol.(names_of(table)))
Base.getproperty(table::Table, name::Symbol) = table[name]
Base.:(==)(a::Table, b::Table) =
    names_of(a) == names_of(b) && length(a) == length(b) && all(map(isequal, columns_of(a), columns_of(b)))

function Base.push!(table::Table, row)
    values = map(names_of(table)) do name
        value = field_of(row, name)
        value === nothing ? missing : value
    end
    columns = columns_of(table)
    for (at, value) in enumerate(values)
        T = eltype(columns[at])
        value isa T || (columns[at] = convert(Vector{Union{T,typeof(value)}}, columns[at]))
        push!(columns[at], value)
    end
    isempty(columns) && (getfield(table, :_rows)[] += 1)
    table
end

function Base.show(io::IO, ::MIME"text/plain", table::Table)
    println(io, length(table), " rows × ", length(names_of(table)), " columns")
    for (at, name) in enumerate(names_of(table))
        values = [item === missing ? "missing" : sprint(show, item) for item in columns_of(table)[at][1:min(4, end)]]
        println(io, "  ", shown(name), " ", arrow_fields(table)[at].type, ": ", join(values, ", "), length(table) > 4 ? ", …" : "")
    end
end
Base.show(io::IO, table::Table) = print(io, "Table(", length(table), " rows, ", join(map(shown, names_of(table)), ", "), ")")

"The value that a row has under a name; `missing` if it has none"
field_of(row::AbstractDict, name) = get(() -> get(row, Symbol(name), missing), row, name)
field_of(row::AbstractDict{Symbol}, name) = get(row, Symbol(name), missing)
field_of(row::Union{Record,JSONObject}, name) = get(row, name, missing)
field_of(row, name) = Symbol(name) in propertynames(row) ? getproperty(row, Symbol(name)) : missing

is_row(row) = row isa Union{NamedTuple,AbstractDict}

"Names and columns of a table of any shape; `nothing` if it is none"
function columns_in(@nospecialize value)
    value isa Table && return names_of(value), columns_of(value)
    value isa AbstractString && return nothing
    if value isa AbstractVector && all(is_row, value)
        return columns_of_rows(value)
    end
    if value isa Union{NamedTuple,AbstractDict} && all(column -> column isa AbstractVector, values(value))
        return even(String[String(name) for name in keys(value)], Any[column for column in values(value)])
    end
    Tables = tables_package()
    if Tables !== nothing
        found = Base.invokelatest() do
            Tables.istable(value) || return nothing
            columns = Tables.columns(value)
            names = Any[Tables.columnnames(columns)...]
            [String(name) for name in names], Any[column_of(Tables.getcolumn(columns, name)) for name in names]
        end
        found === nothing || return even(found...)
    end
    # A table of a package without Tables.jl: everything that it shows is a column.
    names = value isa Union{Number,AbstractArray,Tuple,Function} ? () : propertynames(value)
    isempty(names) && return nothing
    columns = Any[getproperty(value, name) for name in names]
    all(column -> column isa AbstractVector, columns) ? even([String(name) for name in names], columns) : nothing
end

column_of(column) = column isa AbstractVector ? column : collect(column)

function even(names, columns::Vector{Any})
    other = findfirst(column -> length(column) != length(columns[1]), columns)
    other === nothing || throw(wrong_value("the columns of a table have different lengths: $(shown(names[1])) has " *
        "$(length(columns[1])) rows, $(shown(names[other])) $(length(columns[other]))"))
    names, columns
end

"Columns in the order in which rows first name them"
function columns_of_rows(@nospecialize rows)
    names, places, columns = String[], Dict{String,Int}(), Any[]
    for (at, row) in enumerate(rows)
        for (name, value) in pairs(row)
            name isa Union{AbstractString,Symbol} || throw(wrong_value("the column name $(shown(name)) is not a string"))
            place = get!(places, String(name)) do
                push!(names, String(name))
                push!(columns, fill!(Vector{Any}(undef, length(rows)), missing))
                length(names)
            end
            columns[place][at] = value === nothing ? missing : value
        end
    end
    names, columns
end

function Table(data; types=())
    data isa Table && isempty(types) && return data
    found = columns_in(data)
    found === nothing && throw(wrong_value("a $(typeof(data)) is no table"))
    Table(data, found, types)
end

function Table(@nospecialize(data), (names, columns)::Tuple, types)
    given = Dict{String,ArrowType}(String(name) => arrow_type(type) for (name, type) in (types isa Union{AbstractDict,NamedTuple} ? pairs(types) : types))
    for name in keys(given)
        name in names || throw(wrong_value("`types` names $(shown(name)), which is no column"))
    end
    known = data isa Table ? arrow_fields(data) : nothing
    fields = ArrowField[]
    for (at, name) in enumerate(names)
        columns[at] = data isa Table ? columns[at] : plain_column(columns[at])
        field = haskey(given, name) ? ArrowField(name, given[name]) : known !== nothing ? known[at] : guessed(name, columns[at])
        push!(fields, field)
    end
    rows = isempty(columns) ? (data isa AbstractVector ? length(data) : 0) : length(columns[1])
    Table(names, columns, rows, fields, data isa Table ? metadata_of(data) : Pair{String,String}[])
end

"A column without wrappers: `nothing` is `missing`, a categorical value is what it stands for"
function plain_column(@nospecialize column)
    T = nonmissingtype(eltype(column))
    is_own = isconcretetype(T) && parentmodule(T) in (Core, Base, Dates, @__MODULE__)
    is_own || (column = Base.invokelatest(unwrapped, column, data_api()))
    Nothing <: eltype(column) && (column = [item === nothing ? missing : item for item in column])
    column isa Vector ? copy(column) : collect(column)
end

"Values of other packages as what they stand for"
function unwrapped(@nospecialize(column), api)
    unwrap = api !== nothing && isdefined(api, :unwrap) ? api.unwrap : identity
    any(item -> plain_value(unwrap(item)) !== item, column) ? [plain_value(unwrap(item)) for item in column] : column
end

"The same values in a vector of any, so that what follows is compiled once and not for each type of column"
function any_vector(@nospecialize column)
    column isa Vector{Any} && return column
    out = Vector{Any}(undef, length(column))
    at = 0
    for item in column
        out[at+=1] = item
    end
    out
end
