"""What somebody asks of a simulated machine."""

from __future__ import annotations

from raypipe.core.calendar import Calendar, Width
from raypipe.core.plan import Patience, Scope
from raypipe.core.state import RunKind
from raypipe.core.window import Window, iso
from raypipe.lazy_dataclass import dataclass
from raypipe.runtime.acceptor import Difference
from raypipe.testing.simulation.rows import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What somebody asks for, with the configuration of the machine that it is asked on."""

    scope: Scope = Scope.DUE
    window: Window | None = None
    width: int = 1
    atomic: bool = False
    accept_shrunk: bool = False
    accept: Difference | None = None
    """Accept what differs so, instead of running shards."""
    compact_before_us: int | None = None
    """Compact all that ends by then, instead of running shards."""
    cell_by_cell: bool = False
    """Of a compaction: one range in each cell of the calendar."""
    lateness_us: int | None = None
    rules: Rules

    @property
    def kind(self) -> RunKind:
        """Whether this is a run, a backfill, an acceptance or a compaction."""
        if self.compact_before_us is not None:
            return RunKind.COMPACT
        if self.accept is not None:
            return RunKind.ACCEPT
        return RunKind.RUN if self.scope is Scope.DUE else RunKind.BACKFILL

    def __str__(self) -> str:
        rules = ".".join(map(str, self.rules))
        if self.compact_before_us is not None:
            cells = f" by {self.width} h" if self.cell_by_cell else ""
            return f"compact before {iso(self.compact_before_us)}{cells}, rules {rules}"
        where = self.window or "of history"
        if self.accept is not None:
            return f"accept {self.accept} {where}, rules {rules}"
        extra = [word for word, there in (("atomic", self.atomic), ("accept shrunk", self.accept_shrunk)) if there]
        return ", ".join([f"{self.scope} {where} by {self.width} h", *extra, f"rules {rules}"])

    @property
    def calendar(self) -> Calendar:
        """Where shards are cut."""
        return Calendar(0, Width(self.width, "h"))

    @property
    def patience(self) -> Patience:
        """What a run leaves to a backfill."""
        return Patience(lateness_us=self.lateness_us)
