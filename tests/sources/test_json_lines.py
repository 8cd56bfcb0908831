"""JSON Lines: every line is one row, one reject or blank, judged alone; Arrow's answer is taken only where it is the same."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raypipe.core.datatype import parse_datatype
from raypipe.errors import SourceUnreadable
from raypipe.pipeline import Column
from raypipe.ports import Reject
from raypipe.sources import json_arrow, json_lines
from raypipe.sources.json_values import DEPTH_MAX
from raypipe.sources.lines import DecodedBlock


def blocks_of(
    data: bytes, contract: Mapping[str, str], columns: Sequence[str] | None, time_path: str | None, block_bytes: int = 1_000_000
) -> list[DecodedBlock]:
    typed = {name: Column(type=parse_datatype(word)) for name, word in contract.items()}
    return list(json_lines.decode(io.BytesIO(data), "f.jsonl", typed, columns, time_path, block_bytes=block_bytes))


def decoded(
    data: bytes,
    contract: Mapping[str, str],
    columns: Sequence[str] | None = (),
    time_path: str | None = None,
    block_bytes: int = 1_000_000,
) -> tuple[list[dict[str, Any]], list[Reject]]:
    wanted = tuple(contract) if columns == () else columns
    found = blocks_of(data, contract, wanted, time_path, block_bytes)
    return [row for block in found for row in block.rows.to_pylist()], [one for block in found for one in block.rejects]


def only(line: bytes, contract: Mapping[str, str]) -> dict[str, Any] | tuple[str, str]:
    """Decode one line among good ones; return its row, or the rule and the error that it was rejected for."""
    good = b"{}\n" * 3
    rows, rejects = decoded(good + line + b"\n" + good, contract)
    assert len(rows) + len(rejects) == 7
    if rejects:
        assert [(one.position, one.uri) for one in rejects] == [(4, "f.jsonl")]
        return rejects[0].rule, rejects[0].error
    assert [row.pop("_position") for row in rows] == list(range(1, 8))
    return rows[3]


def test_columns_come_in_the_types_that_json_has_and_all_else_as_text() -> None:
    contract = {
        "i": "int8", "u": "uint64", "f": "float64", "b": "bool", "s": "string", "l": "list<int64>",
        "r": "struct<x: int64, t: date>", "t": "timestamp", "d": "decimal(10,2)",
    }  # fmt: skip
    line = {
        "i": -128, "u": 2**64 - 1, "f": -0.5, "b": True, "s": "é\n", "l": [1, None], "r": {"x": 1, "t": "2024-01-01", "more": 0},
        "t": "2024-01-01T00:00:00", "d": "1.50", "unknown": {"deep": [1]},
    }  # fmt: skip
    block = blocks_of(json.dumps(line).encode() + b"\n{}\n", contract, list(contract), None)[0]
    text = pa.string()
    assert block.rows.schema.types == [
        pa.int8(), pa.uint64(), pa.float64(), pa.bool_(), text, pa.list_(pa.int64()), pa.struct([("x", pa.int64()), ("t", text)]),
        text, text, pa.int64(),
    ]  # fmt: skip
    expected = {name: value for name, value in line.items() if name in contract} | {"r": {"x": 1, "t": "2024-01-01"}}
    assert block.rows.to_pylist() == [expected | {"_position": 1}, dict.fromkeys(contract) | {"_position": 2}]


@pytest.mark.parametrize("kind", ["timestamp", "decimal(10,2)", "date"])
def test_numbers_in_text_columns_come_as_their_text(kind: str) -> None:
    rows, rejects = decoded(b'{"t":1700000000000}\n{"t":null}\n{"t":-5}\n', {"t": kind})
    assert [row["t"] for row in rows] == ["1700000000000", None, "-5"]
    rows, rejects = decoded(b'{"t":1700000000000}\n{"t":"2024"}\n{"t":12.50}\n{"t":-0}\n{"t":1e3}\n', {"t": kind})
    assert [row["t"] for row in rows] == ["1700000000000", "2024", "12.50", "0", "1e3"]
    assert rejects == []


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"null", "got 'null', expected one JSON object"),
        (b"1", "got '1', expected one JSON object"),
        (b'"x"', "got '\"x\"', expected one JSON object"),
        (b'[{"i":1}]', "got '[{\"i\":1}]', expected one JSON object"),
        (b"", None),
        (b" \t\r", None),
        (b'{"i":1', "Expecting ',' delimiter at character 7"),
        (b'{"i":', "expected a value at character 6"),
        (b'{"i":01}', "Expecting ',' delimiter at character 7"),
        (b'{"i":1,}', "at character"),
        (b"{'i':1}", "at character"),
        (b"garbage", "expected a value at character 1"),
        (b'{"i":1} {"i":2}', "got ' {\"i\":2}' after the object, at character 8"),
        (b'{"i":1}{"i":2}', "got '{\"i\":2}' after the object, at character 8"),
        (b'{"i":1}x', "got 'x' after the object, at character 8"),
        (b'{"f":NaN}', "got NaN, which is not JSON; expected a number or null"),
        (b'{"f":-Infinity}', "got -Infinity, which is not JSON"),
        (b'{"other":[Infinity]}', "got Infinity, which is not JSON"),
        (b'{"i":1,"i":2}', "the key 'i' stands more than once in one object"),
        (b'{"r":{"x":1,"x":2}}', "the key 'x' stands more than once in one object"),
        (b'{"s":"\\ud800"}', "got \\ud800, half of a surrogate pair, which is no character"),
        (b'{"other":"\\udc00\\ud800"}', "got \\udc00, half of a surrogate pair"),
        (b'{"s":"a\tb"}', "Invalid control character at"),
        (b'{"s":"a\0b"}', "Invalid control character at"),
        (b'{"i":1}\0', "after the object"),
        (b'\xef\xbb\xbf{"i":1}', "expected a value at character 1"),
        (b'{"other":' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", f"is nested deeper than {DEPTH_MAX} objects and arrays"),
        (b'{"other":' + b"[" * 200_000 + b"}", f"is nested deeper than {DEPTH_MAX} objects and arrays"),
    ],
)
def test_a_line_that_is_not_one_object_is_malformed_and_its_neighbours_stay(line: bytes, error: str | None) -> None:
    contract = {"i": "int64", "f": "float64", "s": "string", "r": "struct<x: int64>"}
    if error is None:
        rows, rejects = decoded(b"{}\n" + line + b"\n{}\n", contract)
        assert ([row["_position"] for row in rows], rejects) == ([1, 3], [])
        return
    rule, found = only(line, contract)
    assert rule == "malformed_line"
    assert error in found


def test_an_object_over_two_lines_is_two_malformed_lines() -> None:
    rows, rejects = decoded(b'{"i":1}\n{"r":{"x":\n1}}\n{"i":2}{"i":3}\n{"i":4}\n', {"i": "int64", "r": "struct<x: int64>"})
    assert [(row["i"], row["_position"]) for row in rows] == [(1, 1), (4, 5)]
    assert [(one.position, one.rule) for one in rejects] == [(2, "malformed_line"), (3, "malformed_line"), (4, "malformed_line")]


def test_bad_bytes_reject_their_line_with_all_bytes_shown() -> None:
    rows, rejects = decoded(b'{"i":1,"s":"\xff"}\n{"i":2,"s":"\xc3\xa9"}\n{"i":3,"other":"\xff"}\n', {"i": "int64", "s": "string"})
    assert rows == [{"i": 2, "s": "é", "_position": 2}]
    assert [(one.position, one.rule, one.raw) for one in rejects] == [
        (1, "bad_encoding", '{"i":1,"s":"\\xff"}'),
        (3, "bad_encoding", '{"i":3,"other":"\\xff"}'),
    ]


@pytest.mark.parametrize(
    ("kind", "value", "got"),
    [
        ("int64", b"1.0", "1.0"),
        ("int64", b"1e2", "1e2"),
        ("int64", b'"1"', "'1'"),
        ("int64", b"true", "true"),
        ("int64", b"123456789012345678901234567890", "123456789012345678901234567890"),
        ("int64", b"9223372036854775808", "9223372036854775808"),
        ("int8", b"300", "300"),
        ("uint64", b"-1", "-1"),
        ("uint64", b"-0", "0"),
        ("uint64", b"18446744073709551616", "18446744073709551616"),
        ("int64", b"1" * 5000, "1" * 100),
        ("float64", b"1e400", "1e400"),
        ("float64", b"-1e400", "-1e400"),
        ("float64", b"9" * 400, "9" * 100),
        ("float64", b'"1"', "'1'"),
        ("float32", b"1e39", "1e39"),
        ("string", b"1", "1"),
        ("string", b"[1.10]", "[1.10]"),
        ("bool", b"1", "1"),
        ("bool", b'"true"', "'true'"),
        ("date", b"true", "true"),
        ("timestamp", b'{"a":1}', '{"a":1}'),
        ("list<int64>", b"[1,2.5]", "[1,2.5]"),
        ("list<int64>", b"{}", "{}"),
        ("struct<x: int64>", b"[]", "[]"),
        ("struct<x: int64>", b'{"x":"1"}', '{"x":"1"}'),
        ("struct<x: list<float32>>", b'{"x":[1e39]}', '{"x":[1e39]}'),
    ],
)
def test_a_value_of_another_type_rejects_its_row(kind: str, value: bytes, got: str) -> None:
    assert only(b'{"c":' + value + b"}", {"c": kind}) == ("type_c", f"c: got {got}, expected {parse_datatype(kind)}")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int64", b"-0", 0),
        ("int64", b"-9223372036854775808", -(2**63)),
        ("uint8", b"255", 255),
        ("float64", b"1", 1.0),
        ("float64", b"12345678901234567890", 12345678901234567890.0),
        ("float64", b"1e-400", 0.0),
        ("float32", b"16777217", 16777216.0),
        ("float32", b"3.4028235e38", 3.4028234663852886e38),
        ("string", b'"\\u0000\\ud83d\\ude00\\/"', "\0😀/"),
        ("list<string>", b"[]", []),
        ("list<struct<x: float32>>", b'[{"x":0.1},null,{}]', [{"x": 0.10000000149011612}, None, {"x": None}]),
    ],
)
def test_a_value_of_the_type_is_itself_in_good_and_in_bad_company(kind: str, value: bytes, expected: object) -> None:
    line = b'{"c":' + value + b"}"
    assert only(line, {"c": kind}) == {"c": expected}
    rows, _ = decoded(b"bad\n" * 10 + line + b"\n", {"c": kind})
    assert rows == [{"c": expected, "_position": 11}]


def test_the_sign_of_zero_survives_in_every_company() -> None:
    for company in (b"", b"bad\n", b"bad\nbad\nbad\n"):
        rows, _ = decoded(company + b'{"c":-0}\n{"c":-0.0}\n', {"c": "float64"})
        assert [str(row["c"]) for row in rows] == ["-0.0", "-0.0"]


def test_a_row_is_rejected_once_for_the_first_column_that_it_breaks() -> None:
    rows, rejects = decoded(b'{"b":"x","a":"y"}\n{"a":1,"b":2}\n', {"a": "int64", "b": "int64"})
    assert rows == [{"a": 1, "b": 2, "_position": 2}]
    assert [(one.rule, one.raw) for one in rejects] == [("type_a", '{"b":"x","a":"y"}')]


def test_a_line_is_held_to_the_whole_contract_whichever_columns_are_wanted() -> None:
    rows, rejects = decoded(b'{"a":1,"b":"x"}\n{"a":2,"b":3}\n', {"a": "int64", "b": "int64"}, columns=["a"])
    assert rows == [{"a": 2, "_position": 2}]
    assert [one.rule for one in rejects] == ["type_b"]


def test_without_a_contract_every_value_is_its_text() -> None:
    rows, rejects = decoded(
        b'{"a":1.10,"b":"x","c":true,"d":null}\n{"a":1e400,"b":[1.10,{"k":"\xc3\xa9"}],"e":123456789012345678901234567890}\n{"b":{"k":1,"k":2}}\n{"a":1,"a":2}\n',
        {},
        columns=None,
    )
    assert rows == [
        {"a": "1.10", "b": "x", "c": "true", "d": None, "e": None, "_position": 1},
        {"a": "1e400", "b": '[1.10,{"k":"é"}]', "c": None, "d": None, "e": "123456789012345678901234567890", "_position": 2},
    ]
    assert [(one.position, one.rule) for one in rejects] == [(3, "malformed_line"), (4, "malformed_line")]


def test_columns_beyond_the_contract_come_as_text() -> None:
    data = b'{"a":1,"x":2.50}\n{"a":2,"y":[1]}\n'
    assert decoded(data, {"a": "int64"}, columns=["a", "x"])[0] == [
        {"a": 1, "x": "2.50", "_position": 1}, {"a": 2, "x": None, "_position": 2},
    ]  # fmt: skip
    assert decoded(data, {"a": "int64"}, columns=None)[0] == [
        {"a": 1, "x": "2.50", "y": None, "_position": 1}, {"a": 2, "x": None, "y": "[1]", "_position": 2},
    ]  # fmt: skip


def test_a_repeated_key_that_is_not_read_is_no_fault() -> None:
    for company in (b"", b"bad\n"):
        rows, _ = decoded(company + b'{"a":1,"x":1,"x":2}\n{"a":2}\n', {"a": "int64"})
        assert [row["a"] for row in rows] == [1, 2]


@pytest.mark.parametrize("bad", [b"", b"bad\n", b"bad\nbad\nbad\nbad\nbad\n"])
def test_nested_event_time_comes_as_a_column_of_its_path(bad: bytes) -> None:
    lines = b'{"a":1,"p":{"q":{"ts":"x"}}}\n{"a":2}\n{"a":3,"p":{"q":null}}\n'
    rows, _ = decoded(bad + lines, {"a": "int64"}, time_path="p.q.ts")
    assert [(row["a"], row["p.q.ts"]) for row in rows] == [(1, "x"), (2, None), (3, None)]
    rows, _ = decoded(bad + b'{"p":{"q":{"ts":17}}}\n{"p":{"q":{"ts":-18}}}\n', {"a": "int64"}, time_path="p.q.ts")
    assert [row["p.q.ts"] for row in rows] == ["17", "-18"]
    rows, _ = decoded(bad + b'{"p":5}\n{"p":{"q":{"ts":[1]}}}\n{"p.q.ts":"own"}\n', {"a": "int64"}, time_path="p.q.ts")
    assert [row["p.q.ts"] for row in rows] == [None, "[1]", "own"]


def test_event_time_within_the_contract_is_no_further_column() -> None:
    rows, _ = decoded(b'{"p":{"ts":"x"}}\n', {"p": "struct<ts: timestamp>"}, time_path="p.ts")
    assert rows == [{"p": {"ts": "x"}, "_position": 1}]
    rows, _ = decoded(b'{"p":{"ts":"x","n":1}}\n', {"p": "struct<n: int64>"}, time_path="p.ts")
    assert rows == [{"p": {"n": 1}, "p.ts": "x", "_position": 1}]
    rows, _ = decoded(b'{"ts":"x","n":1}\n', {"n": "int64"}, time_path="ts")
    assert rows == [{"n": 1, "ts": "x", "_position": 1}]


def test_a_name_that_raypipe_keeps_fails_the_file() -> None:
    with pytest.raises(SourceUnreadable, match=r"f\.jsonl: has a key '_position'"):
        decoded(b'{"_position":1}\n', {}, columns=None)


def test_clean_lines_go_through_arrow_and_dirty_ones_take_no_others_along() -> None:
    lines = [b'{"a":%d,"s":"v%d"}' % (number, number) for number in range(1000)]
    contract = {"a": "int64", "s": "string"}
    with mock.patch.object(json_lines, "decode_rows", side_effect=AssertionError):
        rows, _ = decoded(b"\n".join(lines), contract)
        assert [(row["a"], row["s"], row["_position"]) for row in rows] == [(one, f"v{one}", one + 1) for one in range(1000)]
        lines[10], lines[500], lines[999], lines[400] = b"bad", b'{"a":"x"}', b'{"s":"\xff"}', b' {"a":400,"s":"v400"} '
        rows, rejects = decoded(b"\n".join(lines) + b"\n", contract)
    assert [row["a"] for row in rows] == [one for one in range(1000) if one not in (10, 500, 999)]
    assert [(one.position, one.rule) for one in rejects] == [(11, "malformed_line"), (501, "type_a"), (1000, "bad_encoding")]


# ---- a line is what it is alone -----------------------------------------------------------------------------

CONTRACT = {
    "i": "int8", "u": "uint64", "f": "float64", "g": "float32", "s": "string", "b": "bool", "t": "timestamp",
    "l": "list<int64>", "r": "struct<x: float32, t: date, l: list<string>>",
}  # fmt: skip

numbers = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "-7",
        "127",
        "128",
        "1.0",
        "-0.0",
        "1e2",
        "1E400",
        "1e39",
        "0.1",
        "16777217.0000000001",
        "12345678901234567890",
        "01",
    ]
)
texts = st.sampled_from(
    ['""', '"x"', '"é"', '"\\u00e9"', '"\\ud83d\\ude00"', '"\\ud800"', '"{\\"i\\":1}"', '"\\q"', '"}"', '"NaN"', '"\t"']
)
scalars = numbers | texts | st.sampled_from(["true", "false", "null", "NaN", "-Infinity", "", "nul"])
names = st.sampled_from(['"i"', '"u"', '"f"', '"g"', '"s"', '"b"', '"t"', '"l"', '"r"', '"x"', '"other"', '"\\u0069"', "i"])
spaces = st.sampled_from(["", "", "", " ", "\t"])


def nested(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(spaces, names, spaces, spaces, values).map(lambda one: f"{one[0]}{one[1]}{one[2]}:{one[3]}{one[4]}")
    return st.lists(values, max_size=3).map(lambda one: f"[{','.join(one)}]") | st.lists(member, max_size=3).map(
        lambda one: "{" + ",".join(one) + "}"
    )


values = st.recursive(scalars, nested, max_leaves=6)
right = {
    "i": numbers, "u": numbers, "f": numbers, "g": numbers, "s": texts, "b": st.just("true"), "t": texts | numbers,
    "l": st.lists(numbers, max_size=2).map(lambda one: f"[{','.join(one)}]"),
    "r": st.sampled_from(["null", '{"x":0.1}', '{"t":"d","l":["a"]}', '{"t":5}', '{"x":1,"x":2}', '{"y":1,"y":2}']),
}  # fmt: skip
fitting = (
    st.lists(st.sampled_from(sorted(right)), max_size=4)
    .flatmap(lambda chosen: st.tuples(*(right[name].map(lambda value, name=name: f'"{name}": {value}') for name in chosen)))
    .map(lambda one: "{" + ", ".join(one) + "}")
)
lines_of_text = (
    fitting | fitting | nested(values) | st.sampled_from(["", " ", "null", "{}", "{}{}", '{"l":[{}', "{}]}", '{"i":', "1}", "\r"])
)
lines = lines_of_text.map(str.encode) | st.sampled_from([b"\xff", b'{"s":"\xff"}', b'{"i":1}\r'])


def same(rows: list[dict[str, Any]]) -> list[str]:
    return [repr(row) for row in rows]  # tells -0.0 from 0.0


@settings(max_examples=120, deadline=None)
@given(st.lists(lines, max_size=8), st.sampled_from([3, 20, 1000]))
@example([b'{"r":[{}', b"{}]}", b'{"i":1}{"i":2}'], 1000)
@example([b'{"t":1}', b'{"t":-0}', b'{"t":"x"}'], 1000)
def test_a_line_is_the_same_row_or_reject_alone_and_in_any_company(lines: list[bytes], block_bytes: int) -> None:
    columns = list(CONTRACT)
    alone_rows: list[dict[str, Any]] = []
    alone_rejects: list[tuple[int, str, str, str]] = []
    with mock.patch.object(json_lines, "decode_with_arrow", return_value=None):
        for number, line in enumerate(lines, 1):
            rows, rejects = decoded(line, CONTRACT, columns, "p.ts")
            alone_rows += [row | {"_position": number} for row in rows]
            alone_rejects += [(number, one.rule, one.error, one.raw) for one in rejects]
            assert len(rows) + len(rejects) == (1 if line.strip() else 0)
    with mock.patch.object(json_arrow, "SUSPECTS_SHARE_MAX", 1.0):
        rows, rejects = decoded(b"\n".join(lines), CONTRACT, columns, "p.ts", block_bytes)
    assert same(rows) == same(alone_rows)
    assert [(one.position, one.rule, one.error, one.raw) for one in rejects] == alone_rejects


@settings(max_examples=80, deadline=None)
@given(fitting.map(str.encode))
def test_arrow_alone_gives_what_python_gives(line: bytes) -> None:
    through_arrow = decoded(line, CONTRACT)
    with mock.patch.object(json_lines, "decode_with_arrow", return_value=None):
        through_python = decoded(line, CONTRACT)
    assert same(through_arrow[0]) == same(through_python[0])
    assert through_arrow[1] == through_python[1]
