# A NATS client: the plain text protocol over one socket, with log-in, reconnecting, requests and queue groups. No TLS.

"What arrives: `reply` is the subject for replies or empty, `status` a code of the server's (503: nobody listens) or 0"
struct NatsMessage
    subject::String
    reply::String
    status::Int
    data::Vector{UInt8}
end

"A subscription; iterating over it gives messages until it ends"
mutable struct Subscription
    sid::Int
    subject::String
    queue::String
    arrived::Channel{NatsMessage}
    "messages thrown away because nobody took them in time"
    dropped::Int
end
Base.iterate(subscription::Subscription, _=nothing) = iterate(subscription.arrived)
Base.IteratorSize(::Type{Subscription}) = Base.SizeUnknown()
Base.eltype(::Type{Subscription}) = NatsMessage

struct NatsServer
    host::String
    port::Int
    user::String
    password::String
    token::String
end

mutable struct NatsConnection
    servers::Vector{NatsServer}
    name::String
    socket::Union{Nothing,TCPSocket}
    "`:connected`, `:reconnecting`, `:closed`"
    state::Symbol
    "the most bytes that the server takes in one message, headers included"
    max_payload::Int
    subscriptions::Dict{Int,Subscription}
    last_sid::Int
    waiting::Dict{String,Channel{NatsMessage}}
    inbox::String
    pongs::Vector{Channel{Bool}}
    unanswered_pings::Int
    "what was published while there was no connection"
    pending::Vector{UInt8}
    lock::ReentrantLock
    on_event::Any
    pinger::Union{Nothing,Timer}
end

const MAX_PENDING = 8 << 20
const PING_SECONDS = 20
"Messages that wait in a subscription"
const SUBSCRIPTION_ROOM = 65_536

function nats_servers(url, user, password, token)
    map(split(url, ",")) do part
        found = match(r"^\s*(?:(nats|tls|ws|wss)://)?(?:([^@/]*)@)?(\[[^\]]+\]|[^:/@\s]+)(?::(\d{1,5}))?/?\s*$", part)
        found === nothing && throw(wrong_value("no NATS URL such as nats://localhost:4222: $(shown(without_secrets(part)))"))
        found[1] in (nothing, "nats") || throw(NATSBridgeError("unsupported", "this client speaks plain NATS only; for $(found[1]):// take NATS.jl"))
        its = (user, password, token)
        if found[2] !== nothing
            name, mark, secret = match(r"^([^:]*)(:?)(.*)$"s, found[2]).captures
            its = isempty(mark) ? ("", "", unescaped(name)) : (unescaped(name), unescaped(secret), "")
        end
        NatsServer(String(strip(found[3], ['[', ']'])), parse(Int, something(found[4], "4222")), map(String, its)...)
    end
end

unescaped(text) = replace(text, r"%[0-9a-fA-F]{2}" => code -> String([parse(UInt8, code[2:3]; base=16)]))

"A token that nobody can guess"
random_token() = randstring(RandomDevice(), 22)

"""
    NatsConnection(url; user="", password="", token="", name="", on_event=nothing)

Connects, and connects again whenever the connection breaks, until it is closed. `url` may list several servers.
`on_event` is called with `:connected`, `:disconnected` or `:closed`.
"""
function NatsConnection(url::AbstractString; user="", password="", token="", name="natsbridge-julia", on_event=nothing)
    servers = nats_servers(url, user, password, token)
    connection = NatsConnection(
        servers, name, nothing, :reconnecting, DEFAULT_MAX_MESSAGE_SIZE, Dict(), 0, Dict(), "_INBOX." * random_token(), [], 0,
        UInt8[], ReentrantLock(), on_event, nothing,
    )
    failure = nothing
    for server in servers
        try
            open_socket!(connection, server)
            failure = nothing
            break
        catch error
            error isa NATSBridgeError || rethrow()
            failure = error
        end
    end
    failure === nothing || throw(failure)
    background(() -> keep_connected(connection))
    connection.pinger = Timer(_ -> ping_or_give_up(connection), PING_SECONDS; interval=PING_SECONDS)
    subscribe_raw(connection, connection.inbox * ".*")
    connection
