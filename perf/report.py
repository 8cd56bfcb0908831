"""Results as text: a table a scenario, models, and every budget beside its figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from perf.budgets import Compared
from perf.results import Fitted, Results, models
from perf.values import MIB, Figure, Found, Series, middle_spread, spread

SIGNS = {"ok": "ok", "over": "OVER", "not measured": "not measured"}


def page(results: Results, compared: Sequence[Compared]) -> str:
    """Return RESULTS.md: machine and versions, budgets, scenarios, models."""
    lines = ["# Results", "", "Written by `python -m perf --report`; how each figure is taken stands in `README.md`.", ""]
    lines += [f"Machine: {', '.join(f'{name} {value}' for name, value in results.machine.items())}.", ""]
    lines += [f"Versions: {', '.join(f'{name} {value}' for name, value in results.versions.items())}.", ""]
    lines += [results.note, ""] if results.note else []
    lines += ["## Budgets", "", *_table(("figure", "measured", "range", "budget", ""), _budget_rows(compared)), ""]
    for one in results.found:
        lines += _scenario(one)
    lines += ["## Models", "", "Wall seconds = fixed + shards x per shard + rows x per row; `worst` is the largest miss.", ""]
    lines += _table(
        ("scenario", "contender", "over", "exponent", "fixed", "per shard", "per million rows", "worst"), _model_rows(results)
    )
    return "\n".join(lines) + "\n"


def console(found: Found) -> str:
    """Return what is printed when a scenario ends."""
    widths = (32, 10, 10, 10, 14, 10)
    lines = [f"{found.title}: {found.question}", _columns(("", "wall s", "CPU s", "peak MiB", "rows/s", "MB/s"), widths)]
    lines += [_columns(row, widths) for row in _series_rows(found.series)]
    lines += [f"  {one.name:60} {_value(one)}" for one in found.figures]
    lines += [f"  {note}" for note in found.notes]
    return "\n".join([*lines, f"  {_noise(found)}"])


def verdicts(compared: Iterable[Compared]) -> str:
    """Return a line for each budget whose figure was measured."""
    rows = [one for one in compared if one.figure is not None]
    return "\n".join(f"{_value(one.figure):>14}  {one.budget.bound:>9}  {SIGNS[one.verdict]:5} {one.budget.figure}" for one in rows)


def model_lines(fitted: Iterable[Fitted]) -> str:
    """Return a line for each model."""
    return "\n".join("model  " + "  ".join(filter(None, row)) for row in _fitted_rows(fitted))


def _scenario(found: Found) -> Iterator[str]:
    yield from (f"## {found.title}", "", f"{found.question} Measured {found.date}. {_noise(found)}", "")
    if found.series:
        yield from _table(("contender", "wall s", "CPU s", "peak MiB", "rows/s", "MB/s"), _series_rows(found.series))
        yield ""
    if found.figures:
        yield from _table(("figure", "value", "range"), ((one.name, _value(one), _range(one)) for one in found.figures))
        yield ""
    for note in found.notes:
        yield from (f"- {note}", "")


def _series_rows(series: Sequence[Series]) -> Iterator[tuple[str, ...]]:
    for one in series:
        peak = f"{one.median('peak_bytes') / MIB:.0f}"
        speed = f"{one.rows_per_s:,.0f}" if one.work.rows else ""
        rate = f"{one.bytes_per_s / 1e6:.1f}" if one.work.size_bytes else ""
        yield _label(one, series), f"{one.median('wall_s'):.2f}", f"{one.median('cpu_s'):.2f}", peak, speed, rate


def _label(one: Series, series: Sequence[Series]) -> str:
    """Return the contender, and the work where the same contender stands there with several."""
    several = {other.work for other in series if other.contender == one.contender}
    if len(several) == 1:
        return one.contender
    return f"{one.contender}, {one.work.label} rows, {one.work.shards:,} shards"


def _budget_rows(compared: Iterable[Compared]) -> Iterator[tuple[str, ...]]:
    for one in compared:
        figure = one.figure
        says = f"{one.budget.says} (`{one.budget.figure}`)"
        yield says, _value(figure) if figure else "", _range(figure) if figure else "", one.budget.bound, SIGNS[one.verdict]


def _model_rows(results: Results) -> Iterator[tuple[str, ...]]:
    return _fitted_rows(models(results.found))


def _fitted_rows(fitted: Iterable[Fitted]) -> Iterator[tuple[str, ...]]:
    for one in fitted:
        slope = f"{one.exponent:.3f}" if one.exponent is not None else ""
        model = one.model
        if model is None:
            yield one.scenario, one.contender, one.sizes, slope, "", "", "", ""
            continue
        shard = f"{model.per_shard_s * 1000:.2f} ms" if model.per_shard_s is not None else ""
        row = f"{model.per_row_s * 1e6:.3f} s" if model.per_row_s is not None else ""
        yield one.scenario, one.contender, one.sizes, slope, f"{model.fixed_s:.2f} s", shard, row, f"{model.worst:.0%}"


def _noise(found: Found) -> str:
    if not found.noise:
        return "No yardstick."
    middle, extremes = middle_spread(found.noise), spread(found.noise)
    return f"Noise: over {len(found.noise)} runs the yardstick's quartiles were {middle:.0%} apart, its extremes {extremes:.0%}."


def _value(figure: Figure | None) -> str:
    if figure is None:
        return ""
    digits = 0 if abs(figure.value) >= 1000 else 1 if abs(figure.value) >= 100 else 2 if figure.unit != "exponent" else 3
    return f"{figure.value:,.{digits}f} {figure.unit}"


def _range(figure: Figure) -> str:
    return f"{figure.low:,.2f} to {figure.high:,.2f}" if figure.low is not None and figure.high is not None else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    return f"  {first:{widths[0]}}" + "".join(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
