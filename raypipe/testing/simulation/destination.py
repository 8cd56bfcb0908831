"""The simulated way to the destination: the real memory destination behind a network that loses, delays and refuses.

The transaction itself is one moment; before and after it anything may happen, to the caller too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from random import Random
from typing import TypeVar

from raypipe.core.commit import CommitRequest, Receipt
from raypipe.core.shard import ShardFailure
from raypipe.core.state import OpenedRun, RunOpening, RunState, Snapshot
from raypipe.destinations.memory import MemoryDestination
from raypipe.destinations.memory_state import glance_of
from raypipe.errors import CommitUnknown, DestinationBusy, RaypipeError
from raypipe.lazy_dataclass import dataclass
from raypipe.ports import Staged
from raypipe.testing.simulation.laws import Laws
from raypipe.testing.simulation.promise import Promise
from raypipe.testing.simulation.stage import Disk

NEVER_ARRIVES, ARRIVES_LATER, ANSWER_LOST, BUSY = 0.03, 0.03, 0.08, 0.01  # shares of the calls that meet each fate

_T = TypeVar("_T")


@dataclass
class Network:
    """What was sent and has not arrived yet, whoever sent it and whether it still lives."""

    random: Random
    faults: Callable[[], bool]
    trouble: float = 1.0
    """How much worse, or better, this network is than most."""
    under_way: list[Callable[[], object]] = field(default_factory=list)

    def fate(self) -> float:
        """Draw what becomes of one call: below the sum of the shares something goes wrong with it."""
        return self.random.random() / self.trouble if self.trouble and self.faults() else 1.0

    def deliver(self) -> None:
        """Let one of them arrive; nobody hears the answer."""
        arrived = self.under_way.pop(self.random.randrange(len(self.under_way)))
        try:
            arrived()
        except RaypipeError:
            return


@dataclass(frozen=True, slots=True)
class SimulatedDestination:
    """Implements `ports.Destination` for one process over the destination that all share."""

    inner: MemoryDestination
    network: Network
    disk: Disk
    laws: Laws
    promise: Promise
    pause: Callable[[], None]

    def snapshot(self) -> Snapshot:
        """Read state."""
        self.promise.observed = self._ask(self.inner.snapshot)
        return self.promise.observed

    def glance(self) -> Snapshot:
        """Read what a plan that is settled needs; by the digest, all of it is observed."""
        return glance_of(self.snapshot())

    def open_run(self, opening: RunOpening) -> OpenedRun:
        """Create or take over the run."""
        return self._change(lambda: self.laws.opened(self.inner.open_run(opening), self.promise))

    def commit(self, request: CommitRequest, staged: Sequence[Staged]) -> Receipt:
        """Commit a group, after its staged files were verified and read."""
        loaded = [self.disk.load(one) for one in staged]
        return self._change(lambda: self._commit(request, loaded))

    def heartbeat(self, run_id: str, epoch: int) -> None:
        """Say that the owner is alive."""
        self._ask(lambda: self.inner.heartbeat(run_id, epoch))

    def record_failures(self, run_id: str, epoch: int, failures: Sequence[ShardFailure]) -> None:
        """Remember failed shards."""
        self._change(lambda: self._record_failures(run_id, epoch, failures))

    def close_run(self, run_id: str, epoch: int, state: RunState) -> int | None:
        """End a run."""
        return self._change(lambda: self._close(run_id, epoch, state))

    def cancel(self, run_id: str | None) -> tuple[str, ...]:
        """Cancel runs."""
        cancelled = self.inner.cancel(run_id)
        for one in cancelled:
            self.laws.ended(one)
        return cancelled

    def _commit(self, request: CommitRequest, loaded: Sequence[Staged]) -> Receipt:
        receipt = self.inner.commit(request, loaded)
        self.laws.committed(request, receipt)
        return receipt

    def _record_failures(self, run_id: str, epoch: int, failures: Sequence[ShardFailure]) -> None:
        self.inner.record_failures(run_id, epoch, failures)
        self.laws.fenced(run_id, epoch)

    def _close(self, run_id: str, epoch: int, state: RunState) -> int | None:
        watermark_us = self.inner.close_run(run_id, epoch, state)
        self.laws.closed(run_id, epoch)
        return watermark_us

    def _ask(self, ask: Callable[[], _T]) -> _T:
        self.pause()
        if self.network.fate() < BUSY:
            raise DestinationBusy("the destination is busy")
        return ask()

    def _change(self, change: Callable[[], _T]) -> _T:
        self.pause()
        fate = self.network.fate()
        if fate < NEVER_ARRIVES:
            raise CommitUnknown("no answer: it never arrived")
        if fate < NEVER_ARRIVES + ARRIVES_LATER:
            self.network.under_way.append(change)
            self.pause()
            raise CommitUnknown("no answer: it arrives later")
        answer = change()
        self.pause()
        if fate < NEVER_ARRIVES + ARRIVES_LATER + ANSWER_LOST:
            raise CommitUnknown("the answer was lost")
        return answer
