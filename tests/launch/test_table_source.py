"""A pipeline over the table of another one: ready as far as its watermark, late where its rows changed, and nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypipe import launch
from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.plan import Scope
from raypipe.core.shard import Reason
from raypipe.core.state import RunKind
from raypipe.destinations.duckdb_upstream import DuckDBTable
from raypipe.errors import UsageError
from raypipe.launch import Ask
from raypipe.launch.parts import Parts
from raypipe.pipeline import Column, EventTime, GroupByOutput, Pipeline, RowsOutput, SqlOutput, TableSource
from raypipe.runtime.system_clock import SystemClock
from raypipe.sources.parquet import ParquetReader

pytestmark = pytest.mark.slow  # whole runs on real files
HOURLY = "SELECT date_trunc('hour', ts) AS hour, count(*) AS events, sum(n) AS total FROM rows GROUP BY ALL"


class Downstream:
    """Pipelines over the tables of a place, in the same DuckDB file."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.pipeline = self.over("clean")

    def over(self, table: str, *, column: str = "ts", width: str = "1d", **changes: Any) -> Pipeline:
        upstream: Pipeline = self.place.pipeline
        plain = replace(
            upstream,
            name="downstream",
            time=EventTime(column=column, start_us=upstream.time.start_us, end_us=upstream.time.end_us, shard=parse_width(width)),
            source=TableSource(path=upstream.destination.path, table=table),
            outputs=(RowsOutput(table="copied"),),
        )
        return replace(plain, **changes)

    def redone(self, pipeline: Pipeline | None = None) -> list[tuple[int, str]]:
        """Run, and return the shards that were committed, by number, with the reasons of the plan before."""
        pipeline = pipeline or self.pipeline
        planned = [(shard.index, shard.reason.value) for shard in launch.plan(pipeline, Ask()).plan.shards]
        report = self.place.run(pipeline=pipeline)
        assert (report.closed.status, report.closed.committed) == ("done", len(planned)), report.closed.failures
        assert [check for check in launch.verify(pipeline) if not check.ok] == []
        return planned

    def is_a_copy(self) -> bool:
        """Tell whether the table holds what the upstream table holds now."""
        same = "(FROM {} SELECT ts, n EXCEPT ALL FROM {} SELECT ts, n)"
        rows = self.place.query(f"{same.format('clean', 'copied')} UNION ALL {same.format('copied', 'clean')}")
        return rows == [] and self.place.query("SELECT count(*) FROM copied") != [(0,)]


@pytest.fixture
def downstream(place: Any) -> Downstream:
    return Downstream(place)


NEW = [(day, "new") for day in range(4)]


def test_an_upstream_commit_makes_late_the_shards_that_it_touches_and_no_others(place, downstream):
    place.run()
    assert downstream.redone() == NEW
    assert downstream.redone() == []

    place.day(1, (1, 2, 3, 4))
    place.run()
    assert downstream.redone() == [(1, "late")]
    assert downstream.is_a_copy()

    place.run(
        Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, shards=(0, 4), publish="atomic")
    )  # all again, and nothing comes out otherwise
    assert downstream.redone() == []


@pytest.mark.parametrize(("width", "late"), [("6h", [9]), ("2d", [1])])
def test_that_holds_where_the_shards_of_both_are_cut_otherwise(place, downstream, width, late):
    place.run()
    pipeline = downstream.over("clean", width=width)
    downstream.redone(pipeline)

    place.day(2, (7,))
    place.run()

    assert downstream.redone(pipeline) == [(one, "late") for one in late]
    assert downstream.is_a_copy()


def test_rows_whose_time_lies_elsewhere_make_late_the_shards_where_they_were_and_where_they_are(place, downstream):
    told = SqlOutput(table="told", sql="SELECT ts - to_days(CAST(n AS INTEGER)) AS about, n FROM rows WHERE n < 4")
    place.pipeline = replace(place.pipeline, outputs=(told,))
    for day in range(4):
        place.day(day, (0,))
    place.run()
    pipeline = downstream.over("told", column="about")
    assert downstream.redone(pipeline) == NEW

    place.day(3, (2,))  # what day 3 tells is about day 1 now
    place.run()
    assert downstream.redone(pipeline) == [(1, "late"), (3, "late")]

    place.day(3, (2, 5))  # a row that does not come into the table
    place.run()
    assert downstream.redone(pipeline) == []


