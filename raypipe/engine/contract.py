"""Contract: the source's columns become the named, typed ones; rows that do not fit are set aside, drift is decided per file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

import polars as pl

from raypipe.core.datatype import DataType
from raypipe.engine.batches import PLACEMENT, SHARD_INDEX, Batch, user_columns
from raypipe.engine.casts import Fit, checked_cast, fit
from raypipe.engine.quality import Books, Breach, settle
from raypipe.engine.text_types import polars_type
from raypipe.errors import SchemaDrift
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Column, Source
from raypipe.ports import SOURCE_COLUMN

VALUE_CHARS_MAX = 100  # of a value in an error message


@dataclass(frozen=True, slots=True)
class ContractPlan:
    """How batches of one schema are brought to the contract. `drift` says what is against it, in words."""

    fits: Mapping[str, Fit]
    drift: tuple[str, ...] = ()
    fatal: bool = False
    """No policy can help: a type that has nothing in common with the contract's, or an extra column that is forbidden."""
    kept: tuple[str, ...] = ()
    """Columns beyond the contract that go along."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract of a source. Text formats are read value by value; the types of Parquet are checked once per file."""

    source: Source
    zone: str
    _plans: dict[tuple[tuple[str, str], ...], ContractPlan] = field(default_factory=dict, compare=False)

    def plan(self, schema: Mapping[str, pl.DataType]) -> ContractPlan:
        """Decide, from the columns of a file alone, how its rows are read and whether it drifted."""
        key = tuple((name, str(dtype)) for name, dtype in schema.items())
        if key not in self._plans:
            self._plans[key] = self._planned(schema)
        return self._plans[key]

    def _planned(self, schema: Mapping[str, pl.DataType]) -> ContractPlan:
        columns = self.source.columns
        extra = tuple(name for name in schema if name not in columns)
        if not columns:
            return ContractPlan({}, kept=extra)
        if extra and self.source.extra_columns == "fail":
            return ContractPlan({}, (f"{_listed(extra)} not in the contract (extra_columns: fail)",), fatal=True)
        fits = {name: fit(schema[name], column.type, self.zone) for name, column in columns.items() if name in schema}
        drift = [text for name, column in columns.items() if (text := self._drift(name, column, schema, fits.get(name)))]
        fatal = self.source.format == "parquet" and Fit.NEVER in fits.values()
        return ContractPlan(fits, tuple(drift), fatal, extra if self.source.extra_columns == "keep" else ())

    def _drift(self, name: str, column: Column, schema: Mapping[str, pl.DataType], found: Fit | None) -> str | None:
        if found is None:
            return None if self.source.format == "jsonl" else f"column {name!r} is missing"
        if self.source.format == "parquet" and found in (Fit.BY_VALUE, Fit.NEVER):
            return f"column {name!r} is {schema[name]}, expected {column.type}"
        return None

    def apply(self, batch: Batch, books: Books) -> Batch:
        """Return the batch with the contract's columns in its order; rows that break it are accounted for."""
        dtypes = batch.frame.schema  # built anew at each look
        plan = self.plan({name: dtypes[name] for name in user_columns(batch.frame)})
        if plan.drift and (plan.fatal or self.source.on_drift != "evolve"):
            return self._drifted(batch, plan, books)
        if not self.source.columns:
            return batch
        self._warn(batch, plan, books)
        typed, breaches = self._convert(batch.frame, plan)
        return settle(batch.with_frame(typed), breaches, books)

    def _warn(self, batch: Batch, plan: ContractPlan, books: Books) -> None:
        """Tell of what `evolve` let through: nulls of a missing column are never silent."""
        if not plan.drift:
            return
        text = f"{', '.join(self._uris(batch, books))}: {'; '.join(plan.drift)} (on_drift: evolve)"
        for shard in batch.frame[SHARD_INDEX].unique().to_list():
            if text not in books.tally.warnings[shard]:
                books.tally.warnings[shard].append(text)

    def _uris(self, batch: Batch, books: Books) -> list[str]:
        return sorted({books.quarantine.uris[one] for one in batch.frame[SOURCE_COLUMN].unique().to_list()})

    def _drifted(self, batch: Batch, plan: ContractPlan, books: Books) -> Batch:
        """Fail the shards that have rows of the file, or set these rows aside."""
        text = f"{', '.join(self._uris(batch, books))}: {'; '.join(plan.drift)}"
        if self.source.on_drift == "quarantine" and not (plan.fatal and self.source.extra_columns == "fail"):
            everything = pl.repeat(True, batch.frame.height, dtype=pl.Boolean, eager=True)
            settled = settle(batch, [Breach("drift", everything, lambda places: [text] * len(places))], books)
            return settled.with_frame(self.empty(settled.frame, plan))
        advice = "change the contract, or set source.on_drift to evolve or quarantine"
        for shard in batch.frame[SHARD_INDEX].unique().to_list():
            books.tally.fail(shard, SchemaDrift.code, f"{text}; {advice}")
        return batch.with_frame(self.empty(batch.frame, plan))

    def empty(self, frame: pl.DataFrame, plan: ContractPlan) -> pl.DataFrame:
        """Return no rows with the contract's columns."""
        typed = [pl.lit(None, dtype=polars_type(one.type)).alias(name) for name, one in self.source.columns.items()]
        return frame.clear().select(*typed, *plan.kept, *PLACEMENT) if typed else frame.clear()

    def _convert(self, frame: pl.DataFrame, plan: ContractPlan) -> tuple[pl.DataFrame, list[Breach]]:
        columns: list[pl.Series] = []
        breaches: list[Breach] = []
        for name, column in self.source.columns.items():
            values = frame[name] if name in plan.fits else pl.Series(name, [None] * frame.height, dtype=pl.Null)
            typed, broken = converted(values, column.type, self.zone)
            columns.append(typed)
            if broken is not None:
                breaches.append(Breach(f"type_{name}", broken, type_errors(values, column.type)))
            if column.required and values.has_nulls():
                breaches.append(Breach(f"required_{name}", values.is_null(), _required_errors(name)))
        kept = [frame[name] for name in plan.kept]
        return pl.DataFrame([*columns, *kept, *(frame[name] for name in PLACEMENT)]), breaches


def converted(values: pl.Series, kind: DataType, zone: str) -> tuple[pl.Series, pl.Series | None]:
    """Convert a column, and tell which values the type cannot hold (None when all fit)."""
    if values.dtype == polars_type(kind):
        return values, None
    if fit(values.dtype, kind, zone) is Fit.NEVER:
        typed = pl.Series(values.name, [None] * len(values), dtype=polars_type(kind))
    else:
        typed = checked_cast(values, kind, zone).rename(values.name)
    if typed.null_count() == values.null_count():
        return typed, None
    return typed, typed.is_null() & values.is_not_null()


def type_errors(values: pl.Series, kind: DataType) -> Callable[[pl.Series], list[str]]:
    """Return a function that says, for places of a column, what stands there and what was expected."""

    def errors(places: pl.Series) -> list[str]:
        texts = [repr(one)[:VALUE_CHARS_MAX] for one in values.gather(places).to_list()]
        return [f"{values.name}: got {text}, expected {kind}" for text in texts]

    return errors


def _required_errors(name: str) -> Callable[[pl.Series], list[str]]:
    return lambda places: [f"{name}: got no value, but it is required"] * len(places)


def _listed(names: Sequence[str]) -> str:
    word = "column" if len(names) == 1 else "columns"
    return f"{word} {', '.join(map(repr, names))} {'is' if len(names) == 1 else 'are'}"
