# FlatBuffers, as far as Arrow's messages need them: a reader that checks every place before it reads, and a writer.

undecodable(why) = NATSBridgeError("undecodable", "it is not a readable Arrow table: $why")

"A table of a message's metadata. `last` is the last byte (from 0) that belongs to the metadata, `budget` what may still be read"
struct FlatTable
    bytes::Vector{UInt8}
    at::Int
    last::Int
    vtable::Int
    slots::Int
    budget::Base.RefValue{Int}
end

# Places count from 0, as in the format.
function flat(::Type{T}, bytes::Vector{UInt8}, at::Int, last::Int)::T where {T}
    0 <= at && at + sizeof(T) - 1 <= last || throw(undecodable("its metadata points outside of itself"))
    value = zero(unsigned(T))
    for byte in sizeof(T):-1:1
        value = (sizeof(T) == 1 ? zero(value) : value << 8) | bytes[at+byte]
    end
    value % T
end

"The table at a place; each one costs something, so that one table can't be read a million times"
function flat_table(bytes, at::Int, last::Int, budget)
    spend(budget, 8)
    vtable = at - Int(flat(Int32, bytes, at, last))
    size = Int(flat(UInt16, bytes, vtable, last))
    size >= 4 && vtable + size - 1 <= last || throw(undecodable("its metadata points outside of itself"))
    FlatTable(bytes, at, last, vtable, (size - 4) ÷ 2, budget)
end

function spend(budget, count)
    budget[] -= count
    budget[] >= 0 || throw(undecodable("its metadata repeats itself too often"))
end

"The outermost table of bytes from..last"
function flat_root(bytes, from::Int, last::Int)
    budget = Ref(8 * (last - from + 1) + 1024)
    flat_table(bytes, from + Int(flat(UInt32, bytes, from, last)), last, budget)
end

"Where a field is; 0 if it is not there"
function place(table::FlatTable, slot::Int)
    slot < table.slots || return 0
    offset = Int(flat(UInt16, table.bytes, table.vtable + 4 + 2 * slot, table.last))
    offset == 0 ? 0 : table.at + offset
end

function number(table::FlatTable, slot::Int, default::T)::T where {T}
    at = place(table, slot)
    at == 0 ? default : flat(T, table.bytes, at, table.last)
end
is_set(table::FlatTable, slot::Int) = number(table, slot, 0x00) != 0x00

"Where what a field points to begins; 0 if the field is not there"
function pointed(table::FlatTable, slot::Int)
    at = place(table, slot)
    at == 0 ? 0 : at + Int(flat(UInt32, table.bytes, at, table.last))
end

function inner_table(table::FlatTable, slot::Int)
    at = pointed(table, slot)
    at == 0 ? nothing : flat_table(table.bytes, at, table.last, table.budget)
end

function flat_text(table::FlatTable, slot::Int)
    at = pointed(table, slot)
    at == 0 && return ""
    count = Int(flat(UInt32, table.bytes, at, table.last))
    at + 3 + count <= table.last || throw(undecodable("a name is longer than the metadata"))
    spend(table.budget, count + 1)
    text = String(table.bytes[at+5:at+4+count])
    isvalid(text) || throw(undecodable("a name that is not UTF-8"))
    text
end

"Where the items of a list begin, and how many there are, each of `width` bytes"
function items(table::FlatTable, slot::Int, width::Int)
    at = pointed(table, slot)
    at == 0 && return 0, 0
    count = Int(flat(UInt32, table.bytes, at, table.last))
    at + 3 + count * width <= table.last || throw(undecodable("a list is longer than the metadata"))
    spend(table.budget, count * width)
    at + 4, count
end

function inner_tables(table::FlatTable, slot::Int)
    from, count = items(table, slot, 4)
    [flat_table(table.bytes, at + Int(flat(UInt32, table.bytes, at, table.last)), table.last, table.budget)
        for at in from .+ 4 .* (0:count-1)]
end

key_values(table::FlatTable, slot::Int) =
    Pair{String,String}[flat_text(pair, 0) => flat_text(pair, 1) for pair in inner_tables(table, slot)]

# -------------------------------------------------------------------------------------------------------------- writer

"Items of a list that are written as they are, each with this alignment"
struct FlatItems
    bytes::Vector{UInt8}
    count::Int
end

"A table to write: slot => number, text, table, or list of tables"
struct FlatNew
    fields::Vector{Pair{Int,Any}}
end
FlatNew(fields::Pair...) = FlatNew(Pair{Int,Any}[slot => value for (slot, value) in fields if value !== nothing])

pad!(out, alignment, ahead=0) = append!(out, zeros(UInt8, mod(-(length(out) + ahead), alignment)))
add!(out, number) = append!(out, reinterpret(UInt8, [htol(number)]))
set!(out, at, number) = copyto!(out, at + 1, reinterpret(UInt8, [htol(number)]))

"Writes a table and everything that it points to, all of it behind the table; says where it begins"
function flat_write!(out::Vector{UInt8}, table::FlatNew)
    slots = isempty(table.fields) ? 0 : maximum(slot + 1 for (slot, _) in table.fields)
    pad!(out, 8, 4 + 2 * slots)
    vtable = length(out)
    append!(out, zeros(UInt8, 4 + 2 * slots))
    start = length(out)
    add!(out, Int32(start - vtable))
    later = Pair{Int,Any}[]
    for (slot, value) in table.fields
        pad!(out, value isa Number ? sizeof(value) : 4)
        set!(out, vtable + 4 + 2 * slot, UInt16(length(out) - start))
        value isa Number || push!(later, length(out) => value)
        add!(out, value isa Bool ? UInt8(value) : value isa Number ? value : UInt32(0))
    end
    set!(out, vtable, UInt16(4 + 2 * slots))
    set!(out, vtable + 2, UInt16(length(out) - start))
    for (at, value) in later
        target = flat_write!(out, value)
        set!(out, at, UInt32(target - at))
    end
    start
end

function flat_write!(out::Vector{UInt8}, text::AbstractString)
    pad!(out, 4)
    start = length(out)
    add!(out, UInt32(sizeof(text)))
    append!(out, codeunits(text))
    push!(out, 0x00)
    start
end

function flat_write!(out::Vector{UInt8}, list::FlatItems)
    pad!(out, 8, 4)
    start = length(out)
    add!(out, UInt32(list.count))
    append!(out, list.bytes)
    start
end

function flat_write!(out::Vector{UInt8}, tables::Vector{FlatNew})
    pad!(out, 4)
    start = length(out)
    add!(out, UInt32(length(tables)))
    append!(out, zeros(UInt8, 4 * length(tables)))
    for (index, table) in enumerate(tables)
        at = start + 4 * index
        target = flat_write!(out, table)
        set!(out, at, UInt32(target - at))
    end
    start
end

"The bytes of a table and all that it points to"
function flat_bytes(table::FlatNew)
    out = zeros(UInt8, 4)
    set!(out, 0, UInt32(flat_write!(out, table)))
    pad!(out, 8)
end
