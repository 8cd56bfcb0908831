"""Casts between typed columns."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from raypipe.core.datatype import parse_datatype
from raypipe.engine.casts import Fit, checked_cast, fit

SAME, WIDENS, BY_VALUE, NEVER = Fit.SAME, Fit.WIDENS, Fit.BY_VALUE, Fit.NEVER
US = pl.Datetime("us")
UTC = pl.Datetime("us", "UTC")


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        (pl.Int64(), "int64", SAME), (pl.Null(), "int64", WIDENS), (pl.Int32(), "int64", WIDENS), (pl.UInt32(), "int64", WIDENS),
        (pl.UInt64(), "int64", BY_VALUE), (pl.Int32(), "uint64", BY_VALUE), (pl.Int64(), "int32", BY_VALUE),
        (pl.Int64(), "float64", WIDENS), (pl.Int64(), "float32", BY_VALUE), (pl.Int32(), "decimal(12,2)", WIDENS),
        (pl.Int32(), "decimal(5,2)", BY_VALUE), (pl.Float32(), "float64", WIDENS), (pl.Float64(), "float32", BY_VALUE),
        (pl.Decimal(5, 2), "decimal(7,3)", WIDENS), (pl.Decimal(5, 2), "decimal(5,3)", BY_VALUE), (pl.Date(), "timestamp", WIDENS),
        (US, "date", BY_VALUE), (US, "timestamptz", WIDENS), (UTC, "timestamp", WIDENS), (pl.Datetime("ns"), "timestamp", WIDENS),
        (pl.Int64(), "date", NEVER), (pl.Int64(), "timestamp", NEVER), (pl.String(), "int64", BY_VALUE), (pl.Int64(),
        "string", BY_VALUE),
        (pl.List(pl.Int32()), "list<int64>", WIDENS), (pl.List(pl.Int64()), "list<int32>", BY_VALUE), (pl.List(pl.Int64()),
        "int64", NEVER),
        (pl.Struct({"a": pl.Int32()}), "struct<a: int64>", WIDENS), (pl.Struct({"b": pl.Int32()}), "struct<a: int64>", NEVER),
        (pl.Categorical(), "string", WIDENS), (pl.Boolean(), "int64", BY_VALUE), (pl.Binary(), "int64", NEVER),
    ],
)  # fmt: skip
def test_types_fit_as_they_should(found, wanted, expected):
    assert fit(found, parse_datatype(wanted), "UTC") is expected


def test_an_instant_fits_wall_clock_only_where_the_zone_has_no_changes():
    assert fit(UTC, parse_datatype("timestamp"), "Europe/Madrid") is BY_VALUE


def cast(word, values, dtype=None, zone="UTC"):
    return checked_cast(pl.Series("c", values, dtype=dtype), parse_datatype(word), zone).to_list()


def test_nothing_wraps_rounds_or_overflows():
    assert cast("int8", [1, 300, None]) == [1, None, None]
    assert cast("int64", [1.0, 1.5, float("nan"), 1e30]) == [1, None, None, None]
    assert cast("float64", [5, 2**53 + 1]) == [5.0, None]
    assert cast("float32", [0.5, 1e300]) == [0.5, None]
    assert cast("bool", [0, 1, 2, None]) == [False, True, None, None]
    assert cast("decimal(5,1)", [Decimal("1.50"), Decimal("1.55")], pl.Decimal(10, 2)) == [Decimal("1.5"), None]
    assert cast("int64", [Decimal("2.00"), Decimal("2.50")], pl.Decimal(10, 2)) == [2, None]


def test_a_float_may_be_rounded_to_a_decimal_because_it_has_no_exact_one():
    assert cast("decimal(5,2)", [0.1, 1e9]) == [Decimal("0.10"), None]


def test_text_is_read_as_in_a_contract_and_bytes_must_be_utf8():
    assert cast("int64", ["5", "x"]) == [5, None]
    assert cast("string", [b"a", b"\xff", None]) == ["a", None, None]
    assert cast("string", [1, None]) == ["1", None]


def test_times_follow_the_zone():
    gap, winter = dt.datetime(2026, 3, 29, 2, 30), dt.datetime(2026, 1, 1, 12)
    assert cast("timestamptz", [gap, winter], zone="Europe/Madrid") == [None, dt.datetime(2026, 1, 1, 11, tzinfo=dt.UTC)]
    instant = pl.Series("c", [winter]).dt.replace_time_zone("UTC")
    assert checked_cast(instant, parse_datatype("timestamp"), "Europe/Madrid").to_list() == [dt.datetime(2026, 1, 1, 13)]
    late = pl.Series("c", [dt.datetime(2026, 1, 1, 23, 30)]).dt.replace_time_zone("UTC")
    assert checked_cast(late, parse_datatype("date"), "Europe/Madrid").to_list() == [dt.date(2026, 1, 2)]
    assert cast("timestamp", [dt.date(2026, 1, 1)]) == [dt.datetime(2026, 1, 1)]


def test_types_with_nothing_in_common_are_refused():
    with pytest.raises(TypeError, match="cannot become int64"):
        cast("int64", [[1]])


def test_a_value_inside_a_list_or_a_struct_that_does_not_fit_makes_its_row_unfit_and_no_other():
    kind = parse_datatype("list<struct<price: decimal(9,2), days: list<date>>>")
    items = pl.List(pl.Struct({"price": pl.String, "days": pl.List(pl.String)}))
    good = {"price": "1.5", "days": ["2024-03-01", None]}
    rows = [
        [good, {"price": None, "days": None}],
        [],
        None,
        [good, {"price": "1.5", "days": ["march"]}],
        [None],
        [{**good, "price": "x"}],
    ]
    typed = checked_cast(pl.Series(rows, dtype=items), kind, "UTC")
    assert fit(items, kind, "UTC") is BY_VALUE
    fine = {"price": Decimal("1.50"), "days": [dt.date(2024, 3, 1), None]}
    assert typed.to_list() == [[fine, {"price": None, "days": None}], [], None, None, [None], None]
    assert checked_cast(pl.Series([], dtype=items), kind, "UTC").to_list() == []
