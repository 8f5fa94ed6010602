"""Tables: there and back through pandas, polars, pyarrow and plain lists, with and without pyarrow."""

import datetime as dt
import decimal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from natsbridge import NATSBridgeError, Table, UnsupportedError, sync, testing


def there_and_back(value: Any, kind: str = "arrowtable") -> Any:
    _, text = sync.smartsend("lab.x", [("t", value, kind)], max_message_size=10**9, size_threshold=10**9)
    return sync.smartreceive(text)["payloads"][0][1]


def frame() -> Any:
    pandas = pytest.importorskip("pandas")
    numpy = pytest.importorskip("numpy")
    return pandas.DataFrame(
        {
            "i8": numpy.array([1, -2, 3], "int8"),
            "u64": numpy.array([0, 1, 2**64 - 1], "uint64"),
            "f32": numpy.array([0.5, 1.5, -2.5], "float32"),
            "f64": [1.0, 2.5, 1e300],
            "bool": [True, False, True],
            "text": ["a", "grüße", "\U0001f600"],
            "when": pandas.to_datetime(["2026-05-13T00:00:00.000000", "2026-05-14T01:02:03.123456", "1969-12-31T00:00:00.000000"]),
            "zone": pandas.to_datetime(["2026-05-13", None, "2026-05-15"]).tz_localize("Europe/Berlin"),
            "span": pandas.to_timedelta([1, 2, 3], unit="s"),
            "cat": pandas.Categorical(["x", "y", "x"], categories=["y", "x", "never"]),
            "null_int": pandas.array([1, None, 3], dtype="Int64"),
            "null_bool": pandas.array([True, None, False], dtype="boolean"),
        }
    )


def test_pandas_arrives_unchanged_types_included() -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    given = frame()
    table = there_and_back(given)
    assert isinstance(table, Table) and len(table) == 3
    expected = pyarrow.Table.from_pandas(given, preserve_index=False)
    assert table.to_pyarrow().equals(expected)
    pandas.testing.assert_frame_equal(table.to_pandas(), expected.to_pandas())


def test_a_large_table_goes_from_pandas_to_polars_unchanged() -> None:
    """By a link of a store in memory; tried by hand with 2,000,000 rows"""
    pandas, polars, pyarrow = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    numpy, count = pytest.importorskip("numpy"), 300_000
    numbers = numpy.arange(count)
    given = pandas.DataFrame(
        {
            "i": numbers,
            "text": pandas.Series(numbers % 1000).astype(str),
            "cat": pandas.Categorical.from_codes(numbers % 3, ["a", "b", "c"]),
            "when": pandas.date_range("2026-01-01", periods=count, freq="s", tz="Europe/Berlin"),
            "null_int": pandas.array(numpy.where(numbers % 7 == 0, None, numbers), dtype="Int64"),
        }
    )
    with testing.sync_bridge() as bridge:
        messages = bridge.subscribe("a")
        bridge.send("a", [("t", given, "arrowtable")])
        message = messages.next(30)
        assert message is not None and message.payload("t").transport == "link"
        found, expected = message["t"].to_polars(), polars.from_arrow(pyarrow.Table.from_pandas(given, preserve_index=False))
        assert found.equals(expected) and found.schema == expected.schema


def test_an_index_without_a_name_is_left_out_and_one_with_a_name_is_a_column() -> None:
    pandas = pytest.importorskip("pandas")
    given = pandas.DataFrame({"a": range(10)})
    assert there_and_back(given[given["a"] > 6]).columns == ["a"]
    assert there_and_back(given.set_index(pandas.Index(range(10), name="key"))).columns == ["key", "a"]
    assert there_and_back(given[given["a"] > 6], "jsontable") == [{"a": 7}, {"a": 8}, {"a": 9}]


