"""Table: the table of another pipeline as a source. What each of its live ranges contributed is a file, read from a copy.

A table that is merged of contributions is one file. A copy is made in one snapshot of one version, once, beside the index, so
that the database is not held while rows are worked on; losing it costs time only.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from raypipe.core.calendar import Calendar
from raypipe.core.fingerprint import fingerprint
from raypipe.core.shard import InputFile, Slice
from raypipe.core.upstream import WHOLE, TablePart, UpstreamTable
from raypipe.core.window import Window
from raypipe.errors import InputChanged, SourceUnreadable
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime, TableSource
from raypipe.ports import FileIndex, Listing, SourceBatch, Upstream
from raypipe.sources.file_cuts import FileCuts, scanned
from raypipe.sources.index import CutName, Index

ROW_BYTES = 50  # of a table's row, to guess bytes before anything is read
ROWS_AHEAD = 500_000  # copied in one opening of the database, about half a second: parts are often small
LEFT_BEHIND_S = 86_400  # a copy that is half done for so long is of a process that is gone
_COPY_FORMAT = 1  # of what is recorded and of the digests: raise it when either changes its meaning
_copying: dict[str, threading.Lock] = {}  # by folder: threads that need the same copies wait for the first


@dataclass(frozen=True)
class Table:
    """A table of another pipeline, what is known of its parts, and copies of these."""

    config: TableSource
    time: EventTime
    calendar: Calendar
    state_folder: str
    upstream: Upstream

    def list(self) -> Listing:
        """List the parts of the table that hold rows, as files (Source.list)."""
        found = self.upstream.table()
        return Listing(tuple(sorted(self._parts(found), key=lambda file: file.uri)) if found else ())

    def unindexed(self, listing: Listing) -> tuple[InputFile, ...]:
        """Return the parts that must be scanned before they can be planned."""
        return self._cuts.unindexed(listing)

    def scan(self, file: InputFile) -> FileIndex:
        """Copy a part, and find where its rows lie."""
        content, _ = self._index_copy(file, self.calendar)
        return scanned(file, content, Path(self._path(file)).stat().st_size)

    def record(self, entries: Sequence[FileIndex]) -> None:
        """Remember scans in the index."""
        self._cuts.record(entries)

    def slices(self, listing: Listing, windows: Sequence[Window]) -> Sequence[tuple[Slice, ...]]:
        """Return the slices of each window."""
        return self._cuts.slices(listing, windows)

    def fingerprints(self, listing: Listing, windows: Sequence[Window]) -> Sequence[str]:
        """Return the fingerprints of the slices of each window."""
        return self._cuts.fingerprints(listing, windows)

    def outside(self, listing: Listing) -> int:
        """Return how many rows lie before or after the history."""
        return self._cuts.outside(listing)

    def columns(self, listing: Listing) -> Mapping[str, str]:
        """Return the columns of the table and their types, in the words of a contract."""
        from raypipe.sources.parquet_open import open_parquet
        from raypipe.sources.sample import type_word

        path = self._path(listing.files[0]) if listing.files else ""
        if path and Path(path).exists():
            with open_parquet(path) as parquet:
                fields = list(parquet.schema_arrow)
        else:
            fields = list(self.upstream.schema() or ())
        return {field.name: type_word(field.type) for field in fields if self._is_wanted(field.name)}

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        """Stream the rows of the windows (Source.read). A live range that was replaced meanwhile is InputChanged.

        A merged table may change with every commit of its pipeline: a copy of it stands for the moment of its listing, and
        whether a shard is late is found by its rows, with the next listing.
        """
        from raypipe.sources.stream import by_file, stream_rows

        grouped = by_file(slices)
        files = [of_file[0].file for of_file in grouped]
        try:
            yield from stream_rows(grouped, windows, columns, self.time, _never_routed, self._copied)
        except SourceUnreadable:
            self._check_unchanged(files)
            raise
        self._check_unchanged(file for file in files if not file.uri.endswith(f"/{WHOLE}"))

    # ---- parts and copies -----------------------------------------------------------------------------------

    def _parts(self, table: UpstreamTable) -> Mapping[InputFile, TablePart]:
        """Return the parts by the files that they are listed as; other columns make another version, of the same content."""
        kept = {name: kind for name, kind in table.columns.items() if self._is_wanted(name)}
        columns = fingerprint(kept)[:8]
        name = f"{Path(self.config.path).name}#{self.config.table}"
        return {InputFile(f"{name}/{part.name}", part.rows * ROW_BYTES, f"{part.version}-{columns}"): part for part in table.parts}

    @property
    def _wanted(self) -> frozenset[str] | None:
        """The columns that are read; None for all."""
        if not self.config.columns or self.config.extra_columns != "ignore":
            return None
        return frozenset((*self.config.columns, self.time.column, self.time.column.partition(".")[0]))

    def _is_wanted(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    @property
    def _folder(self) -> Path:
        return Path(self.state_folder) / "copies"

    def _path(self, file: InputFile) -> str:
        return str(self._folder / f"{fingerprint([file.uri, file.version, _COPY_FORMAT, self.time.column])}.parquet")

    def _copied(self, file: InputFile) -> str:
        """Return the path of a part's copy; where there is none it is made, with some that follow. Raises InputChanged."""
        path = self._path(file)
        if Path(path).exists():
            return path
        with _copying.setdefault(str(self._folder), threading.Lock()):
            if not Path(path).exists():
                wanted = None if self._wanted is None else sorted(self._wanted)
                self.upstream.copy(lambda table: self._chosen(file, table), wanted, self.time.column)
                if not Path(path).exists():
                    raise SourceUnreadable(f"{file.uri}: the ledger knows of rows that the table lacks; raypipe verify tells more")
        return path

    def _chosen(self, file: InputFile, table: UpstreamTable) -> Mapping[TablePart, Path]:
        """Choose what to copy, and remove the copies of parts that are there no more."""
        parts = self._parts(table)
        if file not in parts:
            raise _changed(file)
        paths = {one: Path(self._path(one)) for one in parts}
        self._remove_all_but(frozenset(paths.values()))
        following = list(parts)[list(parts).index(file) :]
        chosen, rows = {}, 0
        for one in following:
            rows += parts[one].rows
            if one != file and (rows > ROWS_AHEAD or paths[one].exists()):
                break
            chosen[parts[one]] = paths[one]
        return chosen

    def _remove_all_but(self, kept: frozenset[Path]) -> None:
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(OSError):
                if path.suffix == ".parquet" and path not in kept:
                    path.unlink()
                elif path.is_dir() and path.stat().st_mtime < clock.time() - LEFT_BEHIND_S:
                    shutil.rmtree(path)

    def _check_unchanged(self, files: Any) -> None:
        table = self.upstream.table()
        current = self._parts(table) if table else {}
        for file in files:
            if file not in current:
                raise _changed(file)

    # ---- index ----------------------------------------------------------------------------------------------

    @property
    def _cuts(self) -> FileCuts:
        index = Index(Path(self.state_folder) / "index.sqlite")
        return FileCuts(index, self._cut, self.time, self.calendar, self.scan, self._digest, _content_of)

    @cached_property
    def _cut(self) -> CutName:
        """What the index depends on besides the table; the width of shards alone makes no other family."""
        time, wanted = self.time, self._wanted
        history = [time.column, time.format, time.zone, time.start_us, time.end_us]
        rows = [_COPY_FORMAT, self.config.table, self.config.on_drift, sorted(wanted) if wanted is not None else None, history]
        return CutName(fingerprint([*rows, str(self.calendar)]), fingerprint(rows))

    def _digest(self, file: InputFile, windows: Sequence[Window]) -> Mapping[str, Any]:
        from raypipe.sources.cells import WindowEnds

        return self._index_copy(file, WindowEnds(windows))[0]

    def _index_copy(self, file: InputFile, cutter: Any) -> tuple[Mapping[str, Any], int]:
        from raypipe.sources.parquet_footer import index_parquet

        required = self.config.on_drift == "fail"
        try:
            return index_parquet(file, self.time, cutter, time_required=required, path=self._copied(file), named=True)
        except SourceUnreadable:  # a copy is removed when its part was replaced
            self._check_unchanged([file])
            raise


def _content_of(file: InputFile) -> str:
    """Return what identifies the rows of a part, whatever columns were added to the table since."""
    return file.version.partition("-")[0]


def _changed(file: InputFile) -> InputChanged:
    return InputChanged(f"{file.uri}: was replaced by its pipeline while it was read")


def _never_routed(file: InputFile) -> Any:
    raise AssertionError(f"{file.uri} is read by row groups")
