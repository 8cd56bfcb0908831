"""CSV: every physical line is one row, one reject or blank, and both ways of parsing agree with Python's strict reader."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raypipe.errors import ConfigurationError, SourceUnreadable
from raypipe.pipeline import CsvDialect
from raypipe.ports import Reject
from raypipe.sources import csv_lines, csv_records


def decoded(
    data: bytes, dialect: CsvDialect | None = None, columns: Sequence[str] | None = None, block_bytes: int = 1_000_000
) -> tuple[list[dict[str, Any]], list[Reject]]:
    rows, rejects = [], []
    for block in csv_lines.decode(io.BytesIO(data), dialect or CsvDialect(), "f.csv", columns, block_bytes=block_bytes):
        rows += block.rows.to_pylist()
        rejects += block.rejects
    return rows, rejects


def told(rejects: Sequence[Reject]) -> list[tuple[int, str, str, str]]:
    return [(one.position, one.rule, one.error, one.raw) for one in rejects]


def test_rows_are_strings_with_the_number_of_their_line() -> None:
    rows, rejects = decoded(b'a,b\r\n1,"x,""y"""\n\n\r\n 2 ,-0.50')
    assert rows == [{"a": "1", "b": 'x,"y"', "_position": 2}, {"a": " 2 ", "b": "-0.50", "_position": 5}]
    assert rejects == []


def test_nulls_are_null_in_quotes_and_without() -> None:
    rows, _ = decoded(b'a,b,c\nNA,"NA",N\n,"",x\n', CsvDialect(nulls=("NA",)))
    assert [(row["a"], row["b"], row["c"]) for row in rows] == [(None, None, "N"), ("", "", "x")]
    rows, _ = decoded(b'a,b\n,""\n')
    assert [(row["a"], row["b"]) for row in rows] == [(None, None)]


def test_ragged_lines_are_rejected_with_what_was_got_and_expected() -> None:
    rows, rejects = decoded(b"a,b\n1,2\n3\n\n4,5,6\n7,8\n")
    assert [(row["a"], row["_position"]) for row in rows] == [("1", 2), ("7", 6)]
    assert told(rejects) == [
        (3, "malformed_line", "got 1 values, expected 2", "3"),
        (5, "malformed_line", "got 3 values, expected 2", "4,5,6"),
    ]


def test_an_open_quote_makes_its_own_line_malformed_and_swallows_none() -> None:
    rows, rejects = decoded(b'a,b\n"open,2\n3,4\n5,"6\n"7",8\n')
    assert [(row["a"], row["_position"]) for row in rows] == [("3", 3), ("7", 5)]
    assert [(one.position, one.raw) for one in rejects] == [(2, '"open,2'), (4, '5,"6')]
    assert rejects[1].error == (
        "the quote at character 3 is not closed, expected '\"' before the line's end; "
        "set source.csv.multiline: true if values hold line breaks"
    )


def test_quotes_in_other_places_are_malformed() -> None:
    rows, rejects = decoded(b'a,b\n"x"y,2\n5" pipe,3\nm\rn,4\nok,5\n')
    assert [row["a"] for row in rows] == ["ok"]
    assert [(one.position, one.rule, one.error.partition(", expected")[0]) for one in rejects] == [
        (2, "malformed_line", "got 'y,2' after the closing quote at character 3"),
        (3, "malformed_line", "got '\"' inside an unquoted value at character 2"),
        (4, "malformed_line", "got a carriage return at character 2"),
    ]


def test_bad_bytes_reject_their_line_alone_with_all_bytes_shown() -> None:
    rows, rejects = decoded(b"a,b\n1,caf\xc3\xa9\n2,\xff\xfe\n3,x\n")
    assert [row["b"] for row in rows] == ["café", "x"]
    assert told(rejects) == [
        (3, "bad_encoding", "got byte 0xff at byte 3 of the line (invalid start byte), expected utf-8 text", "2,\\xff\\xfe")
    ]


