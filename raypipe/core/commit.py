"""decide_commit: whether a group of shards may become part of the tables, from facts read in the transaction."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from operator import attrgetter

from raypipe.core.fingerprint import output_fingerprint
from raypipe.core.intervals import normalise, subtract
from raypipe.core.shard import InputPart, Observed, Outcome, ShardResult
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass

ACCEPTED = (Outcome.ACCEPTED_STALE, Outcome.ACCEPTED_SHRUNK)
"""Outcomes of shards that change nothing but what is noted of a live range."""
_BY_TIME = attrgetter("window")
_KEEPS_TABLES = (Outcome.SATISFIED, Outcome.COMPACTED, *ACCEPTED)
_RIGHT = object()  # known to decide_commit alone: a permit cannot be made elsewhere by accident


@dataclass(frozen=True, slots=True)
class ShardCommit:
    """One shard of a group: its manifest and how it stands in the ledger if it is accepted."""

    result: ShardResult
    outcome: Outcome
    attempt_id: str
    input_fp: str
    parts: tuple[InputPart, ...] = ()
    """What a compacted range was read from, where this says so of one; `input_fp` is their fingerprint."""
    output_fp: str = field(init=False)
    """The fingerprint of what it adds to all tables: the id of the commit and the ledger tell it."""
    window: Window = field(init=False)
    """The range that is replaced: asked for a dozen times."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_fp", output_fingerprint(self.result.outputs))
        object.__setattr__(self, "window", self.result.window)

    @property
    def files(self) -> int:
        """Slices that it was read from."""
        return sum(part.files for part in self.parts) if self.parts else len(self.result.slices)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """A group of shards that a run asks to commit in one transaction; asking twice with the same id is harmless."""

    run_id: str
    epoch: int
    commit_id: str
    shards: tuple[ShardCommit, ...]
    definitions: Mapping[str, int]
    """The version of each output's definition that the shards were made by; the other outputs stay as they are."""
    atomic: bool = False
    """All or nothing: any conflict leaves all out, any superseded makes all superseded."""


