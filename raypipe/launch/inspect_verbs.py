"""The verbs that look and change nothing: status, verify, quarantine, check, sample, versions, schema."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raypipe.core.intervals import gaps
from raypipe.core.live_ranges import LiveRanges, other_widths
from raypipe.core.plan import SHRUNK, Plan, Scope, covered
from raypipe.core.shard import Reason
from raypipe.core.state import FailedShard, Snapshot
from raypipe.core.window import Window
from raypipe.errors import UsageError
from raypipe.late_packages import installed_version
from raypipe.launch.listing_warnings import time_column_problems, warnings_of
from raypipe.launch.parts import Parts, scratch_index, shards_window
from raypipe.launch.reports import Ask, CheckReport, StatusReport
from raypipe.launch.upstream import upstream_report
from raypipe.pipeline import Deduplicate, Pipeline, SqlOutput
from raypipe.ports import Check, Listing
from raypipe.runtime.system_clock import SystemClock

EXPORT_SUFFIXES = (".parquet", ".csv")
ENGINES = ("ray", "polars", "duckdb", "pyarrow")


def status(pipeline: Pipeline) -> StatusReport:
    """Tell where a pipeline stands: the ledger against the source and the definition of now."""
    from raypipe.launch.plan_verb import look_ahead

    parts, planned = look_ahead(pipeline, Ask(scope=Scope.DUE))
    snapshot, made = planned.snapshot, planned.plan
    done = covered(snapshot, parts.definitions)
    return StatusReport(
        pipeline=pipeline,
        snapshot=snapshot,
        coverage=done,
        gaps=gaps(done),
        late=tuple(shard.window for shard in made.shards if shard.reason is Reason.LATE),
        held=made.held,
        stale=made.stale,
        failed=_failed(snapshot, made),
        waiting=made.waiting,
        other_widths=_other_widths(parts, snapshot),
        cut_tables=tables_that_depend_on_cuts(pipeline),
        tables=parts.destination.table_rows(),
        quarantine=parts.destination.quarantine_counts(),
        upstream=upstream_report(parts),
    )


def _failed(snapshot: Snapshot, made: Plan) -> tuple[FailedShard, ...]:
    """Return the shards that failed; whether a source has shrunk is seen anew, since files may have come back."""
    remembered = [one for one in snapshot.failed if one.code != SHRUNK]
    runs = {one.window: one.run_id for one in snapshot.failed}
    now = [FailedShard(one.window, runs.get(one.window, ""), one.code, one.error) for one in made.failures]
    known = {one.window for one in remembered}
    return tuple(sorted([*remembered, *(one for one in now if one.window not in known)], key=lambda one: one.window))


def _other_widths(parts: Parts, snapshot: Snapshot) -> tuple[tuple[Window, int], ...]:
    """Return where tables that depend on cuts were cut at another width than today's."""
    tables = tables_that_depend_on_cuts(parts.pipeline)
    if parts.ready.window is None or not tables:
        return ()
    return other_widths(LiveRanges.of(snapshot, tables), parts.calendar, parts.ready.window)


def tables_that_depend_on_cuts(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the tables whose rows may be others when shards are cut otherwise: those of SQL, and all behind a `deduplicate`."""
    deduplicated = any(isinstance(step, Deduplicate) for step in pipeline.transform)
    return tuple(one.table for one in pipeline.outputs if deduplicated or isinstance(one, SqlOutput))


def verify(pipeline: Pipeline) -> Sequence[Check]:
    """Prove the destination."""
    return Parts(pipeline, SystemClock()).destination.verify()


def quarantine_counts(pipeline: Pipeline) -> Sequence[Mapping[str, Any]]:
    """Return rule, rows, first and last shard."""
    return Parts(pipeline, SystemClock()).destination.quarantine_counts()


def quarantine_rows(
    pipeline: Pipeline, *, rule: str | None, shards: tuple[int, int] | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    """Return quarantined rows of a rule and a half-open range of shard indices."""
    parts = Parts(pipeline, SystemClock())
    return parts.destination.quarantine_rows(rule=rule, window=shards_window(parts, shards), limit=limit)


def quarantine_export(pipeline: Pipeline, path: Path, *, rule: str | None, shards: tuple[int, int] | None) -> int:
    """Write quarantined rows to a .parquet or .csv file; return how many. Raises UsageError for what is no such file."""
    if path.suffix not in EXPORT_SUFFIXES:
        raise UsageError(f"-o {path}: expected a name that ends with {' or '.join(EXPORT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError(f"-o {path}: the folder {path.parent} does not exist")
    parts = Parts(pipeline, SystemClock())
    return parts.destination.export_quarantine(path, rule=rule, window=shards_window(parts, shards))


def check(pipeline: Pipeline) -> CheckReport:
    """Validate all that can be without running."""
    from raypipe.engine.check import check_pipeline

    with scratch_index(pipeline) as parts:
        listing = parts.source.list()
        columns, *further = (
            source.columns(Listing(tuple(file for file in listing.files if file.origin == origin)))
            for origin, source in enumerate(parts.sources)
        )
        problems, warnings = check_pipeline(pipeline, columns, further)
        problems = [*time_column_problems(pipeline, columns), *problems]
    return CheckReport(tuple(problems), (*warnings_of(parts, listing), *warnings))


def versions() -> Mapping[str, str]:
    """Return the versions of raypipe and its engines, without importing them."""
    return {**{name: installed_version(name) or "unknown" for name in ("raypipe", *ENGINES)}, "python": platform.python_version()}


def schema() -> Mapping[str, Any]:
    """Return the JSON Schema of the configuration."""
    from raypipe.config.schema import json_schema

    return json_schema()
