"""The file in which all processes of a world remember that nothing was to be done."""

from __future__ import annotations

from dataclasses import dataclass

from raypipe.core.settled import Settled


@dataclass
class SettledMemory:
    """Implements `planner.SettledStore`."""

    last: Settled | None = None

    def read(self) -> Settled | None:
        """Return what was remembered last."""
        return self.last

    def write(self, settled: Settled) -> None:
        """Remember it instead."""
        self.last = settled
