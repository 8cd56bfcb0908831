"""PerColumns: what is made once for each set of columns that comes by, and is dear to make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import polars as pl

from raypipe.engine.batches import user_columns

_T = TypeVar("_T")


class PerColumns(Generic[_T]):
    """Remembers one thing for each set of columns, with their order and types. Several threads may use it."""

    def __init__(self) -> None:
        self.made: dict[tuple[tuple[str, pl.DataType], ...], _T] = {}
        self._making = threading.Lock()

    def of(self, frame: pl.DataFrame, make: Callable[[pl.Schema], _T]) -> _T:
        """Return what is made for the user's columns of a frame; what making it raises, the next one meets anew."""
        dtypes = frame.schema  # built anew at each look
        key = tuple((name, dtypes[name]) for name in user_columns(frame))
        with self._making:  # threads that meet here wait for the first
            if key not in self.made:
                self.made[key] = make(pl.Schema(key))
            return self.made[key]
