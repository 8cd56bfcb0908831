"""Stored: where the contributions to an output stand in a SQL destination, and how they become its table."""

from __future__ import annotations

import json

from raypipe.core.digest import quote
from raypipe.core.merge import Merge, merge_from_json
from raypipe.lazy_dataclass import dataclass


def contributions_relation(output: str) -> str:
    """Return the name in SQL of the contributions to a keyed or combined table."""
    return f"_raypipe.{quote(f'contributions_{output}')}"


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the contributions to an output stand: in its table, or beside it when the table is a merge of them."""

    output: str
    merge: Merge | None = None
    created: bool = True

    @classmethod
    def of_state(cls, output: str, merge: str | None, *, created: bool = True) -> Stored:
        """Return what the state says of an output, whose merge stands there as JSON."""
        return cls(output, None if merge is None else merge_from_json(json.loads(merge)), created)

    @property
    def relation(self) -> str:
        """The name of that table in SQL."""
        return f"main.{quote(self.output)}" if self.merge is None else contributions_relation(self.output)
