"""time.lookback: SQL sees the time before its shard, which is accounted to others, and late input there reopens its readers."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.errors import ConfigurationError
from raypipe.launch import Ask
from raypipe.pipeline import (
    Column,
    Deduplicate,
    Filter,
    MaxQuarantined,
    Quality,
    RowsOutput,
    Rule,
    SqlOutput,
)

pytestmark = pytest.mark.slow  # whole runs on real files

ROLLING = """
SELECT ts, n, sum(n) OVER w::BIGINT AS total, count(*) OVER w AS events FROM rows
WINDOW w AS (ORDER BY ts RANGE BETWEEN INTERVAL 2 DAY PRECEDING AND CURRENT ROW) QUALIFY _in_shard
"""
COLUMNS = {"ts": Column(type=parse_datatype("timestamp")), "n": Column(type=parse_datatype("int64"))}


@pytest.fixture
def looking(place):
    """Four days with events 1, 2 and 3 at 6:00; each day's shard sees the two days before it."""
    time = replace(place.pipeline.time, lookback=parse_width("2d"))
    place.pipeline = replace(
        place.pipeline, time=time, outputs=(RowsOutput(table="clean"), SqlOutput(table="rolling", sql=ROLLING))
    )
    return place


def rolling(place):
    return place.query("SELECT day(ts), n, total, events FROM rolling ORDER BY ALL")


def by_duckdb(place, interval="2 DAY"):
    """The same over all files, without raypipe."""
    with duckdb.connect() as connection:
        return connection.execute(
            f"SELECT day(ts), n, sum(n) OVER w::BIGINT, count(*) OVER w FROM '{place.folder}/*.parquet' "
            f"WINDOW w AS (ORDER BY ts RANGE BETWEEN INTERVAL {interval} PRECEDING AND CURRENT ROW) ORDER BY ALL"
        ).fetchall()


def test_sql_sees_the_time_before_its_shard_and_the_table_holds_each_row_once(looking):
    looking.run()
    assert rolling(looking) == by_duckdb(looking)
    assert rolling(looking)[-1] == (4, 3, 18, 9)
    assert looking.proven()
    assert all(one.ok for one in launch.recompute(looking.pipeline))


def test_rows_of_the_lookback_are_accounted_to_their_own_shard_alone(looking):
    report = looking.run()
    assert report.closed.rows.as_json() == {
        "read": 12, "expanded": 0, "loaded": 12, "filtered": 0, "duplicate": 0, "quarantined": 0,
    }  # fmt: skip
    assert looking.query("SELECT read, loaded FROM _raypipe.shards ORDER BY lo") == [(3, 3)] * 4
    assert looking.query("SELECT count(*) FROM clean") == [(12,)]
    assert [name for name, *_ in looking.query("DESCRIBE clean")] == ["ts", "n", "_shard"]


def test_what_is_set_aside_filtered_or_doubled_in_the_lookback_is_so_in_its_own_shard_alone(looking):
    rules = (Rule(name="not_two", expect="n <> 2"),)
    steps = (Filter(condition="n <> 3", name="small"), Deduplicate(key=("n",)))
    looking.day(0, (1, 1, 2, 2, 3))
    looking.pipeline = replace(looking.pipeline, quality=Quality(rules=rules), transform=steps)
    looking.run()
    accounts = looking.query("SELECT read, filtered, duplicate, quarantined FROM _raypipe.shards ORDER BY lo")
    assert accounts == [(5, 1, 1, 2), (3, 1, 0, 1), (3, 1, 0, 1), (3, 1, 0, 1)]
    assert looking.query("SELECT day(shard), count(*) FROM _raypipe.quarantine GROUP BY ALL ORDER BY ALL") == [
        (1, 2), (2, 1), (3, 1), (4, 1),
    ]  # fmt: skip
    assert looking.proven()


def test_a_threshold_of_quarantine_does_not_judge_the_lookback(looking):
    looking.day(0, (-1, -1, -1))
    quality = Quality(rules=(Rule(name="positive", expect="n > 0"),), max_quarantined=MaxQuarantined(share=0.0, at_least=1))
    looking.pipeline = replace(looking.pipeline, quality=quality)
    report = looking.run()
    assert [one.window for one in report.closed.failures] == [looking.window(0)]
    assert report.closed.committed == 3


