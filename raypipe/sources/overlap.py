"""Overlap: which of many time ranges meet one, found by bisection instead of comparing all with all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence


class Spans:
    """Half-open ranges `[start, end)` in any order; they may overlap, and where few do, looking up costs next to nothing."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._order = sorted(range(len(ranges)), key=lambda number: ranges[number])
        self._starts = [ranges[number][0] for number in self._order]
        self._ends = [ranges[number][1] for number in self._order]
        self._reach: list[int] = []
        for end in self._ends:
            self._reach.append(max(end, self._reach[-1]) if self._reach else end)

    def meeting(self, start: int, end: int) -> Iterator[int]:
        """Yield the numbers of the ranges that share an instant with `[start, end)`, by their start."""
        for place in range(bisect_right(self._reach, start), bisect_left(self._starts, end)):
            if self._ends[place] > start:
                yield self._order[place]
