"""The types of row expressions, known before a row is read: what Polars would make of each operation, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from raypipe.engine.batches import HIDDEN
from raypipe.engine.expression_tree import Node
from raypipe.engine.expression_words import Refused, nearest
from raypipe.ports import SHARD_COLUMN

TABLE = "_raypipe_rows"
"""The name of the rows in the SQL that Polars sees; no expression can write it."""

_TEXT = "text"
_NUMBER = "number"
_MOMENT = "time"
_SPAN = "duration"
_NAMES: Mapping[type[pl.DataType] | pl.DataType, str] = {
    pl.String: "string",
    pl.Boolean: "bool",
    pl.Datetime("us"): "timestamp",
    pl.Datetime("us", "UTC"): "timestamptz",
    pl.Null: "null",
}


def type_name(dtype: pl.DataType) -> str:
    """Return the type in the words of a contract, such as `int64` or `timestamp`."""
    for known, name in _NAMES.items():
        if dtype == known:
            return name
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision},{dtype.scale})"
    return str(dtype).lower()


def family(dtype: pl.DataType) -> str:
    """Return what kind of values a type holds; only values of one family meet in an operator."""
    if dtype.is_numeric():
        return _NUMBER
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return _TEXT
    if isinstance(dtype, (pl.Date, pl.Datetime, pl.Time)):
        return _MOMENT
    return {pl.Boolean: "bool", pl.Duration: _SPAN, pl.Binary: "binary", pl.Null: "null"}.get(type(dtype), "nested")


def engine_reason(error: BaseException) -> str:
    """Return the first sentence of an engine's error, without its plan."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


_TIME_ARITHMETIC = {
    ("+", _MOMENT, _SPAN),
    ("+", _SPAN, _MOMENT),
    ("+", _SPAN, _SPAN),
    ("-", _MOMENT, _SPAN),
    ("-", _MOMENT, _MOMENT),
    ("-", _SPAN, _SPAN),
    ("negate", _SPAN),
}


class Typing:
    """Types of expressions over one schema, with a memory so that each operation is asked about once."""

    def __init__(self, schema: pl.Schema) -> None:
        self.schema = schema
        self._rows = schema.to_frame().lazy()
        self._known: dict[str, pl.DataType] = {}

    def dtype(self, node: Node) -> pl.DataType:
        """Return the type that Polars gives an operation; raises Refused with its reason."""
        text = node.sql()
        found = self._known.get(text)
        if found is None:
            try:
                found = self._rows.sql(f"SELECT {text} AS x FROM {TABLE}", table_name=TABLE).collect_schema()["x"]
            except pl.exceptions.PolarsError as error:
                raise Refused(node.position, engine_reason(error)) from error
            self._known[text] = found
        return found

    def family(self, node: Node) -> str:
        """Return the family of an operation's type."""
        return family(self.dtype(node))

    def check(self, node: Node) -> None:
        """Refuse what Polars would compute silently wrong, or refuse only at run time; innermost first."""
        for child in node.children:
            self.check(child)
        match node.kind:
            case "column":
                self._column(node)
            case "arithmetic" | "division":
                self._arithmetic(node)
            case "comparison":
                self._comparison(node)
            case "logic":
                self._booleans(node.children)
            case "choice":
                self._choice(node)
            case "cast" | "try_cast":
                self._cast(node)
            case "call":
                self._call(node)
            case _:
                self._bits_or_match(node)
        self.dtype(node)

    def _column(self, node: Node) -> None:
        if node.name in HIDDEN or node.name == SHARD_COLUMN:
            raise Refused(node.position, f'"{node.name}" is raypipe\'s own column: use the columns of the source')
        if node.name not in self.schema:
            names = [name for name in self.schema if name not in HIDDEN]
            raise Refused(node.position, f'no column "{node.name}"{nearest(node.name, names)}; columns: {", ".join(names)}')

    def _arithmetic(self, node: Node) -> None:
        kinds = [self.family(child) for child in node.children]
        if "null" in kinds or set(kinds) == {_NUMBER} or (node.name, *kinds) in _TIME_ARITHMETIC:
            return
        types = " and ".join(type_name(self.dtype(child)) for child in node.children)
        raise Refused(node.position, f"{_sign(node)} of {types}: {_advice(kinds)}")

    def _comparison(self, node: Node) -> None:
        for other in node.children[1:]:
            self._comparable(node, node.children[0], other)

    def _comparable(self, node: Node, left: Node, right: Node) -> None:
        kinds = {self.family(left), self.family(right)}
        if len(kinds) == 1 or "null" in kinds:
            return
        literal = left.kind == "string" or right.kind == "string"
        if kinds == {_MOMENT, _TEXT} and literal:
            return
        types = f"{type_name(self.dtype(left))} with {type_name(self.dtype(right))}"
        advice = "write the value without quotes, or CAST one side" if literal else "CAST one side"
        raise Refused(node.position, f"{_sign(node)} compares {types}: {advice}")

    def _booleans(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if self.family(node) not in ("bool", "null"):
                raise Refused(node.position, f"expected a condition (bool), got {type_name(self.dtype(node))}")

    def _choice(self, node: Node) -> None:
        self._booleans([child for index, child in enumerate(node.children) if index in node.conditions])
        values = [child for index, child in enumerate(node.children) if index not in node.conditions]
        typed = [child for child in values if self.family(child) != "null"]
        for child in typed[1:]:
            if self.family(child) != self.family(typed[0]):
                types = f"{type_name(self.dtype(typed[0]))} and {type_name(self.dtype(child))}"
                raise Refused(child.position, f"{node.name} mixes {types}: CAST one, or write a moment as TIMESTAMP '...'")

    def _cast(self, node: Node) -> None:
        operand = node.children[0]
        if node.name in ("DATE", "TIME", "TIMESTAMP") and self.family(operand) == _TEXT and operand.kind != "string":
            advice = f"declare the column as {node.name.lower()} under source.columns, or use STRPTIME(text, '%Y-%m-%d ...')"
            raise Refused(node.position, f"CAST of text to {node.name} guesses the format from the other rows: {advice}")

    def _call(self, node: Node) -> None:
        if node.name in ("DATE", "TIMESTAMP", "STRPTIME") and [child.kind for child in node.children[1:]] != ["string"]:
            raise Refused(node.position, f"{node.name} needs its format as the second argument, e.g. {node.name}(text, '%Y-%m-%d')")
        if node.name in ("POW", "POWER") and self.dtype(node).is_integer():
            raise Refused(node.position, f"{node.name} of integers may overflow: CAST the first argument to DOUBLE, or multiply")

    def _bits_or_match(self, node: Node) -> None:
        if node.kind == "bits" and not all(self.dtype(child).is_integer() for child in node.children):
            raise Refused(node.position, f"{node.name} needs integers")
        if node.kind == "match" and self.family(node.children[0]) not in (_TEXT, "null"):
            raise Refused(node.position, f"{node.name} needs text, got {type_name(self.dtype(node.children[0]))}")


def _sign(node: Node) -> str:
    return {"negate": "-", "ABS": "abs", "IN": "IN"}.get(node.name, node.name)


def _advice(kinds: Sequence[str]) -> str:
    if _TEXT in kinds:
        return "CAST the text to a number, or join texts with ||"
    if _MOMENT in kinds or _SPAN in kinds:
        return "add or subtract an INTERVAL '1 day', or subtract two timestamps"
    return "arithmetic needs numbers; CAST first"