def test_nul_bytes_are_kept() -> None:
    assert decoded(b"a,b\nx\0y,2\n")[0] == [{"a": "x\0y", "b": "2", "_position": 2}]


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert decoded(b"\xef\xbb\xbfa,b\n1,2\n")[0] == [{"a": "1", "b": "2", "_position": 2}]


def test_an_empty_line_of_a_file_with_one_column_is_a_row() -> None:
    rows, rejects = decoded(b'a\nx\n\n""\ny,z\n', CsvDialect(nulls=("NA",)))
    assert [(row["a"], row["_position"]) for row in rows] == [("x", 2), ("", 3), ("", 4)]
    assert [one.position for one in rejects] == [5]


def test_only_wanted_columns_come_in_the_files_order() -> None:
    assert decoded(b"a,b,c\n1,2,3\n", columns=["c", "a", "missing"])[0] == [{"a": "1", "c": "3", "_position": 2}]
    assert decoded(b"a,b\n1,2\n3\n", columns=[])[0] == [{"_position": 2}]


def test_a_file_of_a_header_alone_tells_its_columns() -> None:
    found = list(csv_lines.decode(io.BytesIO(b"a,b\n"), CsvDialect(), "f.csv", None))
    assert [(one.rows.schema.names, one.rows.num_rows) for one in found] == [(["a", "b", "_position"], 0)]


def test_without_a_header_the_caller_names_the_columns() -> None:
    rows, _ = decoded(b"1,2\n", CsvDialect(header=False), ["x", "y"])
    assert rows == [{"x": "1", "y": "2", "_position": 1}]
    assert decoded(b"", CsvDialect(header=False), ["x"]) == ([], [])
    with pytest.raises(ConfigurationError, match=r"f.csv: source.csv.header is false, expected source.columns"):
        decoded(b"1,2\n", CsvDialect(header=False))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "f.csv: is empty, expected a header line"),
        (b"a,b,a\n", "f.csv: line 1 .the header.: columns 1 and 3 are both named 'a'"),
        (b"a,,c\n", "f.csv: line 1 .the header.: column 2 has no name"),
        (b"\na,b\n", "f.csv: line 1 .the header.: column 1 has no name"),
        (b'a,"b\n1,2\n', "f.csv: line 1 .the header.: the quote at character 3 is not closed"),
        (b"a\r1\r2\r", "f.csv: line 1 .the header.: got a carriage return at character 2"),
        (b"a,b\xff\n", "f.csv: line 1 .the header.: expected utf-8 text"),
        ("a,b\n1,2\n".encode("utf-16"), "set source.csv.encoding: utf-16"),
        (b"a,_position\n1,2\n", "f.csv: has a column '_position', a name that raypipe keeps"),
    ],
)
def test_a_header_that_cannot_be_used_fails_the_file(data: bytes, text: str) -> None:
    with pytest.raises(SourceUnreadable, match=text):
        decoded(data)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "shift_jis"])
def test_other_encodings_give_the_same_rows(encoding: str) -> None:
    text = "名,b\n値,'x\n" if encoding == "shift_jis" else "é,b\nü,'x\n"
    rows, rejects = decoded(text.encode(encoding), CsvDialect(encoding=encoding), block_bytes=5)
    names, values = (line.split(",") for line in text.splitlines())
    assert rows == [dict(zip([*names, "_position"], [*values, 2], strict=True))]
    assert rejects == []


def test_bytes_that_are_not_of_the_encoding_reject_their_line() -> None:
    rows, rejects = decoded(b"a\nx\x81\n\xe9\n", CsvDialect(encoding="cp1252"))
    assert rows == [{"a": "é", "_position": 3}]
    assert [(one.position, one.rule, one.raw) for one in rejects] == [(2, "bad_encoding", "x\\x81")]


def test_a_torn_utf16_file_fails_whole() -> None:
    with pytest.raises(SourceUnreadable, match=r"f\.csv: is not utf-16"):
        decoded("a,b\n1,2\n".encode("utf-16")[:-1], CsvDialect(encoding="utf-16"))


def test_an_unknown_encoding_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"source.csv.encoding: got 'klingon'"):
        decoded(b"a\n", CsvDialect(encoding="klingon"))


