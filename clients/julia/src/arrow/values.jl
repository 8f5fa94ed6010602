# Values that Julia has no type for: exact decimals, moments finer than milliseconds, intervals, rows of a struct; and their text.

"A decimal with all its digits: `value` is the number without its point, `scale` how many digits follow the point"
struct Decimal <: Real
    value::BigInt
    scale::Int
end

"A decimal of a text such as `12.50`"
function Decimal(text::AbstractString)
    found = match(r"^([+-]?)(\d+)(?:\.(\d+))?$", text)
    found === nothing && throw(ArgumentError("no decimal: $(repr(text))"))
    fraction = something(found[3], "")
    value = parse(BigInt, found[2] * fraction)
    Decimal(found[1] == "-" ? -value : value, length(fraction))
end

function Base.print(io::IO, decimal::Decimal)
    decimal.value < 0 && print(io, '-')
    digits = string(abs(decimal.value))
    if decimal.scale <= 0
        print(io, digits, decimal.value == 0 ? "" : "0"^-decimal.scale)
    else
        digits = lpad(digits, decimal.scale + 1, '0')
        print(io, digits[1:end-decimal.scale], '.', digits[end-decimal.scale+1:end])
    end
end
Base.show(io::IO, decimal::Decimal) = print(io, decimal)
Base.string(decimal::Decimal) = sprint(print, decimal)
Base.Rational{BigInt}(decimal::Decimal) =
    decimal.scale >= 0 ? decimal.value // big(10)^decimal.scale : decimal.value * big(10)^-decimal.scale // 1
Base.:(==)(a::Decimal, b::Decimal) = Rational{BigInt}(a) == Rational{BigInt}(b)
Base.isless(a::Decimal, b::Decimal) = isless(Rational{BigInt}(a), Rational{BigInt}(b))
Base.hash(decimal::Decimal, h::UInt) = hash(Rational{BigInt}(decimal), h)
Base.Float64(decimal::Decimal) = Float64(Rational{BigInt}(decimal))
Base.float(decimal::Decimal) = Float64(decimal)
Base.BigFloat(decimal::Decimal) = BigFloat(Rational{BigInt}(decimal))

"A moment as Arrow stores it: units (`:s`, `:ms`, `:us`, `:ns`) since 1970. `DateTime(timestamp)` cuts off what is below a millisecond"
struct Timestamp{U} <: Dates.AbstractTime
    value::Int64
end

"Microseconds and nanoseconds, beyond what `DateTime` holds"
Base.isless(a::Timestamp, b::Timestamp) = isless(nanoseconds(a), nanoseconds(b))
Base.:(==)(a::Timestamp, b::Timestamp) = nanoseconds(a) == nanoseconds(b)
Base.hash(moment::Timestamp, h::UInt) = hash(nanoseconds(moment), h)
nanoseconds(moment::Timestamp{U}) where {U} = Int128(moment.value) * (1_000_000_000 ÷ PER_SECOND[U])
Dates.value(moment::Timestamp) = moment.value
const EPOCH_DAYS = 719_163
const EPOCH_MILLISECONDS = 86_400_000 * EPOCH_DAYS
function Dates.DateTime(moment::Timestamp)
    value = fld(nanoseconds(moment), 1_000_000) + EPOCH_MILLISECONDS
    typemin(Int64) <= value <= typemax(Int64) || throw(InexactError(:DateTime, DateTime, moment.value))
    DateTime(Dates.UTM(Int64(value)))
end
Base.print(io::IO, moment::Timestamp{U}) where {U} = print(io, timestamp_text(moment.value, U, false))
Base.show(io::IO, moment::Timestamp) = print(io, moment)
Base.string(moment::Timestamp) = sprint(print, moment)

"A span of the calendar: months, days and nanoseconds, which can't be counted in each other"
struct Interval
    months::Int32
    days::Int32
    nanoseconds::Int64
end

"A row of a struct column: a dictionary whose keys keep their order, in which a name may be there twice"
struct Record <: AbstractDict{String,Any}
    names::Vector{String}
    items::Vector{Any}
end
Base.length(record::Record) = length(record.names)
Base.iterate(record::Record, at=1) =
    at > length(record) ? nothing : (record.names[at] => record.items[at], at + 1)
function Base.get(record::Record, name, default)
    place = findfirst(isequal(string(name)), record.names)
    place === nothing ? default : record.items[place]
end
Base.haskey(record::Record, name) = string(name) in record.names
function Base.getindex(record::Record, name)
    haskey(record, name) || throw(KeyError(name))
    get(record, name, missing)
end

# ------------------------------------------------------------------------------------------------------ values as text

"Year, month and day of a day since 1970, in the Gregorian calendar at all times"
function civil(days::Integer)
    # Years begin in March, so that the leap day is the last of them.
    z = Int128(days) + 719_468
    era = fld(z, 146_097)
    day_of_era = z - era * 146_097
    year_of_era = (day_of_era - day_of_era ÷ 1_460 + day_of_era ÷ 36_524 - day_of_era ÷ 146_096) ÷ 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era ÷ 4 - year_of_era ÷ 100)
    place = (5 * day_of_year + 2) ÷ 153
    month = place < 10 ? place + 3 : place - 9
    year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * place + 2) ÷ 5 + 1
end

two(number) = lpad(string(number), 2, '0')

"A date as ISO 8601 has it; a year outside 0 to 9999 has a sign and at least six digits"
function date_text(days::Integer)
    year, month, day = civil(days)
    text = 0 <= year <= 9999 ? lpad(string(year), 4, '0') : (year < 0 ? "-" : "+") * lpad(string(abs(year)), 6, '0')
    "$text-$(two(month))-$(two(day))"
end

"Nanoseconds since midnight, with 0, 3, 6 or 9 digits after the point"
function clock_text(nanoseconds::Integer)
    seconds, rest = divrem(nanoseconds, 1_000_000_000)
    text = "$(two(seconds ÷ 3600)):$(two(seconds ÷ 60 % 60)):$(two(seconds % 60))"
    rest == 0 && return text
    digits = lpad(string(rest), 9, '0')
    text * "." * (endswith(digits, "000000") ? digits[1:3] : endswith(digits, "000") ? digits[1:6] : digits)
end

function timestamp_text(value::Integer, unit::Symbol, zoned::Bool)
    days, rest = fldmod(Int128(value), Int128(86_400) * PER_SECOND[unit])
    date_text(days) * "T" * clock_text(rest * (1_000_000_000 ÷ PER_SECOND[unit])) * (zoned ? "Z" : "")
end

"Seconds of a count of units, with as many digits as needed: `90`, `-0.001`"
function seconds_text(value::Integer, per_second::Integer)
    whole, rest = divrem(abs(Int128(value)), per_second)
    text = (value < 0 ? "-" : "") * string(whole)
    rest == 0 ? text : text * "." * rstrip(lpad(string(rest), ndigits(per_second) - 1, '0'), '0')
end

interval_text(unit::Symbol, it::Interval) =
    unit === :year_month ? "P$(it.months)M" :
    unit === :day_time ? "P$(it.days)DT$(seconds_text(it.nanoseconds, 1_000_000_000))S" :
    "P$(it.months)M$(it.days)DT$(seconds_text(it.nanoseconds, 1_000_000_000))S"
