"""Stream: batches of a task from its files, a shard's rows in order of (source, position), small ones joined, large ones cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.pipeline import EventTime
from raypipe.ports import POSITION_COLUMN, RESERVED_COLUMNS, SOURCE_COLUMN, TIME_COLUMN, Reject, SourceBatch
from raypipe.sources.parquet_open import BATCH_BYTES, BATCH_ROWS
from raypipe.sources.slices import RoutedFile, join_batches

JOINED_ROWS = 65_536  # batches are joined up to here: a batch costs the engines about as much as some thousand rows
JOINED_BYTES = 16 * 1024**2
REJECTS_HELD = 4_096  # bounds what goes beside one batch
_NO_ROWS = pa.RecordBatch.from_pylist(
    [], pa.schema([(SOURCE_COLUMN, pa.uint32()), (POSITION_COLUMN, pa.int64()), (TIME_COLUMN, pa.int64())])
)


def by_file(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Return the slices of each file, sorted by URI."""
    found: dict[str, list[Slice]] = {}
    for one in sorted(slices, key=lambda one: one.file.uri):
        found.setdefault(one.file.uri, []).append(one)
    return list(found.values())


def stream_rows(
    files: Sequence[Sequence[Slice]],
    windows: Sequence[Window],
    columns: Sequence[str] | None,
    time: EventTime,
    routed: Callable[[InputFile], RoutedFile],
    path_of: Callable[[InputFile], str] = lambda file: file.uri,
) -> Iterator[SourceBatch]:
    """Yield the rows of windows (ascending, disjoint) from files, each given by its slices, sorted by URI."""
    wanted = None if columns is None else {*columns, *RESERVED_COLUMNS}
    ranges = time.within(windows)

    def batches() -> Iterator[SourceBatch]:
        for source, slices in enumerate(files):
            file = slices[0].file
            if slices[0].parts:
                from raypipe.sources.parquet import ParquetReader

                rows = ParquetReader(slices, ranges, columns, time, path_of(file)).batches()
            else:
                rows = _routed_rows(routed(file), slices, ranges, windows)
            for one in rows:
                yield SourceBatch(_finished(one.rows, source, wanted), one.rejects)
                del one

    yield from _joined(batches())


def _routed_rows(
    routed: RoutedFile, slices: Sequence[Slice], ranges: Sequence[Window], windows: Sequence[Window]
) -> Iterator[SourceBatch]:
    if any(one.untimed for one in slices):
        for rejects in routed.rejects():
            yield SourceBatch(_NO_ROWS, rejects)
    for rows in routed.read(ranges, windows):
        yield SourceBatch(rows)


def _finished(rows: pa.RecordBatch, source: int, wanted: set[str] | None) -> pa.RecordBatch:
    """Return the wanted columns and the reserved ones."""
    if rows is _NO_ROWS:
        return rows
    names = [name for name in rows.schema.names if wanted is None or name in wanted]
    return rows.select(names).append_column(SOURCE_COLUMN, pa.repeat(pa.scalar(source, pa.uint32()), rows.num_rows))


def _joined(batches: Iterable[SourceBatch]) -> Iterator[SourceBatch]:
    """Join neighbours of one schema while they are small, and cut what is too large; rejects go with what follows them."""
    held: list[pa.RecordBatch] = []
    rejects: list[Reject] = []
    rows = size_bytes = 0
    for one in batches:
        rejects.extend(one.rejects)
        if len(rejects) >= REJECTS_HELD or (held and one.rows.num_rows and not _fits(held[0], one.rows, rows, size_bytes)):
            yield from _cut(held or [_NO_ROWS], rejects)
            held, rejects, rows, size_bytes = [], [], 0, 0
        if one.rows.num_rows == 0:
            continue
        held.append(one.rows)
        rows, size_bytes = rows + one.rows.num_rows, size_bytes + one.rows.nbytes
    if held or rejects:
        yield from _cut(held or [_NO_ROWS], rejects)


def _fits(held: pa.RecordBatch, one: pa.RecordBatch, rows: int, size_bytes: int) -> bool:
    small = rows + one.num_rows <= JOINED_ROWS and size_bytes + one.nbytes <= JOINED_BYTES
    return small and bool(one.schema.equals(held.schema))


def _cut(held: Sequence[pa.RecordBatch], rejects: Sequence[Reject]) -> Iterator[SourceBatch]:
    batch = join_batches(held)
    row_bytes = batch.nbytes // max(batch.num_rows, 1) + 1
    step = max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))
    for at in range(0, max(batch.num_rows, 1), step):
        yield SourceBatch(batch.slice(at, step), tuple(rejects) if at == 0 else ())
