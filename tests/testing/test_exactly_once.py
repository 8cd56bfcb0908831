"""The kit goes through every point of a healthy pipeline, and names point and row as soon as a guard or a step is broken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raypipe.destinations import duckdb_commit, duckdb_runs
from raypipe.errors import CommitUnknown
from raypipe.pipeline import Derive, PythonStep, Quality, Rule
from raypipe.runtime import settling
from raypipe.testing import NotExactlyOnce, assert_exactly_once
from raypipe.testing.points import Point

pytestmark = pytest.mark.slow  # about 60 s of one core in all, a third of it for the whole of one pipeline

CONFIGS = Path(__file__).parent.parent.parent / "configs"
WHOLE = os.environ.get("RAYPIPE_KIT_CONFIGS")
"""The long part: RAYPIPE_KIT_CONFIGS=quality,lookup,python_step takes these pipelines of configs/ through all points."""


# ---- a healthy pipeline -----------------------------------------------------------------------------------


def test_a_healthy_pipeline_passes_every_point_and_nothing_of_the_users_is_touched(counted, events, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    report = assert_exactly_once(counted, events, tasks=1)
    what = Counter(point.rpartition("=")[2] for point in report.points)
    assert what["crash"] == what["error"] > 18
    assert report.crashes_apart >= 5
    assert {what[kind] for kind in ("twice", "damaged", "takeover", "started_twice", "rival", "late", "stale")} == {1}
    assert {"run=clean", "run=again", "run=backward", "run=together", "files=rows-1.csv", "files=reversed"} <= set(report.points)
    assert {"commit.after_ledger@1=crash", "commit.after_commit_before_ack@1=error"} <= set(report.points)
    assert len(report.points) > 50
    assert report.shards == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_a_process_may_die_before_between_and_after_the_commits_of_a_run(counted, events):
    report = assert_exactly_once(counted, events, only="crash")
    assert len(report.points) > 36
    assert report.crashes_apart >= 9
    assert {"task.mid_stage@2=crash", "commit.after_commit_before_ack@2=crash"} <= set(report.points)


@pytest.mark.parametrize("name", (WHOLE or "python_step").split(","))
def test_the_pipelines_of_the_configurations_are_exactly_once(name):
    assert assert_exactly_once(CONFIGS / f"{name}.yaml", only=None if WHOLE else "takeover").points


@pytest.mark.parametrize("only", [None, "commit.after_ledger@2=crash", "commit.after_ledger@2", "commit.after_ledger", "crash"])
def test_points_can_be_named_whole_by_place_and_by_what_happens(only):
    assert Point("commit.after_ledger@2=crash", "", list).is_meant_by(only)
    assert only is None or not Point("commit.after_fence@1=error", "", list).is_meant_by(only)


def test_a_point_that_is_not_there_is_told_with_those_that_are(counted, events):
    with pytest.raises(ValueError, match=r"there is no point 'commit\.never'; there are run=clean, run=again"):
        assert_exactly_once(counted, events, only="commit.never")


def test_a_pipeline_that_fails_by_itself_is_told_apart_from_one_that_is_not_exact(counted, events):
    strict = replace(counted, quality=Quality(rules=(Rule(name="small", expect="n < 11", otherwise="fail"),)))
    with pytest.raises(ValueError, match=r"does not end well on this input even when nothing happens.*small"):
        assert_exactly_once(strict, events)


# ---- each guard of raypipe, removed once ------------------------------------------------------------------


def without_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_commit, "beat", lambda *_arguments: True)


def without_ledger_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(duckdb_commit._SQL, "committed_before", "SELECT 1, 2, 3, 4 WHERE false")


def without_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.core.commit._as_observed", lambda _shard, _met: True)


def in_two_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    write_ledger = duckdb_commit._Commit.write_ledger

    def split(self: Any, *arguments: Any) -> None:
        self.connection.commit()
        self.connection.begin()
        write_ledger(self, *arguments)

    monkeypatch.setattr(duckdb_commit._Commit, "write_ledger", split)


def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_commit, "verify_checksums", lambda _staged: None)


def with_unknown_taken_for_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = settling.Settler.settled

    def hasty(self: Any, ask: Callable[[], Any]) -> Any:
        def once() -> Any:
            try:
                return ask()
            except CommitUnknown as error:
                raise RuntimeError("failed") from error

        return settled(self, once)

    monkeypatch.setattr(settling.Settler, "settled", hasty)


def with_any_start_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_runs, "is_dead", lambda _holder: True)


def without_deleting_what_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb_commit._Commit, "_delete", lambda *_arguments: None)


def with_stale_staged_work_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.engine.staged_work.input_fingerprint", lambda _slices: "any")


GUARDS = [
    (without_fence, "task@1=takeover", "is of an owner that was already taken over"),
    (without_ledger_lookup, "commit.after_commit_before_ack@1=error", "the run reports committed 2, expected 4"),
    (without_compare, "task@1=late", "table clean, shard 2026-01-04T00:00:00Z: row lost"),
    (in_two_transactions, "commit.after_ledger@1=crash", "before it ran again: live_in_ledger: clean"),
    (without_checksums, "task@1=damaged", "table clean, shard 2026-01-01T00:00:00Z: row lost"),
    (with_unknown_taken_for_failed, "commit.after_commit_before_ack@2=error", "did not settle by itself"),
    (with_any_start_let_in, "task@1=started_twice", "Fenced: run first, epoch 1"),
    (without_deleting_what_is_replaced, "files=rows-0.csv", "row doubled"),
    (with_stale_staged_work_taken, "task@2=stale", "row lost"),
]
"""A guard, the point at which its absence shows, and what is told then."""


@pytest.mark.parametrize(("remove", "only", "told"), GUARDS, ids=lambda one: getattr(one, "__name__", None))
def test_a_guard_that_is_missing_turns_the_kit_red(counted, events, monkeypatch, remove, only, told):
    remove(monkeypatch)
    with pytest.raises(NotExactlyOnce) as caught:
        assert_exactly_once(counted, events, only=only)
    assert told in str(caught.value)
    assert f'assert_exactly_once(..., only="{caught.value.point}")' in str(caught.value)


# ---- a user's own mistakes --------------------------------------------------------------------------------

STEPS = """
import itertools, random, time
import polars as pl