MULTILINE = CsvDialect(multiline=True)


@pytest.mark.parametrize("block_bytes", [3, 9, 1000])
def test_records_may_span_lines_where_the_dialect_says_so(block_bytes: int) -> None:
    rows, rejects = decoded(b'a,b\n1,"x\r\n\ny"\n\n2,z\n"3","\n"', MULTILINE, block_bytes=block_bytes)
    assert rows == [
        {"a": "1", "b": "x\r\n\ny", "_position": 2},
        {"a": "2", "b": "z", "_position": 6},
        {"a": "3", "b": "\n", "_position": 7},
    ]
    assert rejects == []


@pytest.mark.parametrize("block_bytes", [3, 9, 1000])
def test_a_quote_that_is_never_closed_rejects_one_line_also_with_multiline(block_bytes: int) -> None:
    rows, rejects = decoded(b'a,b\n1,"open\n2,x\n3,"y"\n4,"\nz"\n5,"end\n6,w', MULTILINE, block_bytes=block_bytes)
    assert [(row["a"], row["b"], row["_position"]) for row in rows] == [
        ("2", "x", 3), ("3", "y", 4), ("4", "\nz", 5), ("6", "w", 8),
    ]  # fmt: skip
    assert [(one.position, one.rule, one.raw) for one in rejects] == [
        (2, "malformed_line", '1,"open'), (7, "malformed_line", '5,"end'),
    ]  # fmt: skip


def test_a_quote_may_stay_open_no_longer_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "RECORD_CHARACTERS_MAX", 12)
    for block_bytes in (4, 7, 1000):
        rows, rejects = decoded(b'a,b\n1,"45678\n0"\n1,"45678\n01"\n2,x\n', MULTILINE, block_bytes=block_bytes)
        assert [(row["a"], row["b"]) for row in rows] == [("1", "45678\n0"), ("2", "x")]
        assert [one.position for one in rejects] == [4, 5]


def test_a_record_of_several_lines_is_one_reject_when_it_is_ragged_or_not_text() -> None:
    rows, rejects = decoded(b'a,b\n"1\n2",3,4\n"5\n\xff",6\n7,8\n', MULTILINE)
    assert [row["a"] for row in rows] == ["7"]
    assert [(one.position, one.rule, one.raw) for one in rejects] == [
        (2, "malformed_line", '"1\n2",3,4'), (4, "bad_encoding", '"5\n\\xff",6'),
    ]  # fmt: skip


def test_no_record_spans_a_line_that_was_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    real = csv_lines.blocks
    monkeypatch.setattr(csv_lines, "blocks", lambda stream, uri, block_bytes: real(stream, uri, block_bytes=8, line_bytes_max=8))
    rows, rejects = decoded(b'a,b\n1,"x\n' + b"y" * 30 + b'\nz"\n2,3\n', MULTILINE)
    assert [(row["a"], row["_position"]) for row in rows] == [("2", 5)]
    assert [(one.position, one.rule) for one in rejects] == [
        (2, "malformed_line"), (3, "line_too_long"), (4, "malformed_line"),
    ]  # fmt: skip


def test_what_arrow_gives_too_little_of_is_parsed_again_record_by_record() -> None:
    def loses_a_row(*arguments: Any, **options: Any) -> Any:
        return read_csv(*arguments, **options).slice(1)

    read_csv = csv_lines.csv.read_csv
    with mock.patch.object(csv_lines.csv, "read_csv", loses_a_row):
        rows, rejects = decoded(b"a,b\n1,2\n3\n\n4,5\n")
    assert [(row["a"], row["_position"]) for row in rows] == [("1", 2), ("4", 5)]
    assert [one.position for one in rejects] == [3]


# ---- against a reference ----------------------------------------------------------------------------------

DIALECTS = [
    CsvDialect(nulls=("", "NA")),
    CsvDialect(nulls=("NA",), delimiter="\t", quote="'"),
    CsvDialect(nulls=("a",), delimiter="|", quote="^"),
    CsvDialect(nulls=("",), delimiter="]", quote="-"),
    CsvDialect(nulls=("",), delimiter="€", quote='"'),
]


