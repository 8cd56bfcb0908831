"""`quarantine replay`: which shards put rows in quarantine through today's definition, as a backfill of just these.

A shard's quarantine is replaced together with its contributions: what passes now leaves quarantine in the transaction that
puts it into the tables, and a crash before it changes nothing.

Where a file is gone, a shard that had rows of it is not done again until that is accepted, because all its rows would leave
the tables. Once it is, those of its rows that are in quarantine are written down as a file that is read in its place.
"""

from __future__ import annotations

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
    if accept_shrunk and isinstance(pipeline.source, FilesSource):
        for window in windows:
            _stand_in(parts, pipeline.source, window)
    return Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, given=windows, publish="atomic", accept_shrunk=accept_shrunk)


def _stand_in(parts: Parts, source: FilesSource, window: Window) -> None:
    """Write down the rows that a shard had set aside of files that are gone. Malformed and cut ones cannot be read again."""
    from raypipe.sources.stand_in import StandIns, can_stand_in

    files = {file.uri for file in parts.source.list().files}
    gone: dict[str, dict[int, str]] = {}  # by position: a row that had become several is set aside for each of them
    for row in parts.destination.quarantine_rows(rule=None, window=window, limit=ROWS_MAX):
        if row["source"] not in files and can_stand_in(row["raw"], truncated=row["truncated"]):
            gone.setdefault(row["source"], {})[row["position"]] = row["raw"]
<<<<<<< HEAD
    if gone and len(pipeline.streams) > 1:
        raise UsageError(f"{min(gone)} is gone, and rows of a pipeline with several sources cannot stand in for it: restore it")
    stand_ins = StandIns(parts.stand_in_folder, pipeline.source, pipeline.time.column)
=======
    stand_ins = StandIns(parts.stand_in_folder, source, parts.pipeline.time.column)
>>>>>>> main
    for uri, raws in sorted(gone.items()):
        stand_ins.write(uri, iso(window.start_us), list(raws.values()), sorted(files))
