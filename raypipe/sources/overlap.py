"""Overlap: which of many time ranges meet one, found by bisection instead of comparing all with all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate


class Spans:
    """Half-open ranges `[start, end)` in any order; they may overlap, and where few do, looking up costs next to nothing."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        order: Sequence[int] = range(len(ranges))
        self._order = order = order if len(order) < 2 else sorted(order, key=ranges.__getitem__)
        self._starts = [ranges[number][0] for number in order]
        self._ends = [ranges[number][1] for number in order]
        self._reach = self._ends if len(order) < 2 else list(accumulate(self._ends, max))

    @property
    def hull(self) -> tuple[int, int] | None:
        """The time from the first start to the last end; None without ranges."""
        return (self._starts[0], self._reach[-1]) if self._order else None

    def meets(self, start: int, end: int) -> bool:
        """Tell whether any of the ranges shares an instant with `[start, end)`."""
        return bisect_right(self._reach, start) < bisect_left(self._starts, end)

    def meeting(self, start: int, end: int) -> list[int]:
        """Return the numbers of the ranges that share an instant with `[start, end)`, by their start."""
        places = range(bisect_right(self._reach, start), bisect_left(self._starts, end))
        return [self._order[place] for place in places if self._ends[place] > start]
