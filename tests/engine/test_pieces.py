"""A shard computed in pieces of its time contributes what it contributes when it is computed at once."""

from __future__ import annotations

import dataclasses
import random

import polars as pl
import pytest

from raypipe.core.datatype import parse_datatype
from raypipe.core.room import Room
from raypipe.pipeline import Check, Deduplicate, Filter, GroupByOutput, OutputColumn, Quality, RowsOutput, Rule, SqlOutput
from raypipe.ports import Reject

HOUR_US = 3_600_000_000
COLUMNS = {"k": "string", "n": "int64", "f": "float64", "b": "bool"}
MEASURES = {
    "rows_in": "count(*)", "ns": "count(n)", "total": "sum(n)", "low": "min(f)", "high": "max(f)", "mean": "avg(n)",
    "every": "bool_and(b)", "some": "bool_or(b)", "one": "first(n)", "other": "last(n)", "about": "approx_count_distinct(n)",
    "median": "approx_quantile(n, 0.5)", "exactly": "count(DISTINCT n)",
}  # fmt: skip
TOTALS = GroupByOutput(table="totals", group_by={"k": "k"}, measures=MEASURES)
OUT = RowsOutput(table="out")


def rows(height=2_000, seed=3):
    chance = random.Random(seed)
    return pl.DataFrame(
        {
            "k": [chance.choice([None, "a", "b", "c"]) for _ in range(height)],
            "n": [chance.choice([None, "x", *map(str, range(500))]) for _ in range(height)],
            "f": [chance.choice([None, "nan", "-0.0", "1.5", "2"]) for _ in range(height)],
            "b": [chance.choice([None, "true", "false"]) for _ in range(height)],
            "_time": [chance.randrange(HOUR_US) for _ in range(height)],
        }
    )


REJECTS = (Reject("events.csv", 9, "malformed", "of no time", "x"), Reject("events.csv", 8, "bad", "late", "y", HOUR_US - 1))


@pytest.fixture
def done(make_runner, make_task, memory_source):
    def run_in(room, pipeline):
        task = dataclasses.replace(make_task(1), room=room)
        source = memory_source(rows(), rejects=REJECTS, batch_rows=300)
        return make_runner(pipeline, source).run(task)

    return run_in


def content(staged):
    tables = {name: sorted(map(repr, table.to_pylist())) for name, table in staged.tables.items()}
    return tables, {name: table.schema for name, table in staged.tables.items()}, [
        dataclasses.replace(one, seconds=0.0) for one in staged.results
    ], staged.failures  # fmt: skip


@pytest.mark.parametrize(
    "room", [Room.SPARING, Room.ALONE, Room.IN_PIECES, pytest.param(Room.IN_SMALL_PIECES, marks=pytest.mark.slow)]
)
def test_every_way_to_deal_with_memory_leaves_the_same(make_pipeline, done, room):
    quality = Quality(
        rules=(Rule(name="small", expect="n < 400", otherwise="drop"),),
        checks=(Check(table="totals", expect="sum(rows_in) > 1000", otherwise="fail"),),
    )
    pipeline = make_pipeline(COLUMNS, steps=[Filter(condition="n <> 7", name="no_seven")], outputs=[OUT, TOTALS], quality=quality)
    assert pipeline.divisible_outputs == {"out", "totals"}
    expected = done(Room.SHARED, pipeline)
    assert not expected.failures
    assert expected.results[0].accounts.quarantined > 2
    assert content(done(room, pipeline)) == content(expected)


def test_a_check_judges_the_whole_shard_and_not_its_pieces(make_pipeline, done):
    contract = RowsOutput(table="out", columns={"k": OutputColumn(type=parse_datatype("string"), required=True)})
    pipeline = make_pipeline(COLUMNS, outputs=[contract])
    whole, cut = (done(room, pipeline).failures for room in (Room.SHARED, Room.IN_PIECES))
    assert whole == cut
    assert "has no value in" in cut[0].error


def test_what_may_depend_on_the_cut_is_never_cut(make_pipeline):
    asked = SqlOutput(table="asked", sql="SELECT max(n) AS n FROM rows")
    keyed = RowsOutput(table="keyed", key=("k",))
    assert make_pipeline(COLUMNS, outputs=[OUT, TOTALS, asked, keyed]).divisible_outputs == {"out", "totals"}
    assert not make_pipeline(COLUMNS, outputs=[OUT, TOTALS], steps=[Deduplicate(key=("k",))]).divisible_outputs
