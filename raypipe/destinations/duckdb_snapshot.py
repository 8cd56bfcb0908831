"""Reading all that a plan needs of a DuckDB file, without Arrow: a run with nothing to do stays light."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from raypipe.collector import collector_resting
from raypipe.core.accounts import Accounts
from raypipe.core.fingerprint import fingerprint
from raypipe.core.intervals import Ranges, normalise
from raypipe.core.shard import InputPart
from raypipe.core.state import Definition, FailedShard, LiveRange, RunKind, RunRecord, RunState, Snapshot
from raypipe.core.window import Window
from raypipe.destinations.duckdb_state import has_state, query
from raypipe.destinations.duckdb_views import recorded_views
from raypipe.destinations.limits import RUNS_MAX
from raypipe.destinations.sql_statements import statements

Rows = Sequence[tuple[Any, ...]]


def read_snapshot(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Snapshot:
    """Read the state of a pipeline in one transaction."""
    with collector_resting():
        return _read(connection, pipeline)


def _read(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Snapshot:
    connection.begin()
    try:
        if not has_state(connection):
            return Snapshot()
        values = {"pipeline": pipeline, "limit": RUNS_MAX}
        rows = {name: query(connection, sql, values) for name, sql in statements("snapshot").items()}
        views = recorded_views(connection, pipeline)
        digest = _digest(rows["digest"], views)
    finally:
        connection.rollback()
    if not rows["pipeline_row"]:
        return Snapshot()
    commit_seq, watermark_us = rows["pipeline_row"][0]
    return Snapshot(
        commit_seq=commit_seq,
        watermark_us=watermark_us,
        live=_live(rows["live"], rows["parts"]),
        coverage=_coverage(rows["coverage"]),
        failed=tuple(FailedShard(Window(lo, hi), run, code, error) for lo, hi, run, code, error in rows["failed"]),
        definitions=_definitions(rows["definitions"]),
        runs=tuple(_run(row) for row in rows["runs"]),
        accounts=_accounts(rows["accounts"][0]),
        outside=rows["runs"][0][-1] if rows["runs"] else 0,
        views=views,
        digest=digest,
    )


def read_glance(connection: duckdb.DuckDBPyConnection, pipeline: str) -> Snapshot:
    """Read of a snapshot what does not grow with the history (Destination.glance)."""
    sql, values = statements("snapshot"), {"pipeline": pipeline}
    connection.begin()
    try:
        if not has_state(connection):
            return Snapshot()
        found, digest = query(connection, sql["pipeline_row"], values), query(connection, sql["digest"], values)
        views = recorded_views(connection, pipeline)
    finally:
        connection.rollback()
    if not found:
        return Snapshot()
    ((commit_seq, watermark_us),) = found
    return Snapshot(commit_seq, watermark_us, views=views, digest=_digest(digest, views))


def _digest(rows: Rows, views: Mapping[str, str]) -> str:
    return fingerprint([[str(one) for one in rows[0]], sorted(views.items())])


def read_tables(connection: duckdb.DuckDBPyConnection, pipeline: str) -> tuple[Mapping[str, Ranges], Mapping[str, Ranges]]:
    """Return the union of the live ranges and the recorded coverage, per output."""
    sql, values = statements("snapshot"), {"pipeline": pipeline}
    live: dict[str, list[Window]] = {}
    for one in _live(query(connection, sql["live"], values), ()):
        live.setdefault(one.output, []).append(one.window)
    return {output: normalise(windows) for output, windows in live.items()}, _coverage(query(connection, sql["coverage"], values))


def _live(rows: Rows, parts: Rows) -> tuple[LiveRange, ...]:
    """Build the live ranges, which come by time; outputs that share a range share its Window."""
    compacted: dict[tuple[str, int], list[InputPart]] = {}
    for output, seq, lo, hi, input_fp, files in parts:
        compacted.setdefault((output, seq), []).append(InputPart(Window(lo, hi), input_fp, files))
    result = []
    window = None
    for row in rows:  # 10,000 of them stand between a command and its answer
        if window is None or row[1] != window.start_us or row[2] != window.end_us:
            window = Window(row[1], row[2])
        result.append(LiveRange(row[0], window, *row[3:]))
    return tuple(_with_parts(one, compacted) for one in result) if compacted else tuple(result)


def _with_parts(live: LiveRange, compacted: Mapping[tuple[str, int], Sequence[InputPart]]) -> LiveRange:
    merged = compacted.get((live.output, live.seq), ())
    return replace(live, parts=tuple(part for part in merged if live.window.contains(part.window)))


def _coverage(rows: Rows) -> Mapping[str, tuple[Window, ...]]:
    ranges: dict[str, list[Window]] = {}
    for output, lo, hi in rows:
        ranges.setdefault(output, []).append(Window(lo, hi))
    return {output: tuple(windows) for output, windows in ranges.items()}


def _definitions(rows: Rows) -> Mapping[str, tuple[Definition, ...]]:
    found: dict[str, list[Definition]] = {}
    for output, version, made_by, parts in rows:
        found.setdefault(output, []).append(Definition(version, made_by, json.loads(parts)))
    return {output: tuple(definitions) for output, definitions in found.items()}


def _run(row: tuple[Any, ...]) -> RunRecord:
    run, kind, lo, hi, state, epoch, holder, started, heartbeat, ended, committed, failed, _ = row
    window = None if lo is None else Window(lo, hi)
    return RunRecord(run, RunKind(kind), window, RunState(state), epoch, holder, started, heartbeat, ended, committed, failed)


def _accounts(row: tuple[Any, ...]) -> Accounts:
    read, expanded, loaded, filtered, duplicate, quarantined = row
    return Accounts(read=read, expanded=expanded, loaded=loaded, filtered=filtered, duplicate=duplicate, quarantined=quarantined)
