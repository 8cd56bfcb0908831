"""The canonical job by raypipe and by its peers, at growing sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from perf.bench import WARM_ROWS, Bench, Contender, read_once
from perf.canonical import pipeline_text, require_equal, run_command
from perf.events import Events
from perf.peers import Peer, chosen
from perf.values import Figure, Found, Series, Work, fastest, median_figure, ratio_figure, short_count

QUESTION = "What does the canonical job cost beside scripts by hand and other tools?"
FIXED_S = 0.3  # allowed to raypipe at sizes where its start is a part of the wall
SLOW_ROWS = 10_000_000  # a peer that is given no more than that takes its time
PEER_RUNS_MAX = 2  # of peers that take a minute: the ratios are far from their budgets
IN_ONE_PROCESS = ("polars_duckdb_per_day", "polars_duckdb_threads", "polars_per_day", "duckdb_per_day", "duckdb_one_query")
OUTPUTS = {"raypipe": "sql", "raypipe_group_by": "group_by"}


def run(bench: Bench) -> Iterator[Found]:
    """Measure every size."""
    peers, missing = chosen(bench.against)
    notes = tuple(f"{one.name} is not installed: {one.command}" for one in missing)
    warm = bench.events(WARM_ROWS)
    bench.in_turn([*raypipes(warm), *(_peer(one, warm) for one in peers)], Work(WARM_ROWS), runs=1)
    bench.taken_yardsticks()
    for rows in bench.sizes(1_000_000, 10_000_000, 100_000_000, quick=1_000_000):
        events = bench.events(rows)
        fit = [peer for peer in peers if rows <= peer.rows_max]
        bench.say(f"throughput, {short_count(rows)} rows")
        series = _measured(bench, events, fit)
        left_out = [f"{one.name} is not given {short_count(rows)} rows" for one in peers if one not in fit]
        yield Found("throughput", f"throughput {short_count(rows)}", QUESTION, tuple(series), tuple(_figures(series, fit)),
                    (*notes, *left_out), bench.taken_yardsticks())  # fmt: skip


def raypipes(events: Events, *options: str, prefix: str = "") -> list[Contender]:
    """Return raypipe with either kind of output, inline unless the options say otherwise."""
    chosen_options = options or ("--executor", "inline")
    return [_raypipe(prefix + name, events, output, chosen_options) for name, output in OUTPUTS.items()]


def _raypipe(name: str, events: Events, output: str, options: Sequence[str]) -> Contender:
    def prepare(folder: Path) -> None:
        (folder / "canonical.yaml").write_text(pipeline_text(events, folder / "out.duckdb", output=output))

    return Contender(name, lambda folder: run_command(folder / "canonical.yaml", *options), prepare)


def _peer(peer: Peer, events: Events) -> Contender:
    return Contender(peer.name, lambda folder: peer.command(events.folder, folder / "out.duckdb"), environment=peer.environment)


def _measured(bench: Bench, events: Events, peers: Sequence[Peer]) -> list[Series]:
    """Engines of one process in every round; slow peers in fewer rounds, with raypipe beside them again."""
    work = Work(events.shape.rows, events.size_bytes, events.shape.days)
    read_once(events.files)
    quick, slow = [one for one in peers if one.rows_max > SLOW_ROWS], [one for one in peers if one.rows_max <= SLOW_ROWS]
    series = bench.in_turn([*raypipes(events), *(_peer(one, events) for one in quick)], work, check=_check)
    if slow:
        beside = raypipes(events)[:1]
        runs = min(bench.runs, PEER_RUNS_MAX)
        again, *others = bench.in_turn([*beside, *(_peer(one, events) for one in slow)], work, runs=runs, check=_check)
        series += [Series("raypipe_beside_slow", work, again.runs), *others]
    return series


def _check(folders: dict[str, Path]) -> None:
    require_equal({name: folder / "out.duckdb" for name, folder in folders.items()})


def _figures(series: Sequence[Series], peers: Sequence[Peer]) -> Iterator[Figure]:
    """Peak and wall of raypipe; its ratio over every peer, and over the fastest form of each family."""
    label = series[0].work.label
    by_name = {one.contender: one for one in series}
    ours, grouped = by_name["raypipe"], by_name["raypipe_group_by"]
    for one in (ours, grouped):
        yield median_figure(f"throughput.{label}.wall.{one.contender}", one, "wall_s")
        yield median_figure(f"throughput.{label}.peak.{one.contender}", one, "peak_bytes")
    for family in dict.fromkeys(peer.family for peer in peers):
        forms = [by_name[peer.name] for peer in peers if peer.family == family]
        beside = by_name["raypipe_beside_slow"] if _is_slow(peers, family) else ours
        yield from _ratios(f"throughput.{label}", family, fastest(forms), beside, grouped)
        if len(forms) > 1:
            for form in forms:
                yield from _ratios(f"throughput.{label}", form.contender, form, beside, grouped)


def _is_slow(peers: Sequence[Peer], family: str) -> bool:
    return any(peer.rows_max <= SLOW_ROWS for peer in peers if peer.family == family)


def _ratios(prefix: str, name: str, theirs: Series, ours: Series, grouped: Series) -> Iterator[Figure]:
    yield ratio_figure(f"{prefix}.wall.raypipe/{name}", ours, theirs)
    if theirs.contender in IN_ONE_PROCESS:
        yield ratio_figure(f"{prefix}.wall_less_fixed.raypipe/{name}", ours, theirs, less=FIXED_S)
        yield ratio_figure(f"{prefix}.cpu.raypipe/{name}", ours, theirs, "cpu_s")
    if theirs.contender == "polars_per_day":
        yield ratio_figure(f"{prefix}.wall.raypipe_group_by/{name}", grouped, theirs)
        yield ratio_figure(f"{prefix}.wall_less_fixed.raypipe_group_by/{name}", grouped, theirs, less=FIXED_S)
