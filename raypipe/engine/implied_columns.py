"""Implied columns: those of a frame that follow from little, so that less goes to disk, and how they are had again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field

import polars as pl

from raypipe.lazy_dataclass import dataclass

ROWS_MIN = 1_024  # of fewer no column is worth a look


@dataclass(frozen=True, slots=True)
class Implied:
    """Columns that are not stored: integers that are the same in all rows, and times as numbers beside the times themselves."""

    constants: Mapping[str, pl.Series] = field(default_factory=dict)
    """By name, one row of it."""
    instants: Mapping[str, str] = field(default_factory=dict)
    """By name, the column of times that it is the numbers of."""

    def needed(self, names: Iterable[str]) -> Collection[str]:
        """Return the stored columns from which these are had."""
        return {self.instants.get(name, name) for name in names if name not in self.constants}

    def restored(self, stored: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """Return these columns, in this order."""
        return pl.DataFrame([self._column(stored, name) for name in names])

    def _column(self, stored: pl.DataFrame, name: str) -> pl.Series:
        if name in self.constants:
            return self.constants[name].new_from_index(0, stored.height)
        return stored[self.instants[name]].cast(pl.Int64).alias(name) if name in self.instants else stored[name]


def implied(frame: pl.DataFrame) -> Implied:
    """Look for such columns; one of the frame is always stored."""
    columns = frame.get_columns()
    if frame.height < ROWS_MIN:
        return Implied()
    constants = {one.name: _first(one) for one in columns if one.dtype.is_integer() and _is_constant(one)}
    times = {one.name: one.cast(pl.Int64) for one in columns if isinstance(one.dtype, pl.Datetime)}
    instants: dict[str, str] = {}
    for one in columns:
        if one.dtype == pl.Int64 and one.name not in constants:
            same = next((name for name, time in times.items() if _ends(time) == _ends(one) and time.equals(one)), None)
            instants.update({one.name: same} if same is not None else {})
    return Implied({} if len(constants) == frame.width else constants, instants)


def _is_constant(column: pl.Series) -> bool:
    first, last = _ends(column)
    return first is not None and first == last and not column.null_count() and column.min() == column.max()


def _first(column: pl.Series) -> pl.Series:
    return pl.Series(column.name, [column[0]], dtype=column.dtype)  # a slice would hold all of the column


def _ends(column: pl.Series) -> tuple[object, object]:
    return column[0], column[-1]
