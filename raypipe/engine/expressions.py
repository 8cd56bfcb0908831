"""Row expressions: Polars SQL, checked against the schema before a row is read; a row's result never depends on its batch.

What Polars does, and raypipe keeps: `/` of integers gives a double (by zero: inf or NaN), `//` and `%` of integers by
zero give null, `//` truncates towards zero, decimals divided by zero are an error, NaN is greater than any number.
What raypipe adds: integer overflow is an error (integer_bounds), text meets numbers only through CAST, CAST of a value
that does not fit is an error that shows it (TRY_CAST gives null), and all branches of CASE are computed for every row, so
that a CAST inside one should be a TRY_CAST.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field

import polars as pl

from raypipe.engine.expression_syntax import parse
from raypipe.engine.expression_tree import Node, column_sql
from raypipe.engine.expression_types import TABLE, Typing, engine_reason, family, type_name
from raypipe.engine.expression_words import Refused
from raypipe.engine.integer_bounds import exact_sql, fold
from raypipe.errors import ConfigurationError, TransformFailed
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Compiled:
    """Named row expressions over one schema, ready to run on any batch of it."""

    schema: pl.Schema
    """The type of each result."""
    where: str
    texts: Mapping[str, str]
    """As the user wrote them."""
    reads: Mapping[str, pl.DataType]
    """The columns that are read, with the types that they were checked for."""
    _sql: Mapping[str, str] = field(repr=False)
    _columns: Mapping[str, str] = field(repr=False)
    """By result, the column that it is, where it is nothing more."""

    def evaluate(self, frame: pl.DataFrame, *made_of: pl.Expr) -> pl.DataFrame:
        """Return the result columns only, or what is made of them, one row for each row of the frame, in order.

        Raises TransformFailed for a value that cannot be computed: overflow, a failed CAST, decimal division by zero.
        """
        if not self._sql:
            return frame.select()
        given = frame.schema
        for name, dtype in self.reads.items():
            if given.get(name) != dtype:
                got = given.get(name)
                raise TransformFailed(
                    f'{self.where}: column "{name}" was checked as {type_name(dtype)}, got {got and type_name(got)}'
                )
        if len(self._columns) == len(self._sql) and not made_of:
            return pl.DataFrame([frame[column].alias(name) for name, column in self._columns.items()])
        try:
            return _select(frame, self._sql, made_of)
        except pl.exceptions.PolarsError as error:
            raise self._failure(frame, error) from error
        except pl.exceptions.PanicException as error:  # not an Exception: an engine's panic fails the shard, not the process
            raise TransformFailed(f"{self.where}: the engine panicked: {engine_reason(error)}") from error

    def _failure(self, frame: pl.DataFrame, error: pl.exceptions.PolarsError) -> TransformFailed:
        """Find the expression that failed, by running them one by one."""
        for name, sql in self._sql.items():
            try:
                _select(frame, {name: sql})
            except pl.exceptions.PolarsError as found:
                return TransformFailed(f"{self.where}.{name}: {self.texts[name]!r}: {_explain(found)}")
        return TransformFailed(f"{self.where}: {_explain(error)}")


def compile_expressions(expressions: Mapping[str, str], schema: pl.Schema, *, where: str) -> Compiled:
    """Check expressions against a schema; raises ConfigurationError with one text for each that is wrong.

    `where` is the place in the configuration that the texts name, such as `transform[2].derive`.
    """
    return _compile(expressions, schema, where, conditions=False)


def compile_conditions(conditions: Mapping[str, str], schema: pl.Schema, *, where: str) -> Compiled:
    """Check expressions that must each be true, false or null; otherwise as `compile_expressions`."""
    return _compile(conditions, schema, where, conditions=True)


def _compile(expressions: Mapping[str, str], schema: pl.Schema, where: str, *, conditions: bool) -> Compiled:
    typing, samples = Typing(pl.Schema(schema)), _samples(pl.Schema(schema))
    problems: list[str] = []
    types: dict[str, pl.DataType] = {}
    sql: dict[str, str] = {}
    reads: dict[str, pl.DataType] = {}
    columns: dict[str, str] = {}
    for name, text in expressions.items():
        try:
            node = fold(parse(text))
            sql[name], types[name] = _checked(node, typing, samples, conditions=conditions)
            _columns(node, typing, reads)
            if node.kind == "column" and node.pieces == (column_sql([node.name]),):  # no field of a struct
                columns[name] = node.name
        except Refused as refused:
            problems.append(f"{where}.{name}: {text!r}, character {refused.position + 1}: {refused.reason}")
    if problems:
        raise ConfigurationError(problems)
    return Compiled(pl.Schema(types), where, dict(expressions), reads, sql, columns)


def _samples(schema: pl.Schema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return no row and a row of nulls."""
    empty = schema.to_frame()
    return empty, empty.select(pl.all().extend_constant(None, 1))


