"""Pipeline: the frozen object that a YAML file becomes and that Python users write; paths in it are absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from raypipe.core.datatype import DataType
from raypipe.core.event_time import EventTime as EventTime
from raypipe.core.merge import Combined, Keyed, parse_measure
from raypipe.core.retry import Retries


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
    def parts(self) -> tuple[FilesSource, ...]:
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
class Stream:
    """One source of files of one format, with its event time, and the table in which SQL sees its rows."""

    table: str
    source: FilesSource
    time: EventTime


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
class Rule:
    """A condition on one source row, before the steps. A null result passes unless `nulls` is `fail`."""

    name: str
    expect: str
    otherwise: Literal["quarantine", "drop", "warn", "fail"] = "quarantine"
    nulls: Literal["pass", "fail"] = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A condition on one shard's contribution to a table, before it is visible."""

    table: str
    expect: str
    otherwise: Literal["fail", "warn"] = "fail"
    on_empty: Literal["pass", "check"] = "pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxQuarantined:
    """A shard fails when more rows than both of these are quarantined."""

    share: float = 0.001
    at_least: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Rules on rows and checks on contributions."""

    max_quarantined: MaxQuarantined | None = None
    rules: tuple[Rule, ...] = ()
    checks: tuple[Check, ...] = ()
    keep_quarantined_us: int | None = None
    """How long the raw text of quarantined rows is kept; None: for ever."""


# ---- steps: each is one key of a list item under `transform` ---------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Keep the rows for which the condition is true."""

    condition: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicate:
    """Keep one row a key within the shard: the newest by `latest_by`, then by event time, source and position."""

    key: tuple[str, ...]
    latest_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive:
    """Add or replace columns by row expressions, all computed from the rows before the step."""

    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Change the types of columns; a value that cannot be cast breaks the rule `cast_<column>`."""

    columns: Mapping[str, DataType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """Rename columns, old name to new."""

    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillNull:
    """Put a constant where a column is null."""

    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Join columns of a reference file whose key is unique. `on` and `columns` map ours to the file's names.

    With `as_of` the key has a row for each time since which it is valid, and the event time of a row decides which is taken.
    """

    path: str
    on: Mapping[str, str]
    """Column of the rows -> column of the file."""
    columns: Mapping[str, str]
    """New column -> column of the file."""
    missing: Literal["keep", "quarantine", "fail"] = "keep"
    as_of: str | None = None
    """Column of the file: its row is valid from this time (null: ever) until the next one of the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonStep:
    """A function `LazyFrame -> LazyFrame` of a module beside the configuration, row-wise."""

    function: str
    """`module:function`."""
    rows: Literal["same", "fewer", "more"] = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explode:
    """Make a row of each element of a list column, in the order of the list; the other columns are repeated.

    A row whose list is empty or null stays, with null for an element, or is dropped and counted under `explode_<column>`.
    """

    column: str
    empty: Literal["keep", "drop"] = "keep"

    @property
    def columns(self) -> tuple[str, ...]:
        """The column, as other steps have several."""
        return (self.column,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten:
    """Put the fields of struct columns in the place of these, under their own names; a null struct has null fields."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Remove columns."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Keep these columns, in this order."""

    columns: tuple[str, ...]


Step = Filter | Deduplicate | Derive | Cast | Rename | FillNull | Lookup | PythonStep | Explode | Flatten | Drop | Select


# ---- outputs, destination, run ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputColumn:
    """What an output promises of one of its columns, judged on each shard's contribution before it is visible.

    `unique` holds among the rows of each shard; in a keyed or combined table, whose key it then is, over all of it.
    """

    type: DataType
    required: bool = False
    unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOutput:
    """A table of the rows that DuckDB SQL over `rows` yields for each shard."""

    table: str
    sql: str
    columns: Mapping[str, OutputColumn] = field(default_factory=dict)
    """The output's own contract; it may have other columns too."""

    @property
    def merge(self) -> None:
        """The table is the union of what the shards contribute."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOutput:
    """A table of the transformed rows; with a key one row a key, the newest over all of history.

    Newest is the greatest by `latest_by`, then by event time, source and position. A key whose newest row meets
    `delete_when`, a row expression, is not in the table.
    """

    table: str
    key: tuple[str, ...] = ()
    latest_by: tuple[str, ...] = ()
    delete_when: str | None = None
    columns: Mapping[str, OutputColumn] = field(default_factory=dict)

    @property
    def merge(self) -> Keyed | None:
        """How contributions become the table; None for their union."""
        return Keyed(self.key, self.latest_by) if self.key else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupByOutput:
    """A table of groups over all of history, with measures that are combined from the partial aggregates of the shards."""

    table: str
    group_by: Mapping[str, str]
    """Column of the table -> row expression."""
    measures: Mapping[str, str]
    """Column of the table -> measure, such as `avg(dep_delay)`."""
    columns: Mapping[str, OutputColumn] = field(default_factory=dict)

    @property
    def merge(self) -> Combined:
        """How contributions become the table. Raises ValueError for a text that is no measure."""
        return Combined(tuple(self.group_by), tuple(parse_measure(name, text) for name, text in self.measures.items()))


Output = SqlOutput | RowsOutput | GroupByOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """SQL over the tables of the outputs, kept as a view at the destination: it is computed when it is read."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DuckDBDestination:
    """A DuckDB file; state, staging and locks stand beside it in `<path>.raypipe/`."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How the work is done; nothing here changes what a table holds."""

    executor: Literal["auto", "inline", "ray"] = "auto"
    address: str | None = None
    memory_bytes: int = 2 * 1024**3
    cpus_per_shard: float = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources of a Ray cluster that one shard reserves: it runs on machines that offer them."""
    retries: Retries = field(default_factory=Retries)
    shard_timeout_s: float = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One pipeline: where events come from, how rows are cleaned, which tables come out."""

    name: str
    description: str = ""
    time: EventTime
<<<<<<< HEAD
    source: FilesSource
    inputs: tuple[NamedInput, ...] = ()
=======
    source: Source
>>>>>>> main
    quality: Quality = field(default_factory=Quality)
    transform: tuple[Step, ...] = ()
    outputs: tuple[Output, ...]
    views: tuple[View, ...] = ()
    """Listed among `outputs` in YAML."""
    destination: DuckDBDestination
    run: RunOptions = field(default_factory=RunOptions)
    folder: Path = Path()
    """Where relative paths and Python steps are found."""
<<<<<<< HEAD

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All sources; a file's `origin` is the place of its source among them."""
        given = [("rows", self.source, self.time), *((one.name, one.source, one.event_time(self.time)) for one in self.inputs)]
        return tuple(Stream(table=table, source=part, time=time) for table, source, time in given for part in source.parts)

    @property
    def looks_around(self) -> bool:
        """Whether a shard sees more than rows of its own, so that each is run by itself."""
        return self.time.looks_around or bool(self.inputs)
=======
    data_folder: Path | None = None
    """Where relative paths of source and destination start, where that is not `folder`: in a copy that travels without data."""
>>>>>>> main
