"""Slices: the rows of a routed file sorted by cell, in memory of this process or as Arrow files beside the state. A cache."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import threading
import uuid
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.fingerprint import fingerprint
from raypipe.core.shard import InputFile
from raypipe.core.window import Window
from raypipe.ports import POSITION_COLUMN, TIME_COLUMN, Reject

SLICES_BYTES_MAX = 32 * 1024**3  # of all slices of one state folder; the oldest go first and are read from their file again
REJECTS_BYTES_MAX = 8 * 1024**2  # of rejects held in memory while a file is routed; more go to disk with its rows
OPEN_FILES_MAX = 16  # routed files on disk whose layout is kept between reads
_REJECTS_AT_ONCE = 4096
_LAYOUT = "layout.json"
_REJECTS = "rejects.jsonl"


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

    def rows_of(self, batch: pa.RecordBatch, ranges: Sequence[Window]) -> pa.RecordBatch | None:
        """Return the rows of normalised ranges in order of position, without copying where they stand together."""
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
        rows = _joined([batch.slice(offsets[first], offsets[last] - offsets[first]) for first, last in spans])
        if not whole:
            rows = rows.filter(within(rows.column(TIME_COLUMN), ranges))
        return rows if self._ascend(spans) else rows.take(pc.sort_indices(rows.column(POSITION_COLUMN)))

    def _ascend(self, spans: list[tuple[int, int]]) -> bool:
        cells = [cell for first, last in spans for cell in range(first, last)]
        return all(self.last_positions[a] < self.first_positions[b] for a, b in itertools.pairwise(cells))


def within(times: pa.Array, ranges: Sequence[Window]) -> pa.Array:
    """Return for each time whether it lies in one of the ranges; null counts as no."""
    masks = (pc.and_(pc.greater_equal(times, window.start_us), pc.less(times, window.end_us)) for window in ranges)
    result = next(masks)
    for mask in masks:
        result = pc.or_(result, mask)
    return pc.fill_null(result, fill_value=False)


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)


class RoutedFile:
    """The slices of one file, readable by any number of threads."""

    def __init__(
        self, layout: Sequence[Sorted], batches: Sequence[Sequence[pa.RecordBatch]], rejects: Sequence[Reject] | Path
    ) -> None:
        self._layout = layout
        self._batches = batches
        self._rejects = rejects

    def read(self, ranges: Sequence[Window]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of normalised ranges in order of position, with `_time` and `_position`."""
        for one in self._layout:
            rows = one.rows_of(self._batches[one.schema][one.number], ranges)
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


@dataclass
class SliceWriter:
    """Takes the sorted batches of one file; keeps them in memory as long as they are small enough, then goes to disk."""

    folder: Path
    memory_bytes: int
    _layout: list[Sorted] = field(default_factory=list)
    _batches: list[list[pa.RecordBatch]] = field(default_factory=list)
    _rejects: list[Reject] = field(default_factory=list)
    _schema: pa.Schema | None = None
    _held_bytes: int = 0
    _rejects_bytes: int = 0
    _staging: Path | None = None
    _writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, batch: pa.RecordBatch, layout: Sorted) -> None:
        """Take a batch; the `schema` and `number` of its layout are set here."""
        if self._schema is None or not batch.schema.equals(self._schema):
            self._schema = batch.schema
            self._batches.append([])
            self._close_writer()
        place = {"schema": len(self._batches) - 1, "number": len(self._batches[-1])}
        self._layout.append(Sorted(**{**_as_dict(layout), **place}))
        self._batches[-1].append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > self.memory_bytes or self._staging is not None:
            self._write_out()

    def add_rejects(self, rejects: Sequence[Reject]) -> None:
        """Take rejects, ascending by position."""
        self._rejects.extend(rejects)
        self._rejects_bytes += sum(len(one.raw) + len(one.error) + 200 for one in rejects)
        if self._rejects_bytes > REJECTS_BYTES_MAX:
            self._write_out()

    def finish(self) -> RoutedFile | None:
        """End the file: return its slices where they are in memory, else None and they are in the folder."""
        if self._staging is None and self._held_bytes <= self.memory_bytes:
            return RoutedFile(self._layout, self._batches, tuple(self._rejects))
        self._write_out()
        self._close_writer()
        assert self._staging is not None
        (self._staging / _LAYOUT).write_text(json.dumps([_as_dict(one) for one in self._layout]))
        _publish(self._staging, self.folder)
        return None

    @property
    def held_bytes(self) -> int:
        """The size of all batches."""
        return self._held_bytes

    def abandon(self) -> None:
        """Drop what was written."""
        with contextlib.suppress(OSError):
            self._close_writer()
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)

    def _write_out(self) -> None:
        """Move what is held to disk; batches are replaced by None so that their places stay right."""
        if self._staging is None:
            self._staging = self.folder.parent / f"{self.folder.name}.{os.getpid()}-{uuid.uuid4().hex}"
            self._staging.mkdir(parents=True)
        for schema, batches in enumerate(self._batches):
            for number, batch in enumerate(batches):
                if batch is not None:
                    self._writer_of(schema, batch.schema).write_batch(batch)
                    batches[number] = None
        with (self._staging / _REJECTS).open("a", encoding="ascii") as lines:
            lines.writelines(json.dumps(asdict(one)) + "\n" for one in self._rejects)
        self._rejects.clear()
        self._rejects_bytes = 0

    def _writer_of(self, number: int, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
        assert self._staging is not None
        path = self._staging / f"{number:04d}.arrow"
        if self._writer is None or not path.exists():
            self._close_writer()
            self._writer = pa.ipc.new_file(str(path), schema)
        return self._writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _as_dict(layout: Sorted) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in Sorted.__slots__}


