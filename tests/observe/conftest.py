from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from raypipe.core.accounts import Accounts
from raypipe.core.commit import Receipt
from raypipe.core.events import GroupCommitted, Planned, RunClosed, RunEvent, RunOpened, TaskEnded, TaskStarted
from raypipe.core.shard import InputFile, Outcome, OutputStat, Reason, Shard, ShardFailure, ShardResult, Slice, Task
from raypipe.core.window import Window

DAY_US = 86_400_000_000
START_US = 1_356_998_400_000_000  # 2013-01-01T00:00:00Z
FILE = InputFile("/data/a.csv", 1000, "v1")


@dataclass
class StillClock:
    """A clock that a test moves."""

    at_s: float = 100.0

    def now_us(self) -> int:
        return START_US

    def monotonic_s(self) -> float:
        return self.at_s

    def sleep_s(self, seconds: float) -> None:
        self.at_s += seconds


@dataclass
class Story:
    """Makes the events of a run."""

    shards: tuple[Shard, ...] = field(
        default_factory=lambda: tuple(
            Shard(number, Window(START_US + number * DAY_US, START_US + (number + 1) * DAY_US), Reason.NEW, frozenset(),
                  (Slice(FILE, rows=100, size_bytes=1000),))
            for number in range(4)
        )
    )  # fmt: skip

    def opened(self) -> RunOpened:
        return RunOpened("flights", "r1", 1, "inline, 2 threads")

    def planned(self, **changes: object) -> Planned:
        return Planned(**{"shards": self.shards, **changes})

    def task(self, *numbers: int) -> Task:
        return Task("r1", 1, 1, 0, tuple(self.shards[number] for number in numbers))

    def started(self, *numbers: int) -> TaskStarted:
        return TaskStarted(self.task(*numbers))

    def result(self, number: int, warnings: tuple[str, ...] = ()) -> ShardResult:
        return ShardResult(
            self.shards[number].window, frozenset(), self.shards[number].slices, Accounts(read=100, loaded=100),
            {"hourly": OutputStat(5, "ab")}, warnings=warnings,
        )  # fmt: skip

    def ended(self, *numbers: int, failures: tuple[ShardFailure, ...] = (), warnings: tuple[str, ...] = ()) -> TaskEnded:
        return TaskEnded(self.task(*numbers), tuple(self.result(number, warnings) for number in numbers), failures)

    def failure(self, number: int, *, retryable: bool = False) -> ShardFailure:
        return ShardFailure(self.shards[number].window, "transform_failed", "no such \x1b[1mcolumn", retryable)

    def committed(self, *numbers: int) -> GroupCommitted:
        outcomes = {self.shards[number].window: Outcome.LOADED for number in numbers}
        return GroupCommitted(Receipt("c1", 1, outcomes), tuple(self.result(number) for number in numbers), 0.04)

    def closed(self, status: str = "done", **changes: object) -> RunClosed:
        values = {"planned": 4, "committed": 4, "failed": 0, "skipped": 0, "rows": Accounts(read=400, loaded=400), "seconds": 2.0,
                  "watermark_us": self.shards[-1].window.end_us}  # fmt: skip
        return RunClosed(status, **{**values, **changes})

    def whole(self) -> list[RunEvent]:
        return [
            self.planned(), self.opened(), self.started(0, 1), self.started(2, 3), self.ended(0, 1), self.committed(0, 1),
            self.ended(2, 3), self.committed(2, 3), self.closed(),
        ]  # fmt: skip


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def story() -> Story:
    return Story()
