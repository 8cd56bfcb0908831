"""Decode JSON lines one by one in Python: what counts as a row, and as what, is defined here. Slow and exact.

The fast way of `json_lines` may only be taken where it gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.core.datatype import DataType
from raypipe.errors import SourceUnreadable
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import Column
from raypipe.ports import POSITION_COLUMN, RESERVED_COLUMNS, Reject
from raypipe.sources.json_values import (
    TEXT_KINDS,
    JsonNumber,
    MalformedJson,
    Misfit,
    arrow_type,
    fit,
    parse_object,
    refuse_repeated,
    text_of,
    whole_text,
)
from raypipe.sources.lines import MALFORMED, DecodedBlock, bad_encoding, cut, raw_text

VALUE_CHARACTERS_MAX = 100  # of a value in an error

# Numbers for which no look is needed: they have fewer digits than the type's largest.
_SURE = {
    **{f"int{bits}": rf"^-?\d{{1,{digits}}}$" for bits, digits in ((8, 2), (16, 4), (32, 9), (64, 18))},
    **{f"uint{bits}": rf"^\d{{1,{digits}}}$" for bits, digits in ((8, 2), (16, 4), (32, 9), (64, 18))},
    **{f"float{bits}": r"^-?\d{1,30}(\.\d{1,30})?$" for bits in (32, 64)},
}


@dataclass(frozen=True, slots=True)
class JsonShape:
    """What is read of each line of a file."""

    uri: str
    contract: Mapping[str, Column]
    """Typed columns; every line is held to all of them, whichever are wanted."""
    wanted: frozenset[str] | None
    """Columns to return; None for all, also keys that the contract does not name."""
    time_path: tuple[str, ...] = ()
    """The keys that lead to event time, where no column of the contract does; it comes as a column of the dotted name."""

    @property
    def extras(self) -> tuple[str, ...]:
        """The wanted columns beyond the contract, where they are named."""
        return tuple(sorted((self.wanted or frozenset()) - self.contract.keys()))

    @property
    def time_column(self) -> str:
        """The name of the column for `time_path`."""
        return ".".join(self.time_path)

    @property
    def read_keys(self) -> frozenset[str] | None:
        """The keys of a line that are looked at; None for all."""
        if self.wanted is None:
            return None
        return frozenset((*self.contract, *self.extras, *self.time_path[:1]))


def decode_rows(lines: Iterable[bytes], numbers: Iterable[int], shape: JsonShape) -> DecodedBlock:
    """Decode lines, given with their numbers; blank ones are left out."""
    rejects: dict[int, Reject] = {}
    rows: list[dict[str, Any]] = []
    parsed: list[int] = []
    raws: list[str] = []
    read_keys = shape.read_keys
    for number, raw in zip(numbers, lines, strict=True):
        try:
            text = raw.decode().strip(" \t\r")
        except UnicodeDecodeError:
            rejects[number] = bad_encoding(shape.uri, number, raw, "utf-8")
            continue
        if not text:
            continue
        try:
            row = parse_object(text)
            refuse_repeated(row, read_keys)
        except MalformedJson as error:
            rejects[number] = Reject(shape.uri, number, MALFORMED, str(error), raw_text(raw))
            continue
        rows.append(row)
        parsed.append(number)
        raws.append(text)
    return _Table(shape, rows, parsed, raws, rejects).decoded()


class _Table:
    """The parsed rows of a block on their way to columns."""

    def __init__(
        self, shape: JsonShape, rows: list[dict[str, Any]], numbers: list[int], raws: list[str], rejects: dict[int, Reject]
    ) -> None:
        self._shape, self._rows, self._numbers, self._raws, self._rejects = shape, rows, numbers, raws, rejects

    def decoded(self) -> DecodedBlock:
        """Build the columns; a row is rejected for the first column, in the contract's order, that it breaks."""
        shape = self._shape
        columns: dict[str, pa.Array[Any]] = {}
        for name, column in shape.contract.items():
            array = self._typed(name, column.type)
            if shape.wanted is None or name in shape.wanted:
                columns[name] = array
        for name in self._extra_names():
            columns[name] = self._texts(partial(_value, name=name))
        if shape.time_path:
            columns[shape.time_column] = self._texts(self._event_time)
        columns[POSITION_COLUMN] = pa.array(self._numbers, pa.int64())
        rows = pa.RecordBatch.from_pydict(columns)
        left_out = [number in self._rejects for number in self._numbers]
        if any(left_out):
            rows = rows.filter(pc.invert(pa.array(left_out, pa.bool_())))
        return DecodedBlock(rows, tuple(self._rejects[number] for number in sorted(self._rejects)))

    def _extra_names(self) -> Sequence[str]:
        if self._shape.wanted is not None:
            return self._shape.extras
        names = dict.fromkeys(name for row in self._rows for name in row if name not in self._shape.contract)
        for name in RESERVED_COLUMNS:
            if name in names:
                raise SourceUnreadable(f"{self._shape.uri}: has a key {name!r}, a name that raypipe keeps for itself; rename it")
        return tuple(names)

    def _reject(self, index: int, rule: str, error: str) -> None:
        number = self._numbers[index]
        self._rejects.setdefault(number, Reject(self._shape.uri, number, rule, error, cut(self._raws[index])))

    def _texts(self, value_of: Callable[[dict[str, Any]], Any]) -> pa.Array[Any]:
        texts: list[str | None] = []
        for index, row in enumerate(self._rows):
            try:
                texts.append(text_of(value_of(row)))
            except MalformedJson as error:
                self._reject(index, MALFORMED, str(error))
                texts.append(None)
        return pa.array(texts, pa.string())

    def _event_time(self, row: dict[str, Any]) -> Any:
        if self._shape.time_column in row:  # a key of the whole name goes before a path
            return row[self._shape.time_column]
        value: Any = row
        for name in self._shape.time_path:
            if not isinstance(value, dict):
                return None
            refuse_repeated(value, frozenset((name,)))
            value = value.get(name)
        return value

    def _typed(self, name: str, kind: DataType) -> pa.Array[Any]:
        values = [row.get(name) for row in self._rows]
        quick = _quick_column(values, kind)
        return quick if quick is not None else self._fitted(name, kind, values)

    def _fitted(self, name: str, kind: DataType, values: list[Any]) -> pa.Array[Any]:
        fitted: list[Any] = []
        for index, value in enumerate(values):
            try:
                fitted.append(fit(value, kind))
            except Misfit:
                got = (text_of(value) if isinstance(value, JsonNumber) else _shown(value)) or ""
                self._reject(index, f"type_{name}", f"{name}: got {got[:VALUE_CHARACTERS_MAX]}, expected {kind}")
                fitted.append(None)
            except MalformedJson as error:
                self._reject(index, MALFORMED, str(error))
                fitted.append(None)
        return pa.array(fitted, arrow_type(kind))


def _value(row: dict[str, Any], name: str) -> Any:
    return row.get(name)


def _shown(value: Any) -> str:
    try:
        return repr(value) if isinstance(value, str) else text_of(value) or ""
    except MalformedJson:
        return type(value).__name__


def _quick_column(values: list[Any], kind: DataType) -> pa.Array[Any] | None:
    """Build a column of plain values at once; None when some value needs a look."""
    found = set(map(type, values)) - {type(None)}
    if kind.kind == "bool":
        return pa.array(values, pa.bool_()) if found <= {bool} else None
    if kind.kind == "string":
        return pa.array(values, pa.string()) if found <= {str} else None
    if kind.kind in ("list", "struct"):
        return None
    if kind.kind in TEXT_KINDS:
        return (
            pa.array([None if one is None else whole_text(one) for one in values], pa.string())
            if found <= {str, JsonNumber}
            else None
        )
    if not found <= {JsonNumber}:
        return None
    texts = pa.array(values, pa.string())
    sure = pc.all(pc.match_substring_regex(texts, _SURE[kind.kind])).as_py() is not False
    return texts.cast(arrow_type(kind)) if sure else None
