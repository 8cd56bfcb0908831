"""The shape of a configuration as pydantic models: what each section may hold, with the words that the JSON Schema shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Tag

from raypipe.config.section import Section, kind_of, known_kind, told_apart_by
from raypipe.config.step_sections import StepValue
from raypipe.config.values import (
    ColumnName,
    ColumnNames,
    Duration,
    Encoding,
    FileName,
    FilePaths,
    Flag,
    GroupMapping,
    Identifier,
    Instant,
    Lateness,
    LocalPath,
    Lookback,
    MeasureText,
    NewColumnName,
    Number,
    OneCharacter,
    PositiveDuration,
    Rate,
    ResourceName,
    ShardWidth,
    Size,
    Sql,
    TimeFormat,
    TypeWord,
    Whole,
    Zone,
)


class TimeSection(Section):
    """Where event time stands, where history begins, and how it is cut into shards."""

    column: ColumnName = Field(description="Event time: a column of the source, or a path into one (payload.ts)")
    format: TimeFormat = Field(
        default="iso", description="iso, epoch_s, epoch_ms, epoch_us or a strptime pattern; Parquet timestamps need none"
    )
    zone: Zone = Field(default="UTC", description="Time zone of naive timestamps and of shard boundaries")
    start: Instant = Field(description="History begins here (inclusive); a date is its first instant in the zone")
    end: Instant | None = Field(default=None, description="History ends here (exclusive): a closed data set")
    shard: ShardWidth = Field(description="Width of a shard; days and longer follow the zone's calendar")
    lateness: Lateness = Field(
        default=None,
        json_schema_extra={"default": "unlimited"},
        description="How far below the watermark late input reopens shards by itself; older is held until a backfill",
    )
    delay: Duration = Field(
        default=0,
        json_schema_extra={"default": "0s"},
        description="Without `end`: a shard is ready once its end and this delay have passed",
    )
    lookback: Lookback = Field(
        default=None,
        json_schema_extra={"default": "0s"},
        description="Time before a shard whose rows the SQL of outputs sees too, where the column _in_shard is false",
    )
    lookahead: Lookback = Field(
        default=None,
        json_schema_extra={"default": "0s"},
        description="Time after a shard whose rows the SQL of outputs sees too; the shard is ready once that has passed as well",
    )


class CsvSection(Section):
    """How CSV files are written."""

    nulls: list[str] = Field(default=[""], description="Words that mean null")
    delimiter: OneCharacter = Field(default=",", description="The character between values")
    quote: OneCharacter = Field(default='"', description="The character around values that hold others")
    header: Flag = Field(default=True, description="Whether the first line names the columns; without, `columns` gives their order")
    encoding: Encoding = Field(default="utf-8", description="How characters are written")
    multiline: Flag = Field(default=False, description="Whether values in quotes may hold line breaks")


class ColumnSection(Section):
    """One column of the contract."""

    type: TypeWord = Field(description="Type of the column")
    required: Flag = Field(default=False, description="Whether a null (or a missing value) breaks the contract")


def _long_column(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


ColumnValue = Annotated[ColumnSection, BeforeValidator(_long_column, json_schema_input_type=TypeWord | ColumnSection)]


FileFormat = Literal["parquet", "csv", "jsonl"]


class ReadySection(Section):
    """What a shard that was never done waits for, besides its time."""

    marker: FileName | None = Field(default=None, description="A file counts once a file of this name stands in its folder")
    files: Annotated[Whole, Field(ge=1)] = Field(default=1, description="How many files must have rows for the shard")


class MoreFilesSection(Section):
    """Files in another place or of another format, with the same contract."""

    path: FilePaths = Field(description="A path or glob, or a list")
    format: FileFormat | None = Field(default=None, description="Told from the suffix when omitted")
    csv: CsvSection | None = Field(default=None, description="The dialect of CSV files")


class FilesSection(Section):
    """Files: Parquet, CSV or JSON Lines; .gz, .zst and .zip (one member) by suffix."""

    kind: Literal["files"] = Field(description="Where events come from")
    path: FilePaths = Field(
        description="A path or glob, or a list; relative to this file's folder, or package:<installed package>/<path in it>"
    )
    format: FileFormat | None = Field(default=None, description="Told from the suffix when omitted")
    csv: CsvSection | None = Field(default=None, description="The dialect of CSV files")
    columns: dict[NewColumnName, ColumnValue] = Field(
        default={}, description="The contract: name -> type, or {type, required}; optional for Parquet"
    )
    extra_columns: Literal["ignore", "keep", "fail"] = Field(
        default="ignore", description="Columns of the file that the contract does not name"
    )
    on_drift: Literal["fail", "evolve", "quarantine"] = Field(
        default="fail", description="When a named column is missing or has another type"
    )
    ready: ReadySection | None = Field(
        default=None, description="What a shard that was never done waits for: a marker beside its files, a number of files"
    )
    also: list[MoreFilesSection] = Field(
        default=[], description="Further files in other places or formats, whose rows are put together with these"
    )


class InputTimeSection(Section):
    """Where the event time of a named input stands, and how much of the time around a shard SQL sees of it."""

    column: ColumnName = Field(description="Event time: a column of the input, or a path into one")
    format: TimeFormat = Field(default="iso", description="As time.format")
    lookback: Lookback = Field(
        default=None, json_schema_extra={"default": "0s"}, description="Time before a shard whose rows SQL sees too"
    )
    lookahead: Lookback = Field(
        default=None, json_schema_extra={"default": "0s"}, description="Time after a shard whose rows SQL sees too"
    )


class InputSection(Section):
    """A further input, which the SQL of outputs sees as a table beside `rows`."""

    source: Annotated[FilesSection, known_kind("files")] = Field(description="Where its events come from, with their columns")
    time: InputTimeSection = Field(description="Its event time, and what SQL sees of it")


class TableSection(Section):
    """A table that another pipeline writes: a shard is ready as far as that table's watermark."""

    kind: Literal["table"] = Field(description="Where events come from")
    table: Identifier = Field(description="An output of another pipeline that has a column of event time")
    path: LocalPath | None = Field(
        default=None, description="The DuckDB file that holds it, relative to this file's folder; without, that of `destination`"
    )
    columns: dict[NewColumnName, ColumnValue] = Field(
        default={}, description="The contract: name -> type, or {type, required}; without, all columns are read as they are"
    )
    extra_columns: Literal["ignore", "keep", "fail"] = Field(
        default="ignore", description="Columns of the table that the contract does not name"
    )
    on_drift: Literal["fail", "evolve", "quarantine"] = Field(
        default="fail", description="When a named column is missing or has another type"
    )


