# Every rule of the Arrow reader, each with bytes that break it: schemas, batches, metadata, compressed bodies, what few bytes may become.

# Every rule that a stream can break, on a table whose bytes are known.
@testset "what is not right is refused" begin
    good = write_arrow(Table((s=["ab", "cd", missing], n=[1, 2, 3])))
    for body in (UInt8[], codeunits("hello, world"), zeros(UInt8, 64), codeunits("ARROW1\0\0"), UInt8[0xff, 0xff, 0xff, 0xff], codeunits("[{}]"))
        @test code_of(() -> read_arrow(Vector{UInt8}(body))) == "undecodable"
    end
    # Cut anywhere inside a message; at its end, the rest is no longer there, and that is allowed.
    ends = Int[0]
    while (message = NATSBridge.read_message(good, ends[end])) !== nothing
        push!(ends, message.next)
    end
    for count in 0:length(good)-9
        count in ends[2:end] || @test (count, code_of(() -> read_arrow(good[1:count]))) == (count, "undecodable")
    end
    changed(f) = (bytes = copy(good); f(bytes); bytes)
    body = NATSBridge.read_message(good, ends[2]).body
    word(at, number) = bytes -> copyto!(bytes, body.first + at + 1, reinterpret(UInt8, [number]))
    # validity (8 bytes), offsets 0 2 4 4 (16 bytes), text
    for (at, number) in ((8, Int32(-1)), (12, Int32(5)), (16, Int32(1)), (20, Int32(100)), (20, typemax(Int32)))
        @test (at, number, code_of(() -> read_arrow(changed(word(at, number))))) == (at, number, "undecodable")
    end
    @test code_of(() -> read_arrow(changed(word(24, 0xff)))) == "undecodable"
    index = write_arrow(Table((s=["a", "b"],); types=("s" => "dictionary<int32, utf8>",)))
    for number in (Int32(2), Int32(-1), typemax(Int32))
        bytes = copy(index)
        dictionary = NATSBridge.read_message(bytes, NATSBridge.read_message(bytes, 0).next)
        indices = NATSBridge.read_message(bytes, dictionary.next).body
        copyto!(bytes, indices.first + 1, reinterpret(UInt8, [number]))
        @test (number, code_of(() -> read_arrow(bytes))) == (number, "undecodable")
    end
    # The schema's byte order, and the version of its message.
    endian = NATSBridge.flat_bytes(NATSBridge.FlatNew(0 => Int16(4), 1 => 0x01, 2 => NATSBridge.FlatNew(0 => Int16(1)), 3 => Int64(0)))
    old = NATSBridge.flat_bytes(NATSBridge.FlatNew(0 => Int16(2), 1 => 0x01, 2 => NATSBridge.FlatNew(0 => Int16(0)), 3 => Int64(0)))
    for metadata in (endian, old)
        @test code_of(() -> read_arrow([reinterpret(UInt8, [Int32(-1), Int32(length(metadata))]); metadata])) == "undecodable"
    end
    # Rows, nulls and places of a column of two numbers: validity in the body's first 8 bytes, or all are there.
    body = UInt8[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]
    schema = NATSBridge.schema_written([NATSBridge.ArrowField("n", arrow_type("int32"))], [])
    for (node, spans, right) in (([2, 0], [0, 0, 8, 8], "taken"), ([2, 1], [0, 8, 8, 8], "taken"), ([2, 3], [0, 8, 8, 8], "undecodable"),
        ([2, -1], [0, 8, 8, 8], "undecodable"), ([2, 1], [0, 0, 8, 8], "undecodable"), ([3, 0], [0, 0, 8, 8], "undecodable"),
        ([2, 0], [0, 0, 8, 4], "undecodable"), ([2, 0], [0, 0, 12, 8], "undecodable"), ([2, 0], [0, 0, -8, 8], "undecodable"))
        rows = NATSBridge.batch_written(NATSBridge.Encoder(body, Int64.(node), Int64.(spans), Int64[], [], Ref(0), ""), 2)
        bytes = [NATSBridge.message_bytes(1, schema, UInt8[]); NATSBridge.message_bytes(3, rows, body)]
        @test (node, spans, code_of(() -> read_arrow(bytes))) == (node, spans, right)
    end
    # Schemas that no vector shows, because other languages take them for something else.
    new = NATSBridge.FlatNew
    field(code, parameters, children=new[]; coded=nothing) =
        new(0 => "c", 1 => true, 2 => UInt8(code), 3 => parameters, 4 => coded, 5 => children)
    number = field(2, new(0 => Int32(32), 1 => true))
    begun(fields) = NATSBridge.message_bytes(1, new(0 => Int16(0), 1 => fields), UInt8[])
    nested(depth) = depth == 0 ? number : field(12, new(), [nested(depth - 1)])
    words = new(0 => Int64(7))
    for (fields, right) in (([number], "taken"), ([field(3, new(0 => Int16(3)))], "undecodable"), ([field(3, new(0 => Int16(-1)))], "undecodable"),
        ([field(8, new(0 => Int16(2)))], "undecodable"), ([field(9, new(0 => Int16(-1), 1 => Int32(32)))], "undecodable"),
        ([field(10, new(0 => Int16(9)))], "undecodable"), ([field(10, new(0 => Int16(-1)))], "undecodable"), ([field(11, new(0 => Int16(-1)))], "undecodable"),
        ([field(18, new(0 => Int16(4)))], "undecodable"), ([field(16, new(0 => Int32(-1)), [number])], "undecodable"),
        ([field(7, new(0 => Int32(10), 1 => Int32(2000)))], "undecodable"), ([field(7, new(0 => Int32(10), 1 => typemin(Int32)))], "undecodable"), ([field(14, new())], "unsupported"), ([field(99, new())], "unsupported"),
        ([field(5, new(); coded=words), field(6, new(); coded=words)], "undecodable"), ([nested(63)], "taken"), ([nested(64)], "undecodable"),
        ([field(5, new(), [number])], "undecodable"), ([field(2, new(0 => Int32(32)), [number])], "undecodable"))
        @test (string(fields)[1:min(end, 100)], code_of(() -> read_arrow(begun(fields)))) == (string(fields)[1:min(end, 100)], right)
    end
    @test occursin("0 children, not 1", message_of(() -> read_arrow(begun([field(17, new())]))))
    @test occursin("a map without keys and values", message_of(() -> read_arrow(begun([field(17, new(), [field(22, new(), [number, number])])]))))