def test_shards_are_ready_as_far_as_the_watermark_of_the_table(place, downstream):
    report = launch.plan(downstream.pipeline, Ask())
    assert report.plan.shards == ()
    assert report.upstream is not None
    assert (report.upstream.pipeline, report.upstream.watermark_us, report.upstream.waiting) == (None, None, place.window(0, 4))

    place.run(Ask(shards=(0, 1)))
    place.run(Ask(shards=(2, 3)))
    report = launch.plan(downstream.pipeline, Ask())
    assert [shard.window for shard in report.plan.shards] == [place.window(0)]
    assert report.upstream is not None
    assert (report.upstream.pipeline, report.upstream.waiting) == ("events", place.window(1, 4))
    assert launch.status(downstream.pipeline).upstream == report.upstream
    backfill = Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, shards=(0, 4), publish="atomic")
    assert place.run(backfill, pipeline=downstream.pipeline).closed.committed == 1

    place.run()
    assert downstream.redone() == NEW[1:]
    assert launch.status(downstream.pipeline).upstream.waiting is None


def test_a_shard_that_lost_all_its_rows_is_done_again_without_them(place, downstream):
    place.run()
    downstream.redone()
    place.pipeline = replace(place.pipeline, outputs=(RowsOutput(table="clean"),), quality=place.pipeline.quality)
    place.day(2, ())
    place.run(Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, shards=(2, 3), accept_shrunk=True))

    assert downstream.redone() == [(2, "late")]
    assert downstream.is_a_copy()


def test_a_merged_table_is_read_as_it_is_and_only_the_shards_are_late_whose_rows_changed(place, downstream):
    keyed = RowsOutput(table="newest", key=("n",))
    days = GroupByOutput(
        table="days", group_by={"day": "date_trunc('day', ts)"}, measures={"events": "count(*)", "total": "sum(n)"}
    )
    place.pipeline = replace(place.pipeline, outputs=(keyed, days))
    for day in range(4):
        place.day(day, (day, 10))
    place.run()
    by_key = downstream.over("newest")
    by_day = replace(downstream.over("days", column="day"), name="days_copied", outputs=(RowsOutput(table="days_copied"),))
    assert downstream.redone(by_key) == downstream.redone(by_day) == NEW

    place.day(1, (1, 2, 10, 10))  # key 2 stays newest on day 2; of day 1 the total changes
    place.run()
    assert downstream.redone(by_key) == []
    assert downstream.redone(by_day) == [(1, "late")]

    place.day(3, (1,))  # key 1 is newest on day 3 now, key 3 is gone, and key 10 is newest on day 2 again
    place.run()
    assert downstream.redone(by_key) == [(1, "late"), (2, "late"), (3, "late")]
    assert downstream.redone(by_day) == [(3, "late")]
    for copied, table in (("copied", "newest"), ("days_copied", "days")):
        columns = ", ".join(name for name, *_ in place.query(f"DESCRIBE {table}"))
        assert place.query(f"SELECT {columns} FROM {copied} ORDER BY ALL") == place.query(f"SELECT * FROM {table} ORDER BY ALL")


def test_a_column_that_the_upstream_adds_makes_nothing_late_and_is_there_from_then_on(place, downstream):
    place.run()
    downstream.redone()
    wider = RowsOutput(table="clean")
    place.pipeline = replace(place.step("    return rows.with_columns(doubled=pl.col('n') * 2)\n"), outputs=(wider,))
    place.day(3, (5, 6))
    place.run()

    assert downstream.redone() == [(3, "late")]
    assert place.query("SELECT day(ts), doubled FROM copied WHERE doubled IS NOT NULL ORDER BY ALL") == [(4, 10), (4, 12)]


def test_a_contract_names_what_is_read_and_refuses_what_is_not_there(place, downstream):
    place.run()
    source = TableSource(path=str(place.out), table="clean", columns={"n": Column(type=parse_datatype("int64"), required=True)})
    named = replace(source, columns={**source.columns, "ts": Column(type=parse_datatype("timestamp"))})
    assert downstream.redone(downstream.over("clean", source=named)) == NEW

    missing = replace(named, columns={**named.columns, "m": Column(type=parse_datatype("int64"))})
    report = launch.check(downstream.over("clean", source=missing))
    assert report.problems == ("source.columns: column 'm' is missing",)


def test_a_table_without_the_column_of_event_time_is_found_by_check(place, downstream):
    place.run()

    assert launch.check(downstream.over("clean", column="tss")).problems == (
        'time.column: got "tss", expected a column of the table clean: one of ts, n; did you mean "ts"?',
    )


def test_a_table_that_is_replaced_between_its_listing_and_its_reading_is_listed_again(place, downstream, monkeypatch):
    place.run()
    copy: Callable[..., None] = DuckDBTable.copy

    def late(self: DuckDBTable, *arguments: Any) -> None:
        monkeypatch.setattr(DuckDBTable, "copy", copy)
        place.day(2, (9, 9))
        place.run()
        copy(self, *arguments)

    monkeypatch.setattr(DuckDBTable, "copy", late)

    assert place.run(pipeline=downstream.pipeline).closed.status == "done"
    assert downstream.is_a_copy()
    assert downstream.redone() == []


