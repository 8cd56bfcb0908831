"""Definition: what each output is made by, as fingerprints; standard library only, so that a run with nothing to do stays light."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from raypipe.core.fingerprint import fingerprint
from raypipe.core.state import Definition
from raypipe.engine.code_fingerprint import code_fingerprint
from raypipe.engine.sql_text import normalised
from raypipe.errors import ConfigurationError
from raypipe.pipeline import (
    Check,
    Derive,
    EventTime,
    FilesSource,
    Filter,
    GroupByOutput,
    Lookup,
    Output,
    Pipeline,
    PythonStep,
    RowsOutput,
    Rule,
    Source,
    SqlOutput,
    Step,
    TableSource,
)

_SQL = {
    (SqlOutput, "sql"), (GroupByOutput, "group_by"), (GroupByOutput, "measures"), (RowsOutput, "delete_when"), (Rule, "expect"),
    (Check, "expect"), (Filter, "condition"), (Derive, "columns"),
}  # fmt: skip
"""Fields that hold SQL, alone or by name."""


def definitions(pipeline: Pipeline) -> Mapping[str, Definition]:
    """Return the definition of each output, with version 0: the destination numbers them.

    What changes a fingerprint: time (but not the shard width, end, lateness or delay), source (but not `ready`), quality,
    steps, the output's own SQL, the code of Python steps with what they call in the pipeline's folder, and reference
    files. What does not: descriptions, run options, the destination, comments, docstrings and the formatting of code and
    SQL. Where the files of a source stand counts only by their paths. Raises ConfigurationError for a file that cannot be
    read.
    """
    shared = _shared_parts(pipeline)
    return {output.table: _definition({**shared, **_output_parts(pipeline, output)}) for output in pipeline.outputs}


def _definition(parts: Mapping[str, str]) -> Definition:
    return Definition(version=0, fingerprint=fingerprint(dict(parts)), parts=parts)


def _shared_parts(pipeline: Pipeline) -> dict[str, str]:
    time, beside = pipeline.time, pipeline.data_folder or pipeline.folder
    # A check belongs to the output that it checks; how long texts are kept changes no table.
    quality = replace(pipeline.quality, checks=(), keep_quarantined_us=None)
    parts = {
        "source": fingerprint(_plain(_placed(pipeline.source, beside))),
        "time": fingerprint([time.column, time.format, time.zone, time.start_us, *_seen(time)]),
        "quality": fingerprint(_plain(quality)),
        "transform": fingerprint([_plain(_without_folder(step)) for step in pipeline.transform]),
    }
    for one in pipeline.inputs:
        parts[f"input:{one.name}"] = fingerprint(_plain(replace(one, source=_placed_files(one.source, beside))))
    for step in pipeline.transform:
        if isinstance(step, PythonStep):
            parts[f"python:{step.function}"] = code_fingerprint(step.function, pipeline.folder)
        elif isinstance(step, Lookup):
            parts[f"lookup:{_place(step.path, pipeline.folder)}"] = _file_sha256(step.path)
    return parts


def _placed(source: Source, folder: Path) -> Source:
    """Return a source by the place of what it reads, without what changes no table."""
    if isinstance(source, TableSource):
        return replace(source, path=_place(source.path, folder))
    return _placed_files(source, folder)


def _placed_files(source: FilesSource, folder: Path) -> FilesSource:
    also = tuple(replace(one, paths=_places(one.paths, folder)) for one in source.also)
    return replace(source, ready=None, paths=_places(source.paths, folder), also=also)


def _places(paths: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    return tuple(_place(path, folder) for path in paths)


def _seen(time: EventTime) -> list[str]:
    back = [str(time.lookback)] if time.lookback else []
    return [*back, f"ahead {time.lookahead}"] if time.lookahead else back


def _place(path: str, folder: Path) -> str:
    """Return a path relative to the pipeline's folder where it is inside: a moved project stays the same pipeline."""
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _without_folder(step: Step) -> Step:
    """Return a step without the place of its reference file: the content counts, in a part of its own."""
    return replace(step, path=Path(step.path).name) if isinstance(step, Lookup) else step


def _output_parts(pipeline: Pipeline, output: Output) -> dict[str, str]:
    checks = [_plain(check) for check in pipeline.quality.checks if check.table == output.table]
    return {"output": fingerprint([_plain(output), checks])}


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it. Mappings keep their order, which is that of a table's columns.

    Fields that have their default are left out: an option that a later version adds makes nothing stale.
    """
    match value:
        case Mapping():
            return [[key, _plain(one)] for key, one in value.items()]
        case list() | tuple():
            return [_plain(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
    if is_dataclass(value):
        given = {one.name: getattr(value, one.name) for one in fields(value)}
        kept = {name: one for name, one in given.items() if one != _default(value, name)}
        return [
            type(value).__name__,
            {name: _plain(_unformatted(one) if (type(value), name) in _SQL else one) for name, one in kept.items()},
        ]
    return str(value)


def _unformatted(sql: Any) -> Any:
    """Return SQL, or a mapping of names to SQL, without its formatting."""
    if isinstance(sql, Mapping):
        return {name: _unformatted(one) for name, one in sql.items()}
    return normalised(sql) if isinstance(sql, str) else sql


def _default(value: Any, name: str) -> Any:
    field = next(one for one in fields(value) if one.name == name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _file_sha256(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"lookup: {path} cannot be read: {error.strerror or error}") from error
