"""Pipeline: the frozen object that a YAML file becomes and that Python users write; paths in it are absolute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from raypipe.core.datatype import DataType
from raypipe.core.event_time import EventTime as EventTime
from raypipe.core.merge import Combined, Keyed, parse_measure
from raypipe.core.retry import Retries
from raypipe.core.source import ROWS as ROWS
from raypipe.core.source import Column as Column
from raypipe.core.source import CsvDialect as CsvDialect
from raypipe.core.source import FilesSource as FilesSource
from raypipe.core.source import MoreFiles as MoreFiles
from raypipe.core.source import NamedInput as NamedInput
from raypipe.core.source import Ready as Ready
from raypipe.core.source import Source as Source
from raypipe.core.source import Stream as Stream
from raypipe.core.source import TableSource as TableSource
from raypipe.lazy_dataclass import dataclass


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
    source: Source
    inputs: tuple[NamedInput, ...] = ()
    quality: Quality = field(default_factory=Quality)
    transform: tuple[Step, ...] = ()
    outputs: tuple[Output, ...]
    views: tuple[View, ...] = ()
    """Listed among `outputs` in YAML."""
    destination: DuckDBDestination
    run: RunOptions = field(default_factory=RunOptions)
    folder: Path = Path()
    """Where relative paths and Python steps are found."""
    data_folder: Path | None = None
    """Where relative paths of source and destination start, where that is not `folder`: in a copy that travels without data."""

    def __post_init__(self) -> None:
        names = [one.name for one in self.inputs]
        if len(set(names)) < len(names):
            raise ValueError(f"got the inputs {', '.join(names)}: expected names that differ")

    @property
    def divisible_outputs(self) -> frozenset[str]:
        """The outputs that may be computed in pieces of a shard's time: where it is cut does not change what they mean."""
        if self.looks_around or any(isinstance(step, Deduplicate) for step in self.transform):
            return frozenset()
        return frozenset(
            one.table for one in self.outputs if isinstance(one, GroupByOutput) or (isinstance(one, RowsOutput) and not one.key)
        )

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All that is read; a file's `origin` is the place of its stream among these, and those of `rows` come first."""
        given: list[tuple[str, str, Source, EventTime]] = [(ROWS, "source", self.source, self.time)]
        given += [(one.name, f"inputs.{one.name}.source", one.source, one.event_time(self.time)) for one in self.inputs]
        return tuple(
            Stream(table=table, key=key if place == 0 else f"{key}.also.{place - 1}", source=part, time=time)
            for table, key, source, time in given
            for place, part in enumerate(source.parts)
        )

    def origins(self, table: str) -> frozenset[int]:
        """Return the places of the streams whose rows SQL sees in a table."""
        return frozenset(origin for origin, stream in enumerate(self.streams) if stream.table == table)

    @property
    def looks_around(self) -> bool:
        """Whether a shard sees more than rows of its own, so that each is run by itself."""
        return self.time.looks_around or bool(self.inputs)
