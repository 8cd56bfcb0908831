from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyarrow import fs as pafs

from raypipe.errors import ConfigurationError, InputChanged, SourceUnreadable
from raypipe.sources import filesystem
from raypipe.sources.filesystem import content_digest, find_files, open_file, stat_file

NOW_NS = 2_000_000_000 * 10**9
TREE = ["a.csv", "b.csv", "c.txt", ".hidden.csv", "sub/a.csv", "sub/deep/d.csv", ".git/e.csv", "x[1].csv"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


PATTERNS = {
    "*.csv": ["a.csv", "b.csv", "x[1].csv"],
    "**/*.csv": ["a.csv", "b.csv", "sub/a.csv", "sub/deep/d.csv", "x[1].csv"],
    "?.csv": ["a.csv", "b.csv"],
    "[!a].csv": ["b.csv"],
    "[ab].*": ["a.csv", "b.csv"],
    "sub/*": ["sub/a.csv"],
    "sub/**/*.csv": ["sub/a.csv", "sub/deep/d.csv"],
    ".hidden.*": [".hidden.csv"],
    "nothing/*.csv": [],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_globs_find_files_sorted(tree: Path, pattern: str) -> None:
    found = find_files([str(tree / pattern)], NOW_NS)
    assert [one.uri for one in found] == [str(tree / name) for name in PATTERNS[pattern]]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_object_stores_follow_the_same_globs(tree: Path, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    local = pafs.SubTreeFileSystem(str(tree), pafs.LocalFileSystem())
    monkeypatch.setattr(filesystem, "_filesystem", lambda uri: (local, uri.removeprefix("s3://bucket").lstrip("/")))
    found = find_files([f"s3://bucket/{pattern}"], NOW_NS)
    assert [one.uri.removeprefix("s3://").removeprefix("bucket/") for one in found] == PATTERNS[pattern]


def test_an_object_is_found_opened_and_missed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = pafs.SubTreeFileSystem(str(tree), pafs.LocalFileSystem())
    monkeypatch.setattr(filesystem, "_filesystem", lambda uri: (local, uri.removeprefix("s3://bucket/")))
    (found,) = find_files(["s3://bucket/a.csv"], NOW_NS)
    assert (found.uri, found.size_bytes, found.settled) == ("s3://bucket/a.csv", 5, True)
    with open_file("s3://bucket/a.csv") as stream:
        assert stream.read() == b"a.csv"
    with pytest.raises(InputChanged):
        stat_file("s3://bucket/gone.csv", NOW_NS)


def test_an_unknown_scheme_names_what_is_expected() -> None:
    with pytest.raises(ConfigurationError, match="s3:// or gs://"):
        find_files(["nosuch://bucket/*.csv"], NOW_NS)


def test_a_file_named_by_two_patterns_is_listed_once(tree: Path) -> None:
    assert len(find_files([str(tree / "*.csv"), str(tree / "a.csv"), f"file://{tree}/a.csv"], NOW_NS)) == 3


def test_a_name_with_brackets_can_be_given_as_it_is(tree: Path) -> None:
    assert [one.uri for one in find_files([str(tree / "x[1].csv")], NOW_NS)] == [str(tree / "x[1].csv")]


def test_a_path_without_wildcards_must_exist(tree: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"missing\.csv: there is no such file"):
        find_files([str(tree / "missing.csv")], NOW_NS)
    with pytest.raises(ConfigurationError, match="is a folder"):
        find_files([str(tree / "sub")], NOW_NS)


def test_every_way_to_write_a_file_changes_its_stat(tree: Path) -> None:
    path = tree / "a.csv"
    seen = {stat_file(str(path), NOW_NS).stat}
    path.write_text("other")
    os.utime(path, ns=(0, 0))
    seen.add(stat_file(str(path), NOW_NS).stat)
    path.unlink()
    path.write_text("other")
    os.utime(path, ns=(0, 0))
    seen.add(stat_file(str(path), NOW_NS).stat)
    assert len(seen) == 3


def test_a_file_written_within_two_seconds_is_unsettled(tree: Path) -> None:
    path = tree / "a.csv"
    for age_ns, settled in [
        (0, False),
        (1_999_999_999, False),
        (2_000_000_000, True),
        (-1_000_000_000, False),
        (-3_000_000_000, True),
    ]:
        os.utime(path, ns=(NOW_NS - age_ns, NOW_NS - age_ns))
        assert stat_file(str(path), NOW_NS).settled is settled, age_ns


def test_a_file_that_is_gone_changed(tree: Path) -> None:
    with pytest.raises(InputChanged, match="gone now"):
        stat_file(str(tree / "gone"), NOW_NS)
    with pytest.raises(InputChanged, match="gone now"):
        open_file(str(tree / "gone"))


def test_content_digest_tells_contents_apart(tree: Path) -> None:
    assert content_digest(str(tree / "a.csv")) != content_digest(str(tree / "b.csv"))
    (tree / "b.csv").write_text("a.csv")
    assert content_digest(str(tree / "a.csv")) == content_digest(str(tree / "b.csv"))
