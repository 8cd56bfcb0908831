from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.core.calendar import parse_width
from raypipe.errors import SchemaDrift
from raypipe.pipeline import EventTime
from raypipe.sources import event_text
from raypipe.sources.placement import column_at, explain, has_column, place, type_at

MADRID = "Europe/Madrid"


def event_time(form: str = "iso", zone: str = "UTC", column: str = "ts") -> EventTime:
    return EventTime(column=column, format=form, zone=zone, start_us=0, shard=parse_width("1d"))


def placed(values: list[object] | pa.Array, form: str = "iso", zone: str = "UTC") -> list[str]:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    result = place(column, event_time(form, zone), "f")
    rules = result.rules.to_pylist() if result.rules is not None else [None] * len(column)
    epoch = dt.datetime(1970, 1, 1)
    return [
        rule if time is None else (epoch + dt.timedelta(microseconds=time)).isoformat()
        for time, rule in zip(result.times.to_pylist(), rules, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T05:06:07Z", "2024-03-01T05:06:07"),
        ("2024-03-01 05:06:07", "2024-03-01T05:06:07"),
        ("2024-03-01T05:06:07.123456789+02:00", "2024-03-01T03:06:07.123456"),
        ("2024-03-01T05:06:07-0030", "2024-03-01T05:36:07"),
        ("2024-03-01", "2024-03-01T00:00:00"),
        ("2024-03-01T05:06", "2024-03-01T05:06:00"),
        ("2024-03-01T05", "2024-03-01T05:00:00"),
        ("20240301T050607Z", "2024-03-01T05:06:07"),
        ("2024-02-30T05:06:07Z", "no_event_time"),
        ("2016-12-31T23:59:60Z", "no_event_time"),
        ("2016-12-31T23:59:60", "no_event_time"),
        ("24:00", "no_event_time"),
        ("", "no_event_time"),
        ("-0001-01-01T00:00:00Z", "no_event_time"),
        ("0000-01-01T00:00:00Z", "no_event_time"),
        ("0001-01-01T00:00:00Z", "out_of_range"),
        ("9999-12-31T23:59:59Z", "out_of_range"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00"),
        (None, "no_event_time"),
    ],
)
@pytest.mark.parametrize("few_texts", [0, 100])
def test_iso_text_is_read_or_named(text: str | None, expected: str, few_texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_text, "FEW_TEXTS", few_texts)
    assert placed([text, "2024-01-01T00:00:00Z"])[0] == expected


ISO_LIKE = (
    r"(0000|0001|1969|2024|9999)-(0[1-9]|1[0-3])-([0-2][1-9]|3[01])[T ]([01][0-9]|2[0-4]):[0-6][0-9]:[0-6][0-9]"
    r"(\.[0-9]{1,10})?(Z|[+-][0-2][0-9]:?[0-7][0-9])?"
)


@given(st.lists(st.from_regex(ISO_LIKE, fullmatch=True), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_few_texts_are_read_as_many_are(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    monkeypatch.setattr(event_text, "FEW_TEXTS", 0)
    many = placed(list(texts))
    monkeypatch.setattr(event_text, "FEW_TEXTS", 100)
    assert placed(list(texts)) == many


@pytest.mark.parametrize("few_texts", [0, 100])
def test_naive_text_is_the_wall_clock_of_the_zone(few_texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_text, "FEW_TEXTS", few_texts)
    texts: list[object] = ["2026-06-01T00:00:00", "2026-06-01T00:00:00Z", "2026-10-25T02:30:00", "2026-03-29T02:30:00"]
    assert placed(texts, zone=MADRID) == ["2026-05-31T22:00:00", "2026-06-01T00:00:00", "2026-10-25T00:30:00", "no_such_time"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit_are_placed(unit: str, timestamps: Callable[..., pa.Array]) -> None:
    naive = timestamps("2026-03-29T02:30:00", "2026-10-25T02:30:00", None, "1969-12-31T23:00:00", unit=unit)
    assert placed(naive, zone=MADRID) == ["no_such_time", "2026-10-25T00:30:00", "no_event_time", "1969-12-31T22:00:00"]
    aware = timestamps("2026-03-29T02:30:00", unit=unit, zone="America/New_York")
    assert placed(aware, zone=MADRID) == ["2026-03-29T02:30:00"]


def test_nanoseconds_are_rounded_down_before_1970_too() -> None:
    assert placed(pa.array([-1, 1], pa.timestamp("ns"))) == ["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00"]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_timestamp_that_would_overflow_is_out_of_range(unit: str) -> None:
    assert placed(pa.array([2**62, -(2**62)], pa.timestamp(unit))) == ["out_of_range", "out_of_range"]


def test_dates_are_midnight_of_the_zone() -> None:
    assert placed([dt.date(2024, 7, 1)], zone=MADRID) == ["2024-06-30T22:00:00"]


def test_epochs_are_read_from_integers_floats_and_text() -> None:
    assert placed([1, None, 2**62], "epoch_s") == ["1970-01-01T00:00:01", "no_event_time", "out_of_range"]
    assert placed([1500, -1], "epoch_ms") == ["1970-01-01T00:00:01.500000", "1969-12-31T23:59:59.999000"]
    assert placed([7], "epoch_us") == ["1970-01-01T00:00:00.000007"]
    assert placed([1.5, float("nan"), float("inf"), 1e300], "epoch_s") == [
        "1970-01-01T00:00:01.500000",
        "no_event_time",
        "no_event_time",
        "out_of_range",
    ]
    texts: list[object] = ["12", " 1.5 ", "x", "1" * 40, "99999999999999999"]
    assert placed(texts, "epoch_s") == [
        "1970-01-01T00:00:12",
        "1970-01-01T00:00:01.500000",
        "no_event_time",
        "no_event_time",
        "out_of_range",
    ]


def test_unsigned_epochs_do_not_wrap() -> None:
    assert placed(pa.array([2**64 - 1], pa.uint64()), "epoch_us") == ["out_of_range"]


def test_strptime_patterns_are_read_by_polars_or_python() -> None:
    assert placed(["31/12/2016 23:59:59", "2016"], "%d/%m/%Y %H:%M:%S") == ["2016-12-31T23:59:59", "no_event_time"]
    assert placed(["2024010105", "x"], "%Y%m%d%H") == ["2024-01-01T05:00:00", "no_event_time"]
    assert placed(["2024-01-01"], "%Y-%m-%d", MADRID) == ["2023-12-31T23:00:00"]
    assert placed(["2024-01-01 00:00:00 +0200"], "%Y-%m-%d %H:%M:%S %z", MADRID) == ["2023-12-31T22:00:00"]


def test_second_60_has_no_event_time_in_a_pattern_while_other_sixties_do() -> None:
    texts: list[object] = ["31/12/2016 23:59:60", "01/02/1960 23:59:00"]
    assert placed(texts, "%d/%m/%Y %H:%M:%S") == ["no_event_time", "1960-02-01T23:59:00"]


def test_dictionary_and_view_columns_are_placed() -> None:
    texts = pa.array(["2024-01-01T00:00:00Z", None, "2024-01-01T00:00:00Z"])
    expected = ["2024-01-01T00:00:00", "no_event_time", "2024-01-01T00:00:00"]
    assert placed(texts.dictionary_encode()) == expected
    assert placed(texts.cast(pa.string_view())) == expected
    assert placed(texts.cast(pa.large_string())) == expected


def test_a_column_that_is_all_null_has_no_event_times() -> None:
    assert placed(pa.nulls(2)) == ["no_event_time", "no_event_time"]


def test_a_type_that_cannot_hold_a_time_names_file_and_remedy() -> None:
    with pytest.raises(SchemaDrift, match=r"f: event time column 'ts' has type int64 with time.format 'iso'.*epoch_s"):
        placed([1, 2])
    with pytest.raises(SchemaDrift, match="bool"):
        placed([True], "epoch_s")


def test_a_path_reaches_into_structs_and_a_name_with_a_dot_goes_first() -> None:
    rows = pa.RecordBatch.from_pylist(
        [{"payload": {"meta": {"ts": "a"}}, "payload.meta.ts": "b"}, {"payload": None, "payload.meta.ts": "c"}]
    )
    assert column_at(rows, "payload.meta.ts").to_pylist() == ["b", "c"]
    nested = rows.select(["payload"])
    assert column_at(nested, "payload.meta.ts").to_pylist() == ["a", None]
    assert type_at(nested.schema, "payload.meta.ts") == pa.string()
    assert not has_column(nested.schema, "payload.other.ts")
    assert not has_column(nested.schema, "payload.meta.ts.deeper")


def test_each_rule_is_explained() -> None:
    time = event_time(zone=MADRID)
    assert (
        explain("no_such_time", "2026-03-29T02:30", time)
        == "ts: got '2026-03-29T02:30', a time that the clocks of Europe/Madrid skipped"
    )
    assert explain("out_of_range", 1, time) == "ts: got 1, expected a time in the years 1 to 9998"
    assert explain("no_event_time", "x", time) == "ts: got 'x', expected a time in the format 'iso'"
    assert explain("no_event_time", None, time) == "ts: there is no event time"
