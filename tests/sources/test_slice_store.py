from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.core.shard import InputFile
from raypipe.core.window import Window
from raypipe.ports import Reject
from raypipe.sources import slice_store
from raypipe.sources.slice_store import SliceStore
from raypipe.sources.slice_writer import SliceWriter
from raypipe.sources.slices import RoutedFile, SliceKey, Sorted

REJECT = Reject("f", 3, "malformed_line", "why", "raw \udcff \x00 é")
ALL = [Window(0, 100)]


def batch(values: Sequence[int], times: Sequence[int], positions: Sequence[int], name: str = "x") -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: pa.array(values), "_position": pa.array(positions), "_time": pa.array(times)})


def two_cells() -> tuple[pa.RecordBatch, Sorted]:
    """Cells [0, 10) and [10, 20) whose positions interleave."""
    return batch([1, 3, 2, 4], [5, 6, 15, 16], [1, 3, 2, 4]), Sorted([0, 10], [10, 20], [2, 2], [1, 2], [3, 4], schema=0, number=0)


def later_cell(name: str = "x") -> tuple[pa.RecordBatch, Sorted]:
    return batch([5], [7], [5], name), Sorted([0], [10], [1], [5], [5], schema=0, number=0)


def write(folder: Path, memory_bytes: int, *parts: tuple[pa.RecordBatch, Sorted]) -> RoutedFile:
    writer = SliceWriter(folder, memory_bytes)
    for one, layout in parts:
        writer.add(one, layout)
    writer.add_rejects([REJECT])
    found = writer.finish() or SliceStore().find(SliceKey("f", "1", "c"), folder)
    assert found is not None
    return found


def values(slices: RoutedFile, *ranges: Window, name: str = "x") -> list[list[int]]:
    return [rows[name].to_pylist() for rows in slices.read(ranges)]


def test_the_store_keeps_slices_in_memory_until_a_newer_version_comes() -> None:
    store, old, new = SliceStore(), SliceKey("f", "1", "c"), SliceKey("f", "2", "c")
    slices = RoutedFile([], [], ())
    store.keep(old, slices, 10)
    store.keep(SliceKey("g", "1", "c"), slices, 1)
    assert store.find(old, Path("nowhere")) is slices
    store.keep(new, slices, 5)
    assert store.held_bytes() == 16
    store.drop_others(InputFile("f", 1, "2"), "c")
    assert store.held_bytes() == 6
    assert store.find(old, Path("nowhere")) is None


def test_the_store_has_only_so_many_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_store, "OPEN_FILES_MAX", 2)
    store = SliceStore()
    for number in range(4):
        write(tmp_path / "slices" / str(number), 0, two_cells())
        assert store.find(SliceKey(str(number), "1", "c"), tmp_path / "slices" / str(number)) is not None
    assert len(store._open) == 2


def test_threads_that_need_the_same_file_share_one_lock() -> None:
    store = SliceStore()
    assert store.routing(SliceKey("f", "1", "c")) is store.routing(SliceKey("f", "1", "c"))
    assert isinstance(store.routing(SliceKey("g", "1", "c")), type(threading.Lock()))


@pytest.mark.parametrize("damage", ["layout.json", "0000.arrow", "rejects.jsonl"])
def test_damaged_slices_are_as_good_as_gone(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "slices" / "f"
    write(folder, 0, two_cells())
    if damage == "rejects.jsonl":
        (folder / damage).unlink()
    else:
        (folder / damage).write_bytes(b"junk")
    assert SliceStore().find(SliceKey("f", "1", "c"), folder) is None
    assert not folder.exists()


def test_the_oldest_slices_go_when_the_disk_budget_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_store, "SLICES_BYTES_MAX", 1)
    store = SliceStore()
    for name in ("a", "b"):
        write(tmp_path / "slices" / name, 0, two_cells())
        store.wrote(tmp_path / "slices" / name, 10)
    assert sorted(folder.name for folder in (tmp_path / "slices").iterdir()) == ["a", "b"]
    store.wrote(tmp_path / "slices" / "b", slice_store.TRIM_BYTES)
    assert [folder.name for folder in (tmp_path / "slices").iterdir()] == ["b"]
