"""Budgets: what figures may be at most or must be at least, and how they stand."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perf.values import Figure

BUDGETS_FILE = Path(__file__).parent / "budgets.toml"


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of budgets.toml: exactly one of the two bounds is set."""

    figure: str
    says: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"budget of {self.figure}: expected either at_most or at_least")

    def allows(self, value: float) -> bool:
        """Tell whether a value keeps the budget."""
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)

    @property
    def bound(self) -> str:
        """The bound as people write it: <= 1.1."""
        return f"<= {self.at_most:g}" if self.at_most is not None else f">= {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class Compared:
    """A budget beside what was measured; no figure means that its scenario did not run."""

    budget: Budget
    figure: Figure | None

    @property
    def verdict(self) -> str:
        """One of ok, over (also for too little), not measured."""
        if self.figure is None:
            return "not measured"
        return "ok" if self.budget.allows(self.figure.value) else "over"


def read_budgets(path: Path = BUDGETS_FILE) -> tuple[Budget, ...]:
    """Read the file. Raises ValueError for a budget with no bound or two, or two budgets of one figure."""
    budgets = tuple(Budget(**one) for one in tomllib.loads(path.read_text())["budget"])
    names = [one.figure for one in budgets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path.name}: more than one budget of {', '.join(twice)}")
    return budgets


def compare(budgets: Sequence[Budget], figures: Iterable[Figure]) -> tuple[Compared, ...]:
    """Put each budget beside its figure, in the order of the budgets."""
    by_name = {one.name: one for one in figures}
    return tuple(Compared(one, by_name.get(one.figure)) for one in budgets)
