"""The shape of a configuration as pydantic models: what each section may hold, with the words that the JSON Schema shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from raypipe.config.problems import Unfit, nearest_of
from raypipe.config.values import (
    ColumnName,
    ColumnNames,
    Constant,
    Duration,
    Encoding,
    FilePath,
    FilePaths,
    Flag,
    FunctionName,
    Identifier,
    Instant,
    LocalPath,
    NameMapping,
    NewColumnName,
    NewNameMapping,
    Number,
    OneCharacter,
    PositiveDuration,
    Rate,
    ShardWidth,
    Size,
    Sql,
    TimeFormat,
    TypeWord,
    Whole,
    Zone,
)


class Section(BaseModel):
    """A mapping with known keys; all others are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def _kind(*known: str) -> BeforeValidator:
    """Refuse an unknown kind by itself: what else stands in its section cannot be judged."""

    def check(value: Any) -> Any:
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind is not None and kind not in known:
            raise Unfit(f"a known kind: {', '.join(known)}", nearest=nearest_of(str(kind), known), below=("kind",))
        return value

    return BeforeValidator(check)


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
    delay: Duration = Field(
        default=0,
        json_schema_extra={"default": "0s"},
        description="Without `end`: a shard is ready once its end and this delay have passed",
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
    checks: list[CheckSection] = Field(default=[], description="Conditions on each shard's contribution, before it is visible")


# ---- steps: the first key names the step ------------------------------------------------------------------


class FilterStep(Section):
    """Keep the rows for which the condition is true."""

    filter: Sql = Field(description="A row expression")
    name: Identifier | None = Field(default=None, description="The ledger counts under this name what the filter drops")


class DeduplicateSection(Section):
    """Keep one row a key within the shard."""

    key: ColumnNames = Field(description="Columns that make two rows the same")
    latest_by: ColumnNames | None = Field(
        default=None, description="The row with the greatest values is kept; then by event time, source, position"
    )


class DeduplicateStep(Section):
    """Keep one row a key, exactly, within the shard."""

    deduplicate: DeduplicateSection = Field(description="The key, and which row of equal ones is kept")


class DeriveStep(Section):
    """Add or replace columns by row expressions."""

    derive: dict[NewColumnName, Sql] = Field(min_length=1, description="Column -> row expression over the rows before the step")


class CastStep(Section):
    """Change the types of columns."""

    cast: dict[ColumnName, TypeWord] = Field(
        min_length=1, description="Column -> type; a value that cannot be cast breaks cast_<column>"
    )


class RenameStep(Section):
    """Rename columns."""

    rename: dict[ColumnName, NewColumnName] = Field(min_length=1, description="Old name -> new name")


class FillNullStep(Section):
    """Put a constant where a column is null."""

    fill_null: dict[ColumnName, Constant] = Field(min_length=1, description="Column -> constant")


class LookupSection(Section):
    """A reference file whose key is unique, and what is taken from it."""

    path: FilePath = Field(
        description="Parquet, CSV or JSON Lines; relative to this file's folder, or package:<package>/<path in it>"
    )
    on: NameMapping = Field(description="The key: a name, a list of names, or {ours: theirs}")
    columns: NewNameMapping = Field(description="What is added: names, or {new column: column of the file}")
    missing: Literal["keep", "quarantine", "fail"] = Field(
        default="keep", description="What becomes of a row whose key the file lacks"
    )


class LookupStep(Section):
    """Join columns of a reference file."""

    lookup: LookupSection = Field(description="The reference file, its key and columns")


class PythonStep(Section):
    """Call a function of a module beside the configuration: LazyFrame -> LazyFrame, row-wise."""

    python: FunctionName = Field(description="module:function")
    rows: Literal["same", "fewer", "more"] = Field(default="same", description="What the function may do to the number of rows")


class DropStep(Section):
    """Remove columns."""

    drop: ColumnNames = Field(description="Columns to remove")


class SelectStep(Section):
    """Keep these columns, in this order."""

    select: ColumnNames = Field(description="Columns to keep")


StepButFilter = (
    DeduplicateStep | DeriveStep | CastStep | RenameStep | FillNullStep | LookupStep | PythonStep | DropStep | SelectStep
)
AnyStep = FilterStep | StepButFilter
STEP_WORDS = ("filter", "deduplicate", "derive", "cast", "rename", "fill_null", "lookup", "python", "drop", "select")


# ---- outputs: `sql` or `rows` names the kind --------------------------------------------------------------


class SqlSection(Section):
    """A table of the rows that SQL yields for each shard."""

    table: Identifier = Field(description="Name of the table at the destination")
    sql: Sql = Field(description="DuckDB SQL over `rows`, this shard's transformed rows")


class RowsSection(Section):
    """A table of the transformed rows."""

    table: Identifier = Field(description="Name of the table at the destination")
    rows: Literal["all"] = Field(description="Which of the transformed rows")


AnyOutput = SqlSection | RowsSection
OUTPUT_WORDS = ("sql", "rows")


def _words_in(value: Any, words: tuple[str, ...]) -> list[str]:
    return [word for word in words if word in value]


def _tagged(words: tuple[str, ...], noun: str) -> tuple[Discriminator, BeforeValidator]:
    """Tell the members of a union apart by the one key that names them."""

    def word(value: Any) -> str:
        return next(iter(_words_in(value, words)), "")

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            near = nearest_of(value, words) if isinstance(value, str) else None
            raise Unfit(f"keys and values with one of the keys {', '.join(words)}", nearest=near)
        found = _words_in(value, words)
        if len(found) == 1:
            return value
        if found:
            raise Unfit(f"one {noun} an item; this one has {' and '.join(found)}")
        near = next(filter(None, (nearest_of(str(key), words) for key in value)), None)
        keys = ", ".join(str(key) for key in value) or "none"
        raise Unfit(f"one of the keys {', '.join(words)}; the keys here are: {keys}", nearest=near)

    return Discriminator(word), BeforeValidator(check)


_STEP_TAG, _STEP_CHECK = _tagged(STEP_WORDS, "step")
_OUTPUT_TAG, _OUTPUT_CHECK = _tagged(OUTPUT_WORDS, "kind of output")

StepValue = Annotated[
    Annotated[FilterStep, Tag("filter")]
    | Annotated[DeduplicateStep, Tag("deduplicate")]
    | Annotated[DeriveStep, Tag("derive")]
    | Annotated[CastStep, Tag("cast")]
    | Annotated[RenameStep, Tag("rename")]
    | Annotated[FillNullStep, Tag("fill_null")]
    | Annotated[LookupStep, Tag("lookup")]
    | Annotated[PythonStep, Tag("python")]
    | Annotated[DropStep, Tag("drop")]
    | Annotated[SelectStep, Tag("select")],
    _STEP_TAG,
    _STEP_CHECK,
]
OutputValue = Annotated[Annotated[SqlSection, Tag("sql")] | Annotated[RowsSection, Tag("rows")], _OUTPUT_TAG, _OUTPUT_CHECK]


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
    retries: RetriesSection = Field(default_factory=RetriesSection, description="What happens when a shard fails")
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
    source: Annotated[FilesSection, _kind("files")] = Field(description="Where events come from")
    quality: QualitySection = Field(default_factory=QualitySection, description="Rules on rows and checks on contributions")
    transform: list[StepValue] = Field(default=[], description="Steps, in order")
    outputs: list[OutputValue] = Field(min_length=1, description="The tables that come out")
    destination: Annotated[DuckDBSection, _kind("duckdb")] = Field(description="Where tables go")
    run: RunSection = Field(default_factory=RunSection, description="How the work is done")
