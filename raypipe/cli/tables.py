"""Tables: reports for a person's eyes. Pure: a report goes in, something that rich can print comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raypipe.core.window import Window, iso
from raypipe.observe.printable import cell, count, escape, roughly, size

if TYPE_CHECKING:
    from raypipe.launch import PlanReport, StatusReport
    from raypipe.launch.reports import UpstreamReport
    from raypipe.ports import Check

ENDS_SHOWN = 12  # of a long list of shards the first and the last are shown; `--json` has them all
LISTED_MAX = 10
RUNS_SHOWN = 5
COLUMNS_ACROSS_MAX = 6  # more would leave a few characters to each on a usual terminal
TURNED_ROWS_MAX = 4
STALE = "stale: made by an older definition (raypipe backfill --stale redoes them, raypipe accept --stale keeps them)"
HELD = "held: late, and older than time.lateness (raypipe backfill --held takes them in)"
WAITING = "waiting for their files, as source.ready says"
Stage = tuple[str, Sequence[str], Sequence[Sequence[Any]], int]


def plan_table(report: PlanReport) -> RenderableType:
    """Return what a run would do."""
    shards = report.plan.shards
    parts: list[RenderableType] = [_plan_headline(report)]
    if shards:
        table = _table(("shard", "right"), "window", "reason", ("rows, about", "right"), ("bytes, about", "right"))
        for shard in _ends(shards):
            if shard is None:
                table.add_row("…", f"{count(len(shards) - ENDS_SHOWN)} more", "", "", "")
            else:
                known = bool(shard.rows or not shard.size_bytes)
                rows = count(shard.rows) if known else "-"
                alone = f", {', '.join(shard.outputs)} alone" if shard.outputs else ""
                table.add_row(str(shard.index), str(shard.window), shard.reason.value + alone, rows, size(shard.size_bytes))
        parts.append(table)
    parts += _listed("cannot be done now", [f"{one.window}: {one.error}" for one in report.plan.failures])
    parts += _listed(STALE, [f"{window}: {why}" for window, why in report.plan.stale])
    parts += _listed(HELD, [f"{window}: {why}" for window, why in report.plan.held])
    parts += _listed(WAITING, [str(one) for one in report.plan.waiting])
    parts += _listed("views to be made, replaced or dropped", report.views)
    parts += _waiting_for(report.upstream)
    return Group(*parts)


def _plan_headline(report: PlanReport) -> Text:
    shards, text = report.plan.shards, Text()
    text.append(f"{report.pipeline.name}: ", "bold")
    if not shards:
        return text.append("nothing to do").append(f" in {report.window}" if report.window else "; no shard is ready yet")
    reasons = Counter(shard.reason.value for shard in shards)
    text.append(f"{count(len(shards), 'shard')} to do ", "bold")
    text.append("(" + ", ".join(f"{count(number)} {reason}" for reason, number in reasons.items()) + f") in {report.window}\n")
    parts = [f"{count(report.rows)} rows" if report.rows else "rows not known before the files are read", report.executor]
    if report.estimated_seconds is not None:
        parts.append(f"about {roughly(report.estimated_seconds)}")
    if report.memory_bytes:
        parts.append(f"up to {size(report.memory_bytes)} of memory")
    return text.append("; ".join(parts))


def status_tables(report: StatusReport, now_us: int) -> RenderableType:
    """Return where a pipeline stands."""
    snapshot = report.snapshot
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="cyan", no_wrap=True)
    facts.add_column()
    for name, value in _status_facts(report, now_us):
        facts.add_row(name, Text(value))
    parts: list[RenderableType] = [Text(report.pipeline.name, "bold"), facts]
    parts += _listed("gaps (raypipe backfill --gaps fills them)", [str(one) for one in report.gaps])
    parts += _listed("failed (raypipe run tries them again)", [f"{one.window}: {one.error}" for one in report.failed])
    parts += _listed("late: their input changed (raypipe run does them again)", [str(one) for one in report.late])
    parts += _listed(HELD, [f"{window}: {why}" for window, why in report.held])
    parts += _listed(STALE, [f"{window}: {why}" for window, why in report.stale])
    parts += _listed(WAITING, [str(one) for one in report.waiting])
    parts += _waiting_for(report.upstream)
    tables = ", ".join(report.cut_tables)
    parts += _listed(
        f"cut at another width than time.shard, on which {tables} may depend (raypipe backfill cuts them anew)",
        [f"{window}: {count(number, 'live range')}" for window, number in report.other_widths],
    )
    if report.tables:
        parts.append(counts_table("table", "rows", report.tables))
    if report.quarantine:
        parts.append(mappings_table(report.quarantine))
    if snapshot.runs:
        parts.append(_runs(report))
    return Group(*parts)


def _status_facts(report: StatusReport, now_us: int) -> Iterator[tuple[str, str]]:
    snapshot = report.snapshot
    watermark_us = snapshot.watermark_us
    if watermark_us is None:
        yield "watermark", "none: the first shard of the history is not committed"
    else:
        behind = f" ({roughly((now_us - watermark_us) / 1e6)} behind now)" if report.pipeline.time.end_us is None else ""
        yield "watermark", f"complete up to {iso(watermark_us)}{behind}"
    shown = report.coverage[:LISTED_MAX]
    more = f" and {count(len(report.coverage) - len(shown))} more" if len(report.coverage) > len(shown) else ""
    yield "coverage", (", ".join(str(one) for one in shown) or "none") + more
    rows = snapshot.accounts
    yield (
        "rows",
        (
            f"{count(rows.read)} read = {count(rows.loaded)} loaded + {count(rows.filtered)} filtered"
            f" + {count(rows.duplicate)} duplicate + {count(rows.quarantined)} quarantined"
            + (f" - {count(rows.expanded)} expanded" if rows.expanded else "")
        ),
    )
    if snapshot.outside:
        yield "outside", f"{count(snapshot.outside, 'row')} of the source before time.start or after time.end: no shard's"


def _runs(report: StatusReport) -> Table:
    table = _table("run", "kind", "state", "started", "window", ("committed", "right"), ("failed", "right"), title="Last runs")
    for run in report.snapshot.runs[:RUNS_SHOWN]:
        window = str(run.window) if run.window else "all that is due"
        table.add_row(
            Text(escape(run.run_id)), run.kind.value, run.state.value, _whole_seconds(run.started_us), window,
            count(run.committed), count(run.failed),
        )  # fmt: skip
    return table


def _whole_seconds(instant_us: int) -> str:
    return iso(instant_us // 1_000_000 * 1_000_000)


def verify_table(checks: Sequence[Check]) -> RenderableType:
    """Return what was proved, failures in red."""
    table = _table("", "check", "detail")
    for one in checks:
        table.add_row(Text("ok", "green") if one.ok else Text("FAILED", "bold red"), one.name, Text(escape(one.detail)))
    return table


def sample_tables(stages: Iterable[Stage], rows_max: int) -> RenderableType:
    """Return the rows of one shard at each stage, `rows_max` at most. Wide ones are turned: a column a line."""
    parts: list[RenderableType] = []
    for name, columns, rows, total in stages:
        cut = "the first " if len(rows) == rows_max else ""
        title = Text(f"\n{escape(name)}", "bold").append(f"  {cut}{count(max(total, len(rows)), 'row')}", "dim not bold")
        parts += [title, _stage_table(columns, rows)] if rows else [title]
    return Group(*parts)


def _stage_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    headings = [_heading(name) for name in columns]
    if len(columns) <= COLUMNS_ACROSS_MAX:
        table = _table()
        for heading in headings:
            table.add_column(Text("\n").join(heading), overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell(value)) for value in row))
        return table
    shown = rows[:TURNED_ROWS_MAX]
    table = _table("column", *(f"row {number + 1}" for number in range(len(shown))))
    for position, heading in enumerate(headings):
        table.add_row(Text("  ").join(heading), *(Text(cell(row[position])) for row in shown))
    if len(rows) > len(shown):
        table.add_row("…", f"{count(len(rows) - len(shown))} more: --json has them")
    return table


def _heading(column: str) -> tuple[Text, Text]:
    """Return name and type of a heading such as `fare (float64)`."""
    name, _, kind = column.removesuffix(")").rpartition(" (")
    return (Text(escape(name)), Text(escape(kind), "dim not bold")) if name else (Text(escape(column)), Text())


def counts_table(name: str, number: str, counts: Mapping[str, int]) -> RenderableType:
    """Return names with their numbers."""
    table = _table(name, (number, "right"))
    for key, value in counts.items():
        table.add_row(Text(cell(key)), count(value))
    return table


def quarantined_rows(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return rows in quarantine, three lines each: rule and place, what is wrong, the row as it was read, whole."""
    text = Text(no_wrap=True, overflow="ignore")
    for row in rows:
        place = f"{_value('source', row.get('source'))}:{row.get('position')}"
        text.append(cell(row.get("rule")), "bold red").append(f"  {_value('shard', row.get('shard'))}  ").append(place, "cyan")
        if row.get("raw") is None:
            text.append("\n  its text is kept no longer (quality.keep_quarantined)\n", "dim")
            continue
        text.append(f"\n  {cell(row.get('error'))}\n  ").append(escape(str(row.get("raw"))), "dim").append("\n")
    text.rstrip()
    return Group(text)


