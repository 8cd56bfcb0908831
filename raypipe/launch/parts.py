"""What a pipeline is made of at run time: the one place that names implementations. Engines are imported late."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.core.calendar import Calendar, common_width
from raypipe.core.given_shards import given_shards
from raypipe.core.live_ranges import versions_of
from raypipe.core.merge import Merge
from raypipe.core.plan import Horizon, Patience, horizon
from raypipe.core.readiness import as_far_as
from raypipe.core.room import COMMIT_SHARE
from raypipe.core.shard import InputFile
from raypipe.core.state import Definition, Snapshot
from raypipe.core.upstream import UpstreamTable
from raypipe.core.window import Window
from raypipe.launch.reports import Ask
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS, EventTime, Pipeline, Stream, TableSource
from raypipe.ports import Claims, Clock, FileIndex, Source, StageStore, Upstream
from raypipe.runtime.settled_file import SettledFile
from raypipe.runtime.system_clock import SystemClock

if TYPE_CHECKING:
    from raypipe.destinations.duckdb import DuckDBFile
    from raypipe.engine.shard_run import ShardRunner

SLICES_IN_MEMORY_SHARE = 4  # a quarter of run.memory may hold slices of files that were read once


@dataclass(frozen=True)
class Parts:
    """A pipeline with its implementations. Picklable; builds each part when it is first needed."""

    pipeline: Pipeline
    clock: Clock
    scratch: str | None = None
    """A folder for the index instead of the state folder, for verbs that write nothing."""
    slices_in_memory: bool = False
    """Slices of small files stay in this process: for runs whose workers are threads of it."""
    given: tuple[Window, ...] | None = None
    """Exactly these shards, instead of those that the calendar cuts."""
    own_process: bool = False
    """Nobody else lives in this process, and it does the work itself."""

    @property
    def state_folder(self) -> str:
        """The folder beside a local destination that holds index, staging, locks and logs."""
        return f"{self.pipeline.destination.path}.raypipe"

    @property
    def stage_folder(self) -> str:
        """Where attempts of this pipeline leave files."""
        return str(Path(self.state_folder) / "stage" / self.pipeline.name)

    @property
    def index_folder(self) -> str:
        """Where the source remembers what it learnt of its files."""
        return self.scratch or str(Path(self.state_folder) / "index" / self.pipeline.name)

    def stand_in_folder(self, origin: int = 0) -> str:
        """Where files stand that are read in place of others of a stream that are gone. No cache: they are input."""
        folder = Path(self.state_folder).absolute() / "stand-in" / self.pipeline.name
        return str(folder / self.pipeline.streams[origin].key if origin else folder)

    @property
    def calendar(self) -> Calendar:
        """Where shards are cut."""
        time = self.pipeline.time
        return Calendar(time.start_us, time.shard, time.zone)

    def _cells(self, time: EventTime) -> Calendar:
        """How files are cut: so that shards, and what they look back and ahead to, consist of whole cells."""
        width = reduce(common_width, filter(None, (time.lookback, time.lookahead)), time.shard)
        return Calendar(time.start_us, width, time.zone)

    @property
    def ready(self) -> Horizon:
        """What may be worked on now."""
        if self.given is not None:
            return given_shards(self.calendar, self.given)
        if not isinstance(self.pipeline.source, TableSource):
            return self.by_time
        seen = self.upstream_seen
        return as_far_as(self.by_time, seen.watermark_us if seen else None, self.pipeline.time.seen_until)

    @property
    def by_time(self) -> Horizon:
        """What may be worked on now as far as it depends on the time: once all that is seen of every input has passed."""
        time, times = self.pipeline.time, [stream.time for stream in self.pipeline.streams]
        return horizon(
            self.calendar, time.start_us, time.end_us, time.delay_us, self.clock.now_us(),
            lambda end_us: max(one.seen_until(end_us) for one in times),
        )  # fmt: skip

    @cached_property
    def upstream_seen(self) -> UpstreamTable | None:
        """The table that the pipeline reads, as it was before the source was listed: so long, nothing more becomes ready."""
        return self.upstream(self.pipeline.source).table() if isinstance(self.pipeline.source, TableSource) else None

    def upstream(self, source: TableSource) -> Upstream:
        """Return where the table stands that a pipeline reads."""
        from raypipe.destinations.duckdb_upstream import DuckDBTable

        return DuckDBTable(source.path, source.table, self.clock)

    @property
    def patience(self) -> Patience:
        """What a run leaves alone for now."""
        inputs = [self.pipeline.source, *(one.source for one in self.pipeline.inputs)]
        tables = [ROWS, *(one.name for one in self.pipeline.inputs)]
        files_min = {
            self.pipeline.origins(table): source.ready.files for table, source in zip(tables, inputs, strict=True) if source.ready
        }
        return Patience(lateness_us=self.pipeline.time.lateness_us, files_min=files_min)

    @cached_property
    def source(self) -> Source:
        """The source; its index is in the state folder, or in the scratch folder."""
        if len(self.sources) == 1:
            return self.sources[0]
        from raypipe.sources.concatenated import Concatenated

        return Concatenated(self.sources, tuple(one.table for one in self.pipeline.streams))

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The source of each stream."""
        return tuple(self._source_of(stream, origin) for origin, stream in enumerate(self.pipeline.streams))

    def _source_of(self, stream: Stream, origin: int) -> Source:
        source, cells = stream.source, self._cells(stream.time)
        if isinstance(source, TableSource):
            from raypipe.sources.table import Table

            return Table(source, stream.time, cells, self.index_folder, self.upstream(source))
        from raypipe.sources.files import Files

        memory_bytes = self.pipeline.run.memory_bytes // SLICES_IN_MEMORY_SHARE if self.slices_in_memory else 0
        memory_bytes //= len(self.pipeline.streams)
        return Files(source, stream.time, cells, self.index_folder, memory_bytes, self.stand_in_folder(origin))

    @cached_property
    def destination(self) -> DuckDBFile:
        """The destination, which answers questions about itself too."""
        if self.own_process:
            from raypipe.destinations.duckdb_start import start_duckdb

            start_duckdb()
        from raypipe.destinations.duckdb import DuckDBFile

        memory_bytes = self.pipeline.run.memory_bytes // COMMIT_SHARE
        return DuckDBFile(self.pipeline.destination.path, self.pipeline.name, self.clock, memory_bytes)

    @cached_property
    def definitions(self) -> Mapping[str, Definition]:
        """Today's definition of each output."""
        from raypipe.engine.definition import definitions

        return definitions(self.pipeline)

    @property
    def merges(self) -> Mapping[str, Merge]:
        """How contributions become the table, of outputs whose table is not their union."""
        return {output.table: output.merge for output in self.pipeline.outputs if output.merge is not None}

    @cached_property
    def views(self) -> Mapping[str, str]:
        """The views and their SQL. Raises ConfigurationError for SQL that is not over the pipeline's own tables."""
        if not self.pipeline.views:  # the common case, for which no engine is loaded
            return {}
        from raypipe.engine.views import view_selects

        return view_selects(self.pipeline)

    def worker(self, memory_bytes: int) -> ShardRunner:
        """Return what does tasks, each within this share of the memory; what was dear to compute is staged in files.

        Raises ConfigurationError for what no row could pass: then there is no run, and no shard that failed.
        """
        self._start_arrow()
        if self.own_process:
            from raypipe.engine.polars_start import start_polars
            from raypipe.system_memory import give_back_freed_memory

            give_back_freed_memory()
            start_polars(self.pipeline)
        from raypipe.engine.shard_run import ShardRunner
        from raypipe.engine.stage import StageWhenDear

        runner = ShardRunner(
            self.pipeline,
            self.source,
            stage_folder=self.stage_folder,
            memory_bytes=memory_bytes,
            stage=StageWhenDear(),
            planned={output: one.fingerprint for output, one in self.definitions.items()},
        )
        runner.require_fit()
        return runner

    def scan(self, file: InputFile) -> FileIndex:
        """Scan a file for the index, without an engine but Arrow."""
        self._start_arrow()
        return self.source.scan(file)

    def _start_arrow(self) -> None:
        from raypipe.engine.arrow_start import start_arrow

        start_arrow(self.pipeline, own_process=self.own_process)

    def settled(self, versions: Mapping[str, str]) -> SettledFile:
        """Where runs of these versions of raypipe and its engines remember that nothing was to be done."""
        return SettledFile(Path(self.index_folder) / "settled.json", str(dict(versions)))

    @property
    def claims(self) -> Claims:
        """Where runs at the same time tell each other what they work on."""
        from raypipe.destinations.file_claims import FileClaims

        return FileClaims(str(Path(self.state_folder) / "claims.sqlite"), self.pipeline.name, self.clock)

    @property
    def stages(self) -> StageStore:
        """Where staged work is found again."""
        from raypipe.engine.stage_store import StagedFiles

        return StagedFiles(self.stage_folder)


