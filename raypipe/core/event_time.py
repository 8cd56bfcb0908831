"""EventTime: where the time of events stands, where history begins, how it is cut, and what shards see around them."""

from __future__ import annotations

from collections.abc import Sequence

from raypipe.core.calendar import Width, instant_after, instant_before
from raypipe.core.intervals import Ranges, intersect, normalise
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTime:
    """Where event time stands, where history begins, and how it is cut into shards."""

    column: str
    """A column of the source, or a path into one (`payload.ts`)."""
    format: str = "iso"
    """`iso`, `epoch_s`, `epoch_ms`, `epoch_us` or a strptime pattern; only for text and integers."""
    zone: str = "UTC"
    start_us: int
    end_us: int | None = None
    shard: Width
    lateness_us: int | None = None
    """How far below the watermark late input still reopens shards by itself; None: however far."""
    delay_us: int = 0
    lookback: Width | None = None
    """How much of the time before a shard the SQL of outputs sees beside it; days and longer follow the zone's calendar."""
    lookahead: Width | None = None
    """How much of the time after a shard the SQL of outputs sees beside it: the shard is ready once that has passed too."""

    @property
    def looks_around(self) -> bool:
        """Whether SQL sees rows that are not of the shard."""
        return self.lookback is not None or self.lookahead is not None

    def before(self, window: Window) -> Window | None:
        """Return the time before a shard that its SQL sees too: None without lookback, and where history begins."""
        if self.lookback is None:
            return None
        start_us = max(self.start_us, instant_before(window.start_us, self.lookback, self.zone))
        return Window(start_us, window.start_us) if start_us < window.start_us else None

    def within(self, windows: Sequence[Window]) -> Ranges:
        """Return what of windows lies in the history: its last cell may stick out."""
        end_us = self.end_us if self.end_us is not None else max((window.end_us for window in windows), default=0)
        return intersect(normalise(windows), (Window(self.start_us, end_us),)) if end_us > self.start_us else ()

    def after(self, window: Window) -> Window | None:
        """Return the time after a shard that its SQL sees too: None without lookahead, and where history ends."""
        end_us = self.seen_until(window.end_us)
        return Window(window.end_us, end_us) if end_us > window.end_us else None

    def seen_until(self, end_us: int) -> int:
        """Return until when input is seen by a shard that ends at an instant: never beyond the history."""
        seen_us = end_us if self.lookahead is None else instant_after(end_us, self.lookahead, self.zone)
        return seen_us if self.end_us is None else min(seen_us, self.end_us)
