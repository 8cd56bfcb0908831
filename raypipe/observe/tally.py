"""Tally: how far a run is, added up from its events; what every display of progress shows."""

from __future__ import annotations

from dataclasses import field

from raypipe.core.events import (
    Adopted,
    FileScanned,
    GroupCommitted,
    Planned,
    RunClosed,
    RunEvent,
    RunOpened,
    ScanStarted,
    StopAsked,
    TaskEnded,
    TaskStarted,
)
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(slots=True)
class Tally:
    """Counts of one run. `at` takes an event and the time it came at; the rest are questions."""

    pipeline: str = ""
    executor: str = ""
    phase: str = "planning"
    planned: int = 0
    finished: int = 0
    failed: int = 0
    rows: int = 0
    files: int = 0
    files_scanned: int = 0
    size_bytes: int = 0
    scanned_bytes: int = 0
    started_s: float | None = None
    """When work on shards began."""
    weights: dict[Window, int] = field(default_factory=dict)
    """Estimated rows of the shards that are neither committed nor failed."""
    waiting: set[Window] = field(default_factory=set)
    """Those of them that are done and wait for their commit, which comes once a second."""
    weight_total: int = 0
    weight_left: int = 0
    """Of the shards that are not done yet."""

    def at(self, event: RunEvent, now_s: float) -> None:
        """Take note of an event."""
        match event:
            case RunOpened():
                self.pipeline, self.executor = event.pipeline, event.executor
            case ScanStarted() | FileScanned():
                self._scan(event)
            case Planned():
                self._plan(event)
            case TaskStarted():
                self.started_s = now_s if self.started_s is None else self.started_s
                self._phase("working")
            case TaskEnded() | Adopted():
                self._work(event)
            case GroupCommitted():
                self._settle(list(event.receipt.outcomes), failed=False)
            case StopAsked():
                self.phase = "stopping"
            case RunClosed():
                self.planned, self.finished, self.failed = event.planned, event.committed, event.failed
                self.waiting.clear()
            case _:
                pass  # warnings and waits move nothing

    @property
    def done(self) -> int:
        """Shards that are committed, or done and on their way to it."""
        return self.finished + len(self.waiting)

    def rows_per_s(self, now_s: float) -> float:
        """Return the mean speed since work on shards began."""
        return self.rows / max(now_s - self.started_s, 1e-3) if self.started_s is not None else 0.0

    def left_s(self, now_s: float) -> float | None:
        """Return the time left if the rest goes as the part that is done, by estimated rows; None before there is one."""
        done = self.weight_total - self.weight_left
        if self.started_s is None or done <= 0:
            return None
        return (now_s - self.started_s) * self.weight_left / done

    def _scan(self, event: ScanStarted | FileScanned) -> None:
        if isinstance(event, ScanStarted):
            self.phase, self.files, self.size_bytes = "reading files", event.files, event.size_bytes
            self.files_scanned = self.scanned_bytes = 0
        else:
            self.files_scanned += 1
            self.scanned_bytes += event.file.size_bytes

    def _phase(self, phase: str) -> None:
        if self.phase != "stopping":
            self.phase = phase

    def _plan(self, event: Planned) -> None:
        self._phase("working")
        self._settle([one.window for one in event.satisfied], failed=False)
        for shard in event.shards:
            if shard.window in self.waiting:  # it lost its commit to another run and is done again
                self.waiting.discard(shard.window)
                self.weight_left += self.weights[shard.window]
            if shard.window not in self.weights:
                self.weights[shard.window] = max(shard.rows, 1)
                self.weight_left += self.weights[shard.window]
        self.failed += len({one.window for one in event.failures if one.window not in self.weights})
        self._settle([one.window for one in event.failures], failed=True)
        self.planned = self.finished + self.failed + len(self.weights)
        self.weight_total = max(self.weight_total, self.weight_left)

    def _work(self, event: TaskEnded | Adopted) -> None:
        if isinstance(event, Adopted):
            self._adopt(event)
            return
        for result in event.results:
            self.rows += result.accounts.read
            if result.window in self.weights and result.window not in self.waiting:
                self.waiting.add(result.window)
                self.weight_left -= self.weights[result.window]
        self._settle([one.window for one in event.failures if not one.retryable], failed=True)

    def _adopt(self, event: Adopted) -> None:
        """Count shards as done that cost this run nothing, so that its speed is that of its own work."""
        for window in [result.window for ended in event.ended for result in ended.results]:
            if window in self.weights and window not in self.waiting:
                self.waiting.add(window)
                self.weight_left -= self.weights[window]
                self.weight_total -= self.weights[window]

    def _settle(self, windows: list[Window], *, failed: bool) -> None:
        for window in windows:
            weight = self.weights.pop(window, None)
            if weight is None:
                continue
            if window in self.waiting:
                self.waiting.discard(window)
            else:
                self.weight_left -= weight
            self.failed += failed
            self.finished += not failed
        if self.planned and not self.weights:
            self._phase("finishing")
