"""`plan`: what a run would do, by the stages of the run itself; writes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from raypipe.core.executor_choice import Choice, WorkSize, choose_executor, estimated_seconds
from raypipe.core.plan import Plan
from raypipe.core.window import Window
from raypipe.errors import SourceUnreadable, UsageError
from raypipe.launch.parts import Parts, asked_window, cores, scratch_index
from raypipe.launch.reports import Ask, PlanReport, work_phrase
from raypipe.launch.upstream import upstream_report
from raypipe.pipeline import Pipeline, PythonStep, TableSource
from raypipe.ports import Clock
from raypipe.runtime import surroundings
from raypipe.runtime.planner import Planned, Planner, scanned_here, unreadable_text


def plan(pipeline: Pipeline, ask: Ask, clock: Clock | None = None) -> PlanReport:
    """Plan without writing anything. Raises SourceUnreadable when nothing is planned and yet a file cannot be read."""
    parts, planned = look_ahead(pipeline, ask, clock)
    if planned.unreadable and not planned.plan.failures:
        raise SourceUnreadable(unreadable_text(planned.unreadable))
    size = work_size(pipeline, planned.plan)
    choice = chosen(pipeline, ask, size, os.environ)
    inline_s, ray_s = estimated_seconds(choice.slots, size)
    return PlanReport(
        pipeline=pipeline,
        window=planner(parts, ask).window or parts.ready.window,
        plan=planned.plan,
        snapshot=planned.snapshot,
        executor=work_phrase(size.shards, size.size_bytes, choice),
        estimated_seconds=inline_s if choice.executor == "inline" else ray_s,
        rows=size.rows,
        memory_bytes=pipeline.run.memory_bytes,
        views=_changed(planned.snapshot.views, parts.views),
        upstream=upstream_report(parts),
    )


def _changed(standing: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({name for name, _ in standing.items() ^ wanted.items()}))


def look_ahead(pipeline: Pipeline, ask: Ask, clock: Clock | None = None) -> tuple[Parts, Planned]:
    """Plan with a copy of the index, where files that are new or changed are read for it."""
    with scratch_index(pipeline, clock) as parts:
        return parts, planner(parts, ask).first(lambda files: scanned_here(parts.source, files))


def planner(parts: Parts, ask: Ask) -> Planner:
    """Return the planner of what a person asked for. Raises UsageError for a window that ends before it starts."""
    asked = asked_window(parts, ask)
    if asked is not None and asked[0] >= asked[1]:
        bounds = "--shards A:B needs A < B" if ask.shards else "--end must be later than --start"
        raise UsageError(f"the window is empty or inverted: {bounds} (windows are half open)")
    window = Window(*asked) if asked else None
    # What a live range of another pipeline contributes no more was not lost: that pipeline's ledger says so.
    accept_shrunk = ask.accept_shrunk or isinstance(parts.pipeline.source, TableSource)
    return Planner(
        parts.source, parts.destination, parts.ready, ask.scope, window, parts.definitions, parts.clock, accept_shrunk,
        parts.patience,
    )  # fmt: skip


def work_size(pipeline: Pipeline, made: Plan) -> WorkSize:
    """Return what a plan amounts to."""
    pieces = [piece for shard in made.shards for piece in shard.slices]  # at once: there may be 100,000 shards
    return WorkSize(
        shards=len(made.shards),
        rows=sum([piece.rows for piece in pieces if not (piece.lookback or piece.lookahead)]),
        size_bytes=sum([piece.size_bytes for piece in pieces]),
        python_steps=any(isinstance(step, PythonStep) for step in pipeline.transform),
    )


def chosen(pipeline: Pipeline, ask: Ask, size: WorkSize, environ: Mapping[str, str]) -> Choice:
    """Choose the executor of so much work."""
    return choose_executor(
        ask.executor or pipeline.run.executor, ask.address or pipeline.run.address, environ, cores(), size,
        surroundings.surrounding_address(),
    )  # fmt: skip
