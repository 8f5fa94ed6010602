# The file server: uploads to a Plik, downloads of links, and when either is tried again.

"A Plik up to 1.3.8 redirects other agents to a web page when it fails"
const USER_AGENT = "plik_client/natsbridge-julia"
const MAX_RETRIES = 5
"The longest `Retry-After` that is waited for, in seconds"
const LONGEST_PAUSE = 30

"""
What an upload handler is given. It returns the URL, or a dictionary with `url` and, where known, `expires_at` (text),
`one_shot` and `delete` (a function without arguments). `upload.data` are the bytes; `each_piece(f, upload)` calls `f` with
them piece by piece, which for a file needs little memory.
"""
struct Upload
    fileserver_url::String
    dataname::String
    body::Body
    one_shot::Bool
    "seconds"
    ttl::Int
    token::String
    on_progress::Any
end
Upload(url, dataname, body, one_shot, ttl, token) = Upload(url, dataname, body, one_shot, ttl, token, nothing)
Base.getproperty(upload::Upload, name::Symbol) =
    name === :data ? bytes_of_body(getfield(upload, :body)) : name === :size ? size_of_body(getfield(upload, :body)) :
    getfield(upload, name)
each_piece(f, upload::Upload) = each_piece(f, getfield(upload, :body))

"What a download handler is given; it returns the bytes, which are checked afterwards"
struct Link
    url::String
    dataname::String
    "bytes, as the sender says; 0 if it says nothing"
    size::Int
    "most bytes to read"
    limit::Int
    one_shot::Bool
    expires_at::Union{Nothing,DateTime}
    "the only origins that are asked; nothing: any address that no list forbids"
    allowed_origins::Union{Nothing,Vector{String}}
    max_retries::Int
    "milliseconds"
    base_delay::Int
    max_delay::Int
    "when the message's time for downloads is over, as `time()` counts"
    deadline::Float64
end
# Milliseconds of a float can't overflow where integers of a caller might.
pause_of(delay) = delay * (0.5 + rand() / 2) / 1000

is_passing(status) = status in (408, 425, 429) || (status >= 500 && !(status in (501, 505, 506, 507, 508, 510, 511)))

"Seconds that an answer asks to wait; 0 if it says nothing"
function retry_after(headers)
    text = get(headers, "retry-after", "")
    occursin(r"^\d{1,9}$", text) && return parse(Int, text)
    found = match(r"^\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$", text)
    found === nothing && return 0
    month = findfirst(isequal(found[2]), Dates.ENGLISH.months_abbr)
    month === nothing && return 0
    moment = 0
    try
        when = DateTime(parse(Int, found[3]), month, parse(Int, found[1]), parse.(Int, found.captures[4:6])...)
        moment = max(0, cld(Dates.value(when - now(UTC)), 1000))
    catch error
        error isa ArgumentError || rethrow()
    end
    moment
end

# ------------------------------------------------------------------------------------------------------------ uploads

"Stores the bytes on a Plik file server; a broken upload begins anew"
function plik_upload(upload::Upload)
    delay = 100
    for attempt in 0:MAX_RETRIES
        failure = nothing
        try
            return plik_upload_once(upload)
        catch error
            error isa PassingFailure || rethrow()
            failure = error
        end
        attempt < MAX_RETRIES && failure.pause <= LONGEST_PAUSE ||
            throw(NATSBridgeError(failure.code, "failed to upload to $(without_secrets(upload.fileserver_url)): $(failure.reason)", upload.dataname))
        sleep(max(Float64(failure.pause), pause_of(delay)))
        delay = min(2 * delay, 5_000)
    end
end

"A failure that another try may mend"
struct PassingFailure <: Exception
    code::String
    reason::String
    pause::Int
end

