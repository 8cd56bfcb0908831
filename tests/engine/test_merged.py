"""What shards contribute to keyed and combined tables, and what these tables come to."""

from __future__ import annotations

import math
from decimal import Decimal

import polars as pl
import pytest

from raypipe.engine.check import check_pipeline
from raypipe.pipeline import Check, Derive, GroupByOutput, Quality, RowsOutput

HOUR_US = 3_600_000_000
KEYED = RowsOutput(table="newest", key=("k",), latest_by=("v",), delete_when="op = 'd'")
COLUMNS = {"k": "int64", "v": "float64", "op": "string", "d": "decimal(10,2)", "w": "string"}


@pytest.fixture
def table_of(make_pipeline, make_runner, make_task, memory_source):
    """Run typed rows through one output; return what the table would hold, hour by hour, and what is left of each hour."""

    def table(output, rows, *, hours=1, columns=None, **options):
        frame = pl.DataFrame(rows, schema_overrides=options.pop("types", None))
        frame = frame if "_time" in frame.columns else frame.with_columns(pl.lit(1, dtype=pl.Int64).alias("_time"))
        pipeline = make_pipeline(columns, outputs=[output], format="parquet", **options)
        runner = make_runner(pipeline, memory_source(frame))
        staged = runner.run(make_task(hours))
        assert not staged.failures, staged.failures
        left = staged.tables[output.table]
        shown = runner._outputs.merged.alone(output, left)
        return [{name: value for name, value in row.items() if name != "_shard"} for row in shown.to_pylist()], left

    return table


@pytest.fixture
def measured(table_of):
    """Return measures over one group of values of one column x."""

    def measure(values, types=None, **measures):
        output = GroupByOutput(table="t", group_by={"one": "one"}, measures=measures)
        rows = {"x": values, "one": [1] * len(values), "_time": list(range(len(values)))}
        ((row,), _) = table_of(output, rows, types={"x": types} if types else None)
        return {name: value for name, value in row.items() if name != "one"}

    return measure


# ---- keyed ------------------------------------------------------------------------------------------------


def test_a_shard_leaves_one_row_a_key_with_what_settles_ties(table_of):
    rows = {"k": [1, 1, 2], "v": [1, 2, 1], "op": ["u", "u", "d"], "_time": [5, 4, 3]}
    shown, left = table_of(KEYED, rows)
    assert shown == [{"k": 1, "v": 2, "op": "u"}]
    assert left.num_rows == 2
    assert left.schema.names == ["k", "v", "op", "_time", "_source", "_position", "_raypipe_deleted", "_shard"]
    assert left["_source"].to_pylist() == ["events.csv"] * 2


def test_each_shard_leaves_its_own_newest(table_of):
    rows = {"k": [1, 1, 1], "v": [3, 2, 1], "op": ["u"] * 3, "_time": [1, 2, HOUR_US]}
    shown, left = table_of(KEYED, rows, hours=2)
    assert sorted(row["v"] for row in shown) == [1, 3]
    assert left.num_rows == 2


def test_a_null_condition_deletes_nothing(table_of):
    shown, _ = table_of(KEYED, {"k": [1], "v": [1], "op": [None]}, types={"op": pl.String})
    assert len(shown) == 1


def test_more_rows_than_memory_holds_come_to_the_same(make_pipeline, make_runner, make_task, memory_source):
    totals = GroupByOutput(table="t", group_by={"g": "g"}, measures={"n": "count(*)", "total": "sum(f)", "head": "first(f)"})
    rows = 40_000
    numbers = pl.int_range(rows, eager=True)
    frame = pl.DataFrame({"k": numbers % 700, "g": numbers % 7, "f": numbers * 0.1, "_time": (numbers * 7919) % HOUR_US})
    pipeline = make_pipeline(outputs=[RowsOutput(table="newest", key=("k",)), totals], format="parquet")
    found = []
    for memory_bytes in (1 << 28, 1 << 18):  # the second one's spool holds 16 kB
        runner = make_runner(pipeline, memory_source(frame, batch_rows=3000), memory_bytes=memory_bytes)
        staged = runner.run(make_task(1))
        assert not staged.failures
        found.append([result.outputs for result in staged.results])
    assert found[0] == found[1]
    assert found[0][0]["t"].rows == 7


# ---- measures ---------------------------------------------------------------------------------------------