end

"Connects to one server and logs in"
function open_socket!(connection, server)
    at = "$(server.host):$(server.port)"
    unreachable(why) = NATSBridgeError("unreachable", "no NATS server at $at: $why")
    socket = TCPSocket()
    info = ""
    late = false
    try
        late = timed(socket, 5) do
            Sockets.connect(socket, resolved(server.host, false), server.port)
            info = readline(socket)
        end
    catch error
        error isa Union{Base.IOError,HTTPFailure,EOFError} || rethrow()
        close(socket)
        throw(unreachable("no connection; start a nats-server there, or name another (NATS_URL)"))
    end
    late && throw(unreachable("no answer in time"))
    startswith(info, "INFO ") || (close(socket); throw(unreachable("what answers there is no NATS server")))
    facts = fenced(() -> from_json(info[6:end]), "unreachable", "what answers there is no NATS server")
    if get(facts, "tls_required", false) === true
        close(socket)
        throw(NATSBridgeError("unsupported", "the NATS server at $at asks for TLS, which this client lacks; take NATS.jl"))
    end
    limit = get(facts, "max_payload", DEFAULT_MAX_MESSAGE_SIZE)
    options = JSONObject(
        "verbose" => false, "pedantic" => false, "lang" => "julia", "version" => VERSION_TEXT, "protocol" => 1,
        "headers" => true, "no_responders" => true, "name" => connection.name,
    )
    isempty(server.user) || (options["user"] = server.user; options["pass"] = server.password)
    isempty(server.token) || (options["auth_token"] = server.token)
    answer = ""
    try
        late = timed(socket, 5) do
            write(socket, "CONNECT " * json(options) * "\r\nPING\r\n")
            answer = readline(socket)
            # Newer servers say once more what they are.
            while startswith(answer, "INFO ")
                answer = readline(socket)
            end
        end
    catch error
        error isa Union{Base.IOError,EOFError} || rethrow()
    end
    if late || answer != "PONG"
        close(socket)
        occursin(r"authorization|authentication"i, answer) &&
            throw(NATSBridgeError("refused", "the NATS server at $at refuses this user, password or token"))
        throw(unreachable(isempty(answer) ? "it ended the connection" : harmless(answer)))
    end
    lock(connection.lock) do
        connection.socket, connection.max_payload = socket, limit isa Int64 ? limit : DEFAULT_MAX_MESSAGE_SIZE
        connection.unanswered_pings = 0
        for subscription in values(connection.subscriptions)
            write(socket, subscribe_line(subscription))
        end
        isempty(connection.pending) || write(socket, connection.pending)
        empty!(connection.pending)
        connection.state = :connected
    end
    tell(connection, :connected)
end

"A task that does not end in silence when something is wrong with it"
background(f) = @async try
    f()
catch error
    @error "a task of NATSBridge ended" exception = (error, catch_backtrace())
end

function tell(connection, event)
    connection.on_event === nothing && return
    try
        connection.on_event(event)
    catch error
        @warn "on_event failed: $(harmless(sprint(showerror, error), 200))"
    end
end

"Reads until the connection breaks, then connects again with growing pauses"
function keep_connected(connection)
    while connection.state !== :closed
        read_messages(connection)
        lock(connection.lock) do
            connection.socket === nothing || close(connection.socket)
            connection.socket = nothing
            foreach(pong -> put!(pong, false), connection.pongs)
            empty!(connection.pongs)
            connection.state === :closed || (connection.state = :reconnecting)
        end
        connection.state === :closed && break
        tell(connection, :disconnected)
        delay = 100
        while connection.state === :reconnecting
            try
                open_socket!(connection, rand(connection.servers))
            catch error
                error isa Union{NATSBridgeError,Base.IOError} || rethrow()
            end
            connection.state === :reconnecting || break
            sleep(pause_of(delay))
            delay = min(2 * delay, 5_000)
        end
    end
    tell(connection, :closed)
