"""What a person should know of a source before it is read: it is empty, or has no column of event time."""

from __future__ import annotations

from collections.abc import Mapping

from raypipe.config.problems import did_you_mean, either, nearest_of
from raypipe.launch.parts import Parts
from raypipe.pipeline import FilesSource, Pipeline, TableSource
from raypipe.ports import Listing


def warnings_of(parts: Parts, listing: Listing) -> tuple[str, ...]:
    """Return what to say of a listing that lacks the files of a source, or has none of a table's rows; nothing of any other."""
    found = {file.origin for file in listing.files}
    missing = [stream for origin, stream in enumerate(parts.pipeline.streams) if origin not in found]
    return tuple(
        _no_rows(parts, stream.source) if isinstance(stream.source, TableSource) else _no_file(stream.key, stream.source)
        for stream in missing
    )


def time_column_problems(pipeline: Pipeline, columns: Mapping[str, str]) -> list[str]:
    """Return what is wrong with `time.column` where the columns of a table are known."""
    path, source = pipeline.time.column, pipeline.source
    if not isinstance(source, TableSource) or not columns or path in columns or path.partition(".")[0] in columns:
        return []
    near = did_you_mean(nearest_of(path, columns))
    return [f'time.column: got "{path}", expected a column of the table {source.table}: {either(columns)}{near}']


def _no_file(key: str, source: FilesSource) -> str:
    marked = f" beside a marker {source.ready.marker}" if source.ready and source.ready.marker else ""
    return (
        f"{key}.path matches no file{marked}: {', '.join(source.paths)}; new shards are committed as empty. "
        "Is the path right? Once there are files, the next run does the shards again that have rows"
    )


def _no_rows(parts: Parts, source: TableSource) -> str:
    others = parts.upstream(source).others()
    there = f"; its tables are {', '.join(others)}{did_you_mean(nearest_of(source.table, others))}" if others else ""
    return f"source.table: {source.path} has no row of a table {source.table} yet{there}. Has the pipeline run that writes it?"