def mappings_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return rows that share their keys as a table, numbers to the right."""
    first = rows[0]
    numeric = [key for key in first if isinstance(first[key], int) and not key.endswith("_us")]
    table = _table(*((key.removesuffix("_us"), "right") if key in numeric else key.removesuffix("_us") for key in first))
    for row in rows:
        table.add_row(*(Text(_value(key, row.get(key))) for key in first))
    return table


def _value(key: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return iso(value) if key.endswith("_us") else count(value)
    return str(value) if isinstance(value, Window) else cell(value)


def _table(*columns: str | tuple[str, str], title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for one in columns:
        name, right = (one, False) if isinstance(one, str) else (one[0], True)
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _waiting_for(upstream: UpstreamReport | None) -> list[RenderableType]:
    """Say which shards wait for the table of another pipeline."""
    if upstream is None or upstream.waiting is None:
        return []
    text = Text(f"waiting for the table {upstream.table}", "bold").append("\n  ", "default not bold")
    if upstream.pipeline is None:
        reached = "no pipeline has written it yet"
    elif upstream.watermark_us is None:
        reached = f"nothing of it is complete: the first shard of {upstream.pipeline} is not committed"
    else:
        reached = f"{upstream.pipeline} has it complete up to {iso(upstream.watermark_us)}"
    return [text.append(f"{upstream.waiting}: {reached}", "default not bold")]


def _listed(title: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    text = Text(f"{title}: {count(len(lines))}", "bold")
    for line in lines[:LISTED_MAX]:
        text.append("\n  " + escape(line), "default not bold")
    if len(lines) > LISTED_MAX:
        text.append(f"\n  and {count(len(lines) - LISTED_MAX)} more: --json lists them", "dim not bold")
    return [text]


def _ends(items: Sequence[Any]) -> Iterator[Any]:
    """Yield all of a short list; of a long one its ends, with None between."""
    if len(items) <= ENDS_SHOWN + 1:
        yield from items
        return
    yield from items[: ENDS_SHOWN // 2]
    yield None
    yield from items[-(ENDS_SHOWN // 2) :]
