"Stands for Tables.jl, with its identifier and the few functions that the extension needs"
module Tables

istable(x) = istable(typeof(x))
istable(::Type) = false
columnaccess(::Type) = false
function columns end
function columnnames end
function getcolumn end
struct Schema
    names::Any
    types::Any
end
function schema end

end
