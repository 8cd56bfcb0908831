"""The composition root: what the command line and Python programs call. Only here are implementations named.

A verb is found when it is first asked for: a run needs no other one, and half of what they are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raypipe.launch.accept_verb import accept
    from raypipe.launch.compact_verb import compact
    from raypipe.launch.inspect_verbs import (
        check,
        quarantine_counts,
        quarantine_export,
        quarantine_rows,
        schema,
        status,
        verify,
        versions,
    )
    from raypipe.launch.maintain_verbs import cancel, gc
    from raypipe.launch.plan_verb import plan
    from raypipe.launch.recompute_verb import recompute
    from raypipe.launch.replay_verb import replay_ask
    from raypipe.launch.reports import AcceptReport, Ask, CheckReport, CompactReport, GcReport, PlanReport, RunReport, StatusReport
    from raypipe.launch.run_verb import run
    from raypipe.launch.sample_verb import sample
    from raypipe.launch.submit_verb import (
        Errand,
        SubmitReport,
        cancel_job,
        chosen_job,
        follow_job,
        job_logs,
        submit,
        submitted_jobs,
    )
    from raypipe.launch.upstream import order_of
    from raypipe.launch.widths_verb import verify_widths
    from raypipe.pipeline import Pipeline
    from raypipe.ports import StopFlag

__all__ = [
    "AcceptReport",
    "Ask",
    "CheckReport",
    "CompactReport",
    "Errand",
    "GcReport",
    "PlanReport",
    "RunReport",
    "StatusReport",
    "StopFlag",
    "SubmitReport",
    "accept",
    "cancel",
    "cancel_job",
    "check",
    "chosen_job",
    "compact",
    "follow_job",
    "gc",
    "job_logs",
    "load",
    "order_of",
    "plan",
    "quarantine_counts",
    "quarantine_export",
    "quarantine_rows",
    "recompute",
    "replay_ask",
    "run",
    "sample",
    "schema",
    "status",
    "submit",
    "submitted_jobs",
    "verify",
    "verify_widths",
    "versions",
]

_HOMES = {
    "raypipe.launch.accept_verb": ("accept",),
    "raypipe.launch.compact_verb": ("compact",),
    "raypipe.launch.inspect_verbs": (
        "check",
        "quarantine_counts",
        "quarantine_export",
        "quarantine_rows",
        "schema",
        "status",
        "verify",
        "versions",
    ),
    "raypipe.launch.maintain_verbs": (
        "cancel",
        "gc",
    ),
    "raypipe.launch.plan_verb": ("plan",),
    "raypipe.launch.recompute_verb": ("recompute",),
    "raypipe.launch.replay_verb": ("replay_ask",),
    "raypipe.launch.reports": (
        "AcceptReport",
        "Ask",
        "CheckReport",
        "CompactReport",
        "GcReport",
        "PlanReport",
        "RunReport",
        "StatusReport",
    ),
    "raypipe.launch.run_verb": ("run",),
    "raypipe.launch.sample_verb": ("sample",),
    "raypipe.launch.submit_verb": (
        "Errand",
        "SubmitReport",
        "cancel_job",
        "chosen_job",
        "follow_job",
        "job_logs",
        "submit",
        "submitted_jobs",
    ),
    "raypipe.launch.upstream": ("order_of",),
    "raypipe.launch.widths_verb": ("verify_widths",),
    "raypipe.pipeline": ("Pipeline",),
    "raypipe.ports": ("StopFlag",),
}


def load(
    target: str,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    elsewhere: bool = False,
) -> Pipeline:
    """Return the pipeline of a YAML file or `module:attribute`. Raises ConfigurationError with all problems.

    `folder` is where relative paths of source and destination start, instead of the configuration's folder. With
    `elsewhere` the pipeline will run in another environment: a `${env:NAME}` without a value here is no problem.
    """
    from raypipe.config.load import load_pipeline

    return load_pipeline(target, profile=profile, overrides=overrides, folder=folder, elsewhere=elsewhere)


def __getattr__(name: str) -> Any:
    """Find what the command line calls in its module, and keep it."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'raypipe.launch' has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(home), name)
    return found
