"""Hostile values: overflows, infinities, impossible and far-away times: exact, refused by name, or set aside; never bent."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from raypipe.core.window import to_us

BIG = 2**63 - 1
NUMBERS = {"id": {"type": "int64", "required": True}, "ts": "timestamp", "n": "int64", "d": "decimal(38,2)", "x": "float64"}


def sql(text: str) -> list[dict[str, str]]:
    return [{"table": "clean", "rows": "all"}, {"table": "sums", "sql": text}]


def csv(*rows: str) -> str:
    return "\n".join(["id,ts,n,d,x", *rows]) + "\n"


@pytest.mark.fault(34)
def test_sums_beyond_64_bits_are_exact(bench):
    bench.write("in.csv", csv(*(f"{number},2026-01-01T00:00:00,{BIG},," for number in range(3))))
    bench.config("in.csv", columns=NUMBERS, outputs=sql("SELECT sum(n) AS total FROM rows HAVING count(*) > 0"))
    bench.done()
    assert bench.column("SELECT total FROM sums") == [3 * BIG]


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    "sections",
    [
        {"transform": [{"derive": {"m": "n * 2"}}]},
        {"outputs": sql("SELECT id, n + 1 AS m FROM rows")},
    ],
    ids=["times", "sql"],
)
def test_whole_numbers_beyond_64_bits_fail_their_shard_and_never_wrap(bench, sections):
    bench.write("in.csv", csv(f"1,2026-01-01T00:00:00,{BIG},,", "2,2026-01-02T00:00:00,5,,"))
    bench.config("in.csv", columns=NUMBERS, **sections)
    ((code, error),) = bench.failed()
    assert code == "transform_failed"
    assert "overflow" in error.lower() or "out of range" in error.lower()
    assert bench.column("SELECT id FROM clean") == [2]


@pytest.mark.fault(34)
def test_conditions_on_whole_numbers_beyond_64_bits_are_judged_exactly(bench):
    bench.write("in.csv", csv(f"1,2026-01-01T00:00:00,{BIG},,", f"2,2026-01-01T00:00:00,{-BIG},,"))
    rules = [{"name": "one_more", "expect": "n + 1 > 0 OR n < 0"}, {"name": "twice", "expect": "n * 2 > 0 OR n < 0"}]
    bench.config("in.csv", columns=NUMBERS, quality={"rules": rules}, transform=[{"filter": "n - 5 < 0", "name": "negative"}])
    report = bench.done()
    assert bench.column("SELECT id FROM clean") == [2]
    assert (report.closed.rows.filtered, report.closed.rows.quarantined) == (1, 0)


@pytest.mark.fault(35)
def test_decimals_that_do_not_fit_are_set_aside_and_sums_that_do_not_fit_fail_their_shard(bench):
    nines = "9" * 36
    bench.write("in.csv", csv(
        f"2,2026-01-01T00:00:00,,{nines}.99,", f"3,2026-01-01T01:00:00,,{nines}9.99,", "4,2026-01-01T02:00:00,,1.005,",
        "5,2026-01-01T03:00:00,,1.5,", f"6,2026-01-02T00:00:00,,{nines}.99,", f"7,2026-01-02T01:00:00,,{nines}.99,",
    ))  # fmt: skip
    bench.config("in.csv", columns=NUMBERS, outputs=sql("SELECT sum(d) AS total FROM rows WHERE id > 5 HAVING count(*) > 0"))
    ((code, error),) = bench.failed()
    assert code == "transform_failed"
    assert "overflow" in error.lower() or "out of range" in error.lower()
    assert bench.rules() == {3: "type_d", 4: "type_d"}
    assert {str(value) for value in bench.column("SELECT d FROM clean")} == {f"{nines}.99", "1.50"}


@pytest.mark.fault(36)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_nan_infinities_and_minus_zero_are_values_and_sort_as_duckdb_says(bench, kind):
    values = ["nan", "inf", "-inf", "-0.0", "0.0", "1e308"]
    times = [datetime(2026, 1, 1, hour) for hour in range(len(values))]
    if kind == "csv":
        bench.write("in.csv", csv(*(f"{n},{times[n].isoformat()},,,{text}" for n, text in enumerate(values))))
    else:
        floats = [float(text) for text in values]
        bench.parquet("in.parquet", pa.table({"id": range(len(values)), "ts": times, "x": floats}))
    columns = {name: NUMBERS[name] for name in ("id", "ts", "x")}
    text = "SELECT max(x) AS top, min(x) AS low, count(*) FILTER (x > 1) AS above FROM rows HAVING count(*) > 0"
    bench.config(
        f"in.{kind}",
        columns=columns,
        outputs=sql(text),
        quality={"rules": [{"name": "finite", "expect": "x < 2", "otherwise": "warn"}]},
    )
    bench.done()
    found = bench.column("SELECT x FROM clean ORDER BY id")
    assert [str(value) for value in found] == ["nan", "inf", "-inf", "-0.0", "0.0", "1e+308"]
    ((top, low, above),) = bench.query("SELECT top, low, above FROM sums")
    assert math.isnan(top)  # NaN is the largest float of DuckDB and PostgreSQL
    assert (low, above) == (-math.inf, 3)
    bench.proven()


@pytest.mark.fault(36)
def test_a_float_that_is_too_large_is_set_aside_and_does_not_become_infinity(bench):
    path = bench.write(
        "in.csv", csv("2,2026-01-01T00:00:00,,,1e400", "3,2026-01-01T01:00:00,,,-1e400", "4,2026-01-01T02:00:00,,,1e-400")
    )
    bench.config("in.csv", columns=NUMBERS)
    bench.done()
    bench.every_line_is_accounted([2, 3, 4], {2: "type_x", 3: "type_x"}, path=path)
    assert bench.column("SELECT x FROM clean") == [0.0]


# ---- time -------------------------------------------------------------------------------------------------

TIMES = {"id": {"type": "int64", "required": True}, "ts": "timestamp"}


@pytest.mark.fault(39)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_time_that_occurs_twice_is_the_first_and_one_that_never_occurs_is_set_aside(bench, kind):
    """Clocks in Madrid skip 02:00 to 03:00 on 29 March 2026 and show it twice on 25 October."""
    texts = ["2026-03-29T01:59:59", "2026-03-29T02:30:00", "2026-03-29T03:00:00", "2026-10-25T02:30:00", "2026-10-25T03:00:00"]
    if kind == "jsonl":
        bench.write("in.jsonl", "".join(f'{{"id": {n}, "ts": "{text}"}}\n' for n, text in enumerate(texts)))
    else:
        bench.parquet("in.parquet", pa.table({"id": range(5), "ts": [datetime.fromisoformat(text) for text in texts]}))
    time = {"column": "ts", "zone": "Europe/Madrid", "start": "2026-03-29", "end": "2026-10-26", "shard": "1h"}
    bench.config(f"in.{kind}", columns=TIMES, time=time)
    bench.done()
    ((rule, error),) = bench.aside().values()
    assert rule == "no_such_time"
    assert error.startswith("ts: got ")
    assert error.endswith("a time that the clocks of Europe/Madrid skipped")
    placed = dict(bench.query("SELECT id, _shard::VARCHAR FROM clean"))
    assert placed == {
        0: "2026-03-29 00:00:00",  # UTC
        2: "2026-03-29 01:00:00",
        3: "2026-10-25 00:00:00",  # the first of two
        4: "2026-10-25 02:00:00",
    }
    assert [str(value) for value in bench.column("SELECT ts FROM clean ORDER BY id")] == [
        text.replace("T", " ") for n, text in enumerate(texts) if n != 1
    ]


@pytest.mark.fault(40, 42)
def test_leap_seconds_and_far_away_times_are_set_aside_with_what_was_expected(bench):
    texts = {
        2: "1970-01-01T00:00:00",
        3: "2026-06-30T23:59:60",
        4: "0001-01-02T00:00:00",  # the first day that can be placed in any zone, and long before this history
        5: "0001-01-01T00:00:00",
        6: "9999-12-31T23:59:59",
        7: "9998-12-30T23:59:59.999999",
        8: "2262-04-12T00:00:00",  # beyond 64 bits of nanoseconds
        9: "2026-02-29T00:00:00",
        10: "1969-12-31T23:59:59.999999999",
        11: "292278994-08-17T07:12:55",
    }
    path = bench.write("in.csv", "id,ts\n" + "".join(f"{n},{text}\n" for n, text in texts.items()))
    bench.config("in.csv", columns=TIMES, time={"column": "ts", "start": "1899-01-01", "end": "9998-12-31", "shard": "300mo"})
    bench.done()
    aside = {
        3: "no_event_time",
        5: "out_of_range",
        6: "out_of_range",
        9: "no_event_time",
        11: "no_event_time",
    }
    bench.every_line_is_accounted([number for number in texts if number != 4], aside, path=path)
    assert bench.query("SELECT outside FROM _raypipe.runs") == [(1,)]
    assert bench.aside()[3][1] == "ts: got '2026-06-30T23:59:60', expected a time in the format 'iso'"
    assert bench.aside()[6][1] == "ts: got '9999-12-31T23:59:59', expected a time in the years 1 to 9998"
    assert [str(value) for value in bench.column("SELECT ts FROM clean ORDER BY ts")] == [
        "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00", "2262-04-12 00:00:00", "9998-12-30 23:59:59.999999",
    ]  # fmt: skip


@pytest.mark.fault(42)
def test_epochs_that_overflow_are_set_aside_and_zero_is_1970(bench):
    values = [0, -1, 10**18, BIG, 253_370_764_800, 1_767_225_600]
    bench.write("in.jsonl", "".join(f'{{"id": {n}, "ts": {value}}}\n' for n, value in enumerate(values)))
    time = {"column": "ts", "format": "epoch_s", "start": "1960-01-01", "end": "2027-01-01", "shard": "52w"}
    bench.config("in.jsonl", columns={"id": "int64", "ts": "int64"}, time=time)
    bench.done()
    assert bench.column("SELECT id FROM clean ORDER BY id") == [0, 1, 5]
    assert [rule for rule, _ in bench.aside().values()] == ["out_of_range"] * 3


@pytest.mark.fault(42)
def test_parquet_times_beyond_the_range_are_set_aside_in_every_unit(bench):
    def times(unit: str, *values: int) -> pa.Table:
        ids = [f"{unit}{place}" for place in range(len(values))]
        return pa.table({"id": ids, "ts": pa.array(values, pa.int64()).cast(pa.timestamp(unit))})

    bench.parquet("ms.parquet", times("ms", 0, BIG, -BIG, 1_767_225_600_000))
    bench.parquet("us.parquet", times("us", BIG, -BIG, 0))
    bench.parquet("ns.parquet", times("ns", -BIG, BIG, 1_767_225_600 * 10**9 + 1))
    time = {"column": "ts", "start": "1600-01-01", "end": "2300-01-01", "shard": "520w"}
    bench.config("*.parquet", columns={"id": "string", "ts": "timestamp"}, time=time)
    bench.done()
    assert bench.column("SELECT id FROM clean ORDER BY id") == ["ms0", "ms3", "ns0", "ns1", "ns2", "us2"]
    assert bench.query(
        "SELECT regexp_extract(source, '..\\.parquet$'), position, rule, raw FROM _raypipe.quarantine ORDER BY ALL"
    ) == [
        ("ms.parquet", 1, "out_of_range", f'{{"id": "ms1", "ts": "{BIG} ms since 1970"}}'),
        ("ms.parquet", 2, "out_of_range", f'{{"id": "ms2", "ts": "{-BIG} ms since 1970"}}'),
        ("us.parquet", 0, "out_of_range", f'{{"id": "us0", "ts": "{BIG} us since 1970"}}'),
        ("us.parquet", 1, "out_of_range", f'{{"id": "us1", "ts": "{-BIG} us since 1970"}}'),
    ]


@pytest.mark.fault(42)
def test_a_row_that_is_set_aside_shows_its_other_times_however_far_away_they_are(bench):
    """Neither Python nor Polars has a word for a time in the year 292,278; the row is shown all the same."""
    times = [datetime(2026, 1, 1), None, datetime(2026, 1, 2)]
    nested = pa.array([{"at": BIG}, {"at": -BIG}, {"at": 0}], pa.struct([("at", pa.timestamp("us"))]))
    table = {
        "id": ["rule", "untimed", "fine"],
        "ts": pa.array(times, pa.timestamp("us")),
        "us": pa.array([BIG, -BIG, 0], pa.int64()).cast(pa.timestamp("us")),
        "ns": pa.array([1, 1, 0], pa.int64()).cast(pa.timestamp("ns")),
        "day": pa.array([2**31 - 1, -(2**31), 0], pa.int32()).cast(pa.date32()),
        "nested": nested,
    }
    bench.parquet("in.parquet", pa.table(table))
    rules = [{"name": "only_fine", "expect": "id = 'fine'"}]
    bench.config("in.parquet", columns={}, quality={"rules": rules})
    bench.done()
    assert bench.column("SELECT id FROM clean") == ["fine"]
    found = {rule: json.loads(raw) for rule, raw in bench.query("SELECT rule, raw FROM _raypipe.quarantine")}
    assert found["only_fine"] == {
        "id": "rule", "ts": "2026-01-01T00:00:00", "us": f"{BIG} us since 1970", "ns": "1970-01-01T00:00:00",
        "day": f"{2**31 - 1} days since 1970", "nested": {"at": f"{BIG} us since 1970"},
    }  # fmt: skip
    assert found["no_event_time"] == {
        "id": "untimed", "ts": None, "us": f"{-BIG} us since 1970", "ns": "1970-01-01T00:00:00",
        "day": f"{-(2**31)} days since 1970", "nested": {"at": f"{-BIG} us since 1970"},
    }  # fmt: skip


@pytest.mark.fault(41)
def test_a_clock_that_jumps_neither_loses_nor_doubles_what_is_committed(bench, monkeypatch):
    from raypipe.runtime import system_clock

    day_us = 86_400_000_000
    bench.write("a.csv", "id,ts\n1,2026-01-01T00:00:00\n")
    bench.config("*.csv", columns=TIMES)
    real = system_clock.SystemClock.now_us
    monkeypatch.setattr(system_clock.SystemClock, "now_us", lambda self: real(self) + day_us)
    first = bench.done()
    bench.write("b.csv", "id,ts\n2,2026-01-01T01:00:00\n")
    monkeypatch.setattr(system_clock.SystemClock, "now_us", lambda self: real(self) - day_us)
    second = bench.done()
    assert bench.column("SELECT id FROM clean ORDER BY id") == [1, 2]
    assert (second.closed.planned, second.closed.committed) == (1, 1)
    assert second.run_id < first.run_id  # ids sort by the clock, and nothing rests on that
    assert first.closed.watermark_us == second.closed.watermark_us == to_us(datetime(2026, 1, 4, tzinfo=UTC))
    assert bench.run().closed.planned == 0
