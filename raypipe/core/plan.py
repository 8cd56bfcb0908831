"""The plan: which shards are to be done and why, from what the ledger holds and what the source lists now.

`plan` and `run` take the same steps in the same order: `wanted_windows` (before the source is asked), then
`make_plan` with the slices of those windows and of the live ranges. An explanation cannot drift from the deed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field

from raypipe.core.calendar import Calendar
from raypipe.core.intervals import Ranges, covers, intersect, meeting, normalise, subtract
from raypipe.core.known_slices import FingerprintsOf, KnownSlices, SlicesOf
from raypipe.core.live_ranges import LiveRanges, stale_ranges
from raypipe.core.shard import Observed, Reason, Shard, ShardFailure, Slice
from raypipe.core.state import Definition, Snapshot
from raypipe.core.window import Window, iso
from raypipe.lazy_dataclass import dataclass

SHRUNK = "source_shrunk"
"""The code of a shard whose source has fewer files than it was made from."""
_NOTHING: frozenset[Observed] = frozenset()


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
    STALE = "stale"
    """Those made by another definition than today's."""
    HELD = "held"
    """Late ones too old for a run to do by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a run leaves alone, where a backfill would not."""

    lateness_us: int | None = None
    """How far below the watermark late input still reopens shards by itself; None: however far."""
    files_min: Mapping[frozenset[int], int] = field(default_factory=dict)
    """A shard that nothing is known of waits until so many files of each input, told by their `origin`, have rows for it."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The history that may be worked on now: whole cells of the calendar in `window`, the last cut at `time.end`."""

    calendar: Calendar
    window: Window | None
    """None when no shard is ready yet."""

    def cells(self, window: Window) -> list[Window]:
        """Return the shards that meet a window: whole cells, never beyond the horizon."""
        ready = self._ready(window)
        return self._cut(ready, self.window) if ready and self.window else []

    def whole(self, window: Window) -> Window | None:
        """Return the shards that meet a window as one range."""
        ready = self._ready(window)
        if not ready or not self.window:
            return None
        first, last = self.calendar.index_of(ready.start_us), self.calendar.index_of(ready.end_us - 1)
        return Window(self.calendar.boundary(first), self.calendar.boundary(last + 1)).intersection(self.window)

    def pieces(self, ranges: Iterable[Window]) -> list[Window]:
        """Cut ranges at the boundaries of cells: one piece for each cell and range that meet, never beyond the horizon."""
        return [piece for one in ranges if (ready := self._ready(one)) for piece in self._cut(ready, ready)]

    def _ready(self, window: Window) -> Window | None:
        return self.window and window.intersection(self.window)

    def _cut(self, window: Window, limit: Window) -> list[Window]:
        """Return the cells that meet a window up to a limit, beyond which only the first and the last of them can reach."""
        cells = list(self.calendar.cells(window))
        for place in (0, -1):
            cells[place] = cells[place].intersection(limit) or cells[place]
        return cells

    def index_of(self, window: Window) -> int:
        """Return the index of a shard, counted from `time.start`."""
        return self.calendar.index_of(window.start_us)


