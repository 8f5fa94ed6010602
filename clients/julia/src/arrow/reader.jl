# Reads Arrow IPC streams and files: every message is checked against the bytes that are there before a value is touched.

"Bytes that belong to one column, `first` counted from 0"
struct Span
    bytes::Vector{UInt8}
    first::Int
    count::Int
end

"One batch while its columns are read, in the order in which the format lists them"
mutable struct Batch
    rows::Int
    nodes::Vector{Tuple{Int,Int}}
    spans::Vector{Span}
    "buffers of data of each view column"
    variadic::Vector{Int}
    node::Int
    span::Int
    view::Int
    dictionaries::Dict{Int64,Any}
    "bytes that what is decoded may still take"
    room::Base.RefValue{Int}
    "made to find out what an empty column looks like"
    is_empty::Bool
end

const ROOM = 64 << 20
"What is decoded may take so many bytes for each byte of the message, and `ROOM` besides"
const ROOM_FACTOR = 100

function charge(batch, count::Integer, width::Integer)
    cost = Int128(count) * width
    cost <= batch.room[] || throw(NATSBridgeError("too_large", "its table grows beyond what a receiver takes"))
    batch.room[] -= Int(cost)
end

"A message of a stream or file: kind of its header, the header, and where its body is"
struct ArrowMessage
    kind::Int
    header::FlatTable
    body::Span
    "where the next message begins"
    next::Int
end

"The message that begins at a place (from 0); `nothing` at the end of the stream"
function read_message(bytes::Vector{UInt8}, at::Int)
    count = length(bytes)
    at == count && return nothing
    word(at) = at + 4 <= count ? flat(Int32, bytes, at, count - 1) : throw(undecodable("it ends within a message"))
    size = word(at)
    at += 4
    if size == -1
        size = word(at)
        at += 4
    end
    size == 0 && return nothing
    size > 0 || throw(undecodable("a message of negative length"))
    size <= count - at || throw(undecodable("a message is longer than what is there"))
    last = at + Int(size) - 1
    message = flat_root(bytes, at, last)
    version = number(message, 0, Int16(0))
    version in (3, 4) || throw(undecodable("its version is not V4 or V5"))
    header = inner_table(message, 2)
    header === nothing && throw(undecodable("a message without its header"))
    body = number(message, 3, Int64(0))
    0 <= body <= count - last - 1 || throw(undecodable("a body is longer than what is there"))
    ArrowMessage(Int(number(message, 1, 0x00)), header, Span(bytes, last + 1, Int(body)), last + 1 + Int(body))
end

"""
    read_arrow(bytes) -> Table

Reads an Arrow IPC stream or file. Anything that is not whole and right is `undecodable`, what this package can't read
`unsupported`, and what would grow beyond a multiple of the message `too_large`.
"""
function read_arrow(bytes::Vector{UInt8})
    is_file = length(bytes) >= 8 && bytes[1:6] == codeunits("ARROW1")
    schema, batches = is_file ? file_messages(bytes) : stream_messages(bytes)
    room = Ref(ROOM + ROOM_FACTOR * length(bytes))
    dictionaries = Dict{Int64,Any}()
    parts = [Any[] for _ in schema.fields]
    rows = 0
    for message in batches
        if message.kind == 2
            read_dictionary!(dictionaries, schema, message, room)
            continue
        end
        batch = batch_of(message.header, message.body, dictionaries, room)
        for (at, field) in enumerate(schema.fields)
            column = decode(batch, field.type)
            length(column) == batch.rows || throw(undecodable("a column has other rows than its batch"))
            push!(parts[at], column)
        end
        finished(batch)
        rows += batch.rows
    end
    columns = Any[joined(part, field.type) for (part, field) in zip(parts, schema.fields)]
    Table([field.name for field in schema.fields], columns, rows, schema.fields, schema.metadata)
end

joined(parts, type) = isempty(parts) ? empty_column(type) : length(parts) == 1 ? parts[1] : joined_all(parts)
# One by one where types differ, so that a value keeps its own.
function joined_all(parts)
    T = Union{map(eltype, parts)...}
    out = Vector{T}(undef, sum(length, parts))
    at = 1
    for part in parts
        copyto!(out, at, part, 1, length(part))
        at += length(part)
    end
    out
end

function empty_column(type)
    decode(Batch(0, [], [], [], 0, 0, 0, Dict{Int64,Any}(), Ref(ROOM), true), type)
end

"Schema and batches of a stream, which begins with the schema"
function stream_messages(bytes)
    message = read_message(bytes, 0)
    message !== nothing && message.kind == 1 || throw(undecodable("it begins without a schema"))
    schema = read_schema(message.header)
    batches = ArrowMessage[]
    at = message.next
    while true
        message = read_message(bytes, at)
        message === nothing && return schema, batches
        message.kind in (2, 3) || throw(undecodable("a message that is no batch"))
        push!(batches, message)
        at = message.next
    end
