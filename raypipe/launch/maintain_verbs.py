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
    """Remove what closed runs staged and spilled, and quarantined texts that are kept no longer.

    Runs whose process is dead are closed first.
    """
    from raypipe.destinations.holder import is_dead

    parts = Parts(pipeline, SystemClock())
    folders, size_bytes = parts.stages.collect(lambda: open_runs(parts.destination, is_dead))
    kept_us = pipeline.quality.keep_quarantined_us
    blanked = 0 if kept_us is None else parts.destination.blank_quarantine(parts.clock.now_us() - kept_us)
    return GcReport(folders, size_bytes, blanked)