def test_a_shard_whose_lookback_cannot_be_loaded_fails_instead_of_seeing_less(looking):
    looking.day(1, (1, 666))
    looking.pipeline = replace(looking.pipeline, quality=Quality(rules=(Rule(name="sane", expect="n < 600", otherwise="fail"),)))
    report = looking.run()
    assert [one.window for one in report.closed.failures] == [looking.window(1), looking.window(2), looking.window(3)]
    assert "to which it looks back: rule sane was broken" in report.closed.failures[1].error


def test_late_input_in_the_lookback_reopens_the_shards_that_read_it_and_these_only(looking):
    looking.run()
    looking.day(0, (1, 2, 3, 40))
    shards = launch.plan(looking.pipeline, Ask()).plan.shards
    assert [(one.window, one.reason) for one in shards] == [(looking.window(day), Reason.LATE) for day in (0, 1, 2)]
    looking.run()
    assert rolling(looking) == by_duckdb(looking)
    assert launch.plan(looking.pipeline, Ask()).plan.shards == ()


def test_one_changed_row_of_a_csv_file_of_all_days_reopens_the_shards_that_read_it_and_these_only(looking):
    lines = [f"2026-01-0{day + 1}T0{hour}:00:00,{hour}" for day in range(4) for hour in (1, 5)]
    path = looking.folder / "all.csv"
    path.write_text("\n".join(["ts,n", *lines]) + "\n")
    os.utime(path, (10**9, 10**9))
    source = replace(looking.pipeline.source, paths=(str(path),), format="csv", columns=COLUMNS)
    looking.pipeline = replace(looking.pipeline, source=source)
    looking.run()
    path.write_text(path.read_text().replace("2026-01-02T05:00:00,5", "2026-01-02T05:00:00,6"))
    os.utime(path, (10**9, 10**9 + 60))
    assert [one.window for one in launch.plan(looking.pipeline, Ask()).plan.shards] == [looking.window(day) for day in (1, 2, 3)]
    looking.run()
    total = "SELECT total FROM rolling WHERE ts = TIMESTAMP '2026-01-03 05:00:00'"
    assert looking.query(total) == [(1 + 5 + 1 + 6 + 1 + 5 - 1,)]  # two days before 5:00 begin after the first 1:00
    assert all(one.ok for one in launch.recompute(looking.pipeline))


def test_a_lookback_that_ends_inside_a_wider_shard_reopens_no_shard_for_what_lies_before_it(looking):
    """Files are cut so finely that a lookback of two days of a shard of four consists of whole cells."""
    lines = [f"2026-01-{day + 1:02}T01:00:00,{day}" for day in range(8)]
    path = looking.folder / "all.csv"
    path.write_text("\n".join(["ts,n", *lines]) + "\n")
    os.utime(path, (10**9, 10**9))
    time = replace(looking.pipeline.time, shard=parse_width("4d"), end_us=looking.window(8).start_us)
    source = replace(looking.pipeline.source, paths=(str(path),), format="csv", columns=COLUMNS)
    looking.pipeline = replace(looking.pipeline, source=source, time=time)
    looking.run()
    for number, (day, reopened) in enumerate([(1, [looking.window(0, 4)]), (2, [looking.window(0, 4), looking.window(4, 8)])]):
        path.write_text(path.read_text().replace(f"01:00:00,{day}\n", f"01:00:00,{day}0\n"))
        os.utime(path, (10**9, 10**9 + 60 * (number + 1)))
        assert [one.window for one in launch.plan(looking.pipeline, Ask()).plan.shards] == reopened
        looking.run()


def test_history_begins_where_it_begins_also_for_a_lookback(looking):
    path = looking.day(4, (1000,), name="before.parquet")
    early = pa.array([datetime.datetime(2025, 12, 31, 12)], pa.timestamp("us"))
    pq.write_table(pa.table({"ts": early, "n": pa.array([1000], pa.int64())}), path)
    os.utime(path, (10**9, 10**9))
    looking.run()
    assert rolling(looking)[0] == (1, 1, 6, 3)


