"""Compaction: which old live ranges become one, and the commit that makes them so. No table changes by it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from raypipe.core.accounts import Accounts
from raypipe.core.calendar import Calendar
from raypipe.core.commit import CommitRequest, ShardCommit
from raypipe.core.fingerprint import commit_id, parts_fingerprint
from raypipe.core.live_ranges import LiveRanges
from raypipe.core.shard import InputPart, Observed, Outcome, ShardResult
from raypipe.core.state import LiveRange, OpenedRun
from raypipe.core.window import Window
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Compaction:
    """Adjacent live ranges that are to become one, which is from then on replaced whole."""

    merged: tuple[Window, ...]
    """The live ranges, in order, without a hole."""

    @property
    def window(self) -> Window:
        """The live range that they become."""
        return self.merged[0].hull(self.merged[-1])


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """What is to be compacted, and the live ranges that stay as they are, with the reason."""

    compactions: tuple[Compaction, ...]
    left: tuple[tuple[Window, str], ...] = ()


def plan_compaction(live: LiveRanges, definitions: Mapping[str, int], before_us: int, into: Calendar | None) -> CompactionPlan:
    """Plan to make one of all adjacent live ranges that end by an instant; with `into`, one in each cell of a calendar.

    Ranges that another definition than today's made, or that lack an output, stay: a live range has one definition.
    """
    old = [window for window in live.windows if window.end_us <= before_us]
    why = {window: _stays(live, window, definitions, into) for window in old}
    fit = [window for window in old if not why[window]]
    groups = [Compaction(tuple(run)) for run in _runs(fit, into) if len(run) > 1]
    return CompactionPlan(tuple(groups), tuple(_joined((window, text) for window, text in why.items() if text)))


def compaction(run: OpenedRun, one: Compaction, observed: frozenset[Observed]) -> CommitRequest:
    """Return the commit of one compaction; asking for it twice is harmless. What the range says is read in the commit itself."""
    shard = ShardCommit(ShardResult(one.window, observed, (), Accounts(), {}), Outcome.COMPACTED, "", "")
    named = [(one.window, shard.outcome.value, "", observed)]
    return CommitRequest(
        run_id=run.run_id, epoch=run.epoch, commit_id=commit_id(run.run_id, named), shards=(shard,), definitions=run.definitions
    )


def speaking(live: Iterable[LiveRange]) -> Sequence[LiveRange]:
    """Return one live range of each window: that of the last commit, which speaks for all where outputs were added later."""
    newest: dict[Window, LiveRange] = {}
    for one in live:
        if one.window not in newest or one.seq > newest[one.window].seq:
            newest[one.window] = one
    return [newest[window] for window in sorted(newest)]


def compacted(shard: ShardCommit, parts: Iterable[InputPart], result: ShardResult) -> ShardCommit:
    """Return the shard of a compaction as it is committed: what all of its parts said, and what each was read from."""
    known = tuple(sorted(parts))
    return replace(shard, result=result, parts=known, input_fp=parts_fingerprint(known))


def _stays(live: LiveRanges, window: Window, definitions: Mapping[str, int], into: Calendar | None) -> str:
    lacking = live.lacking(window, tuple(definitions))
    if lacking:
        return f"{', '.join(lacking)} has nothing there yet: raypipe run does it"
    other = sorted({one.output for one in live.by_window[window] if one.definition != definitions[one.output]})
    if other:
        return (
            f"{', '.join(other)}: made by another definition; raypipe accept --stale keeps it, raypipe backfill --stale redoes it"
        )
    return "it reaches over a cell of the width asked for" if into and _cell(window, into) is None else ""


def _cell(window: Window, into: Calendar) -> int | None:
    """Return the number of the cell that holds a window, None where two of them do."""
    index = into.index_of(window.start_us)
    return index if window.end_us <= into.boundary(index + 1) else None


def _runs(windows: Sequence[Window], into: Calendar | None) -> Iterator[list[Window]]:
    """Yield windows that follow each other without a hole, of one cell."""
    run: list[Window] = []
    for window in windows:
        if run and (run[-1].end_us != window.start_us or (into and _cell(run[-1], into) != _cell(window, into))):
            yield run
            run = []
        run.append(window)
    if run:
        yield run


def _joined(left: Iterable[tuple[Window, str]]) -> Iterator[tuple[Window, str]]:
    """Yield neighbours that stay for the same reason as one."""
    for text, ranges in itertools.groupby(left, key=lambda one: one[1]):
        windows = [window for window, _ in ranges]
        yield windows[0].hull(windows[-1]), text