def test_integers_are_exact_where_64_bits_end(measured):
    top = 2**63 - 1
    assert measured([top, top, 1], n="sum(x)", mean="avg(x)", most="max(x)") == {
        "n": Decimal(2 * top + 1),
        "mean": (2 * top + 1) / 3,
        "most": top,
    }


def test_decimals_are_exact(measured):
    values = [Decimal("0.10")] * 3
    assert measured(values, total="sum(x)", mean="avg(x)") == {"total": Decimal("0.30"), "mean": pytest.approx(0.1)}


def test_nan_is_the_greatest_number_and_spoils_sums(measured):
    found = measured(
        [1.0, math.nan, 3.0], least="min(x)", most="max(x)", total="sum(x)", q0="approx_quantile(x, 0)", q1="approx_quantile(x, 1)"
    )
    assert found["least"] == 1.0
    assert all(math.isnan(found[name]) for name in ("most", "total", "q1"))
    assert found["q0"] == pytest.approx(1.0, rel=1 / 128)


def test_infinities_stay_infinite(measured):
    found = measured(
        [-math.inf, 1.0, math.inf], least="min(x)", q0="approx_quantile(x, 0)", q1="approx_quantile(x, 1)", sd="stddev(x)"
    )
    assert (found["least"], found["q0"], found["q1"]) == (-math.inf, -math.inf, math.inf)
    assert math.isnan(found["sd"])


@pytest.mark.parametrize("values", [[0.0, -0.0], [-0.0, 0.0]])
def test_zero_has_no_sign_in_measures_and_groups(measured, table_of, values):
    found = measured(
        values, least="min(x)", most="max(x)", head="first(x)", kinds="count(DISTINCT x)", about="approx_count_distinct(x)"
    )
    assert [math.copysign(1, found[name]) for name in ("least", "most", "head")] == [1, 1, 1]
    assert (found["kinds"], found["about"]) == (1, 1)
    groups, _ = table_of(GroupByOutput(table="t", group_by={"x": "x"}, measures={"n": "count(*)"}), {"x": values})
    assert [(math.copysign(1, row["x"]), row["n"]) for row in groups] == [(1, 2)]


def test_nulls_count_in_count_of_rows_alone(measured):
    names = {
        "rows": "count(*)", "known": "count(x)", "total": "sum(x)", "mean": "avg(x)", "least": "min(x)", "head": "first(x)",
        "sd": "stddev(x)", "kinds": "count(DISTINCT x)", "about": "approx_count_distinct(x)",
        "middle": "approx_quantile(x, 0.5)", "any": "bool_or(x > 1)",
    }  # fmt: skip
    found = measured([None, None], pl.Float64, **names)
    zero = {"rows": 2, "known": 0, "kinds": 0, "about": 0}
    assert found == {name: zero.get(name) for name in names}
    assert measured([None, 5.0], pl.Float64, head="first(x)", tail="last(x)") == {"head": 5.0, "tail": 5.0}


def test_the_variance_of_close_numbers_is_not_lost(measured):
    found = measured([1e9 + one for one in (4.0, 7.0, 13.0, 16.0)], var="variance(x)")
    assert found == {"var": pytest.approx(30.0)}