@contextlib.contextmanager
def scratch_index(pipeline: Pipeline, clock: Clock | None = None) -> Iterator[Parts]:
    """Yield parts whose index is a copy, gone afterwards: for verbs that write nothing, not even what they learn."""
    clock = clock or SystemClock()
    with tempfile.TemporaryDirectory(prefix="raypipe-index-") as scratch:
        copy_index(Parts(pipeline, clock).index_folder, scratch)
        yield Parts(pipeline, clock, scratch=scratch)


def copy_index(index_folder: str, target: str) -> None:
    """Copy what an index knows of files. Slices are folders, and are made again where they are needed."""
    index = Path(index_folder)
    for file in sorted(index.glob("*")) if index.is_dir() else ():
        if file.is_file():
            with contextlib.suppress(FileNotFoundError):  # a journal, gone meanwhile
                shutil.copy(file, target)


def current_versions(parts: Parts, snapshot: Snapshot) -> Mapping[str, int]:
    """Return the version of each output's definition of today; 0 where today's was never run."""
    return versions_of(snapshot, parts.definitions)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shards_window(parts: Parts, shards: tuple[int, int] | None) -> Window | None:
    """Return the range of a half-open range of shard indices, None for all of history."""
    return Window(parts.calendar.boundary(shards[0]), parts.calendar.boundary(shards[1])) if shards else None


def asked_window(parts: Parts, ask: Ask) -> tuple[int, int] | None:
    """Return the bounds that a person asked for, in microseconds; None for all of history."""
    time, ready = parts.pipeline.time, parts.ready
    if ask.shards is not None:
        return ready.calendar.boundary(ask.shards[0]), ready.calendar.boundary(ask.shards[1])
    if ask.start_us is None and ask.end_us is None:
        return None
    end_us = ask.end_us if ask.end_us is not None else (ready.window.end_us if ready.window else time.start_us)
    return (ask.start_us if ask.start_us is not None else time.start_us), end_us
