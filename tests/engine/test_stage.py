"""Staged files: written, found, adopted, and never used when they are not what the manifest says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from raypipe.engine.stage import StageWhenDear, adopt, find_staged, load_staged, wants_files
from raypipe.errors import RetryableError, StagedDamaged


@pytest.fixture
def staged(make_pipeline, make_runner, make_task, memory_source):
    rows = pl.DataFrame({"n": ["1", "x", "3"], "_time": [1, 2, 3_600_000_000]})
    return make_runner(make_pipeline({"n": "int64"}), memory_source(rows), stage="always").run(make_task(2))


def test_what_is_loaded_is_what_was_staged(staged):
    assert staged.tables == {}
    assert sorted(staged.checksums) == ["_quarantine.parquet", "out.parquet"]
    assert Path(staged.folder).parts[-2:] == ("run", "000001-1-1")
    assert load_staged(staged.folder) == staged
    assert pq.read_table(Path(staged.folder) / "out.parquet")["n"].to_pylist() == [1, 3]
    assert list(find_staged(Path(staged.folder).parents[1])) == [staged]


def test_the_manifest_is_plain_json_with_a_format(staged):
    document = json.loads((Path(staged.folder) / "manifest.json").read_text())
    assert document["format"] == 1
    assert document["results"][0]["accounts"] == {
        "read": 2,
        "expanded": 0,
        "loaded": 1,
        "filtered": 0,
        "duplicate": 0,
        "quarantined": 1,
    }
    assert set(document["fingerprints"]) == {"out"}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "format"])
def test_damage_is_noticed_before_use(staged, damage):
    path = Path(staged.folder) / "out.parquet"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "remove":
        path.unlink()
    else:
        text = '{"format": 99}' if damage == "format" else "{"
        (path.parent / "manifest.json").write_text(text)
    with pytest.raises(StagedDamaged, match="000001-1-1"):
        load_staged(staged.folder)


def test_a_folder_without_manifest_is_no_work(staged):
    (Path(staged.folder) / "manifest.json").unlink()
    assert list(find_staged(Path(staged.folder).parents[1])) == []


def test_adopted_work_outlives_its_first_folder(staged, tmp_path):
    copy = adopt(staged.folder, tmp_path / "stage" / "next" / "000001-1-1")
    shutil.rmtree(staged.folder)
    assert load_staged(copy.folder).results == staged.results
    with pytest.raises(StagedDamaged):
        adopt(staged.folder, tmp_path / "stage" / "next" / "other")


def test_adopting_copies_where_links_are_not_possible(staged, tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    assert adopt(staged.folder, tmp_path / "elsewhere").checksums == staged.checksums


@pytest.mark.parametrize("point", ["task.mid_stage", "task.after_data_before_manifest"])
def test_a_full_disk_leaves_no_manifest_and_is_worth_a_retry(
    make_pipeline, make_runner, make_task, memory_source, monkeypatch, tmp_path, point
):
    monkeypatch.setenv("RAYPIPE_TESTING", "1")
    monkeypatch.setenv("RAYPIPE_FAILPOINTS", f"{point}=raise:ENOSPC@1")
    monkeypatch.setattr("raypipe.failpoints._hits", {})
    runner = make_runner(make_pipeline({"n": "int64"}), memory_source(pl.DataFrame({"n": ["1"], "_time": [1]})), stage="always")
    with pytest.raises(RetryableError, match=r"cannot be written: No space left on device.*bytes are free there"):
        runner.run(make_task())
    assert list(find_staged(tmp_path / "stage")) == []


def test_a_second_attempt_never_writes_over_the_first(make_pipeline, make_runner, make_task, memory_source):
    runner = make_runner(make_pipeline({"n": "int64"}), memory_source(pl.DataFrame({"n": ["1"], "_time": [1]})), stage="always")
    first, second = runner.run(make_task(attempt=1)), runner.run(make_task(attempt=2))
    assert first.folder != second.folder
    with pytest.raises(RetryableError, match="File exists"):
        runner.run(make_task(attempt=1))
    assert load_staged(first.folder) == first


def test_files_are_wanted_for_what_is_dear_or_large():
    policy = StageWhenDear(seconds=2, size_bytes=100)
    assert [wants_files(policy, seconds=s, size_bytes=b) for s, b in ((3, 1), (1, 101), (1, 1))] == [True, True, False]
    assert wants_files("always", seconds=0, size_bytes=0)
    assert not wants_files("never", seconds=9, size_bytes=9)