SOURCE_KINDS = ("files", "table")
SourceValue = Annotated[
    Annotated[FilesSection, Tag("files")] | Annotated[TableSection, Tag("table")],
    kind_of(SOURCE_KINDS),
    known_kind(*SOURCE_KINDS),
]


class MaxQuarantinedSection(Section):
    """A shard fails when more rows than both of these are quarantined."""

    share: Rate = Field(default=0.001, description="Share of the shard's rows")
    at_least: Annotated[Whole, Field(ge=0)] = Field(default=10, description="Rows that are always allowed")


def _long_max_quarantined(value: Any) -> Any:
    return {"share": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


class RuleSection(Section):
    """A condition on one source row, before the steps."""

    name: Identifier = Field(description="Name of the rule, shown with the rows that break it")
    expect: Sql = Field(description="A row expression that is true for good rows")
    otherwise: Literal["quarantine", "drop", "warn", "fail"] = Field(
        default="quarantine", description="What becomes of a row that breaks it"
    )
    nulls: Literal["pass", "fail"] = Field(default="pass", description="Whether a null result passes, as in SQL CHECK")


class CheckSection(Section):
    """A condition on one shard's contribution to a table, before it is visible."""

    table: Identifier = Field(description="One of the outputs")
    expect: Sql = Field(description='An aggregate condition such as "sum(flights) > 0"')
    otherwise: Literal["fail", "warn"] = Field(default="fail", description="What follows when it is not true")
    on_empty: Literal["pass", "check"] = Field(default="pass", description="Whether an empty contribution is checked")


class QualitySection(Section):
    """Rules on rows and checks on contributions."""

    max_quarantined: (
        Annotated[
            MaxQuarantinedSection, BeforeValidator(_long_max_quarantined, json_schema_input_type=Rate | MaxQuarantinedSection)
        ]
        | None
    ) = Field(default=None, description="Above this, the shard fails and nothing of it is visible; 0.1% is short for {share: 0.1%}")
    rules: list[RuleSection] = Field(default=[], description="Conditions on rows, before the steps")
    keep_quarantined: PositiveDuration | None = Field(
        default=None,
        description="How long the raw text of quarantined rows is kept, such as 90d; `raypipe gc` then takes it away, and the "
        "errors that quote it. The rows stay, with their rule and place. Without this, texts are kept for ever",
    )
    checks: list[CheckSection] = Field(default=[], description="Conditions on each shard's contribution, before it is visible")


# ---- outputs: `sql`, `rows`, `group_by` or `view` names the kind -------------------------------------------------


class OutputColumnSection(ColumnSection):
    """What an output promises of one of its columns."""

    unique: Flag = Field(
        default=False,
        description="Whether no value stands twice: among the rows of each shard, or, for the key of a keyed table, over all of it",
    )


OutputColumns = Annotated[
    dict[
        ColumnName,
        Annotated[OutputColumnSection, BeforeValidator(_long_column, json_schema_input_type=TypeWord | OutputColumnSection)],
    ],
    Field(description="The output's own contract, judged before a shard is visible: name -> type, or {type, required, unique}"),
]


class SqlSection(Section):
    """A table of the rows that SQL yields for each shard."""

    table: Identifier = Field(description="Name of the table at the destination")
    sql: Sql = Field(description="DuckDB SQL over `rows`, this shard's transformed rows")
    columns: OutputColumns = Field(default={})


class RowsSection(Section):
    """A table of the transformed rows."""

    table: Identifier = Field(description="Name of the table at the destination")
    rows: Literal["all"] = Field(description="Which of the transformed rows")
    key: ColumnNames | None = Field(default=None, description="One row for each value of these columns, over all of history")
    latest_by: ColumnNames | None = Field(
        default=None, description="With a key: the row with the greatest values stands; then by event time, source, position"
    )
    delete_when: Sql | None = Field(default=None, description="With a key: a key whose newest row meets this is not in the table")
    columns: OutputColumns = Field(default={})


class GroupBySection(Section):
    """A table of groups, its measures combined over all of history."""

    table: Identifier = Field(description="Name of the table at the destination")
    group_by: GroupMapping = Field(description="Columns, or {column of the table: row expression}")
    measures: dict[NewColumnName, MeasureText] = Field(
        min_length=1, description="Column of the table -> a measure of any row expression, such as avg(dep_delay)"
    )
    columns: OutputColumns = Field(default={})


class ViewSection(Section):
    """A view: SQL over the tables of the other outputs, computed when it is read."""

    table: Identifier = Field(description="Name of the view at the destination")
    view: Sql = Field(description="DuckDB SQL over the tables of the other outputs, by their names")


AnyOutput = SqlSection | RowsSection | GroupBySection | ViewSection
OUTPUT_WORDS = ("sql", "rows", "group_by", "view")
_OUTPUT_TAG, _OUTPUT_CHECK = told_apart_by(OUTPUT_WORDS, "kind of output")
OutputValue = Annotated[
    Annotated[SqlSection, Tag("sql")]
    | Annotated[RowsSection, Tag("rows")]
    | Annotated[GroupBySection, Tag("group_by")]
    | Annotated[ViewSection, Tag("view")],
    _OUTPUT_TAG,
    _OUTPUT_CHECK,
]


# ---- destination, run, the whole --------------------------------------------------------------------------


class DuckDBSection(Section):
    """A DuckDB file; state and staging stand beside it in `<path>.raypipe/`."""

    kind: Literal["duckdb"] = Field(description="Where tables go")
    path: LocalPath = Field(description="The file; made when it does not exist")


class RetriesSection(Section):
    """How often and how soon a shard is tried again."""

    attempts: Annotated[Whole, Field(ge=1, le=100)] = Field(default=3, description="Attempts in all")
    delay: Duration = Field(
        default=1_000_000, json_schema_extra={"default": "1s"}, description="The wait before the second attempt"
    )
    factor: Annotated[Number, Field(ge=1, le=100)] = Field(default=4, description="Each further wait is so many times longer")


class RunSection(Section):
    """How the work is done; nothing here changes what a table holds."""

    executor: Literal["auto", "inline", "ray"] = Field(
        default="auto", description="inline: in this process; ray: on a cluster; auto: the faster one"
    )
    address: str | None = Field(default=None, min_length=1, description="A Ray cluster; RAY_ADDRESS also counts")
    memory: Size = Field(
        default=2 * 1024**3,
        json_schema_extra={"default": "2GiB"},
        description="For all that a run does on a machine; shards in flight follow from it",
    )
    cpus_per_shard: Annotated[Number, Field(gt=0, le=1024)] = Field(default=1, description="Processors that one shard reserves")
    resources: dict[ResourceName, Annotated[Number, Field(gt=0)]] = Field(
        default={}, description="Custom resources of a Ray cluster that one shard reserves, such as {fast_disk: 1}"
    )
    retries: RetriesSection = Field(default_factory=dict, validate_default=True, description="What happens when a shard fails")
    shard_timeout: PositiveDuration = Field(
        default=1_800_000_000,
        json_schema_extra={"default": "30m"},
        description="A shard that takes longer is stopped and tried again",
    )


class PipelineSection(Section):
    """One pipeline: where events come from, how rows are cleaned, which tables come out."""

    name: Identifier = Field(description="The pipeline's identity in the ledger")
    description: str = Field(default="", description="What the pipeline is for")
    time: TimeSection = Field(description="Event time and shards")
    source: SourceValue = Field(description="Where events come from")
    inputs: dict[Identifier, InputSection] = Field(
        default={}, description="Further inputs by the name under which the SQL of outputs sees them beside `rows`"
    )
    quality: QualitySection = Field(
        default_factory=dict, validate_default=True, description="Rules on rows and checks on contributions"
    )
    transform: list[StepValue] = Field(default=[], description="Steps, in order")
    outputs: list[OutputValue] = Field(min_length=1, description="The tables that come out, and views of them")
    destination: Annotated[DuckDBSection, known_kind("duckdb")] = Field(description="Where tables go")
    run: RunSection = Field(default_factory=dict, validate_default=True, description="How the work is done")
