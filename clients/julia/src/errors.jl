# The library's one error, what keeps others from leaving it, and strangers' text made harmless.

"""
What went wrong: `code` is a word of the specification's section 9, `dataname` the payload at fault, `msg_id` and
`correlation_id` those of the message; each is `nothing` if it is not known.
"""
mutable struct NATSBridgeError <: Exception
    code::String
    message::String
    dataname::Union{Nothing,String}
    msg_id::Union{Nothing,String}
    correlation_id::Union{Nothing,String}
end
NATSBridgeError(code, message, dataname=nothing) = NATSBridgeError(code, message, dataname, nothing, nothing)

function Base.showerror(io::IO, error::NATSBridgeError)
    error.dataname === nothing || print(io, "payload ", shown(error.dataname), ": ")
    print(io, error.message, " (", error.code, ")")
end

"Runs `f`; an error of it gets the payload's name"
function naming(f, dataname)
    try
        f()
    catch error
        error isa NATSBridgeError && error.dataname === nothing && (error.dataname = dataname)
        rethrow()
    end
end

"Runs `f`; an error of it gets the message's identifiers"
function of_message(f, fields)
    known(name) = (text = get(fields, name, ""); text isa AbstractString && !isempty(text) ? String(text) : nothing)
    try
        f()
    catch error
        if error isa NATSBridgeError
            error.msg_id === nothing && (error.msg_id = known("msg_id"))
            error.correlation_id === nothing && (error.correlation_id = known("correlation_id"))
        end
        rethrow()
    end
end

"Runs `f` and lets no error out but the library's own, with the payload's name"
function fenced(f, code, what, dataname=nothing)
    try
        f()
    catch error
        error isa InterruptException && rethrow()
        if error isa NATSBridgeError
            error.dataname === nothing && (error.dataname = dataname)
            rethrow()
        end
        throw(NATSBridgeError(code, "$what: $(harmless(sprint(showerror, error), 300))", dataname))
    end
end

wrong_value(message, dataname=nothing) = NATSBridgeError("wrong_value", message, dataname)

"Characters that a terminal or a log obeys instead of showing them"
is_harmful(char) = !isvalid(char) || iscntrl(char) || char in ('\u061c', '\u2028', '\u2029', '\ufeff') ||
    '\u200b' <= char <= '\u200f' || '\u202a' <= char <= '\u202e' || '\u2066' <= char <= '\u2069' || '\U000e0000' <= char <= '\U000e007f'

"Text of strangers, cut, with escapes for what would be obeyed"
function harmless(text, limit=80)
    text = string(text)
    io = IOBuffer()
    for char in Iterators.take(text, limit)
        is_harmful(char) ? print(io, isvalid(char) ? "\\u{" * string(UInt32(char); base=16) * "}" : "\\x") : print(io, char)
    end
    length(text) > limit && print(io, "…")
    String(take!(io))
end
shown(text) = "`" * harmless(text) * "`"
