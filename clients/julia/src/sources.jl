# Bytes that need not be in memory: files to send, links that are read later, digests that are made as bytes pass.

"Bytes that are read or written at once"
const PIECE = 1 << 18

"""
    FromFile(path)

A payload of type `image`, `audio`, `video` or `binary` that is read from a file, piece by piece. An open stream can be
given too: what is long of it goes through a temporary file.
"""
struct FromFile
    path::String
    size::Int
    "what was made of a stream, and is removed after sending"
    is_temporary::Bool
end
function FromFile(path::AbstractString)
    isfile(path) || throw(wrong_value("there is no file $(shown(path))"))
    FromFile(String(path), filesize(path), false)
end

const Body = Union{Vector{UInt8},FromFile}
size_of_body(body::Vector{UInt8}) = length(body)
size_of_body(body::FromFile) = body.size
bytes_of_body(body::Vector{UInt8}) = body
bytes_of_body(body::FromFile) = read(body.path)

"Calls `f` with the bytes of a body, piece by piece; a file that changed meanwhile is an error"
each_piece(f, body::Vector{UInt8}) = f(body)
function each_piece(f, body::FromFile)
    count = 0
    open(body.path) do file
        piece = Vector{UInt8}(undef, PIECE)
        while true
            got = readbytes!(file, piece, PIECE)
            got == 0 && break
            count += got
            f(got == PIECE ? piece : piece[1:got])
        end
    end
    count == body.size || throw(wrong_value("the file changed its size while it was sent"))
end

"The SHA-256 of bytes that pass"
mutable struct Hashing
    context::SHA.SHA2_256_CTX
    count::Int
end
Hashing() = Hashing(SHA.SHA2_256_CTX(), 0)
function pass!(hashing::Hashing, bytes)
    hashing.count += length(bytes)
    SHA.update!(hashing.context, bytes)
end
digest!(hashing::Hashing) = bytes2hex(SHA.digest!(hashing.context))

digest_of_body(body::Vector{UInt8}) = bytes2hex(sha256(body))
function digest_of_body(body::FromFile)
    hashing = Hashing()
    each_piece(bytes -> pass!(hashing, bytes), body)
    digest!(hashing)
end

"The body of an open stream: in memory if it is short, else in a temporary file"
function body_of_stream(io::IO, threshold)
    start = read(io, max(threshold, PIECE))
    eof(io) && return start
    path, file = mktemp()
    try
        write(file, start)
        while !eof(io)
            write(file, read(io, PIECE))
        end
    finally
        close(file)
    end
    FromFile(path, filesize(path), true)
end

"""
A payload that came as a link and was left where it is (`leave_links=true`). `save(payload, path)` downloads it into a file,
`read(payload)` into memory; both check size and digest first.
"""
struct LinkedPayload
    dataname::String
    payload_type::String
    "bytes, as the sender says; 0 if it says nothing"
    size::Int
    link::Any
    digest::Union{Nothing,String}
    fields::Any
end
Base.show(io::IO, payload::LinkedPayload) = print(io, "LinkedPayload(", shown(payload.dataname), ", ", payload.size, " bytes)")

"""
    save(payload, path; on_progress) -> path

Downloads a payload into a file, piece by piece. The file has its name only when size and digest are right. If `path` is a
folder, the file in it is named by the payload's position, since a payload's name is no path.
`on_progress(bytes_done, bytes_in_all)` is called as it comes.
"""
function save(payload::LinkedPayload, path::AbstractString; on_progress=nothing)
    isdir(path) && throw(wrong_value("$(shown(path)) is a folder; name the file", payload.dataname))
    isdir(dirname(abspath(path))) || throw(wrong_value("there is no folder $(shown(dirname(path)))", payload.dataname))
    part = path * "." * string(uuid4()) * ".part"
    of_message(payload.fields) do
        fenced("handler", "it could not be saved", payload.dataname) do
            try
                open(part, "w") do file
                    download_into(payload.link, payload.digest, file, on_progress)
                end
                mv(part, path; force=true)
            finally
                rm(part; force=true)
            end
        end
    end
    path
end

function Base.read(payload::LinkedPayload)
    of_message(payload.fields) do
        io = IOBuffer()
        download_into(payload.link, payload.digest, io, nothing)
        take!(io)
    end
end

"Downloads a link into a stream that can begin anew, and checks size and digest"
function download_into(link, digest, io, on_progress)
    hashing = Ref(Hashing())
    fetch_into(link; restart=() -> (hashing[] = Hashing(); truncate(io, 0); seekstart(io))) do bytes
        pass!(hashing[], bytes)
        write(io, bytes)
        on_progress === nothing || on_progress(hashing[].count, link.size)
    end
    count = hashing[].count
    link.size == 0 || count == link.size ||
        throw(NATSBridgeError("size_mismatch", "it has $count bytes, the envelope says $(link.size)", link.dataname))
    digest === nothing || digest!(hashing[]) == digest ||
        throw(NATSBridgeError("digest", "it holds other bytes than were sent", link.dataname))
end