def horizon(
    calendar: Calendar,
    start_us: int,
    end_us: int | None,
    delay_us: int,
    now_us: int,
    seen_until: Callable[[int], int] = lambda end_us: end_us,
) -> Horizon:
    """Return what is ready: all of a closed data set, else the cells of which all that they see and `delay` have passed.

    `seen_until` says until when a cell that ends at an instant sees input.
    """
    if end_us is not None:
        return Horizon(calendar, Window(start_us, end_us))
    index = calendar.index_of(now_us - delay_us) if now_us - delay_us >= start_us else 0
    while index > 0 and seen_until(calendar.boundary(index)) > now_us - delay_us:
        index -= 1
    ready_us = calendar.boundary(index) if index > 0 else start_us
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
    held: tuple[tuple[Window, str], ...] = ()
    """Live ranges that are late, and too old for a run to do by itself, with the reason."""
    waiting: tuple[Window, ...] = ()
    """Shards that are not done yet because too few files have rows for them."""
    shrunk: tuple[Shard, ...] = ()
    """Late live ranges, held ones too, for which the source has fewer files than they were made from; parts of compacted ones."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of ranges that a run leaves as they are."""
        return tuple(
            f"{len(ranges)} live range{'s' if len(ranges) > 1 else ''} from {iso(ranges[0][0].start_us)} to "
            f"{iso(ranges[-1][0].end_us)}: {what}"
            for ranges, what in (
                (
                    self.stale,
                    "made by an older definition; raypipe backfill --stale redoes them, raypipe accept --stale keeps them",
                ),
                (self.held, "late, and held because they are older than time.lateness; raypipe backfill --held takes them in"),
            )
            if ranges
        )


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
    patience: Patience | None = None,
    fingerprints_of: FingerprintsOf | None = None,
) -> Plan:
    """Plan the shards of a window (None: all of history that is ready).

    `slices_of` answers for the listing that was taken after `snapshot`; `fingerprints_of`, where there is one, says of many
    windows what the fingerprints of their slices are. `definitions` are today's by output; with them,
    live ranges of older definitions are reported as stale.
    """
    known, slices = LiveRanges.of(snapshot, outputs), KnownSlices(slices_of, fingerprints_of)
    patience = patience or Patience()
    asked = window or ready.window
    within = asked and ready.window and asked.intersection(ready.window)
    if not within:
        return Plan(())
    stale = stale_ranges(known, snapshot, definitions or {}, within)
    done, anywhere = covered(snapshot, outputs), _covered_anywhere(snapshot, outputs)
    whole = ready.whole(within) or within
    fresh = ready.pieces(subtract([whole], anywhere)) if scope is Scope.DUE else []
    slices.expect(fresh)
    late = _late([within], known, slices) if scope in (Scope.DUE, Scope.HELD) else []
    held = _held(late, snapshot.watermark_us, patience.lateness_us)
    failed = {one.window: one.code for one in snapshot.failed if one.window.meets(within)}
    wanted = _Wanted(scope, within, ready, outputs, known, done, anywhere, failed, late, whole, fresh)
    merged = _widen(wanted.windows({one for one, _ in held}, [one for one, _ in stale]), known)
    shards = [wanted.shard(one, mine) for one, mine in zip(merged, slices.of(merged), strict=True)]
    waiting = [one.window for one in shards if _waits(one, patience)] if scope is Scope.DUE and patience.files_min else []
    todo = _without(shards, waiting)
    kept, failures = (todo, ()) if accept_shrunk else _without_shrunk(todo, known, slices)
    return Plan(
        kept, failures=failures, stale=stale, waiting=tuple(waiting),
        shrunk=() if accept_shrunk else _shrunk(late, known, slices, ready),
        held=tuple(one for one in held if scope is Scope.DUE and not meeting(merged, one[0])),
    )  # fmt: skip


