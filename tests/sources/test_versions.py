from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypipe.errors import InputChanged
from raypipe.sources import versions
from raypipe.sources.index import Index
from raypipe.sources.versions import check_unchanged, list_versions

WRITTEN_NS = 1_700_000_000 * 10**9
FRESH_NS = WRITTEN_NS + 10**9
LATER_NS = WRITTEN_NS + 10 * 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    write(path, "one")
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, ns=(WRITTEN_NS, WRITTEN_NS))


def rewrite_unseen(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write again within the same tick of a coarse clock: the stat stays what it was."""
    before = versions.stat_file(str(path), LATER_NS)
    write(path, text)
    find, stat = versions.find_files, versions.stat_file
    monkeypatch.setattr(
        versions, "find_files", lambda patterns, now_ns: tuple(_as(one, before.stat) for one in find(patterns, now_ns))
    )
    monkeypatch.setattr(versions, "stat_file", lambda uri, now_ns: _as(stat(uri, now_ns), before.stat))


def _as(found: versions.FoundFile, stat: str) -> versions.FoundFile:
    return versions.FoundFile(found.uri, found.size_bytes, stat, found.settled)


def version(path: Path, now_ns: int) -> str:
    return list_versions([str(path)], Index(path.parent / "index.sqlite"), now_ns)[0].version


def test_a_settled_file_is_known_by_its_stat_and_nothing_is_written(path: Path) -> None:
    assert version(path, LATER_NS) == version(path, LATER_NS + 1)
    assert not (path.parent / "index.sqlite").exists()


def test_an_unsettled_file_keeps_its_version_once_it_has_settled(path: Path) -> None:
    fresh = version(path, FRESH_NS)
    assert version(path, LATER_NS) == fresh
    assert version(path, LATER_NS + 1) == fresh


def test_an_unsettled_file_written_again_in_the_same_tick_has_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = version(path, FRESH_NS)
    rewrite_unseen(path, "two", monkeypatch)
    assert version(path, FRESH_NS) != fresh
    assert version(path, LATER_NS) != fresh


def test_a_large_unsettled_file_is_read_again_at_each_listing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "HASHED_BYTES_MAX", 2)
    assert len({version(path, FRESH_NS), version(path, FRESH_NS + 1), version(path, LATER_NS)}) == 3


@pytest.mark.parametrize("now_ns", [FRESH_NS, LATER_NS])
def test_a_file_that_stays_is_unchanged_and_one_that_is_written_is_not(path: Path, now_ns: int) -> None:
    (file,) = list_versions([str(path)], Index(path.parent / "index.sqlite"), now_ns)
    check_unchanged(file, now_ns)
    path.write_text("longer than before")
    with pytest.raises(InputChanged, match="listed with 3 bytes, now it has 18"):
        check_unchanged(file, now_ns)


def test_a_write_in_the_same_tick_is_noticed_by_content(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = list_versions([str(path)], Index(path.parent / "index.sqlite"), FRESH_NS)
    rewrite_unseen(path, "two", monkeypatch)
    with pytest.raises(InputChanged):
        check_unchanged(file, FRESH_NS)


def test_a_file_known_for_one_listing_only_is_checked_by_its_stat(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "HASHED_BYTES_MAX", 2)
    (file,) = list_versions([str(path)], Index(path.parent / "index.sqlite"), FRESH_NS)
    check_unchanged(file, LATER_NS)
    write(path, "other content")
    with pytest.raises(InputChanged):
        check_unchanged(file, LATER_NS)