@dataclass(frozen=True, slots=True)
class LiveFact:
    """One live range as read in the transaction, with the definitions of the outputs that one commit made there."""

    observed: Observed
    definitions: Mapping[str, int]

    @property
    def window(self) -> Window:
        """The range."""
        return Window(self.observed.start_us, self.observed.end_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """What the destination read inside the transaction, after its two writes (sequence and fence)."""

    fenced: bool
    """The write that compares the epoch touched no row."""
    already: Mapping[Window, Outcome] | None
    """What the ledger holds under the commit id; None when it holds nothing."""
    commit_seq: int
    """The number that this transaction took; that of the earlier commit when `already` holds something."""
    live: Sequence[LiveFact] = ()
    """At least all live ranges that meet a shard of the group."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a group: the outcome of each committed shard, and the shards left out by a conflict."""

    commit_id: str
    commit_seq: int
    outcomes: Mapping[Window, Outcome]
    conflicts: tuple[Window, ...] = ()


class CommitPermit:
    """The right to apply a group. Only `decide_commit` makes one."""

    __slots__ = ("accepted", "commit_seq", "compacted", "conflicts", "loaded", "replaced", "request", "satisfied", "superseded")

    def __init__(self, right: object, request: CommitRequest, commit_seq: int, found: _SortedOut) -> None:
        if right is not _RIGHT:
            raise TypeError("only decide_commit makes a CommitPermit")
        self.request = request
        self.commit_seq = commit_seq
        self.loaded = tuple(found.loaded)
        """Loaded and empty shards: their contributions replace `replaced`."""
        self.satisfied = tuple(found.satisfied)
        self.superseded = tuple(found.superseded)
        self.accepted = tuple(found.accepted)
        """Live ranges that stay, and of which a person said that a difference is fine."""
        self.compacted = tuple(found.compacted)
        """Ranges whose live ranges become one; what these say is merged, and no table changes."""
        self.conflicts = tuple(found.conflicts)
        self.replaced = tuple(dict.fromkeys(found.replaced))
        """Live ranges that go, whole: of the request's outputs, and what is in quarantine for them."""

    @property
    def receipt(self) -> Receipt:
        """What the caller is told once the transaction is durable."""
        outcomes = {shard.window: shard.outcome for shard in (*self.loaded, *self.satisfied, *self.accepted, *self.compacted)}
        outcomes.update({shard.window: Outcome.SUPERSEDED for shard in self.superseded})
        return Receipt(self.request.commit_id, self.commit_seq, outcomes, self.conflicts)


@dataclass(frozen=True, slots=True)
class Accept:
    """Apply the permit and commit."""

    permit: CommitPermit


@dataclass(frozen=True, slots=True)
class Already:
    """The ledger has it: roll back and return the receipt."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class FencedOff:
    """A newer epoch exists or the run is closed: roll back and stop."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing of the group may be applied: roll back, observe and list again."""

    windows: tuple[Window, ...]


Decision = Accept | Already | FencedOff | Conflict


def decide_commit(request: CommitRequest, facts: CommitFacts) -> Decision:
    """Decide on a group from facts read after the fence: the one place where the rule of the protocol stands."""
    if facts.fenced:
        return FencedOff()
    if facts.already is not None:
        left_out = tuple(sorted(shard.window for shard in request.shards if shard.window not in facts.already))
        return Already(Receipt(request.commit_id, facts.commit_seq, facts.already, left_out))
    sorted_out = _sort_out(request, _LiveIndex(facts.live))
    if request.atomic and sorted_out.conflicts:
        return Conflict(tuple(sorted_out.conflicts))
    if request.atomic and sorted_out.superseded:
        sorted_out.supersede_all()
    if not sorted_out.committed:
        return Conflict(tuple(sorted_out.conflicts))
    return Accept(CommitPermit(_RIGHT, request, facts.commit_seq, sorted_out))


@dataclass(slots=True)
class _SortedOut:
    """The shards of a group by what becomes of them."""

    loaded: list[ShardCommit] = field(default_factory=list)
    satisfied: list[ShardCommit] = field(default_factory=list)
    superseded: list[ShardCommit] = field(default_factory=list)
    accepted: list[ShardCommit] = field(default_factory=list)
    compacted: list[ShardCommit] = field(default_factory=list)
    conflicts: list[Window] = field(default_factory=list)
    replaced: list[Window] = field(default_factory=list)

    @property
    def committed(self) -> bool:
        """Whether anything is left to be committed."""
        return bool(self.loaded or self.satisfied or self.superseded or self.accepted or self.compacted)

    def supersede_all(self) -> None:
        self.superseded = sorted([*self.superseded, *self.loaded, *self.satisfied], key=lambda one: one.window)
        self.loaded, self.satisfied, self.replaced = [], [], []


def _sort_out(request: CommitRequest, live: _LiveIndex) -> _SortedOut:
    found = _SortedOut()
    taken_until_us = -math.inf
    for shard in sorted(request.shards, key=_BY_TIME):
        window, met = shard.window, live.meeting(shard.window)
        if (
            _overlaps(window, taken_until_us)
            or not _as_observed(shard, met)
            or (shard.outcome in _KEEPS_TABLES and _is_unproven(shard, request.definitions, met))
            or (met and _cuts_others(shard, request.definitions, met))
        ):
            found.conflicts.append(window)
            continue
        taken_until_us = window.end_us
        if shard.outcome in ACCEPTED:
            found.accepted.append(shard)
        elif shard.outcome is Outcome.COMPACTED:
            found.compacted.append(shard)
        elif shard.outcome is Outcome.SATISFIED:
            found.satisfied.append(shard)
        elif any(_is_older(request.definitions, one.definitions) for one in met):
            found.superseded.append(shard)
        else:
            found.loaded.append(shard)
            found.replaced.extend(one.window for one in met)
    return found


def _overlaps(window: Window, taken_until_us: float) -> bool:
    """Tell whether an earlier shard of the group is accepted for a part of the range."""
    return window.start_us < taken_until_us


def _is_unproven(shard: ShardCommit, ours: Mapping[str, int], met: Sequence[LiveFact]) -> bool:
    """Tell whether a shard is not what its outcome says: done by others, or there to be accepted or compacted as it is."""
    if shard.outcome is Outcome.SATISFIED:
        return not _is_done(shard.window, ours, met)
    if shard.outcome in ACCEPTED:
        newest = not any(_is_older(ours, one.definitions) for one in met)
        return not (met and newest and all(one.window == shard.window for one in met))
    return shard.outcome is Outcome.COMPACTED and not _is_whole(shard.window, ours, met)


def _cuts_others(shard: ShardCommit, ours: Mapping[str, int], met: Sequence[LiveFact]) -> bool:
    """Tell whether outputs that are not replaced would keep a range beside another one that shares only a part of it."""
    if shard.outcome in _KEEPS_TABLES:
        return False
    return any(one.window != shard.window for one in met if one.definitions.keys() - ours.keys())


def _as_observed(shard: ShardCommit, met: Sequence[LiveFact]) -> bool:
    """Tell whether the live ranges that the shard meets are those observed before its input was listed, uncut."""
    if not met:  # nearly all shards of a first run
        return not shard.result.observed
    if any(not shard.window.contains(live.window) for live in met):
        return False
    return {live.observed for live in met} == shard.result.observed


def _is_done(window: Window, ours: Mapping[str, int], met: Sequence[LiveFact]) -> bool:
    """Tell whether live ranges cover the window for every output, made by a definition that is not older than ours."""
    made_by = _made_by(met)
    new_enough = [one for one, made in made_by.items() if all(made.get(output, 0) >= version for output, version in ours.items())]
    return not subtract([window], normalise(new_enough))


def _is_whole(window: Window, ours: Mapping[str, int], met: Sequence[LiveFact]) -> bool:
    """Tell whether live ranges make up the window without a hole, each for every output and by one definition, which is ours."""
    made_by = _made_by(met)
    return normalise(made_by) == (window,) and all(made == dict(ours) for made in made_by.values())


def _made_by(met: Sequence[LiveFact]) -> Mapping[Window, Mapping[str, int]]:
    """Return the definitions of live ranges; outputs that were added later have the same range from another commit."""
    found: dict[Window, dict[str, int]] = {}
    for one in met:
        found.setdefault(one.window, {}).update(one.definitions)
    return found


def _is_older(ours: Mapping[str, int], theirs: Mapping[str, int]) -> bool:
    """Tell whether any output would go back to an older definition."""
    return any(version < theirs.get(output, 0) for output, version in ours.items())


class _LiveIndex:
    """Live ranges by time. They are disjoint, so that both their starts and their ends ascend."""

    def __init__(self, live: Sequence[LiveFact]) -> None:
        self._live = sorted(live, key=lambda one: one.observed)
        self._ends = [one.observed.end_us for one in self._live]

    def meeting(self, window: Window) -> list[LiveFact]:
        if not self._live:  # a first run asks 10,000 times
            return []
        found: list[LiveFact] = []
        for position in range(bisect.bisect_right(self._ends, window.start_us), len(self._live)):
            if self._live[position].observed.start_us >= window.end_us:
                break
            found.append(self._live[position])
        return found
