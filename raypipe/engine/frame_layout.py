"""Frame layout: which columns of a frame follow from little, so that they need not be kept, and how they are had again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import polars as pl

from raypipe.lazy_dataclass import dataclass

ROWS_MIN = 1_024  # of fewer no column is worth a look

Wanted = Callable[[Sequence[str]], Collection[str]]
"""Says which of a frame's columns are read."""


def all_columns(columns: Sequence[str]) -> Collection[str]:
    """Want all."""
    return columns


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a frame, in order. Two kinds are not kept: integers that are the same in all rows, and times as numbers."""

    columns: Sequence[str]
    constants: Mapping[str, pl.Series]
    """By name, one row of it."""
    instants: Mapping[str, str]
    """By name, the column of times that it is the numbers of."""

    @property
    def kept(self) -> list[str]:
        """The columns from which all are had, in order."""
        return [name for name in self.columns if name not in self.constants and name not in self.instants]

    def of_frame(self, kept: pl.DataFrame, wanted: Wanted) -> pl.DataFrame:
        """Return the wanted columns, in order."""
        return self.of_reader(lambda names: kept if len(names) == kept.width else kept[names], wanted)

    def of_reader(self, read: Callable[[list[str]], pl.DataFrame], wanted: Wanted) -> pl.DataFrame:
        """Return the wanted columns, in order, from what reads some of those that are kept."""
        chosen = frozenset(wanted(self.columns))
        names = [name for name in self.columns if name in chosen]
        needed = {self.instants.get(name, name) for name in names if name not in self.constants}
        kept = self.kept
        frame = read([name for name in kept if name in needed] or kept[:1])
        return frame if frame.columns == names else pl.DataFrame([self._column(frame, name) for name in names])

    def _column(self, frame: pl.DataFrame, name: str) -> pl.Series:
        if name in self.constants:
            return self.constants[name].new_from_index(0, frame.height)
        return frame[self.instants[name]].cast(pl.Int64).alias(name) if name in self.instants else frame[name]


def layout_of(frame: pl.DataFrame) -> Layout:
    """Look for what follows from little; one column is kept at least."""
    columns = frame.get_columns()
    if frame.height < ROWS_MIN:
        return Layout(frame.columns, {}, {})
    constants = {one.name: _first(one) for one in columns if one.dtype.is_integer() and _is_constant(one)}
    times = {one.name: one.cast(pl.Int64) for one in columns if isinstance(one.dtype, pl.Datetime)}
    instants: dict[str, str] = {}
    for one in columns:
        if one.dtype == pl.Int64 and one.name not in constants:
            same = next((name for name, time in times.items() if _ends(time) == _ends(one) and time.equals(one)), None)
            instants.update({one.name: same} if same is not None else {})
    return Layout(frame.columns, {} if len(constants) == frame.width else constants, instants)


def _is_constant(column: pl.Series) -> bool:
    first, last = _ends(column)
    return first is not None and first == last and not column.null_count() and column.min() == column.max()


def _first(column: pl.Series) -> pl.Series:
    return pl.Series(column.name, [column[0]], dtype=column.dtype)  # a slice would hold all of the column


def _ends(column: pl.Series) -> tuple[object, object]:
    return column[0], column[-1]
