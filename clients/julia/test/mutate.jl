# Damaged Arrow streams: each gives a table or the library's error, never another error and never a crash.
# julia mutate.jl [COUNT] [SECONDS] [SEED]

using NATSBridge, Base64, Random
using NATSBridge: from_json, read_arrow, write_arrow
using Dates

@isdefined(TESTDATA) || (const TESTDATA = get(ENV, "NATSBRIDGE_TESTDATA", joinpath(@__DIR__, "..", "..", "..", "testdata")))


"Small streams of every type: this package's own, and those of the vectors where they are there"
function seeds()
    found = Vector{UInt8}[]
    columns = (
        n=[1, missing, 3], f=[0.5, NaN, missing], s=["a", "größe", missing], b=[UInt8[1, 2], UInt8[], missing], on=[true, missing, false],
        d=[Date(2026, 5, 13), missing, Date(1, 1, 1)], t=[DateTime(2026, 5, 13), missing, DateTime(1)], l=[[1, 2], missing, Int[]],
        r=[(a=1, b="x"), missing, (a=2, b=missing)], m=[["k" => 1], missing, ["a" => 2, "b" => missing]],
        dec=[Decimal("12.50"), missing, Decimal("-1")], dur=[Millisecond(1), missing, Millisecond(-1)],
    )
    push!(found, write_arrow(Table(columns)))
    for (name, column) in pairs(columns)
        push!(found, write_arrow(Table(NamedTuple{(name,)}((column,)))))
    end
    for type in ("dictionary<int8, utf8>", "utf8_view", "large_utf8", "run_end_encoded<int32, utf8>")
        push!(found, write_arrow(Table((c=["a", missing, "a text that is no longer short"],); types=("c" => type,))))
    end
    for type in ("list_view<int64>", "large_list<int64>", "fixed_size_list<int64, 2>")
        push!(found, write_arrow(Table((c=[[1, 2], missing, [3, 4]],); types=("c" => type,))))
    end
    folder = joinpath(TESTDATA, "receive", "valid")
    for file in (isdir(folder) ? readdir(folder) : String[])
        startswith(file, "arrowtable_") || continue
        envelope = get(from_json(read(joinpath(folder, file), String)), "envelope", Dict())
        for payload in get(envelope, "payloads", [])
            payload["transport"] == "direct" && payload["size"] <= 4096 && push!(found, base64decode(payload["data"]))
        end
    end
    found
end

function damaged(rng, bytes)
    bytes = copy(bytes)
    for _ in 0:rand(rng, 0:3)
        isempty(bytes) && break
        at = rand(rng, 1:length(bytes))
        kind = rand(rng, 1:7)
        if kind == 1
            bytes[at] ⊻= 0x01 << rand(rng, 0:7)
        elseif kind == 2
            bytes[at] = rand(rng, UInt8)
        elseif kind == 3
            width = rand(rng, (1, 2, 4, 8))
            bytes[at:min(end, at + width - 1)] .= rand(rng, (0x00, 0xff, 0x7f, 0x80))
        elseif kind == 4
            resize!(bytes, at - 1)
        elseif kind == 5
            deleteat!(bytes, at:min(length(bytes), at + rand(rng, 0:7)))
        elseif kind == 6
            number = rand(rng, Int32[0, 1, -1, 8, 64, 255, 65536, typemax(Int32), typemin(Int32)])
            copyto!(bytes, at, reinterpret(UInt8, [number]), 1, min(4, length(bytes) - at + 1))
        else
            other = rand(rng, 1:length(bytes))
            count = min(rand(rng, 1:16), length(bytes) - max(at, other) + 1)
            copyto!(bytes, at, bytes[other:other+count-1], 1, count)
        end
    end
    bytes
end

"What is read is looked at too: every value can be shown"
function look_at(table)
    for column in NATSBridge.columns_of(table), item in Iterators.take(column, 3)
        show(IOContext(devnull, :limit => true), item)
    end
end

"Reads a stream and looks at it: `table`, the code of its error, or an error that is not the library's"
function tried(bytes)
    try
        look_at(read_arrow(bytes))
        "table"
    catch error
        error isa NATSBridgeError && return error.code
        showerror(stderr, error, catch_backtrace())
        println(stderr, "\n", base64encode(bytes))
        "other error"
    end
end

"What reading a stream may allocate: what it decodes to is bounded, and is copied at most this often"
may_cost(bytes) = 3 * (NATSBridge.ROOM + NATSBridge.ROOM_FACTOR * length(bytes))

function mutate(count, seconds, seed)
    rng = MersenneTwister(seed)
    all = seeds()
    foreach(tried, all) # so that what is compiled is not counted
    codes = Dict{String,Int}()
    began, most, costly, done = time(), 0, 0, 0
    for number in 1:count
        time() - began > seconds && break
        bytes = damaged(rng, rand(rng, all))
        done += 1
        code = ""
        cost = @allocated code = tried(bytes)
        codes[code] = get(codes, code, 0) + 1
        most = max(most, cost)
        costly += cost > may_cost(bytes)
    end
    println("$done damaged Arrow streams of $(length(all)) seeds in $(round(time() - began; digits=1)) s: ", join(("$n $code" for (code, n) in codes), ", "),
        "; one allocates $(most >> 20) MB at most, $costly more than they may; the process had $(Sys.maxrss() >> 20) MB")
    costly == 0 && keys(codes) ⊆ ("table", "undecodable", "unsupported", "too_large")
end

if abspath(PROGRAM_FILE) == @__FILE__
    numbers = parse.(Int, ARGS)
    count, seconds, seed = (numbers..., (100_000, 60, 1)[length(numbers)+1:end]...)
    exit(mutate(count, seconds, seed) ? 0 : 1)
end
