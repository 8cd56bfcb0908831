"""Hostile lines of JSON: no line becomes a row of nulls, no number is bent, each is loaded or set aside with its reason."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal

import pyarrow as pa
import pytest

COLUMNS = {
    "id": {"type": "int64", "required": True},
    "ts": "timestamp",
    "amount": "float64",
    "exact": "decimal(38,10)",
    "note": "string",
}


def line(number: int, rest: str = "", day: int = 1) -> str:
    return f'{{"id": {number}, "ts": "2026-01-0{day}T00:00:00"{rest}}}'


BROKEN = [
    line(1),
    '{"id": 2, "ts": "2026-01-01T01:00:00", "note": "cut of',
    line(3, ', "note": "behind the broken line"', day=2),
    "null",
    "[1, 2]",
    line(6) + line(6),
    line(7, ', "note": "a", "note": "b"'),
    line(8, ', "other": 1, "other": 2'),  # a key that nobody reads may stand twice
    line(9, ', "note": "\\ud800"'),
    "",
    line(11, ', "amount": "many"'),
    line(12, ', "amount": {"nested": 1}', day=3),
    '{"ts": "2026-01-03T00:00:00"}',
    '{"id": 14}',
    line(15, ', "note": "nul: \\u0000 and \U0001f600"'),
    line(16, ', "note": 17'),  # a number is no text
]
BROKEN_ASIDE = {
    2: "malformed_line",
    4: "malformed_line",
    5: "malformed_line",
    6: "malformed_line",
    7: "malformed_line",
    9: "malformed_line",
    11: "type_amount",
    12: "type_amount",
    13: "required_id",
    14: "no_event_time",
    16: "type_note",
}


@pytest.mark.fault(30, 31, 32)
@pytest.mark.parametrize(
    ("suffix", "packed"),
    [(".gz", gzip.compress), (".zst", lambda data: pa.Codec("zstd").compress(data, asbytes=True))],
)
def test_broken_lines_are_set_aside_and_never_become_rows_of_nulls(bench, suffix, packed):
    path = bench.write(f"in.jsonl{suffix}", packed("\n".join(BROKEN).encode()))
    bench.config(f"in.jsonl{suffix}", columns=COLUMNS)
    bench.done()
    filled = [number for number, text in enumerate(BROKEN, 1) if text]
    bench.every_line_is_accounted(filled, BROKEN_ASIDE, path=path)
    errors = {position: error for position, (_, error) in bench.aside().items()}
    assert errors[4] == "got 'null', expected one JSON object"
    assert errors[7] == "the key 'note' stands more than once in one object"
    assert errors[9] == "got \\ud800, half of a surrogate pair, which is no character"
    assert errors[11] == "amount: got 'many', expected float64"
    assert errors[12] == 'amount: got {"nested":1}, expected float64'
    notes = dict(bench.query("SELECT id, note FROM clean WHERE note IS NOT NULL"))
    assert notes == {3: "behind the broken line", 15: "nul: \x00 and \U0001f600"}
    assert errors[16] == "note: got 17, expected string"


NUMBERS = [
    line(1, ', "amount": NaN'),
    line(2, ', "amount": 1e400'),
    line(3, ', "amount": -Infinity'),
    line(4, ', "exact": 123456789012345678901234567.0123456789'),
    line(5, ', "exact": 12345678901234567890123456789012345678901234567890'),
    line(6, ', "exact": 0.12345678901'),
    line(7, ', "amount": 123456789012345678901234567890'),
    '{"id": 123456789012345678901234567890, "ts": "2026-01-01T00:00:00"}',
    '{"id": 9.5, "ts": "2026-01-01T00:00:00"}',
    '{"id": "10", "ts": "2026-01-01T00:00:00"}',
    '{"id": true, "ts": "2026-01-01T00:00:00"}',
    line(12, ', "amount": 9007199254740993'),
]
NUMBERS_ASIDE = {
    1: "malformed_line",
    2: "type_amount",
    3: "malformed_line",
    5: "type_exact",
    6: "type_exact",
    8: "type_id",
    9: "type_id",
    10: "type_id",
    11: "type_id",
}


@pytest.mark.fault(32)
def test_numbers_are_kept_exactly_or_set_aside(bench):
    path = bench.write("in.jsonl", "\n".join(NUMBERS))
    bench.config("in.jsonl", columns=COLUMNS)
    bench.done()
    bench.every_line_is_accounted(range(1, 13), NUMBERS_ASIDE, path=path)
    assert bench.aside()[1][1] == "got NaN, which is not JSON; expected a number or null"
    assert bench.aside()[2][1] == "amount: got 1e400, expected float64"
    assert bench.aside()[8][1] == "id: got 123456789012345678901234567890, expected int64"
    assert bench.column("SELECT exact FROM clean WHERE id = 4") == [Decimal("123456789012345678901234567.0123456789")]
    assert bench.column("SELECT amount FROM clean WHERE id = 7") == [123456789012345678901234567890.0]


@pytest.mark.fault(29)
def test_bytes_that_are_no_text_set_their_line_aside_with_the_raw_bytes(bench):
    path = bench.write("in.jsonl", line(1).encode() + b'\n{"id": 2, "note": "\xff"}\n' + line(3).encode())
    bench.config("in.jsonl", columns=COLUMNS)
    bench.done()
    bench.every_line_is_accounted([1, 2, 3], {2: "bad_encoding"}, path=path)
    assert bench.column("SELECT raw FROM _raypipe.quarantine") == [r'{"id": 2, "note": "\xff"}']


@pytest.mark.fault(33)
def test_nesting_without_end_is_set_aside_whether_the_column_is_read_or_not(bench):
    deep = "[" * 100_000 + "]" * 100_000
    path = bench.write("in.jsonl", "\n".join([line(1), line(2, f', "unread": {deep}'), line(3, f', "note": {deep}'), line(4)]))
    bench.config("in.jsonl", columns=COLUMNS)
    bench.done()
    bench.every_line_is_accounted([1, 2, 3, 4], {2: "malformed_line", 3: "malformed_line"}, path=path)
    assert {error for _, error in bench.aside().values()} == {"is nested deeper than 100 objects and arrays"}
    assert max(len(raw) for raw in bench.column("SELECT raw FROM _raypipe.quarantine")) < 20_000


@pytest.mark.fault(32, 38)
def test_a_column_whose_type_changes_midway_is_read_by_the_contract_alone(bench):
    """The first thousand lines hold whole numbers, or nothing: no type is guessed from them."""
    lines = [json.dumps({"id": number, "ts": "2026-01-01T00:00:00", "amount": number % 2 or None}) for number in range(1, 1001)]
    lines += [json.dumps({"id": 1001, "ts": "2026-01-01T00:00:00", "amount": 0.5, "note": "text"})]
    path = bench.write("in.jsonl", "\n".join(lines))
    bench.config("in.jsonl", columns=COLUMNS)
    bench.done()
    bench.every_line_is_accounted(range(1, 1002), {}, path=path)
    assert bench.query("SELECT sum(amount), count(amount), count(note) FROM clean") == [(500.5, 501, 1)]
    assert bench.query("SELECT DISTINCT typeof(amount), typeof(note) FROM clean") == [("DOUBLE", "VARCHAR")]
