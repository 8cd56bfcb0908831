"""`accept`: records that what another definition made is fine, or that rows stay whose files are gone."""

from __future__ import annotations

from dataclasses import replace

from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.launch.plan_verb import look_ahead
from raypipe.launch.reports import AcceptReport, Ask
from raypipe.launch.run_verb import new_run_id, opening_of
from raypipe.pipeline import Pipeline
from raypipe.ports import Observer, StopFlag
from raypipe.runtime.acceptor import Acceptor, Difference
from raypipe.runtime.settling import Settler
from raypipe.runtime.stopping import Stopping


def accept(pipeline: Pipeline, what: Difference, ask: Ask, *, observer: Observer) -> AcceptReport:
    """Accept the stale or shrunk live ranges of a window; no row of a table changes. Nothing to accept opens no run.

    A range that another run commits meanwhile is left as it is, and counted as a conflict. Raises SourceUnreadable for a
    file that cannot be read: whether its rows are gone is not known.
    """
    parts, planned = look_ahead(pipeline, replace(ask, scope=Scope.DUE))
    opening = replace(opening_of(parts, replace(ask, kind=RunKind.ACCEPT), new_run_id(parts.clock)), outside=planned.outside)
    settler = Settler(Stopping(StopFlag(), parts.clock), observer.on)
    found = Acceptor(parts.destination, settler, observer.on).run(opening, planned, what)
    return AcceptReport(pipeline, what, found.run_id, found.windows, found.conflicts)