def replan(windows: Sequence[Window], ready: Horizon, snapshot: Snapshot, outputs: Sequence[str], definitions: Mapping[str, int],
           reasons: Mapping[Window, Reason], slices_of: SlicesOf, *, since_seq: int = 0, accept_shrunk: bool = False,
           patience: Patience | None = None, added_alone: bool = False) -> Plan:  # fmt: skip
    """Plan shards again after a conflict or a changed input, from a new snapshot and a newer listing.

    A shard that another run did meanwhile, from the same input and no older definition, is satisfied; one that somebody asked
    to have done again, only if its rows are newer than commit `since_seq`, the last one when that was planned. With
    `added_alone`, outputs that a range lacks are done alone, as `make_plan` does for a run.
    """
    known, slices = LiveRanges.of(snapshot, outputs), KnownSlices(slices_of)
    merged = _widen(windows, known)
    done = covered(snapshot, outputs)
    late = set(_late(merged, known, slices))
    asked = sorted(reasons)
    todo: list[Shard] = []
    satisfied: list[Shard] = []
    for one, mine in zip(merged, slices.of(merged), strict=True):
        reason = next((reasons[window] for window in meeting(asked, one)), Reason.NEW)
        alone = known.added(one, outputs) if added_alone and one not in late else ()
        shard = Shard(ready.index_of(one), one, reason, known.observed(one), mine, alone)
        is_done = covers(done, one) and late.isdisjoint(known.meeting(one)) and _is_new_enough(one, known, definitions)
        if reason in (Reason.FORCED, Reason.STALE):  # what is live may only have been accepted meanwhile
            is_done = is_done and all(seen.seq > since_seq for seen in shard.observed)
        (satisfied if is_done else todo).append(shard)
    still = tuple(one for one in todo if patience is None or not _waits(one, patience))
    kept, failures = (still, ()) if accept_shrunk else _without_shrunk(still, known, slices)
    return Plan(kept, tuple(satisfied), failures)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which shards a scope asks for, and why."""

    scope: Scope
    within: Window
    ready: Horizon
    outputs: Sequence[str]
    known: LiveRanges
    done: Ranges
    """What is committed for every output."""
    anywhere: Ranges
    """What is committed for any output."""
    failed: Mapping[Window, str]
    """Shards that failed in their last run, with the code."""
    late: Sequence[Window]
    whole: Window
    """All shards that the calendar makes of the window that is asked for, as one range."""
    fresh: Sequence[Window]
    """The parts of them of which nothing is known."""

    def windows(self, held: Collection[Window], stale: Sequence[Window]) -> list[Window]:
        """Return what is to be done, before it is widened to the live ranges that it meets."""
        match self.scope:
            case Scope.ALL:
                return self.ready.cells(self.within)
            case Scope.FAILED:
                return list(self.failed)
            case Scope.GAPS:
                history = [Window(self.ready.calendar.start_us, self.done[-1].end_us)] if self.done else []
                return self.ready.pieces(intersect(subtract(history, self.done), [self.whole]))
            case Scope.STALE:
                return list(stale)
            case Scope.HELD:
                return list(held)
            case Scope.DUE:
                late = [one for one in self.late if one not in held]
                return [*self.fresh, *self.known.in_part(self.within, self.outputs), *self._failed_again(), *late]

    def shard(self, one: Window, slices: tuple[Slice, ...]) -> Shard:
        """Return what is to be done in a window that is widened to the live ranges that it meets."""
        index = self.ready.calendar.index_of(one.start_us)
        if not self.known.meeting(one):
            return Shard(index, one, self._reason_asked(one) or Reason.NEW, _NOTHING, slices)
        return Shard(index, one, self.reason(one), self.known.observed(one), slices, self.outputs_alone(one))

    def _failed_again(self) -> list[Window]:
        """Return shards that failed, though what they said before may be live; one whose source shrank is late while it is."""
        return [one for one, code in self.failed.items() if not (code == SHRUNK and self.known.meeting(one))]

    def reason(self, one: Window) -> Reason:
        """Say why a shard is to be done."""
        asked = self._reason_asked(one)
        if asked:
            return asked
        if not covers(self.anywhere, one):
            return Reason.NEW
        if meeting(self.late, one):
            return Reason.LATE
        return Reason.FORCED if covers(self.done, one) else Reason.NEW

    def _reason_asked(self, one: Window) -> Reason | None:
        """Return the reason that holds whatever is live there."""
        if self.scope is Scope.STALE:
            return Reason.STALE
        return Reason.FAILED if self.failed and one in self.failed else None

    def outputs_alone(self, one: Window) -> tuple[str, ...]:
        """Return the outputs that are new in a range that is otherwise as it was: they alone are done. Empty: all are."""
        return () if self.scope is not Scope.DUE or meeting(self.late, one) else self.known.added(one, self.outputs)


def _covered_anywhere(snapshot: Snapshot, outputs: Iterable[str]) -> Ranges:
    """Return what is committed for any output."""
    return normalise(one for output in outputs for one in snapshot.coverage.get(output, ()))


def _held(late: Sequence[Window], watermark_us: int | None, lateness_us: int | None) -> tuple[tuple[Window, str], ...]:
    """Return the late ranges that end so far below the watermark that a run leaves them to a backfill."""
    if watermark_us is None or lateness_us is None:
        return ()
    bound_us = watermark_us - lateness_us
    text = f"its input changed, and it ends before {iso(bound_us)}: further below the watermark than time.lateness"
    return tuple((one, text) for one in late if one.end_us <= bound_us)


def _waits(shard: Shard, patience: Patience) -> bool:
    """Tell whether a shard that was never done has too few files to be done now."""
    if shard.reason is not Reason.NEW or shard.observed:
        return False
    origins = [one.file.origin for one in shard.slices if one.own]
    return any(sum(one in wanted for one in origins) < files_min for wanted, files_min in patience.files_min.items())


def _late(within: Sequence[Window], known: LiveRanges, slices: KnownSlices) -> list[Window]:
    """Return the live ranges in windows whose current input differs from what they were made from, whatever the index says.

    One that was compacted is late if any of its parts is: the input of all of it may look current while rows are missing.
    """
    reads = [read for one in within for read in known.reads(one)]
    current = slices.fingerprints([part for _, part, _ in reads])
    changed = (window for (window, _, made_from), now in zip(reads, current, strict=True) if made_from != now)
    return list(dict.fromkeys(changed))


def _widen(windows: Iterable[Window], known: LiveRanges) -> list[Window]:
    """Widen windows to the live ranges they meet in part, and make one of those that meet afterwards."""
    result: list[Window] = []
    live = iter(known.windows)
    ahead = next(live, None)
    for window in sorted(windows):  # both are in order: one walk through both of them
        while ahead and ahead.end_us <= window.start_us:
            ahead = next(live, None)
        while ahead and ahead.start_us < window.end_us:
            window = window.hull(ahead)  # whatever else meets this live range will meet the window
            ahead = next(live, None)
        while result and result[-1].meets(window):
            window = result.pop().hull(window)
        result.append(window)
    return result


def _without(shards: Sequence[Shard], windows: Collection[Window]) -> tuple[Shard, ...]:
    """Leave out the shards of some windows."""
    return tuple(shard for shard in shards if shard.window not in windows) if windows else tuple(shards)


def _is_new_enough(window: Window, known: LiveRanges, definitions: Mapping[str, int]) -> bool:
    """Tell whether no live range in a window was made by an older definition."""
    met = (live for one in known.meeting(window) for live in known.by_window[one])
    return all(live.definition >= definitions.get(live.output, 0) for live in met)


def _without_shrunk(
    shards: tuple[Shard, ...], known: LiveRanges, slices: KnownSlices
) -> tuple[tuple[Shard, ...], tuple[ShardFailure, ...]]:
    """Leave out shards whose live ranges were made from more files than there are now. Counted per live range, and per part."""
    over = [shard.window for shard in shards if shard.observed]
    pairs = [(window, part) for window in over for met in known.meeting(window) for part in known.inputs(met)]
    lost = slices.shrunk(part for _, part in pairs)
    failures = {
        window: ShardFailure(
            window, SHRUNK,
            f"{part.window} was made from {part.files} files and the source has {lost[part]} for it now: nothing was changed. "
            "Restore the files; or keep the rows (raypipe accept --shrunk), or let them go (raypipe backfill --accept-shrunk)",
        )
        for window, part in sorted(pairs) if part in lost
    }  # fmt: skip
    return _without(shards, failures), tuple(failures.values())


def _shrunk(late: Sequence[Window], known: LiveRanges, slices: KnownSlices, ready: Horizon) -> tuple[Shard, ...]:
    """Return the late live ranges, or parts of them, that were made from more files than there are now, as they are now."""
    lost = slices.shrunk(part for one in late for part in known.inputs(one))
    windows = sorted({part.window for part in lost})
    return tuple(
        Shard(ready.index_of(one), one, Reason.LATE, known.observed(one), mine)
        for one, mine in zip(windows, slices.of(windows), strict=True)
    )
