"""Watchers see every point in order; crash copies hold what stood on disk there, each state once."""

from __future__ import annotations

import threading

import pytest

from raypipe.failpoints import hit, watching
from raypipe.testing.crash_copies import CrashCopies


def test_watchers_hear_of_points_within_the_block_only_and_what_they_raise_is_raised_there(monkeypatch):
    monkeypatch.delenv("RAYPIPE_TESTING", raising=False)
    heard: list[str] = []

    def refuse(point: str) -> None:
        if point == "second":
            raise OSError(5, "no")

    hit("before")
    with watching(heard.append), watching(refuse):
        hit("first")
        with pytest.raises(OSError, match="no"):
            hit("second")
    hit("after")
    assert heard == ["first", "second"]


def test_a_copy_holds_what_stood_at_the_point_and_equal_states_share_one(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    copies = CrashCopies(folder, tmp_path / "copies")
    with watching(copies):
        hit("a")
        (folder / "deep" / "file").write_text("one")
        hit("b")
        hit("a")
        (folder / "deep" / "file").write_text("two")
        hit("b")
    assert list(copies.found) == ["a@1", "b@1", "a@2", "b@2"]
    assert copies.found["b@1"] == copies.found["a@2"]
    texts = [[one.read_text() for one in copies.found[where].rglob("file")] for where in ("a@1", "b@1", "b@2")]
    assert texts == [[], ["one"], ["two"]]


def test_a_watcher_sees_only_the_points_of_its_own_thread():
    heard: list[str] = []
    with watching(heard.append):
        another = threading.Thread(target=hit, args=("elsewhere",))
        another.start()
        another.join()
        hit("here")
    assert heard == ["here"]