def _checked(
    node: Node, typing: Typing, samples: tuple[pl.DataFrame, pl.DataFrame], *, conditions: bool
) -> tuple[str, pl.DataType]:
    typing.check(node)
    dtype = typing.dtype(node)
    if conditions and not isinstance(dtype, pl.Boolean):
        raise Refused(node.position, f"expected a condition (bool), got {type_name(dtype)}")
    if family(dtype) == "null":
        raise Refused(node.position, "NULL has no type: write e.g. CAST(NULL AS BIGINT)")
    if isinstance(dtype, pl.Int128):
        raise Refused(
            node.position, "a mix of signed and unsigned 64-bit integers has no type of its own: CAST the result AS BIGINT"
        )
    sql = exact_sql(node, typing)
    _dry_run(node, sql, dtype, samples)
    return sql, dtype


def _dry_run(node: Node, sql: str, dtype: pl.DataType, samples: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    """Run on no row and on a row of nulls: Polars finds some type errors only when it runs."""
    for rows in samples:
        try:
            found = _select(rows, {"x": sql})
        except pl.exceptions.PolarsError as error:
            raise Refused(node.position, _explain(error)) from error
        if found.schema["x"] != dtype or found.height != rows.height:
            raise Refused(
                node.position,
                f"the engine is not sure of its type ({type_name(dtype)} or {type_name(found.schema['x'])}): CAST the result",
            )


def _columns(node: Node, typing: Typing, into: dict[str, pl.DataType]) -> None:
    if node.kind == "column":
        into[node.name] = typing.schema[node.name]
    for child in node.children:
        _columns(child, typing, into)


def _select(frame: pl.DataFrame, sql: Mapping[str, str], made_of: Sequence[pl.Expr] = ()) -> pl.DataFrame:
    """Run on the in-memory engine: the streaming engine does not promise the order of rows."""
    results = ", ".join(f"{text} AS {column_sql([name])}" for name, text in sql.items())
    found = frame.lazy().sql(f"SELECT {results} FROM {TABLE}", table_name=TABLE)
    return (found.select(made_of) if made_of else found).collect(engine="in-memory")


_CONVERSION = re.compile(r"conversion from `(.+?)` to `(.+?)` failed in column '.*' for (\d+) out of (\d+) values: (.*)")
_INTEGER = re.compile(r"([iu])(\d+)")


def _explain(error: BaseException) -> str:
    """Say in the user's words what Polars could not compute."""
    reason = engine_reason(error)
    match = _CONVERSION.search(reason)
    if match is None:
        return reason
    source, target, failed, rows, values = match.groups()
    where = f"({failed} of {rows} rows)"
    whole = _INTEGER.fullmatch(target)
    if whole and _INTEGER.fullmatch(source):
        kind = f"{'u' if whole[1] == 'u' else ''}int{whole[2]}"
        return f"integer overflow: {values} does not fit {kind} {where}; CAST the operands to a wider type if that is meant"
    if target.startswith(("date", "time")):
        return f"cannot read {values} as {target} {where}; a column that is declared as timestamp sets such rows aside"
    return f"cannot convert {values} from {source} to {target} {where}; TRY_CAST gives null instead"
