"""Looked around: what of each file belongs to the time before or after a shard, put together from cells that shards share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from raypipe.core.calendar import Calendar
from raypipe.core.fingerprint import fingerprint
from raypipe.core.shard import Slice
from raypipe.core.window import Window


def looked_around(
    window: Window | None, calendar: Calendar, cells: Mapping[Window, Sequence[Slice]], *, ahead: bool
) -> Iterator[Slice]:
    """Yield a slice of each file that has rows in a window, from the slices of the cells that the window meets.

    `ahead` tells that it lies after its shard. Rows without event time stay with the shards that hold them.
    """
    by_file: dict[str, list[tuple[Window, Slice]]] = {}
    for cell in calendar.cells(window) if window is not None else ():
        for one in cells[cell]:
            by_file.setdefault(one.file.uri, []).append((cell, one))
    for uri in sorted(by_file):
        found = [one for _, one in by_file[uri]]
        digests = [one.digest for one in found]
        yield Slice(
            found[0].file,
            digest=fingerprint(digests) if all(digests) else "",
            parts=tuple(sorted({part for one in found for part in one.parts})),
            rows=sum(one.rows for one in found),
            size_bytes=sum(one.size_bytes for one in found),
            exact=all(one.exact and window is not None and window.contains(cell) for cell, one in by_file[uri]),
            lookback=not ahead,
            lookahead=ahead,
        )
