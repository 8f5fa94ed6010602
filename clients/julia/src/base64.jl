# Base64: read strictly first, then as other senders write it.

const SEXTETS = let table = fill(0xff, 256)
    for (at, char) in enumerate(codeunits("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
        table[char+1] = at - 1
    end
    table
end
const LETTERS = Vector{UInt8}("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")

"Decodes strictly first, then without padding, in the URL-safe alphabet, with white space"
function unbase64(bytes, raw)
    decoded = strict_base64(bytes, raw.first, raw.last)
    decoded === nothing || return decoded
    clean = UInt8[]
    for char in codeunits(text_at(bytes, raw.first, raw.last))
        char in (0x20, 0x09, 0x0a, 0x0d) && continue
        push!(clean, char == UInt8('-') ? UInt8('+') : char == UInt8('_') ? UInt8('/') : char)
    end
    padding = 0
    while padding < 2 && !isempty(clean) && clean[end] == UInt8('=')
        pop!(clean)
        padding += 1
    end
    missed = mod(-length(clean), 4)
    if missed < 3 && padding <= missed
        append!(clean, fill(UInt8('='), missed))
        decoded = strict_base64(clean, 1, length(clean))
        decoded === nothing || return decoded
    end
    throw(NATSBridgeError("base64", "it is not base64"))
end

"Decodes the standard, padded form; `nothing` for any other"
function strict_base64(bytes::Vector{UInt8}, from::Int, to::Int)
    count = to - from + 1
    count % 4 == 0 || return nothing
    count == 0 && return UInt8[]
    padding = bytes[to] != UInt8('=') ? 0 : bytes[to-1] != UInt8('=') ? 1 : 2
    out = Vector{UInt8}(undef, count ÷ 4 * 3 - padding)
    place, bad = 1, 0x00
    whole = padding == 0 ? to : to - 4
    for at in from:4:whole
        a, b, c, d = SEXTETS[bytes[at]+1], SEXTETS[bytes[at+1]+1], SEXTETS[bytes[at+2]+1], SEXTETS[bytes[at+3]+1]
        # No early end, so that the loop stays simple: what is no letter sets the highest bit.
        bad |= a | b | c | d
        group = UInt32(a) << 18 | UInt32(b) << 12 | UInt32(c) << 6 | UInt32(d)
        out[place] = (group >> 16) % UInt8
        out[place+1] = (group >> 8) % UInt8
        out[place+2] = group % UInt8
        place += 3
    end
    bad & 0x80 == 0 || return nothing
    padding == 0 && return out
    a, b = SEXTETS[bytes[to-3]+1], SEXTETS[bytes[to-2]+1]
    c = padding == 1 ? SEXTETS[bytes[to-1]+1] : 0x00
    (a | b | c) & 0x80 == 0 || return nothing
    # Bits that belong to no byte are 0.
    (padding == 1 ? c & 0x03 : b & 0x0f) == 0 || return nothing
    out[place] = a << 2 | b >> 4
    padding == 1 && (out[place+1] = b << 4 | c >> 2)
    out
end

"The standard, padded form"
function base64(bytes::AbstractVector{UInt8})
    count = length(bytes)
    out = Base.StringVector(cld(count, 3) * 4)
    place = 1
    for at in 1:3:count-2
        group = UInt32(bytes[at]) << 16 | UInt32(bytes[at+1]) << 8 | UInt32(bytes[at+2])
        out[place] = LETTERS[(group>>18)+1]
        out[place+1] = LETTERS[((group>>12)&63)+1]
        out[place+2] = LETTERS[((group>>6)&63)+1]
        out[place+3] = LETTERS[(group&63)+1]
        place += 4
    end
    rest = count % 3
    if rest > 0
        group = UInt32(bytes[count-rest+1]) << 16 | (rest == 2 ? UInt32(bytes[count]) << 8 : UInt32(0))
        out[place] = LETTERS[(group>>18)+1]
        out[place+1] = LETTERS[((group>>12)&63)+1]
        out[place+2] = rest == 2 ? LETTERS[((group>>6)&63)+1] : UInt8('=')
        out[place+3] = UInt8('=')
    end
    String(out)
end
