"""Routing: sorts the rows of a file that cannot be sought in by the cell of their event time, and takes a digest of each cell."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.calendar import Calendar
from raypipe.pipeline import EventTime
from raypipe.ports import POSITION_COLUMN, TIME_COLUMN, Reject
from raypipe.sources.lines import DecodedBlock
from raypipe.sources.placement import Placed, column_at, explain, has_column, no_time_column, place
from raypipe.sources.slices import SliceWriter, Sorted

FLUSH_BYTES = 64 * 1024**2  # sorted and written at once: bounds memory to about three times this, and keeps slices long
FLUSH_REJECTS = 20_000  # the same for files of which little can be read
_REJECTS_AT_ONCE = 1_024


class Router:
    """Takes the decoded blocks of one file, in order, and ends with its cells; rows go to `writer`, sorted."""

    def __init__(
        self,
        uri: str,
        time: EventTime,
        calendar: Calendar,
        writer: SliceWriter,
        *,
        stored: Sequence[str] | None = None,
        columns_vary: bool = False,
        time_required: bool = False,
    ) -> None:
        self._uri = uri
        self._time = time
        self._cells = Cells(calendar)
        self._stored = None if stored is None else frozenset(stored)
        self._columns_vary = columns_vary
        self._time_required = time_required
        self._writer = writer
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._waiting_rejects: list[Reject] = []
        self._rejects = 0
        self._rejects_digest = hashlib.blake2b(digest_size=16)
        self._outside = 0
        self._earliest_us: int | None = None

    def add(self, block: DecodedBlock) -> None:
        """Take a block."""
        if self._waiting and not block.rows.schema.equals(self._waiting[0].schema):
            self._flush()
        self._waiting_rejects.extend(block.rejects)
        self._waiting.append(block.rows)
        self._waiting_bytes += block.rows.nbytes
        if self._waiting_bytes >= FLUSH_BYTES or len(self._waiting_rejects) >= FLUSH_REJECTS:
            self._flush()

    def finish(self) -> dict[str, Any]:
        """End the file: return its cells with rows and digests, and what lies in none."""
        self._flush()
        earliest = self._earliest_us
        inside = earliest is not None and self._time.start_us <= earliest and not self._after_end(earliest)
        untimed_us = earliest if inside and earliest is not None else self._time.start_us
        if self._rejects:
            self._cells.add_rejects(untimed_us, self._rejects_digest.digest())
        return {
            "kind": "routed",
            **self._cells.content(),
            "untimed": self._rejects,
            "untimed_us": untimed_us,
            "outside": self._outside,
        }

    def _after_end(self, time_us: int) -> bool:
        return self._time.end_us is not None and time_us >= self._time.end_us

    def _flush(self) -> None:
        malformed, self._waiting_rejects = self._waiting_rejects, []
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        batch = waiting[0] if len(waiting) == 1 else pa.concat_batches(waiting)
        placed = self._place(batch)
        untimed = rejects_of(batch, placed, self._uri, self._time) if placed.untimed else iter(())
        self._set_aside(heapq.merge(malformed, untimed, key=lambda one: one.position))
        if not batch.num_rows:
            return
        if not self._columns_vary:
            self._cells.name_columns(batch.schema.names)
        rows, texts = self._inside(batch, placed)
        if rows.num_rows:
            self._route(rows, texts)

    def _set_aside(self, rejects: Iterator[Reject]) -> None:
        while some := list(itertools.islice(rejects, _REJECTS_AT_ONCE)):
            for one in some:
                self._rejects_digest.update(json.dumps([one.rule, one.raw]).encode())
            self._rejects += len(some)
            self._writer.add_rejects(some)

    def _inside(self, batch: pa.RecordBatch, placed: Placed) -> tuple[pa.RecordBatch, pa.Array]:
        """Return the rows inside the history with their times, as stored, and the digest's text of each."""
        texts = row_texts(batch, named=self._columns_vary)
        names = [name for name in batch.schema.names if self._stored is None or name in self._stored or name == POSITION_COLUMN]
        rows = batch.select(names).append_column(TIME_COLUMN, placed.times)
        bounds = pc.min_max(placed.times).as_py()
        if bounds["min"] is not None:
            self._earliest_us = bounds["min"] if self._earliest_us is None else min(self._earliest_us, bounds["min"])
        if placed.untimed or bounds["min"] < self._time.start_us or self._after_end(bounds["max"]):
            keep = pc.greater_equal(placed.times, self._time.start_us)
            if self._time.end_us is not None:
                keep = pc.and_(keep, pc.less(placed.times, self._time.end_us))
            rows, texts = rows.filter(keep), texts.filter(keep)
            self._outside += batch.num_rows - placed.untimed - rows.num_rows
        return rows, texts

    def _place(self, batch: pa.RecordBatch) -> Placed:
        if has_column(batch.schema, self._time.column):
            return place(column_at(batch, self._time.column), self._time, self._uri)
        if self._time_required:
            raise no_time_column(self._uri, batch.schema, self._time)
        return place(pa.nulls(batch.num_rows), self._time, self._uri)

    def _route(self, rows: pa.RecordBatch, texts: pa.Array) -> None:
        """Sort rows by cell, keeping their order within each, and pass them on."""
        cells = self._cells.ordinals(rows.column(TIME_COLUMN))
        starts = cells.starts
        if not cells.ordinals.is_sorted():
            order = pc.sort_indices(cells.ordinals.to_arrow())
            rows, texts = rows.take(order), texts.take(order)
        counts = cells.ordinals.value_counts(sort=False).sort(cells.ordinals.name)["count"].to_list()
        edges = _edges(counts)
        self._cells.take(starts, counts, texts, edges)
        positions = rows.column(POSITION_COLUMN)
        firsts = positions.take(pa.array(edges[:-1])).to_pylist()
        lasts = positions.take(pa.array([edge - 1 for edge in edges[1:]])).to_pylist()
        ends = [self._cells.end_of(start) for start in starts]
        self._writer.add(rows, Sorted(starts, ends, counts, firsts, lasts, schema=0, number=0))


