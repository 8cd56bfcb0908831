"""What is worked on and what comes of it: inputs, shards, tasks and their results, as plain picklable values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field

from raypipe.core.accounts import Accounts
from raypipe.core.room import Room
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


class Reason(enum.StrEnum):
    """Why a shard is in a plan."""

    NEW = "new"
    LATE = "late"
    STALE = "stale"
    FAILED = "failed"
    FORCED = "forced"


class Outcome(enum.StrEnum):
    """What the ledger says of a shard."""

    LOADED = "loaded"
    EMPTY = "empty"
    SATISFIED = "satisfied"
    SUPERSEDED = "superseded"
    ACCEPTED_STALE = "accepted_stale"
    """A person said that what another definition made is fine."""
    ACCEPTED_SHRUNK = "accepted_shrunk"
    """A person said that what files made that are gone now stays."""
    COMPACTED = "compacted"
    """Live ranges were merged into one, which says what they said."""


@dataclass(frozen=True, slots=True, order=True)
class InputPart:
    """A range that was read at once, and the input that it was read from; a compacted live range has several."""

    window: Window
    input_fp: str
    files: int
    """Slices that it was read from: fewer of them now means that the source shrank."""


@dataclass(frozen=True, slots=True, order=True)
class Observed:
    """The identity of one live range as it was seen: a newer commit of the range has another `seq`."""

    start_us: int
    end_us: int
    seq: int


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the source as it was listed. `version` changes whenever its content may have changed."""

    uri: str
    size_bytes: int
    version: str
    origin: int = 0
    """Which of the pipeline's sources it is of, where there are several."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What of one file belongs to one shard.

    `digest` is the digest of the rows in order where the file was routed (then it alone identifies the content),
    and empty where the file's version does. `parts` are the row groups or slice cells to read, in order;
    empty means the whole file. `rows` and `size_bytes` are estimates for the plan. `exact` tells that every row of
    the parts belongs to the shard, so that no filter on time is needed.
    """

    file: InputFile
    digest: str = ""
    parts: tuple[int, ...] = ()
    rows: int = 0
    size_bytes: int = 0
    exact: bool = False
    untimed: bool = False
    """The shard also takes the rows of this file that have no readable event time, and its malformed lines."""
    lookback: bool = False
    """Only the SQL of the shard sees these rows, which lie in the time before it: they are accounted to other shards."""
    lookahead: bool = False
    """The same for rows of the time after it."""

    @property
    def own(self) -> bool:
        """Whether the rows are of the shard itself, and not only seen by it."""
        return not (self.lookback or self.lookahead)


@dataclass(frozen=True, slots=True)
class Shard:
    """One half-open slice of event time to be dispatched, retried and committed as one."""

    index: int
    window: Window
    reason: Reason
    observed: frozenset[Observed]
    slices: tuple[Slice, ...] = ()
    outputs: tuple[str, ...] = ()
    """The outputs that it is done for alone, where they were added to a range that the others have; empty: all of the run's."""

    @property
    def rows(self) -> int:
        """Estimated rows, without those that are only seen."""
        return sum([one.rows for one in self.slices if not (one.lookback or one.lookahead)])  # as `own`, in half the time

    @property
    def size_bytes(self) -> int:
        """Estimated bytes of input, with those of rows that are only seen."""
        return sum([one.size_bytes for one in self.slices])


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker does at once: one shard, or several that share input; `attempt` is unique per execution."""

    run_id: str
    epoch: int
    number: int
    attempt: int
    shards: tuple[Shard, ...]
    room: Room = Room.SHARED
    """How it deals with memory; one that is done alone has one shard."""
    beside: str = ""
    """The attempt at the same shards that takes far too long, where this is the second one."""

    @property
    def attempt_id(self) -> str:
        """A name for this execution within its run; staged files stand under it."""
        return f"{self.number:06d}-{self.epoch}-{self.attempt}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that the shards are done for alone, the same for all of a task; empty: all of the run's."""
        return self.shards[0].outputs if self.shards else ()


@dataclass(frozen=True, slots=True)
class OutputStat:
    """Rows and multiset digest (a sum of 128-bit row hashes mod 2**128, in hex) of one shard's contribution."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class ShardResult:
    """The manifest of one shard: what was read, what came out, and what became of every row."""

    window: Window
    observed: frozenset[Observed]
    slices: tuple[Slice, ...]
    accounts: Accounts
    outputs: Mapping[str, OutputStat]
    filtered: Mapping[str, int] = field(default_factory=dict)
    """Rows that each named filter, `drop` rule and Python step dropped."""
    broken: Mapping[str, int] = field(default_factory=dict)
    """Rows that broke each rule, whatever was done with them (warnings too)."""
    warnings: tuple[str, ...] = ()
    event_start_us: int | None = None
    event_end_us: int | None = None
    """Earliest and latest event time of the rows read, both inclusive."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ShardFailure:
    """One shard that cannot be loaded; `error` is for a person, `code` for a script."""

    window: Window
    code: str
    error: str
    retryable: bool = False
