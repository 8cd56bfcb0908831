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
        "inputs": {one.name: _input(one) for one in pipeline.inputs},
        "quality": _quality(pipeline.quality),
        "transform": [_step(step) for step in pipeline.transform],
        "outputs": [*map(_output, pipeline.outputs), *({"table": one.name, "view": one.sql} for one in pipeline.views)],
        "destination": {"kind": "duckdb", "path": str(pipeline.destination.path)},
        "run": _run(pipeline.run),
    }


def _time(time: p.EventTime) -> dict[str, Any]:
    end = {} if time.end_us is None else {"end": iso(time.end_us)}
    seen = {"lookback": time.lookback, "lookahead": time.lookahead}
    return (
        end
        | {name: str(width) for name, width in seen.items() if width is not None}
        | {
            "column": time.column,
            "format": time.format,
            "zone": time.zone,
            "start": iso(time.start_us),
            "shard": str(time.shard),
            "lateness": UNLIMITED if time.lateness_us is None else duration_text(time.lateness_us),
            "delay": duration_text(time.delay_us),
        }
    )


def _input(one: p.NamedInput) -> dict[str, Any]:
    seen = {"lookback": one.lookback, "lookahead": one.lookahead}
    time = {"column": one.column, "format": one.format} | {name: str(width) for name, width in seen.items() if width is not None}
    return {"source": _source(one.source), "time": time}


def _source(source: p.Source) -> dict[str, Any]:
    contract = {
        "columns": {name: {"type": str(column.type), "required": column.required} for name, column in source.columns.items()},
        "extra_columns": source.extra_columns,
        "on_drift": source.on_drift,
    }
    if isinstance(source, p.TableSource):
        return {"kind": "table", "path": str(source.path), "table": source.table} | contract
    also = {"also": [_files(one) for one in source.also]} if source.also else {}
    return {"kind": "files"} | _files(source) | _ready(source.ready) | also | contract


def _files(files: p.FilesSource | p.MoreFiles) -> dict[str, Any]:
    csv = files.csv
    dialect = {
        "nulls": list(csv.nulls),
        "delimiter": csv.delimiter,
        "quote": csv.quote,
        "header": csv.header,
        "encoding": csv.encoding,
        "multiline": csv.multiline,
    }
    written = {"csv": dialect} if files.format == "csv" else {}
    return written | {"path": [str(path) for path in files.paths], "format": files.format}


def _ready(ready: p.Ready | None) -> dict[str, Any]:
    if ready is None:
        return {}
    return {"ready": {"files": ready.files} | ({} if ready.marker is None else {"marker": ready.marker})}


def _quality(quality: p.Quality) -> dict[str, Any]:
    limit = quality.max_quarantined
    kept = {} if quality.keep_quarantined_us is None else {"keep_quarantined": duration_text(quality.keep_quarantined_us)}
    return (
        kept
        | ({} if limit is None else {"max_quarantined": {"share": limit.share, "at_least": limit.at_least}})
        | {
            "rules": [
                {"name": one.name, "expect": one.expect, "otherwise": one.otherwise, "nulls": one.nulls} for one in quality.rules
            ],
            "checks": [
                {"table": one.table, "expect": one.expect, "otherwise": one.otherwise, "on_empty": one.on_empty}
                for one in quality.checks
            ],
        }
    )


def _step(step: p.Step) -> dict[str, Any]:
    match step:
        case p.Filter():
            return {"filter": step.condition, "name": step.name}
        case p.Deduplicate():
            latest = {"latest_by": list(step.latest_by)} if step.latest_by else {}
            return {"deduplicate": {"key": list(step.key)} | latest}
        case p.Lookup():
            as_of = {} if step.as_of is None else {"as_of": step.as_of}
            names = {"on": dict(step.on), "columns": dict(step.columns)}
            return {"lookup": {"path": str(step.path)} | names | {"missing": step.missing} | as_of}
        case p.PythonStep() | p.Explode() | p.Flatten() | p.Drop() | p.Select():
            return _short_step(step)
        case _:
            return _step_of_columns(step)


def _short_step(step: p.PythonStep | p.Explode | p.Flatten | p.Drop | p.Select) -> dict[str, Any]:
    match step:
        case p.PythonStep():
            return {"python": step.function, "rows": step.rows}
        case p.Explode():
            return {"explode": step.column, "empty": step.empty}
        case _:
            return {type(step).__name__.lower(): list(step.columns)}


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
    columns = {
        name: {"type": str(one.type), "required": one.required, "unique": one.unique} for name, one in output.columns.items()
    }
    named = {"table": output.table} | ({"columns": columns} if columns else {})
    if isinstance(output, p.SqlOutput):
        return named | {"sql": output.sql}
    if isinstance(output, p.GroupByOutput):
        return named | {"group_by": dict(output.group_by), "measures": dict(output.measures)}
    keyed = {"key": list(output.key), "latest_by": list(output.latest_by), "delete_when": output.delete_when}
    return named | {"rows": "all"} | {name: value for name, value in keyed.items() if value}


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
