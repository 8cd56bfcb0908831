"""Seen: what an attempt reads of an input: the rows of its shards, or of the one shard and of the time around it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from raypipe.core.intervals import normalise
from raypipe.core.window import Window
from raypipe.engine.batches import SHARD_INDEX, with_series
from raypipe.engine.tally import AFTER, BEFORE
from raypipe.lazy_dataclass import dataclass
from raypipe.pipeline import EventTime


@dataclass(frozen=True, slots=True)
class Seen:
    """Windows in order of time, and the place of each in the books: that of its shard, or BEFORE or AFTER it."""

    windows: Sequence[Window]
    places: Sequence[int]

    @classmethod
    def of(cls, time: EventTime, shards: Sequence[Window]) -> Seen:
        """Return what is read of an input for shards; where it looks around there is one."""
        if not time.looks_around:
            return cls(shards, range(len(shards)))
        shard = shards[0]
        around = [(time.before(shard), BEFORE), (shard, 0), (time.after(shard), AFTER)]
        found = [(window, place) for window, place in around if window is not None]
        return cls([window for window, _ in found], [place for _, place in found])

    @property
    def ordered(self) -> Sequence[Window]:
        """Return the windows within each of which rows come by (source, position): SQL that looks around sees all rows as one."""
        return self.windows if isinstance(self.places, range) else normalise(self.windows)

    def placed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows that have the place of their window as those that have the place in the books."""
        if isinstance(self.places, range):
            return frame
        return with_series(frame, pl.Series(SHARD_INDEX, self.places, dtype=pl.UInt32)[frame[SHARD_INDEX]])
