"""The verbs that look ahead and write nothing: check, sample, plan."""

from __future__ import annotations

from dataclasses import replace

import click

from raypipe.cli.options import ExecutorName, Shared, config_argument, executor_options, instant, instants, verb, window_options
from raypipe.cli.several import configs_argument, load_set

SAMPLE_ROWS_MAX = 10_000


@verb("check", example="raypipe check pipeline.yaml")
@config_argument
def check(shared: Shared, config: str) -> int:
    """Find all mistakes that can be found without running.

    Looks at the configuration, expressions and SQL, the columns of the source, and the destination. Exit code 2 when there
    are mistakes.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import check_document

    pipeline = shared.load(config)
    report = launch.check(pipeline)
    shared.out.document(check_document(pipeline.name, report))
    for warning in report.warnings:
        shared.out.note(f"warning: {warning}")
    for problem in report.problems:
        shared.out.note(f"error: {problem}")
    if not report.problems:
        shared.out.line(f"{pipeline.name}: no mistakes found")
    return 2 if report.problems else 0


@verb("sample", example="raypipe sample pipeline.yaml --rows 5 --at 2013-07-01")
@config_argument
@click.option("--rows", type=click.IntRange(1, SAMPLE_ROWS_MAX), default=20, show_default=True, help="Rows to show of each stage.")
@click.option("--at", metavar="TIME", help="The shard that holds this time; the first with rows otherwise.")
def sample(shared: Shared, config: str, rows: int, at: str | None) -> None:
    """Show the rows of one shard after each step.

    After the source, after each step, and in each output; writes nothing.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import sample_document

    pipeline = shared.load(config)
    stages = launch.sample(pipeline, at_us=instant(pipeline, "--at", at), rows=rows)
    shared.out.document(sample_document(pipeline.name, stages))
    if not shared.out.as_json:
        from raypipe.cli.tables import sample_tables

        shared.out.show(sample_tables(stages, rows))


@verb("plan", example="raypipe plan pipeline.yaml --start 2013-07-01 --end 2013-08-01")
@configs_argument
@window_options
@executor_options
def plan(
    shared: Shared, configs: tuple[str, ...], start: str | None, end: str | None, executor: ExecutorName | None, address: str | None
) -> None:
    """Show what a run would do, and write nothing.

    The shards, the reason of each, and what they are estimated to take. Of several pipelines each is shown as it is now, in
    the order of a run, with those whose tables it waits for.
    """
    from raypipe import launch
    from raypipe.launch import Ask

    found, gathered = load_set(shared, configs), shared.out.gathering()
    busy: set[int] = set()
    for place, _, pipeline in found.in_order():
        start_us, end_us = instants(pipeline, start, end)
        report = launch.plan(pipeline, Ask(start_us=start_us, end_us=end_us, executor=executor, address=address))
        if found.is_one:
            show_plan(shared, report)
            return
        first = found.order.held_back(place, busy)
        if first or report.plan.shards or report.plan.failures:
            busy.add(place)
        show_plan(replace(shared, out=gathered), report, tuple(found.names(first)))
    shared.out.document({"plans": gathered.gathered})


def show_plan(shared: Shared, report: object, waits_for: tuple[str, ...] | None = None) -> None:
    """Print a plan, for `plan` and for `backfill --dry-run`; in a set with the pipelines that have work to do before it."""
    from raypipe.cli.json_documents import plan_document
    from raypipe.launch import PlanReport

    assert isinstance(report, PlanReport)
    if shared.out.wants_document:
        shared.out.document({**plan_document(report), **({} if waits_for is None else {"waits_for": list(waits_for)})})
    if not shared.out.as_json:
        from raypipe.cli.tables import plan_table

        shared.out.show(plan_table(report))
        if waits_for:
            shared.out.line(f"{report.pipeline.name} is planned again once {', '.join(waits_for)} is done, whose table it reads")
