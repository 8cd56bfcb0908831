"""decide_claim: which shards a run may start while others work on the same ranges: no double work, and never safety.

Claims share out work among runs at the same time. What may be committed is decided by `core/commit.py` alone: a claim that is
lost, ignored or wrong costs a conflict, and with it some work that was done twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raypipe.core.intervals import meeting
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Claimant:
    """A run that claims; an `atomic` one claims all of its window before it plans, so that it cannot starve."""

    run_id: str
    holder: str
    """`host:pid:process start time`, so that claims of the dead are told."""
    atomic: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A range that a run works on; with `done`, one that it has finished, as the n-th of all that were finished."""

    window: Window
    claimant: Claimant
    done: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run may not start some of the shards that it wants."""

    held: frozenset[Window]
    """Others work on them: wait."""
    done: frozenset[Window]
    """Others have finished them since they were planned: plan again."""
    by: Claimant
    """One of those others."""


def decide_claim(claimant: Claimant, wanted: Mapping[Window, int], others: Iterable[Claim]) -> Refusal | None:
    """Return what a run may not start of the windows that it wants; each comes with the `done` that was newest at its plan.

    `others` are claims of other runs, without those that are expired or whose holder is dead. An atomic run waits for other
    atomic runs alone: it holds all that it will ever want, so that nobody waits for it while it waits for them.
    """
    held: set[Window] = set()
    done: set[Window] = set()
    by: Claimant | None = None
    windows = sorted(wanted)
    for claim in others:
        if claimant.atomic and (claim.done or not claim.claimant.atomic):
            continue
        for window in meeting(windows, claim.window):
            if not claim.done or claim.done > wanted[window]:
                (done if claim.done else held).add(window)
                by = claim.claimant
    return None if by is None else Refusal(frozenset(held), frozenset(done - held), by)
