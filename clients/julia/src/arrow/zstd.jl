# ZSTD frames (RFC 8878), as Arrow compresses bodies with them: no more is written than the message says that there is.

"Bits read from the end of some bytes to their beginning, as ZSTD's streams are"
mutable struct BackBits
    bytes::Vector{UInt8}
    "bits that are left, counted from the first byte's lowest"
    left::Int
    first::Int
end

function back_bits(bytes, first, last)
    first <= last && bytes[last] != 0 || broken("a stream of bits without its end")
    BackBits(bytes, 8 * (last - first) + 7 - leading_zeros(bytes[last]), first)
end

"The next bits, highest first. Beyond the beginning there are zeros, and `left` becomes negative"
function back!(bits::BackBits, count::Int)
    bits.left -= count
    peek_bits(bits, bits.left, count)
end

"Bits from a place on, lowest place first; places below 0 hold zeros"
function peek_bits(bits::BackBits, from::Int, count::Int)
    count == 0 && return 0
    shift = 0
    if from < 0
        shift = min(-from, count)
        count -= shift
        from = 0
        count == 0 && return 0
    end
    value = UInt64(0)
    byte = from >> 3
    top = (from + count - 1) >> 3
    for at in top:-1:byte
        value = value << 8 | bits.bytes[bits.first+at]
    end
    value = (value >> (from & 7)) & ((UInt64(1) << count) - 1)
    Int(value << shift)
end

"Bits read from the beginning on, as the descriptions of tables are"
mutable struct ForwardBits
    bytes::Vector{UInt8}
    at::Int
    first::Int
    last::Int
end
function forward!(bits::ForwardBits, count::Int)
    bits.at + count <= 8 * (bits.last - bits.first + 1) || broken("a table that ends early")
    value = 0
    for bit in 0:count-1
        place = bits.at + bit
        value |= Int((bits.bytes[bits.first+place>>3] >> (place & 7)) & 1) << bit
    end
    bits.at += count
    value
end

"A decoding table of finite state entropy: symbol, bits to read and base of the next state"
struct Fse
    accuracy::Int
    symbols::Vector{UInt8}
    bits::Vector{UInt8}
    bases::Vector{UInt16}
end
Fse(symbol::Integer) = Fse(0, [UInt8(symbol)], [0x00], [0x0000])

function Fse(accuracy::Int, chances::Vector{Int})
    size = 1 << accuracy
    symbols = zeros(UInt8, size)
    high = size
    counts = Int[]
    for (at, chance) in enumerate(chances)
        push!(counts, chance == -1 ? 1 : chance)
        chance == -1 || continue
        symbols[high] = at - 1
        high -= 1
    end
    place, step = 0, size >> 1 + size >> 3 + 3
    for (at, chance) in enumerate(chances)
        for _ in 1:chance
            symbols[place+1] = at - 1
            place = (place + step) & (size - 1)
            while place >= high
                place = (place + step) & (size - 1)
            end
        end
    end
    bits, bases = zeros(UInt8, size), zeros(UInt16, size)
    for state in 1:size
        count = counts[symbols[state]+1]
        counts[symbols[state]+1] += 1
        bits[state] = accuracy - (63 - leading_zeros(count))
        bases[state] = (count << bits[state]) - size
    end
    Fse(accuracy, symbols, bits, bases)
end

"Reads the description of a table, at bytes first..last; also says where it ends"
function read_fse(bytes, first, last, max_accuracy, max_symbol)
    stream = ForwardBits(bytes, 0, first, last)
    accuracy = forward!(stream, 4) + 5
    accuracy <= max_accuracy || broken("a table that is too large")
    chances, left = Int[], 1 << accuracy
    while left > 0
        length(chances) <= max_symbol || broken("a table with too many symbols")
        width = 64 - leading_zeros(left + 1)
        value = forward!(stream, width - 1)
        threshold = (1 << width) - 1 - (left + 1)
        if value >= threshold
            high = forward!(stream, 1)
            value = high == 1 ? value + (1 << (width - 1)) - threshold : value
        end
        chance = value - 1
        push!(chances, chance)
        left -= abs(chance)
        if chance == 0
            while true
                more = forward!(stream, 2)
                append!(chances, zeros(Int, more))
                more == 3 || break
                length(chances) <= max_symbol + 4 || broken("a table with too many symbols")
            end
        end
    end
    Fse(accuracy, chances), first + cld(stream.at, 8)
