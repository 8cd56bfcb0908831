"""Upstream: a table of another pipeline as it stands, as far as those who read it need to know."""

from __future__ import annotations

from collections.abc import Mapping

from raypipe.core.window import Window, iso
from raypipe.lazy_dataclass import dataclass

WHOLE = "all"
"""The name of the one part of a table that is no union of what live ranges contributed."""


@dataclass(frozen=True, slots=True)
class TablePart:
    """What of a table is listed, copied and indexed as one; `version` changes whenever its rows may have changed.

    It is what one live range contributed, where the table is the union of those, and else the whole table.
    """

    window: Window | None
    """The live range; None for the whole table."""
    version: str
    rows: int

    @property
    def name(self) -> str:
        """A name that no other part of the table has."""
        return iso(self.window.start_us) if self.window else WHOLE


@dataclass(frozen=True, slots=True)
class UpstreamTable:
    """A table of another pipeline, seen in one snapshot."""

    pipeline: str
    """Who writes it."""
    watermark_us: int | None
    """Every shard before this time is committed to the table; None when the first is not."""
    columns: Mapping[str, str]
    """Its columns and their types, in the words of the database; none while nothing is committed to it."""
    parts: tuple[TablePart, ...]
    """All parts that hold rows, in order of time."""
