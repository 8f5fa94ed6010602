# Tables: what goes in and comes out, conversion, other packages' tables.

there_and_back(data; types=()) = read_arrow(write_arrow(Table(data; types=types)))
types_of(table) = [string(field.type) for field in NATSBridge.arrow_fields(table)]
same(a, b) = isequal(collect(a), collect(b))

@testset "tables come in from every shape" begin
    rows = [(a=1, b="x"), (a=2, b="y")]
    for data in (rows, (a=[1, 2], b=["x", "y"]), [Dict("a" => 1, "b" => "x"), Dict("a" => 2, "b" => "y")],
        [JSONObject("a" => 1, "b" => "x"), JSONObject("a" => 2, "b" => "y")], Dict("a" => [1, 2], "b" => ["x", "y"]),
        Dict(:a => [1, 2], :b => ["x", "y"]), Frame([1, 2], ["x", "y"]), Table(rows))
        table = there_and_back(data)
        @test same(table["a"], [1, 2]) && same(table.b, ["x", "y"])
        @test length(table) == 2 && table[2].a == 2
        envelope, text = smartsend("lab.x", [("t", data, "jsontable")])
        rows_found = smartreceive(text)["payloads"][1][2]
        @test [(row.a, row["b"]) for row in rows_found] == [(1, "x"), (2, "y")]
    end
    for odd in ("text", 7, nothing, [1, 2], [[1, 2], [3, 4]], (a=1,), [1 2; 3 4], Dict("a" => 1))
        @test code_of(() -> smartsend("lab.x", [("t", odd, "arrowtable")])) == "wrong_value"
        @test code_of(() -> smartsend("lab.x", [("t", odd, "jsontable")])) == "wrong_value"
    end
    @test code_of(() -> Table((a=[1, 2], b=[1]))) == "wrong_value"
    @test (length(there_and_back(NamedTuple[])), length(there_and_back((a=Int[],)))) == (0, 0)
    @test types_of(there_and_back((a=Int[], b=String[], c=Any[]))) == ["int64", "utf8", "null"]
end

@testset "values keep their type" begin
    for (column, type) in (
        ([1, missing], "int64"), (Int8[1, -1], "int8"), (UInt64[typemax(UInt64)], "uint64"), (Float32[0.1], "float32"),
        ([1.5, NaN, missing], "float64"), (Float16[65504], "float16"), ([true, missing], "bool"), (["größe", ""], "utf8"),
        ([UInt8[1], UInt8[], missing], "binary"), ([Date(2026, 5, 13), Date(-1), missing], "date32"),
        ([DateTime(2026, 5, 13, 8, 15), missing], "timestamp[ms]"), ([Dates.Time(8, 15), missing], "time64[ns]"),
        ([Millisecond(3), missing], "duration[ms]"), ([Second(3), Nanosecond(1)], "duration[ns]"),
        ([Timestamp{:us}(1), missing], "timestamp[us]"), ([Decimal("12.50"), missing], "decimal128(38,2)"),
        ([Decimal("0.1"), Decimal("1" * "0"^40)], "decimal256(76,1)"), ([[1, missing], Int[], missing], "list<int64>"),
        ([["a"], missing], "list<utf8>"), ([Interval(1, 2, 3), missing], "interval[month_day_nano]"),
        ([missing, missing], "null"), ([["k" => 1], missing], "map<utf8, int64>"),
    )
        table = there_and_back((c=column,))
        @test types_of(table) == [type]
        @test (type, same(table.c, column) || type == "duration[ns]") == (type, true)
    end
    table = there_and_back((c=[(x=1, y="a"), missing, (x=2, y=missing)],))
    @test types_of(table) == ["struct<x: int64, y: utf8>"] && table.c[1]["y"] == "a" && table.c[2] === missing
    @test isequal(table.c[3]["y"], missing)
    for type in ("dictionary<int8, utf8>", "large_utf8", "utf8_view", "run_end_encoded<int32, utf8>")
        table = there_and_back((c=["a", "b", missing, "a", "long enough to be elsewhere"],); types=("c" => type,))
        @test types_of(table) == [type] && same(table.c, ["a", "b", missing, "a", "long enough to be elsewhere"])
        # It goes out as it came.
        @test types_of(read_arrow(write_arrow(table))) == [type]
    end
    zoned = there_and_back((c=[DateTime(2026), missing],); types=("c" => "timestamp[ns, Europe/Berlin]",))
    @test types_of(zoned) == ["timestamp[ns, Europe/Berlin]"] && DateTime(zoned.c[1]) == DateTime(2026)
    @test Decimal("12.50") == Decimal("12.5") && string(Decimal("-0.05")) == "-0.05" && Float64(Decimal("12.50")) == 12.5
    @test string(Timestamp{:ns}(1778660130123456789)) == "2026-05-13T08:15:30.123456789"
end

