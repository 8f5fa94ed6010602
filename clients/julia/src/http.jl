# HTTP over one connection for each request: no redirects, bodies that stream both ways, time-outs and a minimum rate.

"An answer; `cut` says why the body is not whole: `:limit`, `:early`, or `nothing` if it is whole"
struct Answer
    status::Int
    headers::Dict{String,String}
    "empty where the body went to a sink"
    body::Vector{UInt8}
    cut::Union{Nothing,Symbol}
end

"No answer; `sent` if the server may have seen the request, `code` if another try can't help"
struct HTTPFailure <: Exception
    reason::String
    timeout::Bool
    sent::Bool
    code::Union{Nothing,String}
end

"A body that is written piece by piece: `push(write)` calls `write` with bytes, `size` of them in all"
struct Pushed
    size::Int
    push::Any
end
body_size(body) = body isa Pushed ? body.size : length(body)

"Bytes a second below which a download is given up, and seconds over which it is measured"
const SLOWEST = 1_000
const PACE_SECONDS = 30.0
"Most bytes of an answer that is no payload"
const LONGEST_REFUSAL = 1 << 16

"What has come and was not read yet"
mutable struct Incoming
    socket::TCPSocket
    bytes::Vector{UInt8}
    broken::Bool
    "until when all of it must have come, as `time()` counts"
    deadline::Float64
    measured::Float64
    arrived::Int
end
Incoming(socket, deadline) = Incoming(socket, UInt8[], false, deadline, time(), 0)

too_late() = HTTPFailure("its time is up", true, true, "timeout")

"Runs `f`; closes the socket after some seconds, and then says so"
function timed(f, socket, seconds)
    late = Ref(false)
    seconds > 0 || throw(too_late())
    timer = Timer(_ -> (late[] = true; close(socket)), seconds)
    try
        f()
    catch error
        error isa Union{Base.IOError,EOFError,ArgumentError} || rethrow()
        late[] || rethrow()
    finally
        close(timer)
    end
    late[]
end

"""
One request. `sink` gets the body of a 200 piece by piece; without it the body is in the answer. `guard` asks only addresses
that no list forbids. `seconds` is the time for all of it.
"""
function http(method, url, headers, body; limit, guard=false, sink=nothing, connect_seconds=5, seconds=1_800.0)
    parts = url_parts(url)
    parts === nothing && throw(HTTPFailure("not an http or https URL", false, false, "unreachable"))
    scheme, host, port, target, authority = parts
    deadline = time() + seconds
    address = resolved(host, guard)
    headers = ["User-Agent" => USER_AGENT; headers]
    scheme == "https" && return https(method, "$scheme://$authority$target", headers, body, limit, sink, seconds)

    socket = TCPSocket()
    stage = Ref(:connecting)
    try
        timed(() -> Sockets.connect(socket, address, port), socket, min(connect_seconds, seconds)) &&
            throw(HTTPFailure("no connection in time", true, false, nothing))
        stage[] = :sent
        head = IOBuffer()
        print(head, method, " ", target, " HTTP/1.1\r\nHost: ", authority, "\r\nConnection: close\r\n")
        for (name, value) in headers
            print(head, name, ": ", value, "\r\n")
        end
        method == "GET" || print(head, "Content-Length: ", body_size(body), "\r\n")
        print(head, "\r\n")
        send_request(socket, take!(head), body, deadline)
        return answer_of(Incoming(socket, deadline), limit, sink)
    catch error
        error isa Union{Base.IOError,EOFError,ArgumentError} || rethrow()
        throw(HTTPFailure(stage[] == :sent ? "the connection broke" : "no connection", false, stage[] == :sent, nothing))
    finally
        close(socket)
    end
end

