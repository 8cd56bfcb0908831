"""Results as a JSON document, which grows with every run of the harness: a scenario's newest results replace its older ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from perf.fits import Model, Point, exponent, fit
from perf.measure import Measured
from perf.values import Figure, Found, Series, Work, short_count


@dataclass(frozen=True, slots=True)
class Results:
    """All that was found, of one machine."""

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    found: tuple[Found, ...]
    note: str = ""
    """What a reader should know of how it was measured."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Figures of all scenarios, and those of their models."""
        of_models = tuple(figure for one in models(self.found) for figure in one.figures)
        return tuple(figure for one in self.found for figure in one.figures) + of_models

    def merged(self, newer: Results) -> Results:
        """Return these results with newer ones in place of those of the same title."""
        titles = {one.title for one in newer.found}
        kept = tuple(one for one in self.found if one.title not in titles)
        return replace(newer, found=kept + newer.found, note=newer.note or self.note)

    def ordered(self, scenarios: Sequence[str]) -> Results:
        """Return these results in the order of the scenarios; within one, from small to large."""
        places = {name: place for place, name in enumerate(scenarios)}
        found = sorted(self.found, key=lambda one: (places.get(one.scenario, len(places)), _size(one), one.title))
        return replace(self, found=tuple(found))


@dataclass(frozen=True, slots=True)
class Fitted:
    """The models of one contender in one scenario, over all its sizes."""

    scenario: str
    contender: str
    exponent: float | None
    sizes: str
    model: Model | None

    @property
    def figures(self) -> Sequence[Figure]:
        """The exponent as a figure that may have a budget."""
        if self.exponent is None:
            return ()
        return (Figure(f"{self.scenario}.exponent.{self.contender}", self.exponent, "exponent"),)


def _size(found: Found) -> tuple[int, int]:
    return max(((one.work.rows, one.work.shards) for one in found.series), default=(0, 0))


def models(found: Iterable[Found]) -> list[Fitted]:
    """Fit wall against rows and shards for every contender that was measured at several sizes of a scenario."""
    points: dict[tuple[str, str], list[Point]] = {}
    for one in found:
        for series in one.series:
            work = series.work
            if work.rows or work.shards:
                key = (one.scenario, series.contender)
                points.setdefault(key, []).append(Point(max(work.rows, 1), work.shards, series.median("wall_s")))
    return [one for key, taken in points.items() if (one := _fitted(*key, taken)) is not None]


def _fitted(scenario: str, contender: str, points: Sequence[Point]) -> Fitted | None:
    model = fit(points)
    slope = exponent(points) if len({one.shards for one in points}) == 1 else None
    if model is None and slope is None:
        return None
    rows = sorted({one.rows for one in points})
    shards = sorted({one.shards for one in points})
    varied = f"{short_count(rows[0])} to {short_count(rows[-1])} rows" if len(rows) > 1 else f"{shards[0]} to {shards[-1]} shards"
    return Fitted(scenario, contender, slope, varied, model)


def write(results: Results, path: Path) -> None:
    """Write the document, whole or not at all."""
    document = {
        "machine": dict(results.machine),
        "versions": dict(results.versions),
        "note": results.note,
        "found": [_as_json(one) for one in results.found],
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)


def read(path: Path) -> Results:
    """Read such a document."""
    document = json.loads(path.read_text())
    found = tuple(_from_json(one) for one in document["found"])
    return Results(document["machine"], document["versions"], found, document.get("note", ""))


def _as_json(one: Found) -> dict[str, Any]:
    document = asdict(one)
    for series in document["series"]:
        for run in series["runs"]:
            del run["output"]
    return document


def _from_json(document: Mapping[str, Any]) -> Found:
    series = tuple(
        Series(one["contender"], Work(**one["work"]), tuple(Measured(**run) for run in one["runs"])) for one in document["series"]
    )
    figures = tuple(Figure(**one) for one in document["figures"])
    rest = {name: document[name] for name in ("scenario", "title", "question", "date")}
    return Found(series=series, figures=figures, notes=tuple(document["notes"]), noise=tuple(document["noise"]), **rest)
