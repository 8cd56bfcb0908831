"""SliceWriter: takes the sorted batches of one file and leaves its slices, in memory or in a folder that appears at once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa

from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Reject
from raypipe.sources.slices import LAYOUT_FILE, REJECTS_FILE, RoutedFile, Sorted

REJECTS_BYTES_MAX = 8 * 1024**2  # of rejects held in memory while a file is routed; more go to disk with its rows


class SliceTaker(Protocol):
    """Takes what a router sorted."""

    def add(self, batch: pa.RecordBatch, layout: Sorted) -> None:
        """Take rows, sorted by cell."""
        ...

    def add_rejects(self, rejects: Sequence[Reject]) -> None:
        """Take rows and lines that have no place."""
        ...


class NoSlices:
    """Takes nothing: for a file that is read for its digests alone."""

    def add(self, batch: pa.RecordBatch, layout: Sorted) -> None:
        """Let rows go."""

    def add_rejects(self, rejects: Sequence[Reject]) -> None:
        """Let rejects go."""


@dataclass
class SliceWriter:
    """Takes the sorted batches of one file; keeps them in memory as long as they are small enough, then goes to disk."""

    folder: Path
    memory_bytes: int
    _layout: list[Sorted] = field(default_factory=list)
    _batches: list[list[pa.RecordBatch | None]] = field(default_factory=list)
    _rejects: list[Reject] = field(default_factory=list)
    _schema: pa.Schema | None = None
    _held_bytes: int = 0
    _rejects_bytes: int = 0
    _staging: Path | None = None
    _writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, batch: pa.RecordBatch, layout: Sorted) -> None:
        """Take a batch; the `schema` and `number` of its layout are set here."""
        if self._schema is None or not batch.schema.equals(self._schema):
            self._schema = batch.schema
            self._batches.append([])
            self._close_writer()
        place = {"schema": len(self._batches) - 1, "number": len(self._batches[-1])}
        self._layout.append(Sorted(**{**_as_dict(layout), **place}))
        self._batches[-1].append(batch)
        self._held_bytes += batch.nbytes
        if self._held_bytes > self.memory_bytes or self._staging is not None:
            self._write_out()

    def add_rejects(self, rejects: Sequence[Reject]) -> None:
        """Take rejects, ascending by position."""
        self._rejects.extend(rejects)
        self._rejects_bytes += sum(len(one.raw) + len(one.error) + 200 for one in rejects)
        if self._rejects_bytes > REJECTS_BYTES_MAX:
            self._write_out()

    def finish(self) -> RoutedFile | None:
        """End the file: return its slices where they are in memory, else None and they are in the folder."""
        if self._staging is None and self._held_bytes <= self.memory_bytes:
            return RoutedFile(self._layout, cast("list[list[pa.RecordBatch]]", self._batches), tuple(self._rejects))
        self._write_out()
        self._close_writer()
        assert self._staging is not None
        (self._staging / LAYOUT_FILE).write_text(json.dumps([_as_dict(one) for one in self._layout]))
        _publish(self._staging, self.folder)
        return None

    @property
    def held_bytes(self) -> int:
        """The size of all batches."""
        return self._held_bytes

    def abandon(self) -> None:
        """Drop what was written."""
        with contextlib.suppress(OSError):
            self._close_writer()
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)

    def _write_out(self) -> None:
        """Move what is held to disk; batches are replaced by None so that their places stay right."""
        if self._staging is None:
            self._staging = self.folder.parent / f"{self.folder.name}.{os.getpid()}-{uuid.uuid4().hex}"
            self._staging.mkdir(parents=True)
        for schema, batches in enumerate(self._batches):
            for number, batch in enumerate(batches):
                if batch is not None:
                    self._writer_of(schema, batch.schema).write_batch(batch)
                    batches[number] = None
        with (self._staging / REJECTS_FILE).open("a", encoding="ascii") as lines:
            lines.writelines(json.dumps(asdict(one)) + "\n" for one in self._rejects)
        self._rejects.clear()
        self._rejects_bytes = 0

    def _writer_of(self, number: int, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
        assert self._staging is not None
        path = self._staging / f"{number:04d}.arrow"
        if self._writer is None or not path.exists():
            self._close_writer()
            self._writer = pa.ipc.new_file(str(path), schema)
        return self._writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _as_dict(layout: Sorted) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in Sorted.__slots__}


def _publish(staging: Path, folder: Path) -> None:
    """Give the slices their name at once; where another process was faster, its slices are the same."""
    try:
        staging.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(staging, ignore_errors=True)
