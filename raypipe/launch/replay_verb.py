"""`quarantine replay`: which shards put rows in quarantine through today's definition, as a backfill of just these.

A shard's quarantine is replaced together with its contributions: what passes now leaves quarantine in the transaction that
puts it into the tables, and a crash before it changes nothing.
"""

from __future__ import annotations

from raypipe.core.plan import Scope
from raypipe.core.state import RunKind
from raypipe.core.window import Window
from raypipe.launch.parts import Parts, current_versions, shards_window
from raypipe.launch.reports import Ask
from raypipe.pipeline import Pipeline
from raypipe.runtime.system_clock import SystemClock


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
        if live.window.start_us in starts and live.output in current:
            made.setdefault(live.window, set()).add(live.definition == current[live.output])
    windows = tuple(sorted(window for window, same in made.items() if same != {True}))
    return Ask(kind=RunKind.BACKFILL, scope=Scope.ALL, given=windows, publish="atomic", accept_shrunk=accept_shrunk)
