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

from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime
from raypipe.ports import POSITION_COLUMN, TIME_COLUMN, Reject
from raypipe.sources.cells import Cells, Cutter, Located, edges_of
from raypipe.sources.lines import DecodedBlock
from raypipe.sources.placement import Placed, column_at, explain, has_column, in_history, no_time_column, place, untimed_instant
from raypipe.sources.plain_values import plain_values
from raypipe.sources.slice_writer import SliceTaker
from raypipe.sources.slices import Sorted, join_batches

pc: Any = compute  # its stubs lack that arrays and plain numbers mix

FLUSH_BYTES = 64 * 1024**2  # sorted and written at once: bounds memory to about three times this, and keeps slices long
FLUSH_EARLY_BYTES = 8 * 1024**2  # of rows that are in order already: they are written while others are decoded
SCATTERED = 2  # blocks in how many a cell may lie on average before they are worth sorting together
_REJECTS_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True)
class _Piece:
    """The rows of one block: `cells` tells where each belongs, and `order` sorts them; None where they are sorted."""

    rows: pa.RecordBatch
    cells: Located
    counts: list[int]
    """The rows of each cell."""
    order: pa.Array[Any] | None

    @classmethod
    def of(cls, rows: pa.RecordBatch, cells: Located) -> _Piece:
        """Look at how rows are ordered."""
        if len(cells.starts) == 1:  # as in most small files, for which each call of an engine counts
            return cls(rows, cells, [rows.num_rows], None)
        counts = cells.ordinals.value_counts(sort=False).sort(cells.ordinals.name)["count"].to_list()
        return cls(rows, cells, counts, None if cells.ordinals.is_sorted() else pc.sort_indices(cells.ordinals.to_arrow()))

    def sorted(self, column: Any) -> Any:
        """Return rows, or a column of them, sorted by cell."""
        return column if self.order is None else column.take(self.order)


class Router:
    """Takes the decoded blocks of one file, in order, and ends with its cells; rows go to `writer`, sorted."""

    def __init__(
        self,
        uri: str,
        time: EventTime,
        cutter: Cutter,
        writer: SliceTaker,
        *,
        stored: Sequence[str] | None = None,
        columns_vary: bool = False,
        time_required: bool = False,
    ) -> None:
        self._uri = uri
        self._time = time
        self._cells = Cells(cutter)
        self._stored = None if stored is None else frozenset(stored)
        self._columns_vary = columns_vary
        self._time_required = time_required
        self._writer = writer
        self._waiting: list[_Piece] = []
        self._waiting_bytes = 0
        self._looked_bytes = 0
        """What waited when it was last looked at how its cells are scattered."""
        self._rejects = 0
        self._rejects_digest = hashlib.blake2b(digest_size=16)
        self._outside = 0
        self._earliest_us: int | None = None

    def add(self, block: DecodedBlock, texts: pa.Array[Any]) -> None:
        """Take a block and its texts."""
        batch = block.rows
        placed = self._place(batch)
        untimed = rejects_of(batch, placed, self._uri, self._time) if placed.untimed else iter(())
        self._set_aside(heapq.merge(block.rejects, untimed, key=lambda one: one.position))
        if not batch.num_rows:
            return
        if not self._columns_vary:
            self._cells.name_columns(batch.schema.names)
        rows, row_texts = self._inside(batch, placed, texts)
        if not rows.num_rows:
            return
        if self._waiting and not rows.schema.equals(self._waiting[0].rows.schema):
            self._flush()
        piece = _Piece.of(rows, self._cells.ordinals(rows.column(TIME_COLUMN)))
        self._cells.take(piece.cells.starts, piece.counts, piece.sorted(row_texts))
        self._waiting.append(piece)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= FLUSH_BYTES or self._may_flush_early():
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
        """Pass on what waits, sorted block by block; where cells are scattered over many blocks, sorted as a whole."""
        scattered = self._are_scattered()
        pieces, self._waiting, self._waiting_bytes, self._looked_bytes = self._waiting, [], 0, 0
        if scattered:
            rows = join_batches([piece.rows for piece in pieces])
            pieces = [_Piece.of(rows, self._cells.ordinals(rows.column(TIME_COLUMN)))]
        while pieces:
            self._write(pieces.pop(0))  # let go of as soon as written: sorting copies

    def _may_flush_early(self) -> bool:
        """Tell whether what waits need not be sorted as a whole; asked whenever it has doubled."""
        if self._waiting_bytes < max(FLUSH_EARLY_BYTES, 2 * self._looked_bytes):
            return False
        self._looked_bytes = self._waiting_bytes
        return not self._are_scattered()

    def _are_scattered(self) -> bool:
        distinct = len({start for piece in self._waiting for start in piece.cells.starts})
        return sum(len(piece.cells.starts) for piece in self._waiting) > SCATTERED * distinct

    def _set_aside(self, rejects: Iterator[Reject]) -> None:
        while some := list(itertools.islice(rejects, _REJECTS_AT_ONCE)):
            for one in some:
                self._rejects_digest.update(json.dumps([one.rule, one.raw]).encode())
            self._rejects += len(some)
            self._writer.add_rejects(some)

    def _inside(self, batch: pa.RecordBatch, placed: Placed, row_texts: pa.Array[Any]) -> tuple[pa.RecordBatch, pa.Array[Any]]:
        """Return the rows inside the history with their times, as stored, and their texts."""
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

    def _write(self, piece: _Piece) -> None:
        rows, starts, counts = piece.sorted(piece.rows), piece.cells.starts, piece.counts
        edges = edges_of(counts)
        positions = rows.column(POSITION_COLUMN)
        firsts = [positions[edge].as_py() for edge in edges[:-1]]
        lasts = [positions[edge - 1].as_py() for edge in edges[1:]]
        ends = [self._cells.end_of(start) for start in starts]
        self._writer.add(rows, Sorted(starts, ends, counts, firsts, lasts, schema=0, number=0))


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
