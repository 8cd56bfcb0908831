"""Fitted models of wall seconds: the exponent against rows, and fixed + per shard + per row by least squares."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One measured median: rows, shards and seconds."""

    rows: int
    shards: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Model:
    """Seconds = fixed + shards x per shard + rows x per row; a term that cannot be told from the points is None."""

    fixed_s: float
    per_shard_s: float | None
    per_row_s: float | None
    worst: float
    """The largest difference between a point and the model, as a share of the point."""

    def seconds(self, rows: int, shards: int) -> float:
        """Return what the model says."""
        return self.fixed_s + (self.per_shard_s or 0.0) * shards + (self.per_row_s or 0.0) * rows


def exponent(points: Sequence[Point]) -> float | None:
    """Return the slope of log wall against log rows; None for fewer than two sizes."""
    if len({one.rows for one in points}) < 2:
        return None
    xs, ys = [math.log(one.rows) for one in points], [math.log(one.wall_s) for one in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)


def fit(points: Sequence[Point]) -> Model | None:
    """Fit the terms that vary, each at least 0; relative errors weigh the same at every size. None where too few points vary."""
    varying = [name for name in ("shards", "rows") if len({getattr(one, name) for one in points}) > 1]
    if not varying or len(points) <= len(varying) + 1:  # as many points as terms fit exactly, and tell nothing
        return None
    models = (_model(points, chosen) for size in range(len(varying) + 1) for chosen in itertools.combinations(varying, size))
    return min((one for one in models if one is not None), key=lambda one: _squares(points, one), default=None)


def _model(points: Sequence[Point], chosen: Sequence[str]) -> Model | None:
    """Least squares with the chosen terms; None where a coefficient comes out below 0 (another choice of terms then fits)."""
    rows = [[1.0 / one.wall_s, *(getattr(one, name) / one.wall_s for name in chosen)] for one in points]
    solved = _solve(
        [[sum(row[i] * row[j] for row in rows) for j in range(len(rows[0]))] for i in range(len(rows[0]))],
        [sum(row[i] for row in rows) for i in range(len(rows[0]))],
    )
    if solved is None or min(solved) < 0:
        return None
    terms = dict(zip(chosen, solved[1:], strict=True))
    model = Model(solved[0], terms.get("shards"), terms.get("rows"), 0.0)
    worst = max(abs(model.seconds(one.rows, one.shards) - one.wall_s) / one.wall_s for one in points)
    return Model(model.fixed_s, model.per_shard_s, model.per_row_s, worst)


def _squares(points: Sequence[Point], model: Model) -> float:
    return sum((model.seconds(one.rows, one.shards) / one.wall_s - 1) ** 2 for one in points)


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Solve a small system by elimination, each column scaled; None where it has no single answer."""
    size = len(right)
    scales = [max(abs(matrix[i][j]) for i in range(size)) or 1.0 for j in range(size)]
    lines = [[matrix[i][j] / scales[j] for j in range(size)] + [right[i]] for i in range(size)]
    for place in range(size):
        pivot = max(range(place, size), key=lambda one: abs(lines[one][place]))
        if abs(lines[pivot][place]) < 1e-12 * max(abs(value) for value in lines[pivot]):
            return None
        lines[place], lines[pivot] = lines[pivot], lines[place]
        lines[place] = [value / lines[place][place] for value in lines[place]]
        for other in range(size):
            if other != place:
                factor = lines[other][place]
                lines[other] = [a - factor * b for a, b in zip(lines[other], lines[place], strict=True)]
    return [lines[i][size] / scales[i] for i in range(size)]
