"""`verify --widths`: makes the tables of a range again at other shard widths and in another order, and compares them.

SQL is free to mean something else when shards are cut elsewhere: an average over the last week, a row's rank in its day.
Here that is found out, and the cut that does it is named. Nothing is written but in a scratch folder beside the state,
which is gone afterwards.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raypipe.core.calendar import Calendar, Width
from raypipe.core.given_shards import cut
from raypipe.core.intervals import Ranges, intersect, meeting, normalise
from raypipe.core.plan import covered
from raypipe.core.window import Window, iso
from raypipe.errors import UsageError
from raypipe.launch.parts import Parts
from raypipe.launch.scratch_tables import Scratch, ShardsFailed, Tables, scratch_tables
from raypipe.pipeline import Pipeline
from raypipe.ports import Check
from raypipe.runtime.system_clock import SystemClock

if TYPE_CHECKING:
    from raypipe.destinations.duckdb_compare import TableDifference

Tell = Callable[[str], None]
SHOWN_CHARS_MAX = 400  # of a row in a message


def verify_widths(
    pipeline: Pipeline, widths: Sequence[Width], *, window: Window | None = None, tell: Tell = lambda text: None
) -> Sequence[Check]:
    """Tell for each width whether the tables come out as at the pipeline's own; also for its own shards in another order.

    `window` is the range to compute; None: all that is live. Integers, decimals, texts and times must be equal, floats
    within `destinations.duckdb_compare.FLOAT_TOLERANCE`. Raises UsageError when the range is empty.
    """
    parts = Parts(pipeline, SystemClock())
    ranges = _ranges(parts, window)
    with scratch_tables(parts) as scratch:
        own = cut(ranges, _boundaries(parts, pipeline.time.shard, ranges))
        tell(f"computing {len(own)} shards of {pipeline.time.shard} in order")
        try:
            base = scratch.tables("own", [own])
        except ShardsFailed as failed:
            return [Check("widths", False, f"a shard of {pipeline.time.shard} cannot be computed: {failed}")]
        tell("computing them again, the later half first")
        checks = [_check_order(scratch, base, own)]
        for width in dict.fromkeys(widths):
            others = cut(ranges, _boundaries(parts, width, ranges))
            tell(f"computing {len(others)} shards of {width}")
            checks.append(_check_width(scratch, base, width, own, others))
        return checks


def _ranges(parts: Parts, window: Window | None) -> Ranges:
    """Return what is to be computed: the window, or all that is live, as far as it is ready."""
    ready = parts.ready.window
    wanted = (window,) if window else covered(parts.destination.snapshot(), parts.definitions)
    found = intersect(wanted, (ready,)) if ready else ()
    if not found:
        raise UsageError(
            f"{window} lies outside the history that is ready" if window
            else "nothing is live yet, so there is nothing to compare: run the pipeline first, or give --start and --end"
        )  # fmt: skip
    return found


def _boundaries(parts: Parts, width: Width, ranges: Ranges) -> list[int]:
    calendar = Calendar(parts.pipeline.time.start_us, width, parts.pipeline.time.zone)
    return [cell.start_us for one in ranges for cell in calendar.cells(one)]


# ---- judging ----------------------------------------------------------------------------------------------


def _check_order(scratch: Scratch, base: Tables, own: Sequence[Window]) -> Check:
    half = len(own) // 2
    name, orders = "order", [part for part in (own[half:], own[:half]) if part]
    found = scratch.difference(base, scratch.tables("order", orders))
    if found is None:
        return Check(name, True, f"{_counted(scratch)} the same when the later half of {len(own)} shards is done first")
    return Check(name, False, f"table {found.table}: in order: {_row(found.left)}; the later half first: {_row(found.right)}")


def _check_width(scratch: Scratch, base: Tables, width: Width, own: Sequence[Window], others: Sequence[Window]) -> Check:
    name, own_width = f"widths {width}", scratch.pipeline.time.shard
    try:
        tables = scratch.tables(f"at-{width}", [others])
        found = scratch.difference(base, tables)
        if found is None:
            text = f"{_counted(scratch)} the same in {len(others)} shards of {width} and in {len(own)} of {own_width}"
            return Check(name, True, text)
        return Check(name, False, _dependence(scratch, found, own, others) or _plainly(found, own_width, width))
    except ShardsFailed as failed:
        return Check(name, False, f"a shard of {width} cannot be computed: {failed}")


def _dependence(scratch: Scratch, found: TableDifference, own: Sequence[Window], others: Sequence[Window]) -> str | None:
    """Find the one cut that changes the table, by halving the cuts around the first row that differs.

    The shards that wrote the row are computed as one, then cut at the first half of the places, and so on, until two
    computations differ that have all cuts but the last in common.
    """
    whole = _around(found, own, others)
    with contextlib.suppress(ShardsFailed):  # not all that can be computed in pieces can be as one
        uncut = scratch.tables("uncut", [whole])
        for shards in sorted((own, others), key=len):
            places = [one.start_us for one in shards if any(part.start_us < one.start_us < part.end_us for part in whole)]
            at = _first_that_matters(scratch, whole, uncut, places)
            if at is not None:
                before = scratch.tables("before", [cut(whole, places[:at])])
                change = scratch.difference(before, scratch.tables("after", [cut(whole, places[: at + 1])]))
                if change is not None:
                    return _told(change, places[at])
    return None


def _first_that_matters(scratch: Scratch, whole: Sequence[Window], uncut: Tables, places: Sequence[int]) -> int | None:
    """Return the number of a place, where the places before it change nothing and with it something changes."""

    def changes(count: int) -> bool:
        return scratch.difference(uncut, scratch.tables("halving", [cut(whole, places[:count])])) is not None

    if not places or not changes(len(places)):
        return None
    same, changed = 0, len(places)
    while changed - same > 1:
        middle = (same + changed) // 2
        if changes(middle):
            changed = middle
        else:
            same = middle
    return same


def _around(found: TableDifference, own: Sequence[Window], others: Sequence[Window]) -> Ranges:
    """Return the shards of both widths that meet those that wrote the rows; all where the table does not tell."""
    written = [one for one in (found.left_shard_us, found.right_shard_us) if one is not None]
    everything = normalise(own)
    if not written:
        return everything
    hull = Window(min(written), max(written) + 1)
    while True:
        wider = hull
        for shards in (own, others):
            for one in meeting(shards, wider):
                wider = wider.hull(one)
        if wider == hull:
            return intersect((hull,), everything)
        hull = wider


def _told(change: TableDifference, at_us: int) -> str:
    if change.columns:
        return f"table {change.table}: a cut at {iso(at_us)} changes its columns: {change.columns}"
    return (
        f"table {change.table}: a cut at {iso(at_us)} changes it. Without the cut: {_row(change.left)}; "
        f"with it: {_row(change.right)}. "
        "SQL sees one shard at a time; time.lookback and time.lookahead let it see the time around it"
    )


def _plainly(found: TableDifference, own: Width, other: Width) -> str:
    if found.columns:
        return f"table {found.table}: its columns differ between {own} and {other}: {found.columns}"
    return f"table {found.table}: at {own}: {_row(found.left)}; at {other}: {_row(found.right)}"


def _row(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "no such row"
    text = json.dumps(row, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "..."


def _counted(scratch: Scratch) -> str:
    count = len(scratch.pipeline.outputs)
    return "1 table is" if count == 1 else f"{count} tables are"
