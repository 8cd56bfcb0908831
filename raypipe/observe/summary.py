"""Summary: what a run did, once it is over: shards, rows, tables, speed, what was set aside and why, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raypipe.core.accounts import Accounts
from raypipe.core.events import RunClosed
from raypipe.core.window import Window, iso
from raypipe.observe.ending import Ending, next_commands
from raypipe.observe.printable import cell, count, duration, escape, rate, size

CAUSES_SHOWN_MAX = 10  # `status --json` lists them all
_STYLES = {"done": "bold green", "failed": "bold red"}


def summary(ending: Ending) -> RenderableType:
    """Return the summary, to be printed on a rich console."""
    parts: list[RenderableType] = [_headline(ending), _facts(ending)]
    if ending.quarantine:
        parts.append(_quarantine(ending.quarantine))
    if ending.closed.failures:
        parts.append(_failures(ending.closed))
    if ending.warnings:
        parts.append(Text("\n".join(f"warning: {escape(one)}" for one in ending.warnings), style="yellow"))
    following = list(next_commands(ending))
    if following:
        parts.append(_next(following))
    return Group(*parts)


def _headline(ending: Ending) -> Text:
    closed = ending.closed
    text = Text(no_wrap=True, overflow="ignore")
    text.append(f"{ending.pipeline} ", "bold")
    text.append(closed.status, _STYLES.get(closed.status, "bold yellow"))
    text.append(f" in {duration(closed.seconds)}, {ending.executor}  ")
    text.append(f"(run {ending.run_id})", "dim")
    return text


def _facts(ending: Ending) -> Table:
    closed = ending.closed
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_row("shards", count(closed.committed), _shards(closed))
    if closed.window:
        table.add_row("window", "", Text(str(closed.window)))
    for name, value, note in _rows(closed.rows, ending.filtered):
        table.add_row(name, value, note)
    speed = rate(closed.rows.read, closed.seconds).removesuffix(" rows/s")
    table.add_row("rows/s", speed, _bytes(ending))
    for name, rows in ending.tables.items():
        table.add_row(Text(f"table {escape(name)}"), count(rows), "rows in it now")
    if closed.watermark_us is not None:
        table.add_row("watermark", "", Text(f"complete up to {iso(closed.watermark_us)}"))
    return table


def _shards(closed: RunClosed) -> Text:
    parts = [f"committed of {count(closed.planned)} planned"]
    parts += [f"{count(closed.failed)} failed"] if closed.failed else []
    what = "done by another run meanwhile" if closed.status == "done" else "left"
    parts += [f"{count(closed.skipped)} {what}"] if closed.skipped else []
    return Text(", ".join(parts))


def _rows(rows: Accounts, filtered: Mapping[str, int]) -> Iterable[tuple[str, str, Text]]:
    yield "rows read", count(rows.read), Text("")
    if rows.expanded:
        yield "  expanded", count(rows.expanded), Text("added by Python steps")
    yield "  loaded", count(rows.loaded), Text("")
    if rows.filtered:
        by_name = ", ".join(f"{escape(name)} {count(number)}" for name, number in filtered.items() if number)
        yield "  filtered", count(rows.filtered), Text(by_name)
    if rows.duplicate:
        yield "  duplicate", count(rows.duplicate), Text("")
    yield "  quarantined", count(rows.quarantined), Text("set aside with their reasons" if rows.quarantined else "")


def _bytes(ending: Ending) -> Text:
    if not ending.bytes_input:
        return Text("")
    share = ending.bytes_read / ending.bytes_input
    return Text(f"{size(ending.bytes_read)} read of {size(ending.bytes_input)} input ({share:.2f} times)")


def _quarantine(found: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Quarantined by this run", title_justify="left", title_style="bold")
    table.add_column("rule", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("for example", overflow="fold")
    for one in found:
        table.add_row(Text(cell(one["rule"])), count(int(one["rows"])), Text(cell(one.get("error", ""))))
    return table


def _failures(closed: RunClosed) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Failed", title_justify="left", title_style="bold red")
    table.add_column("shard", no_wrap=True)
    table.add_column("why", overflow="fold")
    causes: dict[str, list[Window]] = {}
    for one in closed.failures:
        causes.setdefault(one.error, []).append(one.window)
    for error, windows in list(causes.items())[:CAUSES_SHOWN_MAX]:
        more = f"\nand {count(len(windows) - 1, 'more shard')}" if len(windows) > 1 else ""
        table.add_row(Text(f"{windows[0]}{more}"), Text(escape(error, keep_lines=True)))
    if len(causes) > CAUSES_SHOWN_MAX:
        table.add_row("", f"and {count(len(causes) - CAUSES_SHOWN_MAX)} more causes: `raypipe status --json` lists them")
    return table


def _next(following: Sequence[tuple[str, str]]) -> Text:
    text = Text("next:", style="bold", no_wrap=True, overflow="ignore")  # a command is copied: it is never cut or folded
    for command, purpose in following:
        text.append(f"\n  # {purpose}", "dim not bold").append(f"\n  {escape(command)}", "default not bold")
    return text