def _edges(counts: Sequence[int]) -> list[int]:
    edges = [0]
    for count in counts:
        edges.append(edges[-1] + count)
    return edges


class Located:
    """For each row the ordinal of its cell among the cells that occur, whose starts ascend."""

    def __init__(self, ordinals: pl.Series, starts: list[int]) -> None:
        self.ordinals = ordinals
        self.starts = starts


class Cells:
    """The cells of one file so far: rows and a running digest each."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._ends: dict[int, int] = {}
        self._rows: dict[int, int] = {}
        self._digests: dict[int, Any] = {}
        self._empty_digest = hashlib.blake2b(digest_size=16)

    def name_columns(self, names: Sequence[str]) -> None:
        """Make the names of a file's columns part of all digests, where they do not stand in each row's bytes."""
        if not self._digests:
            self._empty_digest = hashlib.blake2b(json.dumps(names).encode(), digest_size=16)

    def end_of(self, start_us: int) -> int:
        """Return where a known cell ends."""
        return self._ends[start_us]

    def ordinals(self, times: pa.Array) -> Located:
        """Find the cell of each time. Only cells that occur are computed, however far apart they lie."""
        series = pl.Series("cell", pl.from_arrow(times))
        distinct = series.unique().sort().to_list()
        starts, place = [], 0
        while place < len(distinct):
            start_us, end_us = self._cell_of(distinct[place])
            starts.append(start_us)
            place = bisect_left(distinct, end_us, place)
        ordinals = pl.Series("cell", starts, dtype=pl.Int64).search_sorted(series, side="right") - 1
        return Located(ordinals.alias("cell"), starts)

    def _cell_of(self, time_us: int) -> tuple[int, int]:
        index = self._calendar.index_of(time_us)
        start_us = self._calendar.boundary(index)
        if start_us not in self._ends:
            self._ends[start_us] = self._calendar.boundary(index + 1)
        return start_us, self._ends[start_us]

    def take(self, starts: Sequence[int], counts: Sequence[int], texts: pa.Array, edges: Sequence[int]) -> None:
        """Add rows, sorted by cell, to their cells' digests."""
        _, offsets_buffer, data_buffer = texts.buffers()
        offsets = memoryview(offsets_buffer).cast("i")[texts.offset :]
        data = memoryview(data_buffer) if data_buffer is not None else memoryview(b"")
        for place, start_us in enumerate(starts):
            self._rows[start_us] = self._rows.get(start_us, 0) + counts[place]
            self._digest_of(start_us).update(data[offsets[edges[place]] : offsets[edges[place + 1]]])

    def add_rejects(self, time_us: int, digest: bytes) -> None:
        """Make the rejects of the file part of the cell at a time."""
        start_us, _ = self._cell_of(time_us)
        self._rows.setdefault(start_us, 0)
        self._digest_of(start_us).update(b"\xfc" + digest)

    def _digest_of(self, start_us: int) -> Any:
        if start_us not in self._digests:
            self._digests[start_us] = self._empty_digest.copy()
        return self._digests[start_us]

    def content(self) -> dict[str, Any]:
        """Return the cells in order, column by column."""
        starts = sorted(self._rows)
        return {
            "starts": starts,
            "ends": [self._ends[start] for start in starts],
            "rows": [self._rows[start] for start in starts],
            "digests": [self._digests[start].hexdigest() for start in starts],
        }