function plik_upload_once(upload::Upload)
    base = rstrip(upload.fileserver_url, '/')
    own = isempty(upload.token) ? Pair{String,String}[] : ["X-PlikToken" => upload.token]

    function ask(method, path, headers, body)
        answer = nothing
        try
            answer = http(method, base * path, [own; headers], body; limit=1 << 20)
        catch error
            error isa HTTPFailure || rethrow()
            code = error.timeout ? "timeout" : something(error.code, "unreachable")
            error.code === nothing || throw(NATSBridgeError(code, "failed to upload: $(error.reason)"))
            nobody = error.sent || error.timeout ? "" : "; start `natsbridge serve` there, or name another file server (FILESERVER_URL)"
            throw(PassingFailure(code, error.reason * nobody, 0))
        end
        text = String(copy(answer.body))
        if answer.status != 200
            status = answer.status
            reason = "$status $(harmless(strip(text), 200))"
            is_passing(status) && throw(PassingFailure("unreachable", reason, retry_after(answer.headers)))
            code = status in (401, 403) ? "refused" : status == 413 ? "too_large" : "rejected"
            throw(NATSBridgeError(code, "failed to upload: $reason"))
        end
        method == "POST" || return nothing
        answer.cut === nothing || throw(PassingFailure("unreachable", "the answer broke off", 0))
        found = from_json(text)
        found isa JSONObject ? found : throw(NATSBridgeError("rejected", "failed to upload: the server's answer is no object"))
    end

    naming(upload.dataname) do
        wanted = JSONObject("oneShot" => upload.one_shot, "ttl" => upload.ttl)
        created = ask("POST", "/upload", ["Content-Type" => "application/json"], codeunits(json(wanted)))
        secret = "X-UploadToken" => created["uploadToken"]
        delete() = ask("DELETE", "/upload/$(escaped(created["id"]))", [secret], UInt8[])
        try
            boundary = "natsbridge-" * string(uuid4())
            form_type = "Content-Type" => "multipart/form-data; boundary=$boundary"
            kept = ask("POST", "/file/$(escaped(created["id"]))", [secret, form_type], form(upload, boundary))
            kept["status"] == "uploaded" && kept["fileSize"] == upload.size ||
                throw(NATSBridgeError("rejected", "failed to upload: the server stored other bytes"))
            url = rstrip(host_for_links(created, base), '/') * "/file/" *
                join(map(escaped, (created["id"], kept["id"], kept["fileName"])), "/")
            Dict("url" => url, "expires_at" => expiry(created), "one_shot" => created["oneShot"] === true, "delete" => delete)
        catch error
            try
                delete()
            catch
                # It expires by itself; the first error says more.
            end
            error isa KeyError || rethrow()
            throw(NATSBridgeError("rejected", "failed to upload: the server's answer has no `$(error.key)`"))
        end
    end
end

"The form with the payload as its file, written as it is read. Nobody who makes a payload knows its boundary"
function form(upload, boundary)
    head = "--$boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"payload.bin\"\r\n" *
        "Content-Type: application/octet-stream\r\n\r\n"
    tail = "\r\n--$boundary--\r\n"
    size = upload.size
    Pushed(sizeof(head) + size + sizeof(tail), function (write)
        write(head)
        done = 0
        each_piece(upload) do bytes
            write(bytes)
            done += length(bytes)
            upload.on_progress === nothing || upload.on_progress(done, size)
        end
        write(tail)
    end)
end

"Where links lead to: Plik's domain for downloads may lack a scheme"
function host_for_links(created, base)
    for name in ("downloadURL", "downloadDomain")
        host = get(created, name, "")
        host isa AbstractString && !isempty(host) || continue
        return occursin("://", host) ? host : first(split(base, "://")) * "://" * host
    end
    base
end

function expiry(created)
    at = get(created, "expireAt", nothing)
    seconds = get(created, "ttl", 0)
    moment = at isa AbstractString ? parse_timestamp(at) : nothing
    moment === nothing && seconds isa Int64 && 0 < seconds < 10^11 && (moment = now(UTC) + Second(seconds))
    moment === nothing ? nothing : timestamp_of(moment)
end

# ---------------------------------------------------------------------------------------------------------- downloads

"Reads a link into memory: no redirects, a byte limit, retries after pauses that double up to `max_delay`"
function fetch_with_backoff(link::Link)
    # No memory is set aside for what a sender only says that it has.
    body = UInt8[]
    fetch_into(bytes -> append!(body, bytes), link; restart=() -> empty!(body))
    body
end

