"""Cut: what of one indexed file belongs to each window, from the index alone; no engine is loaded for it."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.sources.overlap import Spans


class RoutedCut:
    """A file that was routed: the cells that a window meets, identified by the digests of their rows."""

    def __init__(self, file: InputFile, content: Mapping[str, Any], end_us: int | None = None) -> None:
        self._file = file
        self._starts: Sequence[int] = content["starts"]
        ends: Sequence[int] = content["ends"]
        # The last shard ends with history, where the last cell may stick out: it holds no row beyond.
        self._ends = ends if end_us is None or not ends or ends[-1] <= end_us else [*ends[:-1], end_us]
        self._digests: Sequence[str] = content["digests"]
        self._untimed: int = content["untimed"]
        self._untimed_us: int = content["untimed_us"]
        self._rows = [0, *accumulate(content["rows"])]

    @property
    def span(self) -> tuple[int, int] | None:
        """The time from the first to the last of the file that belongs to a shard."""
        return (self._starts[0], self._ends[-1]) if self._starts else None

    def slice(self, window: Window) -> Slice | None:
        """Return what of the file belongs to a window; None when nothing does."""
        first, last = bisect_right(self._ends, window.start_us), bisect_left(self._starts, window.end_us)
        untimed = self._untimed > 0 and window.start_us <= self._untimed_us < window.end_us
        if first >= last:
            return None
        rows = self._rows[last] - self._rows[first] + (self._untimed if untimed else 0)
        if rows == 0:
            return None
        return Slice(
            self._file,
            digest=_digest_of(self._digests[first:last]),
            rows=rows,
            size_bytes=self._file.size_bytes * rows // max(self._rows[-1] + self._untimed, 1),
            exact=window.start_us <= self._starts[first] and self._ends[last - 1] <= window.end_us,
            untimed=untimed,
        )


def _digest_of(cells: Sequence[str]) -> str:
    return cells[0] if len(cells) == 1 else hashlib.blake2b("".join(cells).encode(), digest_size=16).hexdigest()


class ParquetCut:
    """A Parquet file: the row groups that can hold rows of a window, identified by the file's version."""

    def __init__(self, file: InputFile, content: Mapping[str, Any]) -> None:
        self._file = file
        self._untimed: int = content["untimed"]
        self._untimed_us: int = content["untimed_us"]
        self._groups: Sequence[Sequence[Any]] = content["groups"]
        self._timed = [number for number, group in enumerate(self._groups) if group[1] is not None]
        self._spans = Spans([(self._groups[number][1], self._groups[number][2] + 1) for number in self._timed])

    @property
    def span(self) -> tuple[int, int] | None:
        """The time from the first to the last row, with the instant of the untimed ones."""
        groups = [self._groups[number] for number in self._timed]
        firsts, lasts = [group[1] for group in groups], [group[2] + 1 for group in groups]
        if self._untimed:
            firsts.append(self._untimed_us)
            lasts.append(self._untimed_us + 1)
        return (min(firsts), max(lasts)) if firsts else None

    def slice(self, window: Window) -> Slice | None:
        """Return what of the file belongs to a window; None when nothing can."""
        parts = [self._timed[place] for place in self._spans.meeting(window.start_us, window.end_us)]
        untimed = self._untimed > 0 and window.start_us <= self._untimed_us < window.end_us
        rows, size_bytes, exact = self._untimed if untimed else 0, 0, not untimed
        for part in parts:
            group = self._groups[part]
            share = _share(group, window)
            rows += round(group[0] * share)
            size_bytes += round(group[5] * share)
            exact = exact and _is_inside(group, window)
        if untimed:
            parts.extend(number for number, group in enumerate(self._groups) if group[3])
        if not parts:
            return None
        return Slice(self._file, parts=tuple(sorted({*parts})), rows=rows, size_bytes=size_bytes, exact=exact, untimed=untimed)


def _share(group: Sequence[int], window: Window) -> float:
    """Return the part of a row group's time that lies in a window, as an estimate of its rows."""
    first, end = group[1], group[2] + 1
    return (min(end, window.end_us) - max(first, window.start_us)) / (end - first)


def _is_inside(group: Sequence[Any], window: Window) -> bool:
    _, first, last, untimed, outside, _ = group
    return first is not None and window.start_us <= first and last < window.end_us and untimed == 0 and outside == 0


class WidthsCut:
    """A file that was routed by several widths: its oldest cut by whose cells a window is whole says what belongs to it.

    So the input of a live range stays what it was made from however often the width changes, since a newer cut never
    goes before the one that it was made by.
    """

    def __init__(self, cuts: Sequence[RoutedCut]) -> None:
        self._cuts = cuts

    @property
    def span(self) -> tuple[int, int] | None:
        """The time from the first to the last of the file that belongs to a shard."""
        spans = [one.span for one in self._cuts if one.span is not None]
        return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None

    def slice(self, window: Window) -> Slice | None:
        """Return what of the file belongs to a window; None when nothing does."""
        found = [one.slice(window) for one in self._cuts]
        return next((one for one in found if one is None or one.exact), found[0])


def cut_of(file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None = None) -> RoutedCut | WidthsCut | ParquetCut:
    """Return how an indexed file is cut: by what was recorded of it, the oldest first, up to the end of history."""
    if contents[0]["kind"] != "routed":
        return ParquetCut(file, contents[0])
    cuts = [RoutedCut(file, content, end_us) for content in contents]
    return cuts[0] if len(cuts) == 1 else WidthsCut(cuts)
