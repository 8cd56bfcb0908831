"""What waits inside a run: finished shards for their commit, others for the time of their next attempt."""

from __future__ import annotations

import heapq
from dataclasses import field

from raypipe.core.commit import ShardCommit
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.shard import Outcome, Shard, ShardResult
from raypipe.lazy_dataclass import dataclass

COMMIT_SHARDS = 10_000  # bounds one transaction, and the results that the driver holds
BUFFERED_ROWS_MAX = 1_000_000  # contributions waiting in memory are committed at this size
BUFFERED_BYTES_MAX = 256 * 1024**2  # or this one: a few rows may hold long lists


@dataclass(slots=True)
class Buffer:
    """Finished shards that wait for their commit, as they will be asked for: the fingerprints are made while others are at work."""

    shards: list[ShardCommit] = field(default_factory=list)
    since_s: float | None = None
    rows: int = 0
    size_bytes: int = 0
    """Of their contributions in memory."""

    @property
    def is_full(self) -> bool:
        """Whether they are committed without waiting for more."""
        return len(self.shards) >= COMMIT_SHARDS or self.rows >= BUFFERED_ROWS_MAX or self.size_bytes >= BUFFERED_BYTES_MAX

    def add(self, result: ShardResult, outcome: Outcome, attempt_id: str, now_s: float) -> None:
        """Put one more in; the first tells since when something waits. No attempt: another run has done it."""
        self.shards.append(ShardCommit(result, outcome, attempt_id, input_fingerprint(result.slices)))
        self.rows += sum([stat.rows for stat in result.outputs.values()])
        self.since_s = now_s if self.since_s is None else self.since_s

    def take(self) -> list[ShardCommit]:
        """Take all of them out."""
        taken, self.shards, self.since_s, self.rows, self.size_bytes = self.shards, [], None, 0, 0
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
