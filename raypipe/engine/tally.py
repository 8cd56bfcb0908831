"""Tally: what became of every row of a task, counted per shard as the batches flow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from itertools import repeat
from typing import cast

import polars as pl

from raypipe.core.accounts import Accounts
from raypipe.core.window import Window
from raypipe.engine.batches import SHARD_INDEX
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import TIME_COLUMN

PerShard = Counter[int]
BEFORE, AFTER = 1, 2
"""Places of what the one shard of an attempt sees of the time around it."""


class AllShardsFailed(Exception):
    """Every shard of the attempt has failed: reading on is of no use."""


@dataclass(slots=True)
class Tally:
    """Counts per shard (by its place in the task). Changed by one thread; a failed shard's counts mean nothing.

    With a lookback or a lookahead there is one shard; what lies before it has the place BEFORE, what lies after it the place
    AFTER, and is counted for nobody.
    """

    windows: Sequence[Window]
    looks_around: bool = False
    read: PerShard = field(default_factory=Counter)
    expanded: PerShard = field(default_factory=Counter)
    loaded: PerShard = field(default_factory=Counter)
    duplicate: PerShard = field(default_factory=Counter)
    quarantined: PerShard = field(default_factory=Counter)
    filtered: dict[str, PerShard] = field(default_factory=lambda: defaultdict(Counter))
    broken: dict[str, PerShard] = field(default_factory=lambda: defaultdict(Counter))
    first_us: dict[int, int] = field(default_factory=dict)
    last_us: dict[int, int] = field(default_factory=dict)
    warnings: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Code and text of the first failure of a shard."""

    @property
    def _is_one_shard(self) -> bool:
        return len(self.windows) == 1 and not self.looks_around

    def counts(self, frame: pl.DataFrame) -> Mapping[int, int]:
        """Return how many rows of a frame each shard has; shards without rows are left out."""
        if self._is_one_shard:
            return {0: frame.height} if frame.height else {}
        return _counted(frame[SHARD_INDEX])

    def counts_where(self, frame: pl.DataFrame, told: pl.Series) -> Mapping[int, int]:
        """Return how many rows each shard has of those that a series of booleans tells; shards without such rows are left out."""
        if not told.any():
            return {}
        return {0: int(told.sum())} if self._is_one_shard else _counted(frame[SHARD_INDEX].filter(told))

    def add_read(self, frame: pl.DataFrame) -> None:
        """Count rows as they came from the source, and their first and last event time."""
        if frame.is_empty():
            return
        for shard, rows, first, last in self._spans(frame):
            self.read[shard] += rows
            self.first_us[shard] = min(first, self.first_us.get(shard, first))
            self.last_us[shard] = max(last, self.last_us.get(shard, last))

    def _spans(self, frame: pl.DataFrame) -> Iterable[tuple[int, int, int, int]]:
        """Return of each shard its rows and their first and last event time."""
        if self._is_one_shard:
            times = frame[TIME_COLUMN]
            return [(0, frame.height, cast("int", times.min()), cast("int", times.max()))]
        time = pl.col(TIME_COLUMN)
        return frame.group_by(SHARD_INDEX).agg(pl.len(), time.min().alias("first"), time.max().alias("last")).iter_rows()

    def fail(self, shard: int, code: str, error: str) -> None:
        """Give a shard up; the first reason stays. What is wrong with the rows before it is wrong with what it sees."""
        if shard >= len(self.windows):
            where = "before it, to which it looks back" if shard == BEFORE else "after it, to which it looks ahead"
            shard, error = 0, f"in the time {where}: {error}"
        self.failed.setdefault(shard, (code, error))

    def alive(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the shards that have not failed. Raises AllShardsFailed when there are none."""
        if len(self.failed) == len(self.windows):
            raise AllShardsFailed
        if not self.failed:
            return frame
        return frame.filter(~pl.col(SHARD_INDEX).is_in(list(self.failed)))

    def accounts(self) -> list[Accounts]:
        """Return the accounts of every shard, in order."""
        filtered = map(sum, zip(*[self._of_each(counts) for counts in self.filtered.values()], strict=True))
        columns = (self.read, self.expanded, self.loaded, self.duplicate, self.quarantined)
        return [
            Accounts(read=read, expanded=expanded, loaded=loaded, filtered=gone, duplicate=duplicate, quarantined=quarantined)
            for read, expanded, loaded, duplicate, quarantined, gone in zip(
                *map(self._of_each, columns), filtered if self.filtered else repeat(0), strict=False
            )
        ]

    def named(self, counts: Mapping[str, PerShard]) -> list[dict[str, int]]:
        """Return the counts of every shard by name, in order, without zeros."""
        found: list[dict[str, int]] = [{} for _ in self.windows]
        for name, per_shard in counts.items():
            for shard, rows in per_shard.items():
                if rows and shard < len(found):
                    found[shard][name] = rows
        return found

    def _of_each(self, counts: PerShard) -> list[int]:
        return list(map(counts.get, range(len(self.windows)), repeat(0)))  # a Counter is slow to say that it has nothing


def _counted(places: pl.Series) -> Mapping[int, int]:
    counted = places.value_counts()
    return dict(zip(counted[SHARD_INDEX].to_list(), counted["count"].to_list(), strict=True))
