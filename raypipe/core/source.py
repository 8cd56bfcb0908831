"""Source: where the rows of a pipeline come from, files or tables, one or several; paths are absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from raypipe.core.calendar import Width
from raypipe.core.datatype import DataType
from raypipe.core.event_time import EventTime
from raypipe.lazy_dataclass import dataclass

ROWS = "rows"
"""The table in which the SQL of outputs sees the transformed rows of the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvDialect:
    """How CSV files are written. With `multiline`, values in quotes may hold line breaks."""

    nulls: tuple[str, ...] = ("",)
    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    encoding: str = "utf-8"
    multiline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a contract."""

    type: DataType
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a shard that was never done waits for."""

    marker: str | None = None
    """A file counts once a file of this name stands in its folder."""
    files: int = 1
    """How many files must have rows for the shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreFiles:
    """Files in another place or of another format, with the contract of the source that they are put together with."""

    paths: tuple[str, ...]
    format: Literal["parquet", "csv", "jsonl"]
    csv: CsvDialect = field(default_factory=CsvDialect)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesSource:
    """Files: Parquet, CSV or JSON Lines, by glob or list."""

    paths: tuple[str, ...]
    format: Literal["parquet", "csv", "jsonl"]
    csv: CsvDialect = field(default_factory=CsvDialect)
    columns: Mapping[str, Column] = field(default_factory=dict)
    extra_columns: Literal["ignore", "keep", "fail"] = "ignore"
    on_drift: Literal["fail", "evolve", "quarantine"] = "fail"
    ready: Ready | None = None
    """None: a shard waits for nothing but its time."""
    also: tuple[MoreFiles, ...] = ()
    """Further files, whose rows are put together with these."""

    @property
    def parts(self) -> tuple[Source, ...]:
        """The source as those that it is put together from, each of one format."""
        alone = replace(self, also=())
        return (alone, *(replace(alone, paths=one.paths, format=one.format, csv=one.csv) for one in self.also))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedInput:
    """A further input, which the SQL of outputs sees as a table of this name, beside `rows`; its contract names its columns.

    Its rows have an event time of their own. Those of a shard are accounted to the shard; those that it only sees, which lie
    before or after it, to others, and the column `_in_shard` tells which are which.
    """

    name: str
    source: FilesSource
    column: str
    format: str = "iso"
    lookback: Width | None = None
    lookahead: Width | None = None

    def event_time(self, of_rows: EventTime) -> EventTime:
        """Return where its event time stands; all else of it is that of the pipeline."""
        return replace(of_rows, column=self.column, format=self.format, lookback=self.lookback, lookahead=self.lookahead)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """A table that another pipeline writes. Its columns have types of their own, as those of Parquet files."""

    path: str
    """The DuckDB file, absolute."""
    table: str
    columns: Mapping[str, Column] = field(default_factory=dict)
    extra_columns: Literal["ignore", "keep", "fail"] = "ignore"
    on_drift: Literal["fail", "evolve", "quarantine"] = "fail"

    @property
    def parts(self) -> tuple[Source, ...]:
        """The source itself: a table is put together with nothing."""
        return (self,)

    @property
    def format(self) -> Literal["parquet"]:
        """What the copies are that it is read from."""
        return "parquet"

    @property
    def csv(self) -> CsvDialect:
        """How reference files are written, where no source says otherwise."""
        return CsvDialect()

    @property
    def ready(self) -> None:
        """A shard waits for the table's watermark and for nothing else."""
        return


Source = FilesSource | TableSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One source of rows that are read alike, with its event time, and the table in which SQL sees these rows."""

    table: str
    key: str
    """Where the source stands in the configuration."""
    source: Source
    time: EventTime
