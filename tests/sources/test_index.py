from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from raypipe.core.shard import InputFile
from raypipe.sources.index import CutName, Index, KnownContent

A = InputFile("a", 10, "1")
B = InputFile("b", 10, "1")
CUT = CutName("cut", "family")


def test_a_recorded_version_is_known_and_another_is_not(tmp_path: Path) -> None:
    index = Index(tmp_path / "state" / "index.sqlite")
    index.record(CUT, [(A, {"outside": 3, "x": [1]}), (B, {"outside": 4})])
    assert index.versions("cut") == {"a": "1", "b": "1"}
    assert index.contents(CUT, [A, InputFile("b", 10, "2")]) == {"a": [{"outside": 3, "x": [1]}]}
    assert index.outside("cut", [A, B]) == 7
    assert index.versions("another cut") == {}


def test_a_newer_version_takes_the_place_of_the_older(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.record(CUT, [(A, {"outside": 0})])
    index.record(CUT, [(InputFile("a", 10, "2"), {"outside": 1})])
    assert index.versions("cut") == {"a": "2"}


def test_all_cuts_of_one_version_of_a_file_are_kept_the_oldest_first(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    days, hours, stranger = CutName("days", "family"), CutName("hours", "family"), CutName("days of others", "other family")
    index.record(days, [(A, {"outside": 0, "cut": "days"})])
    index.record(stranger, [(A, {"outside": 0, "cut": "stranger"})])
    assert index.contents(hours, [A]) == {}
    index.record(hours, [(A, {"outside": 0, "cut": "hours"})])
    index.record(days, [(A, {"outside": 0, "cut": "days"})])
    for cut in (days, hours):
        assert [content["cut"] for content in index.contents(cut, [A])["a"]] == ["days", "hours"]
    assert index.versions("days") == index.versions("hours") == {"a": "1"}


def test_cuts_of_older_versions_of_a_file_tell_nothing(tmp_path: Path) -> None:
    index, newer = Index(tmp_path / "index.sqlite"), InputFile("a", 10, "2")
    days, hours = CutName("days", "family"), CutName("hours", "family")
    index.record(days, [(A, {"outside": 0, "cut": "days"})])
    index.record(hours, [(newer, {"outside": 0, "cut": "hours"})])
    assert [content["cut"] for content in index.contents(hours, [newer])["a"]] == ["hours"]
    assert index.contents(days, [newer]) == {}
    index.record(days, [(newer, {"outside": 0, "cut": "days"})])
    assert [content["cut"] for content in index.contents(days, [newer])["a"]] == ["hours", "days"]


def test_reading_an_index_that_was_never_written_writes_nothing(tmp_path: Path) -> None:
    index = Index(tmp_path / "state" / "index.sqlite")
    assert index.versions("cut") == {}
    assert index.contents(CUT, [A]) == {}
    assert index.outside("cut", [A]) == 0
    assert index.unsettled() == {}
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("damage", [b"this is no database at all, not even close to one", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_corrupt_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.path.write_bytes(damage)
    assert index.versions("cut") == {}
    index.record(CUT, [(A, {"outside": 0})])
    assert index.versions("cut") == {"a": "1"}


def test_an_index_of_another_format_is_made_anew(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    db = sqlite3.connect(index.path)
    db.execute("CREATE TABLE files (other)")
    db.execute("PRAGMA user_version = 999")
    db.commit()
    db.close()
    index.record(CUT, [(A, {"outside": 0})])
    assert index.versions("cut") == {"a": "1"}


def test_a_locked_index_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.record(CUT, [(A, {"outside": 0})])
    monkeypatch.setattr("raypipe.sources.index._BUSY_S", 0.01)
    db = sqlite3.connect(index.path)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        index.record(CUT, [(B, {"outside": 0})])
    db.close()
    assert index.versions("cut") == {"a": "1"}


def record_many(path: Path, number: int) -> None:
    for place in range(20):
        Index(path).record(CUT, [(InputFile(f"{number}-{place}", 1, "1"), {"outside": 1})])


def test_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=record_many, args=(tmp_path / "index.sqlite", number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert len(Index(tmp_path / "index.sqlite").versions("cut")) == 80


def test_content_hashes_are_remembered(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.record_unsettled({"a": KnownContent("stat", "digest", confirmed=False)})
    index.record_unsettled({"a": KnownContent("stat", "digest", confirmed=True)})
    assert index.unsettled() == {"a": KnownContent("stat", "digest", confirmed=True)}