@testset "columns are promoted, or refused by name" begin
    @test same(there_and_back([(a=1,), (a=2.5,)]).a, [1.0, 2.5])
    @test same(there_and_back([(a=1,), (a=nothing,), Dict("b" => 2)]).a, [1, missing, missing])
    @test same(there_and_back((a=[1, typemax(UInt64)],)).a, [1, typemax(UInt64)])
    @test same(there_and_back((a=Any[Int8(1), 300],)).a, [1, 300])
    for column in ([1, "x"], Any[true, 1], Any[2^53 + 1, 0.5], Any[1, Date(2026)], [big(2)^64], Any[-1, typemax(UInt64)], ['a', 'b'],
        [1 + 2im], [[1], ["a"]], [(a=1,), (a="x",)], [Month(1)])
        error = message_of(() -> smartsend("lab.x", [("t", (col=column,), "arrowtable")]))
        @test (column, occursin("unconvertible", error), occursin("`col", error)) == (column, true, true)
    end
    for (column, type) in (([300], "int8"), ([-1], "uint8"), (["x"], "int64"), ([0.5], "int64"), ([2^53 + 1], "float64"),
        ([Decimal("0.123")], "decimal128(10,2)"), ([Decimal("123456")], "decimal128(5,0)"), ([Timestamp{:us}(1)], "timestamp[ms]"),
        ([[1]], "fixed_size_list<int64, 2>"), ([UInt8[1]], "fixed_size_binary(2)"), ([1], "utf8"), (string.(1:200), "dictionary<int8, utf8>"))
        @test (type, code_of(() -> there_and_back((c=column,); types=("c" => type,)))) == (type, "unconvertible")
    end
    @test code_of(() -> Table((a=[1],); types=("b" => "int64",))) == "wrong_value"
    for text in ("", "int", "list<>", "list<int64", "struct<a>", "decimal128(0,1)", "timestamp[x]", "dictionary<utf8, utf8>", "list<"^100)
        @test code_of(() -> arrow_type(text)) == "wrong_value"
    end
end

@testset "a table that came can be changed" begin
    table = there_and_back([(a=1, b="x")])
    push!(table, (a=missing, b="y"))
    push!(table, Dict("a" => 3))
    @test same(table.a, [1, missing, 3]) && same(table.b, ["x", "y", missing])
    @test same(there_and_back(table).a, [1, missing, 3])
    @test code_of(() -> write_arrow(push!(there_and_back([(a=1,)]), (a="x",)))) == "unconvertible"
    @test occursin("a", sprint(show, table)) && occursin("int64", sprint(show, MIME("text/plain"), table))
end

@testset "dictionaries that are replaced or grow" begin
    read_sample(name) = read_arrow(read(joinpath(TESTDATA, "arrow", name)))
    if isdir(joinpath(TESTDATA, "arrow"))
        for name in ("replaced.arrows", "deltas.arrows")
            table = read_sample(name)
            column = NATSBridge.columns_of(table)[1]
            @test length(unique(skipmissing(column))) > 2
        end
        for name in ("flat.arrows", "flat.arrow", "flat-zstd.arrows", "flat-lz4.arrow", "rows-lz4.arrows", "rows-zstd.arrow", "legacy.arrows")
            table = read_sample(name)
            @test length(read_arrow(write_arrow(table))) == length(table) && types_of(read_arrow(write_arrow(table))) == types_of(table)
        end
        @test code_of(() -> read_sample("nested.arrows")) == "unsupported" # a union
    else
        @info "skipped: samples of Arrow: testdata/arrow of the repository is not here"
    end
end

@testset "damaged streams" begin
    @test mutate(3_000, 30, 7)
end

@testset "tables of other packages" begin
    project = joinpath(@__DIR__, "packages")
    code = "push!(LOAD_PATH, $(repr(project))); include($(repr(joinpath(project, "check.jl"))))"
    for order in ("using NATSBridge; import Tables, DataAPI", "import Tables, DataAPI; using NATSBridge")
        text = "push!(LOAD_PATH, $(repr(project))); $order; include($(repr(joinpath(project, "check.jl"))))"
        @test success(pipeline(`$(Base.julia_cmd()) --startup-file=no -e $text`; stderr=stderr))
    end
end

@testset "100,000 rows" begin
    count = 100_000
    data = (
        n=collect(1:count), f=[i / 7 for i in 1:count], s=["sensor $(i % 97) ü" for i in 1:count], on=[i % 3 == 0 for i in 1:count],
        when=[DateTime(2026) + Millisecond(i) for i in 1:count], maybe=[i % 5 == 0 ? missing : i for i in 1:count],
    )
    seconds = @elapsed begin
        bytes = write_arrow(Table(data))
        table = read_arrow(bytes)
    end
    @test all(same(table[name], column) for (name, column) in pairs(data))
    rows = [(n=i, s="x") for i in 1:count]
    seconds_json = @elapsed received = smartreceive(smartsend("lab.x", [("t", rows, "jsontable")]; size_threshold=10^9, max_message_size=10^9)[2])
    @test length(received["payloads"][1][2]) == count
    println("100,000 rows of 6 columns as Arrow and back: $(round(seconds; digits=2)) s; of 2 columns as jsontable and back: $(round(seconds_json; digits=2)) s (compiling included)")
    @test seconds < 20 && seconds_json < 20
end
