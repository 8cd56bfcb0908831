"""Scratch: a user's pipeline with a copy of its input in a folder of its own; nothing outside of the folder is written."""

from __future__ import annotations

import contextlib
import glob
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from raypipe import launch
from raypipe.core.retry import Retries
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import DuckDBDestination, FilesSource, Pipeline
from raypipe.sources.filesystem import find_files, is_remote, open_file
from raypipe.testing.arrivals import SUFFIXES
from raypipe.testing.source_files import Rows, settle, write_rows

INPUT_BYTES_MAX = 256 * 1024**2  # a sample is copied once and read some hundred times
ROW_FILES = 3  # that rows are shared out over, so that some can come late
TIMEOUT_S = 1e9  # steps do not take time, so that no task may run out of it

Input = Rows | Mapping[str, Rows] | str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Scratch:
    """A pipeline that reads `input/` of the folder; where it writes is said by whoever runs it."""

    folder: Path
    pipeline: Pipeline
    files: tuple[str, ...]
    """The names of the input files, below `input/`, sorted: those of further sources stand in folders of their own."""

    def at(self, place: str) -> Pipeline:
        """Return the pipeline with its destination in a folder of this name, which is made where it is missing."""
        (self.folder / place).mkdir(exist_ok=True)
        return replace(self.pipeline, destination=DuckDBDestination(path=str(self.folder / place / "scratch.duckdb")))

    @contextlib.contextmanager
    def without(self, names: Sequence[str]) -> Iterator[None]:
        """Keep files back until they are delivered, or the block ends."""
        back = self.folder / "back"
        back.mkdir(exist_ok=True)
        for name in names:
            (back / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "input" / name).rename(back / name)
        try:
            yield
        finally:
            self.deliver([name for name in names if (back / name).exists()])

    def deliver(self, names: Sequence[str]) -> None:
        """Let files arrive that were kept back."""
        for name in names:
            (self.folder / "back" / name).rename(self.folder / "input" / name)


@contextlib.contextmanager
def scratch(pipeline: Pipeline | str | Path, given: Input | None) -> Iterator[Scratch]:
    """Yield a pipeline over a copy of its own input, or of what is given instead; the folder is gone afterwards."""
    made = pipeline if isinstance(pipeline, Pipeline) else launch.load(str(pipeline))
    with tempfile.TemporaryDirectory(prefix="raypipe-scratch-") as folder:
        target = Path(folder).resolve() / "input"
        target.mkdir()
        source = _files_of(made)
        if given is not None:
            source = replace(source, also=())
            _fill(made, source, given, target)
        moved = replace(
            made,
            time=replace(made.time, lateness_us=None),  # what comes late is to be taken in, not held for a backfill
            source=_moved(source, target, given is None),
            inputs=tuple(replace(one, source=_moved(one.source, target / one.name)) for one in made.inputs),
            run=replace(made.run, executor="inline", address=None, shard_timeout_s=TIMEOUT_S, retries=Retries()),
        )
        files = sorted(one.relative_to(target).as_posix() for one in target.rglob("*") if one.is_file())
        yield Scratch(target.parent, moved, tuple(files))


def _files_of(pipeline: Pipeline) -> FilesSource:
    if isinstance(pipeline.source, FilesSource):
        return pipeline.source
    raise ValueError(f"{pipeline.name} reads the table of another pipeline: expected one that reads files, which can be copied")


def _moved(source: FilesSource, folder: Path, copied: bool = True) -> FilesSource:
    """Return a source that reads copies of its files in a folder; what it is put together from has folders in that."""
    also = tuple(replace(one, paths=_moved_paths(one.paths, folder / f"also-{n}")) for n, one in enumerate(source.also))
    return replace(source, also=also, paths=_moved_paths(source.paths, folder, copied))


def _moved_paths(paths: Sequence[str], folder: Path, copied: bool = True) -> tuple[str]:
    folder.mkdir(exist_ok=True)
    if copied:
        _copy(paths, folder)
    return (f"{glob.escape(str(folder))}/*",)


def _fill(pipeline: Pipeline, source: FilesSource, given: Input, folder: Path) -> None:
    suffix = SUFFIXES[source.format]
    match given:
        case str() | Path():
            _copy([_pattern(given)], folder)
        case Mapping():
            for name, rows in given.items():
                write_rows(pipeline, rows, folder / name)
        case pa.Table():
            _share_out(pipeline, given.to_pylist() if source.format != "parquet" else given, folder, suffix)
        case _:
            listed: Sequence[Any] = list(given)
            if all(isinstance(one, Mapping) for one in listed):
                _share_out(pipeline, listed, folder, suffix)
            else:
                _copy([_pattern(one) for one in listed], folder)


def _share_out(pipeline: Pipeline, rows: Sequence[Any] | pa.Table, folder: Path, suffix: str) -> None:
    bounds = [len(rows) * place // ROW_FILES for place in range(ROW_FILES + 1)]
    for place, (start, end) in enumerate(pairwise(bounds)):
        part = rows.slice(start, end - start) if isinstance(rows, pa.Table) else rows[start:end]
        write_rows(pipeline, part, folder / f"rows-{place}{suffix}")


def _pattern(path: str | Path) -> str:
    return f"{path}/*" if not is_remote(str(path)) and Path(path).is_dir() else str(path)


def _copy(patterns: Sequence[str], folder: Path) -> None:
    found = find_files(patterns, time.time_ns())
    size_bytes = sum(one.size_bytes for one in found)
    if size_bytes > INPUT_BYTES_MAX:
        raise ValueError(
            f"the input has {size_bytes:,} bytes, expected at most {INPUT_BYTES_MAX:,}: give a sample of it as `input`"
        )
    if not found:
        raise ValueError(f"no file matches {', '.join(patterns)}: give some as `input`")
    names = [Path(one.uri).name for one in found]
    for place, one in enumerate(found):
        target = folder / (names[place] if names.count(names[place]) == 1 else f"{place:04d}-{names[place]}")
        if is_remote(one.uri):
            with open_file(one.uri) as stream, target.open("wb") as copy:
                shutil.copyfileobj(stream, copy)
        else:
            shutil.copy2(one.uri, target)
        settle(target)
