"""Opening, holding and ending runs in a DuckDB file: epochs, definitions, and which pipeline owns which table."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from raypipe.core.merge import merge_changed, merge_to_json
from raypipe.core.shard import ShardFailure
from raypipe.core.state import Definition, OpenedRun, RunOpening, RunState
from raypipe.core.watermark import low_watermark
from raypipe.core.window import Window
from raypipe.destinations.duckdb_state import changed, existing_tables, query
from raypipe.destinations.duckdb_views import claim_views, drop_views, make_views
from raypipe.destinations.holder import is_dead
from raypipe.destinations.limits import HEARTBEAT_LIMIT_S
from raypipe.destinations.sql_statements import statements
from raypipe.destinations.stored import contributions_relation
from raypipe.errors import Fenced, RunIsAlive, UsageError

_SQL = statements("runs")


def open_run(connection: duckdb.DuckDBPyConnection, pipeline: str, opening: RunOpening, now_us: int) -> OpenedRun:
    """Do all that `Destination.open_run` promises, inside the caller's transaction."""
    values = {"pipeline": pipeline, "run": opening.run_id, "start": opening.start_us, "now": now_us}
    query(connection, _SQL["add_pipeline"], values)
    query(connection, _SQL["set_start"], values)
    dropped = drop_views(connection, pipeline, opening.views)
    _claim_tables(connection, pipeline, opening.definitions, dropped)
    _set_merges(connection, pipeline, opening)
    if opening.views:
        claim_views(connection, pipeline, opening.views)
        make_views(connection, pipeline)
    versions = {
        output: _number(connection, {**values, "output": output}, definition) for output, definition in opening.definitions.items()
    }
    epoch = _create_or_take_over(connection, {**values, **_columns(opening, versions)}, opening)
    closed = _close_others(connection, values, versions)
    set_watermark(connection, pipeline)
    return OpenedRun(opening.run_id, epoch, versions, closed)


def beat(connection: duckdb.DuckDBPyConnection, pipeline: str, run_id: str, epoch: int, now_us: int) -> bool:
    """Write the heartbeat if the epoch still stands: the fence of every change. False means fenced."""
    return bool(query(connection, _SQL["beat"], {"pipeline": pipeline, "run": run_id, "epoch": epoch, "now": now_us}))


def fenced(run_id: str, epoch: int) -> Fenced:
    """Return the error of an owner that is one no more."""
    return Fenced(f"run {run_id}, epoch {epoch}: it was taken over, cancelled or closed; nothing of this process commits any more")


def record_failures(
    connection: duckdb.DuckDBPyConnection, pipeline: str, run_id: str, failures: Sequence[ShardFailure], now_us: int
) -> None:
    """Remember failed shards, after the fence, inside the caller's transaction."""
    values: dict[str, Any] = {
        "pipeline": pipeline,
        "run": run_id,
        "now": now_us,
        "lo": [one.window.start_us for one in failures],
        "hi": [one.window.end_us for one in failures],
        "code": [one.code for one in failures],
        "error": [one.error for one in failures],
        "retryable": [one.retryable for one in failures],
    }
    query(connection, _SQL["forget_failures"], values)
    query(connection, _SQL["add_failures"], values)


def blank_quarantine(connection: duckdb.DuckDBPyConnection, pipeline: str, before_us: int) -> int:
    """Take away the raw texts, and the errors that quote them, of rows set aside by commits before an instant; return how many."""
    return changed(connection, _SQL["blank_quarantine"], {"pipeline": pipeline, "before": before_us})


def close_run(
    connection: duckdb.DuckDBPyConnection, pipeline: str, run_id: str, epoch: int, state: RunState, now_us: int
) -> int | None:
    """End a run and return the low watermark; asking again after an unknown outcome is harmless."""
    values = {"pipeline": pipeline, "run": run_id, "epoch": epoch, "state": state.value, "now": now_us}
    if not query(connection, _SQL["end_run"], values):
        found = query(connection, _SQL["find_run"], values)
        if not found or found[0][:2] != (state.value, epoch + 1):
            raise fenced(run_id, epoch)
    ((watermark_us,),) = query(connection, _SQL["watermark"], values)
    return None if watermark_us is None else int(watermark_us)


