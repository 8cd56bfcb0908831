"""Concatenated: several sources as one. Each file, slice and batch tells by its `origin` which of them it is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.errors import UsageError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import SOURCE_COLUMN, FileIndex, Listing, Source, SourceBatch


@dataclass(frozen=True)
class Concatenated:
    """The files of all sources, in order of their URIs. Those of one group, which are read together, have no file in common."""

    sources: tuple[Source, ...]
    groups: tuple[str, ...]
    """Of each source."""

    def list(self) -> Listing:
        """List all sources now (Source.list). Raises UsageError for a file that two of a group list: its rows would be doubled."""
        files = [replace(file, origin=origin) for origin, source in enumerate(self.sources) for file in source.list().files]
        listed: set[tuple[str, str]] = set()
        for file in files:
            known = (self.groups[file.origin], file.uri)
            if known in listed:
                raise UsageError(f"{file.uri} is named by two sources that are put together, and would be read twice")
            listed.add(known)
        return Listing(tuple(sorted(files, key=_place)))

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        """Return the files that must be scanned before they can be planned."""
        return tuple(file for origin, source in enumerate(self.sources) for file in source.unindexed(_of(listing, origin)))

    def scan(self, file: InputFile) -> FileIndex:
        """Find where the rows of a file lie (Source.scan)."""
        return self.sources[file.origin].scan(file)

    def record(self, entries: Sequence[FileIndex]) -> None:
        """Remember what scans told (Source.record)."""
        for origin, source in enumerate(self.sources):
            mine = [entry for entry in entries if entry.file.origin == origin]
            if mine:
                source.record(mine)

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return for each window the slices of all sources, one source after the other."""
        found = [source.slices(_of(listing, origin), windows) for origin, source in enumerate(self.sources)]
        return [tuple(one for slices in of_window for one in slices) for of_window in zip(*found, strict=True)]

    def fingerprints(self, listing: Listing, windows: Sequence[Window]) -> Sequence[str]:
        """Return the fingerprints of the slices of each window."""
        return [input_fingerprint(mine) for mine in self.slices(listing, windows)]

    def outside(self, listing: Listing) -> int:
        """Return how many rows lie before or after the history."""
        return sum(source.outside(_of(listing, origin)) for origin, source in enumerate(self.sources))

    def columns(self, listing: Listing) -> Mapping[str, str]:
        """Return the columns of the first source of the first group that lists a file."""
        first = (source.columns(_of(listing, origin)) for origin, source in self._group(self.groups[0]))
        return next(filter(None, first), {})

    def _group(self, name: str) -> Iterator[tuple[int, Source]]:
        return ((origin, source) for origin, source in enumerate(self.sources) if self.groups[origin] == name)

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        """Stream the rows of the windows (Source.read): neighbours of one source together, so that files come by their URIs."""
        files_before = 0
        for origin, group in groupby(sorted(slices, key=lambda one: _place(one.file)), key=lambda one: one.file.origin):
            of_source = list(group)
            for batch in self.sources[origin].read(windows, of_source, columns):
                yield SourceBatch(_numbered_from(batch.rows, files_before), batch.rejects, origin)
            files_before += len({one.file.uri for one in of_source})


def _place(file: InputFile) -> tuple[str, int]:
    return file.uri, file.origin


def _of(listing: Listing, origin: int) -> Listing:
    return Listing(tuple(file for file in listing.files if file.origin == origin))


def _numbered_from(rows: pa.RecordBatch, files_before: int) -> pa.RecordBatch:
    if not files_before:
        return rows
    place = rows.schema.get_field_index(SOURCE_COLUMN)
    numbers = pc.add(rows.column(place), pa.scalar(files_before, pa.uint32()))
    return rows.set_column(place, rows.schema.field(place), numbers)
