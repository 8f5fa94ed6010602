# The package's tests: julia --project test/runtests.jl. Those that need servers say so and are skipped without them.

using NATSBridge, Test
using NATSBridge: from_json, is_forbidden, json, origin_of, read_arrow, url_parts, write_arrow
using Dates, Sockets

const TESTDATA = get(ENV, "NATSBRIDGE_TESTDATA", joinpath(@__DIR__, "..", "..", "..", "testdata"))

include("wire.jl")