function send_request(socket, head, body, deadline)
    late = false
    try
        late = timed(socket, min(600.0, deadline - time())) do
            write(socket, head)
            body isa Pushed ? body.push(bytes -> write(socket, bytes)) : isempty(body) || write(socket, body)
        end
    catch error
        error isa Base.IOError || rethrow()
        # A server that refuses early closes while the body is sent; what it said can still be read.
    end
    late && throw(HTTPFailure("the upload took too long", true, true, nothing))
end

"The address to connect to: resolved once, so that it can't change between check and connection"
function resolved(host, guard)
    addresses = IPAddr[]
    host = String(host)
    try
        append!(addresses, occursin(r"^[\d.]+$|:", host) ? [parse(IPAddr, host)] : getalladdrinfo(host))
    catch error
        error isa InterruptException && rethrow()
        throw(HTTPFailure("the name can't be resolved", false, false, nothing))
    end
    guard && filter!(address -> !is_forbidden(address), addresses)
    isempty(addresses) &&
        throw(HTTPFailure("it leads to an address that no link may lead to", false, false, "blocked_origin"))
    # A name such as localhost may have addresses of which only one is listened to; version 4 is tried first.
    sort(addresses; by=address -> address isa IPv6, alg=MergeSort)[1]
end

"Waits for more; false at the end, however it came"
function more(incoming)
    got = UInt8[]
    late = false
    try
        late = timed(incoming.socket, min(PACE_SECONDS, incoming.deadline - time())) do
            eof(incoming.socket) || (got = readavailable(incoming.socket))
        end
    catch error
        error isa Base.IOError || rethrow()
        incoming.broken = true
    end
    late && throw(HTTPFailure("fewer than $SLOWEST bytes a second came", true, true, "timeout"))
    incoming.arrived += length(got)
    if time() - incoming.measured > PACE_SECONDS
        incoming.arrived < SLOWEST * PACE_SECONDS &&
            throw(HTTPFailure("fewer than $SLOWEST bytes a second came", true, true, "timeout"))
        incoming.measured, incoming.arrived = time(), 0
    end
    isempty(incoming.bytes) ? (incoming.bytes = got) : append!(incoming.bytes, got)
    !isempty(got)
end

function next_line(incoming)
    at = 1
    while true
        found = findnext(isequal(UInt8('\n')), incoming.bytes, at)
        found === nothing || return rstrip(String(splice!(incoming.bytes, 1:found)))
        at = length(incoming.bytes) + 1
        at <= 1 << 16 && more(incoming) || throw(EOFError())
    end
end

"What has come, at most `most` bytes of it"
function taken!(incoming, most)
    count = min(length(incoming.bytes), most)
    if count == length(incoming.bytes)
        got, incoming.bytes = incoming.bytes, UInt8[]
        return got
    end
    splice!(incoming.bytes, 1:count)
end

function answer_of(incoming, limit, sink)
    line = match(r"^HTTP/1\.[01] (\d{3})", next_line(incoming))
    line === nothing && throw(EOFError())
    status = parse(Int, line[1])
    headers = Dict{String,String}()
    while true
        text = next_line(incoming)
        isempty(text) && break
        name, value = (split(text, ":"; limit=2)..., "")
        headers[lowercase(strip(name))] = strip(value)
        length(headers) > 200 && throw(EOFError())
    end
    body = UInt8[]
    streams = status == 200 && sink !== nothing
    take_in = streams ? sink : bytes -> append!(body, bytes)
    status == 200 || (limit = min(limit, LONGEST_REFUSAL))
    chunked = occursin("chunked", lowercase(get(headers, "transfer-encoding", "")))
    cut = chunked ? chunked_body(incoming, limit, take_in) : plain_body(incoming, limit, take_in, headers)
    Answer(status, headers, body, cut)
end

function plain_body(incoming, limit, take_in, headers)
    stated = get(headers, "content-length", "")
    size = isempty(stated) ? -1 : something(tryparse(Int, stated), -2)
    size >= -1 || throw(EOFError())
    size > limit && return :limit
    count = 0
    while size < 0 || count < size
        isempty(incoming.bytes) && !more(incoming) && break
        got = taken!(incoming, size < 0 ? typemax(Int) : size - count)
        count += length(got)
        count > limit && return :limit
        take_in(got)
    end
    incoming.broken || (0 <= size != count) ? :early : nothing
