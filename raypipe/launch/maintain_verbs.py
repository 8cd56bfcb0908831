"""The verbs that tidy up: cancel and gc."""

from __future__ import annotations

import contextlib

from raypipe.core.state import RunState
from raypipe.errors import Fenced
from raypipe.launch.parts import Parts
from raypipe.launch.reports import GcReport
from raypipe.pipeline import Pipeline
from raypipe.runtime.system_clock import SystemClock


def cancel(pipeline: Pipeline, run_id: str | None) -> tuple[str, ...]:
    """Cancel one open run, or all of the pipeline; nothing of them commits after this returned."""
    return Parts(pipeline, SystemClock()).destination.cancel(run_id)


def gc(pipeline: Pipeline) -> GcReport:
    """Remove what closed runs staged and spilled, and quarantined texts that are kept no longer.

    Runs whose process is dead are closed first.
    """
    parts = Parts(pipeline, SystemClock())
    folders, size_bytes = parts.stages.collect(lambda: _open_runs(parts))
    kept_us = pipeline.quality.keep_quarantined_us
    blanked = 0 if kept_us is None else parts.destination.blank_quarantine(parts.clock.now_us() - kept_us)
    return GcReport(folders, size_bytes, blanked)


def _open_runs(parts: Parts) -> frozenset[str]:
    """Close the runs of dead holders and return those that are open still."""
    from raypipe.destinations.holder import is_dead

    found = [run for run in parts.destination.snapshot().runs if run.ended_us is None]
    for run in found:
        if is_dead(run.holder):
            with contextlib.suppress(Fenced):  # taken over meanwhile
                parts.destination.close_run(run.run_id, run.epoch, RunState.FAILED)
    if any(is_dead(run.holder) for run in found):
        found = [run for run in parts.destination.snapshot().runs if run.ended_us is None]
    return frozenset(run.run_id for run in found)
