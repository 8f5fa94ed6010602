# LZ4 frames, as Arrow compresses bodies with them: no more is written than the message says that there is.

"Where one of them is read; places count from 1"
mutable struct Compressed
    bytes::Vector{UInt8}
    at::Int
    last::Int
end
Compressed(bytes) = Compressed(bytes, 1, length(bytes))

broken(why) = throw(undecodable("a compressed column that is damaged ($why)"))

function next_byte!(from::Compressed)
    from.at <= from.last || broken("it ends early")
    from.at += 1
    from.bytes[from.at-1]
end

"A number of so many bytes, lowest first"
function next_number!(from::Compressed, count)
    value = UInt64(0)
    for at in 0:count-1
        value |= UInt64(next_byte!(from)) << (8 * at)
    end
    value
end

"Appends bytes of the output to itself: what is `distance` behind, in what begins after `start`; it may overlap"
function copy_back!(out::Vector{UInt8}, start::Int, distance::Int, count::Int, size::Int)
    0 < distance <= length(out) - start || broken("it points ahead of its beginning")
    count <= size - length(out) || broken("it is longer than it says")
    end_of_known = length(out)
    resize!(out, end_of_known + count)
    for at in end_of_known+1:end_of_known+count
        out[at] = out[at-distance]
    end
end

function append_raw!(out::Vector{UInt8}, from::Compressed, count::Int, size::Int)
    count <= from.last - from.at + 1 || broken("it ends early")
    count <= size - length(out) || broken("it is longer than it says")
    append!(out, view(from.bytes, from.at:from.at+count-1))
    from.at += count
end

"The bytes of LZ4 frames that grow to `size` bytes"
function unlz4(bytes::Vector{UInt8}, size::Int)
    from, out = Compressed(bytes), UInt8[]
    while from.at <= from.last
        magic = next_number!(from, 4)
        if 0x184d2a50 <= magic <= 0x184d2a5f # a frame to skip
            count = Int(next_number!(from, 4))
            count <= from.last - from.at + 1 || broken("it ends early")
            from.at += count
            continue
        end
        magic == 0x184d2204 || broken("no LZ4")
        lz4_frame!(out, from, size)
    end
    out
end

function lz4_frame!(out, from, size)
    flags = next_byte!(from)
    flags >> 6 == 1 || broken("an unknown version of LZ4")
    next_byte!(from)
    flags & 0x08 == 0 || next_number!(from, 8)
    flags & 0x01 == 0 || broken("it needs a dictionary")
    next_byte!(from)
    start = length(out)
    while true
        word = next_number!(from, 4)
        word == 0 && break
        count = Int(word & 0x7fffffff)
        if word & 0x80000000 != 0
            append_raw!(out, from, count, size)
        else
            # Blocks that stand alone could not point behind their own beginning; that they do is no harm.
            lz4_block!(out, from, from.at + count - 1, size, start)
        end
        flags & 0x10 == 0 || next_number!(from, 4)
    end
    flags & 0x04 == 0 || next_number!(from, 4)
end

function lz4_length!(from, last, count)
    count == 15 || return count
    while true
        from.at <= last || broken("it ends early")
        more = next_byte!(from)
        count += Int(more)
        more == 0xff || return count
    end
end

function lz4_block!(out, from, last, size, start)
    while from.at <= last
        token = next_byte!(from)
        count = lz4_length!(from, last, Int(token >> 4))
        count <= last - from.at + 1 || broken("it ends early")
        append_raw!(out, from, count, size)
        from.at > last && return # the last sequence has no match
        from.at + 1 <= last || broken("it ends early")
        distance = Int(next_number!(from, 2))
        copy_back!(out, start, distance, lz4_length!(from, last, Int(token & 0x0f)) + 4, size)
    end
end
