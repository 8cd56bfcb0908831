"""The plan: which shards are to be done and why, from what the ledger holds and what the source lists now.

`plan` and `run` take the same steps in the same order: `wanted_windows` (before the source is asked), then
`make_plan` with the slices of those windows and of the live ranges. An explanation cannot drift from the deed.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from raypipe.core.calendar import Calendar
from raypipe.core.fingerprint import input_fingerprint
from raypipe.core.intervals import Ranges, covers, intersect, meeting, normalise, subtract
from raypipe.core.shard import Observed, Reason, Shard, ShardFailure, Slice
from raypipe.core.state import Definition, LiveRange, Snapshot
from raypipe.core.window import Window

SlicesOf = Callable[[Sequence[Window]], Sequence[tuple[Slice, ...]]]


class Scope(enum.StrEnum):
    """Which shards of the window are wanted."""

    DUE = "due"
    """New, late and failed ones: a run."""
    ALL = "all"
    """Every one, done or not: a backfill."""
    FAILED = "failed"
    """Those that failed in their last run."""
    GAPS = "gaps"
    """Holes before the last committed shard."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The history that may be worked on now: whole cells of the calendar in `window`, the last cut at `time.end`."""

    calendar: Calendar
    window: Window | None
    """None when no shard is ready yet."""

    def cells(self, window: Window) -> list[Window]:
        """Return the shards that meet a window: whole cells, never beyond the horizon."""
        ready = self.window and window.intersection(self.window)
        if not ready or not self.window:
            return []
        cells = (cell.intersection(self.window) for cell in self.calendar.cells(ready))
        return [cell for cell in cells if cell]

    def index_of(self, window: Window) -> int:
        """Return the index of a shard, counted from `time.start`."""
        return self.calendar.index_of(window.start_us)


def horizon(calendar: Calendar, start_us: int, end_us: int | None, delay_us: int, now_us: int) -> Horizon:
    """Return what is ready: all of a closed data set, else the cells whose end and `delay` have passed."""
    if end_us is not None:
        return Horizon(calendar, Window(start_us, end_us))
    ready_us = calendar.boundary(calendar.index_of(now_us - delay_us)) if now_us - delay_us >= start_us else start_us
    return Horizon(calendar, Window(start_us, ready_us) if ready_us > start_us else None)


@dataclass(frozen=True, slots=True)
class Plan:
    """The shards still to do, in time order, with reasons; and what a person should know beside them."""

    shards: tuple[Shard, ...]
    satisfied: tuple[Shard, ...] = ()
    """Shards that were asked for again after a conflict and that another run has done."""
    failures: tuple[ShardFailure, ...] = ()
    """Shards that cannot be done now: their source shrank."""
    stale: tuple[tuple[Window, str], ...] = ()
    """Live ranges made by another definition: the outputs with what changed, `hourly (transform)`; only a backfill redoes them."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A snapshot arranged by time."""

    windows: tuple[Window, ...]
    """Distinct live ranges, sorted."""
    by_window: Mapping[Window, Sequence[LiveRange]]

    def meeting(self, window: Window) -> Sequence[Window]:
        return (window,) if window in self.by_window else meeting(self.windows, window)


def _known(snapshot: Snapshot) -> _Known:
    by_window: dict[Window, list[LiveRange]] = {}
    for live in snapshot.live:
        by_window.setdefault(live.window, []).append(live)
    return _Known(tuple(sorted(by_window)), by_window)


class _Slices:
    """What the source answered, so that it is asked for each window once."""

    def __init__(self, slices_of: SlicesOf) -> None:
        self._slices_of = slices_of
        self._known: dict[Window, tuple[Slice, ...]] = {}

    def of(self, windows: Sequence[Window]) -> list[tuple[Slice, ...]]:
        unknown = [window for window in windows if window not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._slices_of(unknown), strict=True))
        return [self._known[window] for window in windows]


