"""`compact`: makes one live range of old ones, so that keyed and combined tables are kept from fewer contributions."""

from __future__ import annotations

from dataclasses import replace

from raypipe.core.calendar import Calendar, Width
from raypipe.core.state import RunKind, Snapshot
from raypipe.errors import UsageError
from raypipe.launch.inspect_verbs import tables_that_depend_on_cuts
from raypipe.launch.parts import Parts
from raypipe.launch.reports import Ask, CompactReport
from raypipe.launch.run_verb import new_run_id, opening_of
from raypipe.pipeline import Pipeline
from raypipe.ports import Clock, Observer, StopFlag
from raypipe.runtime.compactor import Compacted, Compactor
from raypipe.runtime.settling import Settler
from raypipe.runtime.stopping import Stopping
from raypipe.runtime.system_clock import SystemClock


def compact(
    pipeline: Pipeline,
    before_us: int,
    *,
    observer: Observer,
    into: Width | None = None,
    any_cut: bool = False,
    dry_run: bool = False,
    clock: Clock | None = None,
) -> CompactReport:
    """Make one live range of all that end by an instant, or with `into` of those in each cell of that width; no table changes.

    Raises UsageError for tables whose rows depend on where shards are cut, unless `any_cut` says that these do not.
    """
    _require_any_cut(pipeline, any_cut=any_cut)
    parts = Parts(pipeline, clock or SystemClock())
    opening = replace(opening_of(parts, Ask(kind=RunKind.COMPACT), new_run_id(parts.clock)), outside=_outside(parts))
    settler = Settler(Stopping(StopFlag(), parts.clock), observer.on)
    compactor = Compactor(parts.destination, parts.claims, settler, observer.on)
    cells = Calendar(pipeline.time.start_us, into, pipeline.time.zone) if into else None
    found = compactor.look(opening, before_us, cells) if dry_run else compactor.run(opening, before_us, cells)
    after = parts.destination.snapshot() if found.done else found.snapshot
    return CompactReport(pipeline, found, {} if dry_run else _contributions(parts, found, after))


def _require_any_cut(pipeline: Pipeline, *, any_cut: bool) -> None:
    tables = tables_that_depend_on_cuts(pipeline)
    if tables and not any_cut:
        raise UsageError(
            f"what stands in {', '.join(tables)} may depend on where shards are cut, and a compacted range is done again as one "
            f"shard when anything in it changes: prove that it does not (raypipe verify --widths, with the width of the ranges), "
            f"then say --any-cut"
        )


def _outside(parts: Parts) -> int:
    """Return what the last run saw outside of history: no source is listed here."""
    return parts.destination.snapshot().outside


def _contributions(parts: Parts, found: Compacted, after: Snapshot) -> dict[str, tuple[int, int]]:
    """Return the rows of contributions to each keyed or combined table in the compacted ranges, before and after."""

    def rows(snapshot: Snapshot, table: str) -> int:
        return sum(
            live.rows for live in snapshot.live if live.output == table and any(one.contains(live.window) for one in found.done)
        )

    return {table: (rows(found.snapshot, table), rows(after, table)) for table in parts.merges}
