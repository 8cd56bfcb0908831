"""Files: Parquet, CSV and JSON Lines as a source. Engines are loaded only when a file is opened, not to list or to plan."""

from __future__ import annotations

import shutil
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypipe.core.calendar import Calendar
from raypipe.core.fingerprint import fingerprint
from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.errors import SourceUnreadable
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime, FilesSource
from raypipe.ports import FileIndex, Listing, SourceBatch
from raypipe.sources.file_cuts import FileCuts, scanned
from raypipe.sources.index import CutName, Index
from raypipe.sources.markers import marked
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
        return self._cuts.unindexed(listing)

    def scan(self, file: InputFile) -> FileIndex:
        """Find where the rows of a file lie: from a footer, or by reading it once and routing it into slices."""
        check_unchanged(file, clock.time_ns())
        try:
            content, read_bytes = self._scan(file)
        except SourceUnreadable:
            check_unchanged(file, clock.time_ns())  # a file that is just being written looks truncated
            raise
        check_unchanged(file, clock.time_ns())
        return scanned(file, content, read_bytes)

    def record(self, entries: Sequence[FileIndex]) -> None:
        """Remember scans in the index, and drop the slices of superseded versions."""
        for entry, old in self._cuts.record(entries):
            if entry.content["kind"] == "routed":
                self._drop_slices(entry.file, old)

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return the slices of each window. A file whose index entry was lost meanwhile is scanned again."""
        return self._cuts.slices(listing, windows)

    def fingerprints(self, listing: Listing, windows: Sequence[Window]) -> Sequence[str]:
        """Return the fingerprints of the slices of each window."""
        return self._cuts.fingerprints(listing, windows)

    def outside(self, listing: Listing) -> int:
        """Return how many rows lie before or after the history."""
        return self._cuts.outside(listing)

    def columns(self, listing: Listing) -> Mapping[str, str]:
        """Return the columns of the first file and their types, in the words of a contract."""
        from raypipe.sources.sample import sample_columns

        return sample_columns(self.config, self.time.column, listing.files[0].uri) if listing.files else {}

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        """Stream the rows of the windows (Source.read)."""
        from raypipe.sources.stream import by_file, stream_rows

        grouped = by_file(slices)
        files = [of_file[0].file for of_file in grouped]
        for file in files:
            check_unchanged(file, clock.time_ns())
        try:
            yield from stream_rows(grouped, windows, columns, self.time, self._routed)
        except SourceUnreadable:
            for file in files:
                check_unchanged(file, clock.time_ns())
            raise
        for file in files:
            check_unchanged(file, clock.time_ns())

    # ---- index and slices -----------------------------------------------------------------------------------

    @property
    def _cuts(self) -> FileCuts:
        return FileCuts(self._index, self._cut, self.time, self.calendar, self.scan, self._digest)

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

    def _scan(self, file: InputFile) -> tuple[Mapping[str, Any], int]:
        time_required = self.config.on_drift == "fail"
        if self.config.format == "parquet":
            from raypipe.sources.parquet_footer import index_parquet

            return index_parquet(file, self.time, self.calendar, time_required=time_required)
        with self._routing(file):
            content, _ = self._route(file)
        return content, file.size_bytes

    def _digest(self, file: InputFile, windows: Sequence[Window]) -> Mapping[str, Any]:
        check_unchanged(file, clock.time_ns())
        content = self._cut_by(file, windows)
        check_unchanged(file, clock.time_ns())
        return content

    def _cut_by(self, file: InputFile, windows: Sequence[Window]) -> Mapping[str, Any]:
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
