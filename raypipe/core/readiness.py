"""Readiness: how far the shards of a pipeline are ready that reads the table of another one."""

from __future__ import annotations

from collections.abc import Callable

from raypipe.core.plan import Horizon
from raypipe.core.window import Window


def as_far_as(ready: Horizon, watermark_us: int | None, seen_until: Callable[[int], int] = lambda end_us: end_us) -> Horizon:
    """Return what of a horizon is ready when its input is complete up to a watermark: whole shards that see nothing beyond.

    None: the input is not complete anywhere, so nothing is ready. `seen_until` says until when a shard that ends at an
    instant sees input.
    """
    if ready.window is None or (watermark_us is not None and watermark_us >= seen_until(ready.window.end_us)):
        return ready
    start_us = ready.window.start_us
    if watermark_us is None or watermark_us <= start_us:
        return Horizon(ready.calendar, None)
    index = ready.calendar.index_of(min(watermark_us, ready.window.end_us))
    while index > 0 and seen_until(ready.calendar.boundary(index)) > watermark_us:
        index -= 1
    end_us = ready.calendar.boundary(index)
    return Horizon(ready.calendar, Window(start_us, end_us) if end_us > start_us else None)


def beyond(whole: Horizon, ready: Horizon) -> Window | None:
    """Return what of a horizon waits for its input; None when nothing does."""
    if whole.window is None or whole.window == ready.window:
        return None
    return Window(ready.window.end_us if ready.window else whole.window.start_us, whole.window.end_us)
