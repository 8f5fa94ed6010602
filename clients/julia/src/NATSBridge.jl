"""
Messages with text, tables and files of any size over NATS, between programs in many languages: [`smartsend`](@ref),
[`smartreceive`](@ref), and a [`Bridge`](@ref) with its own NATS client. Nothing but the standard library is needed.
"""
module NATSBridge

using Dates
using Random: RandomDevice, randstring
using SHA: SHA, sha256
using Sockets: Sockets, IPAddr, IPv4, IPv6, TCPSocket, getalladdrinfo
import Sockets: send
using Unicode
using UUIDs: UUID, uuid4

export smartsend, smartreceive, discard, ack, nack, reply, save, plik_upload, fetch_with_backoff, each_piece
export NATSBridgeError, JSONObject, Upload, Link, FromFile, LinkedPayload
export Table, Decimal, Timestamp, Interval, arrow_type
export Bridge, Message, send, deliver, request, subscribe, serve, drain

"The version of this package, as its Project.toml has it"
const VERSION_TEXT = match(r"^version = \"([^\"]+)\""m, read(joinpath(dirname(@__DIR__), "Project.toml"), String))[1]

include("errors.jl")
include("json.jl")
include("base64.jl")
include("addresses.jl")
include("settings.jl")
include("packages.jl")
include("http.jl")
include("sources.jl")
include("store.jl")
include("arrow/kinds.jl")
include("arrow/values.jl")
include("arrow/flatbuffers.jl")
include("arrow/schema.jl")
include("arrow/lz4.jl")
include("arrow/zstd.jl")
include("arrow/reader.jl")
include("arrow/decode.jl")
include("arrow/table.jl")
include("arrow/guess.jl")
include("arrow/encode.jl")
include("arrow/json.jl")
include("payloads.jl")
include("send.jl")
include("receive.jl")
include("replies.jl")
include("nats.jl")
include("bridge.jl")

end
