"""The simulated source: files that come, grow, change, vanish and come back, and the index that remembers what was read.

Listing is one moment, reading another. What of a file belongs to a window is decided by the real `sources.cut`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from random import Random
from typing import Any

from raypipe.core.calendar import FIRST_US, LAST_US, Calendar
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.errors import InputChanged, SourceUnreadable
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import FileIndex, Listing, SourceBatch
from raypipe.sources.cut import UNTOLD, cut_of
from raypipe.testing.simulation.rows import HOUR_US, Row

SIZES_BYTES = (40_000, 300_000, 700_000)  # against tasks of 1 MiB: some tasks hold one shard, some hold many

_CHANGES = (
    "add",
    "add",
    "append",
    "append",
    "replace",
    "remove_row",
    "delete",
    "delete",
    "rename",
    "restore",
    "undo",
    "undo",
    "break",
    "touch",
)


@dataclass(frozen=True, slots=True)
class File:
    """One version of a file. `broken` ones cannot be read, as one that is cut off."""

    version: str
    rows: tuple[Row, ...]
    size_bytes: int
    broken: bool = False


@dataclass
class SourceHistory:
    """The files now, and as they were at every moment before: the laws judge by it."""

    random: Random
    hours: int
    files: dict[str, File] = field(default_factory=dict)
    history: list[Mapping[str, File]] = field(default_factory=list)
    _numbers: int = 0
    _read: dict[tuple[int, Window], tuple[Row, ...]] = field(default_factory=dict)

    def change(self, what: str | None = None) -> str:
        """Let something happen to the files; return what, for the story."""
        r = self.random
        what = what or r.choice(_CHANGES)
        uri = r.choice(sorted(self.files)) if self.files else None
        lost = self._lost() if what == "restore" else {}
        if lost:
            uri = r.choice(sorted(lost))
            rows = lost[uri]
        elif what == "add" or uri is None:
            uri, rows = f"{r.choice('rp')}{self._unique()}", tuple(self._row() for _ in range(r.randint(1, 4)))
        else:
            rows = self.files.pop(uri).rows
            uri, rows = self._changed(what, uri, rows)
        if what != "delete":
            self.files[uri] = File(f"v{self._unique()}", rows, r.choice(SIZES_BYTES), broken=what == "break")
        self.history.append(dict(self.files))
        return f"{what} {uri}"

    def mend(self) -> None:
        """Make every file readable."""
        for uri, file in self.files.items():
            if file.broken:
                self.files[uri] = File(f"v{self._unique()}", file.rows, file.size_bytes)
        self.history.append(dict(self.files))

    @property
    def now(self) -> int:
        """The number of this moment."""
        return len(self.history) - 1

    def uids(self) -> set[int]:
        """All rows that the source has now."""
        return {row.uid for file in self.files.values() for row in file.rows}

    def reading(self, moment: int, window: Window) -> tuple[Row, ...]:
        """Return the rows of a window as one reading of all files at a moment gives them."""
        found = self._read.get((moment, window))
        if found is None:
            files = self.history[moment]
            found = tuple(
                row for uri in sorted(files) for row in files[uri].rows if window.start_us <= row.time_us < window.end_us
            )  # fmt: skip
            self._read[moment, window] = found
        return found

    def _changed(self, what: str, uri: str, rows: tuple[Row, ...]) -> tuple[str, tuple[Row, ...]]:
        match what:
            case "append":
                return uri, (*rows, self._row())
            case "replace" if rows:
                place = self.random.randrange(len(rows))
                return uri, (*rows[:place], self._row(), *rows[place + 1 :])
            case "remove_row" if rows:
                place = self.random.randrange(len(rows))
                return uri, (*rows[:place], *rows[place + 1 :])
            case "rename":  # as logs are rotated: as many files, another name, the same rows
                return f"{uri[0]}{self._unique()}", rows
            case "undo":
                return uri, self._before(uri, rows)
            case _:  # touched: another version of the same rows
                return uri, rows

    def _before(self, uri: str, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """Return what a file held before its last change, unless a row of it is in another file now."""
        earlier = (files[uri].rows for files in reversed(self.history) if uri in files and files[uri].rows != rows)
        found = next(earlier, rows)
        return found if self.uids().isdisjoint(row.uid for row in found) else rows

    def _lost(self) -> Mapping[str, tuple[Row, ...]]:
        """Return files that are gone, as they were last, unless a row of them is in another file now."""
        last = {uri: file.rows for files in self.history for uri, file in files.items() if uri not in self.files}
        there = self.uids()
        return {uri: rows for uri, rows in last.items() if there.isdisjoint(row.uid for row in rows)}

    def _row(self) -> Row:
        r = self.random
        return Row(r.randrange(self.hours) * HOUR_US + r.randrange(3), r.randrange(3), r.randrange(9), self._unique())

    def _unique(self) -> int:
        self._numbers += 1
        return self._numbers


@dataclass
class Index:
    """What scans told, by file and cut, as `sources.index` keeps it: the oldest cut of a version first."""

    known: dict[str, dict[str, tuple[str, Mapping[str, Any]]]] = field(default_factory=dict)

    def version(self, uri: str, cut: str) -> str | None:
        """Return the version that is known of a file, cut so."""
        found = self.known.get(uri, {}).get(cut)
        return None if found is None else found[0]

    def contents(self, file: InputFile, cut: str) -> Sequence[Mapping[str, Any]]:
        """Return what is known of this version, of this cut and then of all others; nothing where this cut is not known."""
        cuts = self.known.get(file.uri, {})
        if self.version(file.uri, cut) != file.version:
            return ()
        first = cuts[cut][1]
        return [first, *(content for version, content in cuts.values() if version == file.version and content is not first)]

    def record(self, entry: FileIndex, cut: str) -> None:
        """Remember one scan. A cut of a newer version is the youngest."""
        cuts = self.known.setdefault(entry.file.uri, {})
        if self.version(entry.file.uri, cut) != entry.file.version:
            cuts.pop(cut, None)
        cuts[cut] = (entry.file.version, entry.content)

    def forget(self, random: Random) -> None:
        """Lose an entry, or all: the index is a cache."""
        if self.known and random.random() < 0.7:
            del self.known[random.choice(sorted(self.known))]
        else:
            self.known.clear()


@dataclass(frozen=True, slots=True)
class SimulatedSource:
    """Implements `ports.Source` over the history of files, for one process with its calendar; `pause` gives way to others."""

    source: SourceHistory
    index: Index
    calendar: Calendar
    end_us: int | None
    pause: Any

    def list(self) -> Listing:
        """List the files at one moment."""
        self.pause()
        files = self.source.files
        return Listing(tuple(InputFile(uri, files[uri].size_bytes, files[uri].version) for uri in sorted(files)))

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        """Return the files of which this version is not known."""
        return tuple(file for file in listing.files if self.index.version(file.uri, self._cut(file.uri)) != file.version)

    def scan(self, file: InputFile) -> FileIndex:
        """Read a file for the index, at one moment."""
        return self.indexed(file, self.open(file))

    def indexed(self, file: InputFile, rows: Sequence[Row]) -> FileIndex:
        """Return where the rows of a file lie, when it still is the one listed after they were read."""
        self.check_unchanged(file)
        content = self._routed(rows) if file.uri[0] == "r" else self._grouped(rows)
        return FileIndex(file, content, file.size_bytes)

    def record(self, entries: Sequence[FileIndex]) -> None:
        """Remember scans."""
        for entry in entries:
            self.index.record(entry, self._cut(entry.file.uri))

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return what of the listing belongs to each window; a file whose entry was lost meanwhile is scanned again."""
        found: list[list[Slice]] = [[] for _ in windows]
        for file in listing.files:
            contents = [*self.index.contents(file, self._cut(file.uri))]
            if not contents:
                entry = self.scan(file)
                self.record([entry])
                contents = [entry.content]
            cut = cut_of(file, contents, self.end_us)
            if cut.span is None:
                continue
            met = [number for number, one in enumerate(windows) if one.start_us < cut.span[1] and cut.span[0] < one.end_us]
            unknown = [windows[number] for number in met if cut.slice(windows[number]) is UNTOLD]
            if unknown:
                cut = cut_of(file, [*contents, *(self._cut_by(file, one) for one in unknown)], self.end_us, read=True)
            for number in met:
                one = cut.slice(windows[number])
                assert one is not UNTOLD
                if one is not None:
                    found[number].append(one)
        return [tuple(slices) for slices in found]

    def fingerprints(self, listing: Listing, windows: Sequence[Window]) -> Sequence[str]:
        """Return the fingerprints of the slices of each window."""
        return [input_fingerprint(mine) for mine in self.slices(listing, windows)]

    def outside(self, listing: Listing) -> int:
        """Return the rows outside history: these files have none."""
        return 0

    def columns(self, listing: Listing) -> Mapping[str, str]:
        """Return no columns: nobody asks a simulated source."""
        return {}

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        """Yield nothing: simulated workers read by `open` and `check_unchanged`, step by step."""
        return iter(())

    def open(self, file: InputFile) -> tuple[Row, ...]:
        """Return the rows of a file as it is now. Raises InputChanged when it is not the one listed."""
        self.check_unchanged(file)
        found = self.source.files.get(file.uri)
        if found is None or found.broken:
            raise SourceUnreadable(f"{file.uri} is gone or cut off")
        return found.rows

    def check_unchanged(self, file: InputFile) -> None:
        """Raise InputChanged when a file is no longer the one that was listed."""
        found = self.source.files.get(file.uri)
        if found is None or found.version != file.version:
            raise InputChanged(f"{file.uri}: changed while it was read")

    def _cut(self, uri: str) -> str:
        return str(self.calendar.width) if uri[0] == "r" else ""

    def _cut_by(self, file: InputFile, window: Window) -> Mapping[str, Any]:
        """Read a file once more for a window that no recorded cut tells, and remember it."""
        rows = self.open(file)
        self.check_unchanged(file)
        parts = (Window(FIRST_US, window.start_us), window, Window(window.end_us, LAST_US))
        placed = {part: [row for row in rows if part.start_us <= row.time_us < part.end_us] for part in parts}
        cells = _cells({part: inside for part, inside in placed.items() if inside})
        content = cells if file.uri[0] == "r" else {"kind": "parquet", "cells": cells, "groups": [], "untimed": 0, "untimed_us": 0}
        self.index.record(FileIndex(file, content), str(window))
        return content

    def _routed(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        by_cell: dict[Window, list[Row]] = {}
        for row in rows:
            index = self.calendar.index_of(row.time_us)
            cell = Window(self.calendar.boundary(index), self.calendar.boundary(index + 1))
            by_cell.setdefault(cell, []).append(row)
        return _cells(by_cell)

    def _grouped(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        groups = [[len(times), min(times), max(times), 0, 0, 100 * len(times)] for times in row_groups(rows)]
        return {"kind": "parquet", "cells": None, "groups": groups, "untimed": 0, "untimed_us": 0}


def _cells(rows: Mapping[Window, Sequence[Row]]) -> dict[str, Any]:
    """Return what an index says of the cells of a file that hold rows."""
    cells = sorted(rows)
    return {
        "kind": "routed",
        "starts": [cell.start_us for cell in cells],
        "ends": [cell.end_us for cell in cells],
        "digests": [_digest(rows[cell]) for cell in cells],
        "rows": [len(rows[cell]) for cell in cells],
        "untimed": 0,
        "untimed_us": 0,
    }


def row_groups(rows: Sequence[Row]) -> list[list[int]]:
    """Return the times of the rows in each row group of a file that has them."""
    half = (len(rows) + 1) // 2
    return [[row.time_us for row in part] for part in (rows[:half], rows[half:]) if part]


def _digest(rows: Sequence[Row]) -> str:
    return hashlib.blake2b(repr([row.uid for row in rows]).encode(), digest_size=8).hexdigest()