end

function chunked_body(incoming, limit, take_in)
    count = 0
    while true
        incoming.broken && return :early
        size = -1
        try
            size = something(tryparse(Int, strip(first(split(next_line(incoming), ";"))); base=16), -1)
        catch error
            error isa EOFError || rethrow()
        end
        size == 0 && return nothing
        size < 0 && return :early
        size <= limit - count || return :limit
        count += size
        while size > 0
            isempty(incoming.bytes) && !more(incoming) && return :early
            got = taken!(incoming, size)
            size -= length(got)
            take_in(got)
        end
        while length(incoming.bytes) < 2
            more(incoming) || return :early
        end
        splice!(incoming.bytes, 1:2)
    end
end

"A file that grows no further than its limit"
mutable struct Bounded <: IO
    io::IO
    room::Int
end
Base.unsafe_write(out::Bounded, bytes::Ptr{UInt8}, count::UInt) = take_room(out, Int(count), () -> unsafe_write(out.io, bytes, count))
Base.write(out::Bounded, byte::UInt8) = take_room(out, 1, () -> write(out.io, byte))
Base.isopen(out::Bounded) = isopen(out.io)
Base.close(::Bounded) = nothing
Base.iswritable(::Bounded) = true
Base.isreadable(::Bounded) = false
function take_room(out, count, f)
    count <= out.room || throw(HTTPFailure("more than the limit", false, true, "limit"))
    out.room -= count
    f()
end

"With the standard library of Julia 1.6 and newer; older ones have no TLS"
function https(method, url, headers, body, limit, sink, seconds)
    Downloads = package("Downloads", "f43a241f-c20a-4ad4-852c-f6b1247861c6")
    Downloads === nothing &&
        throw(HTTPFailure("https needs the standard library Downloads, of Julia 1.6 or newer", false, false, "unreachable"))
    path, file = mktemp()
    try
        input = nothing
        if body isa Pushed
            from, held = mktemp()
            body.push(bytes -> write(held, bytes))
            input = seekstart(held)
            rm(from)
        elseif method != "GET"
            input = IOBuffer(body)
        end
        output = Bounded(file, limit)
        response = Base.invokelatest() do
            downloader = Downloads.Downloader()
            downloader.easy_hook = (easy, _) -> Downloads.Curl.setopt(easy, Downloads.Curl.CURLOPT_FOLLOWLOCATION, false)
            Downloads.request(url; method=method, headers=headers, input=input, output=output, timeout=min(seconds, 86_400), throw=false, downloader=downloader)
        end
        if !hasproperty(response, :status)
            text = hasproperty(response, :message) ? string(response.message) : ""
            code = occursin(r"certificate|SSL"i, text) ? "untrusted" : nothing
            throw(HTTPFailure("the connection failed: $(harmless(text))", occursin("timed out", text), true, code))
        end
        flush(file)
        seekstart(file)
        answer_headers = Dict(lowercase(name) => value for (name, value) in response.headers)
        if response.status == 200 && sink !== nothing
            while !eof(file)
                sink(read(file, PIECE))
            end
            return Answer(200, answer_headers, UInt8[], nothing)
        end
        return Answer(response.status, answer_headers, read(file), nothing)
    catch error
        error isa HTTPFailure && error.code == "limit" || rethrow()
        return Answer(200, Dict{String,String}(), UInt8[], :limit)
    finally
        close(file)
        rm(path; force=true)
    end
end

"A package that may be there; `nothing` if it is not. A package that is there and broken says why"
function package(name, id)
    key = Base.PkgId(UUID(id), name)
    haskey(Base.loaded_modules, key) && return Base.loaded_modules[key]
    Base.locate_package(key) === nothing ? nothing : Base.require(key)
end
