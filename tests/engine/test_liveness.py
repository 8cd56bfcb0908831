"""What nothing uses is neither computed nor read."""

from __future__ import annotations

import pytest

from raypipe.engine.batches import PLACEMENT, RAW_COLUMN, SHARD_INDEX
from raypipe.engine.liveness import Wanted, later_use, wanted_columns, without_unused
from raypipe.pipeline import (
    Cast,
    Deduplicate,
    Derive,
    Explode,
    Filter,
    Flatten,
    GroupByOutput,
    Lookup,
    PythonStep,
    Quality,
    Rename,
    RowsOutput,
    Rule,
    SqlOutput,
)

HAVE = ("hour", "amount", "url", "country")
TOTALS = SqlOutput(table="t", sql="SELECT hour, sum(amount) AS amount FROM rows GROUP BY ALL")
HOST = Derive(columns={"host": "split_part(url, '/', 3)"})


def test_a_derived_column_that_nothing_uses_is_not_computed_and_its_input_not_read(make_pipeline):
    both = Derive(columns={"net": "amount * 2", "host": "split_part(url, '/', 3)"})
    pipeline = make_pipeline(outputs=[TOTALS], steps=[both, HOST, Filter(condition="net > 1", name="f")], format="parquet")
    live = without_unused(pipeline)
    assert [step.columns for step in live.transform[:-1]] == [{"net": "amount * 2"}]
    assert wanted_columns(pipeline, live, HAVE) == Wanted(("hour", "amount"))


def test_what_a_later_step_or_any_output_uses_is_computed(make_pipeline):
    chain = [HOST, Derive(columns={"site": "upper(Host)"})]
    sites = SqlOutput(table="s", sql="SELECT site, count(*) AS n FROM rows GROUP BY ALL")
    for outputs in ([TOTALS, sites], [TOTALS, RowsOutput(table="r")], [SqlOutput(table="s", sql="SELECT * FROM rows")]):
        pipeline = make_pipeline(outputs=outputs, steps=chain, format="parquet")
        assert without_unused(pipeline).transform == tuple(chain)
    renamed = make_pipeline(outputs=[TOTALS], steps=[HOST, Rename(columns={"host": "hour"})], format="parquet")
    assert without_unused(renamed).transform == renamed.transform


def test_a_python_step_may_see_every_column(make_pipeline):
    pipeline = make_pipeline(outputs=[TOTALS], steps=[HOST, PythonStep(function="m:f")], format="parquet")
    assert without_unused(pipeline).transform == pipeline.transform
    assert wanted_columns(pipeline, without_unused(pipeline), HAVE) == Wanted(None)


@pytest.mark.parametrize(
    "more",
    [
        {"quality": Quality(rules=(Rule(name="r", expect="amount > 1"),))},
        {"steps": [HOST, Cast(columns={"amount": "int64"})]},
        {"steps": [HOST, Lookup(path="x", on={"country": "k"}, columns={"n": "n"}, missing="quarantine")]},
    ],
)
def test_a_row_that_may_be_set_aside_is_read_with_all_that_the_pipeline_names(make_pipeline, more):
    pipeline = make_pipeline(outputs=[TOTALS], format="parquet", **{"steps": [HOST], **more})
    wanted = wanted_columns(pipeline, without_unused(pipeline), HAVE)
    assert "url" in wanted.read
    assert wanted.only_for_text == {"url"}


ONCE = Deduplicate(key=("id",))
HELD = ("id", "hour", "amount", "url", "country", *PLACEMENT, RAW_COLUMN)
ORIGIN = [one for one in HELD if one in PLACEMENT[1:4]]
COUNTRY = {"path": "x", "on": {"country": "k"}, "columns": {"n": "n"}}
BY_HOUR = GroupByOutput(table="g", group_by={"hour": "hour"}, measures={"amount": "sum(amount)"})


def handed_on(make_pipeline, *later, outputs=(TOTALS,)):
    pipeline = make_pipeline(outputs=list(outputs), steps=[Filter(condition="url > ''", name="f"), ONCE, *later], format="parquet")
    return later_use(pipeline, 1).of(HELD)


def test_what_no_later_step_and_no_output_uses_is_not_handed_on(make_pipeline):
    assert handed_on(make_pipeline) == ["hour", "amount", SHARD_INDEX, RAW_COLUMN]
    assert handed_on(make_pipeline, HOST) == ["hour", "amount", "url", SHARD_INDEX, RAW_COLUMN]
    assert handed_on(make_pipeline, Lookup(**COUNTRY)) == ["hour", "amount", "country", SHARD_INDEX, RAW_COLUMN]
    assert (
        handed_on(make_pipeline, outputs=[SqlOutput(table="s", sql="SELECT 1 AS n FROM rows")])[0] == "id"
    )  # a table has a column


@pytest.mark.parametrize("outputs", [[TOTALS, RowsOutput(table="r")], [SqlOutput(table="s", sql="SELECT * FROM rows")]])
def test_an_output_of_all_columns_has_them(make_pipeline, outputs):
    assert handed_on(make_pipeline, outputs=outputs) == ["id", "hour", "amount", "url", "country", SHARD_INDEX, RAW_COLUMN]


@pytest.mark.parametrize(
    "later",
    [
        Cast(columns={"amount": "int64"}),
        Explode(column="amount"),
        ONCE,
        PythonStep(function="m:f"),
        Lookup(**COUNTRY, missing="quarantine"),
        Lookup(**COUNTRY, as_of="since"),
    ],
)
def test_where_a_row_was_is_handed_on_to_a_step_that_may_tell_it_or_order_by_it(make_pipeline, later):
    assert [one for one in handed_on(make_pipeline, later) if one in PLACEMENT] == [SHARD_INDEX, *ORIGIN]


@pytest.mark.parametrize("output", [BY_HOUR, RowsOutput(table="r", key=("id",))])
def test_where_a_row_was_is_handed_on_to_tables_in_which_the_newest_row_stays(make_pipeline, output):
    assert [one for one in handed_on(make_pipeline, outputs=[TOTALS, output]) if one in PLACEMENT] == [SHARD_INDEX, *ORIGIN]


@pytest.mark.parametrize(
    "later",
    [
        Rename(columns={"amount": "url"}),
        Lookup(**{**COUNTRY, "columns": {"url": "n"}}),
        Flatten(columns=("amount",)),
    ],
)
def test_a_column_whose_name_a_step_makes_anew_is_handed_on_so_that_it_is_refused_as_by_the_check(make_pipeline, later):
    assert "url" in handed_on(make_pipeline, later)