def test_polars_and_pyarrow_arrive_unchanged() -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    given = polars.DataFrame(
        {
            "text": ["a", None, "long enough for a view of its own"],
            "list": [[1, 2], [], None],
            "struct": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"a": 3, "b": None}],
            "when": [dt.datetime(2026, 5, 13), None, dt.datetime(1969, 1, 1)],
            "price": [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")],
        }
    )
    table = there_and_back(given)
    assert "view" not in str(table.to_pyarrow().schema)
    assert table.to_polars().equals(given)
    arrow = pyarrow.table({"a": pyarrow.array([1, None]), "b": pyarrow.array(["x", "x"]).dictionary_encode()})
    for given in (arrow, arrow.to_batches()[0], pyarrow.RecordBatchReader.from_batches(arrow.schema, arrow.to_batches())):
        assert there_and_back(given).to_pyarrow().equals(arrow)
    chunked = pyarrow.concat_tables([arrow, arrow])
    assert there_and_back(chunked).to_pyarrow().combine_chunks().to_pylist() == chunked.to_pylist()


def test_rows_and_columns_of_plain_values() -> None:
    rows = [
        {"i": 1, "f": 1.5, "t": "a", "b": b"x", "d": dt.date(2026, 5, 13), "n": None, "l": [1, 2], "p": decimal.Decimal("1.5")},
        {"i": None, "f": 2, "t": None, "b": None, "d": None, "l": None, "p": decimal.Decimal("22.75"), "extra": True},
    ]
    table = there_and_back(rows)
    assert table.types == {
        "i": "int64", "f": "float64", "t": "string", "b": "binary", "d": "date32", "n": "null", "l": "list<int64>",
        "p": "decimal128(4, 2)", "extra": "bool",
    }  # fmt: skip
    back = table.to_pylist()
    assert back[0]["p"] == decimal.Decimal("1.50") and back[1]["extra"] is True and back[0]["l"] == [1, 2]
    assert back[0]["d"] == dt.date(2026, 5, 13) and back[1]["t"] is None and back[1]["f"] == 2.0
    zone = dt.timezone(dt.timedelta(hours=2))
    columns = {"when": [dt.datetime(2026, 5, 13, 8, tzinfo=zone), None], "big": [2**63, 1], "span": [dt.timedelta(1), None], "time": [dt.time(1, 2, 3, 4), None]}
    table = there_and_back(columns)
    assert table.to_pydict() == columns
    assert table == Table(columns) and table != Table({"a": [1]})
    assert len(there_and_back([])) == 0 and there_and_back({}).columns == []
    assert there_and_back({"a": []}).columns == ["a"]


def test_what_has_no_arrow_form_is_refused_by_name() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    cases = [
        ([{"a": 1}, {"a": "x"}], "a"), ({"col": [1, 2.5, 2**60]}, "col"), ({"col": [10**30]}, "col"), ({"col": [object()]}, "col"),
        ({"col": [decimal.Decimal("NaN")]}, "col"), ({"col": [1], "b": [1, 2]}, "rows"), ({"col": "abc"}, "col"), ({1: [1]}, "1"),
        ([{1: 2}], "1"), ([1], "row 0"), (pandas.DataFrame({1: [1]}), "1"), ({"col": numpy.array([1j])}, "col"),
        (pandas.DataFrame({"col": [1, "x"]}), "col"),
    ]  # fmt: skip
    for value, named in cases:
        with pytest.raises(NATSBridgeError) as caught:
            sync.smartsend("lab.x", [("t", value, "arrowtable")])
        assert named in str(caught.value) and caught.value.dataname == "t" and caught.value.code in ("unconvertible", "wrong_value"), value
    for value in (7, "x", object(), b"x"):
        with pytest.raises(NATSBridgeError):
            sync.smartsend("lab.x", [("t", value, "arrowtable")])


def test_decimals_nats_empty_frames_and_tables_as_rows() -> None:
    pandas = pytest.importorskip("pandas")
    given = pandas.DataFrame({"when": pandas.to_datetime(["2026-05-13", None]), "price": [decimal.Decimal("1.50"), None]})
    assert there_and_back(given, "jsontable") == [{"when": "2026-05-13T00:00:00", "price": "1.50"}, {"when": None, "price": None}]
    assert there_and_back(given).to_pandas()["when"].isna().tolist() == [False, True]
    empty = there_and_back(frame().iloc[:0])
    assert len(empty) == 0 and len(empty.columns) == 12 and empty.to_pandas().shape == (0, 12)
    assert there_and_back(pandas.DataFrame()).to_pandas().shape[1] == 0


