"""The verbs of quarantine: list, show, replay, export."""

from __future__ import annotations

from pathlib import Path

import click

from raypipe.cli.options import ExecutorName, Shared, config_argument, executor_options, shards_option, verb
from raypipe.cli.run_one import run_one
from raypipe.observe.printable import count

SHOW_ROWS_MAX = 100_000


@click.group(
    "quarantine",
    epilog="\b\nExample:\n  raypipe quarantine list pipeline.yaml\n  raypipe quarantine show pipeline.yaml --rule RULE",
)
def quarantine() -> None:
    """Look at the rows that were set aside, with their reasons."""


@verb("list", example="raypipe quarantine list pipeline.yaml")
@config_argument
def list_rules(shared: Shared, config: str) -> None:
    """Count the rows in quarantine by rule."""
    from raypipe import launch
    from raypipe.cli.json_documents import quarantine_document

    pipeline = shared.load(config)
    counts = launch.quarantine_counts(pipeline)
    shared.out.document(quarantine_document(pipeline.name, counts, "rules"))
    if not counts:
        shared.out.line(f"{pipeline.name}: nothing is in quarantine")
    elif not shared.out.as_json:
        from raypipe.cli.tables import mappings_table

        shared.out.show(mappings_table(counts))


@verb("show", example="raypipe quarantine show pipeline.yaml --rule plausible_delay --shards 0:7")
@config_argument
@click.option("--rule", metavar="RULE", help="Only rows that broke this rule.")
@shards_option("Only shards by number, counted from time.start; B is excluded.")
@click.option("--limit", type=click.IntRange(1, SHOW_ROWS_MAX), default=20, show_default=True, help="Rows to show.")
def show(shared: Shared, config: str, rule: str | None, shards: tuple[int, int] | None, limit: int) -> None:
    """Show rows in quarantine: where they stood, which rule they broke, and how they read."""
    from raypipe import launch
    from raypipe.cli.json_documents import quarantine_document

    pipeline = shared.load(config)
    rows = launch.quarantine_rows(pipeline, rule=rule, shards=shards, limit=limit)
    shared.out.document(quarantine_document(pipeline.name, rows, "rows"))
    if not rows:
        shared.out.line(f"{pipeline.name}: no such row is in quarantine")
    elif not shared.out.as_json:
        from raypipe.cli.tables import quarantined_rows

        shared.out.show(quarantined_rows(rows))
        if len(rows) == limit:
            shared.out.note(f"(the first {limit}; --limit shows more)")


@verb("replay", example="raypipe quarantine replay pipeline.yaml --rule plausible_delay")
@config_argument
@click.option("--rule", metavar="RULE", help="Only shards with rows that broke this rule.")
@shards_option("Only shards by number, counted from time.start; B is excluded.")
@click.option(
    "--accept-shrunk",
    is_flag=True,
    help="Also where files are gone: their rows in quarantine stand in for them, their other rows leave the tables.",
)
@executor_options
def replay(
    shared: Shared,
    config: str,
    rule: str | None,
    shards: tuple[int, int] | None,
    accept_shrunk: bool,
    executor: ExecutorName | None,
    address: str | None,
) -> int:
    """Put rows in quarantine through today's rules.

    The shards that hold such rows are done again, all of them in one transaction: rows that pass now leave quarantine as
    they come into the tables. Shards whose rows were set aside by the rules of today are left alone.
    """
    from dataclasses import replace

    from raypipe import launch

    pipeline = shared.load(config)
    ask = launch.replay_ask(pipeline, rule=rule, shards=shards, accept_shrunk=accept_shrunk)
    if not ask.given and not shared.out.quiet:
        shared.out.note(f"{pipeline.name}: no such row was set aside by another definition than today's")
    return run_one(shared, config, pipeline, replace(ask, executor=executor, address=address), launch.StopFlag())


@verb("export", example="raypipe quarantine export pipeline.yaml -o aside.parquet --rule plausible_delay")
@config_argument
@click.option(
    "-o", "--output", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="FILE.parquet or FILE.csv."
)
@click.option("--rule", metavar="RULE", help="Only rows that broke this rule.")
@shards_option("Only shards by number, counted from time.start; B is excluded.")
def export(shared: Shared, config: str, path: Path, rule: str | None, shards: tuple[int, int] | None) -> None:
    """Write rows in quarantine to a file.

    Each row has its shard, source, position, rule, error, raw text, whether that was cut, its run, and when it was committed.
    In CSV, texts that a spreadsheet would run as a formula have an apostrophe before them.
    """
    from raypipe import launch

    pipeline = shared.load(config)
    rows = launch.quarantine_export(pipeline, path, rule=rule, shards=shards)
    shared.out.document({"pipeline": pipeline.name, "path": str(path), "rows": rows})
    shared.out.line(f"{pipeline.name}: {count(rows, 'row')} written to {path}")


quarantine.add_command(export)
quarantine.add_command(list_rules)
quarantine.add_command(replay)
quarantine.add_command(show)
