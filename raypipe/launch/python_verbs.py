"""The verbs as Python programs call them: windows instead of options, no progress unless an observer is given."""

from __future__ import annotations

from typing import Literal

from raypipe.core.calendar import Width
from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.window import Window
from raypipe.launch.accept_verb import accept as accept_asked
from raypipe.launch.compact_verb import compact as compact_asked
from raypipe.launch.plan_verb import plan as plan_asked
from raypipe.launch.reports import AcceptReport, Ask, CompactReport, PlanReport, RunReport
from raypipe.launch.run_verb import run as run_asked
from raypipe.observe.several import Several
from raypipe.pipeline import Pipeline
from raypipe.ports import Clock, Observer, StopFlag

ExecutorName = Literal["auto", "inline", "ray"]


def _watching(observer: Observer | None) -> Observer:
    """Return an observer that cannot fail a run: one that raises is told of nothing more."""
    return Several([observer] if observer else [])


def run(
    pipeline: Pipeline,
    window: Window | None = None,
    *,
    executor: ExecutorName | None = None,
    address: str | None = None,
    observer: Observer | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Do all that is new, late or failed in a window (None: all of history), and report.

    `clock` says what time it is instead of this machine's (`raypipe.testing.FrozenClock`): which shards are ready depends on it.
    Failed shards are in the report; Fenced, InDoubt, ConfigurationError and the like are raised (raypipe.errors).
    """
    ask = Ask(
        start_us=window.start_us if window else None, end_us=window.end_us if window else None, executor=executor, address=address
    )
    return run_asked(pipeline, ask, observer=_watching(observer), stop=StopFlag(), clock=clock)


def backfill(
    pipeline: Pipeline,
    window: Window,
    *,
    publish: Literal["atomic", "shard"] = "atomic",
    executor: ExecutorName | None = None,
    address: str | None = None,
    observer: Observer | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Do every shard of a window again; `atomic`: readers see all of it or nothing."""
    ask = Ask(
        kind=RunKind.BACKFILL,
        scope=Scope.ALL,
        start_us=window.start_us,
        end_us=window.end_us,
        publish=publish,
        executor=executor,
        address=address,
    )
    return run_asked(pipeline, ask, observer=_watching(observer), stop=StopFlag(), clock=clock)


def accept(
    pipeline: Pipeline, what: Literal["stale", "shrunk"], window: Window | None = None, *, observer: Observer | None = None
) -> AcceptReport:
    """Say that live ranges of a window (None: all) are fine although they are stale, or their files are gone."""
    ask = Ask(start_us=window.start_us if window else None, end_us=window.end_us if window else None)
    return accept_asked(pipeline, what, ask, observer=_watching(observer))


def compact(
    pipeline: Pipeline, before_us: int, *, into: Width | None = None, any_cut: bool = False, observer: Observer | None = None
) -> CompactReport:
    """Make one live range of all that end by an instant, or with `into` of those in each cell of that width; no table changes.

    `any_cut` says that SQL outputs and `deduplicate` steps give the same rows wherever shards are cut (`verify --widths`).
    """
    return compact_asked(pipeline, before_us, into=into, any_cut=any_cut, observer=_watching(observer))


def plan(pipeline: Pipeline, window: Window | None = None, *, clock: Clock | None = None) -> PlanReport:
    """Tell what `run` would do; writes nothing."""
    ask = Ask(start_us=window.start_us if window else None, end_us=window.end_us if window else None)
    return plan_asked(pipeline, ask, clock)