def row_texts(batch: pa.RecordBatch, *, named: bool) -> pa.BinaryArray:
    r"""Return each row as bytes that no row of other values has: every value after a `\xff`, null as `\xfe`.

    Values are valid UTF-8, in which these bytes never occur. With `named`, names stand before values and nulls are left
    out, so that a row's bytes do not depend on the columns of other rows.
    """
    columns = [
        (name, _bytes_of(column)) for name, column in zip(batch.schema.names, batch.columns, strict=True) if name != POSITION_COLUMN
    ]
    start = pa.repeat(_EMPTY, batch.num_rows)
    if not named:
        values = [column for _, column in columns]
        return pc.binary_join_element_wise(start, *values, _VALUE, null_handling="replace", null_replacement=b"\xfe")
    labelled = [
        pc.binary_join_element_wise(pa.scalar(name.encode(), pa.binary()), column, _LABEL)
        for name, column in sorted(columns, key=lambda one: one[0])
    ]
    return pc.binary_join_element_wise(start, start, *labelled, _VALUE, null_handling="skip")


_EMPTY, _VALUE, _LABEL = (pa.scalar(mark, pa.binary()) for mark in (b"", b"\xff", b"\xfd"))


def _bytes_of(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    elif pa.types.is_nested(kind):
        column = pl.select(pl.struct(pl.Series("value", pl.from_arrow(column))).struct.json_encode()).to_series().to_arrow()
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)):
        column = column.cast(pa.string())
    return column.cast(pa.binary())


def rejects_of(batch: pa.RecordBatch, placed: Placed, uri: str, time: EventTime) -> Iterator[Reject]:
    """Yield a reject for each row without event time; its raw text is the row as JSON."""
    assert placed.rules is not None
    bad = placed.times.is_null()
    rules, rows = placed.rules.filter(bad), batch.filter(bad)
    values = column_at(rows, time.column) if has_column(rows.schema, time.column) else pa.nulls(rows.num_rows)
    for at in range(0, rows.num_rows, _REJECTS_AT_ONCE):
        some = (one.slice(at, _REJECTS_AT_ONCE).to_pylist() for one in (rows, rules, values))
        for row, rule, value in zip(*some, strict=True):
            position = row.pop(POSITION_COLUMN)
            yield Reject(uri, position, rule, explain(rule, value, time), json.dumps(row, default=str, ensure_ascii=False))
