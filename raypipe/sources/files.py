"""Files: Parquet, CSV and JSON Lines as a source. Engines are loaded only when a file is opened, not to list or to plan."""

from __future__ import annotations

import shutil
import sqlite3
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core.calendar import Calendar
from raypipe.core.fingerprint import fingerprint
from raypipe.core.intervals import intersect, normalise
from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.errors import RetryableError, SourceUnreadable
from raypipe.failpoints import hit
from raypipe.pipeline import EventTime, FilesSource
from raypipe.ports import FileIndex, Listing, SourceBatch
from raypipe.sources.cut import cut_of
from raypipe.sources.index import CutName, Index
from raypipe.sources.looked_around import looked_around
from raypipe.sources.markers import marked
from raypipe.sources.overlap import Spans
from raypipe.sources.stand_in import StandIns
from raypipe.sources.versions import check_unchanged, list_versions

if TYPE_CHECKING:
    from raypipe.sources.slices import RoutedFile, SliceKey

_CUT_FORMAT = 2  # of what is recorded and of the digests: raise it when either changes its meaning


@dataclass(frozen=True)
class Files:
    """The files of a pipeline, their index and their slices. `in_memory_bytes` bounds the slices held by this process."""

    config: FilesSource
    time: EventTime
    calendar: Calendar
    state_folder: str
    in_memory_bytes: int = 0
    stand_in_folder: str | None = None
    """Where files stand that are read in place of others that are gone."""

    def list(self) -> Listing:
        """List the files now (Source.list); the few that are written at this moment are also hashed."""
        now_ns = clock.time_ns()
        files = list_versions(self.config.paths, self._index, now_ns)
        ready = self.config.ready
        listed = marked(files, ready.marker, now_ns) if ready and ready.marker else files
        if self.stand_in_folder is None or not Path(self.stand_in_folder).is_dir():
            return Listing(listed)
        stand_ins = StandIns(self.stand_in_folder, self.config, self.time.column)
        return Listing(stand_ins.needed((*listed, *list_versions((stand_ins.pattern,), self._index, now_ns))))

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        """Return the files that must be scanned before they can be planned."""
        known = self._index.versions(self._cut.cut)
        return tuple(file for file in listing.files if known.get(file.uri) != file.version)

    def scan(self, file: InputFile) -> FileIndex:
        """Find where the rows of a file lie: from a footer, or by reading it once and routing it into slices."""
        check_unchanged(file, clock.time_ns())
        try:
            content, read_bytes = self._scan(file)
        except SourceUnreadable:
            check_unchanged(file, clock.time_ns())  # a file that is just being written looks truncated
            raise
        check_unchanged(file, clock.time_ns())
        hit("index.after_scan")
        return FileIndex(file, content, read_bytes)

    def record(self, entries: Sequence[FileIndex]) -> None:
        """Remember scans in the index, and drop the slices of superseded versions."""
        superseded = self._index.versions(self._cut.cut)
        try:
            hit("index.before_record")
            self._index.record(self._cut, [(entry.file, entry.content) for entry in entries])
        except (sqlite3.OperationalError, OSError) as error:
            raise RetryableError(f"{self._index.path} cannot be written: {error}") from error
        for entry in entries:
            old = superseded.get(entry.file.uri, entry.file.version)
            if entry.content["kind"] == "routed" and old != entry.file.version:
                self._drop_slices(entry.file, old)

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return the slices of each window. A file whose index entry was lost meanwhile is scanned again."""
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

    def _slices(
        self, listing: Listing, contents: Mapping[str, Sequence[Mapping[str, Any]]], windows: Sequence[Window]
    ) -> Sequence[tuple[Slice, ...]]:
        spans = Spans([(window.start_us, window.end_us) for window in windows])
        found: list[list[Slice]] = [[] for _ in windows]
        for file in listing.files:
            cut = cut_of(file, contents[file.uri], self.time.end_us)
            if cut.span is None:
                continue
            met = list(spans.meeting(*cut.span))
            unknown = [windows[number] for number in met if not cut.knows(windows[number])]
            if unknown:
                cut = cut_of(file, [*contents[file.uri], *self._cut_by(file, unknown)], self.time.end_us)
            for number in met:
                one = cut.slice(windows[number])
                if one is not None:
                    found[number].append(one)
        return [tuple(slices) for slices in found]

    def _cut_by(self, file: InputFile, windows: Sequence[Window]) -> Iterator[Mapping[str, Any]]:
        """Read a file once more for the digests of windows that no recorded cut tells, as after a change of the width."""
        for layer in _disjoint(windows):
            check_unchanged(file, clock.time_ns())
            content = self._digest(file, layer)
            check_unchanged(file, clock.time_ns())
            name = CutName(fingerprint([self._cut.family, [[one.start_us, one.end_us] for one in layer]]), self._cut.family)
            self._index.record(name, [(file, content)])
            yield content

    def outside(self, listing: Listing) -> int:
        """Return how many rows lie before or after the history."""
        return self._index.outside(self._cut.cut, listing.files)

    def columns(self, listing: Listing) -> Mapping[str, str]:
        """Return the columns of the first file and their types, in the words of a contract."""
        from raypipe.sources.sample import sample_columns

        return sample_columns(self.config, self.time.column, listing.files[0].uri) if listing.files else {}

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        """Stream the rows of the windows (Source.read)."""
        from raypipe.sources.stream import stream_rows

        by_uri: dict[str, list[Slice]] = {}
        for one in sorted(slices, key=lambda one: one.file.uri):
            by_uri.setdefault(one.file.uri, []).append(one)
        files = [of_file[0].file for of_file in by_uri.values()]
        for file in files:
            check_unchanged(file, clock.time_ns())
        try:
            yield from stream_rows(list(by_uri.values()), self._inside(windows), columns, self.time, self._routed)
        except SourceUnreadable:
            for file in files:
                check_unchanged(file, clock.time_ns())
            raise
        for file in files:
            check_unchanged(file, clock.time_ns())

    def _inside(self, windows: Sequence[Window]) -> Sequence[Window]:
        """Return what of windows lies in the history: its last cell may stick out."""
        end_us = self.time.end_us if self.time.end_us is not None else max((window.end_us for window in windows), default=0)
        if end_us <= self.time.start_us:
            return ()
        return intersect(normalise(windows), (Window(self.time.start_us, end_us),))

    # ---- index and slices -----------------------------------------------------------------------------------

    @property
    def _index(self) -> Index:
        return Index(Path(self.state_folder) / "index.sqlite")

    @cached_property
    def _cut(self) -> CutName:
        """What the index and the slices depend on besides the files; the width of shards alone makes no other family."""
        config, time = self.config, self.time
        text = config.format != "parquet"
        columns = [[name, str(column.type)] for name, column in config.columns.items()] if text else []
        dialect = config.csv if config.format == "csv" else None
        history = [time.column, time.format, time.zone, time.start_us, time.end_us]
        rows = [_CUT_FORMAT, config.format, columns, config.extra_columns, config.on_drift, repr(dialect), history]
        return CutName(fingerprint([*rows, str(self.calendar)]), fingerprint(rows))

    def _contents(self, listing: Listing) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        contents = dict(self._index.contents(self._cut, listing.files))
        lost = [self.scan(file) for file in listing.files if file.uri not in contents]
        if lost:
            self.record(lost)
            contents.update((entry.file.uri, [entry.content]) for entry in lost)
        return contents

    def _scan(self, file: InputFile) -> tuple[Mapping[str, Any], int]:
        time_required = self.config.on_drift == "fail"
        if self.config.format == "parquet":
            from raypipe.sources.parquet_footer import index_parquet

            return index_parquet(file, self.time, self.calendar, time_required=time_required)
        with self._routing(file):
            content, _ = self._route(file)
        return content, file.size_bytes

    def _digest(self, file: InputFile, windows: Sequence[Window]) -> Mapping[str, Any]:
        from raypipe.sources.cells import WindowEnds

        cutter = WindowEnds(windows)
        if self.config.format == "parquet":
            from raypipe.sources.parquet_footer import index_parquet

            return index_parquet(file, self.time, cutter, time_required=False)[0]
        from raypipe.sources.route_file import digest_file

        return digest_file(self.config, self.time, cutter, file.uri)

    def _routed(self, file: InputFile) -> RoutedFile:
        """Return the slices of a file; where they are gone it is routed again, once for all threads."""
        from raypipe.sources.slice_store import STORE

        key, folder = self._slices_of(file)
        found = STORE.find(key, folder)
        if found is None:
            with self._routing(file):
                found = STORE.find(key, folder) or self._route(file)[1]
        return found

    def _routing(self, file: InputFile) -> Any:
        from raypipe.sources.slice_store import STORE

        return STORE.routing(self._slices_of(file)[0])

    def _route(self, file: InputFile) -> tuple[Mapping[str, Any], RoutedFile]:
        from raypipe.sources.route_file import route_file

        key, folder = self._slices_of(file)
        return route_file(self.config, self.time, self.calendar, key, folder, self.in_memory_bytes)

    def _slices_of(self, file: InputFile) -> tuple[SliceKey, Path]:
        from raypipe.sources.slices import SliceKey

        key = SliceKey(file.uri, file.version, self._cut.cut)
        return key, Path(self.state_folder) / "slices" / key.name

    def _drop_slices(self, file: InputFile, old_version: str) -> None:
        from raypipe.sources.slice_store import STORE

        STORE.drop_others(file, self._cut.cut)
        _, folder = self._slices_of(InputFile(file.uri, file.size_bytes, old_version))
        shutil.rmtree(folder, ignore_errors=True)


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
