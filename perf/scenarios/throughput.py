"""The canonical job by raypipe and by its peers, at growing sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from perf.bench import WARM_ROWS, Bench, Contender, read_once
from perf.canonical import require_equal
from perf.contenders import DESTINATION, canonical
from perf.events import Events
from perf.peers import Peer, chosen
from perf.values import Figure, Found, Series, Work, fastest, median_figure, ratio_figure, short_count

QUESTION = "What does the canonical job cost beside scripts by hand and other tools?"
FIXED_S = 0.3  # allowed to raypipe at sizes where its start is a part of the wall
TOOL_RUNS_MAX = 2  # of tools that take a minute: their ratios are far from the budgets
OUTPUTS = {"raypipe": "sql", "raypipe_group_by": "group_by"}
BESIDE_TOOLS = "raypipe_beside"


def run(bench: Bench) -> Iterator[Found]:
    """Measure every size: engines of one process in the same rounds, then each family of tools with raypipe beside it."""
    peers, missing = chosen(bench.against)
    notes = tuple(f"{one.name} is not installed: {one.command}" for one in missing)
    warm = bench.events(WARM_ROWS)
    bench.in_turn([_peer(one, warm) for one in peers], Work(WARM_ROWS), runs=1)
    bench.taken_yardsticks()
    for rows in bench.sizes(1_000_000, 10_000_000, 100_000_000, quick=1_000_000):
        events = bench.events(rows)
        read_once(events.files)
        fit = [peer for peer in peers if rows <= peer.rows_max and peer.name not in bench.without]
        named = [*bench.without, *(peer.name for peer in peers if rows > peer.rows_max)]
        left_out = tuple(f"{one} was not given {short_count(rows)} rows." for one in named)
        engines = [peer for peer in fit if peer.is_engine]
        if engines or not fit:
            yield _beside_engines(bench, events, engines, notes + left_out)
        for family in dict.fromkeys(peer.family for peer in fit if not peer.is_engine):
            yield _beside_tool(bench, events, [peer for peer in fit if peer.family == family])


def _beside_engines(bench: Bench, events: Events, engines: Sequence[Peer], notes: tuple[str, ...]) -> Found:
    bench.say(f"throughput, {short_count(events.shape.rows)} rows")
    ours = [one for one in _raypipes(events) if one.name not in bench.without]
    contenders = [*ours, *(_peer(one, events) for one in engines)]
    series = bench.in_turn(contenders, _work(events), check=_check)
    title = f"throughput {short_count(events.shape.rows)}"
    figures = tuple(_engine_figures(series, engines))
    return Found("throughput", title, QUESTION, tuple(series), figures, notes, bench.taken_yardsticks())


def _beside_tool(bench: Bench, events: Events, forms: Sequence[Peer]) -> Found:
    family = forms[0].family
    bench.say(f"throughput, {short_count(events.shape.rows)} rows, {family}")
    contenders = [canonical(BESIDE_TOOLS, events), *(_peer(one, events) for one in forms)]
    series = bench.in_turn(contenders, _work(events), runs=min(bench.runs, TOOL_RUNS_MAX), check=_check)
    ours, *theirs = series
    prefix = f"throughput.{ours.work.label}"
    figures = [ratio_figure(f"{prefix}.wall.raypipe/{family}", ours, fastest(theirs))]
    if len(theirs) > 1:
        figures += [ratio_figure(f"{prefix}.wall.raypipe/{one.contender}", ours, one) for one in theirs]
    title = f"throughput {ours.work.label} beside {family}"
    return Found("throughput", title, QUESTION, tuple(series), tuple(figures), noise=bench.taken_yardsticks())


def _engine_figures(series: Sequence[Series], engines: Sequence[Peer]) -> Iterator[Figure]:
    """Peak and wall of raypipe; its ratios over every script, and over the fastest of those with the same engines."""
    by_name = {one.contender: one for one in series}
    ours = by_name["raypipe"]
    prefix = f"throughput.{ours.work.label}"
    for one in (by_name[name] for name in OUTPUTS if name in by_name):
        yield median_figure(f"{prefix}.wall.{one.contender}", one, "wall_s")
        yield median_figure(f"{prefix}.peak.{one.contender}", one, "peak_bytes")
    for family in dict.fromkeys(peer.family for peer in engines):
        forms = [by_name[peer.name] for peer in engines if peer.family == family]
        yield from _ratios(prefix, family, ours, fastest(forms))
        if len(forms) > 1:
            for form in forms:
                yield from _ratios(prefix, form.contender, ours, form)
    if {"polars_per_day", "raypipe_group_by"} <= set(by_name):
        yield from _ratios(prefix, "polars", by_name["raypipe_group_by"], by_name["polars_per_day"])


def _ratios(prefix: str, name: str, ours: Series, theirs: Series) -> Iterator[Figure]:
    yield ratio_figure(f"{prefix}.wall.{ours.contender}/{name}", ours, theirs)
    yield ratio_figure(f"{prefix}.wall_less_fixed.{ours.contender}/{name}", ours, theirs, less=FIXED_S)
    yield ratio_figure(f"{prefix}.cpu.{ours.contender}/{name}", ours, theirs, "cpu_s")


def _raypipes(events: Events) -> list[Contender]:
    return [canonical(name, events, output=output) for name, output in OUTPUTS.items()]


def _peer(peer: Peer, events: Events) -> Contender:
    return Contender(peer.name, lambda folder: peer.command(events.folder, folder / DESTINATION), environment=peer.environment)


def _work(events: Events) -> Work:
    return Work(events.shape.rows, events.size_bytes, events.shape.days)


def _check(folders: dict[str, Path]) -> None:
    require_equal({name: folder / DESTINATION for name, folder in folders.items()})
