"""Deduplicate: exact, in memory and from disk."""

from __future__ import annotations

import math
import random

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.core.accounts import Accounts
from raypipe.core.datatype import parse_datatype
from raypipe.pipeline import Cast, Deduplicate

COLUMNS = {"k": "string", "v": "int64", "u": "float64"}


@pytest.fixture
def out(make_pipeline, run):
    def deduplicated(rows, *, key=("k",), latest_by=(), **options):
        staged = run(make_pipeline(COLUMNS, steps=[Deduplicate(key=key, latest_by=latest_by)]), rows, **options)
        assert not staged.failures, staged.failures
        return staged

    return deduplicated


def test_the_newest_by_latest_by_stays_then_by_time_then_by_place(out):
    rows = {
        "k": ["a", "a", "b", "b", "c", "c", "d"],
        "u": ["2", "1", "1", "1", None, "nan", None],
        "v": ["1", "2", "3", "4", "5", "6", "7"],
        "_time": [1, 2, 9, 8, 1, 1, 1],
    }
    staged = out(rows, latest_by=("u",))
    assert staged.tables["out"]["v"].to_pylist() == [1, 3, 6, 7]
    assert staged.results[0].accounts == Accounts(read=7, loaded=4, duplicate=3)
    same_time = {**rows, "u": [None] * 7, "_time": [1] * 7}
    assert out(same_time).tables["out"]["v"].to_pylist() == [2, 4, 6, 7]


def test_keys_with_nulls_are_equal_as_in_select_distinct(out):
    staged = out({"k": [None, None, "a"], "v": ["1", "1", None], "u": [None] * 3}, key=("k", "v"))
    assert staged.tables["out"]["k"].to_pylist() == [None, "a"]


def test_a_key_may_occur_in_every_shard_and_counts_stay_apart(out):
    staged = out({"k": ["a", "a", "a"], "v": ["1", "2", "3"], "u": [None] * 3, "_time": [1, 3_600_000_001, 3_600_000_002]}, hours=2)
    assert staged.tables["out"]["v"].to_pylist() == [1, 3]
    assert [one.accounts.duplicate for one in staged.results] == [0, 1]


def dirty_rows(seed, height):
    chance = random.Random(seed)
    return pl.DataFrame(
        {
            "k": [chance.choice([None, "a", "b", "é", *(f"k{one}" for one in range(200))]) for _ in range(height)],
            "v": [str(one) for one in range(height)],
            "u": [chance.choice([None, "nan", "-0.0", "0.0", "1", "2"]) for _ in range(height)],
            "_time": [chance.randrange(2 * 3_600_000_000) for _ in range(height)],
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_disk_and_memory_leave_the_same_rows_in_the_same_order(make_pipeline, make_runner, make_task, memory_source, seed):
    steps = [Deduplicate(key=("k",), latest_by=("u",)), Cast(columns={"k": parse_datatype("string"), "v": parse_datatype("int16")})]
    rows = dirty_rows(seed, 3_000)
    left = []
    for memory_bytes in (1 << 28, 1 << 21, 1 << 14):  # in one batch, in several, on disk
        runner = make_runner(make_pipeline(COLUMNS, steps=steps), memory_source(rows, batch_rows=500), memory_bytes=memory_bytes)
        staged = runner.run(make_task(2))
        assert not staged.failures, staged.failures
        left.append(
            (staged.tables["out"].to_pylist(), [one.accounts for one in staged.results], [one.outputs for one in staged.results])
        )
    assert repr(left[0]) == repr(left[1]) == repr(left[2])
    assert left[0][1][0].duplicate > 1000


def test_survivors_are_those_of_plain_python(out):
    rows = dirty_rows(7, 500)
    staged = out(rows, hours=2)
    newest = {}
    for place, row in enumerate(rows.iter_rows(named=True)):
        key = (row["_time"] // 3_600_000_000, row["k"])
        newest[key] = max(newest.get(key, (-1, -1)), (row["_time"], place))
    assert sorted(staged.tables["out"]["v"].to_pylist()) == sorted(place for _, place in newest.values())


texts = st.sampled_from([None, "a", "b", "é"])
numbers = st.sampled_from([None, "nan", "-0.0", "0.0", "1", "-2", "inf"])
one_row = st.tuples(texts, numbers, st.integers(0, 3).map(lambda quarter: quarter * 1_800_000_000))


def rank(text):
    """The order of numbers: nulls first, NaN last, zero without a sign."""
    number = float("-inf") if text is None else float(text)
    return (text is not None, math.isnan(number), 0.0 if math.isnan(number) else number + 0.0)


@pytest.mark.parametrize("memory_bytes", [1 << 28, 1 << 8])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_rows=st.lists(one_row, min_size=1, max_size=30), key=st.sampled_from([("k",), ("u",), ("k", "u"), ("u", "k")]))
def test_survivors_are_those_of_a_dictionary_in_memory_and_on_disk(
    make_pipeline, make_runner, make_task, memory_source, memory_bytes, given_rows, key
):
    newest, duplicates = {}, [0, 0]
    for place, (k, u, time_us) in enumerate(given_rows):
        shard = time_us // 3_600_000_000
        values = tuple({"k": k, "u": None if u is None else repr(float(u) + 0.0)}[name] for name in key)
        order = (rank(u), time_us, place)
        before = newest.get((shard, values))
        duplicates[shard] += before is not None
        newest[shard, values] = max(filter(None, (before, order)))
    rows = pl.DataFrame(
        {"k": [k for k, _, _ in given_rows], "u": [u for _, u, _ in given_rows], "_time": [time for _, _, time in given_rows]},
        schema={"k": pl.String, "u": pl.String, "_time": pl.Int64},
    ).with_columns(v=pl.int_range(pl.len()).cast(pl.String))
    pipeline = make_pipeline(COLUMNS, steps=[Deduplicate(key=key, latest_by=("u",))])
    staged = make_runner(pipeline, memory_source(rows, batch_rows=7), memory_bytes=memory_bytes).run(make_task(2))
    assert not staged.failures
    assert staged.tables["out"]["v"].to_pylist() == sorted(place for _, _, place in newest.values())
    assert [one.accounts.duplicate for one in staged.results] == duplicates


def test_a_row_quarantined_behind_a_deduplicate_keeps_its_source_row(make_pipeline, run):
    steps = [Deduplicate(key=("k",)), Cast(columns={"v": parse_datatype("int8")})]
    staged = run(make_pipeline(COLUMNS, steps=steps), {"k": ["a", "b"], "v": ["1", "999"], "u": ["1", "2"]})
    assert [row["raw"] for row in staged.tables["_quarantine"].to_pylist()] == ['{"k": "b", "v": "999", "u": "2"}']


def test_a_key_that_is_no_column_is_a_mistake_of_the_configuration(make_pipeline, run):
    failure = run(make_pipeline(COLUMNS, steps=[Deduplicate(key=("kk",))]), {"k": ["a"], "v": ["1"], "u": [None]}).failures[0]
    assert failure.error.startswith("transform[0].deduplicate: there is no column 'kk'")
