"""Results as plots, a PNG and an SVG each: bars of one size, and lines over sizes. Needs matplotlib (raypipe[perf])."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perf.peers import INSTALL
from perf.results import Results
from perf.values import MIB, Found, Series

DOTS_PER_INCH = 120
BAR_HEIGHT = 0.32  # inches a contender


class NoMatplotlib(Exception):
    """Plots were asked for where matplotlib is not installed."""

    def __init__(self) -> None:
        super().__init__(f"--plot needs matplotlib: {INSTALL}")


def plot(results: Results, folder: Path) -> list[Path]:
    """Draw what was found into a folder; return the files. Raises NoMatplotlib."""
    if find_spec("matplotlib") is None:
        raise NoMatplotlib
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for one in results.found:
        if len({series.contender for series in one.series}) > 1:
            written += _save(_bars(one), folder / _file_name(one.title))
    for scenario, lines in over_sizes(results.found).items():
        written += _save(_lines(scenario, lines), folder / f"{_file_name(scenario)}-over-sizes")
    return written


Line = list[tuple[int, float, float]]
"""Rows or shards, seconds, MiB; ascending."""


def over_sizes(found: Sequence[Found]) -> Mapping[str, Mapping[str, Line]]:
    """Return for each scenario the contenders that were measured at several sizes: by rows, or by shards where rows are fixed."""
    taken: dict[str, dict[str, list[Series]]] = {}
    for one in found:
        for series in one.series:
            taken.setdefault(one.scenario, {}).setdefault(series.contender, []).append(series)
    lines = {scenario: {name: _line(each) for name, each in by_name.items()} for scenario, by_name in taken.items()}
    several = {scenario: {name: line for name, line in each.items() if len(line) > 1} for scenario, each in lines.items()}
    return {scenario: each for scenario, each in several.items() if each}


def _line(series: Sequence[Series]) -> Line:
    by_rows = len({one.work.rows for one in series}) > 1
    sized = {one.work.rows if by_rows else one.work.shards: one for one in series}
    return [(size, one.median("wall_s"), one.median("peak_bytes") / MIB) for size, one in sorted(sized.items())]


def _bars(found: Found) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + BAR_HEIGHT * len(found.series)), layout="constrained")
    wall, peak = figure.subplots(1, 2, sharey=True)
    names = [one.contender for one in found.series]
    walls = [one.median("wall_s") for one in found.series]
    below = [median - min(one.each("wall_s")) for one, median in zip(found.series, walls, strict=True)]
    above = [max(one.each("wall_s")) - median for one, median in zip(found.series, walls, strict=True)]
    colours = ["tab:orange" if name.startswith("raypipe") else "tab:blue" for name in names]
    wall.barh(names, walls, xerr=[below, above], color=colours)
    wall.set_xlabel("wall, s: median, least and most")
    peak.barh(names, [one.median("peak_bytes") / MIB for one in found.series], color=colours)
    peak.set_xlabel("peak memory, MiB")
    wall.invert_yaxis()
    figure.suptitle(found.title)
    return figure


def _lines(scenario: str, lines: Mapping[str, Line]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    wall, peak = figure.subplots(1, 2)
    for name, line in lines.items():
        sizes = [size for size, _, _ in line]
        wall.loglog(sizes, [seconds for _, seconds, _ in line], marker="o", label=name)
        peak.semilogx(sizes, [mib for _, _, mib in line], marker="o", label=name)
    wall.set_ylabel("wall, s")
    peak.set_ylabel("peak memory, MiB")
    peak.set_ylim(bottom=0)
    wall.legend(fontsize="small")
    figure.suptitle(f"{scenario}, over rows (or shards, at fixed rows)")
    return figure


def _save(figure: Any, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=DOTS_PER_INCH)
    return paths


def _file_name(title: str) -> str:
    return "-".join(filter(None, "".join(letter if letter.isalnum() else " " for letter in title.lower()).split()))
