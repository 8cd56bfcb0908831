"""The low watermark: the time before which every shard is committed."""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.core.window import Window


def low_watermark(coverage: Sequence[Window], start_us: int) -> int | None:
    """Return sup{t: [start, t) is covered} for normalised coverage, or None when nothing from the start on is."""
    for window in coverage:
        if window.start_us <= start_us < window.end_us:
            return window.end_us
    return None