end

# Each frame breaks one rule, and the error says which: with another rule's words it would be luck.
@testset "compressed bodies" begin
    number(value, bytes) = UInt8[(value >> (8 * at)) & 0xff for at in 0:bytes-1]
    said(unpack, frame, size) = (text = message_of(() -> unpack(UInt8[frame...], size)); found = match(r"damaged \((.*?)\)", text); found === nothing ? text : found[1])
    lz4(blocks...; flags=0x40) = [number(0x184d2204, 4); flags; 0x40; 0x00; vcat(([number(length(block), 4); block] for block in blocks)...); number(0, 4)]
    raw(bytes) = [number(0x80000000 | length(bytes), 4); bytes]
    head = lz4()[1:end-4]
    skipped(count) = [number(0x184d2a50, 4); number(count, 4); 0x07]
    for (frame, size, right) in (
        (lz4([0x30, 1, 2, 3]), 3, ""), ([skipped(1); lz4([0x30, 1, 2, 3])], 3, ""), ([head; raw([1, 2]); number(0, 4)], 2, ""),
        (lz4([0x10, 1, 1, 0, 0x10, 9]), 6, ""), # one byte, four times itself, and one more
        (skipped(9), 0, "it ends early"), (number(7, 4), 0, "no LZ4"), (lz4(; flags=0x80), 0, "an unknown version of LZ4"),
        (lz4(; flags=0x41), 0, "it needs a dictionary"), ([head; number(99, 4); 0x10; 0x01], 9, "it ends early"),
        ([head; raw([1, 2]); number(0, 4)], 1, "it is longer than it says"), ([lz4([0x30, 1, 2]); 0x00], 9, "it ends early"),
        (lz4([0x30, 1, 2, 3]), 2, "it is longer than it says"), ([lz4([0x1f, 1, 1, 0]); 0x00], 99, "it ends early"), ([lz4([0x10, 1, 1]); 0x00], 9, "it ends early"),
        (lz4([0x10, 1, 2, 0]), 9, "it points ahead of its beginning"), (lz4([0x10, 1, 0, 0]), 9, "it points ahead of its beginning"),
        ([lz4([0x10, 1]); lz4([0x10, 1, 2, 0])], 9, "it points ahead of its beginning"), (lz4([0x10, 1, 1, 0]), 4, "it is longer than it says"),
        (lz4([0x10, 1]; flags=0x44), 1, "it ends early"), (head, 0, "it ends early"),
    )
        @test (frame, said(NATSBridge.unlz4, frame, size)) == (frame, right)
    end
    block(kind, count, bytes=UInt8[]; last=1) = [number(last | kind << 1 | count << 3, 3); bytes]
    zstd(blocks...; flags=0x20) = [number(0xfd2fb528, 4); flags; 0x00; vcat(blocks...)]
    packed(bytes...) = block(2, length(bytes), UInt8[bytes...])
    long = zeros(UInt8, 1 << 17 + 1)
    for (frame, size, right) in (
        (zstd(block(0, 2, [1, 2])), 2, ""), (zstd(block(1, 5, [1])), 5, ""), (zstd(packed(0x10, 1, 2, 0)), 2, ""), ([skipped(1); zstd(block(0, 1, [1]))], 1, ""),
        (skipped(9), 0, "it ends early"), (number(7, 4), 0, "no ZSTD"), (zstd(flags=0x28), 0, "a reserved bit"), (zstd(flags=0x21), 0, "it needs a dictionary"),
        (zstd(block(3, 1, [1])), 1, "a reserved block"), (zstd(block(1, 5, [1])), 4, "it is longer than it says"), (zstd(block(0, 5, [1])), 9, "it ends early"),
        (zstd(block(0, 2, [1, 2])), 1, "it is longer than it says"), (zstd(block(2, 9, [1])), 9, "it ends early"), (zstd(block(2, length(long), long)), 9, "it ends early"),
        (zstd(packed(0x10, 1, 2, 0, 0)), 2, "a block with bytes left over"), (zstd(packed(0x10, 1, 2, 0)), 1, "it is longer than it says"),
        (zstd(packed(0x1d, 0, 0x20, 1, 0)), 1 << 20, "too many literals"), (zstd(packed(0x03, 0x40, 0x00, 1, 0)), 9, "a Huffman table that is not there"),
        (zstd(packed(0x02, 0xc0, 0xff)), 9, "too many literals"), (zstd(packed(0x08, 1, 1, 0x01)), 9, "a reserved bit"), (zstd(packed(0x08, 1, 1, 0x40, 36)), 9, "an unknown symbol"),
        (zstd(packed(0x08, 1, 1, 0xc0)), 9, "a table that is not there"), (zstd(packed(0x08, 1, 1, 0x54, 0, 0, 0, 0)), 9, "a stream of bits without its end"),
        (zstd(packed(0x08, 1, 1, 0x54, 1, 0, 1)), 9, "a stream of bits without its end"), (zstd(packed(0x08, 1, 1, 0x80, 0x0f)), 9, "a table that is too large"),
        # One sequence of single symbols: two literals of one; an offset beyond what is there; a long offset; bits that are left
        (zstd(packed(0x08, 1, 1, 0x54, 2, 0, 0, 0x01)), 9, "more literals than there are"), (zstd(packed(0x08, 1, 1, 0x54, 1, 2, 0, 0x05)), 9, "it points ahead of its beginning"),
        (zstd(packed(0x08, 1, 1, 0x54, 1, 31, 0, 0x01)), 9, "sequences that end early"), (zstd(packed(0x08, 1, 1, 0x54, 1, 0, 0, 0x02)), 9, "sequences with bits left over"),
        (zstd(packed(0x08, 1, 1, 0x54, 1, 0, 0, 0x01)), 4, ""), (zstd(packed(0x08, 1, 1, 0x54, 1, 0, 0, 0x01)), 3, "it is longer than it says"),
        ([zstd(block(0, 1, [1])); zstd(packed(0x08, 1, 1, 0x54, 1, 2, 0, 0x05))], 9, "it points ahead of its beginning"),
        (zstd(packed(0x08, 1, 1, 0x54, 0, 1, 0, 0x03)), 9, "an offset of nothing"), (zstd(packed(0x10, 1, 2, 1, 0x54, 2, 0, 0, 1)), 1, "it is longer than it says"),
        # Literals by Huffman's code: more than a block holds, and four streams: none, an empty one, one too long, fewer literals than streams
        (zstd(packed(0x1e, 0, 0x60, 0, 0, 0)), 9, "too many literals"), (zstd(packed(0x46, 0x40, 0x01, 0x80, 0x10, 0, 0, 0)), 9, "it ends early"),
        (zstd(packed(0x46, 0x80, 0x02, 0x80, 0x10, 0, 0, 0, 0, 0, 0, 2, 2)), 9, "a stream of literals outside of its block"),
        (zstd(packed(0x46, 0x80, 0x02, 0x80, 0x10, 9, 0, 0, 0, 0, 0, 2, 2)), 9, "a stream of literals outside of its block"),
        (zstd(packed(0x16, 0x00, 0x03, 0x80, 0x10, 1, 0, 1, 0, 1, 0, 2, 2, 2, 2)), 9, "too few literals"),
        (zstd(packed(0x10, 1, 2, 1, 0x54, 1, 0, 0, 0x01)), 5, ""), (zstd(packed(0x10, 1, 2, 1, 0x54, 1, 0, 0, 0x01)), 4, "it is longer than it says"),
    )
        @test (length(frame), frame[1:min(end, 20)], size, said(NATSBridge.unzstd, frame, size)) == (length(frame), frame[1:min(end, 20)], size, right)
    end
