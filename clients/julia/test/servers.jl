# With a real nats-server (NATS_URL) and a real file server (FILESERVER_URL): the client, the Bridge, files up and down.

using NATSBridge: NatsConnection, flush_raw, new_inbox, publish, random_token, subscribe_raw, subject_matches, unsubscribe
using SHA: sha256

const NATS = get(ENV, "NATS_URL", "")
const FILES = get(ENV, "FILESERVER_URL", "")
const NATS_SERVER = get(ENV, "NATS_SERVER", "")

subject_here(word) = "julia.$(random_token()).$word"

"Waits until something is true"
function soon(f, seconds=10)
    timedwait(f, seconds; pollint=0.02) === :ok
end

"A nats-server of its own, with these arguments; ends with the test"
function with_server(f, arguments...)
    port = let server = listen(IPv4("127.0.0.1"), 0)
        number = Int(getsockname(server)[2])
        close(server)
        number
    end
    start() = run(pipeline(`$NATS_SERVER -a 127.0.0.1 -p $port $arguments`; stdout=devnull, stderr=devnull); wait=false)
    running = Ref(start())
    up() = soon(() -> try close(connect("127.0.0.1", port)); true catch; false end)
    try
        up() || error("nats-server does not start")
        f(port, () -> (kill(running[]); wait(running[])), () -> (running[] = start(); up()))
    finally
        kill(running[])
    end
end

@testset "subjects" begin
    for (filter, subject, right) in (("a.*", "a.b", true), ("a.*", "a.b.c", false), ("a.>", "a.b.c", true), ("a.>", "a", false), ("a", "a", true), ("*", "a.b", false))
        @test subject_matches(filter, subject) == right
    end
    for url in ("http://x", "nats://", "nats://a:b:c:d@", "")
        @test code_of(() -> NatsConnection(url)) == "wrong_value"
    end
    @test code_of(() -> NatsConnection("tls://x")) == "unsupported"
    @test code_of(() -> NatsConnection("nats://bob:secret@127.0.0.1:1")) == "unreachable"
    @test !occursin("secret", message_of(() -> NatsConnection("nats://bob:secret@127.0.0.1:1")))
end

if isempty(NATS)
    @info "skipped: NATS and the Bridge: NATS_URL is not set"
else
    @testset "Bridge" begin
        one, two = Bridge(NATS; sender_name="one"), Bridge(NATS; sender_name="two")
        subject = subject_here("a")
        messages = subscribe(two, subject)
        envelope = send(one, subject, [("note", "run 7", "text"), ("rows", [(a=1, b="x")], "arrowtable")])
        message = take!(messages)
        @test message["note"] == "run 7" && message["rows"].a == [1] && message.envelope["msg_id"] == envelope["msg_id"]
        @test code_of(() -> request(one, subject_here("nobody"), [])) == "unreachable"
        # Acknowledged delivery: handled once, though it is repeated.
        handled = Ref(0)
        subscribe(message -> (handled[] += 1), two, subject * ".d")
        deliver(one, subject * ".d", [("x", 1, "dictionary")]; timeout=10)
        @test handled[] == 1
        failing = subscribe(message -> error("no"), two, subject * ".f")
        @test code_of(() -> deliver(one, subject * ".f", []; timeout=10)) == "handler"
        @test code_of(() -> deliver(one, subject_here("nobody"), []; timeout=1)) == "unacknowledged"
        # Requests, and a queue group in which each message reaches one member.
        served = [Ref(0), Ref(0)]
        for (at, bridge) in enumerate((two, Bridge(NATS)))
            serve(bridge, subject * ".square"; queue="group") do message
                served[at][] += 1
                [("n", message["n"]^2, "dictionary")]
            end
        end
        answers = [request(one, subject * ".square", [("n", n, "dictionary")])["n"] for n in 1:20]
        @test answers == (1:20) .^ 2 && served[1][] + served[2][] == 20
        # A message that can't be read is answered.
        reply_to, replies = new_inbox(one.connection)
        publish(one.connection, subject, """{"msg_id": "m", "reply_to": "$reply_to", "payloads": [{"dataname": "x", "payload_type": "text", "transport": "direct", "data": "!"}]}""")
        @test soon(() -> isready(replies))
        nack_message = smartreceive(take!(replies).data)
        @test (nack_message["msg_purpose"], nack_message["metadata"]["code"]) == ("NACK", "base64")
        @test code_of(() -> send(one, subject, [("x", zeros(UInt8, 2_000_000), "binary")]; links=false)) == "too_large"
        @test drain(two) == 0
        @test code_of(() -> send(two, subject, [])) == "unreachable"
        close(one)
    end