end

function read_messages(connection)
    socket = connection.socket
    try
        while !eof(socket)
            take_line(connection, socket, readline(socket))
        end
    catch error
        error isa Union{Base.IOError,EOFError,ArgumentError} || rethrow()
    end
end

function take_line(connection, socket, line)
    words = split(line)
    isempty(words) && return
    if words[1] == "MSG" || words[1] == "HMSG"
        headed = words[1] == "HMSG"
        size = parse(Int, words[end])
        head = headed ? parse(Int, words[end-1]) : 0
        bytes = read(socket, size + 2)
        length(bytes) == size + 2 && head <= size || throw(EOFError())
        status = headed ? match(r"^NATS/1\.0 (\d{3})", String(bytes[1:head])) : nothing
        reply_to = length(words) - (headed ? 1 : 0) == 5 ? String(words[4]) : ""
        message = NatsMessage(String(words[2]), reply_to, status === nothing ? 0 : parse(Int, status[1]), bytes[head+1:size])
        hand_out(connection, parse(Int, words[3]), message)
    elseif words[1] == "PING"
        write_raw(connection, "PONG\r\n")
    elseif words[1] == "PONG"
        connection.unanswered_pings = 0
        pong = lock(() -> isempty(connection.pongs) ? nothing : popfirst!(connection.pongs), connection.lock)
        pong === nothing || put!(pong, true)
    elseif words[1] == "INFO"
        found = match(r"\"max_payload\":(\d{1,12})", line)
        found === nothing || (connection.max_payload = parse(Int, found[1]))
    elseif words[1] == "-ERR"
        @warn "the NATS server says: $(harmless(line, 200))"
    end
end

function hand_out(connection, sid, message)
    if startswith(message.subject, connection.inbox)
        waiting = lock(() -> get(connection.waiting, message.subject, nothing), connection.lock)
        waiting === nothing || isready(waiting) && length(waiting.data) >= waiting.sz_max || put!(waiting, message)
        return
    end
    subscription = lock(() -> get(connection.subscriptions, sid, nothing), connection.lock)
    subscription === nothing && return
    # A reader that waited here would not answer the server's pings.
    if length(subscription.arrived.data) >= SUBSCRIPTION_ROOM
        subscription.dropped += 1
        subscription.dropped == 1 && @warn "messages on $(shown(subscription.subject)) are dropped: they are not taken fast enough"
        return
    end
    isopen(subscription.arrived) && put!(subscription.arrived, message)
end

function write_raw(connection, text)
    lock(connection.lock) do
        connection.socket === nothing || write(connection.socket, text)
    end
end

"Sends a PING now and then; a connection that does not answer two of them is dead"
function ping_or_give_up(connection)
    connection.state === :connected || return
    connection.unanswered_pings += 1
    if connection.unanswered_pings > 2
        socket = connection.socket
        socket === nothing || close(socket)
        return
    end
    lock(connection.lock) do
        # Its PONG belongs to nobody who waits, and must not be taken for theirs.
        push!(connection.pongs, Channel{Bool}(1))
        try
            connection.socket === nothing || write(connection.socket, "PING\r\n")
        catch error
            error isa Base.IOError || rethrow()
        end
    end
end

"A subject that came in a message is checked, so that it can't be a command"
function checked(subject)
    isempty(subject) || occursin(r"[\s\x00-\x20]", subject) ? throw(wrong_value("no subject: $(shown(subject))")) : subject
end

subscribe_line(subscription) =
    "SUB $(subscription.subject) $(isempty(subscription.queue) ? "" : subscription.queue * " ")$(subscription.sid)\r\n"

