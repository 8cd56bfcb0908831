"""Stopping: what a run that was told to stop may still do, and for how long."""

from __future__ import annotations

from raypipe.errors import Interrupted
from raypipe.ports import Clock, StopFlag

WAIT_MAX_S = 0.2  # how soon a signal is noticed
STOP_GRACE_S = 5.0  # work in flight may end within this time after a signal; container managers kill after 10 s or more


class Stopping:
    """Looks at a StopFlag. The grace begins when the signal is first seen."""

    def __init__(self, stop: StopFlag, clock: Clock) -> None:
        self._stop = stop
        self._clock = clock
        self._seen_s: float | None = None

    @property
    def signal(self) -> str | None:
        """The signal that asked for it, None as long as there was none. Raises Interrupted after the second one."""
        if self._stop.at_once:
            raise Interrupted("stopped at once; what is committed and staged is kept: run again to resume")
        if self._stop.signal is not None and self._seen_s is None:
            self._seen_s = self._clock.monotonic_s()
        return self._stop.signal

    @property
    def grace_is_over(self) -> bool:
        """Tell whether what is still in flight is not waited for any longer."""
        return self.signal is not None and self._seen_s is not None and self._clock.monotonic_s() - self._seen_s > STOP_GRACE_S

    def sleep_s(self, seconds: float) -> None:
        """Wait, as long as the grace of a signal lasts. Raises Interrupted after the second signal."""
        until_s = self._clock.monotonic_s() + seconds
        while (left_s := until_s - self._clock.monotonic_s()) > 0 and not self.grace_is_over:
            self._clock.sleep_s(min(WAIT_MAX_S, left_s))