def _publish(staging: Path, folder: Path) -> None:
    """Give the slices their name at once; where another process was faster, its slices are the same."""
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(staging, ignore_errors=True)
    _trim(folder)


def _trim(newest: Path) -> None:
    """Remove the oldest slices while all are more than SLICES_BYTES_MAX or half of the free disk."""
    ages = []
    for folder in newest.parent.iterdir():
        with contextlib.suppress(OSError):
            ages.append((folder.stat().st_mtime_ns, folder, sum(file.stat().st_size for file in folder.iterdir())))
    size_bytes = sum(size for _, _, size in ages)
    bound = min(SLICES_BYTES_MAX, (size_bytes + shutil.disk_usage(newest.parent).free) // 2)
    for _, folder, size in sorted(ages):
        if size_bytes > bound and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)
            size_bytes -= size


def _open_folder(folder: Path) -> RoutedFile | None:
    try:
        layout = [Sorted(**one) for one in json.loads((folder / _LAYOUT).read_text())]
        batches = [_DiskBatches(path) for path in sorted(folder.glob("*.arrow"))]
        rejects = folder / _REJECTS
        return RoutedFile(layout, batches, rejects if rejects.stat().st_size else ())
    except (OSError, ValueError, pa.ArrowException):
        shutil.rmtree(folder, ignore_errors=True)
        return None


class SliceStore:
    """The slices that this process holds in memory or has open on disk, within the byte budgets of those who ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memory: dict[SliceKey, tuple[RoutedFile, int]] = {}
        self._open: OrderedDict[tuple[SliceKey, Path], RoutedFile] = OrderedDict()
        self._routing: dict[SliceKey, threading.Lock] = {}

    def find(self, key: SliceKey, folder: Path) -> RoutedFile | None:
        """Return the slices from memory or disk, None when they are gone."""
        with self._lock:
            if key in self._memory:
                return self._memory[key][0]
            found = self._open.get((key, folder)) or _open_folder(folder)
            if found is not None:
                self._open[key, folder] = found
                self._open.move_to_end((key, folder))
                while len(self._open) > OPEN_FILES_MAX:
                    self._open.popitem(last=False)
            return found

    def keep(self, key: SliceKey, slices: RoutedFile, size_bytes: int) -> None:
        """Hold slices in memory, in place of those of older versions of the file."""
        with self._lock:
            self._memory[key] = (slices, size_bytes)

    def drop_others(self, file: InputFile, cut: str) -> None:
        """Forget the slices of other versions of a file."""
        with self._lock:
            for key in [key for key in self._memory if key.uri == file.uri and key.cut == cut and key.version != file.version]:
                del self._memory[key]

    def held_bytes(self) -> int:
        """Return the size of all slices in memory."""
        with self._lock:
            return sum(size for _, size in self._memory.values())

    def routing(self, key: SliceKey) -> threading.Lock:
        """Return the lock under which a file is routed: threads that need the same file wait for the first."""
        with self._lock:
            return self._routing.setdefault(key, threading.Lock())


STORE = SliceStore()
