"""Every type of a contract from its written form."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import polars as pl
import pytest

from raypipe.core.datatype import parse_datatype
from raypipe.engine import text_types
from raypipe.engine.text_types import from_text, polars_type, source_schema


def convert(word, *texts, zone="UTC"):
    found = from_text(pl.Series("c", texts, dtype=pl.String), parse_datatype(word), zone)
    assert found.dtype == polars_type(parse_datatype(word))
    return found.to_list()


def utc(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


@pytest.mark.parametrize("word", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_an_integer_is_digits_with_a_sign_and_nothing_else(word):
    assert convert(word, "7", "+7", "007", " 7\t", "1.0", "1e3", "0x1", "1_000", "", "٣", None) == [7, 7, 7, 7, *[None] * 7]


def test_an_integer_out_of_range_is_none():
    assert convert("int8", "127", "128", "-128", "-129") == [127, None, -128, None]
    assert convert("uint8", "255", "256", "-1") == [255, None, None]
    assert convert("int64", "9223372036854775807", "9223372036854775808") == [2**63 - 1, None]
    assert convert("uint64", "18446744073709551615", "18446744073709551616") == [2**64 - 1, None]


def test_a_float_knows_infinity_and_nan_but_does_not_overflow_into_it():
    assert convert("float64", "1.5", "-1e-3", "inf", "-inf", "1e400", "x", "") == [
        1.5,
        -0.001,
        math.inf,
        -math.inf,
        None,
        None,
        None,
    ]
    assert math.isnan(convert("float64", "NaN")[0])
    assert convert("float32", "1.5", "1e39") == [1.5, None]


def test_a_boolean_is_one_of_six_words_in_any_case():
    assert convert("bool", "true", "T", "1", "FALSE", "f", "0", "yes", "", "2") == [
        True,
        True,
        True,
        False,
        False,
        False,
        None,
        None,
        None,
    ]


def test_a_decimal_is_exact_or_nothing():
    got = convert("decimal(5,2)", "1.25", "1.250", "1.255", "-.5", "+7", "999.99", "1000", "1e2", "")
    assert got == [Decimal("1.25"), Decimal("1.25"), None, Decimal("-0.50"), Decimal(7), Decimal("999.99"), None, None, None]
    assert convert("decimal(3,0)", "12", "12.0", "12.5") == [12, 12, None]


def test_a_date_has_four_two_and_two_digits_and_exists():
    assert convert("date", "2024-02-29", "2023-02-29", "2024-2-9", "2024-02-29T00:00:00") == [
        dt.date(2024, 2, 29),
        None,
        None,
        None,
    ]


def test_a_time_has_seconds_or_not_and_no_leap_second():
    got = convert("time", "10:11", "10:11:12", "10:11:12.5", "24:00:00", "10:11:60", "10")
    assert got == [dt.time(10, 11), dt.time(10, 11, 12), dt.time(10, 11, 12, 500000), None, None, None]


def test_a_timestamp_is_iso_with_or_without_fraction_and_zone():
    got = convert(
        "timestamp", "2024-01-02T03:04:05Z", "2024-01-02 03:04:05", "2024-01-02T03:04", "2024-01-02",
        "2024-01-02T03:04:05.123456789",
        "2024-01-02T03:04:05+02:00", "2024-01-02T03:04:05-0230", "2024-01-02T03:04:05+02", "2024-01-02T03:04:60",
        "02.01.2024", None,
    )  # fmt: skip
    first = dt.datetime(2024, 1, 2, 3, 4, 5)
    assert got[:5] == [first, first, first.replace(second=0), dt.datetime(2024, 1, 2), first.replace(microsecond=123456)]
    assert got[5:] == [
        dt.datetime(2024, 1, 2, 1, 4, 5),
        dt.datetime(2024, 1, 2, 5, 34, 5),
        dt.datetime(2024, 1, 2, 1, 4, 5),
        None,
        None,
        None,
    ]


def test_a_timestamp_with_an_offset_becomes_wall_clock_of_the_zone():
    assert convert("timestamp", "2024-07-01T00:00:00Z", zone="Europe/Madrid") == [dt.datetime(2024, 7, 1, 2)]


@pytest.mark.parametrize("word", ["timestamp", "timestamptz"])
@pytest.mark.parametrize(
    "texts",
    [
        (None, "2026-03-29T02:30:00", "2024-07-01 00:00", "x", "2024-07-01T00:00:00Z", " 2024-07-01", "2023-01-01T00:00:00+02:00"),
        (None, None),
        ("x", "y"),
    ],
)
def test_a_timestamp_that_repeats_is_the_same_each_time(word, texts, monkeypatch):
    alone = convert(word, *texts, zone="Europe/Madrid")
    read = []
    once = text_types._read_timestamps
    monkeypatch.setattr(
        text_types, "_read_timestamps", lambda text, *rest, **named: (read.append(len(text)), once(text, *rest, **named))[1]
    )
    assert convert(word, *texts * text_types.LOOKED_AT, zone="Europe/Madrid") == alone * text_types.LOOKED_AT
    assert read[0] == len({one for one in texts if one is not None})


def test_a_timestamptz_without_offset_is_wall_clock_of_the_zone():
    got = convert("timestamptz", "2026-10-25T02:30:00", "2026-03-29T02:30:00", "2026-03-29T02:30:00Z", zone="Europe/Madrid")
    assert got == [utc(2026, 10, 25, 0, 30), None, utc(2026, 3, 29, 2, 30)]  # the first of two; never was; an instant


def test_text_and_bytes_keep_their_blanks():
    assert convert("string", " a ", "") == [" a ", ""]
    assert convert("binary", "é ") == ["é ".encode()]


def test_lists_and_structs_are_json_of_the_right_types():
    assert convert("list<int64>", "[1, 2]", "[]", '["3"]', '[1, "x"]', "[1.5]", "{", "3") == [
        [1, 2],
        [],
        [3],
        None,
        None,
        None,
        None,
    ]
    got = convert("struct<a: int64, b: list<string>>", '{"a": 1, "b": ["x"]}', '{"a": "no"}', '{"other": 1}', "[]")
    assert got == [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}, None]


def test_a_column_of_nulls_keeps_its_type():
    for word in ("int64", "float64", "bool", "decimal(5,2)", "date", "time", "timestamp", "timestamptz", "list<int64>"):
        assert convert(word, None, None) == [None, None]
        assert convert(word) == []


def test_words_of_a_source_become_types():
    assert source_schema({"a": "int32", "b": "timestamptz"}) == {"a": pl.Int32(), "b": pl.Datetime("us", "UTC")}
