"""Cut: what of one indexed file belongs to each window, from the index alone; no engine is loaded for it.

A digest says which rows of the file lie in a window, in order, and nothing of where else the file was cut. So it is told
by any recorded cut in which all of them lie in one cell; where there is none, the file is cut by the windows themselves.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.sources.overlap import Spans


class _Cells:
    """The cells of one recorded cut of a file: where they lie, rows and digest of each."""

    def __init__(self, content: Mapping[str, Any], end_us: int | None) -> None:
        self.starts: Sequence[int] = content["starts"]
        ends: Sequence[int] = content["ends"]
        # The last shard ends with history, where the last cell may stick out: it holds no row beyond.
        self.ends = ends if end_us is None or not ends or ends[-1] <= end_us else [*ends[:-1], end_us]
        self.digests: Sequence[str] = content["digests"]
        self.rows: Sequence[int] = content["rows"]

    def of(self, window: Window) -> tuple[str, int] | None:
        """Return the digest and the number of the rows in a window; None where this cut does not tell."""
        first, last = bisect_right(self.ends, window.start_us), bisect_left(self.starts, window.end_us)
        if first >= last:
            return "", 0
        if last - first > 1 or self.starts[first] < window.start_us or self.ends[first] > window.end_us:
            return None
        return self.digests[first], self.rows[first]


def _told(cuts: Sequence[_Cells], window: Window) -> tuple[str, int] | None:
    return next((found for cut in cuts if (found := cut.of(window)) is not None), None)


class RoutedCut:
    """A file that was routed, by one width or several: slices are identified by the digests of their rows."""

    def __init__(self, file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None = None) -> None:
        self._file = file
        self._cuts = [_Cells(content, end_us) for content in contents]
        self._untimed: int = contents[0]["untimed"]
        self._untimed_us: int = contents[0]["untimed_us"]
        self._rows_in_all = sum(self._cuts[0].rows) + self._untimed

    @property
    def span(self) -> tuple[int, int] | None:
        """The time from the first to the last of the file that belongs to a shard."""
        spans = [(cut.starts[0], cut.ends[-1]) for cut in self._cuts if cut.starts]
        return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None

    def knows(self, window: Window) -> bool:
        """Tell whether the recorded cuts say what of the file belongs to a window."""
        return _told(self._cuts, window) is not None

    def slice(self, window: Window) -> Slice | None:
        """Return what of the file belongs to a window that is known; None when nothing does."""
        found = _told(self._cuts, window)
        assert found is not None
        digest, rows = found
        untimed = self._untimed > 0 and window.start_us <= self._untimed_us < window.end_us
        rows += self._untimed if untimed else 0
        if rows == 0:
            return None
        size_bytes = self._file.size_bytes * rows // max(self._rows_in_all, 1)
        return Slice(self._file, digest=digest, rows=rows, size_bytes=size_bytes, exact=True, untimed=untimed)


class ParquetCut:
    """A Parquet file: the row groups that can hold rows of a window.

    Where all of the file lies in the window, its version identifies the content, and it was never read for that; else the
    digest of its rows there does.
    """

    def __init__(self, file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None = None) -> None:
        self._file = file
        self._cuts = [_Cells(content["cells"], end_us) for content in contents if content["cells"]]
        self._untimed: int = contents[0]["untimed"]
        self._untimed_us: int = contents[0]["untimed_us"]
        self._groups: Sequence[Sequence[Any]] = contents[0]["groups"]
        self._timed = [number for number, group in enumerate(self._groups) if group[1] is not None]
        self._spans = Spans([(self._groups[number][1], self._groups[number][2] + 1) for number in self._timed])
        self.span = self._span()
        """The time from the first to the last row, with the instant of the untimed ones; None where no row has a time."""

    def _span(self) -> tuple[int, int] | None:
        groups = [self._groups[number] for number in self._timed]
        firsts, lasts = [group[1] for group in groups], [group[2] + 1 for group in groups]
        if self._untimed:
            firsts.append(self._untimed_us)
            lasts.append(self._untimed_us + 1)
        return (min(firsts), max(lasts)) if firsts else None

    def knows(self, window: Window) -> bool:
        """Tell whether the file's version, or the recorded cuts, identify what of the file belongs to a window."""
        return self._is_whole(window) or _told(self._cuts, window) is not None or not self._parts(window)[0]

    def slice(self, window: Window) -> Slice | None:
        """Return what of the file belongs to a window that is known; None when nothing does."""
        parts, untimed = self._parts(window)
        if not parts:
            return None
        digest, known_rows = ("", None) if self._is_whole(window) else _told(self._cuts, window) or ("", None)
        rows, size_bytes, exact = self._untimed if untimed else 0, 0, not untimed
        if known_rows == 0 and not untimed:
            return None
        for part in parts:
            group = self._groups[part]
            if group[1] is None or (untimed and not _meets(group, window)):
                continue
            share = _share(group, window)
            rows += round(group[0] * share)
            size_bytes += round(group[5] * share)
            exact = exact and _is_inside(group, window)
        return Slice(self._file, digest=digest, parts=parts, rows=rows, size_bytes=size_bytes, exact=exact, untimed=untimed)

    def _parts(self, window: Window) -> tuple[tuple[int, ...], bool]:
        """Return the row groups that can hold rows of a window, and whether it takes the untimed ones."""
        parts = [self._timed[place] for place in self._spans.meeting(window.start_us, window.end_us)]
        untimed = self._untimed > 0 and window.start_us <= self._untimed_us < window.end_us
        if untimed:
            parts.extend(number for number, group in enumerate(self._groups) if group[3])
            return tuple(sorted({*parts})), True
        return tuple(parts if len(parts) < 2 else sorted(parts)), False

    def _is_whole(self, window: Window) -> bool:
        """Tell whether nothing of the file belongs to another window."""
        return self.span is not None and window.start_us <= self.span[0] and self.span[1] <= window.end_us


def _share(group: Sequence[int], window: Window) -> float:
    """Return the part of a row group's time that lies in a window, as an estimate of its rows."""
    first, end = group[1], group[2] + 1
    return (min(end, window.end_us) - max(first, window.start_us)) / (end - first)


def _meets(group: Sequence[int], window: Window) -> bool:
    return group[1] < window.end_us and window.start_us <= group[2]


def _is_inside(group: Sequence[Any], window: Window) -> bool:
    _, first, last, untimed, outside, _ = group
    return first is not None and window.start_us <= first and last < window.end_us and untimed == 0 and outside == 0


def cut_of(file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None = None) -> RoutedCut | ParquetCut:
    """Return how an indexed file is cut: by all that was recorded of it, up to the end of history."""
    kind = RoutedCut if contents[0]["kind"] == "routed" else ParquetCut
    return kind(file, contents, end_us)
