# Addresses of links: how a host is read, which networks no link may lead to, and which origins are asked.

"Scheme, host, port, target and authority of a URL as it will be asked for; `nothing` where it is none that is followed"
function url_parts(url)
    url isa AbstractString && isvalid(url) || return nothing
    found = match(r"^(https?)://([^/?#\\]+)([^#]*)(?:#.*)?$"is, strip(url))
    (found === nothing || '@' in found[2]) && return nothing
    place = match(r"^(\[[^\]]*\]|[^:]*)(?::([0-9]{0,5}))?\z"s, found[2])
    place === nothing && return nothing
    host = host_of(place[1])
    host === nothing && return nothing
    scheme = lowercase(found[1])
    port = place[2] in (nothing, "") ? (scheme == "https" ? 443 : 80) : parse(Int, place[2])
    port > 65535 && return nothing
    target = startswith(found[3], "/") ? found[3] : "/" * found[3]
    plain = join(0x20 < byte < 0x7f ? string(Char(byte)) : "%" * uppercase(string(byte; base=16, pad=2)) for byte in codeunits(String(target)))
    scheme, host, port, plain, (':' in host ? "[$host]" : host) * ":$port"
end

"Scheme, host and port, the same for every spelling of loopback; `nothing` for what is no http or https URL"
function origin_of(url)
    parts = url_parts(url)
    parts === nothing && return nothing
    host = endswith(parts[2], ".") ? chop(parts[2]) : parts[2]
    parts[1], host in ("localhost", "127.0.0.1", "::1") ? "localhost" : String(host), parts[3]
end

"The host as it is connected to, as the URL standard reads it: an address in its plain form, or a name in ASCII"
function host_of(text)
    if startswith(text, "[")
        occursin(r"^\[[0-9a-f:.]+\]$"i, text) || return nothing
        address = IPAddr[]
        try
            push!(address, parse(IPv6, lowercase(text[2:end-1])))
        catch
            # It is none.
        end
        return isempty(address) ? nothing : string(first(address))
    end
    bytes = UInt8[]
    at = 1
    raw = codeunits(String(text))
    while at <= length(raw)
        code = raw[at] == UInt8('%') && at + 2 <= length(raw) ? tryparse(UInt8, String(raw[at+1:at+2]); base=16) : nothing
        code === nothing && raw[at] == UInt8('%') && return nothing
        push!(bytes, something(code, raw[at]))
        at += code === nothing ? 1 : 3
    end
    name = String(bytes)
    isvalid(name) || return nothing
    # Letters and digits of other widths, full stops of other scripts, and what is not to be seen; other names in ASCII only.
    isascii(name) || (name = Unicode.normalize(filter(!is_ignored, Unicode.normalize(name, :NFKC)); casefold=true, compat=true))
    name = lowercase(replace(name, '\u3002' => '.'))
    isempty(name) || !isascii(name) || occursin(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]", name) ? nothing : address_or_name(name)
end

is_ignored(char) = char in ('\u00ad', '\u034f', '\u2060', '\u2064', '\ufeff') ||
    '\u180b' <= char <= '\u180f' || '\u200b' <= char <= '\u200d' || '\ufe00' <= char <= '\ufe0f'

function address_or_name(name)
    labels = split(endswith(name, ".") ? chop(name) : name, ".")
    if !occursin(r"^([0-9]+|0x[0-9a-f]*)$", last(labels))
        fits = length(name) < 255 && all(label -> 0 < length(label) < 64, labels)
        return fits ? name : nothing
    end
    # One to four numbers, each decimal, octal or hexadecimal, of which the last fills what is left.
    numbers = BigInt[]
    for label in labels
        found = match(r"^(?:0x([0-9a-f]*)|(0[0-7]*)|([1-9][0-9]*))$", label)
        found === nothing && return nothing
        hexadecimal, octal, decimal = found.captures
        digits, base = hexadecimal !== nothing ? (hexadecimal, 16) : octal !== nothing ? (octal, 8) : (decimal, 10)
        push!(numbers, isempty(digits) ? 0 : parse(BigInt, digits; base=base))
    end
    length(numbers) <= 4 && all(number -> number < 256, numbers[1:end-1]) || return nothing
    last(numbers) < big(256)^(5 - length(numbers)) || return nothing
    string(IPv4(UInt32(last(numbers) + sum(Int[Int(number) << (8 * (4 - at)) for (at, number) in enumerate(numbers[1:end-1])]))))
end

"Networks that no link may lead to: the specification's list (section 8); testdata/addresses.json has the same"
const FORBIDDEN_NETWORKS = (
    "0.0.0.0/8", "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "64:ff9b:1::/48", "fd00:42::42/128", "fd00:a9fe:a9fe::1/128", "fd00:c1::a9fe:a9fe/128", "fd00:ec2::/32",
    "fd20:ce::254/128", "fe80::/10", "fec0::/10", "ff00::/8",
)
"Where an IPv6 address holds one of version 4: network, first bit, whether all bits are inverted"
const EMBEDDING_NETWORKS = (
    ("::/96", 96, false), ("::ffff:0:0/96", 96, false), ("::ffff:0:0:0/96", 96, false), ("64:ff9b::/96", 96, false),
    ("2002::/16", 16, false), ("2001::/32", 96, true),
)

function within(address, network)
    start, bits = split(network, "/")
    start = parse(IPAddr, start)
    typeof(address) == typeof(start) && (xor(address.host, start.host) >> (8 * sizeof(address.host) - parse(Int, bits))) == 0
end

"Whether no link may lead to this address"
function is_forbidden(address)
    any(network -> within(address, network), FORBIDDEN_NETWORKS) && return true
    (address isa IPv4 || address.host == 1) && return false
    any(EMBEDDING_NETWORKS) do (network, bit, inverted)
        inner = UInt32((address.host >> (96 - bit)) & 0xffffffff)
        within(address, network) && is_forbidden(IPv4(inverted ? ~inner : inner))
    end
end

const UNRESERVED = Set(codeunits("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"))
escaped(text) =
    join(byte in UNRESERVED ? string(Char(byte)) : "%" * uppercase(string(byte; base=16, pad=2)) for byte in codeunits(text))

"A URL without user name, password, token, query and fragment"
function without_secrets(url)
    plain = first(split(url, ['?', '#']))
    found = match(r"^([^/]*://)?(.*)$"s, plain)
    scheme, rest = something(found[1], ""), found[2]
    authority, path = match(r"^([^/]*)(.*)$"s, rest).captures
    scheme * last(split(authority, "@")) * path
end

"The origins that links may lead to; `nothing` where only the list of forbidden addresses decides"
function origins(allowed, fileserver_url)
    if allowed === nothing
        fileserver_url in ("", nothing) && return nothing
        allowed = [fileserver_url]
    end
    allowed isa AbstractString && (allowed = [allowed])
    if !(allowed isa Union{AbstractVector,Tuple}) || any(origin -> origin_of(origin) === nothing, allowed)
        throw(wrong_value("`allowed_origins` and `fileserver_url` (or FILESERVER_URL) are origins such as https://files.example.com"))
    end
    String[allowed...]
end