def cancel(connection: duckdb.DuckDBPyConnection, pipeline: str, run_id: str | None, now_us: int) -> tuple[str, ...]:
    """End one open run or all, whoever owns them."""
    runs = [run for (run,) in query(connection, _SQL["open_runs"], {"pipeline": pipeline}) if run_id in (None, run)]
    for run in runs:
        _end(connection, pipeline, run, RunState.CANCELLED, now_us)
    return tuple(runs)


def set_watermark(connection: duckdb.DuckDBPyConnection, pipeline: str) -> None:
    """Set the low watermark: the least over all outputs; none while one of them lacks the start of history."""
    ((start_us,),) = query(connection, _SQL["start_of_history"], {"pipeline": pipeline})
    covered: dict[str, list[Window]] = {}
    for output, lo, hi in query(connection, _SQL["coverage_at"], {"pipeline": pipeline, "at": start_us}):
        covered.setdefault(output, []).append(Window(lo, hi))
    outputs = query(connection, _SQL["my_outputs"], {"pipeline": pipeline})
    marks = [low_watermark(covered.get(output, ()), start_us) for (output,) in outputs]
    least = None if None in marks else min((mark for mark in marks if mark is not None), default=None)
    query(connection, _SQL["set_watermark"], {"pipeline": pipeline, "watermark": least})


# ---- tables -----------------------------------------------------------------------------------------------


def _claim_tables(connection: duckdb.DuckDBPyConnection, pipeline: str, outputs: Collection[str], dropped: set[str]) -> None:
    owners = {output.lower(): (output, owner, created) for output, owner, created, _ in query(connection, _SQL["owners"])}
    mine = [output for output, owner, _ in owners.values() if owner == pipeline]
    existing = existing_tables(connection, {*outputs, *mine}) - dropped
    for output in outputs:
        spelled, owner, _ = owners.get(output.lower(), (output, None, False))
        _refuse_foreign(output, spelled, owner, pipeline, exists=output in existing)
        if owner is None:
            query(connection, _SQL["claim_table"], {"pipeline": pipeline, "output": output})
    for output, owner, created in owners.values():
        values = {"pipeline": pipeline, "output": output}
        if owner == pipeline and output not in outputs:
            query(connection, _SQL["release_table"], values)
            _forget(connection, values)
        elif owner == pipeline and created and output not in existing:  # dropped by a person: all of it is to be done again
            query(connection, _SQL["unmake_table"], values)
            _forget(connection, values)


def _refuse_foreign(output: str, spelled: str, owner: str | None, pipeline: str, *, exists: bool) -> None:
    if owner == pipeline and spelled != output:
        raise UsageError(
            f"output {output} differs from the earlier output {spelled} in case only, which DuckDB takes for the same table"
        )
    if owner not in (None, pipeline):
        raise UsageError(
            f"table {output} is written by pipeline {owner}, and pipeline {pipeline} wants it too: "
            f"rename the output of one of them, or give one another destination.path"
        )
    if owner is None and exists:
        raise UsageError(
            f"table {output} exists, and raypipe does not keep it for pipeline {pipeline} (it did not create it, or the output was "
            f"removed from the configuration since): rename the output, or rename or drop the table "
            f'(DROP TABLE "{output}"), or name another destination.path'
        )


def _forget(connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any]) -> None:
    for name in ("forget_live", "forget_coverage"):
        query(connection, _SQL[name], values)
    query(connection, f"DROP TABLE IF EXISTS {contributions_relation(values['output'])}")


