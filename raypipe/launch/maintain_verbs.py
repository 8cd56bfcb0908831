"""The verbs that tidy up: cancel and gc."""

from __future__ import annotations

from raypipe.launch.parts import Parts
from raypipe.launch.reports import GcReport
from raypipe.pipeline import Pipeline
from raypipe.runtime.system_clock import SystemClock


def cancel(pipeline: Pipeline, run_id: str | None) -> tuple[str, ...]:
    """Cancel one open run, or all of the pipeline; nothing of them commits after this returned."""
    return Parts(pipeline, SystemClock()).destination.cancel(run_id)


def gc(pipeline: Pipeline) -> GcReport:
    """Remove what closed runs staged. Runs are read as closed before any file is looked at."""
    parts = Parts(pipeline, SystemClock())
    open_runs = frozenset(run.run_id for run in parts.destination.snapshot().runs if run.ended_us is None)
    folders, size_bytes = parts.stages.collect(open_runs)
    return GcReport(folders, size_bytes)
