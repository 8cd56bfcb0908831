"""`quarantine replay`: which shards put rows in quarantine through today's definition, as a backfill of just these.

A shard's quarantine is replaced together with its contributions: what passes now leaves quarantine in the transaction that
puts it into the tables, and a crash before it changes nothing.

Where a file is gone, a shard that had rows of it is not done again until that is accepted, because all its rows would leave
the tables. Once it is, those of its rows that are in quarantine are written down as a file that is read in its place.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.window import Window, iso
from raypipe.errors import UsageError
from raypipe.launch.parts import Parts, current_versions, shards_window
from raypipe.launch.reports import Ask
from raypipe.pipeline import FilesSource, Pipeline
from raypipe.runtime.system_clock import SystemClock

ROWS_MAX = 2**31  # of one shard's quarantine, which run.memory bounds


def replay_ask(pipeline: Pipeline, *, rule: str | None, shards: tuple[int, int] | None, accept_shrunk: bool = False) -> Ask:
    """Return what to ask of `run`: the shards that hold such rows and that another definition than today's set aside.

    What today's definition set aside it would set aside again: to replay twice does nothing.
    """
    parts = Parts(pipeline, SystemClock())
    snapshot = parts.destination.snapshot()
    starts = parts.destination.quarantine_shards(rule=rule, window=shards_window(parts, shards))
    current = current_versions(parts, snapshot)
    made: dict[Window, set[bool]] = {}
    for live in snapshot.live:
        if not starts.isdisjoint(part.window.start_us for part in live.inputs) and live.output in current:
            made.setdefault(live.window, set()).add(live.definition == current[live.output])
    windows = tuple(sorted(window for window, same in made.items() if same != {True}))
    if accept_shrunk:
        for window in windows:
            _stand_in(parts, window)
    return Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, given=windows, publish="atomic", accept_shrunk=accept_shrunk)


def _stand_in(parts: Parts, window: Window) -> None:
    """Write down the rows that a shard had set aside of files that are gone. Malformed and cut ones cannot be read again."""
    from raypipe.sources.stand_in import StandIns, can_stand_in

    files = parts.source.list().files
    there = {file.uri for file in files}
    gone: dict[str, dict[int, str]] = {}  # by position: a row that had become several is set aside for each of them
    for row in parts.destination.quarantine_rows(rule=None, window=window, limit=ROWS_MAX):
        if row["source"] not in there and can_stand_in(row["raw"], truncated=row["truncated"]):
            gone.setdefault(row["source"], {})[row["position"]] = row["raw"]
    for uri, raws in sorted(gone.items()):
        origin = _origin(parts.pipeline, uri)
        stream = parts.pipeline.streams[origin]
        if isinstance(stream.source, FilesSource):
            stand_ins = StandIns(parts.stand_in_folder(origin), stream.source, stream.time.column)
            others = sorted(file.uri for file in files if file.origin == origin)
            stand_ins.write(uri, iso(window.start_us), list(raws.values()), others)


def _origin(pipeline: Pipeline, uri: str) -> int:
    """Return the place, among the pipeline's streams, of the one that a file was of that is gone. Raises UsageError."""
    streams = pipeline.streams
    if len(streams) == 1:
        return 0
    found = [origin for origin, one in enumerate(streams) if isinstance(one.source, FilesSource) and _named_by(one.source, uri)]
    if len(found) != 1:
        named = " and ".join(f"{streams[origin].key}.path" for origin in found) or "no path of today's"
        raise UsageError(f"{uri} is gone, and {named} would name it, so how it is to be read is not known: restore it")
    return found[0]


def _named_by(source: FilesSource, uri: str) -> bool:
    return any(fnmatchcase(uri, path) for path in source.paths)