end

"Schema and batches of a file, whose end says where they are"
function file_messages(bytes)
    count = length(bytes)
    bytes[end-5:end] == codeunits("ARROW1") || throw(undecodable("a file without its end"))
    size = Int(flat(Int32, bytes, count - 10, count - 1))
    0 < size <= count - 18 || throw(undecodable("its footer is longer than the file"))
    footer = flat_root(bytes, count - 10 - size, count - 11)
    table = inner_table(footer, 1)
    table === nothing && throw(undecodable("a footer without a schema"))
    schema = read_schema(table)
    batches = ArrowMessage[]
    for (slot, kind) in ((2, 2), (3, 3))
        from, blocks = items(footer, slot, 24)
        for block in 0:blocks-1
            offset = flat(Int64, bytes, from + 24 * block, footer.last)
            0 <= offset < count || throw(undecodable("a batch outside of the file"))
            message = read_message(bytes, Int(offset))
            message !== nothing && message.kind == kind || throw(undecodable("a block that is no batch"))
            push!(batches, message)
        end
    end
    schema, batches
end

function read_dictionary!(dictionaries, schema, message, room)
    id = number(message.header, 0, Int64(0))
    haskey(schema.dictionaries, id) || throw(undecodable("a dictionary of no column"))
    data = inner_table(message.header, 1)
    data === nothing && throw(undecodable("a dictionary without values"))
    batch = batch_of(data, message.body, dictionaries, room)
    values = decode(batch, schema.dictionaries[id].type)
    length(values) == batch.rows || throw(undecodable("a dictionary has other values than it says"))
    finished(batch)
    delta = is_set(message.header, 2) && haskey(dictionaries, id)
    delta && charge(batch, length(dictionaries[id]), 8)
    dictionaries[id] = delta ? joined_all(Any[dictionaries[id], values]) : values
end

finished(batch) =
    batch.node == length(batch.nodes) && batch.span == length(batch.spans) ||
    throw(undecodable("a batch has more columns than its schema"))

"The columns of a batch, not yet read"
function batch_of(header::FlatTable, body::Span, dictionaries, room)
    rows = number(header, 0, Int64(0))
    0 <= rows <= typemax(Int32) * Int64(1024) || throw(undecodable("a batch of $rows rows"))
    from, count = items(header, 1, 16)
    nodes = map(0:count-1) do at
        length, nulls = (flat(Int64, header.bytes, from + 16 * at + shift, header.last) for shift in (0, 8))
        0 <= nulls <= length || throw(undecodable("a column of $length rows, $nulls of them null"))
        (Int(length), Int(nulls))
    end
    codec = codec_of(inner_table(header, 3))
    spans = Span[]
    from, count = items(header, 2, 16)
    for at in 0:count-1
        offset, size = (flat(Int64, header.bytes, from + 16 * at + shift, header.last) for shift in (0, 8))
        0 <= offset && 0 <= size <= body.count - offset ||
            throw(undecodable("a column outside of its batch"))
        span = Span(body.bytes, body.first + Int(offset), Int(size))
        push!(spans, codec === nothing ? span : decompressed(codec, span, room))
    end
    from, count = items(header, 4, 8)
    variadic = [Int(flat(Int64, header.bytes, from + 8 * at, header.last)) for at in 0:count-1]
    all(many -> 0 <= many <= length(spans), variadic) || throw(undecodable("a view of buffers that are not there"))
    Batch(Int(rows), nodes, spans, variadic, 0, 0, 0, dictionaries, room, false)
end

function codec_of(compression)
    compression === nothing && return nothing
    number(compression, 1, Int8(0)) == 0 || throw(undecodable("an unknown way of compression"))
    code = number(compression, 0, Int8(0))
    code == 0 ? :lz4 : code == 1 ? :zstd : throw(undecodable("an unknown compression"))
end

"A column's bytes as they were before compression: 8 bytes say how many"
function decompressed(codec, span, room)
    span.count == 0 && return span
    span.count >= 8 || throw(undecodable("a compressed column without its size"))
    size = flat(Int64, span.bytes, span.first, span.first + span.count - 1)
    size == -1 && return Span(span.bytes, span.first + 8, span.count - 8)
    size >= 0 || throw(undecodable("a column of negative length"))
    size <= room[] || throw(NATSBridgeError("too_large", "its table grows beyond what a receiver takes"))
    room[] -= Int(size)
    bytes = span.bytes[span.first+9:span.first+span.count]
    out = codec === :lz4 ? unlz4(bytes, Int(size)) : unzstd(bytes, Int(size))
    length(out) == size || throw(undecodable("a compressed column of another size than it says"))
    Span(out, 0, Int(size))
end