end

@testset "compressed bodies: their tables" begin
    said(f, given...) = (text = message_of(() -> f(given...)); found = match(r"damaged \((.*?)\)", text); found === nothing ? text : found[1])
    fse(bytes, most=35) = said(NATSBridge.read_fse, UInt8[bytes...], 1, length(bytes), 9, most)
    # Chances of 1 in 32 each, as long as there are bytes; a symbol without a chance, and others without end
    @test (fse(zeros(20)), fse([0x00]), fse(zeros(20), 2)) == ("", "a table that ends early", "a table with too many symbols")
    @test fse([0x10; 0xfe; fill(0xff, 20)]) == "a table with too many symbols"
    for (weights, right) in (([1], ""), ([1, 255], "a Huffman table that is too deep"), ([11, 11], "a Huffman table that is too deep"),
        ([0, 0], "a Huffman table without symbols"), ([3, 1], "a Huffman table that does not add up"))
        @test (weights, said(NATSBridge.Huffman, weights)) == (weights, right)
    end
    length_of_table = NATSBridge.read_fse(zeros(UInt8, 30), 1, 30, 6, 255)[2] - 1
    for (bytes, right) in (
        ([0x80, 0x10], ""), ([], "it ends early"), ([0x81], "it ends early"), ([0x00, 1], "it ends early"), ([0x05, 0x00], "it ends early"),
        ([length_of_table + 1; zeros(length_of_table); 0x01], "it ends early"), ([4, 0xf0, 0x03, 0x00, 0x04], "a Huffman table with too many symbols"),
    )
        @test (bytes, said(NATSBridge.read_huffman, UInt8[bytes...], 1, length(bytes))) == (bytes, right)
    end
    literals(byte) = said(NATSBridge.huffman_stream!, UInt8[], NATSBridge.Huffman([1]), [byte], 1, 1, 1)
    @test literals.([0x02, 0x01, 0x04]) == ["", "a stream of literals that ends early", "a stream of literals with bits left over"]
