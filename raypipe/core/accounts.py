"""Accounts: what became of every row that was read; they balance or the shard is not committed."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from raypipe.lazy_dataclass import dataclass

ROWS = ("read", "expanded", "loaded", "filtered", "duplicate", "quarantined")
"""The keys of the ROWS document of the interface, in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Row counts of one shard, or of many added up. `read + expanded = loaded + filtered + duplicate + quarantined`."""

    read: int = 0
    expanded: int = 0
    loaded: int = 0
    filtered: int = 0
    duplicate: int = 0
    quarantined: int = 0

    @property
    def balanced(self) -> bool:
        """Tell whether every row that came in went somewhere, and no count is negative."""
        went = self.loaded + self.filtered + self.duplicate + self.quarantined
        least = min(self.read, self.expanded, self.loaded, self.filtered, self.duplicate, self.quarantined)
        return self.read + self.expanded == went and least >= 0

    def __add__(self, other: Accounts) -> Accounts:
        return Accounts(
            read=self.read + other.read,
            expanded=self.expanded + other.expanded,
            loaded=self.loaded + other.loaded,
            filtered=self.filtered + other.filtered,
            duplicate=self.duplicate + other.duplicate,
            quarantined=self.quarantined + other.quarantined,
        )

    def as_json(self) -> dict[str, int]:
        """Return the ROWS document of the interface."""
        return {name: getattr(self, name) for name in ROWS}


def total(accounts: Iterable[Accounts]) -> Accounts:
    """Add up the accounts of many shards."""
    held = list(accounts)
    return Accounts(**{name: sum(map(attrgetter(name), held)) for name in ROWS})
