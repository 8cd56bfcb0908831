"""The table of simulated claims: the real decision over what is kept in memory, and may be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from raypipe.core.claims import Claim, Claimant, Refusal, decide_claim
from raypipe.core.window import Window
from raypipe.destinations.file_claims import CLAIM_LIMIT_S
from raypipe.testing.simulation.clock import SimulatedClock

COMES_TO_NOTHING = 0.02  # the share of calls that find the file busy: work goes on without claims


@dataclass(eq=False)
class Kept:
    """One claim as it is kept; with `done` it says what was finished."""

    claim: Claim
    name: str
    expires_s: float
    was_let_go: bool = False
    """Its owner let go of it, and nobody heard."""

    @property
    def run_id(self) -> str:
        """Whose it is."""
        return self.claim.claimant.run_id


@dataclass
class ClaimTable:
    """All claims, shared by every process."""

    random: Random
    clock: SimulatedClock
    faults: Callable[[], bool]
    is_dead: Callable[[str], bool]
    kept: list[Kept] = field(default_factory=list)
    finished: int = 0

    def counts(self, one: Kept) -> bool:
        """Tell whether a claim is still there and says anything to others."""
        alive = bool(one.claim.done) or not self.is_dead(one.claim.claimant.holder)
        return one in self.kept and alive and one.expires_s > self.clock.now_s

    def standing(self) -> list[Kept]:
        """Return the claims on what is worked on now."""
        return [one for one in self.kept if not one.claim.done and self.counts(one)]

    def forget(self) -> None:
        """Lose a claim, or all: they are there for fairness only."""
        if self.kept and self.random.random() < 0.7:
            self.kept.remove(self.random.choice(self.kept))
        else:
            self.kept.clear()

    def comes_to_nothing(self) -> bool:
        """Draw whether a call finds the table busy."""
        return self.faults() and self.random.random() < COMES_TO_NOTHING

    def take(self, claimant: Claimant, name: str, wanted: Mapping[Window, int]) -> Refusal | None:
        """Claim windows, all or none."""
        self.kept = [one for one in self.kept if one.expires_s > self.clock.now_s]
        others = [one.claim for one in self.kept if one.run_id != claimant.run_id and self.counts(one)]
        refusal = decide_claim(claimant, wanted, others)
        if refusal is None:
            expires_s = self.clock.now_s + CLAIM_LIMIT_S
            self.kept.extend(Kept(Claim(window, claimant), name, expires_s) for window in sorted(wanted))
        return refusal

    def held_by(self, run_id: str, name: str | None = None) -> list[Kept]:
        """Return what a run holds, of all names or of one."""
        return [one for one in self.kept if one.run_id == run_id and name in (None, one.name) and not one.claim.done]