"Subscribes, as a member of a queue group if `queue` names one; each message of a group goes to one member"
function subscribe_raw(connection::NatsConnection, subject; queue="")
    checked(subject)
    isempty(queue) || checked(queue)
    lock(connection.lock) do
        sid = connection.last_sid += 1
        subscription = Subscription(sid, subject, queue, Channel{NatsMessage}(SUBSCRIPTION_ROOM), 0)
        connection.subscriptions[sid] = subscription
        connection.socket === nothing || write(connection.socket, subscribe_line(subscription))
        subscription
    end
end

"Ends a subscription; what has arrived can still be read"
function unsubscribe(connection::NatsConnection, subscription)
    lock(connection.lock) do
        delete!(connection.subscriptions, subscription.sid)
        connection.socket === nothing || write(connection.socket, "UNSUB $(subscription.sid)\r\n")
    end
    close(subscription.arrived)
end

"Publishes bytes; while there is no connection they wait for the next one"
function publish(connection::NatsConnection, subject, data; reply="")
    checked(subject)
    isempty(reply) || checked(reply)
    size = sizeof(data)
    size <= connection.max_payload ||
        throw(NATSBridgeError("too_large", "the message has $size bytes, the broker takes $(connection.max_payload)"))
    head = "PUB $subject $(isempty(reply) ? "" : reply * " ")$size\r\n"
    lock(connection.lock) do
        connection.state === :closed && throw(NATSBridgeError("unreachable", "the NATS connection is closed"))
        if connection.socket !== nothing
            try
                write(connection.socket, head)
                write(connection.socket, data)
                write(connection.socket, "\r\n")
                return
            catch error
                error isa Base.IOError || rethrow()
                # The reader sees the end too and connects again; what follows waits for it.
                close(connection.socket)
            end
        end
        length(connection.pending) + size <= MAX_PENDING ||
            throw(NATSBridgeError("unreachable", "no NATS connection, and $MAX_PENDING bytes wait for it already"))
        append!(connection.pending, codeunits(head))
        append!(connection.pending, data isa AbstractString ? codeunits(data) : data)
        append!(connection.pending, codeunits("\r\n"))
    end
    nothing
end

"Returns when the server has everything that was published"
function flush_raw(connection::NatsConnection; timeout=10)
    pong = Channel{Bool}(1)
    lock(connection.lock) do
        connection.socket === nothing && throw(NATSBridgeError("unreachable", "there is no NATS connection"))
        push!(connection.pongs, pong)
        try
            write(connection.socket, "PING\r\n")
        catch error
            error isa Base.IOError || rethrow()
            put!(pong, false)
        end
    end
    taken_in_time(pong, timeout) === true || throw(NATSBridgeError("unreachable", "the NATS server does not confirm what was published"))
    nothing
end

"What comes on a channel; `nothing` if it does not come in time"
function taken_in_time(channel, seconds)
    timer = Timer(max(seconds, 0.0)) do _
        isopen(channel) && close(channel)
    end
    got = nothing
    try
        got = take!(channel)
    catch error
        error isa InvalidStateException || rethrow()
    finally
        close(timer)
    end
    got
end

"A new subject for replies, and the channel of what comes on it"
function new_inbox(connection::NatsConnection; room=64)
    subject = connection.inbox * "." * random_token()
    channel = Channel{NatsMessage}(room)
    lock(() -> connection.waiting[subject] = channel, connection.lock)
    subject, channel
end
close_inbox(connection, subject) = lock(() -> delete!(connection.waiting, subject), connection.lock)

function Base.close(connection::NatsConnection)
    lock(connection.lock) do
        connection.state = :closed
        connection.pinger === nothing || close(connection.pinger)
        connection.socket === nothing || close(connection.socket)
        foreach(subscription -> close(subscription.arrived), values(connection.subscriptions))
    end
end