end

"A stream of one column and one batch, whose numbers are given; `kind` 2 is a dictionary of the number 1"
function one_batch(type, rows, nodes, spans, body; views=Int64[], kind=3, body_length=nothing, more=())
    fields = type === nothing ? NATSBridge.ArrowField[] : [NATSBridge.ArrowField("c", NATSBridge.numbered(arrow_type(type), Ref(Int64(0))))]
    enc = NATSBridge.Encoder(UInt8[], Int64[nodes...], Int64[spans...], Int64[views...], [], Ref(0), "")
    header = NATSBridge.batch_written(enc, rows)
    append!(header.fields, more)
    kind == 2 && (header = NATSBridge.FlatNew(0 => Int64(1), 1 => header, 2 => false))
    body = UInt8[body...]
    metadata = NATSBridge.flat_bytes(NATSBridge.FlatNew(0 => Int16(4), 1 => UInt8(kind), 2 => header, 3 => Int64(something(body_length, length(body)))))
    [NATSBridge.message_bytes(1, NATSBridge.schema_written(fields, []), UInt8[]); reinterpret(UInt8, Int32[-1, length(metadata)]); metadata; body]
end

# The error's words tell a rule from another one that refuses the same bytes later.
@testset "batches that break one rule" begin
    words(numbers...) = Vector{UInt8}(reinterpret(UInt8, collect(numbers)))
    two = words(Int32(1), Int32(2))
    view(size, buffer, from) = [words(Int32(size)); b"aaaa"; words(Int32(buffer), Int32(from)); fill(UInt8('a'), 16)]
    views = [1, 0], [0, 0, 0, 16, 16, 16]
    dictionary = "dictionary<int8, int32>"
    runs = "run_end_encoded<int32, int32>"
    packed(body) = [words(Int64(8)); reinterpret(UInt8, UInt32[0x184d2204]); 0x60; 0x40; 0x00; words(Int32(length(body) + 1)); UInt8(length(body) << 4); body; words(Int32(0))]
    lz4(; method=Int8(0)) = (3 => NATSBridge.FlatNew(0 => Int8(0), 1 => method),)
    for (type, rows, nodes, spans, body, options, right) in (
        ("int32", 2, [2, 0], [0, 0, 0, 8], two, (), ""), ("int32", 2, [2, 0], [0, 0, 0, 8], two, (body_length=-8,), "a body is longer"),
        ("int32", 2, [2, 0, 2, 0], [0, 0, 0, 8], two, (), "more columns"), ("int32", 2, [2, 0], [0, 0, 0, 8, 0, 8], two, (), "more columns"),
        ("int32", 1, [2, 0], [0, 0, 0, 8], two, (), "other rows than its batch"), (nothing, -1, [], [], [], (), "a batch of -1 rows"),
        (nothing, 2^50, [], [], [], (), "a batch of $(2^50) rows"), (nothing, 2, [], [], [], (), ""),
        ("int32", 2, [2, 0], [0, 0, 0, -8], two, (), "outside of its batch"), ("int32", 2, [2, 0], [0, 0, 16, 0], two, (), "outside of its batch"),
        (dictionary, 2, [2, 0], [0, 0, 0, 8], two, (kind=2,), ""), (dictionary, 1, [2, 0], [0, 0, 0, 8], two, (kind=2,), "other values than it says"),
        (dictionary, 2, [2, 0, 2, 0], [0, 0, 0, 8], two, (kind=2,), "more columns"), (dictionary, 2, [2, 0], [0, 0, 0, 8, 0, 8], two, (kind=2,), "more columns"),
        ("int32", 2, [2, 0], [0, 0, 0, length(packed(two))], packed(two), (more=lz4(),), ""),
        ("int32", 2, [2, 0], [0, 0, 0, length(packed(two[1:7]))], packed(two[1:7]), (more=lz4(),), "another size"),
        ("int32", 2, [2, 0], [0, 0, 0, length(packed(two))], packed(two), (more=lz4(method=Int8(1)),), "unknown way of compression"),
        ("int32", 2, [2, 0], [0, 0, 0, 8], words(Int64(-8)), (more=lz4(),), "a column of negative length"),
        ("utf8_view", 1, views..., view(16, 0, 0), (views=[1],), ""), ("utf8_view", 1, views..., view(16, 0, 0), (), "a view without its buffers"),
        ("utf8_view", 1, views..., view(16, -1, 0), (views=[1],), "a buffer that is not there"), ("utf8_view", 1, views..., view(16, 1, 0), (views=[1],), "a buffer that is not there"),
        ("utf8_view", 1, views..., view(16, 0, -4), (views=[1],), "beyond its buffer"), ("utf8_view", 1, views..., view(16, 0, 1), (views=[1],), "beyond its buffer"),
        ("fixed_size_binary(8)", 2, [2, 0], [0, 0, 0, 8], two, (), "shorter than its rows"),
        ("list_view<int32>", 1, [1, 0, 2, 0], [0, 0, 0, 4, 4, 4, 0, 0, 0, 8], words(Int32(0), Int32(2)), (), ""),
        ("list_view<int32>", 1, [1, 0, 2, 0], [0, 0, 0, 4, 4, 4, 0, 0, 0, 8], words(Int32(-1), Int32(2)), (), "a list ends beyond"),
        ("list_view<int32>", 1, [1, 0, 2, 0], [0, 0, 0, 4, 4, 4, 0, 0, 0, 8], words(Int32(0), Int32(-2)), (), "a list ends beyond"),
        ("list_view<int32>", 1, [1, 0, 2, 0], [0, 0, 0, 4, 4, 4, 0, 0, 0, 8], words(Int32(3), Int32(0)), (), "a list ends beyond"),
        # Rows that are null, whose items would be beyond
        ("list<int32>", 1, [1, 1, 2, 0], [0, 1, 8, 8, 0, 0, 16, 8], [zeros(8); words(Int32(0), Int32(5)); two], (), "a list ends beyond"),
        ("fixed_size_list<int32, 2>", 2, [2, 1, 2, 0], [0, 1, 0, 0, 8, 8], [0x01; zeros(7); two], (), "a list ends beyond"),
        ("time64[us]", 1, [1, 0], [0, 0, 0, 8], words(typemax(Int64)), (), "no time of a day"),
        (runs, 1, [1, 0, 1, 0, 1, 0], [0, 0, 0, 4, 4, 0, 4, 4], two, (), ""), (runs, 1, [1, 0, 1, 1, 1, 0], [0, 1, 0, 4, 4, 0, 4, 4], words(Int32(2), Int32(2)), (), "runs without ends"),
    )
        stream = one_batch(type, rows, nodes, spans, body; options...)
        @test (type, rows, nodes, spans, options, occursin(right, message_of(() -> read_arrow(stream)))) == (type, rows, nodes, spans, options, true)
        isempty(right) && @test code_of(() -> read_arrow(stream)) == "taken"
    end
    # A dictionary that says nothing; an index beyond, beside others that are null and where none is
    empty = NATSBridge.message_bytes(2, NATSBridge.FlatNew(0 => Int64(1)), UInt8[])
    start = one_batch(dictionary, 2, [2, 0], [0, 0, 0, 8], two; kind=2)
    schema = start[1:NATSBridge.read_message(start, 0).next]
    @test occursin("a dictionary without values", message_of(() -> read_arrow([schema; empty])))
    indices(nulls, numbers) = (all = one_batch(dictionary, 2, [2, nulls], [0, 1, 8, 2], [0x03, zeros(UInt8, 7)..., numbers...]);
        read_arrow([start; all[NATSBridge.read_message(all, 0).next+1:end]]))
    for nulls in (0, 1), numbers in ([0, 0x02], [0xff, 0])
        @test code_of(() -> indices(nulls, [0, 1])) == "taken"
        @test occursin("an index beyond", message_of(() -> indices(nulls, numbers)))
    end
