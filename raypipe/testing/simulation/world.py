"""One simulated world: processes over one source, one stage and one destination, and whose turn it is, all from one seed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from random import Random

from raypipe.destinations.memory import MemoryDestination
from raypipe.destinations.memory_state import MemoryStore
from raypipe.runtime.claiming import NoClaims
from raypipe.testing.simulation.ask import Ask
from raypipe.testing.simulation.baton import Baton, Party
from raypipe.testing.simulation.claim_laws import ClaimLaws
from raypipe.testing.simulation.claim_table import ClaimTable
from raypipe.testing.simulation.claims import SimulatedClaims
from raypipe.testing.simulation.clock import SimulatedClock
from raypipe.testing.simulation.destination import Network, SimulatedDestination
from raypipe.testing.simulation.laws import PIPELINE, Laws
from raypipe.testing.simulation.process import Process, Seams
from raypipe.testing.simulation.promise import Promise, Violation
from raypipe.testing.simulation.rows import HOUR_US, Rules
from raypipe.testing.simulation.settled import SettledMemory
from raypipe.testing.simulation.source import Index, SimulatedSource, SourceHistory
from raypipe.testing.simulation.stage import Disk, SimulatedStage
from raypipe.testing.simulation.worker import Piece, SimulatedExecutor, SimulatedWorker

FAULT_STEPS = 140  # then nothing goes wrong any more, and all has to come to an end
STEPS_MAX = 6_000  # far more than the longest of 100,000 schedules took
SECOND_ATTEMPTS_EVERY = 3  # worlds: in the others a task that waits longest has nobody beside it
FORGETFUL_EVERY = 2  # worlds in which no run remembers that nothing was to be done
IDLE_SHARE = 0.7  # a driver that waits for its work is passed over so often: polling teaches nothing


class World:
    """All that a seed decides. `play` runs it until every process has ended.

    A step is one statement of a file system or one transaction of the destination; between any two steps a process may
    be stopped for a while or for good.
    """

    def __init__(self, seed: int) -> None:
        r = self.random = Random(seed)  # noqa: S311  chance that can be played again
        self.has_second_attempts = seed % SECOND_ATTEMPTS_EVERY == 0
        self.steps = 0
        self.faults = True
        self.clock = SimulatedClock(r, self.pause)
        self.hours = r.randint(3, 6)
        self.ready_hours = self.hours - r.choice((0, 0, 1, 2))
        self.is_closed_history = r.random() < 0.5
        self.lateness_us = r.choice((None, None, 0, HOUR_US, 2 * HOUR_US))
        self.source = SourceHistory(r, self.hours)
        self.index = Index()
        self.disk = Disk()
        self.settled = SettledMemory() if seed % FORGETFUL_EVERY else None
        self.pieces: list[Piece] = []
        """The work of all processes."""
        self.network = Network(r, lambda: self.faults, trouble=r.choice((0.0, 0.5, 1.0, 2.0)))
        self.dead_holders: set[str] = set()
        self.destination = MemoryDestination(
            PIPELINE, clock=self.clock, store=MemoryStore(lock=nullcontext()), dead=self.dead_holders.__contains__
        )
        self.has_claims = r.random() < 0.5
        self.claims = ClaimTable(r, self.clock, lambda: self.faults, self.dead_holders.__contains__)
        self.laws = Laws(self.destination.store, self.source, self.disk, ClaimLaws(self.claims))
        self.rules = Rules(0, 0, 0)
        self.older_rules = [self.rules]
        self.baton = Baton(self._choose)
        self.story: list[str] = []
        self.running: dict[Party, tuple[Process, SimulatedExecutor]] = {}
        self.others: list[Party] = []
        """Processes that run no pipeline: whoever collects garbage."""
        self.frozen: dict[Party, int] = {}
        """Until which step."""
        self.happens: Callable[[], bool] = lambda: False
        """Lets something happen, if it is time for it; whoever plays the world says what."""
        self._later: list[tuple[int, Callable[[], None]]] = []
        self._names = 0
        self._is_over = False

    def play(self) -> None:
        """Run until all has ended. Raises Violation."""
        self.baton.play()

    def pause(self) -> None:
        """Give way to others."""
        self.baton.pause()

    def tell(self, text: str) -> None:
        """Add to the story."""
        self.story.append(f"{self.steps:4} {text}")

    # ---- processes ---------------------------------------------------------------------------------------

    def process(self, ask: Ask, run_id: str | None = None, *, force: bool = False) -> tuple[Process, SimulatedExecutor, Seams]:
        """Make a process for an ask, and its seams."""
        self._names += 1
        promise = Promise(
            self.source.now, ask.atomic, ask.accept_shrunk, ask.scope, ask.lateness_us, self.has_claims
        )  # fmt: skip
        name, holder = run_id or f"run{self._names}", f"host{self._names}"
        end_us = self.hours * HOUR_US if self.is_closed_history else None
        process = Process(name, holder, ask, promise, force, self.ready_hours * HOUR_US, end_us, self.laws.reported)
        source = SimulatedSource(self.source, self.index, ask.calendar, end_us, self.pause)
        worker = SimulatedWorker(source, self.disk, ask.rules, self.random, lambda: self.faults)
        begins = partial(self.laws.began, promise=promise)
        slots = self.random.randint(1, 2) + self.has_second_attempts  # an idle one makes them possible
        executor = SimulatedExecutor(worker, self.pieces, self._wait, begins, slots, self.has_second_attempts)
        claims = SimulatedClaims(self.laws.claims, promise, self.pause) if self.has_claims else NoClaims()
        stage = SimulatedStage(self.disk, self.pause)
        return process, executor, Seams(source, self.way_to_destination(promise), executor, stage, claims, self.clock, self.settled)

    def way_to_destination(self, promise: Promise) -> SimulatedDestination:
        """Return the destination as one process reaches it."""
        return SimulatedDestination(self.destination, self.network, self.disk, self.laws, promise, self.pause)

    def start(self, ask: Ask, run_id: str | None = None, *, force: bool = False) -> None:
        """Start a process as a party of its own."""
        process, executor, seams = self.process(ask, run_id, force=force)
        party = Party(process.run_id)
        self.running[party] = (process, executor)
        self.tell(f"{process.holder} starts {process.run_id}: {ask}{', by force' if force else ''}")
        self.baton.start(party, lambda: self._live(party, process, seams))

    def start_at(self, step: int, ask: Callable[[], Ask], run_id: str | None = None, *, force: bool = False) -> None:
        """Start a process later; what is asked is decided then."""
        self._later.append((step, lambda: self.start(ask(), run_id, force=force)))
        self._later.sort(key=lambda one: one[0])

    def _live(self, party: Party, process: Process, seams: Seams) -> None:
        process.run(seams)
        del self.running[party]
        self.laws.claims.ended(process.run_id, process.holder)
        self.tell(f"{process.holder} ends {process.run_id}: {process.ending}")
        if process.error is not None and self.random.random() < 0.5:
            self.start_at(self.steps + self.random.randrange(30), lambda: process.ask)

    def _wait(self, executor: SimulatedExecutor, timeout_s: float) -> None:
        """Let a driver wait until something of its work has ended, or some time has passed."""
        if self.baton.is_alone:
            while not executor.ended and self.pieces:
                self._step_piece(0)
        else:
            self.pause()
        if not executor.ended:
            self.clock.now_s += timeout_s + (self.random.choice((0.0, 0.5, 2.0)) if self.faults else 0.1)

    # ---- whose turn it is --------------------------------------------------------------------------------

    def _choose(self) -> Party | None:
        """Do steps of workers, and let things happen, until it is a process's turn; None when all is over."""
        while True:
            self.laws.look()
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise Violation("no progress, with nothing failing")
            while self._later and self._later[0][0] <= self.steps:
                self._later.pop(0)[1]()
            if self.faults:
                if self.steps > FAULT_STEPS:
                    self._stop_faults()
                elif self.happens():
                    if self.baton.holder.killed:
                        return None
                    continue
            party = self._take_turn()
            if party is not None or self._is_over:
                return party

    def _take_turn(self) -> Party | None:
        """Do a step of a worker, or say which process is next; None when it is neither."""
        parties = self._awake()
        number = int(self.random.random() * (len(self.pieces) + len(parties)))
        if number < len(self.pieces):
            self._step_piece(number)
        elif not parties:
            self._is_over = not self._goes_on()
        elif not self._only_waits(parties[number - len(self.pieces)]):
            return parties[number - len(self.pieces)]
        return None

    def _awake(self) -> list[Party]:
        if not self.frozen:
            return [*self.running, *self.others]
        self.frozen = {party: until for party, until in self.frozen.items() if until > self.steps}
        return [party for party in (*self.running, *self.others) if party not in self.frozen]

    def _only_waits(self, party: Party) -> bool:
        """Tell whether a driver would do nothing but look whether its work has ended."""
        found = self.running.get(party)
        if found is None or found[1].ended or not any(piece.executor is found[1] for piece in self.pieces):
            return False
        return self.random.random() < IDLE_SHARE

    def _goes_on(self) -> bool:
        """Nobody can move: wake the frozen, leap to what is due, end the faults; False when there is nothing more."""
        if self.frozen:
            self.frozen.clear()
        elif self._later:
            self.steps = max(self.steps, self._later[0][0])
        elif self.faults:
            self._stop_faults()
        else:
            return False
        return True

    def _step_piece(self, number: int) -> None:
        piece = self.pieces[number]
        if not piece.step() and piece in self.pieces:
            self.pieces.remove(piece)

    def _stop_faults(self) -> None:
        self.tell("nothing fails any more")
        self.faults = False
        self.frozen.clear()
        self.source.mend()
        self.ready_hours = self.hours
        while self.network.under_way:
            self.network.deliver()
            self.laws.look()
