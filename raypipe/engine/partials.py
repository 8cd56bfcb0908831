"""Partials: what one shard keeps of each measure of a combined table, as DuckDB SQL over columns that Polars has made.

`rows` holds `group_<n>` and `argument_<n>`, the results of the row expressions in the order of the output, and for first and
last the event time, source and position of each row. Nulls do not count in any measure but count(*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl
import pyarrow as pa

from raypipe.core.digest import quote
from raypipe.core.merge import RANKS, REGISTERS, TIE_COLUMNS, Measure
from raypipe.core.merge_sql import highest_ranks
from raypipe.engine.batches import shard_column
from raypipe.engine.distinct_values import is_settled_here
from raypipe.engine.expression_types import type_name
from raypipe.engine.expressions import Compiled, compile_expressions
from raypipe.engine.quantile_buckets import buckets
from raypipe.errors import ConfigurationError
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import ROWS, GroupByOutput
from raypipe.ports import POSITION_COLUMN, SOURCE_COLUMN, TIME_COLUMN

_TIES = ("row_time", "row_source", "row_position")  # TIE_COLUMNS are hidden from the SQL of outputs
_NUMBERS = frozenset({"sum", "avg", "variance", "stddev", "approx_quantile"})
_BOOLEANS = frozenset({"bool_and", "bool_or"})
_HASH_BITS_LEFT = 53  # of 64, once 11 have chosen one of 2048 registers


@dataclass(frozen=True, slots=True)
class Partials:
    """The row expressions of one output, compiled for one schema."""

    output: GroupByOutput
    groups: Compiled
    arguments: Compiled
    measures: tuple[Measure, ...]

    def columns(self, frame: pl.DataFrame) -> list[pl.Series]:
        """Return what the SQL reads of a frame, but for the columns that settle ties."""
        groups = self.groups.evaluate(frame)
        found = [_plain_zero(one).alias(f"group_{place}") for place, one in enumerate(groups)]
        arguments = self.arguments.evaluate(frame)
        for place, measure in enumerate(self.measures):
            if measure.argument is not None:
                values = _plain_zero(arguments[measure.name])
                values = buckets(values) if measure.function == "approx_quantile" else values
                found.append(values.alias(f"argument_{place}"))
        return found

    @property
    def needs_ties(self) -> bool:
        """Whether a measure asks which row was first."""
        return any(one.function in ("first", "last") for one in self.measures)

    @property
    def unsettled(self) -> frozenset[str]:
        """The columns that the SQL leaves as lists of all values; in a contribution each stands once, in order."""
        return frozenset(one.partial("values") for one in self.measures if self._settles_later(one))

    def _settles_later(self, measure: Measure) -> bool:
        return measure.function == "count_distinct" and is_settled_here(self.arguments.schema[measure.name])

    def sql(self) -> str:
        """Return the SELECT of the contribution of one shard, but for what is `unsettled` in it."""
        groups = [f"group_{place} AS {quote(name)}" for place, name in enumerate(self.output.group_by)]
        parts = [
            f"{sql} AS {quote(measure.partial(part))}"
            for place, measure in enumerate(self.measures)
            for part, sql in self._parts(measure)(f"argument_{place}" if measure.argument else "*").items()
        ]
        counted = (
            f"SELECT {', '.join([*groups, *parts])} FROM {ROWS} GROUP BY {', '.join(f'group_{n}' for n in range(len(groups)))}"
        )
        sketches = [quote(one.partial("registers")) for one in self.measures if one.function == "approx_count_distinct"]
        if not sketches:
            return counted
        return f"SELECT * REPLACE ({', '.join(f'{highest_ranks(one)} AS {one}' for one in sketches)}) FROM ({counted})"

    def _parts(self, measure: Measure) -> Callable[[str], Mapping[str, str]]:
        return _listed if self._settles_later(measure) else _PARTS[measure.function]


def compile_partials(output: GroupByOutput, schema: pl.Schema) -> Partials:
    """Check the row expressions of an output against a schema. Raises ConfigurationError with every mistake."""
    measures = output.merge.measures
    where = f"outputs.{output.table}"
    groups = compile_expressions(output.group_by, schema, where=f"{where}.group_by")
    texts = {one.name: one.argument for one in measures if one.argument is not None}
    arguments = compile_expressions(texts, schema, where=f"{where}.measures")
    problems = [
        f"{where}.measures.{one.name}: {output.measures[one.name]!r}: {problem}"
        for one in measures
        if one.argument is not None and (problem := _unfit(one, arguments.schema[one.name]))
    ]
    if problems:
        raise ConfigurationError(problems)
    return Partials(output, groups, arguments, measures)


def narrow(partials: Partials, frame: pl.DataFrame, starts: pl.Series, places: pl.Series, uris: pl.Series) -> pa.Table:
    """Return what the SQL reads of a frame's rows, and `_shard`. `places` are the places of the rows' shards in `starts`."""
    columns = partials.columns(frame)
    if partials.needs_ties:
        columns += [one.alias(name) for one, name in zip(tie_columns(frame, uris), _TIES, strict=True)]
    columns.append(shard_column(starts, places))
    return pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.newest())


def tie_columns(frame: pl.DataFrame, uris: pl.Series) -> list[pl.Series]:
    """Return TIE_COLUMNS of a frame's rows, the source by its URI, which is the same in every task."""
    time, source, position = TIE_COLUMNS
    return [
        frame[TIME_COLUMN].cast(pl.Datetime("us")).alias(time),
        uris[frame[SOURCE_COLUMN]].alias(source),
        frame[POSITION_COLUMN].alias(position),
    ]


