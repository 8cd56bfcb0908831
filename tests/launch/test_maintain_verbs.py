"""`gc` and `cancel`: what ended runs left goes, what open ones need stays."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from raypipe import launch


@pytest.fixture
def dead_holder(monkeypatch):
    """Runs are held by a process of this host that is gone: this one's number, started in 1970."""
    monkeypatch.setattr("raypipe.launch.run_verb.holder", lambda: f"{socket.gethostname()}:{os.getpid()}:1.00")


def size_of(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def test_gc_of_a_fresh_pipeline_removes_and_makes_nothing(place):
    before = place.bytes_of_all_files()
    assert launch.gc(place.pipeline) == launch.GcReport(0, 0)
    assert place.bytes_of_all_files() == before


def test_gc_leaves_what_an_open_run_staged(place, killed):
    killed()
    before = place.bytes_of_all_files()
    assert launch.gc(place.pipeline).folders == 0
    assert place.bytes_of_all_files() == before
    assert place.run().closed.committed == 4


def test_gc_closes_the_runs_of_dead_processes_and_removes_what_they_staged_and_spilled(
    place, killed, dead_holder, no_stage_is_left
):
    killed()
    spilled = Path(f"{place.stage}.spill") / "duckdb-left"
    spilled.mkdir(parents=True, exist_ok=True)
    (spilled / "block").write_bytes(bytes(5000))
    folders, size_bytes = len(list(place.stage.glob("*/*"))), size_of(place.stage) + 5000
    assert [state for _, state in place.runs()] == ["open"]
    assert launch.gc(place.pipeline) == launch.GcReport(folders + 1, size_bytes)
    assert [state for _, state in place.runs()] == ["failed"]
    assert no_stage_is_left()
    assert not spilled.parent.exists()
    assert launch.gc(place.pipeline) == launch.GcReport(0, 0)
    assert place.run().closed.committed == 4
    assert place.proven()


def test_gc_removes_what_was_taken_over_and_committed(place, killed, dead_holder, no_stage_is_left):
    killed()
    place.run()
    assert not no_stage_is_left()
    assert launch.gc(place.pipeline).size_bytes > 0
    assert no_stage_is_left()
    assert place.proven()


def test_cancel_ends_open_runs_by_name_or_all(place, killed):
    killed()
    ((run, _),) = place.runs()
    assert launch.cancel(place.pipeline, "another") == ()
    assert launch.cancel(place.pipeline, run) == (run,)
    assert launch.cancel(place.pipeline, None) == ()
    assert place.runs() == [(run, "cancelled")]
