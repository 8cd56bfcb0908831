"""Which columns are read."""

from __future__ import annotations

import pytest

from raypipe.engine.columns import columns_of_outputs, named_columns, sql_sees_all
from raypipe.pipeline import Deduplicate, Derive, Filter, Lookup, PythonStep, Quality, RowsOutput, Rule, Select, SqlOutput

HAVE = ("a", "b", "c", "Mixed", "with space", "zz")
COUNT = SqlOutput(table="t", sql="SELECT a, count(*) FROM rows GROUP BY a")


def test_a_contract_is_read_whole_and_everything_when_others_are_kept(make_pipeline):
    columns = {"a": "string", "b": "string"}
    assert named_columns(make_pipeline(columns, outputs=[COUNT]), HAVE) == ("a", "b")
    assert named_columns(make_pipeline(columns, outputs=[COUNT], extra_columns="keep"), HAVE) is None
    assert named_columns(make_pipeline(columns, outputs=[COUNT], extra_columns="fail"), HAVE) is None


def test_without_a_contract_the_columns_that_are_named_are_read(make_pipeline):
    steps = [Filter(condition="b > 1", name="f"), Deduplicate(key=("c",)), Lookup(path="x", on={"zz": "k"}, columns={"n": "n"})]
    pipeline = make_pipeline(outputs=[COUNT], steps=steps, format="parquet")
    assert named_columns(pipeline, HAVE) == ("a", "b", "c", "with space", "zz")
    rule = Quality(rules=(Rule(name="r", expect="MIXED > 1"),))
    assert named_columns(make_pipeline(outputs=[COUNT], quality=rule), HAVE) == ("a", "Mixed", "with space")
    assert named_columns(make_pipeline(outputs=[RowsOutput(table="r")], steps=[Select(columns=("b",))]), HAVE) == (
        "b",
        "with space",
    )


def test_where_no_column_is_named_one_is_read_because_a_table_has_columns(make_pipeline):
    counting = make_pipeline(outputs=[SqlOutput(table="t", sql="SELECT count(*) FROM rows")])
    assert named_columns(counting, ("x", "y")) == ("x",)
    assert named_columns(counting, ("x", counting.time.column)) == (counting.time.column,)


@pytest.mark.parametrize("steps", [[PythonStep(function="m:f")], [Derive(columns={"x": "a"})]])
def test_what_may_see_any_column_reads_all(make_pipeline, steps):
    assert named_columns(make_pipeline(outputs=[RowsOutput(table="r")], steps=steps), HAVE) is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM rows", "select a, * from rows", "SELECT r.* FROM rows r", "SELECT count(*), * FROM rows", "FROM rows",
        "SELECT COLUMNS('a.*') FROM rows", "SELECT rows FROM rows", "SELECT to_json(rows) FROM rows", "SELECT r FROM rows AS r",
        "SELECT sum(n) FROM (FROM rows)", "WITH x AS (SELECT * FROM rows) SELECT a FROM x",
        "SELECT a FROM rows NATURAL JOIN (SELECT 1 AS a)",
        "SELECT #1 FROM rows", "SELECT\n  *\nFROM rows", "SELECT a FROM rows UNION ALL FROM rows",
    ],
)  # fmt: skip
def test_sql_that_may_see_all_columns_is_known(sql):
    assert sql_sees_all(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, count(*) FROM rows GROUP BY ALL", "SELECT a * b FROM rows", "SELECT sum(a*2) FROM rows WHERE b > 1",
        "SELECT r.a FROM rows r WHERE r.b > 1",
        "SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM rows",
        "SELECT rows.a FROM rows",
    ],
)  # fmt: skip
def test_sql_that_names_its_columns_is_known(sql):
    assert not sql_sees_all(sql)


def test_rows_are_narrowed_to_the_columns_that_an_output_can_mean():
    have = ["hour", "region", "url", "strange name"]
    named = SqlOutput(table="t", sql="SELECT Hour, count(*) AS n FROM rows GROUP BY ALL")
    assert columns_of_outputs([named], have) == ["hour", "strange name"]
    assert columns_of_outputs([named, RowsOutput(table="u")], have) == have
    assert columns_of_outputs([SqlOutput(table="t", sql="SELECT * FROM rows")], have) == have
    assert columns_of_outputs([SqlOutput(table="t", sql="SELECT count(*) AS n FROM rows")], ["url", "region"]) == ["url"]
