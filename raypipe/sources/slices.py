"""Slices: the rows of a routed file sorted by cell, in memory of this process or as Arrow files beside the state."""

from __future__ import annotations

import itertools
import json
import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from raypipe.core.calendar import FIRST_US
from raypipe.core.fingerprint import fingerprint
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import POSITION_COLUMN, TIME_COLUMN, Reject

pc: Any = compute  # its stubs lack that arrays and plain numbers mix

_REJECTS_AT_ONCE = 4096
LAYOUT_FILE = "layout.json"
REJECTS_FILE = "rejects.jsonl"


@dataclass(frozen=True, slots=True)
class SliceKey:
    """What slices were made of: another version of the file or another cut of it has other slices."""

    uri: str
    version: str
    cut: str

    @property
    def name(self) -> str:
        """The name of the folder that holds them."""
        return fingerprint([self.uri, self.version, self.cut])


@dataclass(frozen=True, slots=True)
class Sorted:
    """One record batch sorted by cell: cell i covers `[starts[i], ends[i])` and holds `rows[i]` rows, ascending by position."""

    starts: Sequence[int]
    ends: Sequence[int]
    rows: Sequence[int]
    first_positions: Sequence[int]
    last_positions: Sequence[int]
    schema: int
    """Which of the file's schemas the batch has, counted from 0."""
    number: int
    """Place of the batch among those of its schema."""

    def rows_of(self, batch: pa.RecordBatch, ranges: Sequence[Window], windows: Sequence[Window]) -> pa.RecordBatch | None:
        """Return the rows of normalised ranges, those of each window in order of position, uncopied where they stand so."""
        offsets = [0, *itertools.accumulate(self.rows)]
        spans: list[tuple[int, int]] = []
        whole = True
        for window in ranges:
            first, last = bisect_right(self.ends, window.start_us), bisect_left(self.starts, window.end_us)
            if first < last:
                spans.append((first, last))
                whole = whole and window.start_us <= self.starts[first] and self.ends[last - 1] <= window.end_us
        if not spans:
            return None
        rows = join_batches([batch.slice(offsets[first], offsets[last] - offsets[first]) for first, last in spans])
        if not whole:
            rows = rows.filter(within(rows.column(TIME_COLUMN), ranges))
        cells = [cell for first, last in spans for cell in range(first, last)]
        if self._ascend(cells, windows if whole else (Window(self.starts[0], self.ends[-1]),)):
            return rows
        return rows.take(pc.sort_indices(rows.column(POSITION_COLUMN)))

    def _ascend(self, cells: Sequence[int], windows: Sequence[Window]) -> bool:
        """Tell whether the positions of cells, one behind the other, ascend within each window; each cell must lie in one."""
        starts = [window.start_us for window in windows]
        end_us, last_position = FIRST_US, -1
        for cell in cells:
            if self.starts[cell] >= end_us:
                end_us = windows[bisect_right(starts, self.starts[cell]) - 1].end_us
            elif self.first_positions[cell] <= last_position:
                return False
            if self.ends[cell] > end_us:
                return False
            last_position = self.last_positions[cell]
        return True


def within(times: pa.Array[Any], ranges: Sequence[Window]) -> pa.Array[Any]:
    """Return for each time whether it lies in one of the ranges, null for null."""
    result: pa.Array[Any] = pa.repeat(False, len(times))
    for window in ranges:
        result = pc.or_(result, pc.and_(pc.greater_equal(times, window.start_us), pc.less(times, window.end_us)))
    return result


def join_batches(pieces: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Return batches of one schema as one; a single one is not copied."""
    joined: pa.RecordBatch = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)  # type: ignore[attr-defined]
    return joined


class RoutedFile:
    """The slices of one file, readable by any number of threads."""

    def __init__(
        self, layout: Sequence[Sorted], batches: Sequence[Sequence[pa.RecordBatch]], rejects: Sequence[Reject] | Path
    ) -> None:
        self._layout = layout
        self._batches = batches
        self._rejects = rejects

    def read(self, ranges: Sequence[Window], windows: Sequence[Window] = ()) -> Iterator[pa.RecordBatch]:
        """Yield the rows of normalised ranges, with `_time` and `_position`, those of each window in order of position.

        The windows (ascending, disjoint) make up the ranges; where none are given, these are the windows. To put rows of
        different ones in order too would copy them all.
        """
        for one in self._layout:
            rows = one.rows_of(self._batches[one.schema][one.number], ranges, windows or ranges)
            if rows is not None and rows.num_rows:
                yield rows

    def rejects(self) -> Iterator[tuple[Reject, ...]]:
        """Yield all that could not be placed or decoded, in order of position, some thousands at once."""
        rejects = iter(self._rejects) if not isinstance(self._rejects, Path) else _read_rejects(self._rejects)
        while some := tuple(itertools.islice(rejects, _REJECTS_AT_ONCE)):
            yield some

    @property
    def schema(self) -> pa.Schema | None:
        """The schema of the first rows; None where the file has none."""
        return self._batches[0][0].schema if self._batches else None


class _DiskBatches(Sequence[pa.RecordBatch]):
    """Record batches of an Arrow file, mapped into memory and never copied."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))

    def __len__(self) -> int:
        return int(self._reader.num_record_batches)

    def __getitem__(self, number: Any) -> Any:
        return self._reader.get_batch(number)


def _read_rejects(path: Path) -> Iterator[Reject]:
    with path.open(encoding="ascii") as lines:
        for line in lines:
            yield Reject(**json.loads(line))


def open_slices(folder: Path) -> RoutedFile | None:
    """Open the slices of a folder; None when there are none, or when they are damaged and therefore deleted."""
    try:
        layout = [Sorted(**one) for one in json.loads((folder / LAYOUT_FILE).read_text())]
        batches = [_DiskBatches(path) for path in sorted(folder.glob("*.arrow"))]
        rejects = folder / REJECTS_FILE
        return RoutedFile(layout, batches, rejects if rejects.stat().st_size else ())
    except (OSError, ValueError, pa.ArrowException):
        shutil.rmtree(folder, ignore_errors=True)
        return None
