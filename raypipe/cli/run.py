"""The verbs that do the work: run and backfill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import click

from raypipe.cli.exits import exit_code_of
from raypipe.cli.options import (
    ExecutorName,
    Shared,
    config_argument,
    executor_options,
    instants,
    shards_option,
    verb,
    window_options,
)
from raypipe.cli.run_one import run_one
from raypipe.cli.several import PipelineSet, configs_argument, load_set
from raypipe.errors import UsageError

if TYPE_CHECKING:
    from raypipe.launch import Ask

ONE_RANGE = "say which range in exactly one way: --start and --end, --shards A:B, --stale, --held, --failed, or --gaps"


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
@window_options
@shards_option("Shards by number, counted from time.start; B is excluded.")
@click.option("--stale", is_flag=True, help="What another definition made than today's.")
@click.option("--held", is_flag=True, help="What is late, and older than time.lateness allows a run to do by itself.")
@click.option("--failed", is_flag=True, help="The shards that failed.")
@click.option("--gaps", is_flag=True, help="The holes before the last committed shard.")
@click.option(
    "--publish", type=click.Choice(["atomic", "shard"]), default="atomic", show_default=True,
    help="atomic: readers see all of it or nothing; shard: each shard when it is done.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing.")
@click.option("--accept-shrunk", is_flag=True, help="Also where the source has fewer files than before: their rows go.")
@executor_options
def backfill(
    shared: Shared,
    config: str,
    start: str | None,
    end: str | None,
    shards: tuple[int, int] | None,
    stale: bool,
    held: bool,
    failed: bool,
    gaps: bool,
    publish: Literal["atomic", "shard"],
    dry_run: bool,
    accept_shrunk: bool,
    executor: ExecutorName | None,
    address: str | None,
) -> int:
    """Do a range of history again.

    The rows of the range are replaced, never added to. By default readers see all of it or nothing. `--stale` redoes what
    an older definition made, `--held` what came too late for a run; `raypipe status` lists both.
    """
    from raypipe import launch
    from raypipe.core.plan import Scope
    from raypipe.core.state import RunKind

    named = {Scope.STALE: stale, Scope.HELD: held, Scope.FAILED: failed, Scope.GAPS: gaps}
    ways = [start is not None or end is not None, shards is not None, *named.values()]
    if sum(ways) != 1:
        raise UsageError(f"{ONE_RANGE}; got {'none' if not any(ways) else 'several'}")
    if ways[0] and (start is None or end is None):
        raise UsageError(f"--{'start' if start is None else 'end'} is missing: {ONE_RANGE}")
    pipeline = shared.load(config)
    start_us, end_us = instants(pipeline, start, end)
    ask = launch.Ask(
        kind=RunKind.BACKFILL,
        scope=next((scope for scope, asked in named.items() if asked), Scope.ALL),
        start_us=start_us,
        end_us=end_us,
        shards=shards,
        publish=publish,
        executor=executor,
        address=address,
        accept_shrunk=accept_shrunk,
    )
    if dry_run:
        from raypipe.cli.plan import show_plan

        show_plan(shared, launch.plan(pipeline, ask))
        return 0
    return run_one(shared, config, pipeline, ask, launch.StopFlag())
