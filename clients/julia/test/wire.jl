# Messages: addresses, refusals of the sender, one-shot links, what may leave the library, variables, logs, replies.

const ADDRESSES = joinpath(TESTDATA, "addresses.json")
const ID = "7a512910-bf40-4c64-a088-d2975d3d09ed"

linked(url) = json(Dict("payloads" => [Dict("dataname" => "x", "payload_type" => "text", "transport" => "link", "data" => url)]))

send_one(value, kind="dictionary"; options...) = smartsend("lab.x", [("x", value, kind)]; options...)

isfile(ADDRESSES) || @info "skipped: addresses: testdata/addresses.json of the repository is not here"
isfile(ADDRESSES) && @testset "addresses" begin
    known = from_json(read(ADDRESSES, String))
    @test collect(NATSBridge.FORBIDDEN_NETWORKS) == [row["network"] for row in known["forbidden"]]
    @test collect(NATSBridge.EMBEDDING_NETWORKS) == [(row["network"], row["bit"], row["inverted"]) for row in known["embedding"]]
    for row in known["hosts"]
        url = "http://$(row["host"])/f"
        if row["judgement"] == "open"
            parts = url_parts(url)
            @test (row["host"], parts !== nothing && !is_forbidden(parse(IPAddr, parts[2]))) == (row["host"], true)
        else
            @test (row["host"], code_of(() -> smartreceive(linked(url); fileserver_url="", max_retries=0))) == (row["host"], "blocked_origin")
        end
    end
    for row in known["origins"]
        given = origin_of(row["link"])
        @test (row["link"], given !== nothing && given == origin_of(row["configured"])) == (row["link"], row["followed"])
    end
end

@testset "origins" begin
    other = linked("http://127.0.0.1:9/f")
    for options in ((), (allowed_origins=String[],), (allowed_origins="http://127.0.0.1:10",), (fileserver_url="http://files.test",))
        @test code_of(() -> smartreceive(other; options...)) == "blocked_origin"
    end
    for odd in ("127.0.0.1:9", "*", ["x"], [1], 7, Dict())
        @test code_of(() -> smartreceive(other; allowed_origins=odd)) == "wrong_value"
    end
    for options in ((allowed_origins="http://127.0.0.1:9",), (fileserver_url="http://127.0.0.1:9",), (fileserver_url="",))
        @test code_of(() -> smartreceive(other; max_retries=0, options...)) == "download_retry_exceeded"
    end
end

@testset "senders refuse what receivers refuse" begin
    for subject in ("lab.*", "lab..x", "", "a b", 7, nothing, "lab\0", "lab.\xff", ".a", "a.>", "a"^2001, :lab)
        @test code_of(() -> smartsend(subject, [("x", "y", "text")])) == "wrong_value"
    end
    for name in (7, nothing, :x, "\xff", UInt8[1])
        @test code_of(() -> smartsend("lab.x", [(name, "y", "text")])) == "wrong_value"
    end
    for options in (
        (reply_to="a.*",), (reply_to=5,), (receiver_id=5,), (receiver_id=nothing,), (metadata=[1],), (metadata="x",),
        (metadata=Dict(:a => 1, "a" => 2),), (metadata=Dict("a" => NaN),), (msg_purpose=1,), (receiver="toaster",),
        (size_threshold="500kB",), (correlation_id=Dict(),), (sender_name="\xff",), (new_id=() -> error("no"),), (timestamp=7,),
    )
        @test (keys(options), code_of(() -> send_one(1; options...))) == (keys(options), "wrong_value")
    end
    for kind in (7, nothing, "Text", [])
        @test code_of(() -> send_one("x", kind)) == "unknown_payload_type"
    end
    for data in (nothing, 7, [7], [("x",)], [("x", "y")], "xyz")
        @test code_of(() -> smartsend("lab.x", data)) == "wrong_value"
    end
    for value in (Dict(:a => 1, "a" => 2), Dict(1 => 2), Dict("d" => [Dict(:a => 1, "a" => 2)]), NaN, Set([1]), 'a', "\xff", [1 2; 3 4], big"1e400")
        @test code_of(() -> send_one(value)) == "wrong_value"
    end
    @test code_of(() -> send_one([Dict(:a => 1, "a" => 2)], "jsontable")) == "wrong_value"
