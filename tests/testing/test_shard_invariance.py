"""Tables that depend on how time is cut, or on the order of work, are named with a boundary and a row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from raypipe.core.calendar import parse_width
from raypipe.pipeline import Deduplicate, PythonStep, RowsOutput, SqlOutput
from raypipe.testing import NotInvariant, assert_same_for_any_shards
from raypipe.testing.multisets import unmatched

pytestmark = pytest.mark.slow  # about 10 s in all


def test_what_is_counted_within_the_narrowest_shards_is_the_same_for_all_widths_and_orders(counted, events, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    report = assert_same_for_any_shards(counted, events, widths=("6h", "2d"))
    assert report.shards == {"1d": 4, "6h": 16, "2d": 2}
    assert report.orders == ("backward", "shuffled", "shuffled again")
    assert report.tables == {"clean": 10, "hourly": 10}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_that_counts_by_the_day_is_named_with_a_boundary_within_the_day_and_a_row(counted, events):
    daily = SqlOutput(table="daily", sql="SELECT date_trunc('day', ts) AS day, count(*) AS events FROM rows GROUP BY ALL")
    with pytest.raises(NotInvariant, match="table daily depends on the width of shards: 12h gives the row") as caught:
        assert_same_for_any_shards(replace(counted, outputs=(daily,)), events, widths=("12h",), orders=())
    assert (caught.value.table, caught.value.boundary) == ("daily", "2026-01-01T12:00:00Z")
    assert json.loads(caught.value.row) == ["2026-01-01 00:00:00", 2]


def test_a_table_that_looks_back_over_the_boundary_of_days_is_named_with_a_day(counted, events):
    gaps = SqlOutput(table="gaps", sql="SELECT n, n - lag(n) OVER (ORDER BY ts) AS gap FROM rows")
    with pytest.raises(NotInvariant, match="table gaps") as caught:
        assert_same_for_any_shards(replace(counted, outputs=(gaps,)), events, widths=("2d",), orders=())
    assert caught.value.boundary in {"2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z"}


def test_duplicates_that_stand_in_two_shards_are_found(counted, events):
    again = [*events, {**events[2], "ts": events[2]["ts"] + timedelta(hours=9)}]
    one = replace(counted, transform=(Deduplicate(key=("n",)),), outputs=(RowsOutput(table="clean"),))
    with pytest.raises(NotInvariant, match="table clean"):
        assert_same_for_any_shards(one, again, widths=("2d",), orders=())


def test_a_step_that_remembers_is_found_by_the_order_of_work(counted, events, tmp_path):
    (tmp_path / "steps.py").write_text(
        "import itertools, polars as pl\nnumbers = itertools.count()\n"
        "def numbered(rows):\n    return rows.with_columns(call=pl.lit(next(numbers)))\n"
    )
    one = replace(counted, transform=(PythonStep(function="steps:numbered"),), outputs=(RowsOutput(table="clean"),))
    with pytest.raises(NotInvariant, match="with its shards done backward, other than in the order of time") as caught:
        assert_same_for_any_shards(one, events, widths=())
    assert "table clean, shard 2026-01-" in str(caught.value)


def test_an_open_end_is_where_all_widths_end(counted, events):
    open_ended = replace(counted, time=replace(counted.time, end_us=None, shard=parse_width("1h")))
    report = assert_same_for_any_shards(open_ended, events, widths=("1d",), orders=())
    assert report.shards == {"1h": 96, "1d": 4}


def test_what_makes_no_sense_is_refused(counted, events):
    with pytest.raises(ValueError, match="got the order 'sideways', expected backward"):
        assert_same_for_any_shards(counted, events, orders=("sideways",))
    with pytest.raises(ValueError, match="the input has no rows in the history"):
        assert_same_for_any_shards(counted, [{**events[0], "ts": events[0]["ts"] - timedelta(days=9)}])


# ---- floats -----------------------------------------------------------------------------------------------


def rows(*texts: str) -> Counter[tuple[Any, ...]]:
    return Counter((0, text) for text in texts)


SCHEMA = pa.schema([("_shard", pa.timestamp("us")), ("k", pa.int64()), ("x", pa.float64())])


@pytest.mark.parametrize(
    ("own", "other", "left"),
    [
        (["[1,0.1]"], ["[1,0.10000000000000002]"], 0),
        (["[1,0.1]"], ["[1,0.1001]"], 2),
        (["[1,0.1]", "[1,0.1]"], ["[1,0.10000000000000002]"], 1),
        (["[1,0.1]"], ["[2,0.1]"], 2),
        (["[1,null]"], ["[1,0.0]"], 2),
        (["[10000000000000001,0.5]"], ["[10000000000000002,0.5]"], 2),
        (["[1,1e300]", "[1,2.0]"], ["[1,2.0000000000000004]", "[1,1e300]"], 0),
    ],
)
def test_rows_are_one_when_their_floats_differ_in_the_last_digits_only(own, other, left):
    lost, extra = unmatched(rows(*own), rows(*other), SCHEMA, 1e-9)
    assert lost.total() + extra.total() == left
