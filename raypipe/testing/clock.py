"""Clocks for tests: one that stands still until it is moved, and one on which waiting takes no time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from raypipe.core.window import from_us, to_us
from raypipe.lazy_dataclass import dataclass


class FrozenClock:
    """Stands still until it is moved; implements `ports.Clock`.

    `raypipe.run(pipeline, clock=FrozenClock("2026-01-03"))` does what was ready at that moment: `time.end` may be left out of
    a pipeline, and its tests still see the same shards for ever. A time without an offset is UTC. Only the time of day stands
    still: what waits for a retry or for another process waits as long as ever.
    """

    def __init__(self, now: datetime | str) -> None:
        self._now_us = _us(now)

    @property
    def now(self) -> datetime:
        """The moment at which it stands, in UTC."""
        return from_us(self._now_us)

    def move_to(self, now: datetime | str) -> None:
        """Stand at another moment."""
        self._now_us = _us(now)

    def advance(self, by: timedelta) -> None:
        """Move on, or back, by a duration."""
        self._now_us = to_us(self.now + by)

    def now_us(self) -> int:
        """Return microseconds since 1970 in UTC."""
        return self._now_us

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(slots=True)
class SteppedClock:
    """Only waiting makes it go on, and takes no time: a run on it depends on nothing but its steps."""

    start_us: int
    elapsed_s: float = 0.0

    def now_us(self) -> int:
        """Return microseconds since 1970 in UTC."""
        return self.start_us + int(self.elapsed_s * 1e6)

    def monotonic_s(self) -> float:
        """Return the seconds that were waited."""
        return self.elapsed_s

    def sleep_s(self, seconds: float) -> None:
        """Let the seconds pass at once."""
        self.elapsed_s += seconds


def _us(moment: datetime | str) -> int:
    given = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return to_us(given if given.tzinfo is not None else given.replace(tzinfo=UTC))
