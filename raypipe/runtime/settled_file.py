"""SettledFile: the last plan that found nothing to do, in a file beside the index. A cache: losing it costs time only."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from raypipe.core.settled import Settled
from raypipe.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class SettledFile:
    """Implements `planner.SettledStore` in one file, for all runs of one pipeline."""

    path: Path
    maker: str
    """Who remembers: another version of raypipe or of the engine may plan otherwise, so it takes nothing over."""

    def read(self) -> Settled | None:
        """Return what was remembered last; None where that is nothing, of another maker, or cannot be read."""
        try:
            found = json.loads(self.path.read_text("utf-8"))
            if found["maker"] == self.maker:
                return Settled(str(found["state"]), str(found["asked"]), int(found["outside"]))
        except (OSError, ValueError, LookupError, TypeError):
            pass
        return None

    def write(self, settled: Settled) -> None:
        """Remember it in place of what was; where that cannot be, the next plan is made as this one was."""
        document = {"maker": self.maker, "state": settled.state, "asked": settled.asked, "outside": settled.outside}
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(document), "utf-8")
            beside.replace(self.path)
