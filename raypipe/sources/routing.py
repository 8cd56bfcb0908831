"""Routing: sorts the rows of a file that cannot be sought in by the cell of their event time, and takes a digest of each cell."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import compute

from raypipe.core.calendar import Calendar
from raypipe.pipeline import EventTime
from raypipe.ports import POSITION_COLUMN, TIME_COLUMN, Reject
from raypipe.sources.cells import Cells
from raypipe.sources.lines import DecodedBlock
from raypipe.sources.placement import Placed, column_at, explain, has_column, in_history, no_time_column, place, untimed_instant
from raypipe.sources.plain_values import plain_values
from raypipe.sources.row_bytes import row_bytes
from raypipe.sources.slice_writer import SliceWriter
from raypipe.sources.slices import Sorted, join_batches

pc: Any = compute  # its stubs lack that arrays and plain numbers mix

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
        untimed_us = untimed_instant(self._earliest_us, self._time)
        if self._rejects:
            self._cells.add_rejects(untimed_us, self._rejects_digest.digest())
        return {
            "kind": "routed",
            **self._cells.content(),
            "untimed": self._rejects,
            "untimed_us": untimed_us,
            "outside": self._outside,
        }

    def _flush(self) -> None:
        malformed, self._waiting_rejects = self._waiting_rejects, []
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        batch = join_batches(waiting)
        placed = self._place(batch)
        untimed = rejects_of(batch, placed, self._uri, self._time) if placed.untimed else iter(())
        self._set_aside(heapq.merge(malformed, untimed, key=lambda one: one.position))
        if not batch.num_rows:
            return
        if not self._columns_vary:
            self._cells.name_columns(batch.schema.names)
        rows, row_texts = self._inside(batch, placed)
        if rows.num_rows:
            self._route(rows, row_texts)

    def _set_aside(self, rejects: Iterator[Reject]) -> None:
        while some := list(itertools.islice(rejects, _REJECTS_AT_ONCE)):
            for one in some:
                self._rejects_digest.update(json.dumps([one.rule, one.raw]).encode())
            self._rejects += len(some)
            self._writer.add_rejects(some)

    def _inside(self, batch: pa.RecordBatch, placed: Placed) -> tuple[pa.RecordBatch, pa.Array[Any]]:
        """Return the rows inside the history with their times, as stored, and the digest's text of each."""
        row_texts = row_bytes(batch, named=self._columns_vary)
        names = [name for name in batch.schema.names if self._stored is None or name in self._stored or name == POSITION_COLUMN]
        rows = batch.select(names).append_column(TIME_COLUMN, placed.times)
        earliest_us = pc.min(placed.times).as_py()
        if earliest_us is not None:
            self._earliest_us = earliest_us if self._earliest_us is None else min(self._earliest_us, earliest_us)
        inside = in_history(placed.times, self._time)
        if placed.untimed or not pc.all(inside).as_py():
            rows, row_texts = rows.filter(inside), row_texts.filter(inside)
            self._outside += batch.num_rows - placed.untimed - rows.num_rows
        return rows, row_texts

    def _place(self, batch: pa.RecordBatch) -> Placed:
        if has_column(batch.schema, self._time.column):
            return place(column_at(batch, self._time.column), self._time, self._uri)
        if self._time_required:
            raise no_time_column(self._uri, batch.schema, self._time)
        return place(pa.nulls(batch.num_rows), self._time, self._uri)

    def _route(self, rows: pa.RecordBatch, row_texts: pa.Array[Any]) -> None:
        """Sort rows by cell, keeping their order within each, and pass them on."""
        cells = self._cells.ordinals(rows.column(TIME_COLUMN))
        starts = cells.starts
        if not cells.ordinals.is_sorted():
            order = pc.sort_indices(cells.ordinals.to_arrow())
            rows, row_texts = rows.take(order), row_texts.take(order)
        counts = cells.ordinals.value_counts(sort=False).sort(cells.ordinals.name)["count"].to_list()
        edges = _edges(counts)
        self._cells.take(starts, counts, row_texts, edges)
        positions = rows.column(POSITION_COLUMN)
        firsts: Any = positions.take(pa.array(edges[:-1])).to_pylist()
        lasts: Any = positions.take(pa.array([edge - 1 for edge in edges[1:]])).to_pylist()
        ends = [self._cells.end_of(start) for start in starts]
        self._writer.add(rows, Sorted(starts, ends, counts, firsts, lasts, schema=0, number=0))


def _edges(counts: Sequence[int]) -> list[int]:
    edges = [0]
    for count in counts:
        edges.append(edges[-1] + count)
    return edges


def rejects_of(batch: pa.RecordBatch, placed: Placed, uri: str, time: EventTime) -> Iterator[Reject]:
    """Yield a reject for each row without event time; its raw text is the row as JSON."""
    assert placed.rules is not None
    bad = placed.times.is_null()
    rules, rows = placed.rules.filter(bad), batch.filter(bad)
    values = column_at(rows, time.column) if has_column(rows.schema, time.column) else pa.nulls(rows.num_rows)
    for at in range(0, rows.num_rows, _REJECTS_AT_ONCE):
        some = rows.slice(at, _REJECTS_AT_ONCE)
        columns = [plain_values(column) for column in some.columns]
        told = plain_values(values.slice(at, _REJECTS_AT_ONCE))
        for rule, value, *cells in zip(rules.slice(at, _REJECTS_AT_ONCE).to_pylist(), told, *columns, strict=True):
            row = dict(zip(some.schema.names, cells, strict=True))
            position = row.pop(POSITION_COLUMN)
            yield Reject(uri, position, rule, explain(rule, value, time), json.dumps(row, default=str, ensure_ascii=False))