end

if isempty(NATS_SERVER) || !isfile(NATS_SERVER)
    @info "skipped: log-in and reconnecting: NATS_SERVER names no nats-server"
else
    @testset "log-in and reconnecting" begin
        with_server("--user", "bob", "--pass", "s3cret") do port, stop, start
            @test code_of(() -> NatsConnection("nats://127.0.0.1:$port")) == "refused"
            @test code_of(() -> NatsConnection("nats://bob:wrong@127.0.0.1:$port")) == "refused"
            close(NatsConnection("nats://bob:s3cret@127.0.0.1:$port"))
            close(NatsConnection("nats://127.0.0.1:1,nats://127.0.0.1:$port"; user="bob", password="s3cret"))
        end
        with_server("--auth", "t0ken") do port, stop, start
            @test code_of(() -> NatsConnection("nats://127.0.0.1:$port"; token="other")) == "refused"
            close(NatsConnection("nats://t0ken@127.0.0.1:$port"))
            events = []
            bridge = Bridge("nats://127.0.0.1:$port"; token="t0ken", on_event=event -> push!(events, event))
            messages = subscribe(bridge, "a.b")
            stop()
            @test soon(() -> :disconnected in events)
            # What is published meanwhile waits; the subscription is made again.
            publish(bridge.connection, "a.b", smartsend("a.b", [("n", 1, "dictionary")])[2])
            start()
            @test soon(() -> isready(messages)) && take!(messages)["n"] == 1
            @test events[1:3] == [:connected, :disconnected, :connected]
            close(bridge)
        end
    end
end

if isempty(FILES)
    @info "skipped: files up and down: FILESERVER_URL is not set"
else
    @testset "files up and down" begin
        mktempdir() do folder
            path, copy = joinpath(folder, "film.mp4"), joinpath(folder, "copy.mp4")
            bytes = rand(UInt8, 3_000_001)
            write(path, bytes)
            steps = []
            sent(value; options...) = smartsend("lab.x", [("film", value, "video")]; options...)[2]
            text = sent(FromFile(path); on_progress=(done, all) -> push!(steps, (done, all)))
            @test steps[end] == (3_000_001, 3_000_001) && issorted(steps)
            @test smartreceive(text)["payloads"][1][2] == bytes
            left = smartreceive(text; leave_links=true)["payloads"][1][2]
            @test left isa LinkedPayload && left.size == 3_000_001
            @test save(left, copy) == copy && read(copy) == bytes && read(left) == bytes
            @test readdir(folder) == ["copy.mp4", "film.mp4"]
            @test code_of(() -> save(left, joinpath(folder, "missing", "x"))) == "wrong_value"
            @test code_of(() -> save(left, folder)) == "wrong_value"
            for value in (open(path), IOBuffer(bytes))
                @test smartreceive(sent(value))["payloads"][1][2] == bytes
            end
            # Another digest or size: nothing is left behind.
            envelope = from_json(text)
            envelope["payloads"][1]["metadata"]["sha256"] = "0"^64
            wrong = smartreceive(json(envelope); leave_links=true)["payloads"][1][2]
            @test code_of(() -> save(wrong, joinpath(folder, "wrong"))) == "digest"
            envelope["payloads"][1]["size"] = 3_000_000
            wrong = smartreceive(json(envelope); leave_links=true)["payloads"][1][2]
            @test code_of(() -> save(wrong, joinpath(folder, "wrong"))) == "size_mismatch"
            @test readdir(folder) == ["copy.mp4", "film.mp4"]
            # Elsewhere than the configured server is not asked.
            @test code_of(() -> smartreceive(text; fileserver_url="http://files.test")) == "blocked_origin"
            # A link that can be read once.
            once = smartsend("lab.x", [("x", bytes, "binary")]; receiver_id="7a512910-bf40-4c64-a088-d2975d3d09ed")[2]
            @test smartreceive(once)["payloads"][1][2] == bytes
            @test code_of(() -> smartreceive(once)) == "consumed"
            envelope, text = smartsend("lab.x", [("x", bytes, "binary")])
            discard(envelope)
            @test code_of(() -> smartreceive(text)) == "not_found"
            @test code_of(() -> smartsend("lab.x", [("x", bytes, "binary")]; fileserver_url="http://127.0.0.1:1")) == "unreachable"
        end
    end