def test_repr_shows_the_first_rows_and_nothing_that_harms_a_terminal() -> None:
    table = Table({"name": ["\x1b[31mred", "b" * 100] + ["x"] * 98, "n": list(range(100))})
    shown = repr(table)
    assert "100 rows" in shown and "string" in shown and "\x1b" not in shown and len(shown.splitlines()) < 20
    assert "<table>" in table._repr_html_() and "<script>" not in Table({"<script>": [1]})._repr_html_()


def test_dictionary_columns_without_values_are_read_and_shown() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    nothing = pyarrow.array([], pyarrow.string())
    for keys in ([], [None, None, None]):
        given = pyarrow.table({"cat": pyarrow.DictionaryArray.from_arrays(pyarrow.array(keys, pyarrow.int8()), nothing)})
        for table in (Table(given), there_and_back(given)):
            assert table.types == {"cat": "dictionary<int8, string>"} and table.column("cat") == keys
            assert table.to_pylist() == [{"cat": None}] * len(keys)
            shown = repr(table)
            assert f"{len(keys)} rows" in shown and "cat" in shown and len(shown.splitlines()) == 4 + len(keys)


def test_an_array_that_was_taken_already_is_an_error() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    capsules = pyarrow.record_batch({"a": [1, 2]}).__arrow_c_array__()

    class Once:
        def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
            return capsules

    assert Table(Once()).to_pydict() == {"a": [1, 2]}
    with pytest.raises(NATSBridgeError, match="taken already") as caught:
        Table(Once())
    assert caught.value.code == "unconvertible"


def test_damaged_arrow_is_the_library_error() -> None:
    whole = Table({"a": [1, 2, 3], "t": ["x", "y", "z"]}).to_ipc()
    for end in range(0, len(whole), 7):
        try:
            Table.from_ipc(whole[:end])
        except NATSBridgeError as error:
            assert error.code in ("undecodable", "too_large")
    with pytest.raises(NATSBridgeError):
        Table.from_ipc(b"hello, world")


def test_pandas_without_pyarrow_gives_the_same() -> None:
    """In a process where pyarrow can't be imported"""
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    code = textwrap.dedent(
        """
        import sys
        {block}
        import pickle
        from test_tables import frame, there_and_back
        table = there_and_back(frame())
        back = table.to_pandas()
        print(pickle.dumps((table.to_ipc(), table.types, [[str(value) for value in row] for row in back.values.tolist()], [str(kind)[:12] for kind in back.dtypes])).hex())
        """
    )
    import pathlib
    import pickle

    found = []
    for block in ("", "sys.modules['pyarrow'] = None"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(block=block)], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        found.append(pickle.loads(bytes.fromhex(done.stdout.strip().splitlines()[-1])))
    (_, types, values, _), (_, other_types, other_values, _) = found
    assert {name: kind.replace("large_", "").replace("int32, ", "int8, ") for name, kind in other_types.items()} == {
        name: kind.replace("large_", "") for name, kind in types.items()
    }
    assert values == other_values


def test_what_is_not_installed_is_named() -> None:
    code = "import sys; sys.modules['polars'] = None\nimport natsbridge\ntry:\n    natsbridge.Table([{'a': 1}]).to_polars()\nexcept natsbridge.UnsupportedError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "natsbridge[polars]" in done.stdout
    assert issubclass(UnsupportedError, NATSBridgeError)


def test_rows_that_are_null_as_a_whole_are_refused() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = pyarrow.array([{"a": 1}, None, {"a": 3}])
    for given in (rows, pyarrow.chunked_array([rows.slice(0, 1), rows.slice(1)])):
        with pytest.raises(NATSBridgeError, match="null as a whole") as refused:
            sync.smartsend("lab.x", [("t", given, "arrowtable")])
        assert (refused.value.code, refused.value.dataname) == ("unconvertible", "t")
    whole = pyarrow.chunked_array([rows.slice(0, 1), rows.slice(2)])
    assert there_and_back(whole).to_pylist() == [{"a": 1}, {"a": 3}]
    with pytest.raises(NATSBridgeError, match="one column"):
        sync.smartsend("lab.x", [("t", pyarrow.chunked_array([[1, 2]]), "arrowtable")])