end

"A Huffman table: for each prefix of `width` bits its symbol and how many bits of it are used"
struct Huffman
    width::Int
    symbols::Vector{UInt8}
    bits::Vector{UInt8}
end

function Huffman(weights::Vector{Int})
    isempty(weights) || maximum(weights) > 11 && broken("a Huffman table that is too deep")
    total = sum(Int[weight == 0 ? 0 : 1 << (weight - 1) for weight in weights])
    total > 0 || broken("a Huffman table without symbols")
    width = 64 - leading_zeros(total)
    width <= 11 || broken("a Huffman table that is too deep")
    rest = (1 << width) - total
    ispow2(rest) || broken("a Huffman table that does not add up")
    push!(weights, trailing_zeros(rest) + 1)
    symbols, bits = zeros(UInt8, 1 << width), zeros(UInt8, 1 << width)
    place = 1
    for weight in 1:width, (at, its) in enumerate(weights)
        its == weight || continue
        for _ in 1:1<<(weight-1)
            symbols[place], bits[place] = at - 1, width + 1 - weight
            place += 1
        end
    end
    Huffman(width, symbols, bits)
end

"Reads the description of a Huffman table; also says where it ends"
function read_huffman(bytes, first, last)
    first <= last || broken("it ends early")
    head = Int(bytes[first])
    weights = Int[]
    if head >= 128
        count = head - 127
        stop = first + cld(count, 2)
        stop <= last || broken("it ends early")
        for at in 0:count-1
            byte = bytes[first+1+at>>1]
            push!(weights, at & 1 == 0 ? byte >> 4 : byte & 0x0f)
        end
        return Huffman(weights), stop + 1
    end
    stop = first + head
    head > 0 && stop <= last || broken("it ends early")
    table, at = read_fse(bytes, first + 1, stop, 6, 255)
    bits = back_bits(bytes, at, stop)
    states = [back!(bits, table.accuracy), back!(bits, table.accuracy)]
    bits.left >= 0 || broken("it ends early")
    turn = 1
    while true
        length(weights) < 254 || broken("a Huffman table with too many symbols")
        state = states[turn] + 1
        push!(weights, table.symbols[state])
        states[turn] = table.bases[state] + back!(bits, Int(table.bits[state]))
        turn = 3 - turn
        if bits.left < 0
            push!(weights, table.symbols[states[turn]+1])
            return Huffman(weights), stop + 1
        end
    end
end

"Appends `count` symbols of one stream"
function huffman_stream!(out, table::Huffman, bytes, first, last, count)
    bits = back_bits(bytes, first, last)
    for _ in 1:count
        prefix = peek_bits(bits, bits.left - table.width, table.width) + 1
        push!(out, table.symbols[prefix])
        bits.left -= table.bits[prefix]
        bits.left >= 0 || broken("a stream of literals that ends early")
    end
    bits.left == 0 || broken("a stream of literals with bits left over")
end

