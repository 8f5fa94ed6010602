# The package's tests: julia --project test/runtests.jl. Those that need servers say so and are skipped without them.

using NATSBridge, Test
using NATSBridge: from_json, is_forbidden, json, origin_of, read_arrow, url_parts, write_arrow
using Dates, Sockets

const TESTDATA = get(ENV, "NATSBRIDGE_TESTDATA", joinpath(@__DIR__, "..", "..", "..", "testdata"))


# The parts to run can be named: julia runtests.jl tables
const PARTS = isempty(ARGS) ? ["wire", "arrow", "tables", "servers"] : ARGS

message_of(f) = try
    f()
    ""
catch error
    sprint(showerror, error)
end

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

"A table of a package without Tables.jl, as a DataFrame is one"
struct Frame
    a::Vector{Int}
    b::Vector{String}
end

include("mutate.jl")
@testset "NATSBridge" begin
    for part in PARTS
        println("# ", part)
        include(part * ".jl")
    end
end
