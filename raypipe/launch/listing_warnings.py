"""What a person should know of a source that is empty: most often it is not where they think."""

from __future__ import annotations

from raypipe.config.problems import did_you_mean, nearest_of
from raypipe.launch.parts import Parts
from raypipe.pipeline import FilesSource, TableSource
from raypipe.ports import Listing


def warnings_of(parts: Parts, listing: Listing) -> tuple[str, ...]:
    """Return what to say of a listing without files; nothing of any other."""
    if listing.files:
        return ()
    source = parts.pipeline.source
    return (_no_rows(parts, source) if isinstance(source, TableSource) else _no_file(source),)


def _no_file(source: FilesSource) -> str:
    marked = f" beside a marker {source.ready.marker}" if source.ready and source.ready.marker else ""
    return (
        f"source.path matches no file{marked}: {', '.join(source.paths)}; new shards are committed as empty. "
        "Is the path right? Once there are files, the next run does the shards again that have rows"
    )


def _no_rows(parts: Parts, source: TableSource) -> str:
    others = parts.upstream(source).others()
    there = f"; its tables are {', '.join(others)}{did_you_mean(nearest_of(source.table, others))}" if others else ""
    return f"source.table: {source.path} has no row of a table {source.table} yet{there}. Has the pipeline run that writes it?"
