"""The steps of a transform as pydantic models: one key of each names the step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from raypipe.config.section import Section, told_apart_by
from raypipe.config.values import (
    ColumnName,
    ColumnNames,
    Constant,
    FilePath,
    FunctionName,
    Identifier,
    NameMapping,
    NewColumnName,
    NewNameMapping,
    Sql,
    TypeWord,
)


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
    as_of: ColumnName | None = Field(
        default=None,
        description="A column of the file: a row of it is valid from this time until the next of the same key, by our event time",
    )


class LookupStep(Section):
    """Join columns of a reference file."""

    lookup: LookupSection = Field(description="The reference file, its key and columns")


class PythonStep(Section):
    """Call a function of a module beside the configuration: LazyFrame -> LazyFrame, row-wise."""

    python: FunctionName = Field(description="module:function")
    rows: Literal["same", "fewer", "more"] = Field(default="same", description="What the function may do to the number of rows")


class ExplodeStep(Section):
    """Make a row of each element of a list."""

    explode: ColumnName = Field(description="A column of lists; each row becomes a row for each element")
    empty: Literal["keep", "drop"] = Field(
        default="keep", description="A row whose list is empty or null: keep it with a null element, or drop and count it"
    )


class FlattenStep(Section):
    """Put the fields of struct columns in the place of these."""

    flatten: ColumnNames = Field(description="Struct columns, whose fields become columns under their own names")


class DropStep(Section):
    """Remove columns."""

    drop: ColumnNames = Field(description="Columns to remove")


class SelectStep(Section):
    """Keep these columns, in this order."""

    select: ColumnNames = Field(description="Columns to keep")


StepButFilter = (
    DeduplicateStep
    | DeriveStep
    | CastStep
    | RenameStep
    | FillNullStep
    | LookupStep
    | PythonStep
    | ExplodeStep
    | FlattenStep
    | DropStep
    | SelectStep
)
AnyStep = FilterStep | StepButFilter
STEP_WORDS = (
    "filter", "deduplicate", "derive", "cast", "rename", "fill_null", "lookup", "python", "explode", "flatten", "drop", "select",
)  # fmt: skip

_STEP_TAG, _STEP_CHECK = told_apart_by(STEP_WORDS, "step")

StepValue = Annotated[
    Annotated[FilterStep, Tag("filter")]
    | Annotated[DeduplicateStep, Tag("deduplicate")]
    | Annotated[DeriveStep, Tag("derive")]
    | Annotated[CastStep, Tag("cast")]
    | Annotated[RenameStep, Tag("rename")]
    | Annotated[FillNullStep, Tag("fill_null")]
    | Annotated[LookupStep, Tag("lookup")]
    | Annotated[PythonStep, Tag("python")]
    | Annotated[ExplodeStep, Tag("explode")]
    | Annotated[FlattenStep, Tag("flatten")]
    | Annotated[DropStep, Tag("drop")]
    | Annotated[SelectStep, Tag("select")],
    _STEP_TAG,
    _STEP_CHECK,
]