end

"A server that answers each connection with the next of these texts"
function answering(f, answers)
    server = listen(IPv4("127.0.0.1"), 0)
    port, asked = Int(getsockname(server)[2]), Ref(0)
    @async while isopen(server)
        socket = try accept(server) catch; break end
        asked[] += 1
        text = answers[min(asked[], end)]
        @async begin
            try
                while !isempty(readline(socket)) end
                write(socket, text)
                sleep(0.05)
            catch
            end
            close(socket)
        end
    end
    try
        f("http://127.0.0.1:$port/f", asked)
    finally
        close(server)
    end
end

@testset "what a file server may answer" begin
    ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    linked(url; size=0, metadata=Dict()) = json(Dict("payloads" => [Dict("dataname" => "x", "payload_type" => "text", "transport" => "link", "data" => url, "size" => size, "metadata" => metadata)]))
    status(number, more="") = "HTTP/1.1 $number X\r\n$(more)Content-Length: 0\r\n\r\n"
    for (answers, code, times) in (
        ([ok], "taken", 1), ([status(503), ok], "taken", 2), ([status(429, "Retry-After: 1\r\n"), ok], "taken", 2),
        ([status(409, "Retry-After: 1\r\n"), ok], "taken", 2), (["", ok], "taken", 2),
        (["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", ok], "taken", 2),
        (["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"], "taken", 1),
        (["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n", ok], "taken", 2),
        ([status(503)], "download_retry_exceeded", 3), ([status(503, "Retry-After: 1700\r\n")], "download_retry_exceeded", 1),
        ([status(501)], "rejected", 1), ([status(507)], "rejected", 1), ([status(409)], "rejected", 1), ([status(404)], "not_found", 1),
        ([status(410)], "not_found", 1), ([status(401)], "refused", 1), ([status(407)], "refused", 1), ([status(400)], "rejected", 1),
        ([status(302, "Location: http://169.254.169.254/\r\n")], "blocked_origin", 1),
        (["HTTP/1.1 403 X\r\nContent-Length: 19\r\n\r\nRequest has expired"], "expired", 1),
        (["HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"], "too_large", 1),
    )
        answering(answers) do url, asked
            got = code_of(() -> smartreceive(linked(url); allowed_origins=url, max_retries=2, base_delay=1, max_payload_size=1_000_000))
            @test (answers, got, asked[]) == (answers, code, times)
        end
    end
    answering([status(400)]) do url, asked
        old = Dict("expires_at" => "2020-01-01T00:00:00Z")
        @test code_of(() -> smartreceive(linked(url; metadata=old); allowed_origins=url)) == "expired"
        @test code_of(() -> smartreceive(linked(url * "?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60"); allowed_origins=url)) == "expired"
    end
    answering([""]) do url, asked
        @test code_of(() -> smartreceive(linked(url; metadata=Dict("one_shot" => true)); allowed_origins=url)) == "consumed"
        @test asked[] == 1
        @test code_of(() -> smartreceive(linked(url); allowed_origins=url, deadline=0.5)) == "timeout"
    end
    # An upload that breaks is made again.
    created = json(Dict("id" => "u", "uploadToken" => "t", "oneShot" => false, "ttl" => 60, "downloadDomain" => "files.test"))
    kept = json(Dict("id" => "f", "fileName" => "payload.bin", "fileSize" => 2, "status" => "uploaded"))
    http(text) = "HTTP/1.1 200 OK\r\nContent-Length: $(sizeof(text))\r\n\r\n$text"
    answering(["", http(created), "", status(200), http(created), http(kept)]) do url, asked
        envelope, _ = smartsend("lab.x", [("x", "hi", "text")]; size_threshold=0, fileserver_url=rsplit(url, "/"; limit=2)[1])
        @test envelope["payloads"][1]["data"] == "http://files.test/file/u/f/payload.bin" && asked[] == 6
    end
end
