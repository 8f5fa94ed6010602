# Values of Arrow.jl's own types as what NATSBridge writes, so that an Arrow.Table can be sent.

module NATSBridgeArrowExt

import Dates, NATSBridge

# Before 1.9 there are no weak dependencies: the package is taken as it was loaded.
@static if isdefined(Base, :get_extension)
    import Arrow
else
    const Arrow = Base.require(Base.PkgId(Base.UUID(NATSBridge.ARROW_ID), "Arrow"))
end

"Arrow.jl names units by values of an enumeration: SECOND, MILLISECOND, MICROSECOND, NANOSECOND"
named_unit(unit) = Dict("SECOND" => :s, "MILLISECOND" => :ms, "MICROSECOND" => :us, "NANOSECOND" => :ns)[string(unit)]

NATSBridge.plain_value(item::Arrow.Decimal{P,S}) where {P,S} = NATSBridge.Decimal(big(item.value), Int(S))
NATSBridge.plain_value(item::Arrow.Timestamp{U}) where {U} = NATSBridge.Timestamp{named_unit(U)}(item.x)
NATSBridge.plain_value(item::Arrow.Date{U}) where {U} =
    string(U) == "DAY" ? Dates.Date(Dates.UTD(item.x + NATSBridge.EPOCH_DAYS)) : NATSBridge.Timestamp{:ms}(item.x)
NATSBridge.plain_value(item::Arrow.Time{U}) where {U} =
    Dates.Time(Dates.Nanosecond(Int64(item.x) * (1_000_000_000 ÷ NATSBridge.PER_SECOND[named_unit(U)])))
NATSBridge.plain_value(item::Arrow.Duration{U}) where {U} = NATSBridge.DURATIONS[named_unit(U)](item.x)

end
