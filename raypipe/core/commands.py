"""Commands: what the coordinator tells the driver to do. The driver does them and answers with events."""

from __future__ import annotations

from collections.abc import Mapping

from raypipe.core.commit import CommitRequest
from raypipe.core.shard import Reason, ShardFailure, Task
from raypipe.core.stragglers import Straggler
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Hand a task to a worker."""

    task: Task
    straggler: Straggler | None = None
    """What it is a second attempt at."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Wait no longer for an attempt, and throw away what it left: another one did its shards."""

    task: Task


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit a group; `attempts` are the staged attempts that hold its contributions."""

    request: CommitRequest
    attempts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replan:
    """Observe and list again, and plan these windows anew."""

    windows: tuple[Window, ...]
    reasons: Mapping[Window, Reason]


@dataclass(frozen=True, slots=True)
class RecordFailures:
    """Remember shards that failed for good."""

    failures: tuple[ShardFailure, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Close the run."""

    status: str


Command = Dispatch | GiveUp | Commit | Replan | RecordFailures | Finish
