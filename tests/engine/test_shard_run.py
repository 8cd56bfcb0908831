"""ShardRunner: a task from its source to its contributions."""

from __future__ import annotations

import dataclasses
import pickle
import re
import threading

import polars as pl
import pytest

from raypipe.core.accounts import Accounts
from raypipe.core.window import Window
from raypipe.errors import InputChanged, OutOfMemory, RetryableError, SourceUnreadable
from raypipe.pipeline import Check, Derive, Filter, Quality, RowsOutput, Rule, SqlOutput
from raypipe.ports import Reject

HOUR_US = 3_600_000_000
COLUMNS = {"n": "int64", "s": "string"}
SUMS = SqlOutput(table="sums", sql="SELECT s, count(*) AS rows_in, sum(n * 0.1) AS total FROM rows GROUP BY ALL")


def rows(height=300, hours=3):
    place = pl.int_range(height, eager=True)
    return pl.DataFrame(
        {
            "n": pl.select(pl.when(place % 10 == 3).then(pl.lit("x")).otherwise(place.cast(pl.String))).to_series(),
            "s": "g" + (place % 7).cast(pl.String),
            "_time": (place * 7919 % height) * (hours * HOUR_US // height),
        }
    )


@pytest.fixture
def pipeline(make_pipeline):
    quality = Quality(rules=(Rule(name="small", expect="n < 250", otherwise="drop"),))
    steps = [Filter(condition="n <> 7", name="no_seven"), Derive(columns={"m": "n * 2"})]
    return make_pipeline(COLUMNS, quality=quality, steps=steps, outputs=[RowsOutput(table="out"), SUMS])


def content(staged):
    tables = {name: sorted(map(repr, table.to_pylist())) for name, table in staged.tables.items()}
    results = [dataclasses.replace(one, seconds=0.0, slices=()) for one in staged.results]
    return tables, results


def test_every_row_is_accounted_for_and_every_shard_has_its_contribution(pipeline, make_runner, make_task, memory_source):
    staged = make_runner(pipeline, memory_source(rows())).run(make_task(3))
    assert not staged.failures
    total = sum((one.accounts for one in staged.results), Accounts())
    assert total == Accounts(read=300, loaded=224, filtered=46, quarantined=30)
    assert sum(one.filtered["small"] for one in staged.results) == 45
    assert sum(one.filtered.get("no_seven", 0) for one in staged.results) == 1
    for result in staged.results:
        assert result.window.start_us <= result.event_start_us < result.event_end_us < result.window.end_us
        assert result.outputs["out"].rows == result.accounts.loaded
    assert staged.tables["out"].num_rows == 224


@pytest.mark.parametrize("batch_rows", [1, 7, 64])
def test_the_size_of_batches_changes_no_bit(pipeline, make_runner, make_task, memory_source, batch_rows):
    whole = make_runner(pipeline, memory_source(rows())).run(make_task(3))
    pieces = make_runner(pipeline, memory_source(rows(), batch_rows=batch_rows), memory_bytes=4_000).run(make_task(3))
    assert content(pieces) == content(whole)


def test_shards_in_one_task_or_in_many_give_the_same_bits(pipeline, make_runner, make_task, memory_source):
    runner, task = make_runner(pipeline, memory_source(rows(), batch_rows=50)), make_task(3)
    together = content(runner.run(task))
    apart = [content(runner.run(dataclasses.replace(task, shards=(one,)))) for one in task.shards]
    for table in ("out", "sums", "_quarantine"):
        assert sorted(row for tables, _ in apart for row in tables[table]) == together[0][table]
    assert [result for _, results in apart for result in results] == together[1]


def test_a_runner_travels_and_serves_several_threads(pipeline, make_runner, make_task, memory_source):
    runner = pickle.loads(pickle.dumps(make_runner(pipeline, memory_source(rows(), batch_rows=20))))
    expected = content(runner.run(make_task(3)))
    found = [None] * 4

    def work(place):
        found[place] = content(runner.run(make_task(3, attempt=place + 2)))

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [expected] * 4
    runner.close()
    assert content(runner.run(make_task(3))) == expected


def test_a_shard_without_rows_has_results_columns_and_an_empty_stat(pipeline, make_runner, make_task, memory_source):
    staged = make_runner(pipeline, memory_source(rows().clear())).run(make_task(2))
    assert [one.accounts for one in staged.results] == [Accounts(), Accounts()]
    assert staged.tables["out"].schema.names == ["n", "s", "m", "_shard"]
    assert staged.results[0].outputs["out"].rows == 0
    assert staged.results[0].event_start_us is None


def test_sql_without_groups_says_the_same_of_an_empty_shard_alone_or_in_company(
    make_pipeline, make_runner, make_task, memory_source
):
    pipeline = make_pipeline(format="parquet", outputs=[SqlOutput(table="n", sql="SELECT count(*) AS n FROM rows")])
    source = memory_source(pl.DataFrame({"v": [1], "_time": [HOUR_US]}), words={"v": "int64"})
    task = make_task(2)
    together = make_runner(pipeline, source).run(task)
    alone = make_runner(pipeline, source).run(dataclasses.replace(task, shards=task.shards[:1]))
    assert together.tables["n"].sort_by("_shard")["n"].to_pylist() == [0, 1]
    assert alone.tables["n"]["n"].to_pylist() == [0]
    assert alone.results[0].outputs == together.results[0].outputs


def test_rejects_count_to_the_shard_of_their_time_or_to_the_one_that_takes_the_untimed(
    make_pipeline, make_runner, make_task, memory_source
):
    rejects = (
        Reject("events.csv", 4, "malformed", "an open quote", '"a,b'),
        Reject("events.csv", 5, "bad_utf8", "byte 3", "a", time_us=HOUR_US + 1),
        Reject("events.csv", 6, "malformed", "of another task", "x", time_us=9 * HOUR_US),
    )
    source = memory_source(pl.DataFrame({"n": ["1"], "s": ["a"], "_time": [2]}), rejects=rejects)
    staged = make_runner(make_pipeline(COLUMNS), source).run(make_task(2))
    assert [one.accounts for one in staged.results] == [Accounts(read=2, loaded=1, quarantined=1), Accounts(read=1, quarantined=1)]
    assert [one.broken for one in staged.results] == [{"malformed": 1}, {"bad_utf8": 1}]
    row = staged.tables["_quarantine"].to_pylist()[0]
    assert (row["source"], row["position"], row["rule"], row["error"], row["raw"]) == (
        "events.csv",
        4,
        "malformed",
        "an open quote",
        '"a,b',
    )


# ---- failures ---------------------------------------------------------------------------------------------


def test_errors_that_a_retry_may_mend_go_through(pipeline, make_runner, make_task, memory_source):
    for error in (InputChanged("a.csv changed"), RetryableError("again")):
        with pytest.raises(type(error)):
            make_runner(pipeline, memory_source(rows(), error=error)).run(make_task(3))


def test_errors_keep_their_kind_also_where_an_engine_reads_the_rows_as_they_come(pipeline, make_runner, make_task, memory_source):
    passing = dataclasses.replace(pipeline, outputs=(SUMS,))
    for error in (InputChanged("a.csv changed"), RetryableError("again")):
        with pytest.raises(type(error), match=str(error)):
            make_runner(passing, memory_source(rows(), error=error)).run(make_task(1))


def test_every_row_is_counted_where_sql_needs_none_of_them(pipeline, make_runner, make_task, memory_source):
    nothing = dataclasses.replace(pipeline, outputs=(SqlOutput(table="t", sql="SELECT s FROM rows WHERE false"),))
    (result,) = make_runner(nothing, memory_source(rows(hours=1))).run(make_task(1)).results
    assert result.accounts == Accounts(read=300, loaded=224, filtered=46, quarantined=30)


def test_lack_of_memory_is_tried_with_fewer_shards_and_then_named(pipeline, make_runner, make_task, memory_source):
    source = memory_source(rows(), error=MemoryError())
    staged = make_runner(pipeline, source).run(make_task(3))
    assert [(one.code, one.retryable) for one in staged.failures] == [(OutOfMemory.code, True)] * 3
    assert re.search(r"T00:00:00Z, 1970-01-01T01:00:00Z\) needed more than its share of run.memory", staged.failures[0].error)
    assert len(source.wanted) == 8  # three shards, then two of them, and each by itself, lean and with more room


def test_a_shard_that_lacks_memory_does_not_take_its_neighbours_along(pipeline, make_runner, make_task, memory_source):
    class Greedy(memory_source):
        def read(self, windows, slices, columns):
            yield from super().read(windows, slices, columns)
            if any(one.start_us <= HOUR_US < one.end_us for one in windows):
                raise MemoryError

    staged = make_runner(pipeline, Greedy(rows())).run(make_task(3))
    assert [one.window.start_us // HOUR_US for one in staged.results] == [0, 2]
    assert [one.code for one in staged.failures] == [OutOfMemory.code]


def test_what_cannot_spill_is_computed_with_the_whole_share_of_the_memory(pipeline, make_runner, make_task, memory_source):
    greedy = SqlOutput(table="long", sql="SELECT list(repeat('x', 1000000) || i) AS texts FROM rows, range(30) AS one(i)")
    staged = make_runner(dataclasses.replace(pipeline, outputs=(greedy,)), memory_source(rows(1)), memory_bytes=1024**3).run(
        make_task(1)
    )
    (texts,) = staged.tables["long"]["texts"].to_pylist()
    assert len(texts) == 30


def test_a_failure_of_unknown_shard_is_found_by_halves_and_the_others_load(pipeline, make_runner, make_task, memory_source):
    class Corrupt(memory_source):
        def read(self, windows, slices, columns):
            yield from super().read(windows, slices, columns)
            if any(one.start_us <= HOUR_US < one.end_us for one in windows):
                raise SourceUnreadable("events.csv is truncated")

    staged = make_runner(pipeline, Corrupt(rows(400, 4))).run(make_task(4))
    assert [one.window.start_us // HOUR_US for one in staged.results] == [0, 2, 3]
    assert [(one.window.start_us // HOUR_US, one.code, one.error) for one in staged.failures] == [
        (1, "source_unreadable", "events.csv is truncated")
    ]
    healthy = make_runner(pipeline, memory_source(rows(400, 4))).run(make_task(4))
    assert [one.outputs for one in staged.results] == [healthy.results[place].outputs for place in (0, 2, 3)]
    assert staged.tables["sums"].num_rows == sum(one.outputs["sums"].rows for one in staged.results)


def panicking(memory_source, broken):
    """A source that panics, not about its data, wherever one of the hours is read."""

    class Panics(memory_source):
        def read(self, windows, slices, columns):
            yield from super().read(windows, slices, columns)
            if any(one.start_us <= hour * HOUR_US < one.end_us for one in windows for hour in broken):
                raise RuntimeError("index out of range")

    return Panics


def test_a_task_whose_ends_fail_alike_by_an_unforeseen_error_fails_whole_without_trying_each_shard(
    pipeline, make_runner, make_task, memory_source
):
    source = panicking(memory_source, range(50))(rows(500, 50))
    staged = make_runner(pipeline, source).run(make_task(50))
    assert staged.results == ()
    assert [one.window.start_us // HOUR_US for one in staged.failures] == list(range(50))
    assert {(one.code, one.error) for one in staged.failures} == {("transform_failed", "RuntimeError: index out of range")}
    assert len(source.wanted) == 3  # all of them, the first, the last


@pytest.mark.parametrize("broken", [(0,), (7,), (3, 4), (0, 3, 5)])
def test_an_unforeseen_error_of_some_shards_leaves_the_others_loaded(pipeline, make_runner, make_task, memory_source, broken):
    staged = make_runner(pipeline, panicking(memory_source, broken)(rows(400, 8))).run(make_task(8))
    assert sorted(one.window.start_us // HOUR_US for one in staged.failures) == list(broken)
    healthy = make_runner(pipeline, memory_source(rows(400, 8))).run(make_task(8))
    assert [one.outputs for one in staged.results] == [
        one.outputs for one in healthy.results if one.window.start_us // HOUR_US not in broken
    ]


@pytest.mark.parametrize("shards", [1, 2])
def test_a_task_of_one_or_two_shards_has_no_shard_between_its_ends(pipeline, make_runner, make_task, memory_source, shards):
    staged = make_runner(pipeline, panicking(memory_source, range(2))(rows(20, shards))).run(make_task(shards))
    assert len(staged.failures) == shards


def test_rows_that_the_source_gives_outside_the_windows_are_never_loaded(pipeline, make_runner, make_task, memory_source):
    class Lying(memory_source):
        def read(self, windows, slices, columns):
            return super().read([Window(windows[0].start_us, 99 * HOUR_US)], slices, columns)

    staged = make_runner(pipeline, Lying(rows())).run(make_task(1))
    assert staged.failures[0].code == "accounts"


def test_sql_that_fails_on_one_shard_fails_that_shard(make_pipeline, make_runner, make_task, memory_source):
    pipeline = make_pipeline(COLUMNS, outputs=[SqlOutput(table="t", sql="SELECT CAST(s AS INTEGER) AS i FROM rows")])
    source = memory_source(pl.DataFrame({"n": ["1"] * 3, "s": ["1", "x", "3"], "_time": [0, HOUR_US, 2 * HOUR_US]}))
    staged = make_runner(pipeline, source).run(make_task(3))
    assert [one.window.start_us // HOUR_US for one in staged.results] == [0, 2]
    assert staged.failures[0].code == "transform_failed"
    assert "outputs.t.sql" in staged.failures[0].error
    assert staged.tables["t"]["i"].to_pylist() == [1, 3]


def test_a_mistake_in_the_pipeline_fails_every_shard_with_the_same_words(make_pipeline, make_runner, make_task, memory_source):
    pipeline = make_pipeline(COLUMNS, steps=[Filter(condition="m > 1", name="f")])
    source = memory_source(rows())
    staged = make_runner(pipeline, source).run(make_task(3))
    assert len(staged.failures) == 3
    assert {one.code for one in staged.failures} == {"configuration"}
    assert len(source.wanted) == 1


# ---- checks -----------------------------------------------------------------------------------------------


def checked(make_pipeline, run, expect, *, hours=3, **options):
    quality = Quality(checks=(Check(table="sums", expect=expect, **options),))
    pipeline = make_pipeline(COLUMNS, quality=quality, outputs=[SUMS])
    return run(pipeline, {"n": ["1", "5"], "s": ["a", "b"], "_time": [0, HOUR_US]}, hours=hours)


def test_a_check_fails_the_shard_whose_contribution_breaks_it(make_pipeline, run):
    staged = checked(make_pipeline, run, "sum(total) < 0.3")
    assert [one.window.start_us // HOUR_US for one in staged.results] == [0, 2]  # the third is empty, and passes
    assert staged.failures[0].code == "rule_broken"
    assert staged.failures[0].error == "check on sums does not hold: sum(total) < 0.3 (1 rows in the contribution)"
    assert staged.tables["sums"]["s"].to_pylist() == ["a"]


def test_a_check_may_warn(make_pipeline, run):
    staged = checked(make_pipeline, run, "sum(total) < 0.3", otherwise="warn")
    assert [len(one.warnings) for one in staged.results] == [0, 1, 0]


def test_an_empty_contribution_is_judged_only_when_asked_for(make_pipeline, run):
    assert [one.window.start_us // HOUR_US for one in checked(make_pipeline, run, "count(*) > 0", on_empty="check").failures] == [2]
    assert not checked(make_pipeline, run, "count(*) >= 0", on_empty="check").failures


# ---- what is asked of the source --------------------------------------------------------------------------


def test_the_contract_is_what_is_read(pipeline, make_runner, make_task, memory_source):
    source = memory_source(rows())
    make_runner(pipeline, source).run(make_task(1))
    assert source.wanted == [("n", "s")]


def test_scan_is_the_sources(pipeline, make_runner, make_task, memory_source):
    file = make_task().shards[0].slices[0].file
    assert make_runner(pipeline, memory_source(rows())).scan(file).content == {"scanned": True}
