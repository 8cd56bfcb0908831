"""Index: a small SQLite file beside the state that remembers what scans told of files. A cache: losing it costs time only."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from raypipe.core.shard import InputFile
from raypipe.lazy_dataclass import dataclass

_FORMAT = 2  # of the tables below; an index of another format is thrown away
_BUSY_S = 30.0  # how long to wait for another process that writes; a write takes milliseconds
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    uri TEXT, cut TEXT, version TEXT NOT NULL, outside INTEGER NOT NULL, content TEXT NOT NULL,
    family TEXT NOT NULL, age INTEGER NOT NULL, PRIMARY KEY (uri, cut)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (uri TEXT PRIMARY KEY, stat TEXT NOT NULL, digest TEXT NOT NULL, confirmed INTEGER NOT NULL);
"""
_RECORD = """
INSERT OR REPLACE INTO files VALUES (:uri, :cut, :version, :outside, :content, :family, coalesce(
    (SELECT age FROM files WHERE uri = :uri AND cut = :cut AND version = :version),
    (SELECT max(age) + 1 FROM files WHERE uri = :uri), 0))
"""
_T = TypeVar("_T")
_Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class KnownContent:
    """The hash of a file that was unsettled; `confirmed` when it was taken again after the file had settled."""

    stat: str
    digest: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class CutName:
    """How files are cut. Cuts of one `family` hold the same rows and differ in nothing but the width of their cells."""

    cut: str
    family: str


@dataclass(frozen=True, slots=True)
class Index:
    """The index file of one state folder. Safe for many processes and threads; a corrupt file is deleted and made anew."""

    path: Path

    def versions(self, cut: str) -> dict[str, str]:
        """Return the indexed version of each URI that was indexed for this cut."""
        return self._read({}, lambda db: dict(db.execute("SELECT uri, version FROM files WHERE cut = ?", (cut,)).fetchall()))

    def contents(self, name: CutName, files: Sequence[InputFile]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return what was recorded of the files at these versions, by URI, for each cut of the family, the oldest first.

        Files that are not indexed for this cut are left out.
        """
        query = "SELECT uri, version, content, cut = ? FROM files WHERE family = ? ORDER BY age"
        rows: _Rows = self._read([], lambda db: db.execute(query, (name.cut, name.family)).fetchall())
        wanted = {file.uri: file.version for file in files}
        found: dict[str, list[Mapping[str, Any]]] = {
            uri: [] for uri, version, _, mine in rows if mine and wanted.get(uri) == version
        }
        for uri, version, content, _ in rows:
            if uri in found and wanted[uri] == version:
                found[uri].append(json.loads(content))
        return found

    def outside(self, cut: str, files: Sequence[InputFile]) -> int:
        """Return the sum of the rows outside the history over the files at these versions."""
        rows: _Rows = self._read(
            [], lambda db: db.execute("SELECT uri, version, outside FROM files WHERE cut = ?", (cut,)).fetchall()
        )
        wanted = {file.uri: file.version for file in files}
        return sum(outside for uri, version, outside in rows if wanted.get(uri) == version)

    def record(self, name: CutName, entries: Iterable[tuple[InputFile, Mapping[str, Any]]]) -> None:
        """Remember contents in place of what was known of the same files in the same cut; other cuts of them are kept."""
        rows = [
            {
                "uri": file.uri,
                "cut": name.cut,
                "version": file.version,
                "outside": content["outside"],
                "content": json.dumps(content, separators=(",", ":")),
                "family": name.family,
            }
            for file, content in entries
        ]
        self._write(lambda db: db.executemany(_RECORD, rows))

    def unsettled(self) -> dict[str, KnownContent]:
        """Return the content hashes of files that once were unsettled, by URI."""
        rows: _Rows = self._read([], lambda db: db.execute("SELECT uri, stat, digest, confirmed FROM contents").fetchall())
        return {uri: KnownContent(stat, digest, bool(confirmed)) for uri, stat, digest, confirmed in rows}

    def record_unsettled(self, known: Mapping[str, KnownContent]) -> None:
        """Remember content hashes."""
        rows = [(uri, one.stat, one.digest, one.confirmed) for uri, one in known.items()]
        self._write(lambda db: db.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)", rows))

    def _read(self, nothing: _T, action: Callable[[sqlite3.Connection], _T]) -> _T:
        return self._perform(action) if self.path.exists() else nothing

    def _write(self, action: Callable[[sqlite3.Connection], object]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._perform(action)

    def _perform(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return self._transact(action)
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
        self._delete()
        return self._transact(action)

    def _transact(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as db, db:
            db.execute("PRAGMA synchronous = OFF")  # a cache: after a power cut it is made anew
            (found,) = db.execute("PRAGMA user_version").fetchone()
            if found != _FORMAT:
                if found != 0:
                    raise sqlite3.DatabaseError(f"format {found}, expected {_FORMAT}")
                db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")
            return action(db)

    def _delete(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    """Tell a broken file, which is deleted, from one that is locked or on a full disk, which is not."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error) or "has no column" in str(error)
    return True