end

# The error names the payload, and what to do.
@testset "what beginners get wrong" begin
    sent(data; options...) = () -> smartsend("lab.x", data; options...)
    for (f, words) in (
        (sent([("note", "hi", "string")]), ("payload `note`", "`string`", "text, dictionary")),
        (sent([("note", "hi")]), ("payload `#0`", "(dataname, value, payload_type)")),
        (sent(("note", "hi", "text")), ("payload `#0`", "in a list")),
        (sent(nothing), ("not a list of (dataname",)), (sent(7), ("not a list of (dataname",)),
        (sent(Dict("note" => "hi")), ("not a list of (dataname",)),
        (sent([("n", 7, "text")]), ("payload `n`", "give a string")),
        (sent([("t", [1, 2], "arrowtable")]), ("payload `t`", "give rows or columns")),
        (sent([("t", (a=[1], b=[1, 2]), "arrowtable")]), ("payload `t`", "`a` has 1 rows, `b` 2")),
        (sent([("pic", "run7.png", "image")]), ("payload `pic`", "FromFile(path)")),
        (() -> FromFile("nowhere/run7.mp4"), ("`nowhere/run7.mp4`",)),
        (() -> smartsend("lab results", []), ("`lab results`", "white space")),
        (() -> Bridge("nats://127.0.0.1:1"), ("127.0.0.1:1", "start a nats-server", "NATS_URL")),
        (() -> smartreceive(linked("http://127.0.0.1:1/f"); max_retries=0, fileserver_url="http://127.0.0.1:1"), ("payload `x`", "http://127.0.0.1:1/f", "no connection")),
    )
        text = message_of(f)
        for word in words
            @test (occursin(word, text) ? word : text) == word
        end
    end
    failure = try
        NATSBridge.plik_upload_once(Upload("http://127.0.0.1:1", "x", UInt8[1], false, 1, ""))
    catch error
        error
    end
    @test failure isa NATSBridge.PassingFailure && occursin("`natsbridge serve`", failure.reason) && occursin("FILESERVER_URL", failure.reason)
end

@testset "links that are read again are never one-shot" begin
    uploads = Upload[]
    upload(given) = (push!(uploads, given); Dict("url" => "http://f/x", "one_shot" => given.one_shot))
    always = (fileserver_upload_handler=upload, size_threshold=0)
    for (options, once) in (
        (NamedTuple(), false), ((receiver_id=ID,), true), ((receiver_id=ID, awaits_ack=true), false), ((receiver_id=ID, reply_to="r"), false),
        ((receiver_id=ID, one_shot=false), false), ((receiver_id=ID, one_shot=true), true),
    )
        envelope, _ = send_one("x", "text"; always..., options...)
        @test get(envelope["payloads"][1]["metadata"], "one_shot", false) == once
    end
    empty!(uploads)
    for options in ((one_shot=true,), (one_shot=true, receiver_id=ID, awaits_ack=true), (one_shot=true, receiver_id=ID, reply_to="r"), (one_shot=true, receiver_name="r"))
        @test code_of(() -> send_one("x", "text"; always..., options...)) == "wrong_value"
    end
    @test isempty(uploads)
end

@testset "only the library's error leaves" begin
    for handler in (_ -> error("mine"), _ -> "text", _ -> nothing, 7)
        @test code_of(() -> smartreceive(linked("http://f/x"); fileserver_download_handler=handler)) == "handler"
    end
    for handler in (_ -> error("mine"), _ -> 7, _ -> nothing, _ -> Dict())
        @test code_of(() -> send_one("x", "text"; fileserver_upload_handler=handler, size_threshold=0)) == "handler"
    end
    for message in (nothing, 7, Dict(), [])
        @test code_of(() -> smartreceive(message)) == "wrong_value"
    end