# ---- sketches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [10, 300, 2_000, 5_000, 9_000, 60_000])
def test_a_distinct_count_is_right_within_four_standard_errors(measured, rows):
    values = [f"value {one * 2_654_435_761 % 2**32}" for one in range(rows)]
    found = measured(values + values[: rows // 2], about="approx_count_distinct(x)")["about"]
    assert abs(found - rows) <= 4 * 1.04 / math.sqrt(2048) * rows


def test_the_standard_error_of_distinct_counts_is_what_is_promised(table_of):
    groups, rows = 60, 6_000
    frame = {
        "g": [group for group in range(groups) for _ in range(rows)],
        "x": [group * 1_000_003 + one for group in range(groups) for one in range(rows)],
    }
    found, _ = table_of(GroupByOutput(table="t", group_by={"g": "g"}, measures={"about": "approx_count_distinct(x)"}), frame)
    errors = [row["about"] / rows - 1 for row in found]
    promised = 1.04 / math.sqrt(2048)
    assert math.sqrt(sum(one * one for one in errors) / groups) < 1.3 * promised
    assert abs(sum(errors) / groups) < 3 * promised / math.sqrt(groups)  # nor does it lean to one side


@pytest.mark.parametrize("share", ["0", "0.01", "0.5", "0.9", "0.999", "1"])
def test_a_quantile_is_right_to_one_128th_of_its_value(measured, share):
    values = sorted((-1) ** one * 1.0007**one * 1e-3 for one in range(20_000))
    found = measured(values[::-1], q=f"approx_quantile(x, {share})")["q"]
    exact = values[max(1, math.ceil(float(share) * len(values))) - 1]
    assert abs(found - exact) <= abs(exact) / 128


def test_quantiles_of_integers_and_of_numbers_at_the_ends_of_the_range(measured):
    assert measured([1, 2, 3, 4, 100], q="approx_quantile(x, 0.6)")["q"] == pytest.approx(3, rel=1 / 128)
    for value in (5e-324, 2.0**-1030, 2.0**-1022, 1.7e308, -1.7e308):
        assert measured([value], q="approx_quantile(x, 0.5)")["q"] == pytest.approx(value, rel=1 / 64, abs=2.0**-1028)
    assert measured([0.0, 0.0, 1.0], q="approx_quantile(x, 0.5)")["q"] == 0.0
    assert measured([1.0, 2.0, 3.0], q="approx_quantile(x, 0.5)")["q"] == pytest.approx(2, rel=1 / 128)  # the rank is rounded up


# ---- check ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (RowsOutput(table="t", key=("kk",)), "outputs.t.key: there is no column 'kk'; did you mean 'k'?"),
        (RowsOutput(table="t", key=("k",), latest_by=("when",)), "outputs.t.key: there is no column 'when'"),
        (
            RowsOutput(table="t", key=("k",), delete_when="op"),
            "outputs.t.delete_when: 'op', character 1: expected a condition (bool), got string",
        ),
        (
            GroupByOutput(table="t", group_by={"g": "kk"}, measures={"n": "count(*)"}),
            "outputs.t.group_by.g: 'kk', character 1: no column",
        ),
        (
            GroupByOutput(table="t", group_by={"k": "k"}, measures={"n": "sum(op)"}),
            "outputs.t.measures.n: 'sum(op)': expected numbers, got string",
        ),
        (
            GroupByOutput(table="t", group_by={"k": "k"}, measures={"n": "bool_or(k)"}),
            "outputs.t.measures.n: 'bool_or(k)': expected a condition",
        ),
        (
            GroupByOutput(table="t", group_by={"k": "k"}, measures={"n": "sum(count(*))"}),
            "outputs.t.measures.n: 'count(*)', character 1",
        ),
    ],
)
def test_check_names_what_does_not_fit(make_pipeline, output, problem):
    problems, _ = check_pipeline(make_pipeline(COLUMNS, outputs=[output]), {})
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_checks_are_judged_on_the_measures_of_each_shard(make_pipeline, run):
    output = GroupByOutput(table="t", group_by={"w": "w"}, measures={"mean": "avg(k)"})
    quality = Quality(checks=(Check(table="t", expect="max(mean) < 5"),))
    pipeline = make_pipeline(COLUMNS, outputs=[output], quality=quality)
    assert check_pipeline(pipeline, {}) == ([], [])
    rows = {name: ["1", "1"] for name in COLUMNS} | {"k": ["4", "8"], "_time": [1, HOUR_US]}
    staged = run(pipeline, rows, hours=2)
    assert [one.window.start_us for one in staged.results] == [0]
    assert [one.window.start_us for one in staged.failures] == [HOUR_US]
    assert staged.tables["t"].num_rows == 1


def test_only_the_columns_that_measures_name_are_read(make_pipeline, memory_source, make_runner, make_task):
    output = GroupByOutput(table="t", group_by={"w": "w"}, measures={"n": "count(*)", "total": "sum(k)"})
    source = memory_source(
        pl.DataFrame({"k": [1], "w": ["a"], "unused": [2], "_time": [1]}), words={"k": "int64", "w": "string", "unused": "int64"}
    )
    make_runner(make_pipeline(outputs=[output], format="parquet"), source).run(make_task(1))
    assert source.wanted == [("k", "w")]


def test_measures_see_the_rows_behind_the_steps(make_pipeline, run):
    output = GroupByOutput(table="t", group_by={"half": "half"}, measures={"n": "count(*)"})
    staged = run(
        make_pipeline(COLUMNS, steps=[Derive(columns={"half": "k // 2"})], outputs=[output]), {name: ["3"] for name in COLUMNS}
    )
    assert staged.tables["t"].drop_columns(["_shard"]).to_pylist() == [{"half": 1, "n.count": 1}]
