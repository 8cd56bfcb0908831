"""Replay: what the ledger says must be live and late now, commit by commit; `verify` compares it with what is."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import field

from raypipe.core.intervals import normalise
from raypipe.core.shard import Observed, Outcome
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, order=True)
class CommittedShard:
    """One shard of one commit, as the ledger holds it."""

    seq: int
    window: Window
    outcome: Outcome
    outputs: tuple[str, ...] = ()
    """The outputs that it contributed to."""

    @property
    def observed(self) -> Observed:
        """The identity of the live range that it became, where it became one."""
        return Observed(self.window.start_us, self.window.end_us, self.seq)


@dataclass(slots=True)
class Replayed:
    """The live ranges and the late ones after all commits. Live ranges are disjoint: what a commit meets goes, whole."""

    live: list[Observed] = field(default_factory=list)
    late: list[Observed] = field(default_factory=list)

    def take(self, entries: Sequence[CommittedShard]) -> None:
        """Take in the shards of one commit."""
        loaded = [one for one in entries if one.outcome in (Outcome.LOADED, Outcome.EMPTY)]
        for one in (*loaded, *(one for one in entries if one.outcome is Outcome.COMPACTED)):
            self._replace(one.observed)
        if loaded:
            settled = normalise(one.window for one in entries if one.outcome is not Outcome.SUPERSEDED)
            self.late = [one for one in self.late if not any(_contains(window, one) for window in settled)]
        self.late.extend(one.observed for one in entries if one.outcome is Outcome.SUPERSEDED)

    def _replace(self, new: Observed) -> None:
        first = bisect.bisect_right(self.live, new.start_us, key=lambda one: one.end_us)
        last = bisect.bisect_left(self.live, new.end_us, key=lambda one: one.start_us)
        self.live[first:last] = [new]


def replay(entries: Iterable[CommittedShard]) -> Replayed:
    """Return what is left when the commits of a ledger are made again, in their order."""
    result = Replayed()
    for _, commit in itertools.groupby(sorted(entries), key=lambda one: one.seq):
        result.take(list(commit))
    return result


def forgotten(expected: Iterable[Observed], live: Iterable[Observed]) -> tuple[list[Observed], list[Observed]]:
    """Return the live ranges that the ledger does not expect, and the expected ones that are gone without a reason.

    There is one reason: an output that was given up, or whose table was dropped, forgets all that was committed until
    then. So what is gone for it is older than anything that is there, or an output that had all has lost none.
    """
    there = set(live)
    unexpected = sorted(there.difference(expected))
    oldest = min((one.seq for one in there), default=None)
    lost = sorted(one for one in expected if one not in there and oldest is not None and one.seq >= oldest)
    return unexpected, lost


def _contains(window: Window, one: Observed) -> bool:
    return window.start_us <= one.start_us and one.end_us <= window.end_us
