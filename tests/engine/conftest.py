"""A source in memory and short ways to a pipeline, a task and a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa
import pytest

from raypipe.core.calendar import parse_width
from raypipe.core.datatype import parse_datatype
from raypipe.core.shard import InputFile, Reason, Shard, Slice, Task
from raypipe.core.window import Window
from raypipe.engine.shard_run import ShardRunner
from raypipe.pipeline import Column, CsvDialect, DuckDBDestination, EventTime, FilesSource, Pipeline, Quality, RowsOutput
from raypipe.ports import FileIndex, Listing, Reject, SourceBatch

HOUR_US = 3_600_000_000
URI = "events.csv"
NO_ROWS = pa.RecordBatch.from_pylist([], pa.schema([("_time", pa.int64()), ("_source", pa.uint32()), ("_position", pa.int64())]))


@dataclasses.dataclass
class MemorySource:
    """Rows given as a frame with `_time` (microseconds); `_source` and `_position` are added where they are missing."""

    rows: pl.DataFrame
    rejects: tuple[Reject, ...] = ()
    batch_rows: int = 1_000_000
    error: BaseException | None = None
    words: dict[str, str] = dataclasses.field(default_factory=dict)
    wanted: list[Sequence[str] | None] = dataclasses.field(default_factory=list)

    def list(self) -> Listing:
        return Listing((InputFile(URI, 1, "v1"),))

    def columns(self, listing: Listing) -> dict[str, str]:
        return self.words

    def scan(self, file: InputFile) -> FileIndex:
        return FileIndex(file, {"scanned": True})

    def read(self, windows: Sequence[Window], slices: Sequence[Slice], columns: Sequence[str] | None) -> Iterator[SourceBatch]:
        self.wanted.append(columns)
        rows = self.rows
        if "_position" not in rows.columns:
            rows = rows.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("_position"))
        if "_source" not in rows.columns:
            rows = rows.with_columns(pl.lit(0, dtype=pl.UInt32).alias("_source"))
        inside = pl.any_horizontal((pl.col("_time") >= one.start_us) & (pl.col("_time") < one.end_us) for one in windows)
        rows = rows.filter(inside)
        untimed = any(one.untimed for one in slices)
        rejects = tuple(one for one in self.rejects if untimed or one.time_us is not None)
        if rejects:
            yield SourceBatch(NO_ROWS, rejects)
        for first in range(0, rows.height, self.batch_rows):
            yield from map(SourceBatch, rows[first : first + self.batch_rows].to_arrow().to_batches())
        if self.error is not None:
            raise self.error


@pytest.fixture
def memory_source():
    return MemorySource


@pytest.fixture
def make_pipeline(tmp_path):
    """Build a pipeline of text columns: `columns` maps names to type words (a trailing `!` means required)."""

    def make(columns=None, *, steps=(), outputs=None, quality=None, zone="UTC", **source):
        source.setdefault("format", "csv")
        contract = {
            name: Column(type=parse_datatype(word.rstrip("!")), required=word.endswith("!"))
            for name, word in (columns or {}).items()
        }
        return Pipeline(
            name="tested",
            time=EventTime(column="t", start_us=0, shard=parse_width("1h"), zone=zone),
            source=FilesSource(paths=(URI,), columns=contract, csv=CsvDialect(nulls=("", "NA")), **source),
            quality=quality or Quality(),
            transform=tuple(steps),
            outputs=tuple(outputs or (RowsOutput(table="out"),)),
            destination=DuckDBDestination(path="unused"),
            folder=tmp_path,
        )

    return make


@pytest.fixture
def make_task():
    """Build a task of hourly shards; the first takes what has no event time."""

    def make(hours=1, run_id="run", attempt=1):
        file = InputFile(URI, 1, "v1")
        shards = tuple(
            Shard(hour, Window(hour * HOUR_US, (hour + 1) * HOUR_US), Reason.NEW, frozenset(), (Slice(file, untimed=hour == 0),))
            for hour in range(hours)
        )
        return Task(run_id, 1, 1, attempt, shards)

    return make


@pytest.fixture
def make_runner(tmp_path):
    """Build a ShardRunner over a pipeline and rows."""

    def make(pipeline, source, *, stage="never", memory_bytes=1 << 28):
        return ShardRunner(pipeline, source, stage_folder=str(tmp_path / "stage"), memory_bytes=memory_bytes, stage=stage)

    return make


@pytest.fixture
def run(make_runner, make_task):
    """Run rows (a dict of columns; `_time` may be left out: all in the first hour) through a pipeline."""

    def run_rows(pipeline, rows, *, hours=1, **options):
        frame = pl.DataFrame(rows)
        if "_time" not in frame.columns:
            frame = frame.with_columns(pl.lit(1, dtype=pl.Int64).alias("_time"))
        return make_runner(pipeline, MemorySource(frame, **options)).run(make_task(hours))

    return run_rows