const LITERAL_LENGTHS = (
    [0:15; 16; 18; 20; 22; 24; 28; 32; 40; 48; 64; 128; 256; 512; 1024; 2048; 4096; 8192; 16384; 32768; 65536],
    [zeros(Int, 16); 1; 1; 1; 1; 2; 2; 3; 3; 4; 6; 7; 8; 9; 10; 11; 12; 13; 14; 15; 16],
)
const MATCH_LENGTHS = (
    [3:34; 35; 37; 39; 41; 43; 47; 51; 59; 67; 83; 99; 131; 259; 515; 1027; 2051; 4099; 8195; 16387; 32771; 65539],
    [zeros(Int, 32); 1; 1; 1; 1; 2; 2; 3; 3; 4; 4; 5; 7; 8; 9; 10; 11; 12; 13; 14; 15; 16],
)
const USUAL_LITERALS = Fse(6, [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1])
const USUAL_MATCHES = Fse(6, [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, -1, -1, -1, -1, -1, -1, -1,
])
const USUAL_OFFSETS = Fse(5, [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1])

"What one block of a frame leaves for the next"
mutable struct ZstdFrame
    start::Int
    huffman::Union{Nothing,Huffman}
    tables::Vector{Union{Nothing,Fse}}
    recent::Vector{Int}
end

"The bytes of ZSTD frames that grow to `size` bytes"
function unzstd(bytes::Vector{UInt8}, size::Int)
    from, out = Compressed(bytes), UInt8[]
    while from.at <= from.last
        magic = next_number!(from, 4)
        if 0x184d2a50 <= magic <= 0x184d2a5f
            count = Int(next_number!(from, 4))
            count <= from.last - from.at + 1 || broken("it ends early")
            from.at += count
            continue
        end
        magic == 0xfd2fb528 || broken("no ZSTD")
        zstd_frame!(out, from, size)
    end
    out
end

function zstd_frame!(out, from, size)
    flags = next_byte!(from)
    flags & 0x08 == 0 || broken("a reserved bit")
    flags & 0x03 == 0 || broken("it needs a dictionary")
    flags & 0x20 == 0 && next_byte!(from)
    width = (flags >> 6 == 0 ? Int(flags & 0x20 != 0) : 1 << (flags >> 6))
    next_number!(from, width)
    frame = ZstdFrame(length(out), nothing, [nothing, nothing, nothing], [1, 4, 8])
    while true
        head = Int(next_number!(from, 3))
        kind, count = (head >> 1) & 3, head >> 3
        if kind == 0
            append_raw!(out, from, count, size)
        elseif kind == 1
            count <= size - length(out) || broken("it is longer than it says")
            append!(out, fill(next_byte!(from), count))
        elseif kind == 2
            count <= from.last - from.at + 1 && count <= 1 << 17 || broken("it ends early")
            zstd_block!(out, frame, Compressed(from.bytes, from.at, from.at + count - 1), size)
            from.at += count
        else
            broken("a reserved block")
        end
        head & 1 == 1 && break
    end
    flags & 0x04 == 0 || next_number!(from, 4)
end

function zstd_block!(out, frame, from, size)
    literals = zstd_literals!(frame, from)
    count = Int(next_byte!(from))
    if count >= 128
        count = count == 255 ? Int(next_number!(from, 2)) + 0x7f00 : (count - 128) << 8 + Int(next_byte!(from))
    end
    if count == 0
        from.at == from.last + 1 || broken("a block with bytes left over")
        length(literals) <= size - length(out) || broken("it is longer than it says")
        append!(out, literals)
        return
    end
    modes = next_byte!(from)
    modes & 0x03 == 0 || broken("a reserved bit")
    usual = (USUAL_LITERALS, USUAL_OFFSETS, USUAL_MATCHES)
    for (at, (accuracy, last)) in enumerate(((9, 35), (8, 31), (9, 52)))
        mode = (modes >> (8 - 2 * at)) & 3
        if mode == 0
            frame.tables[at] = usual[at]
        elseif mode == 1
            symbol = next_byte!(from)
            symbol <= last || broken("an unknown symbol")
            frame.tables[at] = Fse(symbol)
        elseif mode == 2
            frame.tables[at], from.at = read_fse(from.bytes, from.at, from.last, accuracy, last)
        end
        frame.tables[at] === nothing && broken("a table that is not there")
    end
    sequences!(out, frame, literals, back_bits(from.bytes, from.at, from.last), count, size)
