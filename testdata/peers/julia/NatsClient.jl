"""
A NATS client for Julia 1.5 and newer: the plain text protocol over one socket, with nothing but the standard library.

Without TLS and without reconnecting: when the connection is gone, the channel of messages closes. Programs that need
more use NATS.jl; the library only makes and reads what is published.
"""
module NatsClient

using Sockets
using Random: randstring

export Nats, subscribe, publish, flushed, inbox, messages

"A connection; `max_payload` is the most bytes that the server takes in one message"
mutable struct Nats
    socket::TCPSocket
    max_payload::Int
    sids::Int
    "of (subject, payload)"
    messages::Channel{Tuple{String,String}}
    pongs::Channel{Nothing}
    lock::ReentrantLock
end

function Nats(url::AbstractString="nats://localhost:4222")
    found = match(r"^(?:nats://)?(?:([^@/]*)@)?(\[[^\]]+\]|[^:/@]+)(?::(\d+))?/?$", url)
    found === nothing && throw(ArgumentError("a URL nats://…, without TLS"))
    socket = connect(String(strip(found[2], ['[', ']'])), parse(Int, something(found[3], "4222")))
    info = readline(socket)
    limit = match(r"\"max_payload\":(\d+)", info)
    startswith(info, "INFO") && limit !== nothing || throw(ArgumentError("what answers there is no NATS server"))
    secrets = ""
    if found[1] !== nothing
        user, mark, password = match(r"^([^:]*)(:?)(.*)$", found[1]).captures
        secrets = isempty(mark) ? ",\"auth_token\":$(quoted(user))" : ",\"user\":$(quoted(user)),\"pass\":$(quoted(password))"
    end
    options = "\"verbose\":false,\"pedantic\":false,\"lang\":\"julia\",\"version\":\"1\",\"protocol\":1,\"headers\":true,\"no_responders\":true"
    nats = Nats(
        socket, parse(Int, limit[1]), 0, Channel{Tuple{String,String}}(10_000), Channel{Nothing}(100), ReentrantLock(),
    )
    put(nats, "CONNECT {", options, secrets, "}\r\n")
    @async read_all(nats)
    flushed(nats)
    nats
end

quoted(text) = "\"" * replace(replace(text, "\\" => "\\\\"), "\"" => "\\\"") * "\""

put(nats, pieces...) = lock(() -> write(nats.socket, join(pieces)), nats.lock)

function read_all(nats)
    try
        while !eof(nats.socket)
            words = split(readline(nats.socket))
            isempty(words) && continue
            if words[1] in ("MSG", "HMSG")
                size = parse(Int, words[end])
                head = words[1] == "HMSG" ? parse(Int, words[end-1]) : 0
                bytes = read(nats.socket, size + 2)
                put!(nats.messages, (String(words[2]), String(bytes[head+1:size])))
            elseif words[1] == "PING"
                put(nats, "PONG\r\n")
            elseif words[1] == "PONG"
                put!(nats.pongs, nothing)
            elseif words[1] == "-ERR"
                @warn join(words, " ")
            end
        end
    catch error
        error isa Union{Base.IOError,EOFError} || rethrow()
    finally
        close(nats.messages)
        close(nats.pongs)
    end
end

"A subject that came in a message is checked, so that it can't be a command"
checked(subject) = isempty(subject) || occursin(r"[\s\x00-\x20]", subject) ? throw(ArgumentError("not a subject: $(repr(subject))")) : subject

subscribe(nats::Nats, subject) = put(nats, "SUB ", checked(subject), " ", nats.sids += 1, "\r\n")
publish(nats::Nats, subject, text) = put(nats, "PUB ", checked(subject), " ", sizeof(text), "\r\n", text, "\r\n")

"Returns when the server has everything that was published"
function flushed(nats::Nats)
    put(nats, "PING\r\n")
    take!(nats.pongs)
end

"A new subject for answers, subscribed to"
function inbox(nats::Nats)
    subject = "_INBOX." * randstring(22)
    subscribe(nats, subject)
    subject
end

"A channel of (subject, payload)"
messages(nats::Nats) = nats.messages

end
