"""RepeatedKeys: which rows of many have a key that another one has too, or may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import polars as pl

from raypipe.engine.batches import SHARD_INDEX

PARTITIONS = 8  # of integers, by their remainder: sorted one after the other they take an eighth of the memory for it
TOGETHER_ROWS = 1 << 19  # fewer are sorted at once

Marks = Callable[[pl.DataFrame, int], pl.Series]
"""Tells of each row of a frame, that begins at some row of all, whether its key is repeated."""


class RepeatedKeys(Protocol):
    """Sees the keys of all rows, in order, and then tells which are repeated."""

    size_bytes: int
    """What it holds."""
    finding_share: float
    """What finding takes beside that, as a part of it."""

    def add(self, keys: pl.DataFrame) -> None:
        """See the keys of the next rows."""
        ...

    def found(self) -> Marks | None:
        """Let go of the keys and return what marks rows of repeated ones; None where there are none."""
        ...


def repeated_keys(keys: pl.DataFrame) -> RepeatedKeys:
    """Return what finds repeated keys such as these."""
    return RepeatedIntegers() if keys.width == 1 and keys.to_series().dtype.is_integer() else AnyRepeatedKeys()


class RepeatedIntegers:
    """Of one column of integers: sorting them costs a third of hashing them, and takes less memory."""

    finding_share = 1 / PARTITIONS

    def __init__(self) -> None:
        self.size_bytes = 0
        self._rows = 0
        self._parts: list[list[pl.Series]] = [[]]

    def add(self, keys: pl.DataFrame) -> None:
        """See the keys of the next rows."""
        values = keys.to_series()
        self.size_bytes += int(values.estimated_size())
        self._rows += len(values)
        if self._rows > TOGETHER_ROWS and len(self._parts) == 1:
            (together,), self._parts = self._parts, [[] for _ in range(PARTITIONS)]
            for held in together:
                self._split(held)
        if len(self._parts) == 1:
            self._parts[0].append(values)
        else:
            self._split(values)

    def found(self) -> Marks | None:
        """Let go of the keys and return what marks rows of repeated ones; None where there are none."""
        repeated = [_repeated_values(pl.concat(part)) for part in iter(self._next_part, None) if part]
        values = pl.concat(repeated) if repeated else None
        if values is None or values.is_empty():
            return None
        wanted = values.implode()
        return lambda frame, _: frame[values.name].is_in(wanted, nulls_equal=True)

    def _next_part(self) -> list[pl.Series] | None:
        return self._parts.pop() if self._parts else None

    def _split(self, values: pl.Series) -> None:
        remainders = values % PARTITIONS
        if values.null_count():
            remainders = remainders.fill_null(0)
        for number, part in enumerate(self._parts):
            part.append(values.filter(remainders == number))


def _repeated_values(values: pl.Series) -> pl.Series:
    """Return each value that occurs more than once, null too."""
    ordered = values.sort()
    return ordered[1:].filter(ordered[1:].eq_missing(ordered[:-1])).unique()


class AnyRepeatedKeys:
    """Of any columns; where one has no value twice, which costs a tenth of comparing whole keys, no key is repeated."""

    finding_share = 1.0

    def __init__(self) -> None:
        self.size_bytes = 0
        self._keys: list[pl.DataFrame] = []

    def add(self, keys: pl.DataFrame) -> None:
        """See the keys of the next rows."""
        self._keys.append(keys)
        self.size_bytes += int(keys.estimated_size())

    def found(self) -> Marks | None:
        """Let go of the keys and return what marks rows of repeated ones; None where there are none."""
        if not self._keys:
            return None
        keys = pl.concat(self._keys)
        self._keys.clear()
        if any(keys[name].n_unique() == keys.height for name in keys.columns if name != SHARD_INDEX):
            return None
        one = keys.to_series() if keys.width == 1 else keys.select(pl.struct(pl.all())).to_series()
        repeated = one.is_duplicated()
        return (lambda frame, first: repeated[first : first + frame.height]) if repeated.any() else None
