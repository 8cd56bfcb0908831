"""The verbs that prove and tidy up: verify, accept, compact, cancel, gc."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from raypipe.cli.options import Shared, Widths, asked_range, config_argument, instant, instants, verb, window_options
from raypipe.errors import UsageError
from raypipe.observe.printable import count, size
from raypipe.observe.progress import Silent

if TYPE_CHECKING:
    from raypipe.core.calendar import Width
    from raypipe.launch import CompactReport


@verb("verify", example="raypipe verify pipeline.yaml")
@config_argument
@click.option("--source", is_flag=True, help="Also read the source again, compute all that is live anew, and compare.")
@click.option(
    "--widths", type=Widths(), metavar="1h,1d",
    help="Also compute all that is live, or --start to --end, at these shard widths and in another order, in a scratch "
    "folder, and compare: names the table, the cut and an example row where the SQL depends on where shards are cut.",
)  # fmt: skip
@window_options
def verify(shared: Shared, config: str, source: bool, widths: tuple[Width, ...] | None, start: str | None, end: str | None) -> int:
    """Prove that the tables are right.

    Accounts balance, digests match the data, coverage matches the ledger. Exit code 1 when something does not hold.

    With --widths floats may differ by one part in a billion; all else must be equal.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import verify_document

    if (start or end) and not widths:
        raise UsageError("--start and --end say which range --widths computes: give --widths too")
    pipeline = shared.load(config)
    checks = [*launch.verify(pipeline), *(launch.recompute(pipeline) if source else ())]
    if widths:
        window = asked_range(pipeline, start, end)
        checks += launch.verify_widths(pipeline, widths, window=window, tell=_teller(shared))
    shared.out.document(verify_document(checks))
    ok = all(one.ok for one in checks)
    if not shared.out.as_json:
        from raypipe.cli.tables import verify_table

        shared.out.show(verify_table(checks))
        shared.out.line(f"{pipeline.name}: {'all of it holds' if ok else 'NOT all of it holds'}")
    return 0 if ok else 1


def _teller(shared: Shared) -> Callable[[str], None]:
    return (lambda text: None) if shared.out.quiet else shared.out.note


@verb("accept", example="raypipe accept pipeline.yaml --stale --start 2013-01-01 --end 2013-07-01")
@config_argument
@click.option("--stale", is_flag=True, help="What another definition made is fine as it is.")
@click.option("--shrunk", is_flag=True, help="What was made from files that are gone stays.")
@window_options
def accept(shared: Shared, config: str, stale: bool, shrunk: bool, start: str | None, end: str | None) -> None:
    """Say that a difference is fine.

    Live ranges that are stale, or whose source has fewer files than it had, count as made by today's definition, or from
    today's files. No row of a table changes, and the ledger remembers it.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import accept_document

    if stale == shrunk:
        raise UsageError(f"say what is fine in exactly one way: --stale or --shrunk; got {'both' if stale else 'none'}")
    pipeline = shared.load(config)
    start_us, end_us = instants(pipeline, start, end)
    what: Literal["stale", "shrunk"] = "stale" if stale else "shrunk"
    report = launch.accept(pipeline, what, launch.Ask(start_us=start_us, end_us=end_us), observer=Silent())
    shared.out.document(accept_document(report))
    ranges = count(len(report.accepted), "live range")
    shared.out.line(f"{pipeline.name}: {ranges} accepted" if report.accepted else f"{pipeline.name}: nothing is {what}")
    for one in report.conflicts:
        shared.out.note(f"warning: {one} was left as it is: another run committed it meanwhile")


@verb("compact", example="raypipe compact pipeline.yaml --before 2013-07-01 --into 1mo")
@config_argument
@click.option(
    "--before", required=True, metavar="TIME", help="What ends by here: ISO 8601; a date is its first instant in time.zone."
)
@click.option(
    "--into",
    type=Widths(),
    metavar="WIDTH",
    help="One range in each month, say (1mo), counted from time.start; all as one otherwise.",
)
@click.option("--any-cut", is_flag=True, help="SQL outputs and `deduplicate` steps give the same rows wherever shards are cut.")
@click.option("--dry-run", is_flag=True, help="Show what would become one and write nothing.")
def compact(shared: Shared, config: str, before: str, into: tuple[Width, ...] | None, any_cut: bool, dry_run: bool) -> None:
    """Make one range of old ones.

    A commit takes longer the more ranges have something to say of a key or group. A compacted range says it once, and is
    from then on done again whole when anything in it changes. No table changes by it, not by a bit.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import compact_document

    if into and len(into) > 1:
        raise UsageError(f"--into takes one width, got {len(into)}")
    pipeline = shared.load(config)
    before_us = instant(pipeline, "--before", before)
    assert before_us is not None  # it is required
    report = launch.compact(
        pipeline, before_us, into=into[0] if into else None, any_cut=any_cut, dry_run=dry_run, observer=Silent()
    )
    shared.out.document(compact_document(report))
    _tell_of_compaction(shared, report, "would be" if dry_run else "were", dry_run=dry_run)


def _tell_of_compaction(shared: Shared, report: CompactReport, were: str, *, dry_run: bool) -> None:
    found, name = report.found, report.pipeline.name
    planned = [one for one in found.plan.compactions if dry_run or one.window in found.done]
    for one in planned:
        shared.out.line(f"{name}: {count(len(one.merged), 'live range')} {were} made one: {one.window}")
    if not planned:
        shared.out.line(f"{name}: nothing to compact")
    for table, (rows, fewer) in report.contributions.items() if planned else ():
        shared.out.line(
            f"{name}: {table} is kept from {count(fewer, 'row')} of contributions there, where there were {count(rows)}"
        )
    for window in found.conflicts:
        shared.out.note(f"warning: {window} was left as it was: another run works on it, or committed it meanwhile")
    for window, why in found.plan.left:
        shared.out.note(f"{window} stays as it is: {why}")


@verb("cancel", example="raypipe cancel pipeline.yaml")
@config_argument
@click.argument("run_id", required=False, metavar="[RUN]", help="The run to stop; all that are open otherwise.")
def cancel(shared: Shared, config: str, run_id: str | None) -> None:
    """Stop open runs.

    Nothing of them commits after this returned.
    """
    from raypipe import launch

    pipeline = shared.load(config)
    cancelled = launch.cancel(pipeline, run_id)
    shared.out.document({"pipeline": pipeline.name, "cancelled": list(cancelled)})
    shared.out.line(f"{pipeline.name}: " + (f"cancelled {', '.join(cancelled)}" if cancelled else "no run is open"))


@verb("gc", example="raypipe gc pipeline.yaml")
@config_argument
def gc(shared: Shared, config: str) -> None:
    """Remove what closed runs staged and no table uses.

    Quarantined rows that are older than quality.keep_quarantined lose their raw text, and the errors that quote it.
    """
    from raypipe import launch
    from raypipe.cli.json_documents import gc_document

    pipeline = shared.load(config)
    report = launch.gc(pipeline)
    shared.out.document(gc_document(pipeline.name, report))
    blanked = f"; blanked the text of {count(report.blanked, 'quarantined row')}" if report.blanked else ""
    shared.out.line(f"{pipeline.name}: removed {count(report.folders, 'folder')}, {size(report.size_bytes)}{blanked}")