end

# A vector says the code alone, which a later rule may give too.
isdir(joinpath(TESTDATA, "receive")) || @info "skipped: words of the vectors: testdata/receive of the repository is not here"
isdir(joinpath(TESTDATA, "receive")) && @testset "vectors are refused by their own rule" begin
    for (name, right) in (
        "negative_message" => "a message of negative length", "body_length" => "a body is longer", "schema_late" => "it begins without a schema",
        "message_kind" => "a message that is no batch", "file_cut" => "a file without its end", "file_footer_length" => "its footer is longer",
        "file_footer_negative" => "its footer is longer", "file_without_schema" => "a footer without a schema", "file_block_beyond" => "outside of the file",
        "file_block_negative" => "outside of the file", "file_block_of_end" => "a block that is no batch", "dictionary_of_nothing" => "a dictionary of no column",
        "batch_compression_short" => "a compressed column without its size", "view_negative" => "a text of negative length",
        "fixed_size_list_short" => "a list ends beyond its items", "list_offset_beyond" => "a list ends beyond its items",
        "struct_child_short" => "a struct is longer than its fields", "map_offset_beyond" => "a map ends beyond its entries",
        "run_values_short" => "runs without ends", "schema_runs_without_values" => "a type with 1 children, not 2",
        "schema_fixed_list_without_items" => "a type with 0 children, not 1",
    )
        envelope = from_json(read(joinpath(TESTDATA, "receive", "invalid", "arrowtable_$name.json"), String))["envelope"]
        body = base64decode(envelope["payloads"][1]["data"])
        @test (name, occursin(right, message_of(() -> read_arrow(body)))) == (name, true)
    end
