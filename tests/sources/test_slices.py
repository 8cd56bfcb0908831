from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from raypipe.core.intervals import normalise
from raypipe.core.window import Window
from raypipe.ports import Reject
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


def values(slices: RoutedFile, *windows: Window, name: str = "x") -> list[list[int]]:
    return [rows[name].to_pylist() for rows in slices.read(normalise(windows), windows)]


@pytest.fixture(params=[0, 2**30], ids=["disk", "memory"])
def slices(tmp_path: Path, request: pytest.FixtureRequest) -> RoutedFile:
    return write(tmp_path / "slices" / "f", request.param, two_cells(), later_cell())


def test_a_cell_is_read_in_order_of_its_flushes(slices: RoutedFile) -> None:
    assert values(slices, Window(0, 10)) == [[1, 3], [5]]
    assert values(slices, Window(10, 20)) == [[2, 4]]
    assert values(slices, Window(20, 30)) == []


def test_cells_that_interleave_are_read_in_order_of_position(slices: RoutedFile) -> None:
    assert values(slices, Window(0, 20)) == [[1, 2, 3, 4], [5]]


def test_cells_of_different_windows_come_as_they_stand(slices: RoutedFile) -> None:
    assert values(slices, Window(0, 10), Window(10, 20)) == [[1, 3, 2, 4], [5]]


def test_windows_that_share_a_cell_get_its_rows_in_order_of_position(slices: RoutedFile) -> None:
    assert values(slices, Window(0, 6), Window(6, 20)) == [[1, 2, 3, 4], [5]]
    assert values(slices, Window(0, 10), Window(10, 16), Window(16, 20)) == [[1, 2, 3, 4], [5]]


def test_a_window_that_cuts_a_cell_gets_its_rows_alone(slices: RoutedFile) -> None:
    assert values(slices, Window(6, 16)) == [[2, 3], [5]]
    assert values(slices, Window(5, 6), Window(16, 17)) == [[1, 4]]


def test_rejects_come_back_as_they_were(slices: RoutedFile) -> None:
    assert list(slices.rejects()) == [(REJECT,)]


def test_slices_on_disk_are_not_copied(tmp_path: Path) -> None:
    found = write(tmp_path / "slices" / "f", 0, later_cell())
    before = pa.total_allocated_bytes()
    (rows,) = found.read([Window(0, 10)])
    assert rows.num_rows == 1
    assert pa.total_allocated_bytes() - before < 1024


def test_slices_that_vanish_while_they_are_read_are_read_to_their_end(tmp_path: Path) -> None:
    folder = tmp_path / "slices" / "f"
    found = write(folder, 0, two_cells(), later_cell())
    reading = found.read([Window(0, 10)])
    next(reading)
    for file in folder.iterdir():
        file.unlink()
    assert [rows["x"].to_pylist() for rows in reading] == [[5]]
