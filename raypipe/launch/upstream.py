"""Who reads whose table: the order of a set of pipelines, and what one that reads another's table waits for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from raypipe.core.readiness import beyond
from raypipe.core.run_order import Member, RunOrder, TableName, run_order
from raypipe.launch.parts import Parts
from raypipe.launch.reports import UpstreamReport
from raypipe.pipeline import Pipeline, TableSource


def order_of(pipelines: Sequence[Pipeline]) -> RunOrder:
    """Order pipelines so that each comes after those whose tables it reads. Raises UsageError for a cycle, and names it."""
    return run_order([_member(one) for one in pipelines])


def _member(pipeline: Pipeline) -> Member:
    source, path = pipeline.source, os.path.realpath(pipeline.destination.path)
    reads = TableName(os.path.realpath(source.path), source.table) if isinstance(source, TableSource) else None
    return Member(pipeline.name, frozenset(TableName(path, one.table) for one in pipeline.outputs), reads)


def upstream_report(parts: Parts) -> UpstreamReport | None:
    """Return what a pipeline waits for that reads another's table; None for one that reads files."""
    if not isinstance(parts.pipeline.source, TableSource):
        return None
    seen = parts.upstream_seen
    return UpstreamReport(
        table=parts.pipeline.source.table,
        pipeline=seen.pipeline if seen else None,
        watermark_us=seen.watermark_us if seen else None,
        waiting=beyond(parts.by_time, parts.ready),
    )
