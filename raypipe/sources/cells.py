"""Cells: the cells of the calendar that occur in one file, with a count and a running digest of the rows in each."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Protocol, cast

import polars as pl
import pyarrow as pa

from raypipe.core.calendar import FIRST_US, LAST_US
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass

_PIECE_BYTES = 2_047  # from one more on a digest lets go of the interpreter lock, and may wait longer for it than it computes
_IN_PIECES_BYTES_MAX = 64 * 1024  # this much takes 60 us: others may wait so long


class Cutter(Protocol):
    """Cuts all of time into cells: a calendar, or the ends of some windows."""

    def boundary(self, index: int) -> int:
        """Return where a cell starts."""
        ...

    def index_of(self, instant_us: int) -> int:
        """Return the index of the cell that holds an instant."""
        ...


class WindowEnds:
    """Cuts time where disjoint windows start and end, so that each of them is a cell."""

    def __init__(self, windows: Iterable[Window]) -> None:
        self._edges = [FIRST_US, *sorted({edge for window in windows for edge in (window.start_us, window.end_us)}), LAST_US]

    def boundary(self, index: int) -> int:
        """Return where a cell starts."""
        return self._edges[index]

    def index_of(self, instant_us: int) -> int:
        """Return the index of the cell that holds an instant."""
        return bisect_right(self._edges, instant_us) - 1


@dataclass(frozen=True, slots=True)
class Located:
    """For each row the ordinal of its cell among the cells that occur, whose starts ascend."""

    ordinals: pl.Series
    starts: list[int]


class Cells:
    """The cells of one file so far: rows and a running digest each."""

    def __init__(self, cutter: Cutter) -> None:
        self._cutter = cutter
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

    def ordinals(self, times: pa.Array[Any]) -> Located:
        """Find the cell of each time. Only cells that occur are computed, however far apart they lie."""
        series = pl.Series("cell", pl.from_arrow(times))
        starts: list[int] = []
        place, distinct = 0, self._outermost(series) or series.unique().sort().to_list()
        while place < len(distinct):
            start_us, end_us = self._cell_of(distinct[place])
            starts.append(start_us)
            place = bisect_left(distinct, end_us, place)
        if len(starts) == 1:
            return Located(pl.Series("cell", [0], dtype=pl.UInt32).new_from_index(0, len(series)), starts)
        ordinals = pl.Series("cell", starts, dtype=pl.Int64).search_sorted(series, side="right") - 1
        return Located(ordinals.alias("cell"), starts)

    def _outermost(self, times: pl.Series) -> list[int]:
        """Return the first and the last of times that lie in one cell, as in most small files; else nothing."""
        earliest, latest = cast("int", times.min()), cast("int", times.max())
        return [earliest, latest] if latest < self._cell_of(earliest)[1] else []

    def _cell_of(self, time_us: int) -> tuple[int, int]:
        index = self._cutter.index_of(time_us)
        start_us = self._cutter.boundary(index)
        if start_us not in self._ends:
            self._ends[start_us] = self._cutter.boundary(index + 1)
        return start_us, self._ends[start_us]

    def take(self, starts: Sequence[int], counts: Sequence[int], texts: pa.Array[Any]) -> None:
        """Add rows, sorted by cell, to their cells' digests."""
        edges = edges_of(counts)
        _, offsets_buffer, data_buffer = texts.buffers()
        offsets = memoryview(offsets_buffer or b"").cast("i")[texts.offset :]
        data = memoryview(data_buffer or b"")
        for place, start_us in enumerate(starts):
            self._rows[start_us] = self._rows.get(start_us, 0) + counts[place]
            _update(self._digest_of(start_us), data[offsets[edges[place]] : offsets[edges[place + 1]]])

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


def _update(digest: Any, data: memoryview) -> None:
    """Add bytes to a digest; few of them with the interpreter lock held."""
    if len(data) > _IN_PIECES_BYTES_MAX:
        digest.update(data)
        return
    for at in range(0, len(data), _PIECE_BYTES):
        digest.update(data[at : at + _PIECE_BYTES])


def edges_of(counts: Sequence[int]) -> list[int]:
    """Return where each of some groups begins that stand one behind the other, and where the last ends."""
    return [0, *accumulate(counts)]
