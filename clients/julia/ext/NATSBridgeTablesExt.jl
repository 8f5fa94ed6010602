# Makes a NATSBridge.Table one of Tables.jl's tables, for `DataFrame(table)` and everything else that takes them.

module NATSBridgeTablesExt

import NATSBridge

# Before 1.9 there are no weak dependencies: the package is taken as it was loaded.
@static if isdefined(Base, :get_extension)
    import Tables
else
    const Tables = Base.require(Base.PkgId(Base.UUID(NATSBridge.TABLES_ID), "Tables"))
end

const Table = NATSBridge.Table

Tables.istable(::Type{Table}) = true
Tables.columnaccess(::Type{Table}) = true
Tables.columns(table::Table) = table
Tables.columnnames(table::Table) = Symbol.(NATSBridge.names_of(table))
Tables.getcolumn(table::Table, at::Int) = NATSBridge.columns_of(table)[at]
Tables.getcolumn(table::Table, name::Symbol) = table[name]
Tables.getcolumn(table::Table, ::Type{T}, at::Int, name::Symbol) where {T} = NATSBridge.columns_of(table)[at]
Tables.schema(table::Table) = Tables.Schema(Symbol.(NATSBridge.names_of(table)), map(eltype, NATSBridge.columns_of(table)))

end
