# Run in a process of its own: a table that came is one of Tables.jl's, and its tables can be sent.

using NATSBridge
import Tables, DataAPI
using NATSBridge: arrow_fields, read_arrow, write_arrow

check(right, what) = right || (println(stderr, "wrong: ", what); exit(1))

table = read_arrow(write_arrow(Table((a=[1, missing], b=["x", "y"]))))
check(Tables.istable(typeof(table)), "a Table is a table")
check(Tables.columnnames(Tables.columns(table)) == [:a, :b], "its names")
check(isequal(Tables.getcolumn(Tables.columns(table), :a), [1, missing]), "its columns")

# A table that only Tables.jl knows, of columns whose values stand for others.
struct Odd end
Tables.istable(::Odd) = true
Tables.columns(::Odd) = (kind=[DataAPI.Wrapped("a"), DataAPI.Wrapped("b"), missing], n=1:3)
Tables.columnnames(columns::NamedTuple) = keys(columns)
Tables.getcolumn(columns::NamedTuple, name::Symbol) = columns[name]
sent = read_arrow(write_arrow(Table(Odd())))
check(isequal(sent.kind, ["a", "b", missing]) && sent.n == [1, 2, 3], "a foreign table")

# Inside the function that first needs it, too: no method is too new.
check((() -> length(smartreceive(smartsend("lab.x", [("t", Odd(), "arrowtable")])[2])["payloads"][1][2]))() == 3, "world age")
