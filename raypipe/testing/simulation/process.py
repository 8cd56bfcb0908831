"""One simulated process: the real driver of one run, with everything around it simulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from raypipe.core import events as ev
from raypipe.core.plan import horizon
from raypipe.core.retry import Retries
from raypipe.core.state import RunOpening
from raypipe.core.stragglers import StragglerLimits
from raypipe.errors import RaypipeError
from raypipe.ports import Claims, Clock, Destination, StageStore, StopFlag
from raypipe.runtime.acceptor import Accepted, Acceptor, Difference
from raypipe.runtime.compactor import Compacted, Compactor
from raypipe.runtime.driver import Driver, DriverSettings
from raypipe.runtime.planner import Planned, Planner, scanned_here
from raypipe.runtime.settling import Settler
from raypipe.runtime.stopping import Stopping
from raypipe.testing.simulation.ask import Ask
from raypipe.testing.simulation.attempt_laws import AttemptLaws
from raypipe.testing.simulation.promise import Promise, Violation, hours
from raypipe.testing.simulation.rows import MERGES
from raypipe.testing.simulation.settled import SettledMemory
from raypipe.testing.simulation.source import SimulatedSource
from raypipe.testing.simulation.worker import SimulatedExecutor

MEMORY_BYTES = 8 * 1024**2  # tasks of 1 MiB
RETRIES = Retries(attempts=3, delay_s=1.0, factor=4.0)
TASK_TIMEOUT_S = 40.0
SOON = StragglerLimits(finished_min=0, floor_s=1.0, times=0.0)  # a task that is looked at some times is slow enough


@dataclass(frozen=True, slots=True)
class Seams:
    """What a driver is handed."""

    source: SimulatedSource
    destination: Destination
    executor: SimulatedExecutor
    stages: StageStore
    claims: Claims
    clock: Clock
    settled: SettledMemory | None


@dataclass(eq=False)
class Process:
    """One process that runs an ask: by itself, or as the successor of one that is dead or believed to be."""

    run_id: str
    holder: str
    ask: Ask
    promise: Promise
    force: bool
    ready_us: int
    end_us: int | None
    tell: Callable[[ev.RunClosed, Promise], None]
    stop: StopFlag = field(default_factory=StopFlag)
    attempts: AttemptLaws = field(default_factory=AttemptLaws)
    closed: ev.RunClosed | None = None
    compacted: Compacted | None = None
    accepted: Accepted | None = None
    error: RaypipeError | None = None

    @property
    def ending(self) -> str:
        """How it ended, in a phrase."""
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error}"
        if self.compacted is not None:
            return f"{len(self.compacted.done)} compacted"
        if self.accepted is not None:
            return f"{len(self.accepted.windows)} accepted"
        return self.closed.status if self.closed else "not yet"

    def on(self, event: ev.RunEvent) -> None:
        """Take note of the first plan, and judge attempts (ports.Observer)."""
        self.attempts.on(event)
        if isinstance(event, ev.Planned) and not event.again:
            self.promise.seen = self.promise.observed
            windows = [*(one.window for one in event.shards), *(one.window for one in event.failures)]
            self.promise.plan.update(hour for window in windows for hour in hours(window))

    def run(self, seams: Seams) -> None:
        """Run the driver to its end, whatever end that is. Raises Violation for an error that nobody planned for."""
        try:
            if self.ask.compact_before_us is not None:
                self.compacted = self._compact(seams)
                return
            if self.ask.accept is not None:
                self.accepted = self._accept(seams, self.ask.accept)
                return
            self.closed = self._driver(seams).run()
        except RaypipeError as error:
            self.error = error
        except Exception as error:
            raise Violation(f"the driver ended with {type(error).__name__}: {error}") from error
        else:
            self.tell(self.closed, self.promise)
            if self.closed.status == "done":
                seams.executor.require_order()

    def look(self, seams: Seams) -> Planned:
        """Plan and write nothing, as `raypipe plan` does."""
        return self._planner(seams).first(lambda files: scanned_here(seams.source, files))

    def _planner(self, seams: Seams) -> Planner:
        ask = self.ask
        ready = horizon(ask.calendar, 0, self.end_us, 0, self.ready_us)
        return Planner(
            seams.source, seams.destination, ready, ask.scope, ask.window, ask.rules.definitions(), seams.clock,
            ask.accept_shrunk, ask.patience,
        )  # fmt: skip

    def _driver(self, seams: Seams) -> Driver:
        ask = self.ask
        settings = DriverSettings(
            pipeline="p", executor="simulated", memory_bytes=MEMORY_BYTES, atomic=ask.atomic, retries=RETRIES,
            task_timeout_s=TASK_TIMEOUT_S, stragglers=SOON,
        )  # fmt: skip
        planner = replace(self._planner(seams), settled=seams.settled)
        return Driver(
            settings, self._opening, planner, seams.destination, seams.executor, seams.stages, self, seams.clock, self.stop,
            claims=seams.claims,
        )  # fmt: skip

    def _accept(self, seams: Seams, what: Difference) -> Accepted:
        """Accept what differs, as `raypipe accept` does."""
        planned = self.look(seams)
        self.promise.seen = planned.snapshot
        settler = Settler(Stopping(self.stop, seams.clock), self.on)
        return Acceptor(seams.destination, settler, self.on).run(self._opening, planned, what)

    def _compact(self, seams: Seams) -> Compacted:
        """Compact what is old enough, as `raypipe compact` does."""
        assert self.ask.compact_before_us is not None
        settler = Settler(Stopping(self.stop, seams.clock), self.on)
        into = self.ask.calendar if self.ask.cell_by_cell else None
        return Compactor(seams.destination, seams.claims, settler, self.on).run(self._opening, self.ask.compact_before_us, into)

    @property
    def _opening(self) -> RunOpening:
        ask = self.ask
        return RunOpening(
            run_id=self.run_id, kind=ask.kind, window=ask.window, start_us=0, holder=self.holder,
            definitions=ask.rules.definitions(), versions={}, merges=MERGES, force=self.force,
        )  # fmt: skip