"Reads a link piece by piece; `restart` is called before a body begins anew"
function fetch_into(sink, link::Link; restart)
    failed(code, reason) =
        NATSBridgeError(code, "failed to fetch $(harmless(without_secrets(link.url), 200)): $reason", link.dataname)
    parts = url_parts(link.url)
    parts === nothing && throw(failed("blocked_origin", "a link is an http or https URL without user info"))
    guard = link.allowed_origins === nothing
    if !guard && !any(origin_of(allowed) == origin_of(link.url) for allowed in link.allowed_origins)
        places = isempty(link.allowed_origins) ? "nothing is" : join(map(without_secrets, link.allowed_origins), ", ")
        throw(failed("blocked_origin", "its origin is not allowed (allowed: $places); pass allowed_origins if you trust it"))
    end
    delay, reason = link.base_delay, ""
    for attempt in 0:link.max_retries
        left = link.deadline - time()
        left > 0 || throw(failed("timeout", "the message's time for downloads is over"))
        pause = 0
        try
            attempt == 0 || restart()
            answer = http("GET", link.url, ["Accept-Encoding" => "identity"], UInt8[]; limit=link.limit, guard=guard, sink=sink, seconds=left)
            code, reason = judged(answer, link)
            code == "ok" && return nothing
            code === nothing || throw(failed(code, reason))
            pause = retry_after(answer.headers)
        catch error
            error isa HTTPFailure || rethrow()
            error.code === nothing || throw(failed(error.code, error.reason))
            link.one_shot && error.sent && throw(failed("consumed", "a link that can be read once broke ($(error.reason))"))
            reason = error.reason
        end
        pause <= LONGEST_PAUSE || throw(failed("download_retry_exceeded", "the server asks to wait $pause s: $reason"))
        if attempt < link.max_retries
            sleep(max(Float64(pause), pause_of(delay)))
            delay = min(2 * delay, link.max_delay)
        end
    end
    throw(failed("download_retry_exceeded", "gave up after $(link.max_retries) retries: $reason"))
end

"`ok`, or the code of a refusal that another try would not change, or `nothing`; and the reason"
function judged(answer, link)
    status, text = answer.status, ""
    if status == 200
        answer.cut === nothing && return "ok", ""
        answer.cut === :limit && return (link.size > 0 ? "size_mismatch" : "too_large"), "it holds more than $(link.limit) bytes"
        return link.one_shot ? "consumed" : nothing, "the body ended early"
    elseif 300 <= status < 400 # a Plik up to 1.3.8 hides its errors in a redirect
        hidden = match(r"[?&]errcode=(\d{3})", get(answer.headers, "location", ""))
        hidden === nothing && return "blocked_origin", "a redirect is not followed"
        status, text = parse(Int, hidden[1]), answer.headers["location"]
    else
        text = String(answer.body[1:min(end, 400)])
    end
    refusal(status, text, link, answer.headers), "$status $(harmless(strip(text), 200))"
end

"The code of an answer that another try would not change"
function refusal(status, text, link, headers)
    is_passing(status) && return link.one_shot && status >= 500 ? "consumed" : nothing
    status == 409 && haskey(headers, "retry-after") && return nothing
    past = (link.expires_at !== nothing && link.expires_at < now(UTC)) || is_past(link.url)
    status in (400, 401, 403, 404, 410) && (past || occursin(r"expired"i, text)) && return "expired"
    status in (404, 410) && return link.one_shot ? "consumed" : "not_found"
    status in (401, 403, 407) ? "refused" : "rejected"
end

"Whether the time in a presigned link is over"
function is_past(url)
    found = match(r"[?&]X-Amz-Date=(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z"i, url)
    seconds = match(r"[?&]X-Amz-Expires=(\d{1,7})(?:&|$)"i, url)
    (found === nothing || seconds === nothing) && return false
    moment = parse_timestamp("$(found[1])-$(found[2])-$(found[3])T$(found[4]):$(found[5]):$(found[6])Z")
    moment !== nothing && moment + Second(parse(Int, seconds[1])) < now(UTC)
end

# -------------------------------------------------------------------------------------------------------------- times

timestamp_of(moment::DateTime) = Dates.format(moment, dateformat"yyyy-mm-dd\THH:MM:SS.sss\Z")

"The moment in UTC; `nothing` for what is no ISO 8601 date and time"
function parse_timestamp(text)
    found = match(
        r"^\s*(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{0,9}))?(?:[Zz]|([+-])(\d\d):?(\d\d)?)?\s*$", text,
    )
    found === nothing && return nothing
    moment = nothing
    try
        millisecond = parse(Int, rpad(something(found[7], "0"), 3, "0")[1:3])
        moment = DateTime(parse.(Int, found.captures[1:6])..., millisecond)
    catch error
        error isa ArgumentError || rethrow()
    end
    (moment === nothing || found[8] === nothing) && return moment
    offset = Hour(parse(Int, found[9])) + Minute(parse(Int, something(found[10], "0")))
    found[8] == "+" ? moment - offset : moment + offset
end
