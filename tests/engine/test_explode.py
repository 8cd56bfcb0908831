"""Explode and flatten: lists become rows, structs become columns, and every row still adds up."""

from __future__ import annotations

import pytest

from raypipe.core.accounts import Accounts, total
from raypipe.engine import explode
from raypipe.engine.check import check_pipeline
from raypipe.pipeline import Deduplicate, Derive, Explode, Filter, Flatten, Quality, RowsOutput, Rule, Select, SqlOutput

HOUR_US = 3_600_000_000
COLUMNS = {"k": "string", "items": "list<int64>"}
ROWS = {"k": ["a", "b", "c", "d"], "items": ["[1, 2, 3]", "[]", None, "[4]"]}
NESTED = "struct<a: int64, deep: struct<b: string>>"


def pairs(staged, columns=("k", "items")):
    return [tuple(row[name] for name in columns) for row in staged.tables["out"].to_pylist()]


def test_each_element_becomes_a_row_in_order_and_the_new_rows_are_counted(make_pipeline, run):
    staged = run(make_pipeline(COLUMNS, steps=[Explode(column="items")]), ROWS)
    assert pairs(staged) == [("a", 1), ("a", 2), ("a", 3), ("b", None), ("c", None), ("d", 4)]
    assert staged.results[0].accounts == Accounts(read=4, expanded=2, loaded=6)


def test_rows_without_elements_are_dropped_and_counted_under_a_name_where_that_is_asked_for(make_pipeline, run):
    staged = run(make_pipeline(COLUMNS, steps=[Explode(column="items", empty="drop")]), ROWS)
    assert pairs(staged) == [("a", 1), ("a", 2), ("a", 3), ("d", 4)]
    assert staged.results[0].accounts == Accounts(read=4, expanded=2, loaded=4, filtered=2)
    assert staged.results[0].filtered == {"explode_items": 2}


def test_accounts_add_up_for_each_shard_behind_whatever_else_becomes_of_the_rows(make_pipeline, run):
    steps = [
        Explode(column="items"),
        Filter(condition="items <> 2", name="not_two"),
        Deduplicate(key=("items",)),
        Explode(column="more", empty="drop"),
    ]
    quality = Quality(rules=(Rule(name="not_x", expect="k <> 'x'"),))
    pipeline = make_pipeline({**COLUMNS, "more": "list<string>"}, steps=steps, quality=quality)
    rows = {
        "k": ["a", "b", "x", "c"], "items": ["[1, 2, 1]", "[3]", "[9]", "[5, 6]"], "more": ['["u", "v"]', "[]", "[]", '["w"]'],
        "_time": [0, 1, HOUR_US, HOUR_US + 1],
    }  # fmt: skip
    staged = run(pipeline, rows, hours=3)
    assert [one.accounts for one in staged.results] == [
        Accounts(read=2, expanded=3, loaded=2, filtered=2, duplicate=1),
        Accounts(read=2, expanded=1, loaded=2, quarantined=1),
        Accounts(),
    ]
    assert pairs(staged, ("items", "more")) == [(1, "u"), (1, "v"), (5, "w"), (6, "w")]


def test_an_element_that_breaks_a_later_step_is_set_aside_with_the_whole_row_that_it_came_from(make_pipeline, run):
    from raypipe.core.datatype import parse_datatype
    from raypipe.pipeline import Cast

    steps = [Explode(column="items"), Cast(columns={"items": parse_datatype("int8")})]
    staged = run(make_pipeline(COLUMNS, steps=steps), {"k": ["a"], "items": ["[1, 300, 400]"]})
    assert staged.results[0].accounts == Accounts(read=1, expanded=2, loaded=1, quarantined=2)
    aside = staged.tables["_quarantine"].to_pylist()
    assert [(row["position"], row["raw"]) for row in aside] == [(0, '{"k": "a", "items": "[1, 300, 400]"}')] * 2


@pytest.mark.parametrize("empty", ["keep", "drop"])
def test_neither_the_size_of_batches_nor_that_of_pieces_changes_a_bit(make_pipeline, run, monkeypatch, empty):
    lists = [f"[{', '.join(map(str, range(length)))}]" if length else None for length in [0, 5, 1, 0, 9, 2, 2, 0]]
    rows = {"k": list("abcdefgh"), "items": lists, "_time": [hour * HOUR_US for hour in (0, 0, 0, 1, 1, 1, 2, 2)]}
    sums = SqlOutput(table="sums", sql="SELECT k, sum(items) AS total FROM rows GROUP BY ALL")
    pipeline = make_pipeline(COLUMNS, steps=[Explode(column="items", empty=empty)], outputs=[RowsOutput(table="out"), sums])

    def content(**options):
        staged = run(pipeline, rows, hours=3, **options)
        assert not staged.failures
        return pairs(staged), staged.tables["sums"].to_pylist(), [(one.accounts, one.outputs) for one in staged.results]

    whole = content()
    assert total(accounts for accounts, _ in whole[2]).balanced
    for size in (1, 4):
        monkeypatch.setattr(explode, "BATCH_ROWS", size)
        assert content(batch_rows=3) == whole


def test_no_piece_has_more_elements_than_a_batch_may_have_but_a_row_is_never_split(monkeypatch):
    import polars as pl

    monkeypatch.setattr(explode, "BATCH_ROWS", 4)
    rows = pl.DataFrame({"items": [[1], [1, 2], [], [1] * 9, [1] * 3, None, [1]]})
    assert [piece["items"].list.len().fill_null(0).to_list() for piece in explode._pieces(rows, "items")] == [
        [1, 2, 0], [9], [3, 0], [1],
    ]  # fmt: skip
    assert [piece.height for piece in explode._pieces(rows.clear(), "items")] == [0]


def test_flatten_puts_the_fields_where_the_struct_was_and_expressions_reach_deeper_ones(make_pipeline, run):
    steps = [Derive(columns={"b": "p.deep.b"}), Flatten(columns=("p",)), Select(columns=("k", "a", "b"))]
    pipeline = make_pipeline({"p": NESTED, "k": "string"}, steps=steps)
    staged = run(pipeline, {"p": ['{"a": 1, "deep": {"b": "x"}}', None], "k": ["one", "two"]})
    assert pairs(staged, ("k", "a", "b")) == [("one", 1, "x"), ("two", None, None)]
    whole = run(make_pipeline({"p": NESTED, "k": "string"}, steps=[Flatten(columns=("p",))]), {"p": [None], "k": ["one"]})
    assert whole.tables["out"].schema.names == ["a", "deep", "k", "_shard"]


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Explode(column="k"), "transform[0].explode: column 'k' is String, expected a list"),
        (Explode(column="itmes"), "transform[0].explode: there is no column 'itmes'"),
        (Flatten(columns=("items",)), "transform[0].flatten: column 'items' is List(Int64), expected a struct"),
        (Flatten(columns=("p",)), "transform[0].flatten: two columns would be named 'k': rename one before"),
    ],
)
def test_a_step_that_does_not_fit_is_told_by_check_and_run_alike(make_pipeline, run, step, text):
    columns = {**COLUMNS, "p": "struct<k: string>"}
    pipeline = make_pipeline(columns, steps=[step])
    (problem,) = check_pipeline(pipeline, {})[0]
    assert problem.startswith(text)
    assert run(pipeline, {**ROWS, "p": [None] * 4}).failures[0].error == problem
