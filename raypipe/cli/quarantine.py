"""The verbs of quarantine: list and show."""

from __future__ import annotations

import click

from raypipe.cli.options import Shared, config_argument, shards_option, verb

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


quarantine.add_command(list_rules)
quarantine.add_command(show)
