"""The simulated clock: it passes where something waits, and leaps where a machine was suspended."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from raypipe.lazy_dataclass import dataclass

OVERSLEPT_S = (0.0, 3.0, 20.0)  # a wait takes as long as asked, or much longer


@dataclass
class SimulatedClock:
    """Implements `ports.Clock` for all processes; to sleep is to give way to others."""

    random: Random
    pause: Callable[[], None]
    now_s: float = 1_000_000.0

    def now_us(self) -> int:
        """Return microseconds since 1970."""
        return int(self.now_s * 1e6)

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return self.now_s

    def sleep_s(self, seconds: float) -> None:
        """Wait, mostly longer than asked."""
        self.now_s += seconds + self.random.choice(OVERSLEPT_S)
        self.pause()