def _plain_zero(values: pl.Series) -> pl.Series:
    """Make -0.0 of floats 0.0: engines take them for equal, and which of the two they keep depends on the order of rows."""
    if not values.dtype.is_float():
        return values
    given = pl.lit(values)
    return pl.select(pl.when(given == 0).then(0.0).otherwise(given).cast(values.dtype).alias(values.name)).to_series()


def _unfit(measure: Measure, dtype: pl.DataType) -> str | None:
    if measure.function in _NUMBERS and not dtype.is_numeric():
        return f"expected numbers, got {type_name(dtype)}"
    if measure.function in _BOOLEANS and not isinstance(dtype, pl.Boolean):
        return f"expected a condition (bool), got {type_name(dtype)}"
    return None


# ---- the SQL of each measure's partials; `x` is the argument ------------------------------------------------


def _spread(x: str) -> dict[str, str]:
    return {"count": f"count({x})", "mean": f"avg({x}::DOUBLE)", "m2": f"var_pop({x}::DOUBLE) * count({x})"}


def _chosen(aggregate: str) -> Callable[[str], dict[str, str]]:
    ties = f"({', '.join(_TIES)})"

    def parts(x: str) -> dict[str, str]:
        return {
            "value": f"{aggregate}({x}, {ties})",
            **{
                part: f"{aggregate}({column}, {ties}) FILTER ({x} IS NOT NULL)"
                for part, column in zip(("time", "source", "position"), _TIES, strict=True)
            },
        }

    return parts


def _registers(x: str) -> dict[str, str]:
    """The entries that HyperLogLog knows: of each value, the register that its hash names and how many zeros follow."""
    value_hash = f"md5_number_lower({x}::VARCHAR)"
    rest = f"(({value_hash} // {REGISTERS})::BIGINT)"
    rank = f"least(bit_count(xor({rest}, {rest} - 1)), {_HASH_BITS_LEFT + 1})"
    entry = f"(({value_hash} % {REGISTERS})::INTEGER * {RANKS} + {rank})::INTEGER"
    return {"registers": f"list_sort(list(DISTINCT {entry}) FILTER ({x} IS NOT NULL))"}


def _listed(x: str) -> dict[str, str]:
    return {"values": f"list({x}) FILTER ({x} IS NOT NULL)"}


_PARTS: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "count": lambda x: {"count": f"count({x})"},
    "count_distinct": lambda x: {"values": f"list_sort(list(DISTINCT {x}) FILTER ({x} IS NOT NULL))"},
    "sum": lambda x: {"sum": f"sum({x})"},
    "avg": lambda x: {"sum": f"sum({x})", "count": f"count({x})"},
    "min": lambda x: {"min": f"min({x})"},
    "max": lambda x: {"max": f"max({x})"},
    "variance": _spread,
    "stddev": _spread,
    "bool_and": lambda x: {"all": f"bool_and({x})"},
    "bool_or": lambda x: {"any": f"bool_or({x})"},
    "first": _chosen("arg_min"),
    "last": _chosen("arg_max"),
    "approx_count_distinct": _registers,
    "approx_quantile": lambda x: {"buckets": f"map_entries(histogram({x}))"},
}