def test_sql_that_never_asks_which_rows_are_the_shards_own_is_refused_by_check_and_run_alike(looking):
    for sql in ("SELECT ts, n FROM rows", "SELECT * EXCLUDE (_in_shard) FROM rows", "SELECT '_in_shard' AS a FROM rows"):
        pipeline = replace(looking.pipeline, outputs=(SqlOutput(table="made", sql=sql),))
        (problem,) = launch.check(pipeline).problems
        assert problem.startswith(
            "outputs.made.sql: with time.lookback or time.lookahead, `rows` also holds rows of the time around"
        )
        with pytest.raises(ConfigurationError, match="QUALIFY _in_shard"):
            looking.run(pipeline=pipeline)
    assert not looking.out.exists()


def test_the_mark_itself_is_no_column_of_a_table(looking):
    pipeline = replace(looking.pipeline, outputs=(SqlOutput(table="made", sql="SELECT * FROM rows WHERE _in_shard"),))
    (problem,) = launch.check(pipeline).problems
    assert "_in_shard would become a column of the table" in problem
    assert "_in_shard would become a column" in looking.run(pipeline=pipeline).closed.failures[0].error


def test_without_lookback_there_is_no_such_column(place):
    pipeline = replace(place.pipeline, outputs=(SqlOutput(table="made", sql="SELECT n FROM rows WHERE _in_shard"),))
    (problem,) = launch.check(pipeline).problems
    assert "_in_shard" in problem


def test_a_lookback_makes_what_was_computed_with_another_stale_and_none_changes_no_definition(looking):
    looking.run()
    other = replace(looking.pipeline, time=replace(looking.pipeline.time, lookback=parse_width("1d")))
    assert {why for _, why in launch.plan(other, Ask()).plan.stale} == {"clean (time), rolling (time)"}
    from raypipe.engine.definition import definitions

    none = replace(looking.pipeline, time=replace(looking.pipeline.time, lookback=None))
    assert definitions(none)["clean"].parts["time"] != definitions(other)["clean"].parts["time"]


def test_a_backfill_of_one_shard_computes_it_with_its_lookback(looking):
    looking.run()
    before = rolling(looking)
    looking.run(Ask(scope=Scope.ALL, start_us=looking.window(2).start_us, end_us=looking.window(3).start_us, publish="atomic"))
    assert rolling(looking) == before
    assert looking.proven()


def test_work_that_a_killed_run_left_is_taken_over_only_while_its_lookback_is_the_same(looking, killed):
    killed()
    looking.day(0, (1, 2, 3, 40))
    looking.run()
    assert rolling(looking) == by_duckdb(looking)


def test_sample_shows_the_output_of_a_shard_with_its_lookback(looking):
    found = launch.sample(looking.pipeline, at_us=looking.window(2).start_us, rows=20)
    stages = {name: rows for name, _, rows, _ in found}
    assert [row[2:4] for row in stages["output rolling"]] == [(18, 9)] * 3
    assert len(stages["output clean"]) == 3
    assert len(stages["source"]) == 9


def test_sql_sees_the_rows_of_a_text_file_in_their_order_whatever_day_they_are_of(looking):
    lines = ["2026-01-02T06:00:00,1", "2026-01-01T06:00:00,2", "2026-01-02T06:00:00,3", "2026-01-01T06:00:00,4"]
    (looking.folder / "events.csv").write_text("\n".join(["ts,n", *lines, ""]))
    source = replace(looking.pipeline.source, paths=(f"{looking.folder}/*.csv",), format="csv", columns=COLUMNS)
    seen = SqlOutput(table="seen", sql="SELECT n, string_agg(n::VARCHAR, ' ') OVER () AS seen FROM rows QUALIFY _in_shard")
    looking.pipeline = replace(looking.pipeline, source=source, outputs=(seen,))
    looking.run()
    assert looking.query("FROM seen SELECT n, seen ORDER BY n") == [(1, "1 2 3 4"), (2, "2 4"), (3, "1 2 3 4"), (4, "2 4")]
