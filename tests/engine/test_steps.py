"""Every step but deduplicate, lookup and python, which have files of their own."""

from __future__ import annotations

import datetime as dt

import pytest

from raypipe.core.accounts import Accounts
from raypipe.core.datatype import parse_datatype
from raypipe.pipeline import Cast, Derive, Drop, FillNull, Filter, Lookup, Rename, Select

ROWS = {"n": ["1", "2", None], "s": ["a", None, "c"]}
COLUMNS = {"n": "int64", "s": "string"}


@pytest.fixture
def out(make_pipeline, run):
    """Run steps over ROWS and return the rows that came out."""

    def rows_of(*steps, rows=None, columns=None):
        staged = run(make_pipeline(columns or COLUMNS, steps=steps), rows or ROWS)
        assert not staged.failures, staged.failures
        return staged.tables["out"].drop(["_shard"]).to_pylist(), staged.results[0]

    return rows_of


@pytest.fixture
def problem(make_pipeline, run):
    def error_of(*steps, columns=None):
        failure = run(make_pipeline(columns or COLUMNS, steps=steps), ROWS).failures[0]
        assert failure.code == "configuration"
        return failure.error

    return error_of


def test_a_filter_keeps_what_is_true_and_counts_the_rest_under_its_name(out):
    rows, result = out(Filter(condition="n > 1", name="big"))
    assert rows == [{"n": 2, "s": None}]
    assert (result.filtered, result.accounts) == ({"big": 2}, Accounts(read=3, loaded=1, filtered=2))


def test_derived_columns_see_the_rows_before_the_step(out):
    rows, _ = out(Derive(columns={"n": "n + 10", "old": "n"}))
    assert rows[0] == {"n": 11, "s": "a", "old": 1}


def test_overflow_fails_the_shard_that_has_it_and_no_other(make_pipeline, run):
    pipeline = make_pipeline({"n": "int64"}, steps=[Derive(columns={"m": "n * 4611686018427387904"})])
    staged = run(pipeline, {"n": ["1", "1", "4", "1"], "_time": [0, 3_600_000_000, 7_200_000_000, 10_800_000_000]}, hours=4)
    assert [one.window.start_us // 3_600_000_000 for one in staged.results] == [0, 1, 3]
    assert staged.failures[0].code == "transform_failed"
    assert "overflow" in staged.failures[0].error
    assert staged.tables["out"]["m"].to_pylist() == [4611686018427387904] * 3


def test_a_value_that_cannot_be_cast_is_quarantined_under_the_column(out):
    rows, result = out(Cast(columns={"s": parse_datatype("int8")}), rows={"n": ["1"] * 4, "s": ["5", "x", "300", None]})
    assert [row["s"] for row in rows] == [5, None]
    assert (result.broken, result.accounts.quarantined) == ({"cast_s": 2}, 2)


def test_rename_drop_and_select_change_names_and_order(out):
    assert out(Rename(columns={"n": "s", "s": "n"}))[0][0] == {"s": 1, "n": "a"}
    assert out(Drop(columns=("n",)))[0][0] == {"s": "a"}
    assert list(out(Select(columns=("s", "n")))[0][0]) == ["s", "n"]


def test_a_name_that_looks_like_a_pattern_of_the_engine_is_a_name(out, tmp_path):
    (tmp_path / "names.csv").write_text("key,found\na,1\n")
    names = Lookup(path=str(tmp_path / "names.csv"), on={"^s.*$": "key"}, columns={"^x$": "found"})
    steps = [Filter(condition="n > 0", name="some"), names, Select(columns=["^s.*$", "n", "^x$"]), Drop(columns=["n"])]
    rows, _ = out(*steps, rows={"n": ["1", "2"], "s": ["b", "b"], "^s.*$": ["a", "b"]}, columns={**COLUMNS, "^s.*$": "string"})
    assert rows == [{"^s.*$": "a", "^x$": 1}, {"^s.*$": "b", "^x$": None}]


def test_fill_null_takes_constants_of_the_columns_type(out):
    rows, _ = out(FillNull(columns={"n": 0, "s": "?"}))
    assert rows == [{"n": 1, "s": "a"}, {"n": 2, "s": "?"}, {"n": 0, "s": "c"}]
    rows, _ = out(
        FillNull(columns={"d": "2020-01-01", "f": 1}), columns={"d": "date", "f": "float32"}, rows={"d": [None], "f": [None]}
    )
    assert rows == [{"d": dt.date(2020, 1, 1), "f": 1.0}]


def test_mistakes_name_the_step_the_column_and_the_nearest_one(problem):
    assert problem(Rename(columns={"m": "x"})) == "transform[0].rename: there is no column 'm'; the rows have n, s"
    assert problem(Filter(condition="n > 0", name="f"), Select(columns=("q",))).startswith(
        "transform[1].select: there is no column 'q'"
    )
    assert problem(Rename(columns={"n": "s"})) == "transform[0].rename: two columns would be named 's'"
    assert "did you mean 'carrier'?" in problem(Rename(columns={"s": "carrier"}), Drop(columns=("carier",)))
    assert "keeps for itself" in problem(Derive(columns={"_shard": "n"}))
    assert problem(FillNull(columns={"n": "x"})) == "transform[0].fill_null: n: got 'x', but the column is Int64"
    assert "cannot become date" in problem(Cast(columns={"n": parse_datatype("date")}))
    assert problem(Filter(condition="n +", name="f")).startswith("transform[0].filter.f: 'n +'")
