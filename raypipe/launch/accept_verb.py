"""`accept`: records that what another definition made is fine, or that rows stay whose files are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from raypipe.core.acceptance import acceptance, accepted_shrunk, accepted_stale
from raypipe.core.commit import Receipt, ShardCommit
from raypipe.core.events import Warned
from raypipe.core.live_ranges import LiveRanges
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind, RunState
from raypipe.errors import SourceUnreadable
from raypipe.launch.parts import Parts
from raypipe.launch.plan_verb import look_ahead
from raypipe.launch.reports import AcceptReport, Ask
from raypipe.launch.run_verb import new_run_id, opening_of
from raypipe.pipeline import Pipeline
from raypipe.ports import Observer, StopFlag
from raypipe.runtime.planner import Planned, unreadable_text
from raypipe.runtime.settling import Settler
from raypipe.runtime.stopping import Stopping


def accept(pipeline: Pipeline, what: Literal["stale", "shrunk"], ask: Ask, *, observer: Observer) -> AcceptReport:
    """Accept the stale or shrunk live ranges of a window; no row of a table changes. Nothing to accept opens no run.

    A range that another run commits meanwhile is left as it is, and counted as a conflict. Raises SourceUnreadable for a
    file that cannot be read: whether its rows are gone is not known.
    """
    parts, planned = look_ahead(pipeline, replace(ask, scope=Scope.DUE))
    if planned.unreadable and what == "shrunk":
        raise SourceUnreadable(unreadable_text(planned.unreadable))
    shards = _shards(parts, planned, what)
    if not shards:
        return AcceptReport(pipeline, what, None, ())
    opening = opening_of(parts, replace(ask, kind=RunKind.ACCEPT), new_run_id(parts.clock))
    settler = Settler(Stopping(StopFlag(), parts.clock), observer.on)
    run = parts.destination.open_run(replace(opening, outside=planned.outside))
    for closed in run.closed:
        observer.on(Warned(f"run {closed} was left open by a process that is gone; it was closed"))
    request = acceptance(run, shards)
    receipt: Receipt = settler.settled(lambda: parts.destination.commit(request, ()))
    settler.settled(lambda: parts.destination.close_run(run.run_id, run.epoch, RunState.DONE))
    return AcceptReport(pipeline, what, run.run_id, tuple(sorted(receipt.outcomes)), receipt.conflicts)


def _shards(parts: Parts, planned: Planned, what: Literal["stale", "shrunk"]) -> tuple[ShardCommit, ...]:
    live = LiveRanges.of(planned.snapshot, tuple(parts.definitions))
    if what == "stale":
        return accepted_stale(live, [window for window, _ in planned.plan.stale])
    return accepted_shrunk(live, planned.plan.shrunk)
