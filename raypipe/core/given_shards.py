"""GivenShards: a horizon of exactly the shards that are named, whatever the calendar would cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from raypipe.core.calendar import Calendar
from raypipe.core.intervals import meeting
from raypipe.core.plan import Horizon
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class GivenShards(Horizon):
    """Shards that were chosen one by one: to try other cuts of history, or to do again those that hold certain rows."""

    given: tuple[Window, ...] = ()
    """Sorted and disjoint."""

    def cells(self, window: Window) -> list[Window]:
        """Return the given shards that meet a window, whole."""
        return list(meeting(self.given, window))


def given_shards(calendar: Calendar, windows: Iterable[Window]) -> GivenShards:
    """Return the horizon of some windows, which are disjoint."""
    given = tuple(sorted(windows))
    return GivenShards(calendar, Window(given[0].start_us, given[-1].end_us) if given else None, given)


def cut(ranges: Sequence[Window], instants: Iterable[int]) -> list[Window]:
    """Cut normalised ranges at instants; those that lie in none of them cut nothing."""
    places = sorted(set(instants))
    pieces: list[Window] = []
    for one in ranges:
        inside = [place for place in places if one.start_us < place < one.end_us]
        bounds = [one.start_us, *inside, one.end_us]
        pieces += [Window(start_us, end_us) for start_us, end_us in itertools.pairwise(bounds)]
    return pieces