end

function zstd_literals!(frame, from)
    head = Int(next_byte!(from))
    kind, form = head & 3, (head >> 2) & 3
    if kind <= 1
        count = form == 1 ? head >> 4 + Int(next_byte!(from)) << 4 : form == 3 ? head >> 4 + Int(next_number!(from, 2)) << 4 : head >> 3
        count <= 1 << 17 || broken("too many literals")
        kind == 1 && return fill(next_byte!(from), count)
        out = UInt8[]
        append_raw!(out, from, count, count)
        return out
    end
    bytes, width = form <= 1 ? (2, 10) : form == 2 ? (3, 14) : (4, 18)
    sizes = head >> 4 + Int(next_number!(from, bytes)) << 4
    count, packed = sizes & ((1 << width) - 1), sizes >> width
    count <= 1 << 17 && packed <= from.last - from.at + 1 || broken("too many literals")
    first, last = from.at, from.at + packed - 1
    from.at += packed
    if kind == 2
        frame.huffman, first = read_huffman(from.bytes, first, last)
    end
    frame.huffman === nothing && broken("a Huffman table that is not there")
    out = UInt8[]
    if form == 0
        huffman_stream!(out, frame.huffman, from.bytes, first, last, count)
        return out
    end
    last - first >= 6 || broken("it ends early")
    each = cld(count, 4)
    begins = first + 6
    for stream in 1:4
        here = stream == 4 ? last - begins + 1 : Int(from.bytes[first+2*stream-2]) | Int(from.bytes[first+2*stream-1]) << 8
        0 < here && begins + here - 1 <= last || broken("a stream of literals outside of its block")
        many = stream == 4 ? count - 3 * each : each
        many >= 0 || broken("too few literals")
        huffman_stream!(out, frame.huffman, from.bytes, begins, begins + here - 1, many)
        begins += here
    end
    out
end

function sequences!(out, frame, literals, bits, count, size)
    tables = [table::Fse for table in frame.tables]
    states = [back!(bits, table.accuracy) for table in tables]
    taken = 0
    for sequence in 1:count
        literal, offset, match = (Int(tables[at].symbols[states[at]+1]) for at in 1:3)
        value = 1 << offset + back!(bits, offset)
        length_of_match = MATCH_LENGTHS[1][match+1] + back!(bits, MATCH_LENGTHS[2][match+1])
        length_of_literals = LITERAL_LENGTHS[1][literal+1] + back!(bits, LITERAL_LENGTHS[2][literal+1])
        if sequence < count
            for at in (1, 3, 2)
                state = states[at] + 1
                states[at] = Int(tables[at].bases[state]) + back!(bits, Int(tables[at].bits[state]))
            end
        end
        bits.left >= 0 || broken("sequences that end early")
        distance = next_distance!(frame.recent, value, length_of_literals)
        length_of_literals <= length(literals) - taken || broken("more literals than there are")
        append!(out, view(literals, taken+1:taken+length_of_literals))
        taken += length_of_literals
        copy_back!(out, frame.start, distance, length_of_match, size)
    end
    bits.left == 0 || broken("sequences with bits left over")
    length(literals) - taken <= size - length(out) || broken("it is longer than it says")
    append!(out, view(literals, taken+1:length(literals)))
end

"What an offset means: one of the last three, or a new one"
function next_distance!(recent, value, length_of_literals)
    if value > 3
        recent[3], recent[2], recent[1] = recent[2], recent[1], value - 3
        return recent[1]
    end
    value += length_of_literals == 0
    value == 1 && return recent[1]
    distance = value == 4 ? recent[1] - 1 : recent[value]
    distance > 0 || broken("an offset of nothing")
    value == 2 || (recent[3] = recent[2])
    recent[2], recent[1] = recent[1], distance
    distance
end