end

@testset "metadata that leads astray" begin
    new, set! = NATSBridge.FlatNew, NATSBridge.set!
    good = NATSBridge.flat_bytes(new(0 => "abc", 1 => NATSBridge.FlatItems(zeros(UInt8, 8), 1), 2 => new()))
    root(bytes) = NATSBridge.flat_root(bytes, 0, length(bytes) - 1)
    name(bytes) = NATSBridge.flat_text(root(bytes), 0)
    list(bytes) = NATSBridge.items(root(bytes), 1, 8)
    table = root(good)
    text, items = NATSBridge.pointed(table, 0), NATSBridge.pointed(table, 1)
    outside = "points outside of itself"
    for (at, number, read, right) in (
        (0, UInt32(10^6), root, outside), (table.at, Int32(10^6), root, outside), (table.vtable, UInt16(2), root, outside),
        (table.vtable, UInt16(0x7ffe), root, outside), (text, UInt32(1000), name, "a name is longer than the metadata"),
        (text + 4, 0xff, name, "not UTF-8"), (items, UInt32(1000), list, "a list is longer than the metadata"),
    )
        bytes = copy(good)
        read(bytes)
        set!(bytes, at, number)
        @test (at, number, occursin(right, message_of(() -> read(bytes)))) == (at, number, true)
    end
    for read in (() -> NATSBridge.flat_text(table, 0), () -> NATSBridge.items(table, 1, 8), () -> NATSBridge.inner_table(table, 2))
        table.budget[] = 1000
        @test occursin("repeats itself", message_of(() -> foreach(_ -> read(), 1:1001)))
    end
