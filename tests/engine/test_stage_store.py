"""The stage store: what an earlier run finished is taken over where it is still right, and what no run needs is removed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from raypipe.core.shard import InputFile, Observed, Slice
from raypipe.core.window import Window
from raypipe.engine.stage import load_staged
from raypipe.engine.stage_store import StagedFiles


@pytest.fixture
def stage(tmp_path):
    return tmp_path / "stage"


@pytest.fixture
def store(stage):
    return StagedFiles(str(stage))


@pytest.fixture
def leave(make_pipeline, make_runner, make_task, memory_source):
    """Let a killed run leave two hours staged."""

    def left(run_id="killed", attempt=1):
        rows = pl.DataFrame({"n": ["1", "2", "3"], "_time": [1, 2, 3_600_000_000]})
        return make_runner(make_pipeline({"n": "int64"}), memory_source(rows), stage="always").run(make_task(2, run_id, attempt))

    return left


def folders(stage):
    return sorted(str(path.relative_to(stage)) for path in stage.glob("*/*"))


def test_work_that_is_still_right_is_adopted_under_the_new_run_and_not_planned(store, stage, leave):
    left = leave()
    (adopted,), rest = store.adopt(left.task.shards, left.fingerprints, "new", 3)
    assert rest == []
    assert adopted.results == left.results
    assert (adopted.task.run_id, adopted.task.epoch, adopted.task.shards) == ("new", 3, left.task.shards)
    assert Path(adopted.folder) == stage / "new" / adopted.task.attempt_id
    shutil.rmtree(left.folder)  # whoever made it may remove it: the copy stands by itself
    assert load_staged(adopted.folder).checksums == left.checksums


def test_what_is_left_to_do_is_what_was_not_adopted(store, leave):
    left = leave()
    later = replace(left.task.shards[1], window=Window(10**10, 2 * 10**10))
    adopted, rest = store.adopt((*left.task.shards, later), left.fingerprints, "new", 1)
    assert len(adopted) == 1
    assert rest == [later]


@pytest.mark.parametrize("change", ["definition", "input", "observed", "window", "unwanted", "outputs"])
def test_work_that_is_not_right_any_more_is_left_and_planned(store, stage, leave, change):
    left = leave()
    first, second = left.task.shards
    fingerprints = dict(left.fingerprints)
    if change == "definition":
        fingerprints = {"out": "another"}
    elif change == "input":
        second = replace(second, slices=(Slice(InputFile("file:///x.csv", 1, "v2")),))
    elif change == "observed":
        second = replace(second, observed=frozenset({Observed(0, 1, 7)}))
    elif change == "outputs":
        second = replace(second, outputs=("added",))
    elif change == "window":
        second = replace(second, window=Window(second.window.start_us, second.window.end_us + 1))
    shards = (first,) if change == "unwanted" else (first, second)
    adopted, rest = store.adopt(shards, fingerprints, "new", 1)
    assert (list(adopted), list(rest)) == ([], list(shards))
    assert folders(stage) == ["killed/000001-1-1"]


def test_a_damaged_file_is_not_adopted_and_leaves_nothing_behind(store, stage, leave):
    left = leave()
    path = Path(left.folder) / "out.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    adopted, rest = store.adopt(left.task.shards, left.fingerprints, "new", 1)
    assert (list(adopted), list(rest)) == ([], list(left.task.shards))
    assert [path.name for path in stage.iterdir()] == ["killed"]


def test_an_earlier_epoch_of_the_same_run_is_adopted_too(store, leave):
    left = leave("same")
    (adopted,), _ = store.adopt(left.task.shards, left.fingerprints, "same", 2)
    assert adopted.task.attempt_id != left.task.attempt_id
    assert load_staged(adopted.folder).results == left.results


def test_the_same_shards_staged_twice_are_adopted_once(store, leave):
    left, _ = leave(attempt=1), leave(attempt=2)
    adopted, rest = store.adopt(left.task.shards, left.fingerprints, "new", 1)
    assert (len(adopted), rest) == (1, [])


def test_two_runs_that_adopt_the_same_work_have_each_their_own(store, leave):
    left = leave()
    (one,), _ = store.adopt(left.task.shards, left.fingerprints, "one", 1)
    (other,), _ = store.adopt(left.task.shards, left.fingerprints, "other", 1)
    store.release(one)
    assert not Path(one.folder).exists()
    assert load_staged(other.folder).results == left.results


def test_with_no_shards_or_no_folder_nothing_is_looked_for(store, stage, leave):
    assert store.adopt((), {}, "new", 1) == ((), ())
    left = leave()
    shutil.rmtree(stage)
    assert store.adopt(left.task.shards, left.fingerprints, "new", 1) == ((), left.task.shards)
    assert not stage.exists()


def test_release_removes_the_attempt_and_the_run_with_its_last_one(store, stage, leave):
    first, second = leave(attempt=1), leave(attempt=2)
    store.release(first)
    assert folders(stage) == ["killed/000001-1-2"]
    store.release(second)
    assert not stage.exists() or list(stage.iterdir()) == []
    store.release(replace(second, folder=None))


def test_collect_removes_what_runs_that_are_not_open_left_and_counts_it(store, stage, leave):
    dead, alive = leave("dead"), leave("alive")
    (stage / "empty").mkdir()
    size_bytes = sum(path.stat().st_size for path in Path(dead.folder).iterdir())
    assert store.collect(lambda: frozenset({"alive"})) == (1, size_bytes)
    assert folders(stage) == ["alive/000001-1-1"]
    assert [path.name for path in stage.iterdir()] == ["alive"]
    assert load_staged(alive.folder).results == alive.results


def test_collect_takes_nothing_of_a_run_that_opens_meanwhile(store, stage, leave):
    leave("dead")

    def opens_now():
        leave("new")
        return frozenset()

    assert store.collect(opens_now)[0] == 1
    assert folders(stage) == ["new/000001-1-1"]


def test_collect_removes_what_dead_tasks_spilled(store, stage):
    spill = Path(f"{stage}.spill")
    for name in ("dead-000001-1-0", "alive-000002-1-0", "duckdb-abc"):
        (spill / name).mkdir(parents=True)
        (spill / name / "block").write_bytes(bytes(100))
    assert store.collect(lambda: frozenset({"alive"})) == (1, 100)
    assert sorted(path.name for path in spill.iterdir()) == ["alive-000002-1-0", "duckdb-abc"]
    assert store.collect(frozenset) == (2, 200)
    assert not spill.exists()


def test_collect_of_nothing_finds_nothing(store):
    assert store.collect(frozenset) == (0, 0)
