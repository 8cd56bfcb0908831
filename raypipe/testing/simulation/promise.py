"""What a driver promises when it plans, and what a broken promise or law is."""

from __future__ import annotations

from dataclasses import field

from raypipe.core.plan import Scope
from raypipe.core.shard import Outcome
from raypipe.core.state import Snapshot
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass
from raypipe.testing.simulation.rows import HOUR_US


class Violation(BaseException):
    """A law does not hold. No handler of raypipe may take it for an error that it knows."""


def require(fact: bool, text: str) -> None:
    """Raise Violation unless the fact holds."""
    if not fact:
        raise Violation(text)


def hours(window: Window) -> range:
    """Return the hours of a window: the finest that ranges are cut at here."""
    return range(window.start_us // HOUR_US, window.end_us // HOUR_US)


@dataclass
class Promise:
    """What one driver said that it would do, and what it did."""

    planned_at: int
    """The moment of the source at which it began: what it commits is from then or later."""
    atomic: bool = False
    accept_shrunk: bool = False
    scope: Scope = Scope.DUE
    lateness_us: int | None = None
    claims: bool = False
    """Whether it claims what it works on."""
    observed: Snapshot = field(default_factory=Snapshot)
    """What it saw of the destination last."""
    seen: Snapshot = field(default_factory=Snapshot)
    """What it had seen when it planned."""
    plan: set[int] = field(default_factory=set)
    """The hours of its first plan."""
    claimed: set[int] = field(default_factory=set)
    """The hours that it asked for as an atomic run before it planned, whatever came of it."""
    done: dict[Window, Outcome] = field(default_factory=dict)
    read: dict[tuple[Window, int], int] = field(default_factory=dict)
    """By shard and commit, the rows that it wrote, as the ledger says."""

    @property
    def held_until_us(self) -> int | None:
        """Late ranges that end by then are left to a backfill; None: none are."""
        reached_us = self.seen.watermark_us
        return None if reached_us is None or self.lateness_us is None else reached_us - self.lateness_us

    @property
    def done_hours(self) -> set[int]:
        """The hours that it committed or found done."""
        return {hour for window in self.done for hour in hours(window)}