def well_formed(line: str, delimiter: str, quote: str) -> bool:
    """Tell whether quotes stand around whole values only, doubled inside, and no carriage return outside of them."""
    state = "start"
    for character in line:
        if state == "quoted":
            state = "closing" if character == quote else "quoted"
        elif character == quote and state in ("start", "closing"):
            state = "quoted"
        elif character == delimiter:
            state = "start"
        elif state == "closing" or character in (quote, "\r"):
            return False
        else:
            state = "bare"
    return state != "quoted"


def reference(data: bytes, dialect: CsvDialect, width: int) -> tuple[dict[int, list[str | None]], dict[int, str]]:
    rows: dict[int, list[str | None]] = {}
    rejects: dict[int, str] = {}
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode().removesuffix("\r")
        except UnicodeDecodeError:
            rejects[number] = "bad_encoding"
            continue
        if not line and width > 1:
            continue
        if not well_formed(line, dialect.delimiter, dialect.quote):
            rejects[number] = "malformed_line"
            continue
        values = next(csv.reader([line], delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True), [""]) or [""]
        if len(values) != width:
            rejects[number] = "malformed_line"
        else:
            rows[number] = [None if value in dialect.nulls else value for value in values]
    return rows, rejects


@st.composite
def files(draw: st.DrawFn) -> tuple[CsvDialect, int, bytes]:
    dialect = draw(st.sampled_from(DIALECTS))
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    piece = st.sampled_from(
        [b"a", b"NA", b" ", b"\0", b"\xff", "é".encode(), b"\r", quote, quote * 2, quote + b"b" + quote, delimiter]
    )
    line = st.lists(piece, max_size=6).map(b"".join) | st.sampled_from([b"", b"1" + delimiter + b"2", b"\r"])
    lines = draw(st.lists(line, max_size=8))
    ends = [draw(st.sampled_from([b"\n", b"\r\n"])) for _ in lines]
    data = b"".join(text + end for text, end in zip(lines, ends, strict=True))
    return dialect, draw(st.integers(1, 3)), data.removesuffix(b"\n") if draw(st.booleans()) else data


@settings(max_examples=120, deadline=None)
@given(files(), st.sampled_from([3, 10, 1000]), st.booleans())
@example((CsvDialect(), 2, b'"a"b,c\n\n"x,y\nz,"\r\n'), 1000, False)
def test_rows_and_rejects_are_those_of_the_reference(file: tuple[CsvDialect, int, bytes], block_bytes: int, strictly: bool) -> None:
    dialect, width, data = file
    names = [f"c{index}" for index in range(width)]
    headless = CsvDialect(nulls=dialect.nulls, delimiter=dialect.delimiter, quote=dialect.quote, header=False)
    if strictly:
        with mock.patch.object(csv_lines, "_parse", return_value=None):
            rows, rejects = decoded(data, headless, names, block_bytes)
    else:
        rows, rejects = decoded(data, headless, names, block_bytes)
    expected_rows, expected_rejects = reference(data, dialect, width)
    assert {row["_position"]: [row[name] for name in names] for row in rows} == expected_rows
    assert [row["_position"] for row in rows] == sorted(expected_rows)
    assert [(one.position, one.rule) for one in rejects] == sorted(expected_rejects.items())
    assert all(one.error and one.uri == "f.csv" for one in rejects)


@settings(max_examples=80, deadline=None)
@given(files(), st.sampled_from([3, 10]))
def test_with_multiline_the_block_size_changes_nothing(file: tuple[CsvDialect, int, bytes], block_bytes: int) -> None:
    dialect, width, data = file
    names = [f"c{index}" for index in range(width)]
    multiline = CsvDialect(nulls=dialect.nulls, delimiter=dialect.delimiter, quote=dialect.quote, header=False, multiline=True)
    whole, parts = decoded(data, multiline, names), decoded(data, multiline, names, block_bytes)
    assert whole == parts
    with mock.patch.object(csv_lines, "_parse", return_value=None):
        assert decoded(data, multiline, names) == whole