end

@testset "errors say of which message they are" begin
    error = nothing
    try
        smartreceive("""{"msg_id": "m", "correlation_id": "c", "payloads": [{"dataname": "x", "payload_type": "text", "transport": "direct", "data": "!"}]}""")
    catch problem
        error = problem
    end
    @test (error.code, error.dataname, error.msg_id, error.correlation_id) == ("base64", "x", "m", "c")
    text = sprint(showerror, NATSBridgeError("x", NATSBridge.harmless("a\e[31m\u202eb\n", 80)))
    @test !any(NATSBridge.is_harmful, text)
    @test length(NATSBridge.harmless("x"^500, 80)) == 81
end

@testset "variables are read when a call is made" begin
    withenv("SIZE_THRESHOLD" => "500kB") do
        @test code_of(() -> send_one("x", "text")) == "wrong_value"
        @test occursin("SIZE_THRESHOLD", message_of(() -> send_one("x", "text")))
    end
    withenv("FILESERVER_URL" => "ftp://bob:secret@x") do
        text = message_of(() -> smartreceive("{}"))
        @test occursin("FILESERVER_URL", text) && !occursin("secret", text)
    end
    withenv("NATS_URL" => "nats://bob:secret@n:1,tok@n:2", "SIZE_THRESHOLD" => "3") do
        envelope, _ = send_one("long", "text"; fileserver_upload_handler=_ -> "http://f/x")
        @test envelope["broker_url"] == "nats://n:1,n:2"
        @test envelope["payloads"][1]["transport"] == "link"
    end
    withenv("FILESERVER_TOKEN" => "a\r\nX: y") do
        @test code_of(() -> send_one("x", "text")) == "wrong_value"
    end
end

@testset "logs have seven fields" begin
    entries = []
    _, text = send_one("x", "text"; on_log=entry -> push!(entries, entry), sender_name="a\e")
    smartreceive(text; on_log=entry -> push!(entries, entry))
    @test [entry.event for entry in entries] == ["sent", "received"]
    for entry in entries
        @test (entry.payload_type, entry.transport, entry.receiver_name) == ("text", "direct", "")
        @test all(!isempty, (entry.correlation_id, entry.msg_id, entry.timestamp)) && !occursin('\e', entry.sender_name)
    end
end

@testset "replies" begin
    message(reply_to="r.x"; purpose="chat") = smartreceive(smartsend("lab.x", []; reply_to=reply_to, msg_purpose=purpose)[2])
    subject, text = ack(message())
    got = smartreceive(text)
    asked = message()
    @test (subject, got["msg_purpose"], got["payloads"]) == ("r.x", "ACK", [])
    got = smartreceive(ack(asked; sender_id=ID)[2])
    @test (got["reply_to_msg_id"], got["correlation_id"], got["receiver_id"], got["sender_id"]) ==
        (asked["msg_id"], asked["correlation_id"], asked["sender_id"], ID)
    got = smartreceive(nack(asked, "digest", "no"; retryable=true)[2])
    @test (got["msg_purpose"], got["metadata"]["code"], got["metadata"]["reason"], got["metadata"]["retryable"]) == ("NACK", "digest", "no", true)
    got = smartreceive(reply(asked, [("x", 1, "dictionary")])[2])
    @test (got["msg_purpose"], got["payloads"]) == ("chat", [("x", 1, "dictionary")])
    @test ack(message(""); nats_reply="_INBOX.a")[1] == "_INBOX.a"
    @test code_of(() -> ack(message(""))) == "no_reply_subject"
    for bad in (() -> ack(message(; purpose="ACK")), () -> nack(message(; purpose="NACK")), () -> ack(message("\$JS.ACK.x")),
        () -> ack(message(); allowed=["a.*", "r"]), () -> ack(message(); allowed=String[]))
        @test code_of(bad) == "reply_refused"
    end
    @test ack(message(); allowed=["a", "r.>"])[1] == "r.x"
end
