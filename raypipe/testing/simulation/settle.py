"""Settling: nothing fails any more, so a few more runs must leave exactly what one clean run would have written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from raypipe.core.events import RunClosed
from raypipe.core.merge import DELETED_COLUMN
from raypipe.core.plan import Scope
from raypipe.core.window import Window
from raypipe.destinations.memory_state import snapshot_of
from raypipe.ports import QUARANTINE_TABLE, SHARD_COLUMN
from raypipe.runtime.planner import Planned
from raypipe.testing.simulation.ask import Ask
from raypipe.testing.simulation.commit_laws import CommitJudge
from raypipe.testing.simulation.happenings import change_source, made_up_compaction
from raypipe.testing.simulation.process import Process
from raypipe.testing.simulation.promise import Violation, hours, require
from raypipe.testing.simulation.rows import HOUR_US, OUTPUTS
from raypipe.testing.simulation.world import World

RUNS_MAX = 4  # plans must run dry within so many runs: one does the work, one finds nothing to do


def settle(world: World) -> None:
    """Run until nothing is left, and compare with the source; then do all again by today's rules, and compare with a clean run."""
    world.is_closed_history = True
    r = world.random
    due = Ask(width=r.randint(1, 4), lateness_us=world.lateness_us, rules=world.rules)
    _catch_up(world, due)
    if r.random() < 0.5:
        _run(world, made_up_compaction(world))
        for _ in range(r.randint(1, 3)):
            change_source(world)
        world.source.mend()
        _catch_up(world, due)
    if r.random() < 0.3:
        _accept_all(world, due)
    if r.random() < 0.5:
        return
    everything = replace(due, scope=Scope.ALL, atomic=r.random() < 0.5, accept_shrunk=True)
    closed = _run(world, everything)
    assert closed is not None
    require(closed.status == "done", f"with nothing failing, a backfill of all ends {closed.status}: {closed.failures}")
    _compare_with_clean_run(world)


def _catch_up(world: World, due: Ask) -> None:
    """Run until nothing is due, then take in what was held; at any time all that is missing is told."""
    failed = _run_dry(world, due)
    plan = _look(world, due).plan
    reached_us = snapshot_of(world.laws.state).watermark_us or 0
    for window, _ in plan.held:
        require(window.end_us <= reached_us - (due.lateness_us or 0), "what is not too old is held")
    _compare_with_source(world, failed, {hour for window, _ in plan.held for hour in hours(window)})
    if due.lateness_us is not None:
        failed |= _run_dry(world, replace(due, scope=Scope.HELD))
        _compare_with_source(world, failed, set())


def _accept_all(world: World, due: Ask) -> None:
    """Accept all that differs: nothing is stale any more, nothing fails, and what was read at once is not done again.

    A compacted range may have parts that are late beside those that shrank.
    """
    _run(world, replace(due, accept="stale"))
    accepted = _process(world, replace(due, accept="shrunk")).accepted
    assert accepted is not None
    whole = {live.window for live in world.laws.state.live.values() if not live.parts}.intersection(accepted.windows)
    plan = _look(world, due).plan
    require(not plan.stale, "what was accepted is stale still")
    require(not plan.failures and not plan.shrunk, "what was accepted fails still")
    wanted = {shard.window for shard in plan.shards} | {window for window, _ in plan.held}
    require(wanted.isdisjoint(whole), "what was accepted is to be done again")


def _look(world: World, ask: Ask) -> Planned:
    process, _, seams = world.process(ask)
    return process.look(seams)


def _run_dry(world: World, ask: Ask) -> set[int]:
    """Run until a plan holds nothing but shards whose source shrank; return their hours."""
    for _ in range(RUNS_MAX):
        closed = _run(world, ask)
        assert closed is not None
        if closed.planned == len(closed.failures):
            require(all(one.code == "source_shrunk" for one in closed.failures), f"with nothing failing: {closed.failures}")
            return {hour for one in closed.failures for hour in hours(one.window)}
    raise Violation("the plan never runs dry")


def _run(world: World, ask: Ask) -> RunClosed | None:
    """Run to its end; a compaction has no report of shards."""
    return _process(world, ask).closed


def _process(world: World, ask: Ask) -> Process:
    process, _, seams = world.process(ask)
    process.run(seams)
    world.laws.look()
    if process.error is not None:
        raise Violation(f"with nothing failing, a run ends with {process.error!r}")
    return process


def _compare_with_source(world: World, failed: set[int], held: set[int]) -> None:
    state, store = world.laws.state, world.laws.store
    judge = CommitJudge(state, store, world.source, {}, {}, world.laws.read)
    covered: set[int] = set()
    for (output, window), live in state.live.items():
        covered.update(hours(window))
        if output == OUTPUTS[0] and (failed | held).isdisjoint(hours(window)):
            for one in judge.read.of(live):
                require(judge.is_reading(one, world.source.now), "rows of the source are missing, and nothing says so")
    require(covered | failed >= set(range(world.hours)), "a range is neither loaded nor failed")


def _compare_with_clean_run(world: World) -> None:
    state, store = world.laws.state, world.laws.store
    whole = Window(0, world.hours * HOUR_US)
    clean = CommitJudge(state, store, world.source, {}, {}, world.laws.read).expected(world.source.now, whole, world.rules).tables
    there = {output: world.destination.rows(output) for output in OUTPUTS}
    newest = [
        {name: row[name] for name in ("key", "uid", "value", "revision")} for row in clean["newest"] if not row[DELETED_COLUMN]
    ]
    totals = [{"key": row["key"], "sum": row["sum.sum"], "count": row["count.count"]} for row in clean["totals"]]
    aside = [row for rows in state.quarantine.values() for row in rows]
    require(_rows(there["clean"]) == _rows(clean["clean"]), "the table is not what one clean run writes")
    require(_rows(there["newest"]) == _rows(newest), "the newest rows are not those of one clean run")
    require(_rows(there["totals"]) == _rows(totals), "the totals are not those of one clean run")
    require(_rows(aside) == _rows(clean[QUARANTINE_TABLE]), "other rows are set aside than by one clean run")


def _rows(rows: Any) -> list[tuple[Any, ...]]:
    return sorted(tuple(value for name, value in row.items() if name != SHARD_COLUMN) for row in rows)