def covered(snapshot: Snapshot, outputs: Iterable[str]) -> Ranges:
    """Return what is committed for every output."""
    result: Ranges | None = None
    for output in outputs:
        ranges = snapshot.coverage.get(output, ())
        result = ranges if result is None else intersect(result, ranges)
    return result or ()


def make_plan(
    scope: Scope,
    window: Window | None,
    ready: Horizon,
    snapshot: Snapshot,
    outputs: Sequence[str],
    slices_of: SlicesOf,
    *,
    definitions: Mapping[str, Definition] | None = None,
    accept_shrunk: bool = False,
) -> Plan:
    """Plan the shards of a window (None: all of history that is ready).

    `slices_of` answers for the listing that was taken after `snapshot`. `definitions` are today's by output; with them,
    live ranges of older definitions are reported as stale.
    """
    known, slices = _known(snapshot), _Slices(slices_of)
    asked = window or ready.window
    within = asked and ready.window and asked.intersection(ready.window)
    if not within:
        return Plan(())
    done = covered(snapshot, outputs)
    failed = {one.window for one in snapshot.failed}
    wanted = _wanted(scope, within, ready, snapshot, done)
    late = _late([within], known, slices) if scope is Scope.DUE else []
    merged = _widen([*wanted, *late], known)

    def reason(one: Window) -> Reason:
        if one in failed:
            return Reason.FAILED
        if not covers(done, one):
            return Reason.NEW
        return Reason.LATE if scope is Scope.DUE else Reason.FORCED

    shards = tuple(
        Shard(ready.index_of(one), one, reason(one), _observed(known, one), mine)
        for one, mine in zip(merged, slices.of(merged), strict=True)
    )
    kept, failures = (shards, ()) if accept_shrunk else _without_shrunk(shards, known, slices)
    return Plan(kept, failures=failures, stale=_stale(known, snapshot, definitions or {}))


def replan(windows: Sequence[Window], ready: Horizon, snapshot: Snapshot, outputs: Sequence[str], definitions: Mapping[str, int],
           reasons: Mapping[Window, Reason], slices_of: SlicesOf, *, accept_shrunk: bool = False) -> Plan:  # fmt: skip
    """Plan shards again after a conflict or a changed input, from a new snapshot and a newer listing.

    A shard that another run did meanwhile, from the same input and no older definition, is satisfied.
    """
    known, slices = _known(snapshot), _Slices(slices_of)
    merged = _widen(windows, known)
    done = covered(snapshot, outputs)
    late = set(_late(merged, known, slices))
    asked = sorted(reasons)
    todo: list[Shard] = []
    satisfied: list[Shard] = []
    for one, mine in zip(merged, slices.of(merged), strict=True):
        reason = next((reasons[window] for window in meeting(asked, one)), Reason.NEW)
        shard = Shard(ready.index_of(one), one, reason, _observed(known, one), mine)
        is_done = covers(done, one) and late.isdisjoint(known.meeting(one)) and _is_new_enough(one, known, definitions)
        (satisfied if is_done else todo).append(shard)
    kept, failures = (tuple(todo), ()) if accept_shrunk else _without_shrunk(tuple(todo), known, slices)
    return Plan(kept, tuple(satisfied), failures)


def _wanted(scope: Scope, within: Window, ready: Horizon, snapshot: Snapshot, done: Ranges) -> list[Window]:
    cells = ready.cells(within)
    failed = [one.window for one in snapshot.failed if one.window.meets(within)]
    match scope:
        case Scope.ALL:
            return cells
        case Scope.FAILED:
            return failed
        case Scope.GAPS:
            history = [Window(ready.calendar.start_us, done[-1].end_us)] if done else []
            return _pieces(cells, subtract(history, done))
        case Scope.DUE:  # one that failed again, in a backfill say, may be covered by what it said before
            return [*_pieces(cells, subtract(normalise(cells), done)), *failed]