numbers = itertools.count()
seen = set()

def doubled(rows):
    return rows.with_columns(twice=pl.col("n") * 2)

def rolled(rows):
    return rows.with_columns(die=pl.lit(random.random()))

def stamped(rows):
    return rows.with_columns(at=pl.lit(time.time_ns()))

def numbered(rows):
    return rows.with_columns(call=pl.lit(next(numbers)))

def once(rows):
    taken = rows.collect()
    fresh = [kind not in seen for kind in taken["kind"]]
    seen.update(taken["kind"])
    return taken.filter(pl.Series(fresh)).lazy()
"""


@pytest.mark.parametrize(("function", "rows"), [("rolled", "same"), ("stamped", "same"), ("numbered", "same"), ("once", "fewer")])
def test_a_python_step_that_uses_more_than_its_rows_is_named(counted, events, tmp_path, function, rows):
    (tmp_path / "steps.py").write_text(STEPS)
    steps = (Derive(columns={"thrice": "n * 3"}), PythonStep(function=f"steps:{function}", rows=rows))
    with pytest.raises(NotExactlyOnce, match=f"the cause is the Python step steps:{function} .transform.1.") as caught:
        assert_exactly_once(replace(counted, transform=steps, outputs=counted.outputs[:1]), events)
    assert any(one.startswith("table clean") for one in caught.value.differences)


def test_a_step_before_the_one_that_is_wrong_is_not_blamed_nor_are_steps_that_use_their_rows_alone(counted, events, tmp_path):
    (tmp_path / "steps.py").write_text(STEPS)
    good, bad = PythonStep(function="steps:doubled"), PythonStep(function="steps:rolled")
    one = replace(counted, transform=(good, bad), outputs=counted.outputs[:1])
    with pytest.raises(NotExactlyOnce, match=r"the cause is the Python step steps:rolled \(transform\[1\]\)"):
        assert_exactly_once(one, events, only="run=again")
    assert assert_exactly_once(replace(one, transform=(good,)), events, only="run=again").points == ("run=again",)
