"""sample: what a shard's rows look like on their way."""

from __future__ import annotations

import polars as pl
import pytest

from raypipe.engine.sample import sample
from raypipe.errors import ShardError
from raypipe.pipeline import Derive, Filter, Quality, RowsOutput, Rule, SqlOutput

COLUMNS = {"n": "int64"}
ROWS = pl.DataFrame({"n": ["1", "x", "3", "4"], "_time": [1, 2, 3, 4]})


def test_rows_are_shown_after_each_stage_and_in_each_output(make_pipeline, make_task, memory_source, tmp_path):
    pipeline = make_pipeline(
        COLUMNS,
        steps=[Filter(condition="n > 1", name="big"), Derive(columns={"m": "n + 1"})],
        outputs=[RowsOutput(table="out"), SqlOutput(table="s", sql="SELECT sum(m) AS total FROM rows")],
    )
    shown = sample(pipeline, memory_source(ROWS), make_task().shards[0], 2)
    assert [(title, frame.height) for title, frame in shown] == [
        ("source", 2), ("contract", 2), ("filter big", 2), ("derive m", 2), ("output out", 2), ("output s", 1), ("_quarantine", 1),
    ]  # fmt: skip
    frames = dict(shown)
    assert frames["source"]["n"].to_list() == ["1", "x"]
    assert frames["contract"]["n"].to_list() == [1, 3]
    assert frames["derive m"].rows() == [(3, 4), (4, 5)]
    assert frames["output s"]["total"].to_list() == [9]
    assert frames["_quarantine"]["rule"].to_list() == ["type_n"]
    assert list(tmp_path.iterdir()) == []


def test_a_step_whose_columns_nothing_uses_is_shown_too(make_pipeline, make_task, memory_source):
    pipeline = make_pipeline(
        format="parquet",
        steps=[Derive(columns={"host": "upper(url)"})],
        outputs=[SqlOutput(table="s", sql="SELECT sum(n) AS total FROM rows")],
    )
    source = memory_source(pl.DataFrame({"n": [1], "url": ["a"], "_time": [1]}), words={"n": "int64", "url": "string"})
    shown = dict(sample(pipeline, source, make_task().shards[0], 5))
    assert source.wanted == [("n", "url")]
    assert shown["derive host"]["host"].to_list() == ["A"]


def test_a_shard_without_rows_is_shown_with_its_columns(make_pipeline, make_task, memory_source):
    shown = dict(sample(make_pipeline(COLUMNS), memory_source(ROWS.clear()), make_task().shards[0], 5))
    assert shown["output out"].columns == ["n", "_shard"]


def test_a_shard_that_would_fail_says_why(make_pipeline, make_task, memory_source):
    pipeline = make_pipeline(COLUMNS, quality=Quality(rules=(Rule(name="low", expect="n < 2", otherwise="fail"),)))
    with pytest.raises(ShardError, match="rule low was broken"):
        sample(pipeline, memory_source(ROWS), make_task().shards[0], 5)
