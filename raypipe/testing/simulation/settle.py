"""Settling: nothing fails any more, so a few more runs must leave exactly what one clean run would have written."""

from __future__ import annotations

from typing import Any

from raypipe.core.events import RunClosed
from raypipe.core.merge import DELETED_COLUMN
from raypipe.core.plan import Scope
from raypipe.core.window import Window
from raypipe.ports import QUARANTINE_TABLE, SHARD_COLUMN
from raypipe.testing.simulation.commit_laws import CommitJudge, Violation, hours, require
from raypipe.testing.simulation.happenings import change_source, made_up_compaction
from raypipe.testing.simulation.process import Ask
from raypipe.testing.simulation.rows import HOUR_US, OUTPUTS
from raypipe.testing.simulation.world import World

RUNS_MAX = 4  # plans must run dry within so many runs: one does the work, one finds nothing to do


def settle(world: World) -> None:
    """Run until nothing is left, and compare with the source; then do all again by today's rules, and compare with a clean run."""
    world.is_closed_history = True
    width = world.random.randint(1, 4)
    failed = _run_dry(world, Ask(width=width, rules=world.rules))
    _compare_with_source(world, failed)
    if world.random.random() < 0.5:
        _run(world, made_up_compaction(world))
        for _ in range(world.random.randint(1, 3)):
            change_source(world)
        world.source.mend()
        _compare_with_source(world, _run_dry(world, Ask(width=width, rules=world.rules)))
    if world.random.random() < 0.5:
        return
    everything = Ask(
        scope=Scope.ALL, width=width, atomic=world.random.random() < 0.5, accept_shrunk=True, rules=world.rules
    )  # fmt: skip
    closed = _run(world, everything)
    assert closed is not None
    require(closed.status == "done", f"with nothing failing, a backfill of all ends {closed.status}: {closed.failures}")
    _compare_with_clean_run(world)


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
    process, _, seams = world.process(ask)
    process.run(seams)
    world.laws.look()
    if process.error is not None:
        raise Violation(f"with nothing failing, a run ends with {process.error!r}")
    return process.closed


def _compare_with_source(world: World, failed: set[int]) -> None:
    state, store = world.laws.state, world.laws.store
    judge = CommitJudge(state, store, world.source, {}, {}, world.laws.read)
    covered: set[int] = set()
    for (output, window), live in state.live.items():
        covered.update(hours(window))
        if output == OUTPUTS[0] and failed.isdisjoint(hours(window)):
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