def _set_merges(connection: duckdb.DuckDBPyConnection, pipeline: str, opening: RunOpening) -> None:
    """Note how each table is merged. What stands in a table that exists cannot be merged in another way."""
    found = {output: (created, merge) for output, owner, created, merge in query(connection, _SQL["owners"]) if owner == pipeline}
    for output in opening.definitions:
        merge = opening.merges.get(output)
        text = json.dumps(merge_to_json(merge)) if merge else None
        created, before = found[output]
        if created and before != text:
            raise UsageError(merge_changed(output))
        if before != text:
            query(connection, _SQL["set_merge"], {"pipeline": pipeline, "output": output, "merge": text})


# ---- runs -------------------------------------------------------------------------------------------------


def _number(connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any], definition: Definition) -> int:
    """Return the version of a definition: that of the newest one when it is the same, else a new one (for a revert too)."""
    newest = query(connection, _SQL["newest_definition"], values)
    if newest and newest[0][1] == definition.fingerprint:
        return int(newest[0][0])
    version = newest[0][0] + 1 if newest else 1
    parts = json.dumps(dict(definition.parts), sort_keys=True)
    query(connection, _SQL["add_definition"], {**values, "version": version, "fingerprint": definition.fingerprint, "parts": parts})
    return int(version)


def _columns(opening: RunOpening, versions: Mapping[str, int]) -> dict[str, Any]:
    window = opening.window
    return {
        "kind": opening.kind.value,
        "lo": window.start_us if window else None,
        "hi": window.end_us if window else None,
        "holder": opening.holder,
        "definitions": json.dumps(dict(versions), sort_keys=True),
        "versions": json.dumps(dict(opening.versions), sort_keys=True),
        "outside": opening.outside,
    }


def _create_or_take_over(connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any], opening: RunOpening) -> int:
    found = query(connection, _SQL["find_run"], values)
    if not found:
        query(connection, _SQL["add_run"], values)
        return 1
    state, epoch, holder, heartbeat_us, definitions = found[0]
    if RunState(state) not in (RunState.OPEN, RunState.PUBLISHING):
        raise UsageError(f"run {opening.run_id} has ended ({state}): a run that has ended is not opened again, start a new one")
    silent_s = (values["now"] - heartbeat_us) / 1e6
    if not (opening.force or holder == opening.holder or is_dead(holder) or silent_s > HEARTBEAT_LIMIT_S):
        raise RunIsAlive(
            f"run {opening.run_id} is held by {holder}, which was heard {silent_s:.0f} s ago: wait for it, or cancel it, "
            f"or take it over by force"
        )
    if definitions != values["definitions"]:
        raise changed_meanwhile(opening.run_id, json.loads(definitions), json.loads(values["definitions"]))
    return int(query(connection, _SQL["take_over"], {**values, "epoch": epoch})[0][0])


def changed_meanwhile(run_id: str, was: Mapping[str, int], now: Mapping[str, int]) -> UsageError:
    """Return the error of a run that would go on by another definition than it began with."""
    changed = sorted(output for output in was.keys() | now.keys() if was.get(output) != now.get(output))
    return UsageError(
        f"run {run_id} began with another definition of {', '.join(changed)}, and one run never mixes two: what it committed "
        f"stays; run again, and a new run does the rest by the definition of now"
    )


def _close_others(connection: duckdb.DuckDBPyConnection, values: Mapping[str, Any], versions: Mapping[str, int]) -> tuple[str, ...]:
    """End open runs that nobody can finish: their holder is dead, or they would commit another set of outputs."""
    closed = []
    for run, holder, definitions in query(connection, _SQL["other_open_runs"], values):
        if is_dead(holder) or set(json.loads(definitions)) != set(versions):
            _end(connection, values["pipeline"], run, RunState.FAILED, values["now"])
            closed.append(run)
    return tuple(closed)


def _end(connection: duckdb.DuckDBPyConnection, pipeline: str, run: str, state: RunState, now_us: int) -> None:
    query(connection, _SQL["end_run"], {"pipeline": pipeline, "run": run, "epoch": None, "state": state.value, "now": now_us})