end

"What reading the columns of a stream is charged, and the dictionaries' columns apart from it"
function charged(bytes)
    schema, messages = NATSBridge.stream_messages(bytes)
    dictionaries, words, rows = Dict{Int64,Any}(), Ref(10^9), Ref(10^9)
    for message in messages
        message.kind == 2 && (NATSBridge.read_dictionary!(dictionaries, schema, message, words); continue)
        batch = NATSBridge.batch_of(message.header, message.body, dictionaries, rows)
        foreach(field -> NATSBridge.decode(batch, field.type), schema.fields)
    end
    10^9 - rows[], 10^9 - words[]
end

# Nothing is decoded that is not counted before.
@testset "what is decoded is charged" begin
    eight(item) = fill(item, 8)
    text = 8 * 4 + 8 * 24 + 8 * 2 # offsets, strings, their two bytes each
    for (column, type, right) in (
        (1:8, "int64", 8 * 16), ([missing; 2:8], "int64", 8 * 16 + 8), (Float32.(1:8), "float32", 8 * 8), (eight(true), "bool", 8),
        (eight(missing), "null", 8 * 16), (eight(Date(2026)), "date32", 8 * 16), (eight(Dates.Time(8)), "time64[ns]", 8 * 16),
        (eight(DateTime(2026)), "timestamp[ms]", 8 * 16), (eight(Second(1)), "duration[s]", 8 * 16),
        (eight(Decimal("1.5")), "decimal128(10,1)", 8 * 48), (eight(Interval(1, 2, 3)), "interval[month_day_nano]", 8 * 24),
        (eight("ab"), "utf8", text), (eight("ab"), "large_utf8", text + 8 * 4), (eight("ab"), "utf8_view", 8 * 16 + 8 * 24 + 8 * 2),
        (eight(UInt8[1, 2]), "binary", text), (eight(UInt8[1, 2]), "fixed_size_binary(2)", 8 * 24 + 8 * 2),
        (eight([1, 2]), "list<int64>", 8 * 40 + 8 * 4 + 16 * 16 + 16 * 8), (eight([1, 2]), "list_view<int64>", 8 * 40 + 16 * 16 + 16 * 8),
        (eight([1, 2]), "fixed_size_list<int64, 2>", 8 * 40 + 16 * 16 + 16 * 8), (eight((a=1, b=true)), "struct<a: int64, b: bool>", 8 * (48 + 2 * 24) + 8 * 16 + 8),
        (eight(["k" => 1]), "map<utf8, int64>", 8 * 40 + 8 * 4 + 8 * (4 + 24 + 1) + 8 * 16 + 8 * 32), (eight("ab"), "dictionary<int8, utf8>", 8 * 16),
        (eight("ab"), "run_end_encoded<int32, utf8>", 8 * 16 + 8 + 4 + 24 + 2),
    )
        @test (type, charged(write_arrow(Table((c=column,); types=("c" => type,))))[1]) == (type, right)
    end
    # The words of a dictionary, and once more when others are appended to them: an offset, a string and a byte; 8 for each that was there
    words(is_delta) = NATSBridge.FlatNew(0 => Int64(1), 1 => NATSBridge.batch_written(NATSBridge.Encoder(UInt8[], Int64[1, 0], Int64[0, 0, 0, 8, 8, 1], Int64[], [], Ref(0), ""), 1), 2 => is_delta)
    body = UInt8[0, 0, 0, 0, 1, 0, 0, 0, 0x61, 0, 0, 0, 0, 0, 0, 0]
    whole = write_arrow(Table((c=["a"],); types=("c" => "dictionary<int8, utf8>",)))
    schema = whole[1:NATSBridge.read_message(whole, 0).next]
    @test charged([schema; NATSBridge.message_bytes(2, words(false), body); NATSBridge.message_bytes(2, words(true), body)]) == (0, 2 * (4 + 24 + 1) + 8)
