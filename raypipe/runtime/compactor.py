"""Compactor: makes one live range of adjacent ones, a transaction each. It reads no source and starts no work."""

from __future__ import annotations

from collections.abc import Callable

from raypipe.core import events as ev
from raypipe.core.calendar import Calendar
from raypipe.core.claims import Claimant
from raypipe.core.compaction import Compaction, CompactionPlan, compaction, plan_compaction
from raypipe.core.live_ranges import LiveRanges, versions_of
from raypipe.core.shard import Observed
from raypipe.core.state import OpenedRun, RunOpening, RunState, Snapshot
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Claims, Destination
from raypipe.runtime.settling import Settler


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was planned, and what came of it."""

    plan: CompactionPlan
    snapshot: Snapshot
    """What was observed."""
    run_id: str | None = None
    """None when there was nothing to compact, or nothing was to be written."""
    done: tuple[Window, ...] = ()
    conflicts: tuple[Window, ...] = ()
    """Ranges that another run works on, or committed meanwhile: they were left as they were."""


@dataclass(frozen=True, slots=True)
class Compactor:
    """Compacts the tables of one pipeline. What it did before it was stopped stands, and the next one does the rest."""

    destination: Destination
    claims: Claims
    settler: Settler
    tell: Callable[[ev.RunEvent], None]

    def look(self, opening: RunOpening, before_us: int, into: Calendar | None) -> Compacted:
        """Plan, and write nothing."""
        snapshot = self.settler.settled(self.destination.snapshot)
        live = LiveRanges.of(snapshot, tuple(opening.definitions))
        return Compacted(plan_compaction(live, versions_of(snapshot, opening.definitions), before_us, into), snapshot)

    def run(self, opening: RunOpening, before_us: int, into: Calendar | None) -> Compacted:
        """Compact all that ends by an instant. Raises Fenced, InDoubt and what else a destination raises."""
        mark = self.claims.mark()  # before the destination is observed, so that nothing is missed
        found = self.look(opening, before_us, into)
        if not found.plan.compactions:
            return found
        run = self.settler.settled(lambda: self.destination.open_run(opening))
        for closed in run.closed:
            self.tell(ev.Warned(f"run {closed} was left open by a process that is gone; it was closed"))
        live = LiveRanges.of(found.snapshot, tuple(opening.definitions))
        claimant = Claimant(run.run_id, opening.holder)
        done = [one.window for one in found.plan.compactions if self._compact(run, claimant, one, live.observed(one.window), mark)]
        self.settler.settled(lambda: self.destination.close_run(run.run_id, run.epoch, RunState.DONE))
        left = tuple(one.window for one in found.plan.compactions if one.window not in done)
        return Compacted(found.plan, found.snapshot, run.run_id, tuple(done), left)

    def _compact(self, run: OpenedRun, claimant: Claimant, one: Compaction, observed: frozenset[Observed], mark: int) -> bool:
        """Commit one range; False when it is another's meanwhile."""
        name = str(one.window)
        if self.claims.take(claimant, name, {one.window: mark}):
            return False
        committed = False
        try:
            request = compaction(run, one, observed)
            committed = bool(self.settler.settled(lambda: self.destination.commit(request, ())).outcomes)
        finally:
            self.claims.release(run.run_id, name, done=committed)
        return committed
