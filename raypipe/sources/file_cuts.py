"""FileCuts: what the index knows of a listing's files, cut by windows into slices; the same for every source of files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from raypipe.core.calendar import Calendar
from raypipe.core.fingerprint import Identity, fingerprint, fingerprint_of, identity, input_fingerprint
from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.errors import RetryableError
from raypipe.failpoints import hit
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime
from raypipe.ports import FileIndex, Listing
from raypipe.sources.cut import UNTOLD, FileCut, Untold, cut_of
from raypipe.sources.index import CutName, Index
from raypipe.sources.looked_around import looked_around
from raypipe.sources.overlap import Spans

_T = TypeVar("_T")
_Contents = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class FileCuts:
    """An index, and how files are cut that it does not know."""

    index: Index
    name: CutName
    time: EventTime
    calendar: Calendar
    scan: Callable[[InputFile], FileIndex]
    """Read what is needed of a file (Source.scan)."""
    digest: Callable[[InputFile, Sequence[Window]], Mapping[str, Any]]
    """Read a file once more, to cut it by disjoint windows. Raises InputChanged."""
    whole: Callable[[InputFile], str] = lambda file: ""
    """Return what identifies a file that lies in one window; nothing where its version does."""

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        """Return the files that must be scanned before they can be planned."""
        known = self.index.versions(self.name.cut)
        return tuple(file for file in listing.files if known.get(file.uri) != file.version)

    def record(self, entries: Sequence[FileIndex]) -> list[tuple[FileIndex, str]]:
        """Remember scans; return those of files that were known in another version, with that."""
        superseded = self.index.versions(self.name.cut)
        try:
            hit("index.before_record")
            self.index.record(self.name, [(entry.file, entry.content) for entry in entries])
        except (sqlite3.OperationalError, OSError) as error:
            raise RetryableError(f"{self.index.path} cannot be written: {error}") from error
        known = [(entry, superseded.get(entry.file.uri, entry.file.version)) for entry in entries]
        return [(entry, old) for entry, old in known if old != entry.file.version]

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return the slices of each window, and those that it looks back and ahead to (Source.slices)."""
        contents = self._contents(listing)
        own = self._slices(listing, contents, windows)
        if not self.time.looks_around:
            return own
        seen = [(self.time.before(window), self.time.after(window)) for window in windows]
        cells = sorted({cell for pair in seen for window in pair if window for cell in self.calendar.cells(window)})
        of_cells = dict(zip(cells, self._slices(listing, contents, cells), strict=True))
        return [
            (
                *mine,
                *looked_around(before, self.calendar, of_cells, ahead=False),
                *looked_around(after, self.calendar, of_cells, ahead=True),
            )
            for mine, (before, after) in zip(own, seen, strict=True)
        ]

    def fingerprints(self, listing: Listing, windows: Sequence[Window]) -> list[str]:
        """Return the fingerprint of the slices of each window (Source.fingerprints)."""
        if self.time.looks_around:
            return [input_fingerprint(mine) for mine in self.slices(listing, windows)]
        found: list[list[Identity]] = [[] for _ in windows]
        for file, number, digest in self._taken(listing, self._contents(listing), windows, _digest_of):
            found[number].append(identity(file, digest))
        return [fingerprint_of(identities) for identities in found]

    def outside(self, listing: Listing) -> int:
        """Return how many rows lie before or after the history."""
        return self.index.outside(self.name.cut, listing.files)

    def _contents(self, listing: Listing) -> _Contents:
        """Return what is known of each file; one whose entry was lost meanwhile is scanned again."""
        contents = dict(self.index.contents(self.name, listing.files))
        lost = [self.scan(file) for file in listing.files if file.uri not in contents]
        if lost:
            self.record(lost)
            contents.update((entry.file.uri, [entry.content]) for entry in lost)
        return contents

    def _slices(self, listing: Listing, contents: _Contents, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        found: list[list[Slice]] = [[] for _ in windows]
        for _, number, one in self._taken(listing, contents, windows, _slice_of):
            found[number].append(one)
        return [tuple(slices) for slices in found]

    def _taken(
        self,
        listing: Listing,
        contents: _Contents,
        windows: Sequence[Window],
        take: Callable[[FileCut, Window], _T | Untold | None],
    ) -> Iterator[tuple[InputFile, int, _T]]:
        """Yield what the windows take of each file, with the window's number; a file that does not tell it is read again."""
        spans = Spans([(window.start_us, window.end_us) for window in windows])
        for file in listing.files:
            known, whole = contents[file.uri], self.whole(file)
            cut = cut_of(file, known, self.time.end_us, whole)
            met = spans.meeting(*cut.span) if cut.span else []
            taken = [take(cut, windows[number]) for number in met]
            unknown = [windows[number] for number, one in zip(met, taken, strict=True) if one is UNTOLD]
            if unknown:
                cut = cut_of(file, [*known, *self._cut_by(file, unknown)], self.time.end_us, whole, read=True)
                taken = [take(cut, windows[number]) for number in met]
            for number, one in zip(met, taken, strict=True):
                assert not isinstance(one, Untold)
                if one is not None:
                    yield file, number, one

    def _cut_by(self, file: InputFile, windows: Sequence[Window]) -> Iterator[Mapping[str, Any]]:
        """Read a file once more for the digests of windows that no recorded cut tells, as after a change of the width."""
        for layer in _disjoint(windows):
            content = self.digest(file, layer)
            name = CutName(fingerprint([self.name.family, [[one.start_us, one.end_us] for one in layer]]), self.name.family)
            self.index.record(name, [(file, content)])
            yield content


def _slice_of(cut: FileCut, window: Window) -> Slice | Untold | None:
    return cut.slice(window)


def _digest_of(cut: FileCut, window: Window) -> str | Untold | None:
    return cut.digest(window)


def scanned(file: InputFile, content: Mapping[str, Any], read_bytes: int) -> FileIndex:
    """Return what a scan found of a file, for the index."""
    hit("index.after_scan")
    return FileIndex(file, content, read_bytes)


def _disjoint(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """Yield the windows in groups of which none overlap."""
    left = sorted(set(windows))
    while left:
        layer: list[Window] = []
        over: list[Window] = []
        for window in left:
            (over if layer and window.start_us < layer[-1].end_us else layer).append(window)
        yield layer
        left = over
