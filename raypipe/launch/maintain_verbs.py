"""The verbs that tidy up: cancel and gc."""

from __future__ import annotations

from raypipe.launch.parts import Parts
from raypipe.launch.reports import GcReport
from raypipe.pipeline import Pipeline
from raypipe.runtime.open_runs import open_runs
from raypipe.runtime.system_clock import SystemClock


def cancel(pipeline: Pipeline, run_id: str | None) -> tuple[str, ...]:
    """Cancel one open run, or all of the pipeline; nothing of them commits after this returned."""
    return Parts(pipeline, SystemClock()).destination.cancel(run_id)


def gc(pipeline: Pipeline) -> GcReport:
    """Remove what closed runs staged and spilled. Runs whose process is dead are closed first."""
    from raypipe.destinations.holder import is_dead

    parts = Parts(pipeline, SystemClock())
    return GcReport(*parts.stages.collect(lambda: open_runs(parts.destination, is_dead)))
