"""What waits inside a run: finished shards for their commit, others for the time of their next attempt."""

from __future__ import annotations

import heapq
from dataclasses import field

from raypipe.core.shard import Outcome, Shard, ShardResult
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """A shard that is done, or that another run has done, and the attempt that holds its contribution."""

    result: ShardResult
    attempt_id: str
    outcome: Outcome

    @property
    def window(self) -> Window:
        """Its range."""
        return self.result.window


@dataclass(slots=True)
class Buffer:
    """Finished shards that wait for their commit."""

    shards: list[Finished] = field(default_factory=list)
    since_s: float | None = None
    rows: int = 0

    def add(self, finished: Finished, now_s: float) -> None:
        """Put one more in; the first tells since when something waits."""
        self.shards.append(finished)
        self.rows += sum(stat.rows for stat in finished.result.outputs.values())
        self.since_s = now_s if self.since_s is None else self.since_s

    def take(self) -> list[Finished]:
        """Take all of them out."""
        taken, self.shards, self.since_s, self.rows = self.shards, [], None, 0
        return taken


class Waiting:
    """Shards whose next attempt is not due yet, the soonest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, tuple[Shard, ...]]] = []
        self._added = 0

    def add(self, at_s: float, shards: tuple[Shard, ...]) -> None:
        """Let shards wait until a time."""
        self._added += 1
        heapq.heappush(self._heap, (at_s, self._added, shards))

    def take_due(self, now_s: float) -> list[tuple[Shard, ...]]:
        """Take out those whose time has come."""
        due = []
        while self._heap and self._heap[0][0] <= now_s:
            due.append(heapq.heappop(self._heap)[2])
        return due

    @property
    def next_s(self) -> float | None:
        """When the next ones are due; None where none wait."""
        return self._heap[0][0] if self._heap else None

    def __bool__(self) -> bool:
        return bool(self._heap)