end

@testset "few bytes that stand for very many" begin
    stream(type, batches, body) = vcat(
        NATSBridge.message_bytes(1, NATSBridge.schema_written([NATSBridge.ArrowField("c", arrow_type(type))], []), UInt8[]),
        (NATSBridge.message_bytes(3, NATSBridge.batch_written(NATSBridge.Encoder(body, Int64.(nodes), Int64.(spans), Int64.(views), [], Ref(0), ""), nodes[1]), body)
            for (nodes, spans, views) in batches)...)
    code(arguments...) = code_of(() -> read_arrow(stream(arguments...)))
    @test code("null", [([10^9, 10^9], [], [])], UInt8[]) == "too_large"
    @test code("null", [([10^6, 10^6], [], []) for _ in 1:5], UInt8[]) == "too_large"
    # 5,000 lists of the same 5,000 items, 2,000 texts of the same 64 KB
    items = reinterpret(UInt8, [zeros(Int32, 5000); fill(Int32(5000), 5000); zeros(Int32, 5000)])
    @test code("list_view<int32>", [([5000, 0, 5000, 0], [0, 0, 0, 20000, 20000, 20000, 0, 0, 40000, 20000], [])], Vector(items)) == "too_large"
    texts = reinterpret(UInt8, [repeat(Int32[65536, 0x61616161, 0, 0], 2000); fill(Int32(0x61616161), 16384)])
    @test code("utf8_view", [([2000, 0], [0, 0, 0, 32000, 32000, 65536], [1])], Vector(texts)) == "too_large"
end
