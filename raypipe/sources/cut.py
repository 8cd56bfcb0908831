"""Cut: what of one indexed file belongs to each window, from the index alone; no engine is loaded for it.

A digest says which rows of the file lie in a window, in order, and nothing of where else the file was cut. So it is told
by any recorded cut in which all of them lie in one cell; where there is none, the file is cut by the windows themselves.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from raypipe.core.shard import InputFile, Slice
from raypipe.core.window import Window
from raypipe.sources.overlap import Spans


class Untold(enum.Enum):
    """The answer where nothing that was recorded of a file tells what of it belongs to a window."""

    UNTOLD = "untold"


UNTOLD: Literal[Untold.UNTOLD] = Untold.UNTOLD


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
    for cut in cuts:
        found = cut.of(window)
        if found is not None:
            return found
    return None


class RoutedCut:
    """A file that was routed, by one width or several: slices are identified by the digests of their rows."""

    def __init__(self, file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None) -> None:
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

    def digest(self, window: Window) -> str | Untold | None:
        """Return what identifies the slice of a window; None where nothing of the file belongs to it."""
        found = _told(self._cuts, window)
        if found is None:
            return UNTOLD
        digest, rows = found
        return digest if rows or self._takes_untimed(window) else None

    def slice(self, window: Window) -> Slice | Untold | None:
        """Return what of the file belongs to a window; None for nothing."""
        found = _told(self._cuts, window)
        if found is None:
            return UNTOLD
        digest, rows = found
        untimed = self._takes_untimed(window)
        rows += self._untimed if untimed else 0
        if rows == 0:
            return None
        size_bytes = self._file.size_bytes * rows // max(self._rows_in_all, 1)
        return Slice(self._file, digest=digest, rows=rows, size_bytes=size_bytes, exact=True, untimed=untimed)

    def _takes_untimed(self, window: Window) -> bool:
        return self._untimed > 0 and window.start_us <= self._untimed_us < window.end_us


class ParquetCut:
    """A Parquet file: the row groups that can hold rows of a window.

    Where all of the file lies in the window, its version identifies the content, or `whole` where that is given, and it was
    never read for that; else the digest of its rows there does. A file of which pages are damaged, or values have no text,
    has none when it was `read` for its windows: then too its version does.
    """

    def __init__(
        self, file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None, whole: str, *, read: bool
    ) -> None:
        self._file = file
        self._whole = whole
        self._untold = whole if read else UNTOLD
        self._cuts = [_Cells(content["cells"], end_us) for content in contents if content["cells"]]
        self._untimed: int = contents[0]["untimed"]
        self._untimed_us: int = contents[0]["untimed_us"]
        self._groups: Sequence[Sequence[Any]] = contents[0]["groups"]
        self._timed = [number for number, group in enumerate(self._groups) if group[1] is not None]
        self._spans = Spans([(self._groups[number][1], self._groups[number][2] + 1) for number in self._timed])
        self.span = self._span()
        """The time from the first to the last row, with the instant of the untimed ones; None where no row has a time."""

    def _span(self) -> tuple[int, int] | None:
        timed = self._spans.hull
        if not self._untimed:
            return timed
        untimed_us = self._untimed_us
        return (min(timed[0], untimed_us), max(timed[1], untimed_us + 1)) if timed else (untimed_us, untimed_us + 1)

    def digest(self, window: Window) -> str | Untold | None:
        """Return what identifies the slice of a window, nothing for the file's version; None where nothing belongs to it."""
        untimed = self._untimed > 0 and self._takes_untimed(window)
        if not untimed and not self._spans.meets(window.start_us, window.end_us):
            return None
        if self.span is not None and window.start_us <= self.span[0] and self.span[1] <= window.end_us:
            return self._whole
        told = _told(self._cuts, window)
        if told is None:
            return self._untold
        digest, rows = told
        return digest or self._whole if rows or untimed else None

    def slice(self, window: Window) -> Slice | Untold | None:
        """Return what of the file belongs to a window; None for nothing."""
        digest = self.digest(window)
        if digest is None or digest is UNTOLD:
            return digest
        untimed = self._untimed > 0 and self._takes_untimed(window)
        parts = self._parts(window, untimed=untimed)
        rows, size_bytes, exact = self._untimed if untimed else 0, 0, not untimed
        for part in parts:
            group_rows, first_us, last_us, without_time, outside, group_bytes = self._groups[part]
            if first_us is None or first_us >= window.end_us or last_us < window.start_us:
                continue  # it is read for its rows without time alone
            if window.start_us <= first_us and last_us < window.end_us:
                rows += group_rows
                size_bytes += group_bytes
                exact = exact and not without_time and not outside
            else:
                share = _share(first_us, last_us + 1, window)
                rows += round(group_rows * share)
                size_bytes += round(group_bytes * share)
                exact = False
        return Slice(self._file, digest=digest, parts=parts, rows=rows, size_bytes=size_bytes, exact=exact, untimed=untimed)

    def _parts(self, window: Window, *, untimed: bool) -> tuple[int, ...]:
        """Return the row groups that can hold rows of a window, with those of untimed ones where it takes them."""
        if len(self._groups) == 1:  # small files: that something of it belongs to the window is known
            return (0,)
        parts = {self._timed[place] for place in self._spans.meeting(window.start_us, window.end_us)}
        if untimed:
            parts.update(number for number, group in enumerate(self._groups) if group[3])
        return tuple(sorted(parts))

    def _takes_untimed(self, window: Window) -> bool:
        return window.start_us <= self._untimed_us < window.end_us


def _share(start_us: int, end_us: int, window: Window) -> float:
    """Return the part of a row group's time that lies in a window, as an estimate of its rows."""
    return (min(end_us, window.end_us) - max(start_us, window.start_us)) / (end_us - start_us)


FileCut = RoutedCut | ParquetCut


def cut_of(
    file: InputFile, contents: Sequence[Mapping[str, Any]], end_us: int | None = None, whole: str = "", *, read: bool = False
) -> FileCut:
    """Return how an indexed file is cut: by all that was recorded of it, up to the end of history.

    `whole` identifies a file that lies in one window, where its version does not. `read` tells that it was read for its
    windows, and is not to be read again.
    """
    routed = contents[0]["kind"] == "routed"
    return RoutedCut(file, contents, end_us) if routed else ParquetCut(file, contents, end_us, whole, read=read)
