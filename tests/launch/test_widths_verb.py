"""verify --widths finds what depends on where shards are cut, names the cut, and leaves nothing behind."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.errors import UsageError
from raypipe.pipeline import MaxQuarantined, Quality, RowsOutput, Rule, SqlOutput

pytestmark = pytest.mark.slow  # about 10 s in all: each check computes a pipeline several times

WIDTHS = tuple(map(parse_width, ("1h", "2d")))
RANKED = "SELECT ts, n, row_number() OVER (PARTITION BY date_trunc('day', ts) ORDER BY ts, n) AS place FROM rows"
LAST_OF_ALL = "SELECT ts, n, sum(n) OVER (ORDER BY ts, n)::BIGINT AS so_far FROM rows"
HOURLY = "SELECT date_trunc('hour', ts) AS hour, avg(n / 3.0) AS mean, sum(n)::BIGINT AS total FROM rows GROUP BY ALL"


@pytest.fixture
def hours(place):
    """Three events a day: at 5:00, 11:00 and 17:00."""
    for day in range(4):
        times = [datetime.datetime(2026, 1, 1 + day, hour) for hour in (5, 11, 17)]
        path = place.folder / f"day{day}.parquet"
        pq.write_table(pa.table({"ts": pa.array(times, pa.timestamp("us")), "n": pa.array([day, 10, 20], pa.int64())}), path)
        os.utime(path, (10**9, 10**9))
    return place


def verified(place, sql, *widths, **options):
    pipeline = replace(place.pipeline, outputs=(RowsOutput(table="clean"), SqlOutput(table="made", sql=sql)))
    place.run(pipeline=pipeline)
    before = place.bytes_of_all_files()
    checks = {one.name: one for one in launch.verify_widths(pipeline, widths or WIDTHS, **options)}
    assert place.bytes_of_all_files() == before
    return checks


def test_tables_that_do_not_depend_on_the_cuts_are_the_same_at_every_width(hours):
    checks = verified(hours, HOURLY)
    assert all(one.ok for one in checks.values()), checks
    assert list(checks) == ["order", "widths 1h", "widths 2d"]
    assert checks["widths 1h"].detail == "2 tables are the same in 96 shards of 1h and in 4 of 1d"


def test_the_cut_that_changes_a_table_is_named_with_the_row_as_it_is_without_and_with_it(hours):
    checks = verified(hours, RANKED)
    assert checks["widths 2d"].ok  # a day's rows stay together
    assert not checks["widths 1h"].ok
    detail = checks["widths 1h"].detail
    assert "table made: a cut at 2026-01-01T06:00:00Z changes it" in detail  # the first that parts two rows of a day
    assert '"place": 2}' in detail
    assert '"place": 1}' in detail


def test_a_wider_shard_that_changes_a_table_is_found_by_the_cut_that_it_lacks(hours):
    checks = verified(hours, LAST_OF_ALL, parse_width("2d"))
    assert "table made: a cut at 2026-01-02T00:00:00Z changes it. Without the cut: " in checks["widths 2d"].detail


def test_only_the_range_asked_for_is_computed_and_its_ends_cut_every_width_alike(hours):
    day_us = 86_400_000_000
    window = type(hours.window(0))(hours.window(1).start_us + day_us // 2, hours.window(3).start_us)
    checks = verified(hours, HOURLY, parse_width("1w"), window=window)
    assert checks["widths 1w"].ok
    assert checks["widths 1w"].detail == "2 tables are the same in 1 shards of 1w and in 2 of 1d"


def test_gaps_in_what_is_live_stay_gaps_at_every_width(hours):
    pipeline = replace(hours.pipeline, outputs=(SqlOutput(table="made", sql=HOURLY),))
    for day in (0, 2):
        hours.run(launch.Ask(start_us=hours.window(day).start_us, end_us=hours.window(day).end_us), pipeline=pipeline)
    checks = launch.verify_widths(pipeline, [parse_width("1w")])
    assert [one.ok for one in checks] == [True, True]
    assert "in 2 shards of 1w and in 2 of 1d" in checks[1].detail


def test_thresholds_that_judge_single_shards_do_not_fail_narrow_ones(hours):
    quality = Quality(max_quarantined=MaxQuarantined(share=0.4, at_least=0), rules=(Rule(name="late_enough", expect="n > 5"),))
    pipeline = replace(hours.pipeline, quality=quality, outputs=(RowsOutput(table="clean"),))
    hours.run(pipeline=pipeline)
    checks = launch.verify_widths(pipeline, WIDTHS)
    assert all(one.ok for one in checks), checks


def test_a_shard_that_fails_at_another_width_is_named(hours):
    sql = "SELECT CASE WHEN count(*) = 3 THEN '3' ELSE 'three are needed' END::INTEGER AS fine FROM rows"
    checks = verified(hours, sql)
    assert "[2026-01-01T00:00:00Z, 2026-01-01T01:00:00Z): " in checks["widths 1h"].detail
    assert "three are needed" in checks["widths 1h"].detail
    assert not checks["widths 1h"].ok


def test_nothing_live_is_nothing_to_compare(place):
    with pytest.raises(UsageError, match="nothing is live yet"):
        launch.verify_widths(place.pipeline, WIDTHS)
    assert not place.state.exists()


def test_a_range_can_be_compared_before_anything_ran(hours):
    pipeline = replace(hours.pipeline, outputs=(SqlOutput(table="made", sql=RANKED),))
    checks = launch.verify_widths(pipeline, [parse_width("1h")], window=hours.window(0, 2))
    assert [one.ok for one in checks] == [True, False]
    assert not hours.state.exists()
