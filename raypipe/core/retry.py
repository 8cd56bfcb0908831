"""Retries: how often and how soon the same work is tried again."""

from __future__ import annotations

from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """`attempts` in all; the wait before the n-th retry is `delay_s * factor ** (n - 1)`."""

    attempts: int = 3
    delay_s: float = 1.0
    factor: float = 4.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.delay_s < 0 or self.factor < 1:
            raise ValueError("retries need attempts >= 1, delay >= 0s and factor >= 1")

    def wait_s(self, failures: int) -> float | None:
        """Return the seconds to wait after so many failures, or None when there is no further attempt."""
        if failures >= self.attempts:
            return None
        return float(self.delay_s * self.factor ** (failures - 1))
