from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.core.window import Window
from raypipe.ports import Reject
from raypipe.sources import slice_writer
from raypipe.sources import slices as slices_module
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


def test_slices_that_outgrow_memory_go_to_disk_whole(tmp_path: Path) -> None:
    folder = tmp_path / "slices" / "f"
    writer = SliceWriter(folder, memory_bytes=two_cells()[0].nbytes)
    writer.add(*two_cells())
    assert not folder.parent.exists()
    writer.add(*later_cell())
    assert writer.finish() is None
    found = SliceStore().find(SliceKey("f", "1", "c"), folder)
    assert found is not None
    assert values(found, Window(0, 10)) == [[1, 3], [5]]


def test_many_rejects_go_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_writer, "REJECTS_BYTES_MAX", 500)
    monkeypatch.setattr(slices_module, "_REJECTS_AT_ONCE", 3)
    writer = SliceWriter(tmp_path / "slices" / "f", memory_bytes=2**30)
    for _ in range(4):
        writer.add_rejects([REJECT, REJECT])
    assert writer.finish() is None
    found = SliceStore().find(SliceKey("f", "1", "c"), tmp_path / "slices" / "f")
    assert found is not None
    assert [len(some) for some in found.rejects()] == [3, 3, 2]


def test_an_abandoned_file_leaves_nothing(tmp_path: Path) -> None:
    writer = SliceWriter(tmp_path / "slices" / "f", memory_bytes=0)
    writer.add(*two_cells())
    writer.abandon()
    assert list((tmp_path / "slices").iterdir()) == []


def test_two_writers_of_the_same_slices_leave_one(tmp_path: Path) -> None:
    for _ in range(2):
        assert values(write(tmp_path / "slices" / "f", 0, two_cells()), Window(10, 20)) == [[2, 4]]
    assert [folder.name for folder in (tmp_path / "slices").iterdir()] == ["f"]


@pytest.mark.parametrize("memory_bytes", [0, 60, 2**30])
def test_batches_of_other_columns_stand_apart(tmp_path: Path, memory_bytes: int) -> None:
    found = write(tmp_path / "slices" / "f", memory_bytes, later_cell("x"), later_cell("y"), later_cell("x"))
    assert [rows.schema.names[0] for rows in found.read(ALL)] == ["x", "y", "x"]
    assert found.schema == later_cell()[0].schema
