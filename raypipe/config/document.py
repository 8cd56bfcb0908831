"""From the frozen Pipeline back to a document: what YAML would have said, so that Python users meet the same checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raypipe import pipeline as p
from raypipe.config.quantities import duration_text, size_text
from raypipe.config.values import UNLIMITED
from raypipe.core.window import iso

_US_PER_S = 1_000_000


def document_of(pipeline: p.Pipeline) -> dict[str, Any]:
    """Return the document that a pipeline would be read from; loading it gives an equal pipeline."""
    return {
        "name": pipeline.name,
        "description": pipeline.description,
        "time": _time(pipeline.time),
        "source": _source(pipeline.source),
        "quality": _quality(pipeline.quality),
        "transform": [_step(step) for step in pipeline.transform],
        "outputs": [_output(output) for output in pipeline.outputs],
        "destination": {"kind": "duckdb", "path": str(pipeline.destination.path)},
        "run": _run(pipeline.run),
    }


def _time(time: p.EventTime) -> dict[str, Any]:
    end = {} if time.end_us is None else {"end": iso(time.end_us)}
    return end | {
        "column": time.column,
        "format": time.format,
        "zone": time.zone,
        "start": iso(time.start_us),
        "shard": str(time.shard),
        "lateness": UNLIMITED if time.lateness_us is None else duration_text(time.lateness_us),
        "delay": duration_text(time.delay_us),
    }


def _source(source: p.FilesSource) -> dict[str, Any]:
    csv = source.csv
    dialect = {
        "nulls": list(csv.nulls),
        "delimiter": csv.delimiter,
        "quote": csv.quote,
        "header": csv.header,
        "encoding": csv.encoding,
        "multiline": csv.multiline,
    }
    return (
        ({"csv": dialect} if source.format == "csv" else {})
        | _ready(source.ready)
        | {
            "kind": "files",
            "path": [str(path) for path in source.paths],
            "format": source.format,
            "columns": {name: {"type": str(column.type), "required": column.required} for name, column in source.columns.items()},
            "extra_columns": source.extra_columns,
            "on_drift": source.on_drift,
        }
    )


def _ready(ready: p.Ready | None) -> dict[str, Any]:
    if ready is None:
        return {}
    return {"ready": {"files": ready.files} | ({} if ready.marker is None else {"marker": ready.marker})}


def _quality(quality: p.Quality) -> dict[str, Any]:
    limit = quality.max_quarantined
    return ({} if limit is None else {"max_quarantined": {"share": limit.share, "at_least": limit.at_least}}) | {
        "rules": [
            {"name": one.name, "expect": one.expect, "otherwise": one.otherwise, "nulls": one.nulls} for one in quality.rules
        ],
        "checks": [
            {"table": one.table, "expect": one.expect, "otherwise": one.otherwise, "on_empty": one.on_empty}
            for one in quality.checks
        ],
    }


def _step(step: p.Step) -> dict[str, Any]:
    match step:
        case p.Filter():
            return {"filter": step.condition, "name": step.name}
        case p.Deduplicate():
            latest = {"latest_by": list(step.latest_by)} if step.latest_by else {}
            return {"deduplicate": {"key": list(step.key)} | latest}
        case p.Lookup():
            return {"lookup": {"path": str(step.path), "on": dict(step.on), "columns": dict(step.columns), "missing": step.missing}}
        case p.PythonStep():
            return {"python": step.function, "rows": step.rows}
        case p.Drop() | p.Select():
            return {"drop" if isinstance(step, p.Drop) else "select": list(step.columns)}
        case _:
            return _step_of_columns(step)


def _step_of_columns(step: p.Derive | p.Cast | p.Rename | p.FillNull) -> dict[str, Any]:
    columns: Mapping[str, Any] = step.columns
    match step:
        case p.Derive():
            return {"derive": dict(columns)}
        case p.Cast():
            return {"cast": {name: str(kind) for name, kind in columns.items()}}
        case p.Rename():
            return {"rename": dict(columns)}
        case p.FillNull():
            return {"fill_null": dict(columns)}


def _output(output: p.Output) -> dict[str, Any]:
    if isinstance(output, p.SqlOutput):
        return {"table": output.table, "sql": output.sql}
    if isinstance(output, p.GroupByOutput):
        return {"table": output.table, "group_by": dict(output.group_by), "measures": dict(output.measures)}
    keyed = {"key": list(output.key), "latest_by": list(output.latest_by), "delete_when": output.delete_when}
    return {"table": output.table, "rows": "all"} | {name: value for name, value in keyed.items() if value}


def _run(run: p.RunOptions) -> dict[str, Any]:
    return {
        "executor": run.executor,
        "address": run.address,
        "memory": size_text(run.memory_bytes),
        "cpus_per_shard": run.cpus_per_shard,
        "resources": dict(run.resources),
        "retries": {
            "attempts": run.retries.attempts,
            "delay": duration_text(round(run.retries.delay_s * _US_PER_S)),
            "factor": run.retries.factor,
        },
        "shard_timeout": duration_text(round(run.shard_timeout_s * _US_PER_S)),
    }