def test_a_live_range_that_is_replaced_while_it_is_read_is_read_again(place, downstream, monkeypatch):
    place.run()
    batches = ParquetReader.batches

    def meanwhile(self: ParquetReader) -> Any:
        monkeypatch.setattr(ParquetReader, "batches", batches)
        place.day(1, (8, 8))
        place.run()
        return batches(self)

    monkeypatch.setattr(ParquetReader, "batches", meanwhile)

    report = place.run(pipeline=downstream.pipeline)

    assert report.closed.status == "done"
    assert any("was replaced by its pipeline while it was read" in one for one in report.warnings)
    assert downstream.is_a_copy()
    assert downstream.redone() == []


def test_losing_index_and_copies_costs_time_only(place, downstream):
    place.run()
    downstream.redone()
    folder = Path(Parts(downstream.pipeline, SystemClock()).index_folder)
    assert len(list((folder / "copies").glob("*.parquet"))) == 4
    shutil.rmtree(folder)

    assert downstream.redone() == []
    assert all(check.ok for check in launch.recompute(downstream.pipeline))
    assert all(check.ok for check in launch.verify_widths(downstream.pipeline, [parse_width("6h")]))


def test_copies_of_what_was_replaced_are_removed_and_those_of_a_plan_are_nowhere(place, downstream):
    place.run()
    launch.plan(downstream.pipeline, Ask())
    assert not list(place.state.glob("index/downstream"))
    downstream.redone()
    place.day(0, (4,))
    place.run()
    downstream.redone()

    copies = Path(Parts(downstream.pipeline, SystemClock()).index_folder) / "copies"
    assert [path.suffix for path in copies.iterdir()] == [".parquet"] * 4


def test_rows_without_event_time_are_set_aside_once(place, downstream):
    odd = SqlOutput(table="odd", sql="SELECT CASE WHEN n <> 2 THEN ts END AS about, n FROM rows")
    place.pipeline = replace(place.pipeline, outputs=(odd,))
    place.run()
    pipeline = downstream.over("odd", column="about")
    downstream.redone(pipeline)

    aside = place.query("SELECT day(shard), source, rule FROM _raypipe.quarantine WHERE pipeline = 'downstream' ORDER BY ALL")
    assert aside == [(day, f"out.duckdb#odd/2026-01-0{day}T00:00:00Z", "no_event_time") for day in (1, 2, 3, 4)]
    assert all(check.ok for check in launch.recompute(pipeline))


def test_a_table_of_somebody_else_is_refused_and_one_that_is_not_there_is_told_with_the_nearest(place, downstream):
    import duckdb

    place.run()
    with duckdb.connect(str(place.out)) as connection:
        connection.execute("CREATE TABLE cleans (ts TIMESTAMP)")
    with pytest.raises(
        UsageError, match=r'cleans of .* is not written by a pipeline.*expected one of clean, daily; did you mean "clean"'
    ):
        place.run(pipeline=downstream.over("cleans"))

    report = place.run(pipeline=downstream.over("dayly"))
    assert report.closed.planned == 0
    assert 'its tables are clean, daily; did you mean "daily"?' in report.warnings[0]
    assert launch.check(downstream.over("dayly")).warnings == report.warnings


def test_sample_shows_the_rows_of_the_table(place, downstream):
    place.run()

    name, columns, rows, total = launch.sample(downstream.pipeline, at_us=None, rows=5)[0]

    assert (name, columns, total) == ("source", ["ts (timestamp)", "n (int64)"], 3)
    assert [row[1] for row in rows] == [1, 2, 3]


def test_a_lookback_reads_the_table_before_the_shard_and_is_late_with_it(place, downstream):
    running = SqlOutput(
        table="copied",
        sql="SELECT ts, n, count(*) OVER (ORDER BY ts RANGE INTERVAL 1 DAY PRECEDING) AS seen FROM rows QUALIFY _in_shard",
    )
    plain = downstream.over("clean", outputs=(running,))
    pipeline = replace(plain, time=replace(plain.time, lookback=parse_width("1d")))
    place.run()
    downstream.redone(pipeline)

    place.day(1, (1,))
    place.run()

    assert downstream.redone(pipeline) == [(1, "late"), (2, "late")]
    assert place.query("SELECT DISTINCT day(ts), seen FROM copied ORDER BY ALL") == [(1, 3), (2, 4), (3, 4), (4, 6)]


def test_what_is_late_below_the_lateness_is_held(place, downstream):
    place.run()
    pipeline = replace(downstream.pipeline, time=replace(downstream.pipeline.time, lateness_us=86_400_000_000))
    downstream.redone(pipeline)
    place.day(0, (4,))
    place.day(3, (4,))
    place.run()

    assert downstream.redone(pipeline) == [(3, Reason.LATE.value)]
    assert [window for window, _ in launch.status(pipeline).held] == [place.window(0)]
