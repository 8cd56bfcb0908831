"""Looked back: what of each file belongs to the time before a shard, put together from cells, which shards have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from raypipe.core.fingerprint import fingerprint
from raypipe.core.shard import Slice
from raypipe.core.window import Window


def looked_back(window: Window | None, cells: Mapping[Window, Sequence[Slice]]) -> Iterator[Slice]:
    """Yield a slice of each file that has rows in a window, from the slices of the cells that the window meets.

    Rows without event time stay with the shards that hold them.
    """
    by_file: dict[str, list[tuple[Window, Slice]]] = {}
    for cell, slices in cells.items():
        for one in slices:
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
            lookback=True,
        )
