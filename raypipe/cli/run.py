"""The verbs that do the work: run and backfill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from raypipe.cli.backfill_range import BackfillRange, backfill_options
from raypipe.cli.exits import exit_code_of
from raypipe.cli.options import (
    ExecutorName,
    Shared,
    config_argument,
    executor_options,
    instants,
    verb,
    window_options,
)
from raypipe.cli.run_one import run_one
from raypipe.cli.several import PipelineSet, configs_argument, load_set

if TYPE_CHECKING:
    from raypipe.launch import Ask


@verb("run", example="raypipe run pipeline.yaml")
@configs_argument
@window_options
@executor_options
def run(
    shared: Shared, configs: tuple[str, ...], start: str | None, end: str | None, executor: ExecutorName | None, address: str | None
) -> int:
    """Do all that is new, late or failed.

    What an earlier run left is resumed. Several pipelines are run one after the other, each after those whose tables it
    reads, and not at all when one of these did not end well; the exit code is the worst.

    Ctrl-C once: no new shards, what is finished is committed, and the next run resumes. Twice: at once.
    """
    from raypipe import launch

    found, asks = load_set(shared, configs), []
    for _, pipeline in found.members:
        start_us, end_us = instants(pipeline, start, end)
        asks.append(launch.Ask(start_us=start_us, end_us=end_us, executor=executor, address=address))
    if found.is_one:
        return run_one(shared, *found.members[0], asks[0], launch.StopFlag())
    return _run_all(shared, found, asks)


def _run_all(shared: Shared, found: PipelineSet, asks: Sequence[Ask]) -> int:
    from raypipe.ports import StopFlag

    stop, worst, gathered = StopFlag(), 0, shared.out.gathering()
    each = replace(shared, out=gathered)
    not_done: set[int] = set()
    for place, config, pipeline in found.in_order():
        if stop.signal is not None:
            break
        if waits_for := found.names(found.order.held_back(place, not_done)):
            gathered.note(f"{pipeline.name}: not run, because it reads a table of {', '.join(waits_for)}, which did not end well")
            gathered.document({"pipeline": pipeline.name, "status": "waiting", "waits_for": waits_for})
            not_done.add(place)
        elif code := exit_code_of(partial(run_one, each, config, pipeline, asks[place], stop), gathered):
            worst = max(worst, code)
            not_done.add(place)
    shared.out.document({"runs": gathered.gathered})
    return worst


@verb("backfill", example="raypipe backfill pipeline.yaml --start 2013-07-01 --end 2013-07-08")
@config_argument
@backfill_options
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
@executor_options
def backfill(
    shared: Shared, config: str, asked: BackfillRange, dry_run: bool, executor: ExecutorName | None, address: str | None
) -> int:
    """Do a range of history again.

    The rows of the range are replaced, never added to. By default readers see all of it or nothing. `--stale` redoes what
    an older definition made, `--held` what came too late for a run; `raypipe status` lists both.
    """
    from raypipe import launch

    asked.require_one()
    pipeline = shared.load(config)
    ask = asked.ask(pipeline, executor, address)
    if dry_run:
        from raypipe.cli.plan import show_plan

        show_plan(shared, launch.plan(pipeline, ask))
        return 0
    return run_one(shared, config, pipeline, ask, launch.StopFlag())
