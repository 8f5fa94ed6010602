# Tests of NATSBridge.jl that need its own language: addresses, refusals of the sender, what may leave the library.

include(joinpath(@__DIR__, "NATSBridge.jl"))
using .NATSBridge, Test
using .NATSBridge: from_json, is_forbidden, json, origin_of, url_parts
using Sockets

const ADDRESSES = from_json(read(joinpath(@__DIR__, "..", "..", "addresses.json"), String))
const ID = "7a512910-bf40-4c64-a088-d2975d3d09ed"

linked(url) = json(Dict("payloads" => [Dict("dataname" => "x", "payload_type" => "text", "transport" => "link", "data" => url)]))

"The code of the error, which has to be the library's own"
function code_of(f)
    try
        f()
    catch error
        error isa NATSBridgeError || rethrow()
        return error.code
    end
    "taken"
end

send(value, kind="dictionary"; options...) = smartsend("lab.x", [("x", value, kind)]; options...)

@testset "addresses" begin
    @test collect(NATSBridge.FORBIDDEN_NETWORKS) == [row["network"] for row in ADDRESSES["forbidden"]]
    @test collect(NATSBridge.EMBEDDING_NETWORKS) == [(row["network"], row["bit"], row["inverted"]) for row in ADDRESSES["embedding"]]
    for row in ADDRESSES["hosts"]
        url = "http://$(row["host"])/f"
        if row["judgement"] == "open"
            parts = url_parts(url)
            @test (row["host"], parts !== nothing && !is_forbidden(parse(IPAddr, parts[2]))) == (row["host"], true)
        else
            @test (row["host"], code_of(() -> smartreceive(linked(url); fileserver_url="", max_retries=0))) == (row["host"], "blocked_origin")
        end
    end
    for row in ADDRESSES["origins"]
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
        @test (keys(options), code_of(() -> send(1; options...))) == (keys(options), "wrong_value")
    end
    for kind in (7, nothing, "Text", [])
        @test code_of(() -> send("x", kind)) == "unknown_payload_type"
    end
    for data in (nothing, 7, [7], [("x",)], [("x", "y")], "xyz")
        @test code_of(() -> smartsend("lab.x", data)) == "wrong_value"
    end
    for value in (Dict(:a => 1, "a" => 2), Dict(1 => 2), Dict("d" => [Dict(:a => 1, "a" => 2)]), NaN, Set([1]), 'a', "\xff", [1 2; 3 4], big"1e400")
        @test code_of(() -> send(value)) == "wrong_value"
    end
    @test code_of(() -> send([Dict(:a => 1, "a" => 2)], "jsontable")) == "wrong_value"
end

@testset "links that are read again are never one-shot" begin
    uploads = Upload[]
    upload(given) = (push!(uploads, given); Dict("url" => "http://f/x", "one_shot" => given.one_shot))
    always = (fileserver_upload_handler=upload, size_threshold=0)
    for (options, once) in (
        (NamedTuple(), false), ((receiver_id=ID,), true), ((receiver_id=ID, awaits_ack=true), false), ((receiver_id=ID, reply_to="r"), false),
        ((receiver_id=ID, one_shot=false), false), ((receiver_id=ID, one_shot=true), true),
    )
        envelope, _ = send("x", "text"; always..., options...)
        @test get(envelope["payloads"][1]["metadata"], "one_shot", false) == once
    end
    empty!(uploads)
    for options in ((one_shot=true,), (one_shot=true, receiver_id=ID, awaits_ack=true), (one_shot=true, receiver_id=ID, reply_to="r"), (one_shot=true, receiver_name="r"))
        @test code_of(() -> send("x", "text"; always..., options...)) == "wrong_value"
    end
    @test isempty(uploads)
end

@testset "only the library's error leaves" begin
    for handler in (_ -> error("mine"), _ -> "text", _ -> nothing, 7)
        @test code_of(() -> smartreceive(linked("http://f/x"); fileserver_download_handler=handler)) == "handler"
    end
    for handler in (_ -> error("mine"), _ -> 7, _ -> nothing, _ -> Dict())
        @test code_of(() -> send("x", "text"; fileserver_upload_handler=handler, size_threshold=0)) == "handler"
    end
    for message in (nothing, 7, Dict(), [])
        @test code_of(() -> smartreceive(message)) == "wrong_value"
    end
    for body in (UInt8[], codeunits("hello, world"), zeros(UInt8, 64), codeunits("ARROW1\0\0"), UInt8[0xff, 0xff, 0xff, 0xff])
        @test code_of(() -> NATSBridge.check_schema(Vector{UInt8}(body))) == "undecodable"
    end
end
