"""Steps: each kind of step of the configuration, bound to the columns that reach it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from raypipe.engine.batches import HIDDEN, Batch, rows_where, with_series
from raypipe.engine.casts import Fit, fit
from raypipe.engine.column_names import refuse_reserved, require_columns
from raypipe.engine.contract import converted, type_errors
from raypipe.engine.expressions import compile_conditions, compile_expressions
from raypipe.engine.lookup import Reference, datatype_of
from raypipe.engine.python_step import BoundPython, UserFunction
from raypipe.engine.quality import Books, Breach, settle
from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import (
    Cast,
    Deduplicate,
    Derive,
    Drop,
    FillNull,
    Filter,
    Flatten,
    Lookup,
    PythonStep,
    Rename,
    Rule,
    Select,
    Step,
)

BoundStep = Callable[[Batch, Books], Batch]
"""A step that knows its columns: rows in, rows out, and every row that went elsewhere is in the books."""


def bind_rules(rules: tuple[Rule, ...], schema: pl.Schema) -> BoundStep:
    """Compile the row rules: one boolean a rule, rows split once."""
    conditions = compile_conditions({one.name: one.expect for one in rules}, schema, where="quality.rules")
    breaks = [~pl.col(rule.name).fill_null(rule.nulls == "pass") for rule in rules]

    def apply(batch: Batch, books: Books) -> Batch:
        broken = conditions.evaluate(batch.frame, *breaks)
        breaches = [Breach(rule.name, broken[rule.name], _expected(rule), rule.otherwise) for rule in rules]
        return settle(batch, breaches, books)

    return apply


def _expected(rule: Rule) -> Callable[[pl.Series], list[str]]:
    return lambda places: [f"expected {rule.expect}"] * len(places)


def bind_filter(step: Filter, schema: pl.Schema, where: str) -> BoundStep:
    """Compile a filter; what it drops is counted under its name."""
    conditions = compile_conditions({step.name: step.condition}, schema, where=f"{where}.filter")

    def apply(batch: Batch, books: Books) -> Batch:
        keep = conditions.evaluate(batch.frame)[step.name].fill_null(False)
        if keep.all():
            return batch
        books.tally.filtered[step.name].update(books.tally.counts_where(batch.frame, ~keep))
        return batch.with_frame(rows_where(batch.frame, keep))

    return apply


def bind_derive(step: Derive, schema: pl.Schema, where: str) -> BoundStep:
    """Compile new columns, all from the rows before the step."""
    refuse_reserved(f"{where}.derive", step.columns)
    values = compile_expressions(step.columns, schema, where=f"{where}.derive")
    return lambda batch, _: batch.with_frame(with_series(batch.frame, *values.evaluate(batch.frame).get_columns()))


def bind_cast(step: Cast, schema: pl.Schema, where: str, zone: str) -> BoundStep:
    """Prepare casts; a value that cannot be cast sets its row aside under `cast_<column>`."""
    require_columns(f"{where}.cast", step.columns, schema)
    hopeless = [f"{where}.cast: {name!r} is {schema[name]}, which cannot become {kind}" for name, kind in step.columns.items()
                if fit(schema[name], kind, zone) is Fit.NEVER]  # fmt: skip
    if hopeless:
        raise ConfigurationError(hopeless)

    def apply(batch: Batch, books: Books) -> Batch:
        casts, breaches = [], []
        for name, kind in step.columns.items():
            values = batch.frame[name]
            typed, broken = converted(values, kind, zone)
            casts.append(typed)
            if broken is not None:
                breaches.append(Breach(f"cast_{name}", broken, type_errors(values, kind)))
        return settle(batch.with_frame(with_series(batch.frame, *casts)), breaches, books)

    return apply


def bind_rename(step: Rename, schema: pl.Schema, where: str) -> BoundStep:
    """Prepare new names; two columns may not end up with one."""
    require_columns(f"{where}.rename", step.columns, schema)
    refuse_reserved(f"{where}.rename", step.columns.values())
    after = [step.columns.get(name, name) for name in schema]
    twice = sorted({name for name in after if after.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{where}.rename: two columns would be named {', '.join(map(repr, twice))}")
    return lambda batch, _: batch.with_frame(batch.frame.rename(dict(step.columns)))


def bind_fill_null(step: FillNull, schema: pl.Schema, where: str, zone: str) -> BoundStep:
    """Prepare the constants in the types of their columns."""
    require_columns(f"{where}.fill_null", step.columns, schema)
    fills = [
        pl.col(name).fill_null(_constant(f"{where}.fill_null", name, value, schema[name], zone)).alias(name)
        for name, value in step.columns.items()
    ]
    return lambda batch, _: batch.with_frame(batch.frame.with_columns(fills))


def _constant(what: str, name: str, value: Any, dtype: pl.DataType, zone: str) -> pl.Series:
    kind = datatype_of(dtype)
    given = pl.Series(name, [value], strict=False)
    if given.dtype == dtype:
        return given
    if kind is not None and not given.has_nulls() and fit(given.dtype, kind, zone) is not Fit.NEVER:
        typed, broken = converted(given, kind, zone)
        if broken is None and typed.dtype == dtype:
            return typed
    raise ConfigurationError(f"{what}: {name}: got {value!r}, but the column is {dtype}")


def bind_drop(step: Drop, schema: pl.Schema, where: str) -> BoundStep:
    """Prepare the removal of columns."""
    require_columns(f"{where}.drop", step.columns, schema)
    return lambda batch, _: batch.with_frame(batch.frame[[one for one in batch.frame.columns if one not in step.columns]])


def bind_select(step: Select, schema: pl.Schema, where: str) -> BoundStep:
    """Prepare the choice of columns, in its order."""
    require_columns(f"{where}.select", step.columns, schema)

    def apply(batch: Batch, _: Books) -> Batch:
        hidden = [name for name in batch.frame.columns if name in HIDDEN]
        return batch.with_frame(batch.frame[[*step.columns, *hidden]])

    return apply


def bind_flatten(step: Flatten, schema: pl.Schema, where: str) -> BoundStep:
    """Prepare the fields of struct columns, each in the place of its struct; no two columns may end up with one name."""
    require_columns(f"{where}.flatten", step.columns, schema)
    for name in step.columns:
        if not isinstance(schema[name], pl.Struct):
            raise ConfigurationError(f"{where}.flatten: column {name!r} is {schema[name]}, expected a struct")
    after = [one for name, dtype in schema.items() for one in (_fields(dtype) if name in step.columns else [name])]
    refuse_reserved(f"{where}.flatten", after)
    twice = sorted({name for name in after if after.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{where}.flatten: two columns would be named {', '.join(map(repr, twice))}: rename one before")
    return lambda batch, _: batch.with_frame(batch.frame.unnest(step.columns))


def _fields(dtype: pl.DataType) -> list[str]:
    return [field.name for field in dtype.fields] if isinstance(dtype, pl.Struct) else []


RowStep = Filter | Derive | Cast | Rename | FillNull | Lookup | PythonStep | Flatten | Drop | Select


@dataclass(frozen=True, slots=True)
class StepBinder:
    """Binds a step to the columns that reach it. `reference` and `function` bring what stands outside the pipeline."""

    zone: str
    folder: Path
    reference: Callable[[Lookup], Reference]
    function: Callable[[str], UserFunction]

    def bind(self, step: RowStep, schema: pl.Schema, where: str) -> BoundStep:
        """Return the step, ready for batches of these columns. Raises ConfigurationError that names the place `where`."""
        match step:
            case Filter():
                return bind_filter(step, schema, where)
            case Derive():
                return bind_derive(step, schema, where)
            case Cast() | FillNull():
                bind = bind_cast if isinstance(step, Cast) else bind_fill_null
                return bind(step, schema, where, self.zone)  # type: ignore[arg-type]
            case Lookup():
                return self.reference(step).bind(schema, where)
            case PythonStep():
                return BoundPython(step, self.function(step.function), self.folder)
            case _:
                return _bind_names(step, schema, where)


def _bind_names(step: Rename | Flatten | Drop | Select, schema: pl.Schema, where: str) -> BoundStep:
    match step:
        case Flatten():
            return bind_flatten(step, schema, where)
        case Rename():
            return bind_rename(step, schema, where)
        case Drop():
            return bind_drop(step, schema, where)
        case Select():
            return bind_select(step, schema, where)


def describe(step: Step) -> str:
    """Return the step in a few words, for messages and for `sample`."""
    match step:
        case Filter():
            return f"filter {step.name}"
        case Lookup():
            return f"lookup {Path(step.path).name}"
        case PythonStep():
            return f"python {step.function}"
        case Deduplicate():
            return f"deduplicate {', '.join(step.key)}"
        case FillNull():
            return f"fill_null {', '.join(step.columns)}"
        case _:
            return f"{type(step).__name__.lower()} {', '.join(step.columns)}"
