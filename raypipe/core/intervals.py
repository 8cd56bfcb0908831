"""Sets of time as normalised lists of windows: sorted, disjoint, not touching. Union is commutative and idempotent."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence

from raypipe.core.window import Window

Ranges = tuple[Window, ...]


def normalise(windows: Iterable[Window]) -> Ranges:
    """Return the union of windows, those that meet or touch made one."""
    bounds = sorted(windows)
    if not bounds:
        return ()
    united = []
    first_us, last_us = bounds[0]
    for start_us, end_us in bounds:
        if start_us > last_us:
            united.append(Window(first_us, last_us))
            first_us, last_us = start_us, end_us
        elif end_us > last_us:
            last_us = end_us
    return (*united, Window(first_us, last_us))


def subtract(ranges: Sequence[Window], without: Sequence[Window]) -> Ranges:
    """Return what of normalised `ranges` is not in normalised `without`."""
    result: list[Window] = []
    position = 0
    for window in ranges:
        start_us = window.start_us
        while position < len(without) and without[position].end_us <= start_us:
            position += 1
        ahead = position
        while ahead < len(without) and without[ahead].start_us < window.end_us:
            if without[ahead].start_us > start_us:
                result.append(Window(start_us, without[ahead].start_us))
            start_us = max(start_us, without[ahead].end_us)
            ahead += 1
        if start_us < window.end_us:
            result.append(Window(start_us, window.end_us))
    return tuple(result)


def intersect(left: Sequence[Window], right: Sequence[Window]) -> Ranges:
    """Return what two normalised sets share."""
    result: list[Window] = []
    i = j = 0
    while i < len(left) and j < len(right):
        shared = left[i].intersection(right[j])
        if shared:
            result.append(shared)
        if left[i].end_us < right[j].end_us:
            i += 1
        else:
            j += 1
    return tuple(result)


def covers(ranges: Sequence[Window], window: Window) -> bool:
    """Tell whether a window lies wholly in a normalised set."""
    place = bisect.bisect_right(ranges, window.start_us, key=_start) - 1
    return place >= 0 and ranges[place].contains(window)


def meeting(windows: Sequence[Window], window: Window) -> Sequence[Window]:
    """Return those of sorted, disjoint windows that share an instant with a window."""
    first = bisect.bisect_right(windows, window.start_us, key=_end)
    return windows[first : bisect.bisect_left(windows, window.end_us, lo=first, key=_start)]


def _start(window: Window) -> int:
    return window.start_us


def _end(window: Window) -> int:
    return window.end_us


def gaps(ranges: Sequence[Window]) -> Ranges:
    """Return the holes between the first and the last of normalised ranges."""
    return tuple(Window(a.end_us, b.start_us) for a, b in itertools.pairwise(ranges))
