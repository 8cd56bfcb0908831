"""`plan`: what a run would do, by the stages of the run itself; writes nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from raypipe.core.executor_choice import Choice, WorkSize, choose_executor, estimated_seconds, phrase
from raypipe.core.plan import Plan
from raypipe.core.shard import InputFile
from raypipe.core.window import Window
from raypipe.errors import InputChanged, ShardError, UsageError
from raypipe.launch.parts import Parts, asked_window, cores
from raypipe.launch.reports import Ask, PlanReport
from raypipe.pipeline import Pipeline, PythonStep
from raypipe.ports import FileIndex
from raypipe.runtime.planner import Planner, UnreadableFile
from raypipe.runtime.system_clock import SystemClock


def plan(pipeline: Pipeline, ask: Ask) -> PlanReport:
    """Plan without writing anything: files that are not in the index are read for a scratch one."""
    with tempfile.TemporaryDirectory(prefix="raypipe-plan-") as scratch:
        parts = Parts(pipeline, SystemClock(), scratch=None if _index_is_complete(pipeline) else scratch)
        planned = planner(parts, ask).first(lambda files: _scan_here(parts, files))
        choice = chosen(pipeline, ask, planned.plan, os.environ)
    size = work_size(pipeline, planned.plan)
    inline_s, ray_s = estimated_seconds(choice.slots, size)
    return PlanReport(
        pipeline=pipeline,
        window=planner(parts, ask).window or parts.ready.window,
        plan=planned.plan,
        snapshot=planned.snapshot,
        executor=phrase(choice),
        estimated_seconds=inline_s if choice.executor == "inline" else ray_s,
        memory_bytes=pipeline.run.memory_bytes,
    )


def planner(parts: Parts, ask: Ask) -> Planner:
    """Return the planner of what a person asked for. Raises UsageError for a window that ends before it starts."""
    asked = asked_window(parts, ask)
    if asked is not None and asked[0] >= asked[1]:
        raise UsageError("the window is empty or inverted: --end must be later than --start (windows are half open)")
    window = Window(*asked) if asked else None
    return Planner(
        parts.source, parts.destination, parts.ready, ask.scope, window, parts.fingerprints, ask.accept_shrunk
    )  # fmt: skip


def work_size(pipeline: Pipeline, made: Plan) -> WorkSize:
    """Return what a plan amounts to."""
    return WorkSize(
        shards=len(made.shards),
        rows=sum(shard.rows for shard in made.shards),
        size_bytes=sum(shard.size_bytes for shard in made.shards),
        python_steps=any(isinstance(step, PythonStep) for step in pipeline.transform),
    )


def chosen(pipeline: Pipeline, ask: Ask, made: Plan, environ: Mapping[str, str]) -> Choice:
    """Choose the executor of a plan."""
    return choose_executor(
        ask.executor or pipeline.run.executor, ask.address or pipeline.run.address, environ, cores(), work_size(pipeline, made)
    )


def _index_is_complete(pipeline: Pipeline) -> bool:
    parts = Parts(pipeline, SystemClock())
    return not parts.source.unindexed(parts.source.list())


def _scan_here(parts: Parts, files: Sequence[InputFile]) -> Iterator[FileIndex | UnreadableFile]:
    for file in files:
        try:
            yield parts.source.scan(file)
        except (ShardError, InputChanged) as error:
            yield UnreadableFile(file, error.code, str(error))