def _pieces(cells: Sequence[Window], ranges: Ranges) -> list[Window]:
    """Cut ranges at the boundaries of cells: one piece for each cell and range that meet."""
    found: list[Window] = []
    position = 0
    for cell in cells:
        while position < len(ranges) and ranges[position].end_us <= cell.start_us:
            position += 1
        ahead = position
        while ahead < len(ranges) and ranges[ahead].start_us < cell.end_us:
            piece = cell.intersection(ranges[ahead])
            if piece:
                found.append(piece)
            ahead += 1
    return found


def _late(within: Sequence[Window], known: _Known, slices: _Slices) -> list[Window]:
    """Return the live ranges in windows whose current input differs from what they were made from, whatever the index says."""
    windows = [window for one in within for window in known.meeting(one)]
    found = []
    for window, mine in zip(windows, slices.of(windows), strict=True):
        current = input_fingerprint(mine)
        if any(live.input_fp != current for live in known.by_window[window]):
            found.append(window)
    return found


def _widen(windows: Iterable[Window], known: _Known) -> list[Window]:
    """Widen windows to the live ranges they meet in part, and make one of those that meet afterwards."""
    result: list[Window] = []
    for window in sorted(set(windows)):
        for met in known.meeting(window):
            window = window.hull(met)
        while result and result[-1].meets(window):
            window = result.pop().hull(window)
        result.append(window)
    return result


def _is_new_enough(window: Window, known: _Known, definitions: Mapping[str, int]) -> bool:
    """Tell whether no live range in a window was made by an older definition."""
    met = (live for one in known.meeting(window) for live in known.by_window[one])
    return all(live.definition >= definitions.get(live.output, 0) for live in met)


def _observed(known: _Known, window: Window) -> frozenset[Observed]:
    return frozenset(live.observed for met in known.meeting(window) for live in known.by_window[met])


def _without_shrunk(
    shards: tuple[Shard, ...], known: _Known, slices: _Slices
) -> tuple[tuple[Shard, ...], tuple[ShardFailure, ...]]:
    """Leave out shards whose live ranges were made from more files than there are now. Counted per live range."""
    pairs = [(shard.window, met) for shard in shards for met in known.meeting(shard.window)]
    counts = {met: len(mine) for (_, met), mine in zip(pairs, slices.of([met for _, met in pairs]), strict=True)}
    failures = {}
    for window, met in pairs:
        had = max(live.files for live in known.by_window[met])
        if counts[met] < had:
            failures[window] = ShardFailure(
                window, "source_shrunk",
                f"{met} was made from {had} files and the source has {counts[met]} for it now: nothing was changed. "
                "Restore the files, or run a backfill of this range with --accept-shrunk",
            )  # fmt: skip
    return tuple(shard for shard in shards if shard.window not in failures), tuple(failures.values())


def _stale(known: _Known, snapshot: Snapshot, definitions: Mapping[str, Definition]) -> tuple[tuple[Window, str], ...]:
    """Return the live ranges that another definition than today's made, with the outputs and what of them changed."""
    made_by = {(output, one.version): one for output, versions in snapshot.definitions.items() for one in versions}
    newest = {output: versions[-1] for output, versions in snapshot.definitions.items() if versions}
    current = {output: one.version for output, one in newest.items() if _same(definitions.get(output), one)}

    @functools.cache
    def why(output: str, version: int) -> str:
        made = made_by.get((output, version))
        changed = _changed_parts(made, definitions[output]) if made else ()
        return f"{output} ({', '.join(changed)})" if changed else output

    found = []
    for window in known.windows:
        older = [
            why(live.output, live.definition)
            for live in known.by_window[window]
            if live.output in definitions and current.get(live.output) != live.definition
        ]
        if older:
            found.append((window, ", ".join(sorted(set(older)))))
    return tuple(found)


def _same(one: Definition | None, other: Definition) -> bool:
    return one is not None and one.fingerprint == other.fingerprint


def _changed_parts(old: Definition, new: Definition) -> list[str]:
    return sorted(name for name in old.parts.keys() | new.parts.keys() if old.parts.get(name) != new.parts.get(name))
